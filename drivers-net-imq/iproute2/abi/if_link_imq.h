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

#endif
