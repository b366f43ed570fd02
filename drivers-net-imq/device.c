// SPDX-License-Identifier: GPL-2.0-only
/* imq: intermediate queueing device
 *
 * A device without a wire, whose egress qdisc shapes packets at a netfilter
 * hook. Packets come here by the verdict of an iptables or nftables rule
 * (net/netfilter/nf_imq.c) and go on behind the rule's hook. One qdisc can so
 * shape the traffic of many interfaces, and incoming traffic by all that
 * netfilter knows: marks, conntrack, addresses behind NAT.
 *
 * An ifb is fed by tc instead, on ingress before netfilter: it can have a mark
 * that was saved with the connection, but no rule has seen the packet.
 *
 * Not for packets from anywhere else: those of packet sockets, mirred or BPF
 * redirects have no hook to go on behind, and are dropped.
 */

#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <net/pkt_sched.h>
#include <trace/events/imq.h>

#include "imq.h"

/* All that a packet can come with, so that none is segmented, linearized or
 * checksummed on the way to its qdisc.
 */
#define IMQ_FEATURES (NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM |	\
		      NETIF_F_HIGHDMA | NETIF_F_SCTP_CRC |		\
		      NETIF_F_FCOE_CRC | NETIF_F_GSO_MASK |		\
		      NETIF_F_HW_VLAN_CTAG_TX | NETIF_F_HW_VLAN_STAG_TX)

/* What may be switched off, to have packets segmented and checksummed here.
 * There is no link layer header that a VLAN tag could be put into.
 */
#define IMQ_HW_FEATURES (NETIF_F_HW_CSUM | NETIF_F_SCTP_CRC |		\
			 NETIF_F_FCOE_CRC | NETIF_F_GSO_MASK)

/* Order is that of enum nf_imq_counter. */
static const char imq_counter_names[NF_IMQ_COUNTERS][ETH_GSTRING_LEN] = {
	[NF_IMQ_BYPASS_DOWN]	= "bypass_down",
	[NF_IMQ_BYPASS_NOMEM]	= "bypass_nomem",
	[NF_IMQ_BYPASS_UNFIT]	= "bypass_unfit",
	[NF_IMQ_DROP_DEV]	= "drop_dev",
	[NF_IMQ_DROP_HOOK]	= "drop_hook",
	[NF_IMQ_DROP_SOCK]	= "drop_sock",
	[NF_IMQ_FOREIGN]	= "foreign",
	[NF_IMQ_RING_FULL]	= "ring_full",
};

/* rx_packets and tx_packets under the names that say what they are here */
static const char imq_packet_names[][ETH_GSTRING_LEN] = { "entered", "left" };

#define IMQ_NUM_STATS	(ARRAY_SIZE(imq_packet_names) + NF_IMQ_COUNTERS)

/**
 * imq_count - count an event
 * @dev: imq device
 * @counter: what happened
 *
 * Context: any but hard interrupt.
 */
void imq_count(struct net_device *dev, enum nf_imq_counter counter)
{
	struct imq_dev *imq = netdev_priv(dev);
	struct imq_pcpu *pcpu;

	local_bh_disable();
	pcpu = this_cpu_ptr(imq->pcpu);
	u64_stats_update_begin(&pcpu->syncp);
	u64_stats_inc(&pcpu->counter[counter]);
	u64_stats_update_end(&pcpu->syncp);
	local_bh_enable();

	/* It is also without a qdisc for a moment when that is replaced. */
	if (counter == NF_IMQ_BYPASS_DOWN &&
	    !(netif_running(dev) && netif_carrier_ok(dev)) &&
	    !test_bit(0, &imq->down_logged) && net_ratelimit() &&
	    !test_and_set_bit(0, &imq->down_logged))
		netdev_warn(dev, "device is down, packets pass unshaped\n");
}

/**
 * imq_drop - drop a packet, and count it
 * @skb: packet that is at no hook any more
 * @dev: imq device
 * @counter: why
 *
 * Context: any but hard interrupt.
 */
void imq_drop(struct sk_buff *skb, struct net_device *dev,
	      enum nf_imq_counter counter)
{
	trace_imq_drop(skb, dev, counter);
	imq_count(dev, counter);
	kfree_skb_reason(skb, counter == NF_IMQ_DROP_DEV ?
			      SKB_DROP_REASON_DEV_READY :
			      SKB_DROP_REASON_NOT_SPECIFIED);
}

/**
 * imq_counters - values of all counters
 * @imq: private part of the device
 * @sum: where they are put, by enum nf_imq_counter: each the sum over all CPUs
 */
void imq_counters(const struct imq_dev *imq, u64 sum[NF_IMQ_COUNTERS])
{
	int cpu, i;

	memset(sum, 0, NF_IMQ_COUNTERS * sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct imq_pcpu *pcpu = per_cpu_ptr(imq->pcpu, cpu);
		u64 value[NF_IMQ_COUNTERS];
		unsigned int start;

		do {
			start = u64_stats_fetch_begin(&pcpu->syncp);
			for (i = 0; i < NF_IMQ_COUNTERS; i++)
				value[i] = u64_stats_read(&pcpu->counter[i]);
		} while (u64_stats_fetch_retry(&pcpu->syncp, start));
		for (i = 0; i < NF_IMQ_COUNTERS; i++)
			sum[i] += value[i];
	}
}

static void imq_get_stats64(struct net_device *dev,
			    struct rtnl_link_stats64 *stats)
{
	u64 counter[NF_IMQ_COUNTERS];

	dev_get_tstats64(dev, stats);
	imq_counters(netdev_priv(dev), counter);
	stats->tx_dropped += counter[NF_IMQ_DROP_DEV] +
			     counter[NF_IMQ_DROP_HOOK] +
			     counter[NF_IMQ_DROP_SOCK] +
			     counter[NF_IMQ_FOREIGN];
}

/* Nothing is received on the device: mirred and BPF can redirect to its ingress, too. */
static rx_handler_result_t imq_rx(struct sk_buff **pskb)
{
	imq_drop(*pskb, (*pskb)->dev, NF_IMQ_FOREIGN);

	return RX_HANDLER_CONSUMED;
}

static int imq_init(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);
	int err;

	netdev_lockdep_set_classes(dev);

	/* It goes with the device. */
	err = netdev_rx_handler_register(dev, imq_rx, NULL);
	if (err)
		return err;

	imq->pcpu = __netdev_alloc_pcpu_stats(struct imq_pcpu,
					      GFP_KERNEL_ACCOUNT);

	return imq->pcpu ? 0 : -ENOMEM;
}

static void imq_destructor(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);

	free_percpu(imq->pcpu);
}

static int imq_open(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);

	clear_bit(0, &imq->down_logged);
	netif_tx_start_all_queues(dev);

	return 0;
}

static int imq_stop(struct net_device *dev)
{
	netif_tx_disable(dev);
	imq_cells_purge(dev);

	return 0;
}

/* As for any device, by traffic class, XPS, and hash; but what a socket remembers of
 * its queue is for the device that the packet goes out by.
 */
static u16 imq_select_queue(struct net_device *dev, struct sk_buff *skb,
			    struct net_device *sb_dev)
{
	struct sock *sk = skb->sk;
	u16 queue;

	skb->sk = NULL;
	queue = netdev_pick_tx(dev, skb, sb_dev);
	skb->sk = sk;

	return queue;
}

static const struct net_device_ops imq_netdev_ops = {
	.ndo_init		= imq_init,
	.ndo_uninit		= imq_index_release,
	.ndo_open		= imq_open,
	.ndo_stop		= imq_stop,
	.ndo_select_queue	= imq_select_queue,
	.ndo_start_xmit		= imq_xmit,
	.ndo_get_stats64	= imq_get_stats64,
	.ndo_features_check	= passthru_features_check,
};

static void imq_get_drvinfo(struct net_device *dev,
			    struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "imq", sizeof(info->driver));
}

static int imq_get_sset_count(struct net_device *dev, int sset)
{
	return sset == ETH_SS_STATS ? IMQ_NUM_STATS : -EOPNOTSUPP;
}

static void imq_get_strings(struct net_device *dev, u32 sset, u8 *data)
{
	int i;

	if (sset != ETH_SS_STATS)
		return;

	for (i = 0; i < ARRAY_SIZE(imq_packet_names); i++)
		ethtool_puts(&data, imq_packet_names[i]);
	for (i = 0; i < NF_IMQ_COUNTERS; i++)
		ethtool_puts(&data, imq_counter_names[i]);
}

static void imq_get_ethtool_stats(struct net_device *dev,
				  struct ethtool_stats *estats, u64 *data)
{
	struct rtnl_link_stats64 stats = {};

	dev_get_tstats64(dev, &stats);
	*data++ = stats.rx_packets;
	*data++ = stats.tx_packets;
	imq_counters(netdev_priv(dev), data);
}

static const struct ethtool_ops imq_ethtool_ops = {
	.get_drvinfo		= imq_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_sset_count		= imq_get_sset_count,
	.get_strings		= imq_get_strings,
	.get_ethtool_stats	= imq_get_ethtool_stats,
};

/**
 * imq_setup - give a new net_device what makes it an imq device
 * @dev: device, not registered yet
 */
void imq_setup(struct net_device *dev)
{
	dev->netdev_ops = &imq_netdev_ops;
	dev->ethtool_ops = &imq_ethtool_ops;
	dev->rtnl_link_ops = &imq_link_ops;
	dev->needs_free_netdev = true;
	dev->priv_destructor = imq_destructor;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;

	/* Packets start with the network header. */
	dev->type = ARPHRD_NONE;
	dev->flags = IFF_NOARP;
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_NO_ADDRCONF;
	/* It would send with interrupts off, and all of that is foreign. */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
	netif_keep_dst(dev);
	/* Packets queued here belong to this namespace's hooks. */
	dev->netns_immutable = true;

	/* For qdiscs that derive a quantum or a burst from it */
	dev->mtu = ETH_DATA_LEN;
	dev->min_mtu = ETH_MIN_MTU;
	dev->max_mtu = 0;
	dev->tx_queue_len = DEFAULT_TX_QUEUE_LEN;

	dev->features = IMQ_FEATURES;
	dev->hw_features = IMQ_HW_FEATURES;
	dev->hw_enc_features = IMQ_FEATURES;
	dev->vlan_features = IMQ_FEATURES;
	dev->mpls_features = IMQ_FEATURES;
	netif_set_tso_max_size(dev, GSO_MAX_SIZE);
	dev->gso_max_size = GSO_MAX_SIZE;
	dev->gso_ipv4_max_size = GSO_MAX_SIZE;
}
