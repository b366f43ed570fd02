// SPDX-License-Identifier: GPL-2.0-only
/* Intermediate queueing: packets go through the egress qdisc of an imq device
 * at a netfilter hook, and go on from there.
 *
 * A hook asks for it by an NF_QUEUE verdict with NF_VERDICT_FLAG_IMQ. What the
 * packet needs to go on is kept in an skb extension, so that it is freed with
 * the packet wherever a qdisc drops it, and clones and GSO segments have it too.
 *
 * No device is referenced while a packet is queued: that can take seconds, and
 * would hold up the removal of devices and namespaces. Devices are remembered
 * by ifindex and looked up again.
 *
 * There are two ways on. A packet that leaves the qdisc in the call that has
 * brought it returns to its hook as if nothing had been. Any other is handed by
 * the driver to nf_imq_resume() in softirq context, with no lock held.
 *
 * This part is always built in, since sk_buffs with the extension may outlive
 * the driver (a packet socket keeps clones until they are read).
 */

#define pr_fmt(fmt) "imq: " fmt

#include <linux/cpumask.h>
#include <linux/hash.h>
#include <linux/if_vlan.h>
#include <linux/if_bridge.h>
#include <linux/local_lock.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_netdev.h>
#include <linux/proc_fs.h>
#include <linux/rtnetlink.h>
#include <linux/sched/isolation.h>
#include <linux/seq_file.h>
#include <linux/seq_file_net.h>
#include <net/dst.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_imq.h>
#include <net/netfilter/nf_tables.h>
#include <net/netns/generic.h>
#include <net/request_sock.h>
#include <net/sch_generic.h>
#include <net/sock.h>
#include <net/xfrm.h>

#include <asm/sections.h>

#include "nf_internals.h"

#define CREATE_TRACE_POINTS
#include <trace/events/imq.h>

static unsigned int nf_imq_net_id __read_mostly;

static const struct nf_imq_ops __rcu *nf_imq_ops __read_mostly;

/* The driver's absence has been logged. */
static unsigned long nf_imq_no_driver_logged;

/* Goes up whenever a module has been unloaded. */
static atomic_t nf_imq_module_gen;

DEFINE_PER_CPU(struct nf_imq_own, nf_imq_own);
EXPORT_PER_CPU_SYMBOL_GPL(nf_imq_own);

/* As many as a NAPI poll has packets; but what is used when it is no more, these
 * only see when it has been freed.
 */
#if defined(CONFIG_KASAN) || defined(CONFIG_KMSAN)
#define NF_IMQ_SPARES	1
#else
#define NF_IMQ_SPARES	64
#endif

/* Spares have an extension of ours, with no references, and nothing else. They stay
 * with their CPU for good. The first one is taken and kept by one instruction, with
 * bottom halves on or off; the others are there for packets that wait.
 */
static DEFINE_PER_CPU(struct skb_ext *, nf_imq_spare);

struct nf_imq_spares {
	local_lock_t	bh_lock;
	unsigned int	n;
	struct skb_ext	*all[NF_IMQ_SPARES];
};

static DEFINE_PER_CPU(struct nf_imq_spares, nf_imq_spares) = {
	.bh_lock = INIT_LOCAL_LOCK(bh_lock),
};

/* Numbers the calls of nf_imq_queue(), in steps of nr_cpu_ids. */
static DEFINE_PER_CPU(u32, nf_imq_token);

EXPORT_TRACEPOINT_SYMBOL_GPL(imq_drop);

/* References of the extension */

/**
 * nf_imq_ext_hold - take the references of a copied extension
 * @ext: extension that has just been copied
 */
void nf_imq_ext_hold(struct nf_imq_ext *ext)
{
	if (ext->state_sk)
		refcount_inc(&ext->state_sk->sk_refcnt);
	if (ext->skb_sk)
		refcount_inc(&ext->skb_sk->sk_refcnt);
}

/**
 * nf_imq_ext_put - drop the references of an extension
 * @ext: extension that is about to be freed or written anew
 */
void nf_imq_ext_put(struct nf_imq_ext *ext)
{
	if (ext->state_sk)
		sock_gen_put(ext->state_sk);
	if (ext->skb_sk)
		sock_gen_put(ext->skb_sk);
}

static void nf_imq_ext_clear(struct nf_imq_ext *ext)
{
	if (likely(!ext->state_sk && !ext->skb_sk))
		return;

	nf_imq_ext_put(ext);
	ext->state_sk = NULL;
	ext->skb_sk = NULL;
}

static noinline struct skb_ext *nf_imq_take_more(void)
{
	struct skb_ext *spare = NULL;
	struct nf_imq_spares *s;

	local_bh_disable();
	local_lock_nested_bh(&nf_imq_spares.bh_lock);
	s = this_cpu_ptr(&nf_imq_spares);
	if (s->n)
		spare = s->all[--s->n];
	local_unlock_nested_bh(&nf_imq_spares.bh_lock);
	local_bh_enable();

	return spare;
}

static struct skb_ext *nf_imq_take_spare(void)
{
	struct skb_ext *spare = this_cpu_xchg(nf_imq_spare, NULL);

	return likely(spare) ? spare : nf_imq_take_more();
}

/* Bottom halves are off. */
static bool nf_imq_keep_more(struct skb_ext *spare)
{
	struct nf_imq_spares *s;
	bool keep;

	local_lock_nested_bh(&nf_imq_spares.bh_lock);
	s = this_cpu_ptr(&nf_imq_spares);
	keep = s->n + 1 < NF_IMQ_SPARES;
	if (keep)
		s->all[s->n++] = spare;
	local_unlock_nested_bh(&nf_imq_spares.bh_lock);

	return keep;
}

static bool nf_imq_keep_spare(struct skb_ext *spare)
{
	return likely(!this_cpu_cmpxchg(nf_imq_spare, NULL, spare)) ||
	       nf_imq_keep_more(spare);
}

static noinline struct nf_imq_ext *nf_imq_ext_alloc(struct sk_buff *skb)
{
	struct skb_ext *all = __skb_ext_alloc(GFP_ATOMIC);
	struct nf_imq_ext *ext;

	if (!all)
		return NULL;

	ext = __skb_ext_set(skb, SKB_EXT_IMQ, all);
	ext->chunks = all->chunks;
	ext->state_sk = NULL;
	ext->skb_sk = NULL;

	return ext;
}

/* For a packet without any extension: most have none. Not to allocate and to
 * free one for each saves a quarter of what a packet costs here.
 */
static __always_inline struct nf_imq_ext *nf_imq_ext_first(struct sk_buff *skb)
{
	struct skb_ext *spare = nf_imq_take_spare();

	skb->slow_gro = 1;
	if (unlikely(!spare))
		return nf_imq_ext_alloc(skb);

	skb->extensions = spare;
	skb->active_extensions = BIT(SKB_EXT_IMQ);

	return skb_ext_find(skb, SKB_EXT_IMQ);
}

/* The room of a deleted extension may still be there, and owns its references
 * until the last put.
 */
static noinline struct nf_imq_ext *nf_imq_ext_more(struct sk_buff *skb)
{
	bool used = __skb_ext_exist(skb->extensions, SKB_EXT_IMQ);
	struct nf_imq_ext *ext;

	ext = skb_ext_add(skb, SKB_EXT_IMQ);
	if (!ext)
		return NULL;

	if (used)
		nf_imq_ext_put(ext);
	ext->chunks = 0;
	ext->state_sk = NULL;
	ext->skb_sk = NULL;

	return ext;
}

/* An extension with no references, that nobody else sees. Inline, since a packet
 * that is marked needs this twice.
 */
static __always_inline struct nf_imq_ext *nf_imq_ext_new(struct sk_buff *skb)
{
	struct nf_imq_ext *ext;

	if (!skb->active_extensions) {
		ext = nf_imq_ext_first(skb);
	} else {
		ext = skb_ext_find(skb, SKB_EXT_IMQ);
		if (ext && !nf_imq_ext_shared(skb))
			nf_imq_ext_clear(ext);	/* marked before */
		else
			ext = nf_imq_ext_more(skb);
	}
	if (ext)
		ext->flags = 0;

	return ext;
}

/* The packet goes on without it. With nothing else there, it is kept for another
 * one. Bottom halves are off. Inline, as nf_imq_ext_new().
 *
 * With extensions of others the room of ours stays, for as long as the packet: with a
 * reference in it, a packet that nobody reads would hold the socket in whose receive
 * queue it is, and be held by that.
 */
static __always_inline void nf_imq_ext_del(struct sk_buff *skb,
					   struct nf_imq_ext *ext)
{
	const bool shared = nf_imq_ext_shared(skb);
	struct skb_ext *all = skb->extensions;

	if (!shared)
		nf_imq_ext_clear(ext);
	if (shared || skb->active_extensions != BIT(SKB_EXT_IMQ) ||
	    ext->chunks != all->chunks) {
		__skb_ext_del(skb, SKB_EXT_IMQ);
		return;
	}

	skb->active_extensions = 0;
	skb->extensions = NULL;
	if (unlikely(!nf_imq_keep_spare(all)))
		__skb_ext_put(all);
}

/* Saving */

/* A socket found on receive (early demux, TPROXY, bpf_sk_assign) is taken off
 * the skb: fq would pace by it, and netem orphan it.
 */
static bool nf_imq_save_sk(struct sk_buff *skb, struct nf_imq_ext *ext,
			   struct sock *state_sk)
{
	struct sock *sk = skb->sk;

	if (state_sk && state_sk == sk) {
		ext->flags |= NF_IMQ_F_STATE_SK_SKB;
	} else if (state_sk) {
		if (!refcount_inc_not_zero(&state_sk->sk_refcnt))
			return false;
		ext->state_sk = state_sk;
	}

	if (!sk || (skb->destructor != sock_edemux &&
		    !skb_sk_is_prefetched(skb)))
		return true;

	if (skb_sk_is_prefetched(skb) && !sk_is_refcounted(sk)) {
		if (!refcount_inc_not_zero(&sk->sk_refcnt))
			return false;
		ext->flags |= NF_IMQ_F_SK_BORROWED;
	}
	ext->skb_sk = sk;
	if (skb_sk_is_prefetched(skb))
		ext->flags |= NF_IMQ_F_SK_PREFETCHED;
	skb->sk = NULL;
	skb->destructor = NULL;

	return true;
}

#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
/* Bridge netfilter's route is part of the bridge device, and goes with it,
 * referenced or not. Its pointer to the output port isn't counted either.
 */
static void nf_imq_save_bridge(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	const struct nf_bridge_info *nf_bridge = nf_bridge_info_get(skb);
	struct dst_entry *dst = skb_dst(skb);

	ext->fake_dst = NULL;
	ext->physout = nf_bridge && nf_bridge->physoutdev ?
		       nf_bridge->physoutdev->ifindex : 0;

	if (dst && dst->flags & DST_FAKE_RTABLE) {
		ext->fake_dst = dst;
		ext->bridge = dst->dev;
		ext->bridge_ifindex = dst->dev->ifindex;
		skb_dst_drop(skb);
	}
}
#else
static void nf_imq_save_bridge(struct sk_buff *skb, struct nf_imq_ext *ext)
{
}
#endif

/* On receive, skb->tstamp tells when the packet came in (or what its sender's
 * qdisc was told, on a veth), and copies by multicast routing or dup still do so
 * on transmit. fq and etf would take it as a departure time: those have a sender,
 * or another clock.
 */
static void nf_imq_save_tstamp(struct sk_buff *skb, struct nf_imq_ext *ext,
			       const struct nf_hook_state *state)
{
	unsigned int last_rx = state->pf == NFPROTO_NETDEV ? NF_NETDEV_INGRESS :
							     NF_INET_FORWARD;

	if (state->hook > last_rx &&
	    (skb->sk || skb->tstamp_type != SKB_CLOCK_REALTIME))
		return;

	ext->tstamp = skb->tstamp;
	ext->tstamp_type = skb->tstamp_type;
	ext->flags |= NF_IMQ_F_RX;
	skb->tstamp = 0;
	skb->tstamp_type = SKB_CLOCK_REALTIME;
}

static void nf_imq_pull(struct sk_buff *skb, int len)
{
	if (len > 0)
		__skb_pull(skb, len);
	else if (len < 0)
		__skb_push(skb, -len);
}

/* The device sees the network header first, as its link type says. Only in front
 * of a VLAN tag in line, it sees the mac header: the tag is found from there.
 */
static void nf_imq_save_data(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	int len = skb_network_offset(skb);

	if (eth_type_vlan(skb->protocol)) {
		ext->flags |= NF_IMQ_F_TAGGED;
		len = skb_mac_header_was_set(skb) ? skb_mac_offset(skb) : 0;
	} else if (len < 0 || len > skb_headlen(skb)) {
		len = 0;
	}

	ext->pulled = abs(len) <= NF_IMQ_MAC_MAX ? len : 0;
	nf_imq_pull(skb, ext->pulled);
}

static bool nf_imq_is_set(u16 header)
{
	return header != U16_MAX;
}

/* Bytes from the mac header, if there is one, to what the device sees first */
static int nf_imq_mac_off(const struct nf_imq_ext *ext)
{
	return nf_imq_is_set(ext->mac_header) ?
	       (int)ext->headroom - ext->mac_header : 0;
}

/* Room that the packet needs in front of that when it goes on */
static int nf_imq_room(const struct nf_imq_ext *ext)
{
	return max_t(int, ext->pulled, nf_imq_mac_off(ext));
}

/* What segments will lack */
static void nf_imq_save_gso(const struct sk_buff *skb, struct nf_imq_ext *ext)
{
	const int mac_off = nf_imq_mac_off(ext);

	if (mac_off > 0 && mac_off <= NF_IMQ_MAC_MAX) {
		memcpy(ext->mac, skb->data - mac_off, mac_off);
		ext->flags |= NF_IMQ_F_MAC_HEADER;
	}
	if (ipv6_has_hopopt_jumbo(skb))
		ext->flags |= NF_IMQ_F_JUMBO;
}

static void nf_imq_save_headers(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	ext->pulled = 0;
	/* not in IP, where a packet begins with its network header */
	if (skb_network_offset(skb) || eth_type_vlan(skb->protocol))
		nf_imq_save_data(skb, ext);

	ext->protocol = skb->protocol;
	ext->transport_header = skb->transport_header;
	ext->network_header = skb->network_header;
	ext->mac_header = skb->mac_header;
	ext->mac_len = skb->mac_len;
	ext->headroom = skb_headroom(skb);
	ext->len = skb->len;

	if (skb_is_gso(skb))
		nf_imq_save_gso(skb, ext);
}

/* core.c puts a dummy, of no family, in the place of a removed hook. */
static bool nf_imq_is_dummy(const struct nf_hook_ops *ops)
{
	return ops->pf == NFPROTO_UNSPEC;
}

/* What tells a hook from others with its function. A packet may wait for longer
 * than a chain of nf_tables is there, and another may have its address by then;
 * but no table of a namespace, and no chain of a table, has an earlier one's handle.
 */
static u64 nf_imq_hook_key(const struct nf_hook_ops *ops)
{
	if (IS_ENABLED(CONFIG_NF_TABLES) &&
	    ops->hook_ops_type == NF_HOOK_OP_NF_TABLES) {
		const struct nft_chain *chain = ops->priv;

		return chain->table->handle << 32 | lower_32_bits(chain->handle);
	}

	return (unsigned long)ops->priv;
}

/* May the packet go on at this hook, and will it be known by then? */
static bool nf_imq_next_fits(const struct nf_hook_ops *ops,
			     const struct net *net)
{
	if (nf_imq_is_dummy(ops))
		return false;
#if IS_ENABLED(CONFIG_NF_TABLES)
	/* one that is there while its ruleset is replaced, as the old or the new */
	if (ops->hook_ops_type == NF_HOOK_OP_NF_TABLES)
		return nft_is_active(net, (const struct nft_chain *)ops->priv);
#endif
	/* a flowtable, which has nothing but its address, and can be passed by */
	return ops->pf != NFPROTO_NETDEV;
}

/* One of a higher priority is found by that. */
static void nf_imq_save_next(struct nf_imq_ext *ext, const struct net *net,
			     struct nf_hook_ops **all, unsigned int index,
			     unsigned int n)
{
	const int priority = ext->priority;

	ext->next_fn = NULL;
	while (++index < n) {
		const struct nf_hook_ops *ops = READ_ONCE(all[index]);

		if (likely(ops->priority > priority))
			break;
		if (!nf_imq_next_fits(ops, net))
			continue;

		ext->next_fn = ops->hook;
		ext->next_key = nf_imq_hook_key(ops);
		break;
	}
}

/* Remember the hook by what it is: the ruleset may change before the packet
 * goes on. If it has gone since it gave its verdict, its predecessor stands in,
 * and if there is none, the place in front of all.
 */
static void nf_imq_save_hook(struct nf_imq_ext *ext, const struct net *net,
			     const struct nf_hook_entries *e,
			     unsigned int index)
{
	struct nf_hook_ops **all = nf_hook_entries_get_hook_ops(e);
	const struct nf_hook_ops *ops = READ_ONCE(all[index]);
	unsigned int i = index;

	while (unlikely(nf_imq_is_dummy(ops)) && i)
		ops = READ_ONCE(all[--i]);

	ext->hook_index = index;
	if (unlikely(nf_imq_is_dummy(ops))) {
		ext->hook_fn = NULL;
		ext->priority = INT_MIN;
	} else {
		ext->hook_fn = ops->hook;
		ext->hook_key = nf_imq_hook_key(ops);
		ext->priority = ops->priority;
	}

	nf_imq_save_next(ext, net, all, index, e->num_hook_entries);
}

/* Senders move between CPUs: what a socket sends goes on at one of them, in
 * order, but not at one that shall be left in peace.
 */
static int nf_imq_sock_cpu(const struct sock *sk)
{
	const struct cpumask *mask = housekeeping_cpumask(HK_TYPE_DOMAIN);
	unsigned int cpu, n = cpumask_weight_and(cpu_online_mask, mask);

	cpu = cpumask_nth_and(reciprocal_scale(hash_ptr(sk, 32), n),
			      cpu_online_mask, mask);

	return cpu < nr_cpu_ids ? cpu : smp_processor_id();
}

/* A packet goes on at the CPU that it came from, so that one shaped device does
 * not serialise all forwarding.
 */
static int nf_imq_home_cpu(const struct sk_buff *skb)
{
	const struct sock *sk = skb->sk;

	if (!sk || !sk_fullsock(sk) || !sk_is_inet(sk))
		return smp_processor_id();

	return nf_imq_sock_cpu(sk);
}

/* A tunnel's packets may carry a device of its own namespace at the hooks of the
 * underlay's: nothing behind those hooks needs it.
 */
static int nf_imq_ifindex(const struct net_device *dev, const struct net *net)
{
	return dev && net_eq(dev_net(dev), net) ? dev->ifindex : 0;
}

/* Bottom halves are off: smp_processor_id() and the token are stable. */
static bool nf_imq_save(struct sk_buff *skb, struct nf_imq_ext *ext,
			const struct nf_hook_state *state,
			const struct nf_hook_entries *e, unsigned int index)
{
	const struct net *net = state->net;

	ext->net = net;
	ext->pf = state->pf;
	ext->hook = state->hook;
	ext->okfn = state->okfn;
	ext->in = nf_imq_ifindex(state->in, net);
	ext->out = nf_imq_ifindex(state->out, net);
	ext->dev = nf_imq_ifindex(skb->dev, net);
	ext->module_gen = atomic_read(&nf_imq_module_gen);
	ext->token = __this_cpu_add_return(nf_imq_token, nr_cpu_ids);
	ext->queue_mapping = skb->queue_mapping;
#if defined(CONFIG_NET_RX_BUSY_POLL) || defined(CONFIG_XPS)
	ext->napi_id = skb->napi_id;
#endif
	nf_imq_save_hook(ext, net, e, index);
	nf_imq_save_bridge(skb, ext);
	ext->dst = skb_dst(skb);
	nf_imq_save_tstamp(skb, ext, state);
	nf_imq_save_headers(skb, ext);
	memcpy(ext->cb, skb->cb, sizeof(ext->cb));
	ext->flags |= NF_IMQ_F_QUEUED;
	if (unlikely(__this_cpu_read(nf_skb_duplicated)))
		ext->flags |= NF_IMQ_F_DUPLICATED;

	if (!nf_imq_save_sk(skb, ext, state->sk))
		return false;
	ext->cpu = nf_imq_home_cpu(skb);

	return true;
}

/* What those behind the hook read without a look at the length: it was looked at
 * when the packet came in. ip_local_deliver_finish() pulls a header that way.
 */
static unsigned int nf_imq_need(const struct nf_imq_ext *ext)
{
	int need = max(-ext->pulled, 0);
	int nhoff = nf_imq_nhoff(ext);

	if (ext->protocol == htons(ETH_P_IP))
		need = max(need, nhoff + (int)sizeof(struct iphdr));
	else if (ext->protocol == htons(ETH_P_IPV6))
		need = max(need, nhoff + (int)sizeof(struct ipv6hdr));

	/* Elsewhere it may be anything. */
	if ((ext->pf == NFPROTO_IPV4 || ext->pf == NFPROTO_IPV6) &&
	    nf_imq_is_set(ext->transport_header))
		need = max(need, ext->transport_header - (int)ext->headroom);

	return need;
}

/**
 * nf_imq_has_headers - whether a packet that was changed still has its headers
 * @skb: packet in ndo_start_xmit()
 * @ext: its state
 *
 * Actions and BPF programs can take bytes from the front of a packet, or add some
 * until the room for those of its link is used, and have the network header
 * elsewhere. Segments get a copy of the link's.
 *
 * Return: false if nobody must go on with it.
 */
bool nf_imq_has_headers(struct sk_buff *skb, const struct nf_imq_ext *ext)
{
	/* GSO sets that of its segments behind tags. */
	if (skb_network_offset(skb) != nf_imq_nhoff(ext) &&
	    !(ext->flags & NF_IMQ_F_TAGGED))
		return false;

	if ((int)skb_headroom(skb) < nf_imq_room(ext) &&
	    (skb_is_gso(skb) || !(ext->flags & NF_IMQ_F_MAC_HEADER)))
		return false;

	return pskb_may_pull(skb, nf_imq_need(ext));
}
EXPORT_SYMBOL_GPL(nf_imq_has_headers);

/* Restoring */

static void nf_imq_restore_sk(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	struct sock *sk = ext->skb_sk;

	if (!sk)
		return;

	skb_orphan(skb);
	/* A borrowed socket lives on for this RCU section, as it did before. One may have
	 * become a listener meanwhile, whose reference nobody would put.
	 */
	if (!(ext->flags & NF_IMQ_F_SK_BORROWED) &&
	    !(ext->flags & NF_IMQ_F_SK_PREFETCHED && !sk_is_refcounted(sk))) {
		if (nf_imq_ext_shared(skb))
			refcount_inc(&sk->sk_refcnt);
		else
			ext->skb_sk = NULL;
	}
	skb->sk = sk;
	skb->destructor = ext->flags & NF_IMQ_F_SK_PREFETCHED ? sock_pfree :
								sock_edemux;
}

static void nf_imq_restore_bridge(struct sk_buff *skb,
				  const struct nf_imq_ext *ext)
{
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	if (ext->fake_dst) {
		skb_dst_drop(skb);
		skb_dst_set_noref(skb, ext->fake_dst);
	}
#endif
}

/* Segments have what follows skb->data only. */
static bool nf_imq_restore_mac(struct sk_buff *skb,
			       const struct nf_imq_ext *ext)
{
	const int mac_off = nf_imq_mac_off(ext);

	if (skb_cow_head(skb, nf_imq_room(ext)))
		return false;
	memcpy(skb->data - mac_off, ext->mac, mac_off);

	return true;
}

static void nf_imq_move_headers(struct sk_buff *skb, int by)
{
	if (skb_transport_header_was_set(skb))
		skb->transport_header += by;
	skb->network_header += by;
	if (skb_mac_header_was_set(skb))
		skb->mac_header += by;
}

/* dev_queue_xmit() and validate_xmit_skb() have set them for the device. */
static void nf_imq_restore_headers(struct sk_buff *skb,
				   const struct nf_imq_ext *ext)
{
	int moved = skb_headroom(skb) - ext->headroom;

	skb->transport_header = ext->transport_header;
	skb->network_header = ext->network_header;
	skb->mac_header = ext->mac_header;
	if (unlikely(moved))
		nf_imq_move_headers(skb, moved);
	skb->mac_len = ext->mac_len;
	if (ext->pulled)
		nf_imq_pull(skb, -ext->pulled);
}

/* GSO has removed a header that was accounted for: ipv6_hopopt_jumbo_remove(). */
static void nf_imq_restore_jumbo(struct sk_buff *skb,
				 const struct nf_imq_ext *ext)
{
	const unsigned int len = sizeof(struct hop_jumbo_hdr);

	if (ext->transport_header ==
	    ext->network_header + sizeof(struct ipv6hdr) + len)
		skb->transport_header -= len;

	/* as ipv6_parse_hopopts() has left it */
	if (ext->pf == NFPROTO_IPV6 && ext->hook <= NF_INET_LOCAL_IN &&
	    IP6CB(skb)->flags & IP6SKB_HOPBYHOP) {
		IP6CB(skb)->nhoff = offsetof(struct ipv6hdr, nexthdr);
		IP6CB(skb)->flags &= ~IP6SKB_HOPBYHOP;
	}
}

/* Undo nf_imq_save() and take the extension off. The caller sets skb->dev. */
static bool nf_imq_restore(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	if (unlikely(ext->flags & NF_IMQ_F_MAC_HEADER) && !skb_is_gso(skb) &&
	    !nf_imq_restore_mac(skb, ext))
		return false;

	nf_imq_restore_headers(skb, ext);
	skb->queue_mapping = ext->queue_mapping;
#if defined(CONFIG_NET_RX_BUSY_POLL) || defined(CONFIG_XPS)
	skb->napi_id = ext->napi_id;
#endif
	if (ext->flags & NF_IMQ_F_RX) {
		skb->tstamp = ext->tstamp;
		skb->tstamp_type = ext->tstamp_type;
	}
	memcpy(skb->cb, ext->cb, sizeof(ext->cb));
	if (unlikely(ext->flags & NF_IMQ_F_JUMBO) && !ipv6_has_hopopt_jumbo(skb))
		nf_imq_restore_jumbo(skb, ext);
	nf_imq_restore_bridge(skb, ext);
	nf_imq_restore_sk(skb, ext);
	nf_imq_ext_del(skb, ext);

	return true;
}

/* Going on in another context */

static struct nf_hook_entries *
nf_imq_hook_entries(const struct net *net, const struct nf_hook_state *state)
{
	switch (state->pf) {
	case NFPROTO_IPV4:
		return rcu_dereference(net->nf.hooks_ipv4[state->hook]);
	case NFPROTO_IPV6:
		return rcu_dereference(net->nf.hooks_ipv6[state->hook]);
#ifdef CONFIG_NETFILTER_FAMILY_BRIDGE
	case NFPROTO_BRIDGE:
		return rcu_dereference(net->nf.hooks_bridge[state->hook]);
#endif
	case NFPROTO_NETDEV:
#ifdef CONFIG_NETFILTER_INGRESS
		if (state->hook == NF_NETDEV_INGRESS)
			return rcu_dereference(state->in->nf_hooks_ingress);
#endif
#ifdef CONFIG_NETFILTER_EGRESS
		if (state->hook == NF_NETDEV_EGRESS)
			return rcu_dereference(state->out->nf_hooks_egress);
#endif
		break;
	}

	return NULL;
}

static bool nf_imq_hook_is(const struct nf_hook_ops *ops, nf_hookfn *fn,
			   int priority, u64 key)
{
	return ops->hook == fn && ops->priority == priority &&
	       nf_imq_hook_key(ops) == key;
}

static bool nf_imq_same_hook(const struct nf_hook_ops *ops,
			     const struct nf_imq_ext *ext)
{
	return nf_imq_hook_is(ops, ext->hook_fn, ext->priority, ext->hook_key);
}

/* Where to go on: behind the hook that queued the packet; when that has gone,
 * at the one of its priority that was behind it; and without that, at the first
 * one with a higher priority.
 */
static unsigned int nf_imq_next_hook(const struct nf_hook_entries *e,
				     const struct nf_imq_ext *ext)
{
	struct nf_hook_ops **all = nf_hook_entries_get_hook_ops(e);
	unsigned int i, n = e->num_hook_entries;

	i = ext->hook_index;
	if (i < n && nf_imq_same_hook(READ_ONCE(all[i]), ext))
		return i + 1;

	for (i = 0; i < n; i++)
		if (nf_imq_same_hook(READ_ONCE(all[i]), ext))
			return i + 1;

	for (i = 0; i < n && ext->next_fn; i++)
		if (nf_imq_hook_is(READ_ONCE(all[i]), ext->next_fn,
				   ext->priority, ext->next_key))
			return i;

	for (i = 0; i < n; i++)
		if (READ_ONCE(all[i])->priority > ext->priority)
			break;

	return i;
}

/* What comes after the last hook. The netdev family has no okfn: the packet
 * goes on as after an IFB, behind tc's and netfilter's hooks on ingress, and
 * behind netfilter's on egress.
 */
static void nf_imq_okfn(struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (state->okfn) {
		state->okfn(state->net, state->sk, skb);
	} else if (state->hook == NF_NETDEV_INGRESS) {
#ifdef CONFIG_NET_CLS_ACT
		skb->tc_skip_classify = 1;
#endif
		/* which is done behind the hook */
		skb_reset_redirect(skb);
		/* not by RPS again, behind packets that came later */
		netif_receive_skb_core(skb);
	} else {
		nf_skip_egress(skb, true);
		dev_queue_xmit(skb);
	}
}

/* A device that has been set down counts as gone. NFQUEUE, where the packet may be
 * put next, holds its devices, and drops what is of one at NETDEV_DOWN only: there is
 * none if it is deleted later. It stops running a grace period before that, see
 * dev_deactivate_many().
 */
static bool nf_imq_find_dev(struct net *net, int ifindex,
			    struct net_device **dev)
{
	*dev = ifindex ? dev_get_by_index_rcu(net, ifindex) : NULL;

	return !ifindex || (*dev && netif_running(*dev));
}

/* Bridge code takes a port's rx_handler_data for that of a bridge, without a look
 * whether it still is one; see nf_bridge_ports_valid() of nfnetlink_queue.
 */
static bool nf_imq_is_port(const struct net_device *dev)
{
	return !dev || netif_is_bridge_port(dev);
}

static bool nf_imq_find_bridge(struct net *net, struct sk_buff *skb,
			       const struct nf_imq_ext *ext)
{
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	struct nf_bridge_info *nf_bridge = nf_bridge_info_get(skb);
	struct net_device *dev;

	dev = nf_bridge ? nf_bridge_get_physindev(skb, net) : NULL;
	if (dev && (!netif_running(dev) || !netif_is_bridge_port(dev)))
		return false;

	if (ext->fake_dst &&
	    (!nf_imq_find_dev(net, ext->bridge_ifindex, &dev) ||
	     dev != ext->bridge || !netif_is_bridge_master(dev)))
		return false;

	if (ext->physout) {
		if (!nf_imq_find_dev(net, ext->physout, &dev) ||
		    !nf_imq_is_port(dev))
			return false;
		if (nf_bridge)
			nf_bridge->physoutdev = dev;
	}
#endif
	return true;
}

/* One that is going keeps its text until the RCU readers of this moment are done.
 * But NFQUEUE, where the packet may be put next, has been flushed for the last time.
 */
static bool nf_imq_in_module(unsigned long text)
{
#ifdef CONFIG_MODULES
	struct module *mod;

	guard(preempt)();
	mod = __module_text_address(text);

	return mod && module_is_live(mod);
#else
	return false;
#endif
}

/* Modules that were unloaded since may have had okfn. */
static bool nf_imq_okfn_alive(const struct nf_imq_ext *ext)
{
	unsigned long text = (unsigned long)
			     dereference_function_descriptor(ext->okfn);

	if (!ext->okfn || core_kernel_text(text))
		return true;

	return ext->module_gen == atomic_read(&nf_imq_module_gen) &&
	       nf_imq_in_module(text);
}

static void nf_imq_drop(struct sk_buff *skb, struct net_device *imq,
			enum nf_imq_counter counter)
{
	const struct nf_imq_ops *ops = rcu_dereference(nf_imq_ops);

	trace_imq_drop(skb, imq, counter);
	if (ops)
		ops->count(imq, counter);
	kfree_skb_reason(skb, counter == NF_IMQ_DROP_DEV ?
			      SKB_DROP_REASON_DEV_READY :
			      SKB_DROP_REASON_NETFILTER_DROP);
}

/* The state of a packet that goes on. Clones and segments share all extensions. What
 * stays has to be the packet's own: bridge netfilter writes to its extension behind the
 * hook, and see nf_imq_ext_del().
 */
static struct nf_imq_ext *nf_imq_ext_back(struct sk_buff *skb)
{
	if (unlikely(skb->active_extensions != BIT(SKB_EXT_IMQ)) &&
	    nf_imq_ext_shared(skb))
		return skb_ext_add(skb, SKB_EXT_IMQ);

	return skb_ext_find(skb, SKB_EXT_IMQ);
}

/* A reference to the socket of the hook state, for as long as it is used. */
static struct sock *nf_imq_take_state_sk(struct sk_buff *skb,
					 struct nf_imq_ext *ext)
{
	struct sock *sk = ext->state_sk;

	if (!sk)
		return NULL;
	if (nf_imq_ext_shared(skb))
		refcount_inc(&sk->sk_refcnt);
	else
		ext->state_sk = NULL;

	return sk;
}

/* What the packet holds of its sender is given up by whoever orphans it, and a
 * hook or okfn that does may still use the socket. In the sender's call it could
 * not go; here it could.
 */
static struct sock *nf_imq_hold_sender(const struct sk_buff *skb)
{
	struct sock *sk = skb->sk;

	if (!sk || !sk_fullsock(sk))
		return NULL;
	/* as the packet does; sk_refcnt may be 0 by now */
	refcount_inc(&sk->sk_wmem_alloc);

	return sk;
}

/* A bridge takes it that a packet which it delivers, and which is not for it alone, is
 * the only one of a connection that is not confirmed: br_nf_local_in(). What netem
 * duplicates is not, nor are segments; the last one is. Is that still to come?
 */
static bool nf_imq_bridge_copy(struct sk_buff *skb,
			       const struct nf_hook_state *state)
{
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	struct nf_bridge_info *nf_bridge = nf_bridge_info_get(skb);

	if (!nf_bridge || !nf_imq_ct_shared(skb))
		return false;
	if (state->pf != NFPROTO_BRIDGE)
		return nf_bridge->in_prerouting &&
		       (nf_bridge->pkt_otherhost ||
			skb->pkt_type != PACKET_HOST);

	return skb->pkt_type != PACKET_HOST &&
	       (state->hook == NF_BR_PRE_ROUTING ||
		state->hook == NF_BR_LOCAL_IN);
#else
	return false;
#endif
}

/**
 * nf_imq_resume - have a packet go on behind its hook
 * @skb: packet for which nf_imq_ext_of() has returned an extension
 * @imq: the device that it went through
 *
 * Consumes the packet: it passes the hooks that are left and goes on, or is
 * dropped and counted.
 *
 * Context: softirq, under rcu_read_lock(), with no lock held: this may run the
 * whole receive and transmit path.
 */
void nf_imq_resume(struct sk_buff *skb, struct net_device *imq)
{
	struct nf_imq_ext *ext = nf_imq_ext_back(skb);
	struct net *net = dev_net(imq);
	struct nf_hook_entries *e;
	struct sock *sk, *sender = NULL;
	struct nf_hook_state state;
	struct net_device *dev;
	bool sk_of_skb, dup;
	unsigned int i;

	if (unlikely(!ext)) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return;
	}
	nf_hook_state_init(&state, ext->hook, ext->pf, NULL, NULL, NULL, net,
			   ext->okfn);
	if (!nf_imq_find_dev(net, ext->dev, &dev) ||
	    !nf_imq_find_dev(net, ext->in, &state.in) ||
	    !nf_imq_find_dev(net, ext->out, &state.out) ||
	    !nf_imq_find_bridge(net, skb, ext)) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return;
	}
	if (ext->pf == NFPROTO_BRIDGE &&
	    (!nf_imq_is_port(state.in) || !nf_imq_is_port(state.out))) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return;
	}
	if (!nf_imq_okfn_alive(ext) || nf_imq_bridge_copy(skb, &state)) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_HOOK);
		return;
	}

	e = nf_imq_hook_entries(net, &state);
	i = e ? nf_imq_next_hook(e, ext) : 0;
	sk_of_skb = ext->flags & NF_IMQ_F_STATE_SK_SKB;
	dup = ext->flags & NF_IMQ_F_DUPLICATED;
	sk = nf_imq_take_state_sk(skb, ext);
	trace_imq_reinject(skb, imq, ext);

	if (unlikely(!nf_imq_restore(skb, ext))) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		goto put_sk;
	}
	skb->dev = dev;
	/* NULL by now if a qdisc has orphaned the packet, or in a clone */
	if (sk_of_skb)
		sender = nf_imq_hold_sender(skb);
	state.sk = sk_of_skb ? skb->sk : sk;

	/* A copy by dup or TEE is not copied again. */
	__this_cpu_write(nf_skb_duplicated, dup);
	if (!e || nf_hook_slow(skb, &state, e, i) == 1)
		nf_imq_okfn(skb, &state);
	__this_cpu_write(nf_skb_duplicated, false);
	if (sender)
		sk_free(sender);
put_sk:
	if (sk)
		sock_gen_put(sk);
}
EXPORT_SYMBOL_GPL(nf_imq_resume);

/* Queueing */

static void nf_imq_no_driver(struct net *net)
{
	atomic_long_inc(&net->nf.imq->no_driver);
	if (!test_and_set_bit(0, &nf_imq_no_driver_logged))
		pr_warn("driver is not loaded, packets pass unshaped\n");
}

/**
 * nf_imq_no_device - account a packet for which there is no device
 * @net: namespace of the packet
 * @index: index that it asked for, or any larger number
 *
 * Context: under rcu_read_lock().
 */
void nf_imq_no_device(struct net *net, u32 index)
{
	const struct nf_imq_ops *ops = rcu_dereference(nf_imq_ops);

	atomic_long_inc(&net->nf.imq->no_device);
	if (ops && index <= NF_IMQ_INDEX_MAX)
		ops->missing(net, index);
}
EXPORT_SYMBOL_GPL(nf_imq_no_device);

static void nf_imq_bypass(struct sk_buff *skb, const struct nf_imq_ops *ops,
			  struct net_device *imq, enum nf_imq_counter counter)
{
	trace_imq_bypass(skb, imq, counter);
	ops->count(imq, counter);
}

/* A packet that is in this device already, before its qdisc: an egress hook of
 * the imq device has sent it there again.
 */
static bool nf_imq_inside(const struct sk_buff *skb,
			  const struct nf_hook_state *state)
{
	const struct nf_imq_ext *ext;

	if (state->pf != NFPROTO_NETDEV || !state->out)
		return false;

	ext = skb_ext_find(skb, SKB_EXT_IMQ);

	return ext && ext->flags & NF_IMQ_F_QUEUED &&
	       ext->net == state->net && ext->imq == state->out->ifindex;
}

/* Hooks where somebody can go on with the packet later. NF_QUEUE verdicts with
 * our flag can come from userspace (nfnetlink_queue), for any hook.
 */
static bool nf_imq_fit_hook(const struct sk_buff *skb,
			    const struct nf_hook_state *state)
{
	switch (state->pf) {
	case NFPROTO_IPV4:
	case NFPROTO_IPV6:
		/* The okfn of a VRF's own pass frees what comes there. */
		if (state->hook == NF_INET_PRE_ROUTING && state->in &&
		    netif_is_l3_master(state->in))
			return false;
		return state->okfn;
	case NFPROTO_BRIDGE:
		/* br_handle_local_finish() leaves the packet to its caller. */
		if (state->hook == NF_BR_LOCAL_IN && skb->dev == state->in)
			return false;
		return state->okfn;
	case NFPROTO_NETDEV:
		return state->hook != NF_NETDEV_INGRESS || NF_IMQ_INGRESS;
	default:
		return false;
	}
}

/**
 * __nf_imq_ct_shared - nf_imq_ct_shared(), of a packet that may be the first one
 * @skb: packet
 *
 * A template, which many packets have, is never confirmed.
 *
 * Return: false without conntrack.
 */
bool __nf_imq_ct_shared(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	const struct nf_conn *ct = (const void *)skb_nfct(skb);

	return ct && !nf_ct_is_confirmed(ct) && !nf_ct_is_template(ct) &&
	       refcount_read(&ct->ct_general.use) > 1;
#else
	return false;
#endif
}
EXPORT_SYMBOL_GPL(__nf_imq_ct_shared);

/* ESP that is left to the device it goes out by: validate_xmit_xfrm() */
static bool nf_imq_unencrypted(struct sk_buff *skb)
{
#ifdef CONFIG_XFRM_OFFLOAD
	const struct xfrm_offload *xo = xfrm_offload(skb);

	return xo && !(xo->flags & (XFRM_XMIT | XFRM_GRO)) &&
	       xfrm_input_state(skb)->xso.dir != XFRM_DEV_OFFLOAD_IN;
#else
	return false;
#endif
}

static bool nf_imq_fit_sk(const struct sock *sk)
{
	/* bpf_sk_assign_tcp_reqsk(): nobody holds its listener. */
	if (sk->sk_state == TCP_NEW_SYN_RECV)
		return !inet_reqsk(sk)->syncookie;
#ifdef CONFIG_SOCK_VALIDATE_XMIT
	if (sk_fullsock(sk) && sk->sk_validate_xmit_skb)
		return false;
#endif
	return true;
}

/* Packets that a transmit path passes unmodified */
static bool nf_imq_fit_packet(struct sk_buff *skb,
			      const struct nf_hook_state *state)
{
	/* The hook's caller would go on with a reference of ours. */
	if (skb_shared(skb) || nf_imq_inside(skb, state))
		return false;
	/* Copies by a bridge or for multicast: the first one could be elsewhere
	 * by then. As for NFQUEUE (nf_ct_drop_unconfirmed()), queueing is not
	 * for them.
	 */
	if (nf_imq_ct_shared(skb))
		return false;

	/* Segments would lack it. */
	if (skb_is_gso(skb) && skb_mac_header_was_set(skb) &&
	    -skb_mac_offset(skb) > NF_IMQ_MAC_MAX)
		return false;

	/* Qdiscs can't account a packet without a byte. */
	if (skb->len <= max(skb_network_offset(skb), 0))
		return false;

	/* This device would drop it, or encrypt it for good. */
	if (skb_is_decrypted(skb) || nf_imq_unencrypted(skb))
		return false;
	if (skb->sk && !nf_imq_fit_sk(skb->sk))
		return false;

	return skb_frags_readable(skb);
}

/* Not quite !IFF_UP: that is cleared after the qdiscs are gone. Those of all queues
 * go at the same time; one that somebody takes away below mq counts as well.
 */
static bool nf_imq_down(const struct net_device *imq)
{
	return rcu_access_pointer(netdev_get_tx_queue(imq, 0)->qdisc) ==
	       &noop_qdisc;
}

static struct net_device *nf_imq_find(const struct net *net, u16 index,
				      const struct nf_imq_ops *ops)
{
	if (unlikely(index >= NF_IMQ_NUM_DIRECT))
		return ops->find(net, index);

	return rcu_dereference(net->nf.imq->direct[index]);
}

/* The device to queue to; NULL, and accounted, if the packet goes on as it is */
static struct net_device *nf_imq_device(struct sk_buff *skb,
					const struct nf_hook_state *state,
					const struct nf_imq_ops *ops, u16 index)
{
	struct net_device *imq;

	if (unlikely(!ops)) {
		trace_imq_bypass(skb, NULL, NF_IMQ_COUNTERS);
		nf_imq_no_driver(state->net);
		return NULL;
	}

	imq = nf_imq_find(state->net, index, ops);
	if (unlikely(!imq)) {
		trace_imq_bypass(skb, NULL, NF_IMQ_COUNTERS);
		nf_imq_no_device(state->net, index);
		return NULL;
	}

	if (unlikely(nf_imq_down(imq))) {
		nf_imq_bypass(skb, ops, imq, NF_IMQ_BYPASS_DOWN);
		return NULL;
	}

	if (unlikely(!nf_imq_fit_hook(skb, state) ||
		     !nf_imq_fit_packet(skb, state))) {
		nf_imq_bypass(skb, ops, imq, NF_IMQ_BYPASS_UNFIT);
		return NULL;
	}

	return imq;
}

/* What nf_hook_slow() tells the sender, who may slow down. 1 is "go on", so a
 * dropped packet is told as congestion, too. Transmit paths only: the receive
 * path takes anything positive for "go on".
 */
static int nf_imq_xmit_errno(const struct nf_hook_state *state, int rc)
{
	if (state->pf != NFPROTO_IPV4 && state->pf != NFPROTO_IPV6)
		return 0;
	if (state->hook != NF_INET_LOCAL_OUT &&
	    state->hook != NF_INET_POST_ROUTING)
		return 0;

	return rc > 0 ? NET_XMIT_CN : rc;
}

/* The qdisc has orphaned the packet, so the socket that the hook's caller would
 * go on with may be gone: go on from here.
 */
static noinline_for_stack int
nf_imq_continue(struct sk_buff *skb, const struct nf_hook_state *state,
		const struct nf_hook_entries *e, unsigned int index)
{
	struct nf_hook_state here = *state;

	here.sk = NULL;
	if (nf_hook_slow(skb, &here, e, index + 1) == 1)
		nf_imq_okfn(skb, &here);

	return 0;
}

/* Returns as nf_imq_queue(). Bottom halves are off. */
static int nf_imq_xmit(struct sk_buff *skb, struct net_device *imq,
		       const struct nf_hook_state *state,
		       const struct nf_hook_entries *e, unsigned int index,
		       const struct nf_imq_ops *ops)
{
	struct net_device *dev = skb->dev;
	struct nf_imq_own outer, *own;
	struct nf_imq_ext *ext;
	bool back, sk_of_skb;
	int rc;

	ext = nf_imq_ext_new(skb);
	if (unlikely(!ext)) {
		nf_imq_bypass(skb, ops, imq, NF_IMQ_BYPASS_NOMEM);
		return 1;
	}
	ext->imq = imq->ifindex;
	if (unlikely(!nf_imq_save(skb, ext, state, e, index))) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_SOCK);
		return 0;
	}
	if (unlikely(skb_dst(skb) && !skb_dst_force(skb))) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return 0;
	}

	trace_imq_enqueue(skb, imq, ext);
	dev_sw_netstats_rx_add(imq, skb->len);
	skb->dev = imq;

	own = this_cpu_ptr(&nf_imq_own);
	outer = *own;
	own->skb = skb;
	own->token = ext->token;
	rc = dev_queue_xmit(skb);
	back = !own->skb;
	*own = outer;

	if (!back)
		return nf_imq_xmit_errno(state, rc);

	ext = nf_imq_ext_back(skb);
	if (unlikely(!ext)) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return 0;
	}
	sk_of_skb = ext->flags & NF_IMQ_F_STATE_SK_SKB;
	trace_imq_reinject(skb, imq, ext);
	if (unlikely(!nf_imq_restore(skb, ext))) {
		nf_imq_drop(skb, imq, NF_IMQ_DROP_DEV);
		return 0;
	}
	skb->dev = dev;

	if (unlikely(sk_of_skb && skb->sk != state->sk))
		return nf_imq_continue(skb, state, e, index);

	return 1;
}

/* A packet that was marked, and passes unshaped, needs its extension no more. */
static void nf_imq_unmark(struct sk_buff *skb)
{
	struct nf_imq_ext *ext = skb_ext_find(skb, SKB_EXT_IMQ);

	if (!ext || ext->flags)
		return;

	local_bh_disable();
	nf_imq_ext_del(skb, ext);
	local_bh_enable();
}

/**
 * nf_imq_queue - send a packet through an imq device
 * @skb: packet
 * @state: state of the hook that asks for it
 * @e: the hooks being traversed
 * @index: of that hook in @e
 * @verdict: as made by nf_imq_verdict()
 *
 * Context: any hook; under rcu_read_lock().
 * Return: 1 if the packet goes on with the next hook now: it has been through
 * the device, or there is none that is up. Else the packet is no more the
 * caller's; 0, or on IPv4's and IPv6's transmit path NET_XMIT_CN or a negative
 * errno, if it may have been dropped.
 */
int nf_imq_queue(struct sk_buff *skb, const struct nf_hook_state *state,
		 const struct nf_hook_entries *e, unsigned int index,
		 unsigned int verdict)
{
	const struct nf_imq_ops *ops = rcu_dereference(nf_imq_ops);
	struct net_device *imq;
	bool bh;
	int ret;

	imq = nf_imq_device(skb, state, ops, verdict >> NF_VERDICT_QBITS);
	if (!imq) {
		nf_imq_unmark(skb);
		return 1;
	}

	/* off already, for what has been received */
	bh = !softirq_count();
	if (bh)
		local_bh_disable();
	ret = nf_imq_xmit(skb, imq, state, e, index, ops);
	if (bh)
		local_bh_enable();

	return ret;
}

/**
 * nf_imq_mark - remember that a packet wants to an imq device
 * @net: namespace of the packet
 * @skb: packet
 * @index: index of the device; the last call wins
 *
 * For targets that run before the hook that queues. Without memory for it, the
 * packet passes unshaped, and is counted.
 */
void nf_imq_mark(struct net *net, struct sk_buff *skb, u16 index)
{
	struct nf_imq_ext *ext;

	ext = nf_imq_ext_new(skb);
	if (unlikely(!ext)) {
		atomic_long_inc(&net->nf.imq->no_memory);
		skb_ext_del(skb, SKB_EXT_IMQ);	/* an earlier mark */
		return;
	}

	ext->net = net;
	ext->index = index;
	ext->flags = NF_IMQ_F_MARKED;
}
EXPORT_SYMBOL_GPL(nf_imq_mark);

/* Registration */

/**
 * nf_imq_register - make the driver known to netfilter
 * @ops: its functions
 */
void nf_imq_register(const struct nf_imq_ops *ops)
{
	clear_bit(0, &nf_imq_no_driver_logged);
	rtnl_lock();
	WARN_ON(rcu_access_pointer(nf_imq_ops));
	rcu_assign_pointer(nf_imq_ops, ops);
	rtnl_unlock();
}
EXPORT_SYMBOL_GPL(nf_imq_register);

/**
 * nf_imq_set_device - a device has come or gone
 * @net: its namespace
 * @index: its index
 * @dev: the device, or NULL
 *
 * Context: under RTNL. It is freed a grace period after it has gone.
 */
void nf_imq_set_device(struct net *net, u16 index, struct net_device *dev)
{
	if (index < NF_IMQ_NUM_DIRECT)
		rcu_assign_pointer(net->nf.imq->direct[index], dev);
}
EXPORT_SYMBOL_GPL(nf_imq_set_device);

/* All devices that are up; under RTNL */
static void nf_imq_collect(const struct nf_imq_ops *ops, struct list_head *up)
{
	struct net_device *dev;
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net)
		for_each_netdev(net, dev)
			if (dev->rtnl_link_ops == ops->link_ops &&
			    netif_running(dev))
				list_add_tail(&dev->close_list, up);
	up_read(&net_rwsem);
}

/* Drops what waits in any device; they wait for readers together. All of them are down
 * for netfilter then: a packet that a poll has taken may meet another one.
 */
static void nf_imq_deactivate(const struct nf_imq_ops *ops,
			      struct list_head *up)
{
	struct net_device *dev;

	nf_imq_collect(ops, up);
	dev_deactivate_many(up);
	list_for_each_entry(dev, up, close_list)
		ops->purge(dev);
	synchronize_net();
}

static void nf_imq_activate(struct list_head *up)
{
	struct net_device *dev, *next;

	list_for_each_entry_safe(dev, next, up, close_list) {
		list_del_init(&dev->close_list);
		netif_tx_start_all_queues(dev);
		dev_activate(dev);
	}
}

static void nf_imq_drop_nfqueue(void)
{
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net)
		nf_queue_nf_hook_drop(net);
	up_read(&net_rwsem);
}

/**
 * nf_imq_unregister - the driver is going
 *
 * No function of the driver is called by netfilter after this. Its devices are
 * still there, but without a packet.
 */
void nf_imq_unregister(void)
{
	const struct nf_imq_ops *ops;
	LIST_HEAD(up);

	rtnl_lock();
	ops = rtnl_dereference(nf_imq_ops);
	RCU_INIT_POINTER(nf_imq_ops, NULL);
	synchronize_net();
	nf_imq_deactivate(ops, &up);
	nf_imq_activate(&up);
	rtnl_unlock();
}
EXPORT_SYMBOL_GPL(nf_imq_unregister);

/**
 * nf_imq_flush - drop what waits in imq devices
 *
 * For conntrack, when a helper or NAT goes: a connection that is not confirmed is
 * known to its packet only, and nf_ct_iterate_destroy() can't find it. Those that
 * NFQUEUE has are dropped by nf_queue_nf_hook_drop(), which is also called when a
 * hook goes; here packets stay then. As packets may wait for one behind the other,
 * NFQUEUE is asked once more when no device has any. And when conntrack itself goes:
 * nobody waits for the templates of packets.
 *
 * Context: process, may sleep; takes RTNL. No packet gets into a device during it,
 * and those that were on their way from one have gone on.
 */
void nf_imq_flush(void)
{
	const struct nf_imq_ops *ops;
	LIST_HEAD(up);

	rtnl_lock();
	ops = rtnl_dereference(nf_imq_ops);
	if (ops) {
		nf_imq_deactivate(ops, &up);
		/* It may have got some of the packets meanwhile. */
		nf_imq_drop_nfqueue();
		nf_imq_activate(&up);
	}
	rtnl_unlock();
}
EXPORT_SYMBOL_GPL(nf_imq_flush);

#ifdef CONFIG_MODULES
/* Called after the module's exit function, before its text is freed. */
static int nf_imq_module_event(struct notifier_block *nb, unsigned long event,
			       void *mod)
{
	if (event == MODULE_STATE_GOING)
		atomic_inc(&nf_imq_module_gen);

	return NOTIFY_DONE;
}

static struct notifier_block nf_imq_module_nb = {
	.notifier_call = nf_imq_module_event,
};

static int __init nf_imq_watch_modules(void)
{
	return register_module_notifier(&nf_imq_module_nb);
}
#else
static int __init nf_imq_watch_modules(void)
{
	return 0;
}
#endif

#ifdef CONFIG_PROC_FS
static int nf_imq_proc_show(struct seq_file *seq, void *v)
{
	struct nf_imq_net *inet = seq_file_single_net(seq)->nf.imq;

	seq_printf(seq, "no_device %ld\n", atomic_long_read(&inet->no_device));
	seq_printf(seq, "no_driver %ld\n", atomic_long_read(&inet->no_driver));
	seq_printf(seq, "no_memory %ld\n", atomic_long_read(&inet->no_memory));

	return 0;
}
#endif

static int __net_init nf_imq_net_init(struct net *net)
{
	net->nf.imq = net_generic(net, nf_imq_net_id);
#ifdef CONFIG_PROC_FS
	if (!proc_create_net_single("nf_imq", 0440, net->nf.proc_netfilter,
				    nf_imq_proc_show, NULL))
		return -ENOMEM;
#endif
	return 0;
}

static void __net_exit nf_imq_net_exit(struct net *net)
{
#ifdef CONFIG_PROC_FS
	remove_proc_entry("nf_imq", net->nf.proc_netfilter);
#endif
}

static struct pernet_operations nf_imq_net_ops = {
	.init	= nf_imq_net_init,
	.exit	= nf_imq_net_exit,
	.id	= &nf_imq_net_id,
	.size	= sizeof(struct nf_imq_net),
};

static int __init nf_imq_init(void)
{
	int cpu, err;

	for_each_possible_cpu(cpu)
		per_cpu(nf_imq_token, cpu) = cpu;

	err = register_pernet_subsys(&nf_imq_net_ops);
	if (err)
		return err;

	err = nf_imq_watch_modules();
	if (err)
		unregister_pernet_subsys(&nf_imq_net_ops);

	return err;
}
subsys_initcall(nf_imq_init);
