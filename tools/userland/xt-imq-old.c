// SPDX-License-Identifier: GPL-2.0
/*
 * An extension "IMQ" for iptables and ip6tables, like those that have been in
 * the field with kernels of earlier IMQ patches: the structure of revision 0 is
 * written out instead of taken from a header, options are parsed by the
 * extension itself, and the number is read by atoi(). For a test that rules
 * which such a binary makes mean the same to the kernel of today.
 *
 * Build: cc -shared -fPIC -o libxt_IMQ.so xt-imq-old.c
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <xtables.h>

struct xt_imq_info {
	unsigned int todev;
};

static void imq_help(void)
{
	printf("IMQ target v%s options:\n"
	       "  --todev <N>\t\tenqueue to imq<N>, defaults to 0\n",
	       XTABLES_VERSION);
}

static const struct option imq_opts[] = {
	{ "todev", 1, NULL, '1' },
	{ NULL, 0, NULL, 0 },
};

static void imq_init(struct xt_entry_target *t)
{
	struct xt_imq_info *info = (struct xt_imq_info *)t->data;

	info->todev = 0;
}

static int imq_parse(int c, char **argv, int invert, unsigned int *flags,
		     const void *entry, struct xt_entry_target **target)
{
	struct xt_imq_info *info = (struct xt_imq_info *)(*target)->data;

	(void)argv;
	(void)invert;
	(void)flags;
	(void)entry;
	if (c != '1')
		return 0;
	info->todev = atoi(optarg);
	return 1;
}

static void imq_save(const void *ip, const struct xt_entry_target *target)
{
	const struct xt_imq_info *info = (const void *)target->data;

	(void)ip;
	printf(" --todev %u", info->todev);
}

static void imq_print(const void *ip, const struct xt_entry_target *target,
		      int numeric)
{
	const struct xt_imq_info *info = (const void *)target->data;

	(void)ip;
	(void)numeric;
	printf(" IMQ: todev %u ", info->todev);
}

static struct xtables_target imq_targets[] = {
	{
		.name		= "IMQ",
		.version	= XTABLES_VERSION,
		.family		= NFPROTO_IPV4,
		.size		= XT_ALIGN(sizeof(struct xt_imq_info)),
		.userspacesize	= XT_ALIGN(sizeof(struct xt_imq_info)),
		.help		= imq_help,
		.init		= imq_init,
		.parse		= imq_parse,
		.print		= imq_print,
		.save		= imq_save,
		.extra_opts	= imq_opts,
	},
	{
		.name		= "IMQ",
		.version	= XTABLES_VERSION,
		.family		= NFPROTO_IPV6,
		.size		= XT_ALIGN(sizeof(struct xt_imq_info)),
		.userspacesize	= XT_ALIGN(sizeof(struct xt_imq_info)),
		.help		= imq_help,
		.init		= imq_init,
		.parse		= imq_parse,
		.print		= imq_print,
		.save		= imq_save,
		.extra_opts	= imq_opts,
	},
};

static void __attribute__((constructor)) register_imq(void)
{
	xtables_register_targets(imq_targets,
				 sizeof(imq_targets) / sizeof(imq_targets[0]));
}
