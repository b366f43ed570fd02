/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _NF_IMQ_H
#define _NF_IMQ_H

#include <linux/atomic.h>
#include <linux/if_vlan.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/percpu-defs.h>
#include <linux/skbuff.h>

struct net;
struct net_device;
struct rtnl_link_ops;

#define NF_IMQ_INDEX_MAX	U16_MAX

/* A packet that had to wait re-enters the receive path behind the ingress hook.
 * Only with CONFIG_NET_CLS_ACT can it be told to skip that.
 */
#define NF_IMQ_INGRESS		IS_ENABLED(CONFIG_NET_CLS_ACT)

/* A mac header up to this length is put back in front of the segments of a GSO
 * packet that a qdisc has split: Ethernet, with a VLAN tag in line.
 */
#define NF_IMQ_MAC_MAX		VLAN_ETH_HLEN

/**
 * nf_imq_verdict - verdict that sends a packet through an imq device
 * @index: index of the device in the packet's network namespace
 */
static inline unsigned int nf_imq_verdict(u16 index)
{
	return NF_QUEUE | NF_VERDICT_FLAG_IMQ |
	       (unsigned int)index << NF_VERDICT_QBITS;
}

/* nf_imq_ext::flags */
enum {
	NF_IMQ_F_MARKED		= BIT(0), /* wants to @index, by nf_imq_mark() */
	NF_IMQ_F_QUEUED		= BIT(1), /* all fields are valid */
	NF_IMQ_F_RX		= BIT(2), /* @tstamp was taken from the skb */
	NF_IMQ_F_STATE_SK_SKB	= BIT(3), /* the hook's socket was skb->sk */
	NF_IMQ_F_SK_BORROWED	= BIT(4), /* @skb_sk: skb->sk was not counted */
	NF_IMQ_F_SK_PREFETCHED	= BIT(5), /* @skb_sk: by sock_pfree(), else by
					   * sock_edemux()
					   */
	NF_IMQ_F_MAC_HEADER	= BIT(6), /* @mac is valid */
	NF_IMQ_F_TAGGED		= BIT(7), /* begins with a VLAN tag in line */
	NF_IMQ_F_JUMBO		= BIT(8), /* IPv6 BIG TCP, with the hop-by-hop
					   * header that GSO removes
					   */
	NF_IMQ_F_DUPLICATED	= BIT(9), /* sent with nf_skb_duplicated set */
};

/**
 * struct nf_imq_ext - what a packet needs to go on after the imq device
 * @cb: skb->cb, which belongs to the qdisc in between
 * @net: that of the hook, or of nf_imq_mark(); for comparison, never dereferenced
 * @dst: the packet's route inside the device; for comparison, never dereferenced
 * @hook_fn: the hook that queued the packet; NULL if it had gone
 * @hook_key: what tells it from others with this function
 * @next_fn: the hook behind it, of its priority, that stays; or NULL
 * @next_key: what tells that from others with its function
 * @okfn: what follows the last hook; NULL in the netdev family
 * @state_sk: socket of the hook state, a reference is held; or NULL
 * @skb_sk: socket that skb->sk had on receive, a reference is held; or NULL
 * @fake_dst: route that bridge netfilter lends to bridged packets; or NULL
 * @bridge: its device; for comparison, never dereferenced
 * @tstamp: skb->tstamp, with NF_IMQ_F_RX
 * @headroom: skb_headroom() inside the device: by as much as it differs later,
 *	the headers have moved
 * @len: skb->len inside the device
 * @priority: priority of the hook that queued the packet
 * @imq: ifindex of the imq device
 * @dev: ifindex of skb->dev, or 0 for none in this namespace
 * @in: ifindex of the hook state's input device, or 0 as @dev
 * @out: ifindex of the hook state's output device, or 0
 * @physout: ifindex of the bridge port that the packet leaves by, or 0
 * @bridge_ifindex: ifindex of @bridge
 * @cpu: where the packet goes on, unless its flow does elsewhere
 * @token: tells this call of nf_imq_queue() from others
 * @module_gen: nf_imq_module_gen when the packet was queued
 * @napi_id: skb->napi_id
 * @index: index of the imq device
 * @hook_index: where @hook_fn was found in its array, a hint
 * @queue_mapping: skb->queue_mapping
 * @mac_len: skb->mac_len
 * @protocol: skb->protocol
 * @transport_header: skb->transport_header inside the device
 * @network_header: skb->network_header, likewise
 * @mac_header: skb->mac_header, likewise
 * @pulled: bytes by which skb->data was moved forward for the device
 * @pf: protocol family of the hook
 * @flags: NF_IMQ_F_*
 * @hook: number of the hook
 * @tstamp_type: skb->tstamp_type, with NF_IMQ_F_RX
 * @chunks: those of the packet's skb_ext, if it was made for this one; else 0
 * @mac: copy of a GSO packet's mac header, with NF_IMQ_F_MAC_HEADER
 *
 * Attached as SKB_EXT_IMQ. Written by the one owner of the skb before it enters
 * the device; clones and GSO segments made there share it and only read.
 */
struct nf_imq_ext {
	char			cb[sizeof_field(struct sk_buff, cb)] __aligned(8);
	const void		*net;
	const void		*dst;
	nf_hookfn		*hook_fn;
	u64			hook_key;
	nf_hookfn		*next_fn;
	u64			next_key;
	int			(*okfn)(struct net *net, struct sock *sk,
					struct sk_buff *skb);
	struct sock		*state_sk;
	struct sock		*skb_sk;
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	struct dst_entry	*fake_dst;
	const void		*bridge;
	int			bridge_ifindex;
	int			physout;
#endif
	ktime_t			tstamp;
	unsigned int		headroom;
	unsigned int		len;
	int			priority;
	int			imq;
	int			dev;
	int			in;
	int			out;
	int			cpu;
	u32			token;
	u32			module_gen;
#if defined(CONFIG_NET_RX_BUSY_POLL) || defined(CONFIG_XPS)
	unsigned int		napi_id;
#endif
	u16			index;
	u16			hook_index;
	u16			queue_mapping;
	u16			mac_len;
	__be16			protocol;
	u16			transport_header;
	u16			network_header;
	u16			mac_header;
	s8			pulled;
	u8			pf;
	u16			flags;
	u8			hook;
	u8			tstamp_type;
	u8			chunks;
	u8			mac[NF_IMQ_MAC_MAX];
};

/**
 * enum nf_imq_counter - what can happen to a packet other than to be shaped
 * @NF_IMQ_BYPASS_DOWN: went on unshaped, the device was down
 * @NF_IMQ_BYPASS_NOMEM: went on unshaped, no memory for the extension
 * @NF_IMQ_BYPASS_UNFIT: went on unshaped, a transmit path can't have it, or only
 *	the caller of its hook can go on with it; see
 *	nf_imq_fit_hook() and nf_imq_fit_packet()
 * @NF_IMQ_DROP_DEV: dropped, a device or route that it needs was gone, or the
 *	imq device was taken down with the packet in its ring
 * @NF_IMQ_DROP_HOOK: dropped, the code behind the hook was unloaded
 * @NF_IMQ_DROP_SOCK: dropped, its socket was gone
 * @NF_IMQ_FOREIGN: dropped, came to the device by another way than a hook, or
 *	lost its headers, protocol or route there
 * @NF_IMQ_RING_FULL: times a tx queue was stopped until packets had gone on
 * @NF_IMQ_COUNTERS: number of counters
 */
enum nf_imq_counter {
	NF_IMQ_BYPASS_DOWN,
	NF_IMQ_BYPASS_NOMEM,
	NF_IMQ_BYPASS_UNFIT,
	NF_IMQ_DROP_DEV,
	NF_IMQ_DROP_HOOK,
	NF_IMQ_DROP_SOCK,
	NF_IMQ_FOREIGN,
	NF_IMQ_RING_FULL,
	NF_IMQ_COUNTERS,
};

/* Devices with indexes below this are found without a call of the driver and a look
 * into its tree, which takes some 30 instructions more for each packet.
 */
#define NF_IMQ_NUM_DIRECT	16

/**
 * struct nf_imq_net - a namespace
 * @no_device: packets that passed unshaped: there was no device with the index
 * @no_driver: likewise: imq was not loaded
 * @no_memory: likewise: they could not be marked
 * @direct: the first devices, by index; written under RTNL, read under RCU
 */
struct nf_imq_net {
	atomic_long_t		no_device;
	atomic_long_t		no_driver;
	atomic_long_t		no_memory;
	struct net_device __rcu	*direct[NF_IMQ_NUM_DIRECT];
};

/**
 * struct nf_imq_ops - the driver, as seen from netfilter
 * @find: device with this index, or NULL; called under rcu_read_lock(). Not for
 *	those that nf_imq_set_device() has told of and nf_imq.c finds by itself
 * @missing: a packet asked for an index that has no device; same context
 * @count: add one to a counter of an imq device; same context
 * @purge: drop what a device, which is inactive, has behind its qdisc; called
 *	under RTNL
 * @link_ops: of its devices
 */
struct nf_imq_ops {
	struct net_device *(*find)(const struct net *net, u16 index);
	void (*missing)(struct net *net, u16 index);
	void (*count)(struct net_device *dev, enum nf_imq_counter counter);
	void (*purge)(struct net_device *dev);
	const struct rtnl_link_ops *link_ops;
};

/* The packet that this CPU's innermost nf_imq_queue() call is sending. */
struct nf_imq_own {
	struct sk_buff	*skb;
	u32		token;
};

DECLARE_PER_CPU(struct nf_imq_own, nf_imq_own);

/* nf_imq.c, for the driver */
void nf_imq_register(const struct nf_imq_ops *ops);
void nf_imq_set_device(struct net *net, u16 index, struct net_device *dev);
void nf_imq_unregister(void);
void nf_imq_resume(struct sk_buff *skb, struct net_device *imq);
bool __nf_imq_ct_shared(const struct sk_buff *skb);
bool nf_imq_has_headers(struct sk_buff *skb, const struct nf_imq_ext *ext);

/* nf_imq.c, for targets and expressions */
void nf_imq_mark(struct net *net, struct sk_buff *skb, u16 index);
void nf_imq_no_device(struct net *net, u32 index);

/* nf_imq.c, for nf_queue(): any hook, under rcu_read_lock() */
int nf_imq_queue(struct sk_buff *skb, const struct nf_hook_state *state,
		 const struct nf_hook_entries *e, unsigned int index,
		 unsigned int verdict);

/* nf_imq.c, for skb_ext_maybe_cow() and __skb_ext_put() */
void nf_imq_ext_hold(struct nf_imq_ext *ext);
void nf_imq_ext_put(struct nf_imq_ext *ext);

#if IS_ENABLED(CONFIG_NETFILTER_IMQ)
/* nf_imq.c, for conntrack */
void nf_imq_flush(void);

/**
 * nf_imq_ext_shared - whether clones have the extension, too
 * @skb: packet that has it
 */
static inline bool nf_imq_ext_shared(const struct sk_buff *skb)
{
	return refcount_read(&skb->extensions->refcnt) > 1;
}

/**
 * nf_imq_nhoff - network offset inside the device
 * @ext: state of a packet
 *
 * Return: bytes from skb->data, with which the packet has to leave
 */
static inline int nf_imq_nhoff(const struct nf_imq_ext *ext)
{
	return ext->network_header - (int)ext->headroom;
}

/**
 * nf_imq_take_mark - end what nf_imq_mark() began
 * @net: namespace of the hook
 * @skb: packet
 * @index: where the index of the device is put
 *
 * The mark is gone then, also if the packet passes unshaped. Its clones keep
 * theirs.
 *
 * Return: false if the packet is not marked, or in another namespace: some tunnels
 * leave extensions to packets that they take to another one.
 */
static inline bool nf_imq_take_mark(const struct net *net, struct sk_buff *skb,
				    u16 *index)
{
	struct nf_imq_ext *ext = skb_ext_find(skb, SKB_EXT_IMQ);

	if (!ext || !(ext->flags & NF_IMQ_F_MARKED) || ext->net != net)
		return false;

	*index = ext->index;
	if (nf_imq_ext_shared(skb))
		skb_ext_del(skb, SKB_EXT_IMQ);
	else
		ext->flags = 0;	/* and is used again to queue the packet */

	return true;
}

/**
 * nf_imq_ext_of - state of a packet that belongs in an imq device
 * @skb: packet in ndo_start_xmit() of @imq
 * @imq: the device
 *
 * Return: NULL for a packet that no hook has sent to this device, or that lacks
 * by now what hooks and okfn rely on: actions and BPF programs may have pushed
 * another header, or removed some, or replaced its route.
 */
static inline struct nf_imq_ext *nf_imq_ext_of(struct sk_buff *skb,
					       const struct net_device *imq)
{
	struct nf_imq_ext *ext = skb_ext_find(skb, SKB_EXT_IMQ);

	if (!ext || !(ext->flags & NF_IMQ_F_QUEUED) ||
	    ext->imq != imq->ifindex || ext->net != dev_net(imq))
		return NULL;

	if (ext->protocol != skb->protocol || ext->dst != skb_dst(skb))
		return NULL;

	/* mostly it is as it was */
	if (likely(ext->network_header == skb->network_header &&
		   ext->headroom == skb_headroom(skb) && ext->len == skb->len))
		return ext;

	return nf_imq_has_headers(skb, ext) ? ext : NULL;
}

/**
 * nf_imq_ct_shared - whether others have a packet's new connection, too
 * @skb: packet
 *
 * Copies or segments of a connection's first packet: conntrack has it changed with
 * no lock until it is confirmed, which each of them would do.
 */
static inline bool nf_imq_ct_shared(const struct sk_buff *skb)
{
	unsigned int ctinfo = skb_get_nfct(skb) & NFCT_INFOMASK;

	return (ctinfo == IP_CT_NEW || ctinfo == IP_CT_RELATED) &&
	       __nf_imq_ct_shared(skb);
}

/**
 * nf_imq_claim - hand a packet back to the hook that is sending it
 * @skb: packet in ndo_start_xmit()
 * @ext: its state
 *
 * A packet that the qdisc lets through in the very call that brought it can go
 * on there, as if it had never left: no lock is held by then that was not held
 * when the hook ran. Not if it has clones, and they could go on elsewhere at the
 * same time, with a new connection: it follows them.
 *
 * Context: bottom halves off.
 * Return: true if the packet is the caller's no more.
 */
static inline bool nf_imq_claim(const struct sk_buff *skb,
				const struct nf_imq_ext *ext)
{
	struct nf_imq_own *own = this_cpu_ptr(&nf_imq_own);

	if (own->skb != skb || own->token != ext->token)
		return false;
	if (nf_imq_ct_shared(skb))
		return false;

	own->skb = NULL;
	return true;
}

#else /* CONFIG_NETFILTER_IMQ */

static inline void nf_imq_flush(void)
{
}

#endif /* CONFIG_NETFILTER_IMQ */

#endif /* _NF_IMQ_H */
