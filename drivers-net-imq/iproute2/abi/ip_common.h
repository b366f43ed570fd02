/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the plugin link_imq.so uses of iproute2's ip_common.h, json_print.h
 * and color.h; see utils.h here.
 */
#ifndef IMQ_ABI_IP_COMMON_H
#define IMQ_ABI_IP_COMMON_H

#include <stdio.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* ip finds the plugin's object of this type as <kind>_link_util. */
struct link_util {
	struct link_util	*next;
	const char		*id;
	int			maxattr;
	int			(*parse_opt)(struct link_util *lu, int argc,
					     char **argv, struct nlmsghdr *n);
	void			(*print_opt)(struct link_util *lu, FILE *f,
					     struct rtattr *tb[]);
	void			(*print_xstats)(struct link_util *lu, FILE *f,
						struct rtattr *xstats);
	void			(*print_help)(struct link_util *lu, int argc,
					      char **argv, FILE *f);
	int			(*parse_ifla_xstats)(struct link_util *lu,
						     int argc, char **argv);
	int			(*print_ifla_xstats)(struct nlmsghdr *n,
						     void *arg);
	/* Not in iproute2: a member that a later ip adds is then NULL. */
	void			*spare[8];
};

enum output_type {
	PRINT_FP = 1,
	PRINT_ANY = 4,
};

enum color_attr {
	COLOR_NONE = 6,
};

int print_color_uint(enum output_type t, enum color_attr color,
		     const char *key, const char *fmt, unsigned int value);

static inline int print_uint(enum output_type t, const char *key,
			     const char *fmt, unsigned int value)
{
	return print_color_uint(t, COLOR_NONE, key, fmt, value);
}

int print_color_lluint(enum output_type t, enum color_attr color,
		       const char *key, const char *fmt,
		       unsigned long long value);

static inline int print_lluint(enum output_type t, const char *key,
			       const char *fmt, unsigned long long value)
{
	return print_color_lluint(t, COLOR_NONE, key, fmt, value);
}

int print_color_string(enum output_type t, enum color_attr color,
		       const char *key, const char *fmt, const char *value);

static inline int print_string(enum output_type t, const char *key,
			       const char *fmt, const char *value)
{
	return print_color_string(t, COLOR_NONE, key, fmt, value);
}

void print_nl(void);

#endif
