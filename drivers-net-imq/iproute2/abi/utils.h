/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the plugin link_imq.so uses of iproute2's utils.h and libnetlink.h.
 *
 * iproute2 has no development package. But ip is linked with
 * -export-dynamic, so that plugins find its functions in the program itself:
 * to declare them is enough. Types and values are those of iproute2 6.1;
 * built with IPROUTE2_SRC=DIR, the plugin uses the real headers instead.
 */
#ifndef IMQ_ABI_UTILS_H
#define IMQ_ABI_UTILS_H

#include <string.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/types.h>

void incomplete_command(void) __attribute__((noreturn));
void invarg(const char *msg, const char *arg) __attribute__((noreturn));
void duparg(const char *key, const char *arg) __attribute__((noreturn));
int get_u16(__u16 *val, const char *arg, int base);
int addattr32(struct nlmsghdr *n, int maxlen, int type, __u32 data);
int parse_rtattr_flags(struct rtattr *tb[], int max, struct rtattr *rta,
		       int len, unsigned short flags);

#define parse_rtattr_nested(tb, max, rta)				\
	parse_rtattr_flags((tb), (max), RTA_DATA(rta), RTA_PAYLOAD(rta),	\
			   NLA_F_NESTED)

#define NEXT_ARG()				\
	do {					\
		argv++;				\
		if (--argc <= 0)		\
			incomplete_command();	\
	} while (0)

static inline __u32 rta_getattr_u32(const struct rtattr *rta)
{
	return *(const __u32 *)RTA_DATA(rta);
}

/* Not aligned */
static inline __u64 rta_getattr_u64(const struct rtattr *rta)
{
	__u64 value;

	memcpy(&value, RTA_DATA(rta), sizeof(value));
	return value;
}

#endif
