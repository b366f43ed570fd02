/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _IMQ_H
#define _IMQ_H

#include <linux/atomic.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/u64_stats_sync.h>
#include <net/netfilter/nf_imq.h>

/* Packets of one device that may wait on one CPU between the qdisc and their
 * hook. With more, the tx queue stops, and the qdisc keeps its backlog where it
 * can be managed.
 */
#define IMQ_WAITING_MAX	64

/**
 * struct imq_pcpu - what a device has on one CPU
 * @waiting: packets in the CPU's cell, and those that its poll has taken and
 *	not finished; written under the lock of the cell's queue
 * @stopped: bit N: a tx queue whose number is N modulo 64 was stopped because of
 *	@waiting; under the same lock
 * @syncp: protects @counter against torn reads on 32 bit
 * @counter: indexed by enum nf_imq_counter
 */
struct imq_pcpu {
	unsigned int		waiting;
	u64			stopped;
	struct u64_stats_sync	syncp;
	u64_stats_t		counter[NF_IMQ_COUNTERS];
};

/**
 * struct imq_dev - private part of an imq device
 * @pcpu: for each possible CPU
 * @cells: CPUs whose imq_pcpu::waiting is not 0
 * @index: its number in the namespace, fixed
 * @down_logged: bit 0: it has been logged that packets pass while it is down
 */
struct imq_dev {
	struct imq_pcpu __percpu	*pcpu;
	atomic_t			cells;
	u16				index;
	unsigned long			down_logged;
};

/* device.c */
void imq_setup(struct net_device *dev);
void imq_count(struct net_device *dev, enum nf_imq_counter counter);
void imq_drop(struct sk_buff *skb, struct net_device *dev,
	      enum nf_imq_counter counter);
void imq_counters(const struct imq_dev *imq, u64 sum[NF_IMQ_COUNTERS]);

/* link.c; under RTNL */
extern struct rtnl_link_ops imq_link_ops;
void imq_index_release(struct net_device *dev);

/* cell.c; init and exit with the module, purge under RTNL */
int imq_cells_init(void);
void imq_cells_exit(void);
void imq_cells_purge(struct net_device *dev);
netdev_tx_t imq_xmit(struct sk_buff *skb, struct net_device *dev);

#endif /* _IMQ_H */
