#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: iptables-check.sh PLUGINS [PATCHED]
#
# Test what iptables and ip make of IMQ, as far as that needs no IMQ in the
# running kernel: parsing, error messages, help, translation, listing. Tested
# are the programs of the distribution with the plugins, and the patched ones.
#
# PLUGINS       what plugins.sh has installed
# PATCHED       what iptables.sh and iproute2.sh have installed; without it
#               the tests of the patched programs are skipped
# IPTABLES_SRC  directory with the iptables source, for its xlate-test.py
# IPROUTE2_SRC  directory with the iproute2 source, to compare the plugin's
#               declarations with
#
# Needs no root. Prints TAP: "ok", "not ok", or "ok ... # SKIP reason". Exits
# with 0 if nothing failed, with 1 if something did, with 2 if called wrongly.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/tap.sh"

if [ $# -lt 1 ] || [ $# -gt 2 ]; then usage; fi
PLUGINS=$1
PATCHED=${2:-}
[ -d "$PLUGINS/lib" ] || die "no plugins in '$PLUGINS'"

EXT=$IMQ_TOP/net-netfilter/iptables
PATH=$PATH:/usr/sbin:/sbin
ipt=''		# directory of the iptables programs, with a slash, or in PATH
ip=''		# the ip program

# expect DESCRIPTION STATUS TEXT COMMAND...: the command's exit status must be
# STATUS ("0", or "fail" for any other), and TEXT must be in its output.
expect() {
	local what=$1 want=$2 text=$3 out status=0 bad=0
	shift 3

	out=$("$@" 2>&1 </dev/null) || status=$?
	if [ "$want" = fail ]; then
		# 126 and more: not found, or killed. ip exits with -1.
		[ "$status" -ne 0 ] && { [ "$status" -lt 126 ] || [ "$status" -eq 255 ]; } ||
			bad=1
	else
		[ "$status" -eq "$want" ] || bad=1
	fi
	[[ $out == *"$text"* ]] || bad=1
	tap_result "$bad" "$what" "command:  $*
expected: exit status $want, \"$text\"
exit status $status, output:
$out"
}

# iptables -----------------------------------------------------------------

RANGE='IMQ: bad value for option "--todev", or out of range (0-65535).'

# In the following, $1 is the label of the variant. $ipt and XTABLES_LIBDIR are
# set.

iptables_help() {
	local cmd

	for cmd in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
		expect "$1: $cmd -j IMQ --help" 0 \
			"  --todev N    Queue the packet in the imq device with index N," \
			"$ipt$cmd" -j IMQ --help
	done
}

# $2 is the family, ip or ip6.
iptables_good() {
	local what="$1: ${2}tables" v="add rule $2 mangle PREROUTING"
	local cmd=("$ipt${2}tables-translate" -t mangle -A PREROUTING -j IMQ)

	expect "$what: default" 0 "$v counter imq todev 0'" "${cmd[@]}"
	expect "$what: --todev 0" 0 "$v counter imq todev 0'" "${cmd[@]}" --todev 0
	expect "$what: --todev=1" 0 "$v counter imq todev 1'" "${cmd[@]}" --todev=1
	expect "$what: --todev 0x10" 0 "$v counter imq todev 16'" "${cmd[@]}" --todev 0x10
	expect "$what: --todev 65535" 0 "$v counter imq todev 65535'" "${cmd[@]}" --todev 65535
	expect "$what: with a match" 0 \
		"$v iifname \"wan\" counter imq todev 3'" "${cmd[@]}" --todev 3 -i wan
}

iptables_bad() {
	local family cmd value

	for family in iptables ip6tables; do
		cmd=("$ipt$family-translate" -t mangle -A PREROUTING -j IMQ)
		for value in imq1 abc 65536 4294967296 -1 1x 1.5 1-2 0x ''; do
			expect "$1: $family: --todev '$value'" fail "$RANGE" \
				"${cmd[@]}" --todev "$value"
		done
		expect "$1: $family: --todev without a number" fail \
			'option "--todev" requires an argument' "${cmd[@]}" --todev
		expect "$1: $family: --todev twice" fail \
			'IMQ: option "--todev" can only be used once.' \
			"${cmd[@]}" --todev 1 --todev 1
		expect "$1: $family: ! --todev" fail \
			'IMQ: option "--todev" cannot be inverted.' \
			"${cmd[@]}" ! --todev 1
		expect "$1: $family: unknown option" fail 'unknown option "--todevs"' \
			"${cmd[@]}" --todevs 1
	done
}

iptables_restore() {
	local family

	cat >"$tap_tmp/good" <<-'EOF'
	*mangle
	:PREROUTING ACCEPT [0:0]
	:POSTROUTING ACCEPT [0:0]
	-A PREROUTING -i wan -j IMQ --todev 0
	-A POSTROUTING -o wan -j IMQ --todev 1
	COMMIT
	EOF
	sed 's/--todev 1/--todev imq1/' "$tap_tmp/good" >"$tap_tmp/bad"

	for family in ip ip6; do
		expect "$1: ${family}tables-restore-translate" 0 \
			"add rule $family mangle POSTROUTING oifname \"wan\" counter imq todev 1" \
			"$ipt${family}tables-restore-translate" -f "$tap_tmp/good"
		expect "$1: ${family}tables-restore-translate, bad rule" fail "$RANGE" \
			"$ipt${family}tables-restore-translate" -f "$tap_tmp/bad"
		expect "$1: ${family}tables-restore-translate, line of the bad rule" fail \
			'Error occurred at line: 5' \
			"$ipt${family}tables-restore-translate" -f "$tap_tmp/bad"
	done
}

iptables_xlate() {
	local n

	n=$(grep -c '^ip6\?tables-translate' "$EXT/libxt_IMQ.txlate")
	if [ -z "${IPTABLES_SRC:-}" ]; then
		skip "$1: xlate-test.py" "no IPTABLES_SRC"
	elif [ ! -x /usr/bin/python3 ]; then
		skip "$1: xlate-test.py" "no python3"
	else
		# -H: the installed programs. Its exit status is 0 for no tests too.
		expect "$1: xlate-test.py libxt_IMQ.txlate" 0 \
			"$n tests, $n tests passed, 0 tests failed, 0 errors" \
			env PATH="${ipt:+$ipt:}$PATH" /usr/bin/python3 \
			"$IPTABLES_SRC/xlate-test.py" -H "$EXT/libxt_IMQ.txlate"
	fi
}

# What -S, -save and -L print, and what the kernel would get.
iptables_print() {
	local v

	if [ ! -x "$tap_tmp/xt-target" ]; then
		skip "$1: save, print, data" "no C compiler or no libxtables headers"
		skip "$1: libxt_IMQ.t" "no C compiler or no libxtables headers"
		return
	fi
	for v in 4 6; do
		expect "$1: IPv$v: revision and size" 0 "rev   0 8" \
			"$tap_tmp/xt-target" "$v" IMQ
		expect "$1: IPv$v: save, default" 0 $'\nsave  --todev 0\n' \
			"$tap_tmp/xt-target" "$v" IMQ
		expect "$1: IPv$v: save" 0 $'\nsave  --todev 65535\n' \
			"$tap_tmp/xt-target" "$v" IMQ --todev 65535
		expect "$1: IPv$v: print" 0 $'\nprint --todev 258' \
			"$tap_tmp/xt-target" "$v" IMQ --todev 258
		expect "$1: IPv$v: data" 0 $'\ndata  00000102 00000000\n' \
			"$tap_tmp/xt-target" "$v" IMQ --todev 258
	done
	iptables_t "$1"
}

# The lines of libxt_IMQ.t, which iptables-test.py tries in a kernel:
# "-j IMQ OPTIONS;what is saved, or = for the same;OK or FAIL".
iptables_t() {
	local rule saved want out n=0 bad='' status=1

	while IFS=';' read -r rule saved want; do
		case $rule in -j*) ;; *) continue ;; esac
		n=$((n + 1))
		[ "$saved" != = ] || saved=$rule
		# shellcheck disable=SC2086 # a list of words
		if out=$("$tap_tmp/xt-target" 4 ${rule#-j } 2>/dev/null); then
			out=$(printf '%s\n' "$out" | sed -n 's/^save /-j IMQ/p')
			out="$out;OK"
		else
			out=';FAIL'
		fi
		[ "$out" = "$saved;$want" ] || bad+="$rule: \"$out\", not \"$saved;$want\""$'\n'
	done <"$EXT/libxt_IMQ.t"
	[ "$n" -gt 0 ] || bad="no tests in $EXT/libxt_IMQ.t"
	[ -n "$bad" ] || status=0
	tap_result "$status" "$1: libxt_IMQ.t, $n rules" "$bad"
}

iptables_all() {
	iptables_help "$1"
	iptables_good "$1" ip
	iptables_good "$1" ip6
	iptables_bad "$1"
	iptables_restore "$1"
	iptables_xlate "$1"
	iptables_print "$1"
}

# ip -----------------------------------------------------------------------

# link_message INDEX [COUNTER...]: on stdout, the RTM_NEWLINK of a device `shape'
# of type imq with that index, or without one if INDEX is empty, as the kernel
# sends it to `ip monitor'; with these values of its own counters.
link_message() {
	/usr/bin/python3 - "$@" <<-'EOF'
	import struct, sys

	def attr(kind, data):
	    size = 4 + len(data)
	    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)

	data = attr(1, struct.pack("=I", int(sys.argv[1]))) if sys.argv[1] else b""
	info = attr(1, b"imq\0") + attr(2, data)   # IFLA_INFO_KIND, _DATA
	counters = [int(n) for n in sys.argv[2:]]
	if counters:                               # IFLA_INFO_XSTATS
	    info += attr(3 | 0x8000, b"".join(
	        attr(i, struct.pack("=Q" if n >> 32 else "=I", n))
	        for i, n in enumerate(counters, 1)))
	body = struct.pack("=BxHiII", 0, 0xfffe, 9, 0x80, 0)
	body += attr(3, b"shape\0") + attr(4, struct.pack("=I", 1500))
	body += attr(18, info)                     # IFLA_LINKINFO
	sys.stdout.buffer.write(struct.pack("=IHHII", 16 + len(body), 16, 0, 0, 0) + body)
	EOF
}

# $1 is the label of the variant. $ip and IP_LIB_DIR are set.
ip_all() {
	local add=("$ip" link add shape type imq) value
	local range='"index" must be a number in the range [0-65535]'

	expect "$1: ip link help imq" 0 'Usage: ... imq [ index INDEX ]' \
		"$ip" link help imq
	expect "$1: type imq help" fail 'Usage: ... imq [ index INDEX ]' \
		"${add[@]}" help
	for value in 65536 70000 4294967296 -1 abc imq1 1x ''; do
		expect "$1: index '$value'" fail \
			"Error: argument \"$value\" is wrong: $range" \
			"${add[@]}" index "$value"
	done
	expect "$1: index twice" fail \
		'Error: duplicate "index": "2" is the second value.' \
		"${add[@]}" index 1 index 2
	expect "$1: index without a number" fail 'Command line is not complete.' \
		"${add[@]}" index
	expect "$1: interface index and device index" fail \
		"Error: argument \"70000\" is wrong: $range" \
		"$ip" link add shape index 5 type imq index 70000
	expect "$1: unknown option" fail 'imq: unknown option "idx"?' \
		"${add[@]}" idx 1

	if [ ! -x /usr/bin/python3 ]; then
		skip "$1: ip -d prints the index" "no python3"
		return
	fi
	for value in 0 7 65535; do
		link_message "$value" >"$tap_tmp/link"
		expect "$1: ip -d prints index $value" 0 " imq index $value " \
			"$ip" -d monitor file "$tap_tmp/link"
	done
	link_message 7 1 0 4294967296 3 4 5 6 18446744073709551615 >"$tap_tmp/link"
	expect "$1: ip -s -d prints counters" 0 ' imq index 7 
      bypass_down 1 bypass_nomem 0 bypass_unfit 4294967296 
      drop_dev 3 drop_hook 4 drop_sock 5 foreign 6 ring_full 18446744073709551615 
    ' "$ip" -s -d monitor file "$tap_tmp/link"
	expect "$1: ip -s -d prints counters of a later kernel, too" 0 'ring_full 8 
    ' "$ip" -s -d monitor file <(link_message 7 1 2 3 4 5 6 7 8 9)
	link_message '' >"$tap_tmp/link"
	expect "$1: ip -d without an index" 0 ' imq ' \
		"$ip" -d monitor file "$tap_tmp/link"
}

# completed WORD...: what bash offers for the last word.
completed() {
	# shellcheck source=../../drivers-net-imq/iproute2/imq.bash-completion
	. "$IMQ_TOP/drivers-net-imq/iproute2/imq.bash-completion"
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_imq_ip ip "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
	echo "<${COMPREPLY[*]}>"
}

# completed_loading LOADER FUNCTION WORD...: the same, where the completion of ip
# that bash-completion has is FUNCTION, which LOADER loads; - if it is there.
completed_loading() {
	local loader=$1 function=$2
	shift 2

	eval "load() { $function() { COMPREPLY=(\"$function of \$1\"); }; }"
	if [ "$loader" = - ]; then
		load
	else
		eval "$loader() { load; complete -F $function ip; }"
	fi
	completed "$@"
	complete -p ip
}

# $ip is set. Without imq in the kernel, all indexes are free.
ip_completion() {
	local loader function

	expect "$1: completion of a type" 0 '<imq>' completed "$ip" link add x type im
	expect "$1: completion after the type" 0 '<index help>' \
		completed "$ip" link add x type imq ''
	expect "$1: completion of an index" 0 '<0>' \
		completed "$ip" link add x type imq index ''
	expect "$1: no completion after the index" 0 '<>' \
		completed "$ip" link add x type imq index 0 ''
	expect "$1: completion of a type to show" 0 '<imq>' \
		completed "$ip" link show type im
	for loader in - _comp_load __load_completion; do
		for function in _comp_cmd_ip _ip; do
			expect "$1: other completion, $function of $loader" 0 \
				"<$function of ip>"$'\n''complete -F _imq_ip ip' \
				completed_loading "$loader" "$function" "$ip" addr sh
		done
	done
	expect "$1: no other completion" 0 '<>' completed "$ip" addr sh
}

# The plugin is built with declarations of its own: they must agree with those
# of iproute2, or ip would call what it takes for a function.
ip_abi() {
	local what="plugin: declarations are those of iproute2"
	local src=${IPROUTE2_SRC:-} dir=$IMQ_TOP/drivers-net-imq/iproute2

	if [ -z "$src" ] || ! command -v cc >/dev/null; then
		skip "$what" "no IPROUTE2_SRC or no C compiler"
		return
	fi
	cat >"$tap_tmp/abi.c" <<-'EOF'
	#include <stddef.h>
	#include <stdio.h>
	#include "utils.h"
	#include "ip_common.h"

	#define SHOW(m) printf(#m " %zu\n", offsetof(struct link_util, m))

	/* Any other type of these functions is an error here. */
	int (*f1)(__u16 *, const char *, int) = get_u16;
	int (*f2)(struct nlmsghdr *, int, int, __u32) = addattr32;
	int (*f3)(enum output_type, enum color_attr, const char *,
		  const char *, unsigned int) = print_color_uint;
	int (*f7)(enum output_type, enum color_attr, const char *,
		  const char *, unsigned long long) = print_color_lluint;
	int (*f8)(enum output_type, enum color_attr, const char *,
		  const char *, const char *) = print_color_string;
	void (*f9)(void) = print_nl;
	int (*f10)(struct rtattr **, int, struct rtattr *, int,
		   unsigned short) = parse_rtattr_flags;
	void (*f4)(const char *, const char *) = invarg;
	void (*f5)(const char *, const char *) = duparg;
	void (*f6)(void) = incomplete_command;

	int main(void)
	{
		SHOW(next);
		SHOW(id);
		SHOW(maxattr);
		SHOW(parse_opt);
		SHOW(print_opt);
		SHOW(print_xstats);
		SHOW(print_help);
		SHOW(parse_ifla_xstats);
		SHOW(print_ifla_xstats);
		printf("PRINT_FP %d, PRINT_ANY %d, COLOR_NONE %d\n",
		       PRINT_FP, PRINT_ANY, COLOR_NONE);
		return 0;
	}
	EOF
	cat >"$tap_tmp/stubs.c" <<-'EOF'
	void get_u16(void) {} void addattr32(void) {} void print_color_uint(void) {}
	void print_color_lluint(void) {} void print_color_string(void) {}
	void print_nl(void) {} void parse_rtattr_flags(void) {}
	void invarg(void) {} void duparg(void) {} void incomplete_command(void) {}
	EOF
	abi_build() {
		cc -c -fno-builtin -o "$tap_tmp/stubs.o" "$tap_tmp/stubs.c" &&
			cc -D_GNU_SOURCE -Werror -o "$tap_tmp/abi" "$@" "$tap_tmp/abi.c" \
				"$tap_tmp/stubs.o" &&
			"$tap_tmp/abi"
	}
	abi_compare() {
		abi_build -I"$dir/abi" >"$tap_tmp/abi.ours" &&
			abi_build -I"$src/include" -I"$src/include/uapi" \
				-I"$src/ip" >"$tap_tmp/abi.theirs" &&
			diff "$tap_tmp/abi.ours" "$tap_tmp/abi.theirs" && echo same
	}
	expect "$what" 0 same abi_compare
}

# All of it ----------------------------------------------------------------

echo "TAP version 13"

# Where the stock iptables has its own extensions.
for v in "$(pkg-config --variable=xtlibdir xtables 2>/dev/null || true)" /usr/lib/*/xtables /usr/lib/xtables /usr/lib64/xtables; do
	[ -n "$v" ] && [ -d "$v" ] && break
done
cc -Wall -Wextra -o "$tap_tmp/xt-target" "$IMQ_TOP/tools/userland/xt-target.c" \
	-lxtables 2>"$tap_tmp/cc.log" || true

if ! command -v iptables-translate >/dev/null; then
	skip "stock iptables" "iptables isn't installed"
elif [ ! -f "$PLUGINS/lib/xtables/libxt_IMQ.so" ]; then
	skip "stock iptables" "no libxt_IMQ.so in $PLUGINS"
else
	export XTABLES_LIBDIR=$PLUGINS/lib/xtables:$v
	iptables_all "stock iptables"
	unset XTABLES_LIBDIR
fi

if [ ! -x "${PATCHED:-/nonexistent}/sbin/xtables-nft-multi" ]; then
	skip "patched iptables" "not built"
else
	export XTABLES_LIBDIR=$PATCHED/lib/xtables
	ipt=$PATCHED/sbin/
	iptables_all "patched iptables"
	unset XTABLES_LIBDIR
	expect "patched iptables: manual page" 0 todev \
		cat "$PATCHED/share/man/man8/iptables-extensions.8"
fi

if ! command -v ip >/dev/null; then
	skip "stock ip" "iproute2 isn't installed"
elif [ ! -f "$PLUGINS/lib/ip/link_imq.so" ]; then
	skip "stock ip" "no link_imq.so in $PLUGINS"
else
	export IP_LIB_DIR=$PLUGINS/lib/ip
	ip=$(command -v ip)
	ip_all "stock ip"
	ip_completion "stock ip"
fi
ip_abi

if [ ! -x "${PATCHED:-/nonexistent}/sbin/ip" ]; then
	skip "patched ip" "not built"
else
	# No plugin: what is built in must do.
	export IP_LIB_DIR=$tap_tmp/none
	ip=$PATCHED/sbin/ip
	ip_all "patched ip"
	expect "patched ip: imq is in the list of types" fail ' imq | ' \
		"$PATCHED/sbin/ip" link help
	expect "patched ip: manual page" 0 'IMQ Type Support' \
		cat "$PATCHED/share/man/man8/ip-link.8"
fi

tap_end
