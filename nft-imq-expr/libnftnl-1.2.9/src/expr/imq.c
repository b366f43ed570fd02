/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The imq expression hands the packet to the qdisc of an IMQ device. The index
 * of the device is either a constant or the value of a register, never both.
 */

#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>

#include "internal.h"
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

struct nftnl_expr_imq {
	uint32_t		dev;
	enum nft_registers	sreg_dev;
};

static int nftnl_expr_imq_set(struct nftnl_expr *e, uint16_t type,
			      const void *data, uint32_t data_len)
{
	struct nftnl_expr_imq *imq = nftnl_expr_data(e);

	switch (type) {
	case NFTNL_EXPR_IMQ_DEV:
		memcpy(&imq->dev, data, data_len);
		break;
	case NFTNL_EXPR_IMQ_SREG_DEV:
		memcpy(&imq->sreg_dev, data, data_len);
		break;
	default:
		return -1;
	}
	return 0;
}

static const void *nftnl_expr_imq_get(const struct nftnl_expr *e,
				      uint16_t type, uint32_t *data_len)
{
	struct nftnl_expr_imq *imq = nftnl_expr_data(e);

	switch (type) {
	case NFTNL_EXPR_IMQ_DEV:
		*data_len = sizeof(imq->dev);
		return &imq->dev;
	case NFTNL_EXPR_IMQ_SREG_DEV:
		*data_len = sizeof(imq->sreg_dev);
		return &imq->sreg_dev;
	}
	return NULL;
}

static int nftnl_expr_imq_cb(const struct nlattr *attr, void *data)
{
	const struct nlattr **tb = data;
	int type = mnl_attr_get_type(attr);

	if (mnl_attr_type_valid(attr, NFTA_IMQ_MAX) < 0)
		return MNL_CB_OK;

	switch (type) {
	case NFTA_IMQ_DEV:
	case NFTA_IMQ_SREG_DEV:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			abi_breakage();
		break;
	}

	tb[type] = attr;
	return MNL_CB_OK;
}

static void nftnl_expr_imq_build(struct nlmsghdr *nlh,
				 const struct nftnl_expr *e)
{
	struct nftnl_expr_imq *imq = nftnl_expr_data(e);

	if (e->flags & (1 << NFTNL_EXPR_IMQ_DEV))
		mnl_attr_put_u32(nlh, NFTA_IMQ_DEV, htonl(imq->dev));
	if (e->flags & (1 << NFTNL_EXPR_IMQ_SREG_DEV))
		mnl_attr_put_u32(nlh, NFTA_IMQ_SREG_DEV, htonl(imq->sreg_dev));
}

static int nftnl_expr_imq_parse(struct nftnl_expr *e, struct nlattr *attr)
{
	struct nftnl_expr_imq *imq = nftnl_expr_data(e);
	struct nlattr *tb[NFTA_IMQ_MAX + 1] = {};

	if (mnl_attr_parse_nested(attr, nftnl_expr_imq_cb, tb) < 0)
		return -1;

	if (tb[NFTA_IMQ_DEV]) {
		imq->dev = ntohl(mnl_attr_get_u32(tb[NFTA_IMQ_DEV]));
		e->flags |= (1 << NFTNL_EXPR_IMQ_DEV);
	}
	if (tb[NFTA_IMQ_SREG_DEV]) {
		imq->sreg_dev = ntohl(mnl_attr_get_u32(tb[NFTA_IMQ_SREG_DEV]));
		e->flags |= (1 << NFTNL_EXPR_IMQ_SREG_DEV);
	}

	return 0;
}

static int nftnl_expr_imq_snprintf(char *buf, size_t remain, uint32_t flags,
				   const struct nftnl_expr *e)
{
	struct nftnl_expr_imq *imq = nftnl_expr_data(e);
	int ret, offset = 0;

	if (e->flags & (1 << NFTNL_EXPR_IMQ_DEV)) {
		ret = snprintf(buf + offset, remain, "dev %u ", imq->dev);
		SNPRINTF_BUFFER_SIZE(ret, remain, offset);
	}
	if (e->flags & (1 << NFTNL_EXPR_IMQ_SREG_DEV)) {
		ret = snprintf(buf + offset, remain, "sreg_dev %u ",
			       imq->sreg_dev);
		SNPRINTF_BUFFER_SIZE(ret, remain, offset);
	}

	return offset;
}

static struct attr_policy imq_attr_policy[__NFTNL_EXPR_IMQ_MAX] = {
	[NFTNL_EXPR_IMQ_DEV]		= { .maxlen = sizeof(uint32_t) },
	[NFTNL_EXPR_IMQ_SREG_DEV]	= { .maxlen = sizeof(uint32_t) },
};

struct expr_ops expr_ops_imq = {
	.name		= "imq",
	.alloc_len	= sizeof(struct nftnl_expr_imq),
	.nftnl_max_attr	= __NFTNL_EXPR_IMQ_MAX - 1,
	.attr_policy	= imq_attr_policy,
	.set		= nftnl_expr_imq_set,
	.get		= nftnl_expr_imq_get,
	.parse		= nftnl_expr_imq_parse,
	.build		= nftnl_expr_imq_build,
	.output		= nftnl_expr_imq_snprintf,
};
