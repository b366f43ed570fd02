// SPDX-License-Identifier: GPL-2.0
/*
 * "IMQ" target extension for iptables and ip6tables: queue packets in the
 * qdisc of an imq device.
 */
#include <stdio.h>

#include <xtables.h>
#include <linux/netfilter/xt_IMQ.h>

enum {
	O_TODEV = 0,
};

#define s struct xt_imq_info
static const struct xt_option_entry imq_tg_opts[] = {
	/* The field has 32 bits, but the kernel knows only 65536 devices. */
	{.name = "todev", .id = O_TODEV, .type = XTTYPE_UINT32,
	 .max = UINT16_MAX, .flags = XTOPT_PUT, XTOPT_POINTER(s, todev)},
	XTOPT_TABLEEND,
};
#undef s

static void imq_tg_help(void)
{
	printf(
"IMQ target options:\n"
"  --todev N    Queue the packet in the imq device with index N,\n"
"               0-65535 (default: 0)\n"
"\n");
}

/*
 * The default is printed too: a saved rule names its device, whoever reads
 * it and whatever the default is there.
 */
static void imq_tg_save(const void *ip __attribute__((unused)),
			const struct xt_entry_target *target)
{
	const struct xt_imq_info *info = (const void *)target->data;

	printf(" --todev %u", info->todev);
}

static void imq_tg_print(const void *ip, const struct xt_entry_target *target,
			 int numeric __attribute__((unused)))
{
	imq_tg_save(ip, target);
}

static int imq_tg_xlate(struct xt_xlate *xl,
			const struct xt_xlate_tg_params *params)
{
	const struct xt_imq_info *info = (const void *)params->target->data;

	xt_xlate_add(xl, "imq todev %u", info->todev);
	return 1;
}

/* Zeroed target data, as libxtables hands it out, is --todev 0: no .init. */
static struct xtables_target imq_tg_reg = {
	.name		= "IMQ",
	.version	= XTABLES_VERSION,
	.revision	= 0,
	.family		= NFPROTO_UNSPEC,
	.size		= XT_ALIGN(sizeof(struct xt_imq_info)),
	.userspacesize	= XT_ALIGN(sizeof(struct xt_imq_info)),
	.help		= imq_tg_help,
	.print		= imq_tg_print,
	.save		= imq_tg_save,
	.x6_parse	= xtables_option_parse,
	.x6_options	= imq_tg_opts,
	.xlate		= imq_tg_xlate,
};

void _init(void)
{
	xtables_register_target(&imq_tg_reg);
}
