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
	.print_help	= imq_print_help,
};
