/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM imq

#if !defined(_TRACE_IMQ_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IMQ_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/tracepoint.h>
#include <net/netfilter/nf_imq.h>

TRACE_DEFINE_ENUM(NF_IMQ_BYPASS_DOWN);
TRACE_DEFINE_ENUM(NF_IMQ_BYPASS_NOMEM);
TRACE_DEFINE_ENUM(NF_IMQ_BYPASS_UNFIT);
TRACE_DEFINE_ENUM(NF_IMQ_DROP_DEV);
TRACE_DEFINE_ENUM(NF_IMQ_DROP_HOOK);
TRACE_DEFINE_ENUM(NF_IMQ_DROP_SOCK);
TRACE_DEFINE_ENUM(NF_IMQ_FOREIGN);
TRACE_DEFINE_ENUM(NF_IMQ_COUNTERS);

/* A packet at its hook: about to enter the device, or about to go on. */
DECLARE_EVENT_CLASS(imq_packet,
		    TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
			     const struct nf_imq_ext *ext),
		    TP_ARGS(skb, imq, ext),
		    TP_STRUCT__entry(__field(const void *, skbaddr)
				     __string(dev, imq->name)
				     __field(unsigned int, len)
				     __field(u32, mark)
				     __field(u16, queue)
				     __field(u8, pf)
				     __field(u8, hook)
				     __field(int, cpu)),
		    TP_fast_assign(__entry->skbaddr = skb;
				   __assign_str(dev);
				   __entry->len = skb->len;
				   __entry->mark = skb->mark;
				   __entry->queue = skb->queue_mapping;
				   __entry->pf = ext->pf;
				   __entry->hook = ext->hook;
				   __entry->cpu = ext->cpu;),
		    TP_printk("dev=%s queue=%u skbaddr=%p len=%u mark=%#x pf=%u hook=%u cpu=%d",
			      __get_str(dev), __entry->queue, __entry->skbaddr,
			      __entry->len, __entry->mark, __entry->pf, __entry->hook,
			      __entry->cpu));

DEFINE_EVENT(imq_packet, imq_enqueue,
	     TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
		      const struct nf_imq_ext *ext),
	     TP_ARGS(skb, imq, ext));

DEFINE_EVENT(imq_packet, imq_reinject,
	     TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
		      const struct nf_imq_ext *ext),
	     TP_ARGS(skb, imq, ext));

/* A packet that was not shaped, or not delivered, and why. NF_IMQ_COUNTERS, and
 * no device, for one that asked for a device that is not there.
 */
DECLARE_EVENT_CLASS(imq_exception,
		    TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
			     int reason),
		    TP_ARGS(skb, imq, reason),
		    TP_STRUCT__entry(__field(const void *, skbaddr)
				     __string(dev, imq ? imq->name : "-")
				     __field(unsigned int, len)
				     __field(int, reason)),
		    TP_fast_assign(__entry->skbaddr = skb;
				   __assign_str(dev);
				   __entry->len = skb->len;
				   __entry->reason = reason;),
		    TP_printk("dev=%s skbaddr=%p len=%u reason=%s", __get_str(dev),
			      __entry->skbaddr, __entry->len,
			      __print_symbolic(__entry->reason,
					       { NF_IMQ_BYPASS_DOWN, "bypass_down" },
					       { NF_IMQ_BYPASS_NOMEM, "bypass_nomem" },
					       { NF_IMQ_BYPASS_UNFIT, "bypass_unfit" },
					       { NF_IMQ_DROP_DEV, "drop_dev" },
					       { NF_IMQ_DROP_HOOK, "drop_hook" },
					       { NF_IMQ_DROP_SOCK, "drop_sock" },
					       { NF_IMQ_FOREIGN, "foreign" },
					       { NF_IMQ_COUNTERS, "no_device" })));

DEFINE_EVENT(imq_exception, imq_bypass,
	     TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
		      int reason),
	     TP_ARGS(skb, imq, reason));

DEFINE_EVENT(imq_exception, imq_drop,
	     TP_PROTO(const struct sk_buff *skb, const struct net_device *imq,
		      int reason),
	     TP_ARGS(skb, imq, reason));

#endif /* _TRACE_IMQ_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
