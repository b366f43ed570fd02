// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of link.c, which includes this: the index of a device. */

#include <kunit/test.h>

#define NONE	U32_MAX

struct imq_choose_case {
	const char *name;

	/* input */
	const char *dev;
	bool generated;
	u32 attr;		/* or NONE */
	u16 taken[4];
	unsigned int num_taken;

	/* output as expected */
	int index;
	const char *message;
};

static const struct imq_choose_case imq_choose_cases[] = {
	{
		.name = "number of the name",
		.dev = "imq7", .attr = NONE,
		.index = 7,
	}, {
		.name = "largest number of a name",
		.dev = "imq65535", .attr = NONE,
		.index = 65535,
	}, {
		.name = "number of the name is too large",
		.dev = "imq65536", .attr = NONE,
		.index = 0,
	}, {
		.name = "number of the name overflows",
		.dev = "imq4294967296", .attr = NONE,
		.taken = { 0 }, .num_taken = 1,
		.index = 1,
	}, {
		.name = "name with more than a number",
		.dev = "imq7x", .attr = NONE,
		.index = 0,
	}, {
		.name = "name with a sign",
		.dev = "imq+7", .attr = NONE,
		.index = 0,
	}, {
		.name = "name without a number",
		.dev = "imq", .attr = NONE,
		.index = 0,
	}, {
		.name = "another name: lowest free one",
		.dev = "shape", .attr = NONE,
		.taken = { 0, 1, 3, 65535 }, .num_taken = 4,
		.index = 2,
	}, {
		.name = "number of the name is taken",
		.dev = "imq7", .attr = NONE,
		.taken = { 7 }, .num_taken = 1,
		.index = -EEXIST,
		.message = "index 7, as the name says, is in use: give another one",
	}, {
		.name = "number of a generated name",
		.dev = "imq7", .generated = true, .attr = NONE,
		.index = 7,
	}, {
		.name = "number of a generated name is taken",
		.dev = "imq0", .generated = true, .attr = NONE,
		.taken = { 0, 1 }, .num_taken = 2,
		.index = 2,
	}, {
		.name = "given",
		.dev = "shape", .attr = 9,
		.index = 9,
	}, {
		.name = "given, largest",
		.dev = "shape", .attr = 65535,
		.index = 65535,
	}, {
		.name = "given, other than the name's",
		.dev = "imq7", .attr = 9,
		.taken = { 7 }, .num_taken = 1,
		.index = 9,
	}, {
		.name = "given, and taken",
		.dev = "imq7", .attr = 9,
		.taken = { 9 }, .num_taken = 1,
		.index = -EEXIST,
		.message = "index 9 is in use",
	},
};

KUNIT_ARRAY_PARAM_DESC(imq_choose, imq_choose_cases, name);

/* A namespace of which only the devices by index are there */
struct imq_test_net {
	struct net		net;
	struct nf_imq_net	nf;
	struct imq_net		inet;
	struct net_generic	*gen;
};

static void imq_test_destroy(void *inet)
{
	xa_destroy(&((struct imq_net *)inet)->devs);
}

static struct imq_test_net *imq_test_net(struct kunit *test)
{
	struct imq_test_net *tn;
	int err;

	tn = kunit_kzalloc(test, sizeof(*tn), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tn);
	tn->gen = kunit_kzalloc(test, struct_size(tn->gen, ptr, imq_net_id + 1),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tn->gen);

	xa_init(&tn->inet.devs);
	err = kunit_add_action_or_reset(test, imq_test_destroy, &tn->inet);
	KUNIT_ASSERT_EQ(test, err, 0);
	tn->gen->ptr[imq_net_id] = &tn->inet;
	rcu_assign_pointer(tn->net.gen, tn->gen);
	tn->net.nf.imq = &tn->nf;

	return tn;
}

/* Pointers to anything stand for devices. */
static void imq_test_store(struct kunit *test, struct imq_test_net *tn,
			   u16 index, void *entry)
{
	KUNIT_ASSERT_EQ(test, 0, xa_reserve(&tn->inet.devs, index, GFP_KERNEL));
	imq_index_set(&tn->net, index, entry);
}

static void imq_test_choose(struct kunit *test)
{
	const struct imq_choose_case *c = test->param_value;
	struct imq_test_net *tn = imq_test_net(test);
	struct netlink_ext_ack extack = {};
	struct {
		struct nlattr	nla;
		u32		value;
	} attr = {
		.nla.nla_len	= nla_attr_size(sizeof(u32)),
		.nla.nla_type	= IFLA_IMQ_INDEX,
		.value		= c->attr,
	};
	unsigned int i;
	int index;

	for (i = 0; i < c->num_taken; i++)
		imq_test_store(test, tn, c->taken[i], tn);

	rtnl_lock();
	index = imq_index_choose(&tn->net, c->dev, c->generated,
				 c->attr == NONE ? NULL : &attr.nla, &extack);
	rtnl_unlock();
	KUNIT_EXPECT_EQ(test, index, c->index);
	if (c->message) {
		KUNIT_ASSERT_NOT_NULL(test, extack._msg);
		KUNIT_EXPECT_STREQ(test, extack._msg, c->message);
		KUNIT_EXPECT_PTR_EQ(test, extack.bad_attr,
				    c->attr == NONE ? NULL : &attr.nla);
	} else {
		KUNIT_EXPECT_NULL(test, extack._msg);
	}
}

static void imq_test_choose_full(struct kunit *test)
{
	struct imq_test_net *tn = imq_test_net(test);
	struct netlink_ext_ack extack = {};
	unsigned int i;

	for (i = 0; i <= NF_IMQ_INDEX_MAX; i++)
		imq_test_store(test, tn, i, tn);
	rtnl_lock();
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			imq_index_choose(&tn->net, "shape", false, NULL,
					 &extack));
	imq_index_set(&tn->net, NF_IMQ_INDEX_MAX, NULL);
	KUNIT_EXPECT_EQ(test, NF_IMQ_INDEX_MAX,
			imq_index_choose(&tn->net, "shape", false, NULL,
					 &extack));
	rtnl_unlock();

	KUNIT_ASSERT_NOT_NULL(test, extack._msg);
	KUNIT_EXPECT_STREQ(test, extack._msg,
			   "all indexes (0-65535) are in use");
}

static void imq_test_find(struct kunit *test)
{
	static const u16 index[] = { 0, 3, 16, NF_IMQ_INDEX_MAX };
	struct imq_test_net *tn = imq_test_net(test);
	struct imq_test_net *other = imq_test_net(test);
	int i;

	rtnl_lock();
	for (i = 0; i < ARRAY_SIZE(index); i++) {
		KUNIT_EXPECT_NULL(test, imq_find(&tn->net, index[i]));
		imq_test_store(test, tn, index[i], tn);
		KUNIT_EXPECT_PTR_EQ(test, imq_find(&tn->net, index[i]),
				    (void *)tn);
		KUNIT_EXPECT_NULL(test, imq_find(&other->net, index[i]));
		imq_index_set(&tn->net, index[i], NULL);
		KUNIT_EXPECT_NULL(test, imq_find(&tn->net, index[i]));
	}
	rtnl_unlock();
}

/* Only a device's own index becomes free with it. */
static void imq_test_release(struct kunit *test)
{
	struct imq_test_net *tn = imq_test_net(test);
	struct net_device *dev;
	struct imq_dev *imq;

	dev = alloc_netdev(sizeof(*imq), "imq%d", NET_NAME_UNKNOWN, imq_setup);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	imq = netdev_priv(dev);
	imq->index = 3;
	dev_net_set(dev, &tn->net);
	imq_test_store(test, tn, 3, dev);
	imq_test_store(test, tn, 4, tn);

	rtnl_lock();
	imq_index_release(dev);
	imq->index = 4;
	imq_index_release(dev);
	KUNIT_EXPECT_NULL(test, imq_find(&tn->net, 3));
	KUNIT_EXPECT_PTR_EQ(test, imq_find(&tn->net, 4), (void *)tn);
	rtnl_unlock();

	dev_net_set(dev, &init_net);
	free_netdev(dev);
}

/* Attributes */

struct imq_policy_case {
	const char *name;
	unsigned int len;
	u32 value;
	int err;
};

static const struct imq_policy_case imq_policy_cases[] = {
	{ "0",			4, 0,		0 },
	{ "65535",		4, 65535,	0 },
	{ "65536",		4, 65536,	-ERANGE },
	{ "sign bit",		4, 0x80000000,	-ERANGE },
	{ "4294967295",		4, 0xffffffff,	-ERANGE },
	{ "two bytes",		2, 1,		-ERANGE },
	{ "nothing",		0, 1,		-ERANGE },
};

KUNIT_ARRAY_PARAM_DESC(imq_policy, imq_policy_cases, name);

static void imq_test_policy(struct kunit *test)
{
	const struct imq_policy_case *c = test->param_value;
	struct nlattr *tb[IFLA_IMQ_MAX + 1];
	struct {
		struct nlattr	nla;
		u32		value;
	} attr = {
		.nla.nla_len	= nla_attr_size(c->len),
		.nla.nla_type	= IFLA_IMQ_INDEX,
		.value		= c->value,
	};

	/* as rtnl_newlink() does */
	KUNIT_EXPECT_EQ(test, c->err,
			nla_parse_deprecated(tb, IFLA_IMQ_MAX, &attr.nla,
					     nla_total_size(c->len), imq_policy,
					     NULL));
}

static struct kunit_case imq_test_cases[] = {
	KUNIT_CASE_PARAM(imq_test_choose, imq_choose_gen_params),
	KUNIT_CASE(imq_test_choose_full),
	KUNIT_CASE(imq_test_find),
	KUNIT_CASE(imq_test_release),
	KUNIT_CASE_PARAM(imq_test_policy, imq_policy_gen_params),
	{}
};

static struct kunit_suite imq_test_suite = {
	.name = "imq_link",
	.test_cases = imq_test_cases,
};

kunit_test_suite(imq_test_suite);
