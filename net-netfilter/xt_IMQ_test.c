// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of xt_IMQ.c, which includes this: where the parameters have packets
 * queued. The parameters are parsed at boot only, and so is this run.
 */

#include <kunit/test.h>

#define PLACES_MAX	2

struct xt_imq_place {
	unsigned int	hook;
	int		priority;
};

struct xt_imq_behavior_case {
	const char *name;
	const char *behavior;

	/* output as expected */
	int err;
	struct xt_imq_place places[PLACES_MAX];
};

static const struct xt_imq_behavior_case xt_imq_behavior_cases[] = {
	{
		.name = "AA",
		.behavior = "AA",
		.places = { { NF_INET_PRE_ROUTING, -99 },
			    { NF_INET_POST_ROUTING, 101 } },
	}, {
		.name = "AB",
		.behavior = "AB",
		.places = { { NF_INET_PRE_ROUTING, -99 },
			    { NF_INET_POST_ROUTING, 99 } },
	}, {
		.name = "BA",
		.behavior = "BA",
		.places = { { NF_INET_PRE_ROUTING, -149 },
			    { NF_INET_POST_ROUTING, 101 } },
	}, {
		.name = "BB",
		.behavior = "BB",
		.places = { { NF_INET_PRE_ROUTING, -149 },
			    { NF_INET_POST_ROUTING, 99 } },
	},
	{ .name = "nothing",		.behavior = "",		.err = -EINVAL },
	{ .name = "one letter",		.behavior = "A",	.err = -EINVAL },
	{ .name = "three letters",	.behavior = "ABB",	.err = -EINVAL },
	{ .name = "small letters",	.behavior = "ab",	.err = -EINVAL },
	{ .name = "wrong first letter",	.behavior = "CB",	.err = -EINVAL },
	{ .name = "wrong second letter", .behavior = "AC",	.err = -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(xt_imq_behavior, xt_imq_behavior_cases, name);

struct xt_imq_chains_case {
	const char *name;
	char *chains[PLACES_MAX];
	unsigned int num_chains;
	char *tables[PLACES_MAX];
	unsigned int num_tables;

	/* output as expected */
	int err;
	struct xt_imq_place places[PLACES_MAX];
};

static const struct xt_imq_chains_case xt_imq_chains_cases[] = {
	{
		.name = "mangle",
		.chains = { "INPUT", "FORWARD" }, .num_chains = 2,
		.tables = { "mangle", "mangle" }, .num_tables = 2,
		.places = { { NF_INET_LOCAL_IN, -149 },
			    { NF_INET_FORWARD, -149 } },
	}, {
		.name = "raw and filter",
		.chains = { "PREROUTING", "OUTPUT" }, .num_chains = 2,
		.tables = { "raw", "filter" }, .num_tables = 2,
		.places = { { NF_INET_PRE_ROUTING, -299 },
			    { NF_INET_LOCAL_OUT, 1 } },
	}, {
		.name = "nat, of destinations",
		.chains = { "PREROUTING", "OUTPUT" }, .num_chains = 2,
		.tables = { "nat", "nat" }, .num_tables = 2,
		.places = { { NF_INET_PRE_ROUTING, -99 },
			    { NF_INET_LOCAL_OUT, -99 } },
	}, {
		.name = "nat, of sources",
		.chains = { "INPUT", "POSTROUTING" }, .num_chains = 2,
		.tables = { "nat", "nat" }, .num_tables = 2,
		.places = { { NF_INET_LOCAL_IN, 101 },
			    { NF_INET_POST_ROUTING, 101 } },
	}, {
		.name = "less tables",
		.chains = { "INPUT", "FORWARD" }, .num_chains = 2,
		.tables = { "mangle" }, .num_tables = 1,
		.err = -EINVAL,
	}, {
		.name = "more tables",
		.chains = { "INPUT" }, .num_chains = 1,
		.tables = { "mangle", "mangle" }, .num_tables = 2,
		.err = -EINVAL,
	}, {
		.name = "unknown chain",
		.chains = { "input" }, .num_chains = 1,
		.tables = { "mangle" }, .num_tables = 1,
		.err = -EINVAL,
	}, {
		.name = "unknown table",
		.chains = { "INPUT" }, .num_chains = 1,
		.tables = { "security" }, .num_tables = 1,
		.err = -EINVAL,
	},
};

KUNIT_ARRAY_PARAM_DESC(xt_imq_chains, xt_imq_chains_cases, name);

/* What the parameters have made of the module, to be put back. Nobody else looks at
 * it meanwhile: the tests run at boot, before there is a process that could add a
 * rule. (KUnit calls init and exit from two threads: no mutex can be held.)
 */
struct xt_imq_saved {
	char		*behavior;
	char		*hook_chains[NF_INET_NUMHOOKS];
	unsigned int	num_hook_chains;
	char		*hook_tables[NF_INET_NUMHOOKS];
	unsigned int	num_hook_tables;
	struct nf_hook_ops ops[XT_IMQ_FAMILIES][NF_INET_NUMHOOKS];
	unsigned int	num_ops;
};

static int __init xt_imq_test_init(struct kunit *test)
{
	struct xt_imq_saved *s;

	s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;

	s->behavior = behavior;
	memcpy(s->hook_chains, hook_chains, sizeof(hook_chains));
	s->num_hook_chains = num_hook_chains;
	memcpy(s->hook_tables, hook_tables, sizeof(hook_tables));
	s->num_hook_tables = num_hook_tables;
	memcpy(s->ops, xt_imq_ops, sizeof(xt_imq_ops));
	s->num_ops = xt_imq_num_ops;
	xt_imq_num_ops = 0;
	test->priv = s;

	return 0;
}

static void __init xt_imq_test_exit(struct kunit *test)
{
	const struct xt_imq_saved *s = test->priv;

	if (!s)
		return;
	behavior = s->behavior;
	memcpy(hook_chains, s->hook_chains, sizeof(hook_chains));
	num_hook_chains = s->num_hook_chains;
	memcpy(hook_tables, s->hook_tables, sizeof(hook_tables));
	num_hook_tables = s->num_hook_tables;
	memcpy(xt_imq_ops, s->ops, sizeof(xt_imq_ops));
	xt_imq_num_ops = s->num_ops;
}

static void __init xt_imq_test_places(struct kunit *test,
				      const struct xt_imq_place *places)
{
	unsigned int i;

	KUNIT_ASSERT_EQ(test, xt_imq_num_ops, PLACES_MAX);
	for (i = 0; i < PLACES_MAX; i++) {
		const struct nf_hook_ops *v4 = &xt_imq_ops[XT_IMQ_IPV4][i];
		const struct nf_hook_ops *v6 = &xt_imq_ops[XT_IMQ_IPV6][i];

		KUNIT_EXPECT_EQ(test, v4->hooknum, places[i].hook);
		KUNIT_EXPECT_EQ(test, v4->priority, places[i].priority);
		KUNIT_EXPECT_EQ(test, v4->pf, NFPROTO_IPV4);
		KUNIT_EXPECT_EQ(test, v6->hooknum, places[i].hook);
		KUNIT_EXPECT_EQ(test, v6->priority, places[i].priority);
		KUNIT_EXPECT_EQ(test, v6->pf, NFPROTO_IPV6);
	}
}

static void __init xt_imq_test_behavior(struct kunit *test)
{
	const struct xt_imq_behavior_case *c = test->param_value;

	behavior = (char *)c->behavior;
	KUNIT_ASSERT_EQ(test, xt_imq_parse_behavior(), c->err);
	if (!c->err)
		xt_imq_test_places(test, c->places);
}

static void __init xt_imq_test_chains(struct kunit *test)
{
	const struct xt_imq_chains_case *c = test->param_value;

	memcpy(hook_chains, c->chains, sizeof(c->chains));
	num_hook_chains = c->num_chains;
	memcpy(hook_tables, c->tables, sizeof(c->tables));
	num_hook_tables = c->num_tables;
	KUNIT_ASSERT_EQ(test, xt_imq_parse_chains(), c->err);
	if (!c->err)
		xt_imq_test_places(test, c->places);
}

/* Of behavior AB: 1 is PREROUTING's hook, 2 POSTROUTING's. */
static void __init xt_imq_test_needed(struct kunit *test)
{
	behavior = "AB";
	KUNIT_ASSERT_EQ(test, xt_imq_parse_behavior(), 0);

	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_PRE_ROUTING)), 1);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_POST_ROUTING)), 2);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_PRE_ROUTING) |
					    BIT(NF_INET_POST_ROUTING)), 3);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_FORWARD)), 3);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_LOCAL_OUT)), 3);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_PRE_ROUTING) |
					    BIT(NF_INET_LOCAL_IN)), 3);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(0), 3);
}

/* A hook in front of the mangle table takes no mark of that chain. */
static void __init xt_imq_test_needed_raw(struct kunit *test)
{
	hook_chains[0] = "PREROUTING";
	hook_tables[0] = "raw";
	hook_chains[1] = "FORWARD";
	hook_tables[1] = "mangle";
	num_hook_chains = 2;
	num_hook_tables = 2;
	KUNIT_ASSERT_EQ(test, xt_imq_parse_chains(), 0);

	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_PRE_ROUTING)), 3);
	KUNIT_EXPECT_EQ(test, xt_imq_needed(BIT(NF_INET_FORWARD)), 2);
}

static struct kunit_case __refdata xt_imq_test_cases[] = {
	KUNIT_CASE_PARAM(xt_imq_test_behavior, xt_imq_behavior_gen_params),
	KUNIT_CASE_PARAM(xt_imq_test_chains, xt_imq_chains_gen_params),
	KUNIT_CASE(xt_imq_test_needed),
	KUNIT_CASE(xt_imq_test_needed_raw),
	{}
};

static struct kunit_suite __refdata xt_imq_test_suite = {
	.name = "xt_IMQ",
	.init = xt_imq_test_init,
	.exit = xt_imq_test_exit,
	.test_cases = xt_imq_test_cases,
};

kunit_test_init_section_suite(xt_imq_test_suite);
