/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iplink_imq.c	imq device support: queue packets at a netfilter hook
 *
 * The same file is built into ip, and into the plugin link_imq.so.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <linux/if_link.h>

#include "utils.h"
#include "ip_common.h"

static void explain(struct link_util *lu, FILE *f)
{
	fprintf(f,
		"Usage: ... %s [ index INDEX ]\n"
		"\n"
		"Where:	INDEX := 0-65535, the device's number in netfilter rules\n"
		"	         (default: N of a name imqN, else the lowest free one)\n",
		lu->id);
}

static int imq_parse_opt(struct link_util *lu, int argc, char **argv,
			 struct nlmsghdr *n)
{
	bool seen_index = false;

	while (argc > 0) {
		if (strcmp(*argv, "index") == 0) {
			__u16 index;

			NEXT_ARG();
			if (seen_index)
				duparg("index", *argv);
			seen_index = true;

			if (get_u16(&index, *argv, 0))
				invarg("\"index\" must be a number in the range [0-65535]",
				       *argv);
			addattr32(n, 1024, IFLA_IMQ_INDEX, index);
		} else if (strcmp(*argv, "help") == 0) {
			explain(lu, stderr);
			return -1;
		} else {
			fprintf(stderr, "%s: unknown option \"%s\"?\n",
				lu->id, *argv);
			explain(lu, stderr);
			return -1;
		}
		argc--;
		argv++;
	}

	return 0;
}

static void imq_print_opt(struct link_util *lu, FILE *f, struct rtattr *tb[])
{
	if (!tb)
		return;

	if (tb[IFLA_IMQ_INDEX])
		print_uint(PRINT_ANY, "index", "index %u ",
			   rta_getattr_u32(tb[IFLA_IMQ_INDEX]));
}

/* The kernel makes attributes as short as their value allows. */
static __u64 imq_counter(const struct rtattr *attr)
{
	return RTA_PAYLOAD(attr) == sizeof(__u64) ? rta_getattr_u64(attr) :
						    rta_getattr_u32(attr);
}

static void imq_print_indent(const char *indent)
{
	print_nl();
	print_string(PRINT_FP, NULL, "%s", indent);
}

/* With -s. What entered and left is in the common statistics. */
static void imq_print_xstats(struct link_util *lu, FILE *f,
			     struct rtattr *xstats)
{
	static const char * const name[IFLA_IMQ_XSTATS_MAX + 1] = {
		[IFLA_IMQ_XSTATS_BYPASS_DOWN]	= "bypass_down",
		[IFLA_IMQ_XSTATS_BYPASS_NOMEM]	= "bypass_nomem",
		[IFLA_IMQ_XSTATS_BYPASS_UNFIT]	= "bypass_unfit",
		[IFLA_IMQ_XSTATS_DROP_DEV]	= "drop_dev",
		[IFLA_IMQ_XSTATS_DROP_HOOK]	= "drop_hook",
		[IFLA_IMQ_XSTATS_DROP_SOCK]	= "drop_sock",
		[IFLA_IMQ_XSTATS_FOREIGN]	= "foreign",
		[IFLA_IMQ_XSTATS_RING_FULL]	= "ring_full",
	};
	struct rtattr *tb[IFLA_IMQ_XSTATS_MAX + 1];
	int i;

	if (!xstats)
		return;

	parse_rtattr_nested(tb, IFLA_IMQ_XSTATS_MAX, xstats);
	for (i = 1; i <= IFLA_IMQ_XSTATS_MAX; i++) {
		if (!tb[i])
			continue;
		if (i == IFLA_IMQ_XSTATS_BYPASS_DOWN ||
		    i == IFLA_IMQ_XSTATS_DROP_DEV)
			imq_print_indent("      ");
		print_string(PRINT_FP, NULL, "%s ", name[i]);
		print_lluint(PRINT_ANY, name[i], "%llu ", imq_counter(tb[i]));
	}
	imq_print_indent("    ");
}

static void imq_print_help(struct link_util *lu, int argc, char **argv,
			   FILE *f)
{
	explain(lu, f);
}

struct link_util imq_link_util = {
	.id		= "imq",
	.maxattr	= IFLA_IMQ_MAX,
	.parse_opt	= imq_parse_opt,
	.print_opt	= imq_print_opt,
	.print_xstats	= imq_print_xstats,
	.print_help	= imq_print_help,
};
