// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for qemu's TCG that counts how often each instruction is executed
 * between the two no-ops of send.c. Each time it meets the second one, it writes
 * FILE.1, FILE.2 and so on, a line for each instruction executed:
 *
 *	ADDRESS COUNT		hexadecimal, decimal
 *
 * All of user space is the one address 0.
 *
 * Usage: qemu-system-x86_64 -plugin plugin.so,out=FILE ...
 *
 * Debian has no header for plugins; what is used here is declared below as
 * qemu-plugin.h (version 1: qemu 4.2 to 8.1) does.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
typedef void (*tb_trans_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*exec_cb)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_cb cb,
					  int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_cb cb,
					    int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t n);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
__attribute__((visibility("default")))
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
			int argc, char **argv);

/* One for each block that was translated; none is freed. */
struct block {
	struct block *next;
	uint64_t count;
	size_t n;
	uint64_t addr[];
};

static struct block *blocks;
static const char *file = "profile";
static bool counting;

static void executed(unsigned int cpu, void *data)
{
	struct block *b = data;

	(void)cpu;
	b->count += counting;
}

static void begin(unsigned int cpu, void *data)
{
	struct block *b;

	(void)cpu;
	(void)data;
	for (b = blocks; b; b = b->next)
		b->count = 0;
	counting = true;
}

static void end(unsigned int cpu, void *data)
{
	static unsigned int dumps;
	uint64_t user = 0;
	struct block *b;
	char name[4096];
	FILE *f;
	size_t i;

	(void)cpu;
	(void)data;
	counting = false;
	snprintf(name, sizeof(name), "%s.%u", file, ++dumps);
	f = fopen(name, "w");
	if (!f) {
		perror(name);
		exit(1);
	}
	for (b = blocks; b; b = b->next) {
		for (i = 0; b->count && i < b->n; i++) {
			if (b->addr[i] >> 63)
				fprintf(f, "%" PRIx64 " %" PRIu64 "\n", b->addr[i], b->count);
			else
				user += b->count;
		}
	}
	fprintf(f, "0 %" PRIu64 "\n", user);
	fclose(f);
}

/* "nopl 0x494d51NN(%rax)" */
static int marker(const struct qemu_plugin_insn *insn)
{
	static const unsigned char nop[] = { 0x0f, 0x1f, 0x80 }, imq[] = { 0x51, 0x4d, 0x49 };
	const unsigned char *data = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != 7 || memcmp(data, nop, 3) || memcmp(data + 4, imq, 3))
		return 0;
	return data[3];
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	struct block *b = malloc(sizeof(*b) + n * sizeof(b->addr[0]));

	(void)id;
	if (!b)
		abort();
	b->n = n;
	b->count = 0;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		b->addr[i] = qemu_plugin_insn_vaddr(insn);
		switch (marker(insn)) {
		case 1:
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, 0, NULL);
			break;
		case 2:
			qemu_plugin_register_vcpu_insn_exec_cb(insn, end, 0, NULL);
			break;
		}
	}
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, b);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
			int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4)) {
			file = strdup(argv[i] + 4);
		} else {
			fprintf(stderr, "plugin: what is %s?\n", argv[i]);
			return -1;
		}
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
