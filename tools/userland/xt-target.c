// SPDX-License-Identifier: GPL-2.0
/*
 * usage: xt-target 4|6 TARGET [OPTION...]
 *
 * What a target extension makes of its options, without a kernel: iptables
 * parses rules without one (iptables-translate), but it can't list them.
 * Loads lib{xt,ipt,ip6t}_TARGET.so from XTABLES_LIBDIR, and prints
 *
 *   rev   REVISION SIZE   of the target and, in bytes, of its data
 *   data  HEX...          the data, as 32-bit words
 *   save  TEXT            as in iptables-save and iptables -S
 *   print TEXT            as in iptables -L
 *
 * Exits with 0, with 2 if the options are refused, with 1 on other errors.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xtables.h>

static void __attribute__((noreturn, format(printf, 2, 3)))
exit_err(enum xtables_exittype status, const char *msg, ...)
{
	va_list args;

	va_start(args, msg);
	vfprintf(stderr, msg, args);
	va_end(args);
	exit(status == PARAMETER_PROBLEM ? 2 : 1);
}

/* Whether the running kernel has the target doesn't matter here. */
static int compat_rev(const char *name, uint8_t rev, int opt)
{
	(void)name;
	(void)rev;
	(void)opt;
	return 1;
}

static struct option no_options[1];

static struct xtables_globals globals = {
	.program_name	 = "xt-target",
	.program_version = "1",
	.orig_opts	 = no_options,
	.opts		 = no_options,
	.exit_err	 = exit_err,
	.compat_rev	 = compat_rev,
};

static struct xtables_target *load(const char *name)
{
	struct xtables_target *t = xtables_find_target(name, XTF_LOAD_MUST_SUCCEED);
	size_t size = XT_ALIGN(sizeof(*t->t)) + t->size;

	t->t = xtables_calloc(1, size);
	t->t->u.target_size = size;
	strcpy(t->t->u.user.name, name);
	t->t->u.user.revision = t->revision;
	if (t->init)
		t->init(t->t);
	globals.opts = xtables_options_xfrm(globals.orig_opts, globals.opts,
					    t->x6_options, &t->option_offset);
	return t;
}

static void parse(struct xtables_target *t, int argc, char **argv)
{
	bool invert = false;
	int c;

	/* The leading dash: what is no option comes as code 1, in order. */
	while ((c = getopt_long(argc, argv, "-", globals.opts, NULL)) != -1) {
		if (c == '?')
			exit(2);
		if (c == 1) {
			if (strcmp(optarg, "!") != 0)
				exit_err(PARAMETER_PROBLEM, "Bad argument `%s'\n",
					 optarg);
			invert = true;
			continue;
		}
		xtables_option_tpcall(c, argv, invert, t, NULL);
		invert = false;
	}
	xtables_option_tfcall(t);
}

int main(int argc, char **argv)
{
	struct xtables_target *t;
	uint32_t word;
	size_t i;

	if (argc < 3 || (strcmp(argv[1], "4") && strcmp(argv[1], "6"))) {
		fprintf(stderr, "usage: xt-target 4|6 TARGET [OPTION...]\n");
		return 1;
	}
	if (xtables_init_all(&globals, argv[1][0] == '4' ? NFPROTO_IPV4 : NFPROTO_IPV6))
		return 1;

	t = load(argv[2]);
	parse(t, argc - 2, argv + 2);

	printf("rev   %u %zu\ndata ", t->revision, t->size);
	for (i = 0; i + sizeof(word) <= t->size; i += sizeof(word)) {
		memcpy(&word, t->t->data + i, sizeof(word));
		printf(" %08x", word);
	}
	printf("\nsave ");
	t->save(NULL, t->t);
	printf("\nprint");
	t->print(NULL, t->t, 0);
	printf("\n");
	return 0;
}
