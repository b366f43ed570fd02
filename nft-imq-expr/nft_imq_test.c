// SPDX-License-Identifier: GPL-2.0-only
/* KUnit tests of nft_imq.c, which includes this: attributes, and where the
 * expression may be used.
 */

#include <kunit/test.h>

/* Attributes */

struct nft_imq_policy_case {
	const char *name;
	u16 type;
	unsigned int len;
	u32 value;
	int err;
};

static const struct nft_imq_policy_case nft_imq_policy_cases[] = {
	{ "dev 0",		NFTA_IMQ_DEV,		4, 0,		0 },
	{ "dev 1",		NFTA_IMQ_DEV,		4, 1,		0 },
	{ "dev 65535",		NFTA_IMQ_DEV,		4, 65535,	0 },
	{ "dev 65536",		NFTA_IMQ_DEV,		4, 65536,	-ERANGE },
	{ "dev, sign bit",	NFTA_IMQ_DEV,		4, 0x80000000,	-ERANGE },
	{ "dev 4294967295",	NFTA_IMQ_DEV,		4, 0xffffffff,	-ERANGE },
	{ "dev, two bytes",	NFTA_IMQ_DEV,		2, 1,		-ERANGE },
	{ "dev, nothing",	NFTA_IMQ_DEV,		0, 1,		-ERANGE },
	{ "sreg",		NFTA_IMQ_SREG_DEV,	4, 1,		0 },
	{ "sreg, two bytes",	NFTA_IMQ_SREG_DEV,	2, 1,		-ERANGE },
	{ "sreg, nothing",	NFTA_IMQ_SREG_DEV,	0, 1,		-ERANGE },
};

KUNIT_ARRAY_PARAM_DESC(nft_imq_policy, nft_imq_policy_cases, name);

static void nft_imq_test_policy(struct kunit *test)
{
	const struct nft_imq_policy_case *c = test->param_value;
	struct nlattr *tb[NFTA_IMQ_MAX + 1];
	struct {
		struct nlattr	nla;
		__be32		value;
	} attr = {
		.nla.nla_len	= nla_attr_size(c->len),
		.nla.nla_type	= c->type,
		.value		= htonl(c->value),
	};

	/* as nf_tables_expr_parse() does */
	KUNIT_EXPECT_EQ(test, c->err,
			nla_parse_deprecated(tb, NFTA_IMQ_MAX, &attr.nla,
					     nla_total_size(c->len),
					     nft_imq_policy, NULL));
}

struct nft_imq_select_case {
	const char *name;
	bool dev;
	bool sreg;
	const struct nft_expr_ops *ops;	/* NULL: refused */
};

static const struct nft_imq_select_case nft_imq_select_cases[] = {
	{ "dev",	true,	false,	&nft_imq_ops },
	{ "sreg",	false,	true,	&nft_imq_sreg_ops },
	{ "both",	true,	true,	NULL },
	{ "none",	false,	false,	NULL },
};

KUNIT_ARRAY_PARAM_DESC(nft_imq_select, nft_imq_select_cases, name);

static void nft_imq_test_select(struct kunit *test)
{
	const struct nft_imq_select_case *c = test->param_value;
	static const struct nlattr attr;
	const struct nlattr *tb[NFTA_IMQ_MAX + 1] = {
		[NFTA_IMQ_DEV]		= c->dev ? &attr : NULL,
		[NFTA_IMQ_SREG_DEV]	= c->sreg ? &attr : NULL,
	};
	struct nft_ctx ctx = {};

	KUNIT_EXPECT_PTR_EQ(test, nft_imq_select_ops(&ctx, tb),
			    c->ops ?: ERR_PTR(-EINVAL));
}

static const struct nft_imq_policy_case nft_imq_index_cases[] = {
	{ "first",	.value = 0 },
	{ "second",	.value = 1 },
	{ "sign bit",	.value = 0x8000 },
	{ "last",	.value = 0xffff },
};

KUNIT_ARRAY_PARAM_DESC(nft_imq_index, nft_imq_index_cases, name);

/* A chain of a type that the expression may be in */
static const struct nft_chain_type nft_imq_test_filter = {
	.type = NFT_CHAIN_T_DEFAULT,
};

static struct nft_base_chain *
nft_imq_test_chain(struct kunit *test, const struct nft_chain_type *type)
{
	struct nft_base_chain *base;

	base = kunit_kzalloc(test, sizeof(*base), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, base);
	base->type = type;
	base->chain.flags = NFT_CHAIN_BASE;

	return base;
}

/* From the attribute to the verdict, and back */
static void nft_imq_test_index(struct kunit *test)
{
	const struct nft_imq_policy_case *c = test->param_value;
	struct {
		struct nlattr	nla;
		__be32		value;
	} attr = {
		.nla.nla_len	= nla_attr_size(sizeof(__be32)),
		.nla.nla_type	= NFTA_IMQ_DEV,
		.value		= htonl(c->value),
	};
	const struct nlattr *tb[NFTA_IMQ_MAX + 1] = {
		[NFTA_IMQ_DEV]	= &attr.nla,
	};
	struct nft_ctx ctx = {
		.family	= NFPROTO_IPV4,
		.chain	= &nft_imq_test_chain(test, &nft_imq_test_filter)->chain,
	};
	struct nft_regs regs = {};
	struct nft_expr *expr;
	struct sk_buff *skb;

	expr = kunit_kzalloc(test, nft_imq_ops.size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, expr);
	expr->ops = &nft_imq_ops;
	KUNIT_ASSERT_EQ(test, 0, nft_imq_init(&ctx, expr, tb));

	nft_imq_eval(expr, &regs, NULL);
	KUNIT_EXPECT_EQ(test, (u32)regs.verdict.code, nf_imq_verdict(c->value));

	skb = alloc_skb(64, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	KUNIT_EXPECT_EQ(test, 0, nft_imq_dump(skb, expr, false));
	KUNIT_EXPECT_MEMEQ(test, skb->data, &attr, sizeof(attr));
	KUNIT_EXPECT_EQ(test, skb->len, sizeof(attr));
	kfree_skb(skb);
}

/* A value in a register */
static void nft_imq_test_sreg(struct kunit *test)
{
	const struct nft_imq_policy_case *c = test->param_value;
	struct nft_regs regs = {};
	struct nft_imq_sreg *priv;
	struct nft_expr *expr;

	expr = kunit_kzalloc(test, nft_imq_sreg_ops.size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, expr);
	expr->ops = &nft_imq_sreg_ops;
	priv = nft_expr_priv(expr);
	priv->sreg_dev = NFT_REG_1 * NFT_REG_SIZE / NFT_REG32_SIZE;
	regs.data[priv->sreg_dev] = c->value;
	nft_imq_sreg_eval(expr, &regs, NULL);
	KUNIT_EXPECT_EQ(test, (u32)regs.verdict.code, nf_imq_verdict(c->value));
}

/* Chains */

struct nft_imq_chain_case {
	const char *name;
	u8 family;
	enum nft_chain_types type;
	bool base;
	unsigned long hooks;	/* where it may be used */
};

#define INET_HOOKS	(BIT(NF_INET_PRE_ROUTING) | BIT(NF_INET_LOCAL_IN) |	\
			 BIT(NF_INET_FORWARD) | BIT(NF_INET_LOCAL_OUT) |	\
			 BIT(NF_INET_POST_ROUTING))
#define INGRESS(hook)	(NF_IMQ_INGRESS ? BIT(hook) : 0)
#define ALL_HOOKS	(INET_HOOKS | BIT(NF_INET_INGRESS))

static const struct nft_imq_chain_case nft_imq_chain_cases[] = {
	{ "ip",		NFPROTO_IPV4,	NFT_CHAIN_T_DEFAULT, true, INET_HOOKS },
	{ "ip6",	NFPROTO_IPV6,	NFT_CHAIN_T_DEFAULT, true, INET_HOOKS },
	{ "inet",	NFPROTO_INET,	NFT_CHAIN_T_DEFAULT, true,
	  INET_HOOKS | INGRESS(NF_INET_INGRESS) },
	{ "bridge",	NFPROTO_BRIDGE,	NFT_CHAIN_T_DEFAULT, true, INET_HOOKS },
	{ "netdev",	NFPROTO_NETDEV,	NFT_CHAIN_T_DEFAULT, true,
	  INGRESS(NF_NETDEV_INGRESS) | BIT(NF_NETDEV_EGRESS) },
	{ "arp",	NFPROTO_ARP,	NFT_CHAIN_T_DEFAULT, true, 0 },
	{ "nat, ip",	NFPROTO_IPV4,	NFT_CHAIN_T_NAT, true, 0 },
	{ "nat, inet",	NFPROTO_INET,	NFT_CHAIN_T_NAT, true, 0 },
	{ "route, ip6",	NFPROTO_IPV6,	NFT_CHAIN_T_ROUTE, true, 0 },
	/* where it is reached from counts */
	{ "no hook, ip", NFPROTO_IPV4,	NFT_CHAIN_T_DEFAULT, false, ALL_HOOKS },
	{ "no hook, arp", NFPROTO_ARP,	NFT_CHAIN_T_DEFAULT, false, 0 },
};

KUNIT_ARRAY_PARAM_DESC(nft_imq_chain, nft_imq_chain_cases, name);

static void nft_imq_test_validate(struct kunit *test)
{
	const struct nft_imq_chain_case *c = test->param_value;
	const struct nft_chain_type type = { .type = c->type };
	struct nft_base_chain *base;
	struct nft_ctx ctx = { .family = c->family };
	unsigned int hook;

	base = nft_imq_test_chain(test, &type);
	if (!c->base)
		base->chain.flags = 0;
	ctx.chain = &base->chain;

	for (hook = 0; hook <= NF_INET_INGRESS; hook++) {
		base->ops.hooknum = hook;
		KUNIT_EXPECT_EQ_MSG(test, nft_imq_validate(&ctx, NULL),
				    c->hooks & BIT(hook) ? 0 : -EOPNOTSUPP,
				    "hook %u", hook);
	}
}

static struct kunit_case nft_imq_test_cases[] = {
	KUNIT_CASE_PARAM(nft_imq_test_policy, nft_imq_policy_gen_params),
	KUNIT_CASE_PARAM(nft_imq_test_select, nft_imq_select_gen_params),
	KUNIT_CASE_PARAM(nft_imq_test_index, nft_imq_index_gen_params),
	KUNIT_CASE_PARAM(nft_imq_test_sreg, nft_imq_index_gen_params),
	KUNIT_CASE_PARAM(nft_imq_test_validate, nft_imq_chain_gen_params),
	{}
};

static struct kunit_suite nft_imq_test_suite = {
	.name = "nft_imq",
	.test_cases = nft_imq_test_cases,
};

kunit_test_suite(nft_imq_test_suite);
