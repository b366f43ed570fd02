/* SPDX-License-Identifier: GPL-2.0 */
/*
 * IFLA_IMQ_* for the plugin link_imq.so, where the kernel's headers are those
 * of a kernel without IMQ. Included before everything else, by -include.
 */
#ifndef IMQ_ABI_IF_LINK_IMQ_H
#define IMQ_ABI_IF_LINK_IMQ_H

#include <linux/if_link.h>

#ifndef IFLA_IMQ_MAX
enum {
	IFLA_IMQ_UNSPEC,
	IFLA_IMQ_INDEX,		/* u32 */
	__IFLA_IMQ_MAX,
};

#define IFLA_IMQ_MAX	(__IFLA_IMQ_MAX - 1)
#endif

#ifndef IFLA_IMQ_XSTATS_MAX
enum {
	IFLA_IMQ_XSTATS_UNSPEC,
	IFLA_IMQ_XSTATS_BYPASS_DOWN,	/* uint, as are all */
	IFLA_IMQ_XSTATS_BYPASS_NOMEM,
	IFLA_IMQ_XSTATS_BYPASS_UNFIT,
	IFLA_IMQ_XSTATS_DROP_DEV,
	IFLA_IMQ_XSTATS_DROP_HOOK,
	IFLA_IMQ_XSTATS_DROP_SOCK,
	IFLA_IMQ_XSTATS_FOREIGN,
	IFLA_IMQ_XSTATS_RING_FULL,
	__IFLA_IMQ_XSTATS_MAX,
};

#define IFLA_IMQ_XSTATS_MAX	(__IFLA_IMQ_XSTATS_MAX - 1)
#endif

#endif
