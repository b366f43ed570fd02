/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _XT_IMQ_TARGET_H
#define _XT_IMQ_TARGET_H

#include <linux/types.h>

/*
 * Target info of IMQ, revision 0. The layout is that of every libxt_IMQ in
 * the field: a new field needs a new revision.
 */
struct xt_imq_info {
	__u32 todev;		/* index of the imq device, 0 to 65535 */
};

#endif /* _XT_IMQ_TARGET_H */
