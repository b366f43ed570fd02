// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of cell.c, which includes this: which packets wait for the NAPI. */

#include <kunit/test.h>

static void imq_test_free_dev(void *data)
{
	struct net_device *dev = data;
	struct imq_dev *imq = netdev_priv(dev);
	int cpu;

	for_each_possible_cpu(cpu)
		imq_cell_purge(per_cpu_ptr(imq->cells, cpu), dev);
	imq_cells_exit(dev);
	synchronize_net();
	free_percpu(imq->cells);
	free_percpu(dev->tstats);
	free_netdev(dev);
}

/* A device that is not registered: its NAPI is not enabled, and never runs. */
static struct net_device *imq_test_dev(struct kunit *test)
{
	struct net_device *dev;
	int err;

	dev = alloc_netdev(sizeof(struct imq_dev), "imq%d", NET_NAME_UNKNOWN,
			   imq_setup);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->ifindex = 1000;
	dev->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	KUNIT_ASSERT_FALSE(test, !dev->tstats);
	KUNIT_ASSERT_EQ(test, imq_cells_init(dev), 0);
	err = kunit_add_action_or_reset(test, imq_test_free_dev, dev);
	KUNIT_ASSERT_EQ(test, err, 0);

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
	ext = skb_ext_add(skb, SKB_EXT_IMQ);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	memset(ext, 0, sizeof(*ext));
	ext->flags = NF_IMQ_F_QUEUED;
	ext->imq = dev->ifindex;
	ext->net = dev_net(dev);
	ext->token = token;

	return skb;
}

/* Returns true if the packet was given back to its hook at once. */
static bool imq_test_xmit(struct net_device *dev, struct sk_buff *skb,
			  u32 token)
{
	struct nf_imq_own *own;
	bool claimed;

	local_bh_disable();
	own = this_cpu_ptr(&nf_imq_own);
	own->skb = skb;
	own->token = token;
	imq_xmit(skb, dev);
	claimed = !own->skb;
	own->skb = NULL;
	local_bh_enable();

	return claimed;
}

/* A packet goes on in the call that has sent it, unless others wait. */
static void imq_test_order(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct imq_dev *imq = netdev_priv(dev);
	struct imq_cell *cell = per_cpu_ptr(imq->cells, 0);
	struct sk_buff *skb;

	skb = imq_test_skb(test, dev, 1);
	KUNIT_EXPECT_TRUE(test, imq_test_xmit(dev, skb, 1));
	KUNIT_EXPECT_EQ(test, skb_queue_len(&cell->queue), 0);
	kfree_skb(skb);

	/* of another call */
	skb = imq_test_skb(test, dev, 2);
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb, 3));
	KUNIT_EXPECT_EQ(test, skb_queue_len(&cell->queue), 1);
	KUNIT_EXPECT_EQ(test, cell->pending, 1);

	/* of this call, but the other one is before it */
	skb = imq_test_skb(test, dev, 4);
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb, 4));
	KUNIT_EXPECT_EQ(test, skb_queue_len(&cell->queue), 2);
	KUNIT_EXPECT_PTR_EQ(test, skb_peek_tail(&cell->queue), skb);

	/* also when the other one is just being passed on */
	skb_queue_purge(&cell->queue);
	skb = imq_test_skb(test, dev, 5);
	KUNIT_EXPECT_FALSE(test, imq_test_xmit(dev, skb, 5));
	KUNIT_EXPECT_EQ(test, skb_queue_len(&cell->queue), 1);
}

/* The ring stops its tx queue, before it grows. */
static void imq_test_full(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct netdev_queue *txq = netdev_get_tx_queue(dev, 0);
	int i;

	for (i = 0; i < IMQ_CELL_LIMIT; i++) {
		KUNIT_EXPECT_FALSE(test, netif_tx_queue_stopped(txq));
		imq_test_xmit(dev, imq_test_skb(test, dev, 1), 0);
	}
	KUNIT_EXPECT_TRUE(test, netif_tx_queue_stopped(txq));
}

/* What no hook has sent is freed. */
static void imq_test_foreign(struct kunit *test)
{
	struct net_device *dev = imq_test_dev(test);
	struct imq_dev *imq = netdev_priv(dev);
	struct sk_buff *skb = imq_test_skb(test, dev, 1);

	__skb_ext_del(skb, SKB_EXT_IMQ);
	imq_test_xmit(dev, skb, 1);
	KUNIT_EXPECT_EQ(test, per_cpu_ptr(imq->cells, 0)->queue.qlen, 0);
}

static struct kunit_case imq_cell_test_cases[] = {
	KUNIT_CASE(imq_test_order),
	KUNIT_CASE(imq_test_full),
	KUNIT_CASE(imq_test_foreign),
	{}
};

static struct kunit_suite imq_cell_test_suite = {
	.name = "imq_cell",
	.test_cases = imq_cell_test_cases,
};

kunit_test_suite(imq_cell_test_suite);
