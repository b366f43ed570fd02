/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The imq expression survives the way through netlink, with a constant index
 * and with a register, and prints what nft --debug=netlink shows.
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/ip.h>
#include <linux/netfilter/nf_tables.h>
#include <libmnl/libmnl.h>
#include <libnftnl/rule.h>
#include <libnftnl/expr.h>

static bool test_ok = true;

static const struct imq_case {
	const char	*name;
	uint16_t	set;	/* the attribute that is given */
	uint16_t	unset;	/* the other one, which must stay absent */
	uint32_t	value;
	const char	*text;
} imq_cases[] = {
	{ "lowest index", NFTNL_EXPR_IMQ_DEV, NFTNL_EXPR_IMQ_SREG_DEV,
	  0, "dev 0 " },
	{ "highest index", NFTNL_EXPR_IMQ_DEV, NFTNL_EXPR_IMQ_SREG_DEV,
	  65535, "dev 65535 " },
	{ "register", NFTNL_EXPR_IMQ_SREG_DEV, NFTNL_EXPR_IMQ_DEV,
	  NFT_REG32_03, "sreg_dev 11 " },
};

static void fail(const char *name, const char *msg)
{
	test_ok = false;
	printf("\033[31mERROR:\e[0m %s: %s\n", name, msg);
}

static void cmp_expr(const struct imq_case *c, struct nftnl_expr *expr)
{
	char text[64] = "";

	if (strcmp(nftnl_expr_get_str(expr, NFTNL_EXPR_NAME), "imq"))
		fail(c->name, "expression name mismatches");
	if (!nftnl_expr_is_set(expr, c->set))
		fail(c->name, "attribute got lost");
	else if (nftnl_expr_get_u32(expr, c->set) != c->value)
		fail(c->name, "value mismatches");
	if (nftnl_expr_is_set(expr, c->unset))
		fail(c->name, "attribute appeared that nobody set");

	nftnl_expr_snprintf(text, sizeof(text), expr, NFTNL_OUTPUT_DEFAULT, 0);
	if (strcmp(text, c->text))
		fail(c->name, "text mismatches");
}

static void test_case(const struct imq_case *c)
{
	struct nftnl_rule *a = nftnl_rule_alloc();
	struct nftnl_rule *b = nftnl_rule_alloc();
	struct nftnl_expr *ex = nftnl_expr_alloc("imq");
	struct nftnl_expr_iter *iter;
	struct nftnl_expr *expr;
	struct nlmsghdr *nlh;
	char buf[4096];

	if (!a || !b || !ex) {
		fail(c->name, "cannot allocate rule and expression");
		exit(EXIT_FAILURE);
	}

	nftnl_expr_set_u32(ex, c->set, c->value);
	nftnl_rule_add_expr(a, ex);

	nlh = nftnl_rule_nlmsg_build_hdr(buf, NFT_MSG_NEWRULE, AF_INET, 0, 1234);
	nftnl_rule_nlmsg_build_payload(nlh, a);
	if (nftnl_rule_nlmsg_parse(nlh, b) < 0)
		fail(c->name, "parsing problems");

	iter = nftnl_expr_iter_create(b);
	if (!iter) {
		fail(c->name, "OOM");
		exit(EXIT_FAILURE);
	}
	expr = nftnl_expr_iter_next(iter);
	if (expr)
		cmp_expr(c, expr);
	else
		fail(c->name, "no expression came back");
	if (nftnl_expr_iter_next(iter))
		fail(c->name, "more than one expression came back");

	nftnl_expr_iter_destroy(iter);
	nftnl_rule_free(a);
	nftnl_rule_free(b);
}

int main(int argc, char *argv[])
{
	size_t i;

	for (i = 0; i < sizeof(imq_cases) / sizeof(imq_cases[0]); i++)
		test_case(&imq_cases[i]);

	if (!test_ok)
		exit(EXIT_FAILURE);

	printf("%s: \033[32mOK\e[0m\n", argv[0]);
	return EXIT_SUCCESS;
}
