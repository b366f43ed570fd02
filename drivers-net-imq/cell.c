// SPDX-License-Identifier: GPL-2.0-only
/* imq: from the qdisc back to the hook
 *
 * ndo_start_xmit() may run under somebody's socket lock, inside a transmission
 * of another device, or on any CPU. So it does not go on with the packet: it
 * gives it back to the hook, if that is the caller at the bottom of the stack
 * (nf_imq_claim()), or else to the NAPI of the CPU that the packet came in on.
 *
 * Packets of a flow stay in order: they share a cell, and none is given back at
 * once while others wait there or are being passed on.
 */

#include <linux/cpumask.h>
#include <trace/events/imq.h>

#include "imq.h"

static void imq_cell_kick(void *data)
{
	struct imq_cell *cell = data;

	__napi_schedule_irqoff(&cell->napi);
}

/* As RPS does. The cell of a CPU that is not online is polled here. */
static void imq_cell_schedule(struct imq_cell *cell, int cpu)
{
	if (!napi_schedule_prep(&cell->napi))
		return;

	if (cpu == smp_processor_id() ||
	    smp_call_function_single_async(cpu, &cell->kick))
		__napi_schedule(&cell->napi);
}

/* The consumer looks at @pending before it ends: only the first packet has to
 * wake it.
 */
static void imq_cell_add(struct imq_cell *cell, int cpu, struct sk_buff *skb,
			 struct net_device *dev)
{
	bool first, full;

	spin_lock(&cell->queue.lock);
	__skb_queue_tail(&cell->queue, skb);
	first = !cell->pending;
	WRITE_ONCE(cell->pending, cell->pending + 1);
	full = skb_queue_len(&cell->queue) >= IMQ_CELL_LIMIT;
	if (full) {
		cell->full = true;
		netif_tx_stop_queue(skb_get_tx_queue(dev, skb));
	}
	spin_unlock(&cell->queue.lock);

	if (full)
		imq_count(dev, NF_IMQ_RING_FULL);
	if (first)
		imq_cell_schedule(cell, cpu);
}

/**
 * imq_xmit - a packet has left the qdisc
 * @skb: packet
 * @dev: imq device
 *
 * Context: bottom halves off, the tx queue is locked.
 * Return: NETDEV_TX_OK always.
 */
netdev_tx_t imq_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct nf_imq_ext *ext = nf_imq_ext_of(skb, dev);
	struct imq_dev *imq = netdev_priv(dev);
	struct imq_cell *cell;

	if (unlikely(!ext)) {
		trace_imq_drop(skb, dev, NF_IMQ_FOREIGN);
		imq_count(dev, NF_IMQ_FOREIGN);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}

	dev_sw_netstats_tx_add(dev, 1, skb->len);
	cell = per_cpu_ptr(imq->cells, ext->cpu);
	if (READ_ONCE(cell->pending) || !nf_imq_claim(skb, ext))
		imq_cell_add(cell, ext->cpu, skb, dev);

	return NETDEV_TX_OK;
}

static void imq_wake_queues(struct net_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->num_tx_queues; i++) {
		struct netdev_queue *txq = netdev_get_tx_queue(dev, i);

		if (netif_tx_queue_stopped(txq))
			netif_tx_wake_queue(txq);
	}
}

static unsigned int imq_cell_take(struct imq_cell *cell, unsigned int max,
				  struct sk_buff_head *batch,
				  struct net_device *dev)
{
	unsigned int n = 0;
	struct sk_buff *skb;
	bool wake;

	spin_lock(&cell->queue.lock);
	while (n < max && (skb = __skb_dequeue(&cell->queue))) {
		__skb_queue_tail(batch, skb);
		n++;
	}
	wake = cell->full && skb_queue_len(&cell->queue) < IMQ_CELL_LIMIT;
	if (wake)
		cell->full = false;
	spin_unlock(&cell->queue.lock);

	if (wake)
		imq_wake_queues(dev);

	return n;
}

/* Returns true if there is more to do. */
static bool imq_cell_done(struct imq_cell *cell, unsigned int n)
{
	bool more;

	spin_lock(&cell->queue.lock);
	WRITE_ONCE(cell->pending, cell->pending - n);
	more = cell->pending;
	spin_unlock(&cell->queue.lock);

	return more;
}

static int imq_poll(struct napi_struct *napi, int budget)
{
	struct imq_cell *cell = container_of(napi, struct imq_cell, napi);
	struct net_device *dev = napi->dev;
	struct sk_buff_head batch;
	struct sk_buff *skb;
	unsigned int n;

	if (!budget)
		return 0;	/* netpoll */

	__skb_queue_head_init(&batch);
	n = imq_cell_take(cell, budget, &batch, dev);

	rcu_read_lock();
	while ((skb = __skb_dequeue(&batch)))
		nf_imq_resume(skb, dev);
	rcu_read_unlock();

	if (imq_cell_done(cell, n) || n == budget)
		return budget;

	napi_complete_done(napi, n);

	return n;
}

/* What the device still held when it was taken down */
static void imq_cell_purge(struct imq_cell *cell, struct net_device *dev)
{
	struct sk_buff *skb;

	while ((skb = skb_dequeue(&cell->queue))) {
		trace_imq_drop(skb, dev, NF_IMQ_DROP_DEV);
		imq_count(dev, NF_IMQ_DROP_DEV);
		kfree_skb_reason(skb, SKB_DROP_REASON_DEV_READY);
	}
	cell->pending = 0;
	cell->full = false;
}

int imq_cells_init(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);
	int cpu;

	imq->cells = alloc_percpu(struct imq_cell);
	if (!imq->cells)
		return -ENOMEM;

	for_each_possible_cpu(cpu) {
		struct imq_cell *cell = per_cpu_ptr(imq->cells, cpu);

		skb_queue_head_init(&cell->queue);
		INIT_CSD(&cell->kick, imq_cell_kick, cell);
		u64_stats_init(&cell->stats.syncp);
		/* Nobody can busy poll for what belongs to many sockets. */
		set_bit(NAPI_STATE_NO_BUSY_POLL, &cell->napi.state);
		netif_napi_add(dev, &cell->napi, imq_poll);
	}

	return 0;
}

void imq_cells_open(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);
	int cpu;

	for_each_possible_cpu(cpu)
		napi_enable(&per_cpu_ptr(imq->cells, cpu)->napi);
}

/* The qdiscs are inactive: no packet comes any more. */
void imq_cells_stop(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);
	int cpu;

	for_each_possible_cpu(cpu) {
		struct imq_cell *cell = per_cpu_ptr(imq->cells, cpu);

		napi_disable(&cell->napi);
		imq_cell_purge(cell, dev);
	}
}

/* The cells are freed by the device's destructor, an RCU grace period later. */
void imq_cells_exit(struct net_device *dev)
{
	struct imq_dev *imq = netdev_priv(dev);
	int cpu;

	for_each_possible_cpu(cpu)
		__netif_napi_del(&per_cpu_ptr(imq->cells, cpu)->napi);
}
