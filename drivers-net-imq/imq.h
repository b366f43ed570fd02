/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _IMQ_H
#define _IMQ_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/smp.h>
#include <linux/u64_stats_sync.h>
#include <net/netfilter/nf_imq.h>

/* Packets of one device that may wait on one CPU between the qdisc and their
 * hook. With more, the tx queue stops, and the qdisc keeps its backlog where it
 * can be managed.
 */
#define IMQ_CELL_LIMIT	64

/**
 * struct imq_stats - counters of one CPU
 * @counter: indexed by enum nf_imq_counter
 * @syncp: protects @counter against torn reads on 32 bit
 */
struct imq_stats {
	u64_stats_t		counter[NF_IMQ_COUNTERS];
	struct u64_stats_sync	syncp;
};

/**
 * struct imq_cell - where the packets of one device that came in on one CPU
 *	wait to go on there
 * @queue: the packets; multi producer (ndo_start_xmit() on any CPU), single
 *	consumer (@napi)
 * @pending: packets in @queue, and those that @napi has taken and not finished;
 *	written under @queue.lock
 * @full: a tx queue was stopped because of @queue; under its lock
 * @napi: passes the packets on
 * @kick: schedules @napi on its CPU from another one; belongs, as @napi does,
 *	to whom napi_schedule_prep() has said so
 * @stats: counters
 */
struct imq_cell {
	struct sk_buff_head	queue;
	unsigned int		pending;
	bool			full;
	struct napi_struct	napi;
	call_single_data_t	kick;
	struct imq_stats	stats;
};

/**
 * struct imq_dev - private part of an imq device
 * @cells: one for each possible CPU
 * @index: its number in the namespace, fixed
 * @down_logged: bit 0: it has been logged that packets pass while it is down
 */
struct imq_dev {
	struct imq_cell __percpu	*cells;
	u16				index;
	unsigned long			down_logged;
};

/* device.c */
void imq_setup(struct net_device *dev);
void imq_count(struct net_device *dev, enum nf_imq_counter counter);
u64 imq_counter(const struct imq_dev *imq, enum nf_imq_counter counter);

/* link.c; under RTNL */
extern struct rtnl_link_ops imq_link_ops;
void imq_index_release(struct net_device *dev);

/* cell.c; init, open, stop and exit under RTNL */
int imq_cells_init(struct net_device *dev);
void imq_cells_open(struct net_device *dev);
void imq_cells_stop(struct net_device *dev);
void imq_cells_exit(struct net_device *dev);
netdev_tx_t imq_xmit(struct sk_buff *skb, struct net_device *dev);

#endif /* _IMQ_H */
