// SPDX-License-Identifier: GPL-2.0-only
/* imq: from the qdisc back to the hook
 *
 * ndo_start_xmit() may run under somebody's socket lock, inside a transmission
 * of another device, or on any CPU. So it does not go on with the packet: it
 * gives it back to the hook, if that is the caller at the bottom of the stack
 * (nf_imq_claim()), or else to the cell of the CPU that the packet came in on:
 * a queue with a NAPI, for the packets of all devices.
 *
 * Packets of a flow stay in order: they share a cell, and none is given back at
 * once while others of its device wait there or are being passed on. The packets
 * of a flow that has moved to another CPU go to its old cell until none is left
 * there, as with RFS (get_rps_cpu()).
 */

#include <linux/cpumask.h>
#include <linux/hash.h>
#include <linux/jhash.h>
#include <linux/smp.h>

#include "imq.h"

/* Flows that are remembered while packets of them wait: 2^IMQ_FLOW_BITS sets of
 * IMQ_FLOW_WAYS, a cache line each. At most IMQ_WAITING_MAX packets of a device
 * wait on a CPU.
 */
#define IMQ_FLOW_BITS	10
#define IMQ_FLOW_WAYS	4

/* A cell with more packets takes one at a time of each device: its own packets wait
 * behind all others, and there can be many devices.
 */
#define IMQ_CELL_LONG	1024

/**
 * struct imq_flow - where the packets of a flow wait
 * @key: of the flow and the device
 * @tail: imq_cell::added behind the last one
 * @cpu: that of the cell which got them
 */
struct imq_flow {
	u32			key;
	u32			tail;
	int			cpu;
};

/**
 * struct imq_flow_set - flows whose keys have the same hash
 * @lock: held while a packet of one of them is added to a cell
 * @flow: the flows, in no order
 */
struct imq_flow_set {
	spinlock_t		lock;	/* within that of the tx queue */
	struct imq_flow		flow[IMQ_FLOW_WAYS];
} ____cacheline_aligned_in_smp;

static struct imq_flow_set imq_flows[1 << IMQ_FLOW_BITS];

/**
 * struct imq_cell - where packets wait to go on at one CPU
 * @queue: the packets; multi producer (ndo_start_xmit() on any CPU), single
 *	consumer (@napi)
 * @added: packets that have ever been added; under @queue.lock
 * @done: those of them that have gone on, in the same order; written under
 *	@queue.lock. Dropped ones count when the queue is empty next.
 * @busy: @napi looks at @queue again before it ends; under @queue.lock
 * @cpu: which one
 * @napi: passes the packets on
 * @kick: schedules @napi on its CPU from another one; belongs, as @napi does,
 *	to whom napi_schedule_prep() has said so
 */
struct imq_cell {
	struct sk_buff_head	queue;
	u32			added;
	u32			done;
	bool			busy;
	int			cpu;
	struct napi_struct	napi;
	call_single_data_t	kick;
};

static DEFINE_PER_CPU(struct imq_cell, imq_cells);

/* A NAPI belongs to a device: these to none that comes and goes. */
static struct net_device *imq_napi_dev;

static struct imq_pcpu *imq_pcpu_of(const struct net_device *dev, int cpu)
{
	const struct imq_dev *imq = netdev_priv(dev);

	return per_cpu_ptr(imq->pcpu, cpu);
}

static void imq_cell_kick(void *data)
{
	struct imq_cell *cell = data;

	__napi_schedule_irqoff(&cell->napi);
}

/* As RPS does. The cell of a CPU that is not online is polled here; on PREEMPT_RT,
 * where an idle CPU may not raise softirqs for others, any.
 */
static void imq_cell_schedule(struct imq_cell *cell)
{
	if (!napi_schedule_prep(&cell->napi))
		return;

	if (IS_ENABLED(CONFIG_PREEMPT_RT) || cell->cpu == smp_processor_id() ||
	    smp_call_function_single_async(cell->cpu, &cell->kick))
		__napi_schedule(&cell->napi);
}

/* Packets that did wait have gone on or are dropped. Under the queue's lock. */
static void imq_waited(struct net_device *dev, struct imq_pcpu *pcpu,
		       unsigned int n)
{
	struct imq_dev *imq = netdev_priv(dev);
	unsigned int waiting = pcpu->waiting - n;

	/* Pairs with imq_cell_xmit(), and the other one with imq_xmit(): who sees
	 * that none is left, sees what was done with them.
	 */
	smp_store_release(&pcpu->waiting, waiting);
	if (n && !waiting)
		atomic_fetch_dec_release(&imq->cells);
}

/* In imq_pcpu::stopped */
static u64 imq_queue_bit(unsigned int queue)
{
	return BIT_ULL(queue % BITS_PER_TYPE(u64));
}

/* Returns imq_cell::added behind it. */
static u32 imq_cell_add(struct imq_cell *cell, struct sk_buff *skb,
			struct net_device *dev)
{
	struct imq_pcpu *pcpu = imq_pcpu_of(dev, cell->cpu);
	struct imq_dev *imq = netdev_priv(dev);
	bool idle, full;
	u32 tail;

	spin_lock(&cell->queue.lock);
	__skb_queue_tail(&cell->queue, skb);
	tail = cell->added + 1;
	WRITE_ONCE(cell->added, tail);
	idle = !cell->busy;
	cell->busy = true;
	if (!pcpu->waiting)
		atomic_inc(&imq->cells);
	WRITE_ONCE(pcpu->waiting, pcpu->waiting + 1);
	full = pcpu->waiting >= IMQ_WAITING_MAX ||
	       skb_queue_len(&cell->queue) > IMQ_CELL_LONG;
	if (full) {
		pcpu->stopped |= imq_queue_bit(skb_get_queue_mapping(skb));
		netif_tx_stop_queue(skb_get_tx_queue(dev, skb));
	}
	spin_unlock(&cell->queue.lock);

	if (full)
		imq_count(dev, NF_IMQ_RING_FULL);
	if (idle)
		imq_cell_schedule(cell);

	return tail;
}

/* Not skb->hash: if it is there, and of which headers, may differ within a flow.
 * What is before a packet in one device need not be so in another. Replies have
 * the same hash, but most come in and go out elsewhere.
 */
static u32 imq_flow_key(struct sk_buff *skb, const struct net_device *dev,
			const struct nf_imq_ext *ext)
{
	/* GSO sets that of its segments behind tags. */
	skb_set_network_header(skb, nf_imq_nhoff(ext));

	return jhash_3words(__skb_get_hash_symmetric(skb), ext->in, ext->out,
			    hash_ptr(dev, 32));
}

/* Whether the tail is one of those between done and added: a flow that has not
 * been looked at for long has any.
 */
static bool imq_flow_waits(const struct imq_flow *flow)
{
	const struct imq_cell *cell = per_cpu_ptr(&imq_cells, flow->cpu);
	u32 done;

	/* Pairs with imq_cell_done(). */
	done = smp_load_acquire(&cell->done);

	return flow->tail - done - 1 < READ_ONCE(cell->added) - done;
}

/* The flow with this key; or one of which no packet waits; or NULL. */
static struct imq_flow *imq_flow_find(struct imq_flow_set *set, u32 key)
{
	int i;

	for (i = 0; i < IMQ_FLOW_WAYS; i++)
		if (set->flow[i].key == key)
			return &set->flow[i];
	for (i = 0; i < IMQ_FLOW_WAYS; i++)
		if (!imq_flow_waits(&set->flow[i]))
			return &set->flow[i];

	return NULL;
}

/* Returns true if it was added to the cell of @cpu, and *@tail is set. */
static bool imq_cell_xmit(struct sk_buff *skb, struct net_device *dev,
			  const struct nf_imq_ext *ext, int cpu, u32 *tail)
{
	unsigned int waiting;

	/* Pairs with imq_waited(). */
	waiting = smp_load_acquire(&imq_pcpu_of(dev, cpu)->waiting);
	if (!waiting && cpu == ext->cpu && nf_imq_claim(skb, ext))
		return false;

	*tail = imq_cell_add(per_cpu_ptr(&imq_cells, cpu), skb, dev);

	return true;
}

static void imq_flow_xmit(struct sk_buff *skb, struct net_device *dev,
			  const struct nf_imq_ext *ext)
{
	u32 tail, key = imq_flow_key(skb, dev, ext);
	struct imq_flow_set *set = &imq_flows[hash_32(key, IMQ_FLOW_BITS)];
	struct imq_flow *flow;
	int cpu;

	spin_lock(&set->lock);
	flow = imq_flow_find(set, key);
	cpu = flow && imq_flow_waits(flow) ? flow->cpu : ext->cpu;
	/* Not before it is added: a tail is one of its own cell. */
	if (imq_cell_xmit(skb, dev, ext, cpu, &tail) && flow)
		*flow = (struct imq_flow){ key, tail, cpu };
	spin_unlock(&set->lock);
}

/* Packets of the device wait somewhere, or this one has to. Out of line: packets
 * that don't wait need not have its registers saved.
 */
static noinline void imq_wait_xmit(struct sk_buff *skb, struct net_device *dev,
				   const struct nf_imq_ext *ext)
{
	u32 tail;

	/* Copies go on at that one CPU, one after the other. */
	if (nr_cpu_ids == 1 || nf_imq_ct_shared(skb))
		imq_cell_xmit(skb, dev, ext, ext->cpu, &tail);
	else
		imq_flow_xmit(skb, dev, ext);
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
	const struct imq_dev *imq = netdev_priv(dev);

	if (unlikely(!ext)) {
		imq_drop(skb, dev, NF_IMQ_FOREIGN);
		return NETDEV_TX_OK;
	}

	dev_sw_netstats_tx_add(dev, 1, skb->len);
	/* Pairs with imq_waited(): those before it are gone. */
	if (atomic_read_acquire(&imq->cells) || !nf_imq_claim(skb, ext))
		imq_wait_xmit(skb, dev, ext);

	return NETDEV_TX_OK;
}

/* Those that other cells have stopped stay so. */
static void imq_wake_queues(struct net_device *dev, u64 stopped)
{
	unsigned int i;

	for (i = 0; i < dev->num_tx_queues; i++) {
		struct netdev_queue *txq = netdev_get_tx_queue(dev, i);

		if (stopped & imq_queue_bit(i) && netif_tx_queue_stopped(txq))
			netif_tx_wake_queue(txq);
	}
}

static unsigned int imq_cell_take(struct imq_cell *cell, unsigned int max,
				  struct sk_buff_head *batch)
{
	struct sk_buff *skb;
	unsigned int n = 0;

	spin_lock(&cell->queue.lock);
	while (n < max && (skb = __skb_dequeue(&cell->queue))) {
		__skb_queue_tail(batch, skb);
		n++;
	}
	spin_unlock(&cell->queue.lock);

	return n;
}

/* Packets that were taken have gone on. */
static void imq_cell_done(struct imq_cell *cell, struct net_device *dev,
			  unsigned int n)
{
	struct imq_pcpu *pcpu = imq_pcpu_of(dev, cell->cpu);
	u64 stopped = 0;

	spin_lock(&cell->queue.lock);
	/* Pairs with imq_flow_waits(). */
	smp_store_release(&cell->done, cell->done + n);
	imq_waited(dev, pcpu, n);
	if (pcpu->waiting < IMQ_WAITING_MAX)
		swap(stopped, pcpu->stopped);
	spin_unlock(&cell->queue.lock);

	if (stopped)
		imq_wake_queues(dev, stopped);
}

/* Runs of packets of the same device are accounted at once. RCU is locked. */
static void imq_cell_pass_on(struct imq_cell *cell, struct sk_buff_head *batch)
{
	struct net_device *dev = NULL;
	struct sk_buff *skb;
	unsigned int n = 0;

	while ((skb = __skb_dequeue(batch))) {
		if (dev && skb->dev != dev) {
			imq_cell_done(cell, dev, n);
			n = 0;
		}
		dev = skb->dev;
		n++;
		nf_imq_resume(skb, dev);
	}
	if (dev)
		imq_cell_done(cell, dev, n);
}

/* Whoever adds the next packet schedules the NAPI, if there is none now. */
static bool imq_cell_ends(struct imq_cell *cell)
{
	bool more;

	spin_lock(&cell->queue.lock);
	more = !skb_queue_empty(&cell->queue);
	cell->busy = more;
	if (!more) {
		/* Pairs with imq_flow_waits(). */
		smp_store_release(&cell->done, cell->added);
	}
	spin_unlock(&cell->queue.lock);

	return !more;
}

static int imq_poll(struct napi_struct *napi, int budget)
{
	struct imq_cell *cell = container_of(napi, struct imq_cell, napi);
	struct sk_buff_head batch;
	unsigned int n;

	__skb_queue_head_init(&batch);
	/* A device that goes waits for this. */
	rcu_read_lock();
	n = imq_cell_take(cell, budget, &batch);
	imq_cell_pass_on(cell, &batch);
	rcu_read_unlock();

	if (n == budget || !imq_cell_ends(cell))
		return budget;

	napi_complete_done(napi, n);

	return n;
}

static void imq_cell_purge(struct imq_cell *cell, struct net_device *dev)
{
	struct imq_pcpu *pcpu = imq_pcpu_of(dev, cell->cpu);
	struct sk_buff_head gone;
	struct sk_buff *skb, *next;

	__skb_queue_head_init(&gone);
	spin_lock_bh(&cell->queue.lock);
	skb_queue_walk_safe(&cell->queue, skb, next) {
		if (skb->dev != dev)
			continue;
		__skb_unlink(skb, &cell->queue);
		__skb_queue_tail(&gone, skb);
	}
	imq_waited(dev, pcpu, skb_queue_len(&gone));
	pcpu->stopped = 0;
	spin_unlock_bh(&cell->queue.lock);

	while ((skb = __skb_dequeue(&gone)))
		imq_drop(skb, dev, NF_IMQ_DROP_DEV);
}

/**
 * imq_cells_purge - drop what a device still has in the cells
 * @dev: device that is being taken down
 *
 * Its qdiscs are inactive: no packet comes any more. Those that a poll has taken
 * go on.
 */
void imq_cells_purge(struct net_device *dev)
{
	int cpu;

	for_each_possible_cpu(cpu)
		imq_cell_purge(per_cpu_ptr(&imq_cells, cpu), dev);
}

/**
 * imq_cells_init - before there is any device
 *
 * Return: 0 or -ENOMEM
 */
int __init imq_cells_init(void)
{
	int cpu, i;

	imq_napi_dev = alloc_netdev_dummy(0);
	if (!imq_napi_dev)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(imq_flows); i++)
		spin_lock_init(&imq_flows[i].lock);

	for_each_possible_cpu(cpu) {
		struct imq_cell *cell = per_cpu_ptr(&imq_cells, cpu);

		skb_queue_head_init(&cell->queue);
		cell->cpu = cpu;
		INIT_CSD(&cell->kick, imq_cell_kick, cell);
		/* Nobody can busy poll for what belongs to many sockets. */
		set_bit(NAPI_STATE_NO_BUSY_POLL, &cell->napi.state);
		netif_napi_add(imq_napi_dev, &cell->napi, imq_poll);
		napi_enable(&cell->napi);
	}

	return 0;
}

/**
 * imq_cells_exit - no device is left
 *
 * Nor is a packet, but a NAPI or the call that schedules it may be under way.
 */
void imq_cells_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct napi_struct *napi = &per_cpu_ptr(&imq_cells, cpu)->napi;

		napi_disable(napi);
		__netif_napi_del(napi);
	}
	synchronize_net();
	free_netdev(imq_napi_dev);
}
