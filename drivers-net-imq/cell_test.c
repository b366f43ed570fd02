// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of cell.c, which includes this: which packets wait for the NAPI.
 *
 * The cells are those of the driver. Bottom halves are off while a test has
 * packets there, so that the NAPI never sees them.
 */

#include <kunit/test.h>

static void imq_test_free_dev(void *data)
{
	struct net_device *dev = data;
	struct imq_dev *imq = netdev_priv(dev);

	synchronize_net();
	free_percpu(imq->pcpu);
	free_percpu(dev->tstats);
	free_netdev(dev);
}

/* A device that is not registered */
static struct net_device *imq_test_dev(struct kunit *test)
{
	struct net_device *dev;
	struct imq_dev *imq;
	int err;

	dev = alloc_netdev(sizeof(struct imq_dev), "imq%d", NET_NAME_UNKNOWN,
			   imq_setup);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	err = kunit_add_action_or_reset(test, imq_test_free_dev, dev);
	KUNIT_ASSERT_EQ(test, err, 0);

	dev->ifindex = 1000;
	dev->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	KUNIT_ASSERT_FALSE(test, !dev->tstats);
	imq = netdev_priv(dev);
	imq->pcpu = netdev_alloc_pcpu_stats(struct imq_pcpu);
	KUNIT_ASSERT_FALSE(test, !imq->pcpu);

	return dev;
}

/* A packet that a hook has sent to the device, with this token */
static struct sk_buff *imq_test_skb(struct kunit *test, struct net_device *dev,
				    u32 token)
{
	struct sk_buff *skb = alloc_skb(64, GFP_KERNEL);
	struct nf_imq_ext *ext;

	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb_put_zero(skb, 20);
	skb_reset_network_header(skb);
	skb->dev = dev;
	ext = skb_ext_add(skb, SKB_EXT_IMQ);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	memset(ext, 0, sizeof(*ext));
	ext->flags = NF_IMQ_F_QUEUED;
	ext->imq = dev->ifindex;
	ext->net = dev_net(dev);
	ext->token = token;

	return skb;
}

/* What is sent until imq_test_claimed() is from the call that has @token. */
static void imq_test_call(struct sk_buff *skb, u32 token)
{
	this_cpu_write(nf_imq_own.skb, skb);
	this_cpu_write(nf_imq_own.token, token);
}

static bool imq_test_claimed(void)
{
	return !this_cpu_xchg(nf_imq_own.skb, NULL);
}

/* Sends a packet that came in here, from the call that has @token. Returns true if
 * it was given back to its hook at once. Bottom halves are off.
 */
static bool imq_test_xmit(struct net_device *dev, struct sk_buff *skb,
			  u32 token)
{
	struct nf_imq_ext *ext = skb_ext_find(skb, SKB_EXT_IMQ);

	if (ext)
		ext->cpu = smp_processor_id();
	imq_test_call(skb, token);
	imq_xmit(skb, dev);

	return imq_test_claimed();
}

/* The same for one that came in on @cpu, as if there were more than this one. */
static bool imq_test_flow_xmit(int cpu, struct net_device *dev,
			       struct sk_buff *skb, u32 token)
{
	struct nf_imq_ext *ext = skb_ext_find(skb, SKB_EXT_IMQ);

	ext->cpu = cpu;
	imq_test_call(skb, token);
	imq_flow_xmit(skb, dev, ext);

	return imq_test_claimed();
}

static unsigned int imq_test_waiting(const struct net_device *dev)
{
	return imq_pcpu_of(dev, smp_processor_id())->waiting;
}

static u64 imq_test_counter(const struct net_device *dev,
			    enum nf_imq_counter counter)
{
	u64 value[NF_IMQ_COUNTERS];

	imq_counters(netdev_priv(dev), value);

	return value[counter];
}

/* A packet goes on in the call that has sent it, unless others wait. */
static void imq_test_order(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct sk_buff *skb[5];
	struct imq_cell *cell;
	int i;

	for (i = 0; i < ARRAY_SIZE(skb); i++)
		skb[i] = imq_test_skb(test, dev, i);

	local_bh_disable();
	cell = this_cpu_ptr(&imq_cells);

	KUNIT_EXPECT_TRUE(test, imq_test_xmit(dev, skb[0], 0));
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 0);

	/* of another call */
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb[1], 99));
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 1);

	/* of this call, but the other one is before it */
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb[2], 2));
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 2);
	KUNIT_EXPECT_PTR_EQ(test, skb_peek_tail(&cell->queue), skb[2]);

	/* also when the other ones are just being passed on */
	kfree_skb(skb_dequeue(&cell->queue));
	kfree_skb(skb_dequeue(&cell->queue));
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb[3], 3));
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 3);
	imq_cells_purge(dev);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 2);

	/* and no more when they have gone on */
	imq_cell_done(cell, dev, 2);
	KUNIT_EXPECT_TRUE(test, imq_test_xmit(dev, skb[4], 4));
	local_bh_enable();

	kfree_skb(skb[0]);
	kfree_skb(skb[4]);
}

/* A flow that moves to another CPU goes on at the first one, while packets of it
 * wait there or are being passed on.
 */
static void imq_test_moved(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct imq_dev *imq = netdev_priv(dev);
	struct imq_flow_set *set;
	struct imq_flow *flow;
	struct imq_cell *cell;
	struct sk_buff *skb[4];
	int i, here, other;
	u32 key;

	for (i = 0; i < ARRAY_SIZE(skb); i++)
		skb[i] = imq_test_skb(test, dev, i);
	key = imq_flow_key(skb[0], dev, skb_ext_find(skb[0], SKB_EXT_IMQ));
	set = &imq_flows[hash_32(key, IMQ_FLOW_BITS)];

	local_bh_disable();
	cell = this_cpu_ptr(&imq_cells);
	here = cell->cpu;
	/* Nothing of it is looked at: there may be only one. */
	other = !here;

	KUNIT_EXPECT_FALSE(test, imq_test_flow_xmit(here, dev, skb[0], 99));
	KUNIT_EXPECT_EQ(test, atomic_read(&imq->cells), 1);
	flow = imq_flow_find(set, key);
	KUNIT_EXPECT_NOT_NULL(test, flow);
	if (!flow)
		goto purge;
	KUNIT_EXPECT_EQ(test, flow->cpu, here);
	KUNIT_EXPECT_FALSE(test, imq_test_flow_xmit(other, dev, skb[1], 1));
	KUNIT_EXPECT_EQ(test, flow->cpu, here);
	KUNIT_EXPECT_EQ(test, flow->tail, cell->added);
	KUNIT_EXPECT_PTR_EQ(test, skb_peek_tail(&cell->queue), skb[1]);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 2);

	kfree_skb(skb_dequeue(&cell->queue));
	kfree_skb(skb_dequeue(&cell->queue));
	imq_cell_done(cell, dev, 1);
	KUNIT_EXPECT_FALSE(test, imq_test_flow_xmit(other, dev, skb[2], 2));
	KUNIT_EXPECT_EQ(test, flow->cpu, here);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 2);

	/* None waits for one that was dropped. */
	imq_cell_done(cell, dev, 1);
	imq_cells_purge(dev);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&imq->cells), 0);
	KUNIT_EXPECT_TRUE(test, imq_flow_waits(flow));
	KUNIT_EXPECT_TRUE(test, imq_cell_ends(cell));
	KUNIT_EXPECT_FALSE(test, imq_flow_waits(flow));
	/* nor for one that was given back at once, whatever its entry held */
	flow->tail = cell->done + 5;
	KUNIT_EXPECT_FALSE(test, imq_flow_waits(flow));
	KUNIT_EXPECT_TRUE(test, imq_test_flow_xmit(here, dev, skb[3], 3));
	KUNIT_EXPECT_FALSE(test, imq_flow_waits(flow));
	kfree_skb(skb[3]);
purge:
	imq_cells_purge(dev);
	local_bh_enable();
}

/* What comes in or goes out elsewhere is another flow: replies have the hash of what
 * they reply to.
 */
static void imq_test_key(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct net_device *other = imq_test_dev(test);
	struct nf_imq_ext to = { .in = 2, .out = 3 }, back = { .in = 3, .out = 2 };
	struct nf_imq_ext in = { .in = 2 }, out = { .out = 2 };
	struct sk_buff *skb = imq_test_skb(test, dev, 0);
	u32 key = imq_flow_key(skb, dev, &to);

	KUNIT_EXPECT_EQ(test, key, imq_flow_key(skb, dev, &to));
	KUNIT_EXPECT_NE(test, key, imq_flow_key(skb, dev, &back));
	KUNIT_EXPECT_NE(test, key, imq_flow_key(skb, other, &to));
	KUNIT_EXPECT_NE(test, imq_flow_key(skb, dev, &in),
			imq_flow_key(skb, dev, &out));
	kfree_skb(skb);
}

/* A set has room for some flows that wait. */
static void imq_test_flows(struct kunit *test)
{
	struct imq_flow_set set = {};
	struct imq_flow *flow;
	struct imq_cell *cell;
	u32 key;

	local_bh_disable();
	cell = this_cpu_ptr(&imq_cells);
	cell->added += IMQ_FLOW_WAYS;
	for (key = 1; key <= IMQ_FLOW_WAYS; key++) {
		flow = imq_flow_find(&set, key);
		KUNIT_EXPECT_NOT_NULL(test, flow);
		if (flow)
			*flow = (struct imq_flow){ key, cell->done + key, cell->cpu };
	}
	KUNIT_EXPECT_NULL(test, imq_flow_find(&set, key));

	flow = imq_flow_find(&set, 2);
	KUNIT_EXPECT_PTR_EQ(test, flow, &set.flow[1]);
	KUNIT_EXPECT_TRUE(test, imq_flow_waits(flow));
	flow->tail = cell->done;
	KUNIT_EXPECT_PTR_EQ(test, imq_flow_find(&set, key), flow);
	cell->added -= IMQ_FLOW_WAYS;
	local_bh_enable();
}

/* A device stops its tx queue, before too many packets wait. */
static void imq_test_full(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct netdev_queue *txq = netdev_get_tx_queue(dev, 0);
	struct sk_buff_head packets;
	struct sk_buff *skb;
	int i;

	__skb_queue_head_init(&packets);
	for (i = 0; i < IMQ_WAITING_MAX; i++)
		__skb_queue_tail(&packets, imq_test_skb(test, dev, 1));

	local_bh_disable();
	while ((skb = __skb_dequeue(&packets))) {
		KUNIT_EXPECT_FALSE(test, netif_tx_queue_stopped(txq));
		imq_test_xmit(dev, skb, 0);
	}
	KUNIT_EXPECT_TRUE(test, netif_tx_queue_stopped(txq));
	/* until this cell has gone on, and not another one */
	imq_wake_queues(dev, ~imq_queue_bit(0));
	KUNIT_EXPECT_TRUE(test, netif_tx_queue_stopped(txq));
	imq_cells_purge(dev);
	local_bh_enable();
}

/* In a long cell, a device stops its tx queue with each packet. */
static void imq_test_long(struct kunit *test)
{
	struct net_device *other = imq_test_dev(test);
	struct net_device *dev = imq_test_dev(test);
	struct netdev_queue *txq = netdev_get_tx_queue(dev, 0);
	struct sk_buff_head packets;
	struct imq_cell *cell;
	struct sk_buff *skb;
	int i;

	__skb_queue_head_init(&packets);
	for (i = 0; i < IMQ_CELL_LONG; i++)
		__skb_queue_tail(&packets, imq_test_skb(test, other, 1));
	skb = imq_test_skb(test, dev, 1);

	local_bh_disable();
	cell = this_cpu_ptr(&imq_cells);
	while (!skb_queue_empty(&packets))
		imq_test_xmit(other, __skb_dequeue(&packets), 0);
	imq_test_xmit(dev, skb, 0);
	KUNIT_EXPECT_TRUE(test, netif_tx_queue_stopped(txq));

	/* until it has gone on; to wake the queue takes a qdisc */
	KUNIT_EXPECT_PTR_EQ(test, skb_peek_tail(&cell->queue), skb);
	__skb_unlink(skb, &cell->queue);
	kfree_skb(skb);
	netif_tx_start_queue(txq);
	KUNIT_EXPECT_EQ(test, imq_pcpu_of(dev, cell->cpu)->stopped, 1);
	imq_cell_done(cell, dev, 1);
	KUNIT_EXPECT_EQ(test, imq_pcpu_of(dev, cell->cpu)->stopped, 0);
	imq_cells_purge(other);
	local_bh_enable();
}

/* A device that goes takes its packets, and no others. */
static void imq_test_purge(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct net_device *other = imq_test_dev(test);
	struct sk_buff *skb[3];

	skb[0] = imq_test_skb(test, dev, 0);
	skb[1] = imq_test_skb(test, other, 1);
	skb[2] = imq_test_skb(test, dev, 2);

	local_bh_disable();
	imq_test_xmit(dev, skb[0], 99);
	imq_test_xmit(other, skb[1], 99);
	imq_test_xmit(dev, skb[2], 99);
	imq_cells_purge(dev);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 0);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(other), 1);
	KUNIT_EXPECT_PTR_EQ(test, skb_peek(&this_cpu_ptr(&imq_cells)->queue),
			    skb[1]);
	KUNIT_EXPECT_EQ(test, imq_test_counter(dev, NF_IMQ_DROP_DEV), 2);
	imq_cells_purge(other);
	local_bh_enable();
}

/* What no hook has sent is freed. */
static void imq_test_foreign(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct sk_buff *skb = imq_test_skb(test, dev, 1);

	__skb_ext_del(skb, SKB_EXT_IMQ);
	local_bh_disable();
	imq_test_xmit(dev, skb, 1);
	KUNIT_EXPECT_EQ(test, imq_test_waiting(dev), 0);
	KUNIT_EXPECT_EQ(test, imq_test_counter(dev, NF_IMQ_FOREIGN), 1);
	local_bh_enable();
}

static struct kunit_case imq_cell_test_cases[] = {
	KUNIT_CASE(imq_test_order),
	KUNIT_CASE(imq_test_moved),
	KUNIT_CASE(imq_test_key),
	KUNIT_CASE(imq_test_flows),
	KUNIT_CASE(imq_test_full),
	KUNIT_CASE(imq_test_long),
	KUNIT_CASE(imq_test_purge),
	KUNIT_CASE(imq_test_foreign),
	{}
};

static struct kunit_suite imq_cell_test_suite = {
	.name = "imq_cell",
	.test_cases = imq_cell_test_cases,
};

kunit_test_suite(imq_cell_test_suite);
