// SPDX-License-Identifier: GPL-2.0-only
/* nft_imq - nf_tables expression that sends packets through an imq device
 *
 * Ends the evaluation of its base chain, as queue does; the packet goes on at
 * the next hook.
 */

#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/netfilter/nf_imq.h>
#include <net/netfilter/nf_tables.h>

struct nft_imq {
	u16	index;
};

struct nft_imq_sreg {
	u8	sreg_dev;
};

static void nft_imq_eval(const struct nft_expr *expr, struct nft_regs *regs,
			 const struct nft_pktinfo *pkt)
{
	const struct nft_imq *priv = nft_expr_priv(expr);

	regs->verdict.code = nf_imq_verdict(priv->index);
}

static void nft_imq_sreg_eval(const struct nft_expr *expr,
			      struct nft_regs *regs,
			      const struct nft_pktinfo *pkt)
{
	const struct nft_imq_sreg *priv = nft_expr_priv(expr);
	u32 index = regs->data[priv->sreg_dev];

	if (likely(index <= NF_IMQ_INDEX_MAX)) {
		regs->verdict.code = nf_imq_verdict(index);
	} else {
		nf_imq_no_device(nft_net(pkt), index);
		regs->verdict.code = NF_ACCEPT;
	}
}

/* In a nat chain, which sees only the first packet of a connection, the packet
 * would leave before the connection has got its mapping; in a route chain,
 * before it is routed anew.
 */
static int nft_imq_validate(const struct nft_ctx *ctx,
			    const struct nft_expr *expr)
{
	unsigned int hooks;
	int err;

	switch (ctx->family) {
	case NFPROTO_IPV4:
	case NFPROTO_IPV6:
	case NFPROTO_BRIDGE:
		hooks = (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_IN) |
			(1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT) |
			(1 << NF_INET_POST_ROUTING);
		break;
	case NFPROTO_INET:
		hooks = (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_IN) |
			(1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT) |
			(1 << NF_INET_POST_ROUTING) |
			(NF_IMQ_INGRESS << NF_INET_INGRESS);
		break;
	case NFPROTO_NETDEV:
		hooks = (NF_IMQ_INGRESS << NF_NETDEV_INGRESS) |
			(1 << NF_NETDEV_EGRESS);
		break;
	default:
		NL_SET_ERR_MSG(ctx->extack,
			       "imq: not in this family, only ip, ip6, inet, bridge, netdev");
		return -EOPNOTSUPP;
	}

	if (nft_is_base_chain(ctx->chain) &&
	    nft_base_chain(ctx->chain)->type->type != NFT_CHAIN_T_DEFAULT) {
		NL_SET_ERR_MSG(ctx->extack,
			       "imq: not in chains of type nat or route, only in type filter");
		return -EOPNOTSUPP;
	}

	err = nft_chain_validate_hooks(ctx->chain, hooks);
	if (err)
		NL_SET_ERR_MSG(ctx->extack,
			       "imq: not at this hook; ingress needs CONFIG_NET_CLS_ACT");

	return err;
}

static const struct netlink_range_validation nft_imq_range = {
	.max	= NF_IMQ_INDEX_MAX,
};

static const struct nla_policy nft_imq_policy[NFTA_IMQ_MAX + 1] = {
	[NFTA_IMQ_DEV]		= NLA_POLICY_FULL_RANGE(NLA_BE32, &nft_imq_range),
	[NFTA_IMQ_SREG_DEV]	= { .type = NLA_U32 },
};

static int nft_imq_init(const struct nft_ctx *ctx, const struct nft_expr *expr,
			const struct nlattr * const tb[])
{
	struct nft_imq *priv = nft_expr_priv(expr);

	priv->index = ntohl(nla_get_be32(tb[NFTA_IMQ_DEV]));

	/* All rules are validated later, but only now is it known which
	 * expression is the wrong one.
	 */
	return nft_imq_validate(ctx, expr);
}

static int nft_imq_sreg_init(const struct nft_ctx *ctx,
			     const struct nft_expr *expr,
			     const struct nlattr * const tb[])
{
	struct nft_imq_sreg *priv = nft_expr_priv(expr);
	int err;

	err = nft_parse_register_load(ctx, tb[NFTA_IMQ_SREG_DEV],
				      &priv->sreg_dev, sizeof(u32));
	if (err) {
		NL_SET_ERR_MSG_ATTR(ctx->extack, tb[NFTA_IMQ_SREG_DEV],
				    "imq: not a register that holds a value");
		return err;
	}

	return nft_imq_validate(ctx, expr);
}

static int nft_imq_dump(struct sk_buff *skb, const struct nft_expr *expr,
			bool reset)
{
	const struct nft_imq *priv = nft_expr_priv(expr);

	return nla_put_be32(skb, NFTA_IMQ_DEV, htonl(priv->index));
}

static int nft_imq_sreg_dump(struct sk_buff *skb, const struct nft_expr *expr,
			     bool reset)
{
	const struct nft_imq_sreg *priv = nft_expr_priv(expr);

	return nft_dump_register(skb, NFTA_IMQ_SREG_DEV, priv->sreg_dev);
}

static struct nft_expr_type nft_imq_type;

static const struct nft_expr_ops nft_imq_ops = {
	.type		= &nft_imq_type,
	.size		= NFT_EXPR_SIZE(sizeof(struct nft_imq)),
	.eval		= nft_imq_eval,
	.init		= nft_imq_init,
	.dump		= nft_imq_dump,
	.validate	= nft_imq_validate,
};

static const struct nft_expr_ops nft_imq_sreg_ops = {
	.type		= &nft_imq_type,
	.size		= NFT_EXPR_SIZE(sizeof(struct nft_imq_sreg)),
	.eval		= nft_imq_sreg_eval,
	.init		= nft_imq_sreg_init,
	.dump		= nft_imq_sreg_dump,
	.validate	= nft_imq_validate,
};

static const struct nft_expr_ops *
nft_imq_select_ops(const struct nft_ctx *ctx, const struct nlattr * const tb[])
{
	if (!tb[NFTA_IMQ_DEV] == !tb[NFTA_IMQ_SREG_DEV]) {
		NL_SET_ERR_MSG(ctx->extack,
			       "imq: takes either a device index or a register");
		return ERR_PTR(-EINVAL);
	}

	return tb[NFTA_IMQ_DEV] ? &nft_imq_ops : &nft_imq_sreg_ops;
}

static struct nft_expr_type nft_imq_type __read_mostly = {
	.name		= "imq",
	.select_ops	= nft_imq_select_ops,
	.policy		= nft_imq_policy,
	.maxattr	= NFTA_IMQ_MAX,
	.owner		= THIS_MODULE,
};

static int __init nft_imq_module_init(void)
{
	return nft_register_expr(&nft_imq_type);
}

static void __exit nft_imq_module_exit(void)
{
	nft_unregister_expr(&nft_imq_type);
}

module_init(nft_imq_module_init);
module_exit(nft_imq_module_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("IMQ developers <imq@localhost>");
MODULE_DESCRIPTION("Netfilter nf_tables intermediate queueing expression");
MODULE_ALIAS_NFT_EXPR("imq");
