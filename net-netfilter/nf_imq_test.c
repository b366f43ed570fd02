// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of nf_imq.c, which includes this: what needs no traffic. */

#include <kunit/test.h>
#include <linux/if_ether.h>
#include <linux/net.h>
#include <linux/tcp.h>

/* Verdict */

struct nf_imq_verdict_case {
	const char *name;
	u16 index;
	unsigned int verdict;
};

static const struct nf_imq_verdict_case nf_imq_verdict_cases[] = {
	{ "first",	0,	0x00004003 },
	{ "second",	1,	0x00014003 },
	{ "sign bit",	0x8000,	0x80004003 },
	{ "last",	0xffff,	0xffff4003 },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_verdict, nf_imq_verdict_cases, name);

static void nf_imq_test_verdict(struct kunit *test)
{
	const struct nf_imq_verdict_case *c = test->param_value;
	unsigned int verdict = nf_imq_verdict(c->index);

	KUNIT_EXPECT_EQ(test, verdict, c->verdict);
	KUNIT_EXPECT_EQ(test, verdict & NF_VERDICT_MASK, NF_QUEUE);
	KUNIT_EXPECT_EQ(test, verdict >> NF_VERDICT_QBITS, c->index);
	KUNIT_EXPECT_FALSE(test, verdict & NF_VERDICT_FLAG_QUEUE_BYPASS);
}

/* Hooks, and where to go on */

#define HOOKS_MAX	4

/* A hook is known by its number, one of removed hooks' dummies by 0. */
struct nf_imq_test_hook {
	unsigned int	id;
	int		priority;
};

#define DUMMY	{ 0, INT_MIN }

struct nf_imq_next_case {
	const char *name;

	/* when the packet is queued, and by which of them */
	struct nf_imq_test_hook then[HOOKS_MAX];
	unsigned int num_then;
	unsigned int index;

	/* when it goes on */
	struct nf_imq_test_hook now[HOOKS_MAX];
	unsigned int num_now;

	/* output as expected */
	unsigned int next;
};

static const struct nf_imq_next_case nf_imq_next_cases[] = {
	{
		.name = "nothing has changed",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_now = 3,
		.next = 2,
	}, {
		.name = "it was the last one",
		.then = { { 1, -100 }, { 2, 0 } }, .num_then = 2, .index = 1,
		.now = { { 1, -100 }, { 2, 0 } }, .num_now = 2,
		.next = 2,
	}, {
		.name = "a new one before it",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 4, -200 }, { 1, -100 }, { 2, 0 }, { 3, 100 } },
		.num_now = 4,
		.next = 3,
	}, {
		.name = "one less before it",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 2, 0 }, { 3, 100 } }, .num_now = 2,
		.next = 1,
	}, {
		.name = "a new one behind it",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 2, 0 }, { 4, 50 }, { 3, 100 } },
		.num_now = 4,
		.next = 2,
	}, {
		.name = "one less behind it",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 2, 0 } }, .num_now = 2,
		.next = 2,
	}, {
		.name = "gone",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 3, 100 } }, .num_now = 2,
		.next = 1,
	}, {
		.name = "a dummy in its place",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, DUMMY, { 3, 100 } }, .num_now = 3,
		.next = 2,
	}, {
		.name = "gone, of the priority of the next one",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 0 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 3, 0 } }, .num_now = 2,
		.next = 1,
	}, {
		.name = "gone, of the priority of the previous one",
		.then = { { 1, 0 }, { 2, 0 } }, .num_then = 2, .index = 1,
		.now = { { 1, 0 }, { 3, 100 } }, .num_now = 2,
		.next = 1,
	}, {
		.name = "replaced by one of its priority",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 4, 0 }, { 3, 100 } }, .num_now = 3,
		.next = 2,
	}, {
		.name = "it and the next one gone",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 0 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 4, 0 }, { 5, 1 } }, .num_now = 3,
		.next = 2,
	}, {
		.name = "it and the next one gone, none behind",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 0 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 4, 0 } }, .num_now = 2,
		.next = 2,
	}, {
		.name = "all gone",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.num_now = 0,
		.next = 0,
	}, {
		.name = "registered at two priorities",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 2, -200 }, { 1, -100 }, { 2, 0 }, { 3, 100 } },
		.num_now = 4,
		.next = 3,
	}, {
		.name = "the next one at a lower priority, too",
		.then = { { 1, -100 }, { 2, 0 }, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 3, -200 }, { 1, -100 }, { 3, 100 } }, .num_now = 3,
		.next = 2,
	}, {
		.name = "a dummy at its verdict",
		.then = { { 1, -100 }, DUMMY, { 3, 100 } }, .num_then = 3,
		.index = 1,
		.now = { { 1, -100 }, { 4, 100 } }, .num_now = 2,
		.next = 1,
	}, {
		.name = "the first one, a dummy at its verdict",
		.then = { DUMMY, { 2, 0 } }, .num_then = 2, .index = 0,
		.now = { { 2, 0 } }, .num_now = 1,
		.next = 0,
	}, {
		.name = "the same, and another dummy later",
		.then = { DUMMY, { 2, 0 } }, .num_then = 2, .index = 0,
		.now = { { 2, 0 }, DUMMY, { 3, 100 } }, .num_now = 3,
		.next = 0,
	}, {
		.name = "a dummy behind it, and gone",
		.then = { { 1, 0 }, DUMMY, { 3, 0 } }, .num_then = 3,
		.index = 0,
		.now = { { 3, 0 } }, .num_now = 1,
		.next = 0,
	},
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_next, nf_imq_next_cases, name);

static unsigned int nf_imq_test_hook(void *priv, struct sk_buff *skb,
				     const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

static unsigned int nf_imq_test_dummy(void *priv, struct sk_buff *skb,
				      const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

/* Chains of nf_tables have the same function, and differ by @priv. */
static struct nf_hook_entries *
nf_imq_test_entries(struct kunit *test, const struct nf_imq_test_hook *hooks,
		    unsigned int n)
{
	struct nf_hook_entries *e;
	struct nf_hook_ops *ops;
	unsigned int i;

	e = kunit_kzalloc(test, struct_size(e, hooks, n) + n * sizeof(ops),
			  GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, e);
	ops = kunit_kcalloc(test, n + 1, sizeof(*ops), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ops);

	e->num_hook_entries = n;
	for (i = 0; i < n; i++) {
		ops[i].priority = hooks[i].priority;
		ops[i].hook = nf_imq_test_dummy;
		if (hooks[i].id) {
			ops[i].pf = NFPROTO_IPV4;
			ops[i].hook = nf_imq_test_hook;
			ops[i].priv = (void *)(unsigned long)hooks[i].id;
		}
		e->hooks[i].hook = ops[i].hook;
		e->hooks[i].priv = ops[i].priv;
		nf_hook_entries_get_hook_ops(e)[i] = &ops[i];
	}

	return e;
}

static void nf_imq_test_next(struct kunit *test)
{
	const struct nf_imq_next_case *c = test->param_value;
	struct nf_hook_entries *then, *now;
	struct nf_imq_ext *ext;

	ext = kunit_kzalloc(test, sizeof(*ext), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	then = nf_imq_test_entries(test, c->then, c->num_then);
	now = nf_imq_test_entries(test, c->now, c->num_now);

	nf_imq_save_hook(ext, &init_net, then, c->index);
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(now, ext), c->next);
}

#if IS_ENABLED(CONFIG_NF_TABLES)
/* Hooks at one priority: two chains, and one that has nothing to do with them */
struct nf_imq_test_chains {
	struct nf_hook_entries *e;
	struct nft_table tables[2];
	struct nft_chain chains[2];
	struct nf_imq_ext ext;
};

static struct nf_imq_test_chains *nf_imq_test_chains(struct kunit *test)
{
	static const struct nf_imq_test_hook hooks[] = {
		{ 1, 0 }, { 2, 0 }, { 3, 0 },
	};
	struct nf_imq_test_chains *c;
	unsigned int i;

	c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, c);
	c->e = nf_imq_test_entries(test, hooks, ARRAY_SIZE(hooks));
	c->tables[0].handle = 7;
	c->tables[1].handle = 8;
	for (i = 0; i < ARRAY_SIZE(c->chains); i++) {
		struct nf_hook_ops *ops = nf_hook_entries_get_hook_ops(c->e)[i];

		c->chains[i].table = &c->tables[0];
		c->chains[i].handle = i + 1;
		ops->hook_ops_type = NF_HOOK_OP_NF_TABLES;
		ops->priv = &c->chains[i];
	}

	return c;
}

/* A chain at the address of one that has gone is another. */
static void nf_imq_test_next_reused(struct kunit *test)
{
	struct nf_imq_test_chains *c = nf_imq_test_chains(test);

	nf_imq_save_hook(&c->ext, &init_net, c->e, 0);
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 1);

	/* not the chain it was: it has gone, the next one is still there */
	c->chains[0].handle = 3;
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 1);

	/* nor is the next one: none of this priority has to be passed */
	c->chains[1].handle = 4;
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 3);

	/* another table's, with the handles that they had */
	c->chains[0].table = &c->tables[1];
	c->chains[0].handle = 1;
	c->chains[1].table = &c->tables[1];
	c->chains[1].handle = 2;
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 3);
}

/* While a ruleset is replaced, what goes is behind what has come: not the next. */
static void nf_imq_test_next_replaced(struct kunit *test)
{
	struct nf_imq_test_chains *c = nf_imq_test_chains(test);

	c->chains[1].genmask = nft_genmask_cur(&init_net);
	nf_imq_save_hook(&c->ext, &init_net, c->e, 0);
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 1);

	/* both gone, and others there */
	c->chains[0].handle = 3;
	c->chains[1].handle = 4;
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 2);
}

/* A flowtable has nothing but its address. */
static void nf_imq_test_next_flowtable(struct kunit *test)
{
	struct nf_imq_test_chains *c = nf_imq_test_chains(test);
	struct nf_hook_ops **all = nf_hook_entries_get_hook_ops(c->e);

	all[1]->hook_ops_type = NF_HOOK_OP_UNDEFINED;
	all[1]->pf = NFPROTO_NETDEV;
	nf_imq_save_hook(&c->ext, &init_net, c->e, 0);
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 1);
	c->chains[0].handle = 3;
	KUNIT_EXPECT_EQ(test, nf_imq_next_hook(c->e, &c->ext), 2);
}
#endif

/* What may be queued, and what its sender is told */

struct nf_imq_fit_case {
	const char *name;
	u8 pf;
	u8 hook;
	bool okfn;
	bool own;	/* skb->dev is the input device */
	bool fits;
};

static const struct nf_imq_fit_case nf_imq_fit_cases[] = {
	{ "ip", NFPROTO_IPV4, NF_INET_PRE_ROUTING, true, true, true },
	{ "ip without okfn", NFPROTO_IPV4, NF_INET_FORWARD, false, true, false },
	{ "ip6", NFPROTO_IPV6, NF_INET_LOCAL_OUT, true, false, true },
	{ "ip6 without okfn", NFPROTO_IPV6, NF_INET_LOCAL_IN, false, true, false },
	{ "bridge", NFPROTO_BRIDGE, NF_BR_FORWARD, true, true, true },
	{ "bridge, local", NFPROTO_BRIDGE, NF_BR_LOCAL_IN, true, false, true },
	{ "bridge, link local", NFPROTO_BRIDGE, NF_BR_LOCAL_IN, true, true, false },
	{ "bridge without okfn", NFPROTO_BRIDGE, NF_BR_FORWARD, false, true, false },
	{ "ingress", NFPROTO_NETDEV, NF_NETDEV_INGRESS, false, true, NF_IMQ_INGRESS },
	{ "egress", NFPROTO_NETDEV, NF_NETDEV_EGRESS, false, false, true },
	{ "arp", NFPROTO_ARP, 0, true, true, false },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_fit, nf_imq_fit_cases, name);

static int nf_imq_test_okfn(struct net *net, struct sock *sk,
			    struct sk_buff *skb)
{
	return 0;
}

static struct net_device *nf_imq_test_dev(struct kunit *test)
{
	struct net_device *dev;

	dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev_net_set(dev, &init_net);
	dev->ifindex = 1000;

	return dev;
}

static void nf_imq_test_free_skb(void *skb)
{
	kfree_skb(skb);
}

/* It is freed behind the test. */
static struct sk_buff *nf_imq_test_own(struct kunit *test, struct sk_buff *skb)
{
	int err;

	KUNIT_ASSERT_NOT_NULL(test, skb);
	err = kunit_add_action_or_reset(test, nf_imq_test_free_skb, skb);
	KUNIT_ASSERT_EQ(test, err, 0);

	return skb;
}

static struct sk_buff *nf_imq_test_skb(struct kunit *test)
{
	static const char frame[] = "aaaaaabbbbbb\x08\x00IP begins here, TCP there";
	struct sk_buff *skb = nf_imq_test_own(test, alloc_skb(128, GFP_KERNEL));

	skb_reserve(skb, 32);
	skb_put_data(skb, frame, sizeof(frame) - 1);
	skb->protocol = htons(ETH_P_IP);
	skb_set_network_header(skb, ETH_HLEN);

	return skb;
}

static struct nf_imq_ext *nf_imq_test_new(struct sk_buff *skb)
{
	struct nf_imq_ext *ext;

	local_bh_disable();
	ext = nf_imq_ext_new(skb);
	local_bh_enable();

	return ext;
}

static bool nf_imq_test_back(struct sk_buff *skb, struct nf_imq_ext *ext)
{
	bool ok;

	local_bh_disable();
	ok = nf_imq_restore(skb, ext);
	local_bh_enable();

	return ok;
}

/* The listener of a SYN cookie's request may go while its packet waits. */
static void nf_imq_test_fit_request(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct nf_hook_state state = { .pf = NFPROTO_IPV4 };
	struct request_sock *req;

	req = kunit_kzalloc(test, sizeof(struct tcp_request_sock), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, req);
	req_to_sk(req)->sk_state = TCP_NEW_SYN_RECV;
	skb->sk = req_to_sk(req);
	KUNIT_EXPECT_TRUE(test, nf_imq_fit_packet(skb, &state));
	req->syncookie = 1;
	KUNIT_EXPECT_FALSE(test, nf_imq_fit_packet(skb, &state));
	skb->sk = NULL;
}

static void nf_imq_test_fit(struct kunit *test)
{
	const struct nf_imq_fit_case *c = test->param_value;
	struct net_device *dev = nf_imq_test_dev(test);
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct nf_hook_state state;

	nf_hook_state_init(&state, c->hook, c->pf, dev, NULL, NULL, &init_net,
			   c->okfn ? nf_imq_test_okfn : NULL);
	skb->dev = c->own ? dev : NULL;
	KUNIT_EXPECT_EQ(test, nf_imq_fit_hook(skb, &state), c->fits);
	skb->dev = NULL;
}

static struct net_device *nf_imq_test_ops_find(const struct net *net, u16 index)
{
	return (void *)net + index;
}

/* The first devices of a namespace, and only those, are found without the driver,
 * until they have gone.
 */
static void nf_imq_test_find(struct kunit *test)
{
	static const struct nf_imq_ops ops = { .find = nf_imq_test_ops_find };
	struct {
		struct net		net;
		struct nf_imq_net	nf;
	} *tn;
	void *dev = test;	/* anything stands for a device */
	int i;

	tn = kunit_kcalloc(test, 2, sizeof(*tn), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tn);
	for (i = 0; i < 2; i++)
		tn[i].net.nf.imq = &tn[i].nf;

	rcu_read_lock();
	for (i = 0; i < NF_IMQ_NUM_DIRECT; i++) {
		KUNIT_EXPECT_NULL(test, nf_imq_find(&tn->net, i, &ops));
		nf_imq_set_device(&tn->net, i, dev);
		KUNIT_EXPECT_PTR_EQ(test, nf_imq_find(&tn->net, i, &ops), dev);
		KUNIT_EXPECT_NULL(test, nf_imq_find(&tn[1].net, i, &ops));
		nf_imq_set_device(&tn->net, i, NULL);
		KUNIT_EXPECT_NULL(test, nf_imq_find(&tn->net, i, &ops));
	}
	nf_imq_set_device(&tn->net, i, dev);
	KUNIT_EXPECT_PTR_EQ(test, (void *)nf_imq_find(&tn->net, i, &ops),
			    (void *)&tn->net + i);
	rcu_read_unlock();
}

struct nf_imq_errno_case {
	const char *name;
	u8 pf;
	u8 hook;
	int rc;
	int ret;
};

static const struct nf_imq_errno_case nf_imq_errno_cases[] = {
	{ "sent", NFPROTO_IPV4, NF_INET_LOCAL_OUT, NET_XMIT_SUCCESS, 0 },
	{ "dropped", NFPROTO_IPV4, NF_INET_LOCAL_OUT, NET_XMIT_DROP,
	  NET_XMIT_CN },
	{ "congestion", NFPROTO_IPV6, NF_INET_POST_ROUTING, NET_XMIT_CN,
	  NET_XMIT_CN },
	{ "error", NFPROTO_IPV6, NF_INET_POST_ROUTING, -ENOBUFS, -ENOBUFS },
	{ "received, dropped", NFPROTO_IPV4, NF_INET_PRE_ROUTING,
	  NET_XMIT_DROP, 0 },
	{ "delivered, dropped", NFPROTO_IPV6, NF_INET_LOCAL_IN,
	  NET_XMIT_DROP, 0 },
	{ "forwarded, dropped", NFPROTO_IPV4, NF_INET_FORWARD,
	  NET_XMIT_DROP, 0 },
	{ "bridged, dropped", NFPROTO_BRIDGE, NF_BR_LOCAL_OUT,
	  NET_XMIT_DROP, 0 },
	{ "egress, dropped", NFPROTO_NETDEV, NF_NETDEV_EGRESS,
	  NET_XMIT_DROP, 0 },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_errno, nf_imq_errno_cases, name);

static void nf_imq_test_errno(struct kunit *test)
{
	const struct nf_imq_errno_case *c = test->param_value;
	struct nf_hook_state state;

	nf_hook_state_init(&state, c->hook, c->pf, NULL, NULL, NULL, &init_net,
			   nf_imq_test_okfn);
	KUNIT_EXPECT_EQ(test, nf_imq_xmit_errno(&state, c->rc), c->ret);
}

/* An okfn is called that is in the kernel proper, or in a module that is there. */
static void nf_imq_test_okfn_alive(struct kunit *test)
{
	static unsigned long no_code[4];
	struct nf_imq_ext *ext;

	ext = kunit_kzalloc(test, sizeof(*ext), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ext);

	ext->okfn = (void *)no_code;
	ext->module_gen = atomic_read(&nf_imq_module_gen);
	KUNIT_EXPECT_FALSE(test, nf_imq_okfn_alive(ext));

	ext->module_gen--;
	KUNIT_EXPECT_FALSE(test, nf_imq_okfn_alive(ext));
	ext->okfn = NULL;
	KUNIT_EXPECT_TRUE(test, nf_imq_okfn_alive(ext));
	ext->okfn = nf_imq_test_okfn;
	KUNIT_EXPECT_TRUE(test, nf_imq_okfn_alive(ext));
}

/* Packets that come to the driver */

struct nf_imq_of_case {
	const char *name;
	u8 flags;
	bool other_dev;
	bool other_net;
	bool moved;	/* network header */
	bool ours;
	bool other_protocol;
	bool other_dst;
	bool changed;
	bool gso;
	bool short_by_one;
	bool no_room;
	int data_moved;	/* not the network header */
};

static const struct nf_imq_of_case nf_imq_of_cases[] = {
	{ "queued", NF_IMQ_F_QUEUED, false, false, false, true },
	{ "marked only", NF_IMQ_F_MARKED, false, false, false, false },
	{ "to another device", NF_IMQ_F_QUEUED, true, false, false, false },
	{ "of another namespace", NF_IMQ_F_QUEUED, false, true, false, false },
	{ "header moved", NF_IMQ_F_QUEUED, false, false, true, false },
	{ "header moved, tagged", NF_IMQ_F_QUEUED | NF_IMQ_F_TAGGED, false,
	  false, true, true },
	{ "header where it was, data moved", NF_IMQ_F_QUEUED, .data_moved = 8 },
	{ "another protocol", NF_IMQ_F_QUEUED, .other_protocol = true },
	{ "another route", NF_IMQ_F_QUEUED, .other_dst = true },
	{ "changed", NF_IMQ_F_QUEUED, .changed = true, .ours = true },
	{ "a byte less than needed", NF_IMQ_F_QUEUED, .changed = true,
	  .short_by_one = true },
	{ "no room for the mac header", NF_IMQ_F_QUEUED, .changed = true,
	  .no_room = true },
	{ "no room, of a segment", NF_IMQ_F_QUEUED | NF_IMQ_F_MAC_HEADER,
	  .changed = true, .no_room = true, .ours = true },
	{ "no room, not segmented", NF_IMQ_F_QUEUED | NF_IMQ_F_MAC_HEADER,
	  .changed = true, .no_room = true, .gso = true },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_of, nf_imq_of_cases, name);

static void nf_imq_test_of(struct kunit *test)
{
	const struct nf_imq_of_case *c = test->param_value;
	struct net_device *dev = nf_imq_test_dev(test);
	struct sk_buff *skb = nf_imq_test_skb(test);
	int headroom = skb_headroom(skb) + c->no_room;
	struct nf_imq_ext *ext;

	KUNIT_EXPECT_NULL(test, nf_imq_ext_of(skb, dev));
	ext = nf_imq_test_new(skb);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	ext->flags = c->flags;
	ext->imq = dev->ifindex + c->other_dev;
	ext->net = c->other_net ? NULL : &init_net;
	ext->protocol = c->other_protocol ? htons(ETH_P_MPLS_UC) : skb->protocol;
	ext->dst = c->other_dst ? dev : NULL;
	ext->pf = NFPROTO_IPV4;
	ext->pulled = 0;
	ext->headroom = headroom;
	ext->len = skb->len + c->changed;
	ext->network_header = headroom + skb_network_offset(skb) + c->moved;
	ext->transport_header = headroom + skb->len + c->short_by_one;
	ext->mac_header = 0;
	ext->headroom += c->data_moved;
	skb_shinfo(skb)->gso_size = c->gso;
	KUNIT_EXPECT_PTR_EQ(test, nf_imq_ext_of(skb, dev), c->ours ? ext : NULL);
}

#define NOT_SET	INT_MIN

struct nf_imq_need_case {
	const char *name;
	u8 pf;
	u16 protocol;
	int pulled;
	int nhoff;
	int thoff;
	unsigned int need;
};

static const struct nf_imq_need_case nf_imq_need_cases[] = {
	{ "IPv4", NFPROTO_IPV4, ETH_P_IP, 0, 0, 20, 20 },
	{ "IPv4 with options", NFPROTO_IPV4, ETH_P_IP, 0, 0, 60, 60 },
	{ "IPv4, transport header not set", NFPROTO_IPV4, ETH_P_IP, 0, 0,
	  NOT_SET, 20 },
	{ "IPv6", NFPROTO_IPV6, ETH_P_IPV6, 0, 0, 40, 40 },
	{ "IPv6 with an extension header", NFPROTO_IPV6, ETH_P_IPV6, 0, 0, 48,
	  48 },
	{ "bridge", NFPROTO_BRIDGE, ETH_P_IP, 0, 0, 60, 20 },
	{ "bridge, ARP", NFPROTO_BRIDGE, ETH_P_ARP, 0, 0, 0, 0 },
	{ "ingress, tag in line", NFPROTO_NETDEV, ETH_P_8021Q, -14, 14, 14, 14 },
	{ "egress", NFPROTO_NETDEV, ETH_P_IPV6, 14, 0, 60, 40 },
	{ "egress, header not at its place", NFPROTO_NETDEV, ETH_P_IPV6, 0, 70,
	  40, 110 },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_need, nf_imq_need_cases, name);

static void nf_imq_test_need(struct kunit *test)
{
	const struct nf_imq_need_case *c = test->param_value;
	struct nf_imq_ext *ext;

	ext = kunit_kzalloc(test, sizeof(*ext), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	ext->pf = c->pf;
	ext->protocol = htons(c->protocol);
	ext->pulled = c->pulled;
	ext->headroom = 100;
	ext->network_header = 100 + c->nhoff;
	ext->transport_header = c->thoff == NOT_SET ? U16_MAX : 100 + c->thoff;
	KUNIT_EXPECT_EQ(test, nf_imq_need(ext), c->need);
}

/* Only the packet of the innermost call is given back to it, once; not one that
 * has its address by chance.
 */
static void nf_imq_test_claim(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct sk_buff *other = nf_imq_test_skb(test);
	struct nf_imq_ext *ext;
	struct nf_imq_own *own;
	bool claimed[4];

	ext = kunit_kzalloc(test, sizeof(*ext), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	ext->token = 7;

	local_bh_disable();
	own = this_cpu_ptr(&nf_imq_own);
	own->skb = skb;
	own->token = 8;
	claimed[0] = nf_imq_claim(skb, ext);
	own->token = 7;
	claimed[1] = nf_imq_claim(other, ext);
	claimed[2] = nf_imq_claim(skb, ext);
	claimed[3] = nf_imq_claim(skb, ext);
	own->skb = NULL;
	local_bh_enable();

	KUNIT_EXPECT_FALSE(test, claimed[0]);
	KUNIT_EXPECT_FALSE(test, claimed[1]);
	KUNIT_EXPECT_TRUE(test, claimed[2]);
	KUNIT_EXPECT_FALSE(test, claimed[3]);
}

#if IS_ENABLED(CONFIG_NF_CONNTRACK)
/* A packet that shares its connection does not go on at once, as long as the
 * connection is not confirmed.
 */
static void nf_imq_test_ct_shared(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct nf_imq_ext *ext;
	struct nf_conn *ct;
	bool claimed;

	ext = kunit_kzalloc(test, sizeof(*ext), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	ct = kunit_kzalloc(test, sizeof(*ct), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ct);
	refcount_set(&ct->ct_general.use, 1);
	KUNIT_EXPECT_FALSE(test, nf_imq_ct_shared(skb));
	nf_ct_set(skb, ct, IP_CT_NEW);
	KUNIT_EXPECT_FALSE(test, nf_imq_ct_shared(skb));

	refcount_set(&ct->ct_general.use, 2);
	KUNIT_EXPECT_TRUE(test, nf_imq_ct_shared(skb));
	nf_ct_set(skb, ct, IP_CT_RELATED);
	KUNIT_EXPECT_TRUE(test, nf_imq_ct_shared(skb));
	local_bh_disable();
	this_cpu_write(nf_imq_own.skb, skb);
	this_cpu_write(nf_imq_own.token, 0);
	claimed = nf_imq_claim(skb, ext);
	this_cpu_write(nf_imq_own.skb, NULL);
	local_bh_enable();
	KUNIT_EXPECT_FALSE(test, claimed);

	nf_ct_set(skb, ct, IP_CT_ESTABLISHED);
	KUNIT_EXPECT_FALSE(test, nf_imq_ct_shared(skb));
	nf_ct_set(skb, ct, IP_CT_NEW);
	ct->status = IPS_CONFIRMED;
	KUNIT_EXPECT_FALSE(test, nf_imq_ct_shared(skb));
	ct->status = IPS_TEMPLATE;
	KUNIT_EXPECT_FALSE(test, nf_imq_ct_shared(skb));
	/* It is not conntrack's to free. */
	skb->_nfct = 0;
}
#endif

/* Marks */

static void nf_imq_test_mark(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	u16 index = 99;

	KUNIT_EXPECT_FALSE(test, nf_imq_take_mark(&init_net, skb, &index));
	nf_imq_mark(&init_net, skb, 5);
	nf_imq_mark(&init_net, skb, 0xffff);
	/* another namespace */
	KUNIT_EXPECT_FALSE(test, nf_imq_take_mark(NULL, skb, &index));
	KUNIT_EXPECT_TRUE(test, nf_imq_take_mark(&init_net, skb, &index));
	KUNIT_EXPECT_EQ(test, index, 0xffff);
	KUNIT_EXPECT_FALSE(test, nf_imq_take_mark(&init_net, skb, &index));
}

static void nf_imq_test_mark_clone(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct sk_buff *clone;
	u16 index = 99;

	nf_imq_mark(&init_net, skb, 5);
	clone = nf_imq_test_own(test, skb_clone(skb, GFP_KERNEL));

	KUNIT_EXPECT_TRUE(test, nf_imq_take_mark(&init_net, skb, &index));
	KUNIT_EXPECT_EQ(test, index, 5);
	index = 99;
	KUNIT_EXPECT_TRUE(test, nf_imq_take_mark(&init_net, clone, &index));
	KUNIT_EXPECT_EQ(test, index, 5);
}

static unsigned int nf_imq_test_kept(void)
{
	return this_cpu_read(nf_imq_spares.n) + !!this_cpu_read(nf_imq_spare);
}

/* A CPU keeps an extension that has gone for another packet, if nothing else was
 * ever in it.
 */
static void nf_imq_test_spare(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct sk_buff *next = nf_imq_test_skb(test);
	struct nf_imq_ext *ext;
	struct skb_ext *all;
	unsigned int n;

	local_bh_disable();
	ext = nf_imq_ext_new(skb);
	n = nf_imq_test_kept();
	all = skb->extensions;
	nf_imq_ext_del(skb, ext);
	KUNIT_EXPECT_FALSE(test, skb_has_extensions(skb));
	KUNIT_EXPECT_EQ(test, nf_imq_test_kept(), n + 1);

	KUNIT_EXPECT_PTR_EQ(test, nf_imq_ext_new(next), ext);
	KUNIT_EXPECT_PTR_EQ(test, next->extensions, all);
	KUNIT_EXPECT_EQ(test, nf_imq_test_kept(), n);
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	skb_ext_add(next, SKB_EXT_BRIDGE_NF);
	__skb_ext_del(next, SKB_EXT_BRIDGE_NF);
	nf_imq_ext_del(next, ext);
	KUNIT_EXPECT_FALSE(test, skb_has_extensions(next));
	KUNIT_EXPECT_EQ(test, nf_imq_test_kept(), n);
#endif
	local_bh_enable();
}

/* No more than NF_IMQ_SPARES, each for one packet, and none is lost. */
static void nf_imq_test_spares(struct kunit *test)
{
	unsigned int i, kept[NF_IMQ_SPARES + 2];
	struct sk_buff *skbs[NF_IMQ_SPARES + 1];
	struct nf_imq_ext *ext;

	for (i = 0; i <= NF_IMQ_SPARES; i++)
		skbs[i] = nf_imq_test_skb(test);

	local_bh_disable();
	for (i = 0; i <= NF_IMQ_SPARES; i++) {
		ext = nf_imq_ext_new(skbs[i]);
		if (ext)
			ext->index = i;
	}
	for (i = 0; i <= NF_IMQ_SPARES; i++) {
		kept[i] = nf_imq_test_kept();
		ext = skb_ext_find(skbs[i], SKB_EXT_IMQ);
		if (ext && ext->index == i)
			nf_imq_ext_del(skbs[i], ext);
	}
	kept[i] = nf_imq_test_kept();
	local_bh_enable();

	for (i = 0; i <= NF_IMQ_SPARES; i++) {
		KUNIT_EXPECT_FALSE(test, skb_has_extensions(skbs[i]));
		KUNIT_EXPECT_EQ(test, kept[i], i);
	}
	KUNIT_EXPECT_EQ(test, kept[i], NF_IMQ_SPARES);
}

/* What a packet is like before, inside, and afterwards */

struct nf_imq_restore_case {
	const char *name;
	u8 pf;
	u8 hook;
	bool mac;	/* skb->data is at the mac header */
	bool no_mac;	/* there is none */
	bool no_transport;	/* there is no transport header */
	bool rx;	/* the timestamp is the time of arrival */
	bool other_head;	/* inside, it is moved */
	u8 clock;	/* the timestamp's */
};

static const struct nf_imq_restore_case nf_imq_restore_cases[] = {
	{ "prerouting", NFPROTO_IPV4, NF_INET_PRE_ROUTING, .rx = true },
	{ "input", NFPROTO_IPV6, NF_INET_LOCAL_IN, .rx = true },
	{ "forward", NFPROTO_IPV4, NF_INET_FORWARD, .rx = true },
	{ "output", NFPROTO_IPV4, NF_INET_LOCAL_OUT, .no_mac = true,
	  .clock = SKB_CLOCK_MONOTONIC },
	{ "postrouting", NFPROTO_IPV6, NF_INET_POST_ROUTING,
	  .clock = SKB_CLOCK_MONOTONIC },
	{ "multicast", NFPROTO_IPV4, NF_INET_POST_ROUTING, .rx = true },
	{ "bridge", NFPROTO_BRIDGE, NF_BR_PRE_ROUTING, .rx = true },
	{ "ingress", NFPROTO_NETDEV, NF_NETDEV_INGRESS, .rx = true },
	{ "egress", NFPROTO_NETDEV, NF_NETDEV_EGRESS, .mac = true,
	  .clock = SKB_CLOCK_TAI },
	{ "moved", NFPROTO_IPV4, NF_INET_FORWARD, .rx = true,
	  .other_head = true },
	{ "moved, without mac header", NFPROTO_IPV6, NF_INET_LOCAL_OUT,
	  .no_mac = true, .other_head = true, .clock = SKB_CLOCK_MONOTONIC },
	{ "moved, without transport header", NFPROTO_BRIDGE, NF_BR_PRE_ROUTING,
	  .no_transport = true, .rx = true, .other_head = true },
	{ "moved, egress", NFPROTO_NETDEV, NF_NETDEV_EGRESS, .mac = true,
	  .other_head = true, .clock = SKB_CLOCK_TAI },
};

KUNIT_ARRAY_PARAM_DESC(nf_imq_restore, nf_imq_restore_cases, name);

static bool nf_imq_test_save(struct kunit *test, struct sk_buff *skb,
			     struct nf_imq_ext *ext, u8 pf, u8 hook,
			     struct sock *sk)
{
	static const struct nf_imq_test_hook hooks[] = { { 1, 0 } };
	struct nf_hook_entries *e = nf_imq_test_entries(test, hooks, 1);
	struct nf_hook_state state;
	bool ok;

	nf_hook_state_init(&state, hook, pf, NULL, NULL, sk, &init_net,
			   nf_imq_test_okfn);
	local_bh_disable();
	ok = nf_imq_save(skb, ext, &state, e, 0);
	local_bh_enable();

	return ok;
}

/* A packet that differs from a new one in all that is saved */
static struct sk_buff *
nf_imq_test_packet(struct kunit *test, const struct nf_imq_restore_case *c)
{
	struct sk_buff *skb = nf_imq_test_skb(test);

	if (!c->no_mac)
		skb_reset_mac_header(skb);
	if (!c->mac)
		__skb_pull(skb, ETH_HLEN);
	if (!c->no_transport)
		skb_set_transport_header(skb, skb_network_offset(skb) + 20);
	memset(skb->cb, 0x5a, sizeof(skb->cb));
	skb->mac_len = ETH_HLEN;
	skb->queue_mapping = 7;
	skb->tstamp = 12345;
	skb->tstamp_type = c->clock;

	return skb;
}

/* What qdiscs and transmit paths do to it */
static void nf_imq_test_use(struct sk_buff *skb)
{
	memset(skb->cb, 0, sizeof(skb->cb));
	skb_reset_mac_header(skb);
	skb_set_transport_header(skb, 2);
	skb->mac_len = 0;
	skb->queue_mapping = 0;
	skb->tstamp = 99;
}

static void nf_imq_test_restore(struct kunit *test)
{
	const struct nf_imq_restore_case *c = test->param_value;
	struct sk_buff *skb = nf_imq_test_packet(test, c);
	const unsigned int len = skb->len;
	u8 cb[sizeof(skb->cb)];
	struct nf_imq_ext *ext;

	ext = nf_imq_test_new(skb);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	KUNIT_ASSERT_TRUE(test, nf_imq_test_save(test, skb, ext, c->pf, c->hook,
						 NULL));
	KUNIT_EXPECT_EQ(test, skb_network_offset(skb), 0);
	KUNIT_EXPECT_EQ(test, skb->tstamp, c->rx ? 0 : 12345);
	KUNIT_EXPECT_EQ(test, nf_imq_need(ext), 20);

	nf_imq_test_use(skb);
	if (c->other_head)
		KUNIT_ASSERT_EQ(test, 0,
				pskb_expand_head(skb, 64, 0, GFP_KERNEL));
	skb_set_network_header(skb, 4);
	KUNIT_ASSERT_TRUE(test, nf_imq_test_back(skb, ext));

	KUNIT_EXPECT_EQ(test, skb->data[0], c->mac ? 'a' : 'I');
	KUNIT_EXPECT_EQ(test, skb->len, len);
	KUNIT_EXPECT_EQ(test, skb_network_offset(skb), c->mac ? ETH_HLEN : 0);
	KUNIT_EXPECT_EQ(test, skb_transport_header_was_set(skb), !c->no_transport);
	if (!c->no_transport)
		KUNIT_EXPECT_EQ(test, skb_transport_offset(skb),
				skb_network_offset(skb) + 20);
	KUNIT_EXPECT_EQ(test, skb_mac_header_was_set(skb), !c->no_mac);
	if (!c->no_mac)
		KUNIT_EXPECT_EQ(test, skb_mac_offset(skb),
				c->mac ? 0 : -ETH_HLEN);
	memset(cb, 0x5a, sizeof(cb));
	KUNIT_EXPECT_MEMEQ(test, skb->cb, cb, sizeof(cb));
	KUNIT_EXPECT_EQ(test, skb->mac_len, ETH_HLEN);
	KUNIT_EXPECT_EQ(test, skb->queue_mapping, 7);
	KUNIT_EXPECT_EQ(test, skb->tstamp, c->rx ? 12345 : 99);
	KUNIT_EXPECT_FALSE(test, skb_ext_exist(skb, SKB_EXT_IMQ));
}

/* Sockets */

static void nf_imq_test_free_sock(void *sock)
{
	sock_release(sock);
}

static struct sock *nf_imq_test_sock(struct kunit *test)
{
	struct socket *sock;
	int err;

	if (sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &sock))
		kunit_skip(test, "no UDP");
	err = kunit_add_action_or_reset(test, nf_imq_test_free_sock, sock);
	KUNIT_ASSERT_EQ(test, err, 0);

	return sock->sk;
}

static struct nf_imq_ext *nf_imq_test_queue(struct kunit *test,
					    struct sk_buff *skb,
					    struct sock *sk)
{
	struct nf_imq_ext *ext = nf_imq_test_new(skb);

	KUNIT_ASSERT_NOT_NULL(test, ext);
	KUNIT_ASSERT_TRUE(test, nf_imq_test_save(test, skb, ext, NFPROTO_IPV4,
						 NF_INET_LOCAL_IN, sk));

	return ext;
}

/* The hook's socket is held by the extension, and by copies of it. */
static void nf_imq_test_state_sk(struct kunit *test)
{
	struct sock *sk = nf_imq_test_sock(test);
	int refs = refcount_read(&sk->sk_refcnt);
	struct sk_buff *skb, *clone;
	struct nf_imq_ext *ext;

	skb = alloc_skb(64, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb_reset_network_header(skb);
	ext = nf_imq_test_queue(test, skb, sk);
	KUNIT_EXPECT_PTR_EQ(test, ext->state_sk, sk);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);

	/* Clones share it, until one is written to. */
	clone = skb_clone(skb, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, clone);
	KUNIT_EXPECT_TRUE(test, nf_imq_ext_shared(skb));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);
	KUNIT_EXPECT_NOT_NULL(test, skb_ext_add(clone, SKB_EXT_IMQ));
	KUNIT_EXPECT_FALSE(test, nf_imq_ext_shared(skb));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 2);

	/* A new use of the room ends the old one, */
	KUNIT_EXPECT_NOT_NULL(test, nf_imq_test_new(clone));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);
	kfree_skb(clone);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);

	/* also that of a copy, made for the new one. */
	clone = skb_clone(skb, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, clone);
	KUNIT_EXPECT_NOT_NULL(test, nf_imq_test_new(clone));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);
	kfree_skb(clone);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);
	kfree_skb(skb);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs);
}

/* A socket found on receive is off the packet inside, and back afterwards: for
 * each clone.
 */
static void nf_imq_test_skb_sk(struct kunit *test)
{
	struct sock *sk = nf_imq_test_sock(test);
	int refs = refcount_read(&sk->sk_refcnt);
	struct sk_buff *skb, *clone;
	struct nf_imq_ext *ext;

	skb = alloc_skb(64, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb_reset_network_header(skb);
	sock_hold(sk);
	skb->sk = sk;
	skb->destructor = sock_edemux;
	ext = nf_imq_test_queue(test, skb, NULL);
	KUNIT_EXPECT_NULL(test, skb->sk);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);

	clone = skb_clone(skb, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, clone);
	KUNIT_EXPECT_TRUE(test, nf_imq_test_back(skb, ext));
	KUNIT_EXPECT_PTR_EQ(test, skb->sk, sk);
	KUNIT_EXPECT_TRUE(test, nf_imq_test_back(clone, ext));
	KUNIT_EXPECT_PTR_EQ(test, clone->sk, sk);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 2);
	kfree_skb(clone);
	kfree_skb(skb);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs);
}

#ifdef CONFIG_XFRM
/* A packet with another extension, which stays, holds no socket when it goes on: it
 * may be in the receive queue of that one for good.
 */
static void nf_imq_test_skb_sk_more(struct kunit *test)
{
	struct sock *sk = nf_imq_test_sock(test);
	int refs = refcount_read(&sk->sk_refcnt);
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct sk_buff *clone;
	struct nf_imq_ext *ext;

	KUNIT_ASSERT_NOT_NULL(test, secpath_set(skb));
	skb_pull(skb, ETH_HLEN);
	sock_set_flag(sk, SOCK_RCU_FREE);
	skb->sk = sk;
	skb->destructor = sock_pfree;
	nf_imq_test_queue(test, skb, NULL);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);

	clone = nf_imq_test_own(test, skb_clone(skb, GFP_KERNEL));

	ext = nf_imq_ext_back(clone);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 2);
	KUNIT_EXPECT_TRUE(test, nf_imq_test_back(clone, ext));
	KUNIT_EXPECT_PTR_EQ(test, clone->sk, sk);
	KUNIT_EXPECT_TRUE(test, secpath_exists(clone));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs + 1);

	ext = nf_imq_ext_back(skb);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	KUNIT_EXPECT_TRUE(test, nf_imq_test_back(skb, ext));
	KUNIT_EXPECT_TRUE(test, secpath_exists(skb));
	KUNIT_EXPECT_EQ(test, refcount_read(&sk->sk_refcnt), refs);
}
#endif

#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
/* What bridge netfilter writes to is a packet's own when it goes on. */
static void nf_imq_test_bridge(struct kunit *test)
{
	struct sk_buff *skb = nf_imq_test_skb(test);
	struct nf_bridge_info *info, *other;
	struct nf_imq_ext *ext, *back;
	struct sk_buff *clone;

	info = skb_ext_add(skb, SKB_EXT_BRIDGE_NF);
	KUNIT_ASSERT_NOT_NULL(test, info);
	memset(info, 0, sizeof(*info));
	info->physinif = 7;
	ext = nf_imq_test_new(skb);
	KUNIT_ASSERT_NOT_NULL(test, ext);
	ext->index = 5;
	KUNIT_EXPECT_PTR_EQ(test, nf_imq_ext_back(skb), ext);

	clone = nf_imq_test_own(test, skb_clone(skb, GFP_KERNEL));
	back = nf_imq_ext_back(clone);
	KUNIT_ASSERT_NOT_NULL(test, back);
	KUNIT_EXPECT_PTR_NE(test, back, ext);
	KUNIT_EXPECT_EQ(test, back->index, 5);
	other = skb_ext_find(clone, SKB_EXT_BRIDGE_NF);
	info = skb_ext_find(skb, SKB_EXT_BRIDGE_NF);
	KUNIT_EXPECT_PTR_NE(test, other, info);
	KUNIT_EXPECT_EQ(test, other->physinif, 7);
	KUNIT_EXPECT_PTR_EQ(test, nf_imq_ext_back(skb), ext);
}
#endif

static struct kunit_case nf_imq_test_cases[] = {
	KUNIT_CASE_PARAM(nf_imq_test_verdict, nf_imq_verdict_gen_params),
	KUNIT_CASE_PARAM(nf_imq_test_next, nf_imq_next_gen_params),
#if IS_ENABLED(CONFIG_NF_TABLES)
	KUNIT_CASE(nf_imq_test_next_reused),
	KUNIT_CASE(nf_imq_test_next_replaced),
	KUNIT_CASE(nf_imq_test_next_flowtable),
#endif
	KUNIT_CASE_PARAM(nf_imq_test_fit, nf_imq_fit_gen_params),
	KUNIT_CASE(nf_imq_test_fit_request),
	KUNIT_CASE_PARAM(nf_imq_test_errno, nf_imq_errno_gen_params),
	KUNIT_CASE(nf_imq_test_okfn_alive),
	KUNIT_CASE_PARAM(nf_imq_test_of, nf_imq_of_gen_params),
	KUNIT_CASE_PARAM(nf_imq_test_need, nf_imq_need_gen_params),
	KUNIT_CASE(nf_imq_test_claim),
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	KUNIT_CASE(nf_imq_test_ct_shared),
#endif
	KUNIT_CASE(nf_imq_test_mark),
	KUNIT_CASE(nf_imq_test_mark_clone),
	KUNIT_CASE(nf_imq_test_spare),
	KUNIT_CASE(nf_imq_test_spares),
	KUNIT_CASE(nf_imq_test_find),
	KUNIT_CASE_PARAM(nf_imq_test_restore, nf_imq_restore_gen_params),
	KUNIT_CASE(nf_imq_test_state_sk),
	KUNIT_CASE(nf_imq_test_skb_sk),
#ifdef CONFIG_XFRM
	KUNIT_CASE(nf_imq_test_skb_sk_more),
#endif
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	KUNIT_CASE(nf_imq_test_bridge),
#endif
	{}
};

static struct kunit_suite nf_imq_test_suite = {
	.name = "nf_imq",
	.test_cases = nf_imq_test_cases,
};

kunit_test_suite(nf_imq_test_suite);
