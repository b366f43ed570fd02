#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: nft-guest.sh [NFT_PREFIX...]
#
# Runs the tests that nftables itself has, those of IMQ, in a guest whose kernel
# knows IMQ: nft-test.py (also with JSON), run-tests.sh of tests/shell and
# tests/monitor. Also the examples of nft's manual, what nft says where the
# kernel refuses imq, and what a stock nft makes of a ruleset with imq.
#
# NFT_PREFIX    what tools/userland/nft.sh has installed, for each version;
#               without one all is skipped
#
# Needs root and writes to /tmp. Prints TAP. Exit status 1 if one failed.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

case ${1:-} in -*) usage ;; esac
python=/usr/bin/python3
modprobe -q imq || true

# nft-test.py ends with 0 whatever happens to the rules; its last words count.
nft_py() {
	# 1.1.3's has another idea of where its module is.
	PYTHONPATH=../../py/src "$python" ./nft-test.py -l "$nft/lib/libnftables.so.1" \
		"$@" >"$tap_tmp/py" 2>&1 || {
		cat "$tap_tmp/py"
		return 1
	}
	cat "$tap_tmp/py"
	grep -qE ' [1-9][0-9]* unit tests, 0 error' "$tap_tmp/py" && ! grep -q ERROR "$tap_tmp/py"
}

# nft_monitor FILE: text and JSON, as far as this version can.
nft_monitor() {
	NFT=$nft/sbin/nft ./run-tests.sh "$1" && NFT=$nft/sbin/nft ./run-tests.sh -j "$1"
}

# in_netns COMMAND...: an nft, in a network namespace of its own.
in_netns() {
	unshare -n -- "$@"
}

# error_at FIRST-LAST ERROR RULESET COMMAND: nft says so at this place.
error_at() {
	local out place="$tap_tmp/rules:$(($(wc -l <<<"$3") + 1)):$1: Error: $2"

	printf '%s\n%s\n' "$3" "$4" >"$tap_tmp/rules"
	out=$(in_netns "$nft/sbin/nft" -f "$tap_tmp/rules" 2>&1) && { echo "accepted"; return 1; }
	echo "$out"
	[[ $out == "$place"* ]] || { echo "expected: $place"; return 1; }
}

# refused_at FIRST-LAST REASON RULESET COMMAND: the kernel does not support the rule.
refused_at() {
	error_at "$1" "Could not process rule: Operation not supported$2" "$3" "$4"
}

# no_module: the kernel could know imq, but its module can't be loaded.
no_module() {
	local helper status=0

	helper=$(cat /proc/sys/kernel/modprobe)
	rmmod nft_imq
	echo /bin/false >/proc/sys/kernel/modprobe
	error_at 35-45 'imq is not supported, perhaps kernel support is missing?' \
		'add table ip t
add chain ip t c { type filter hook input priority 0; }' \
		'add rule ip t c ip saddr 10.0.0.1 imq todev 1' || status=1
	echo "$helper" >/proc/sys/kernel/modprobe
	modprobe nft_imq
	return "$status"
}

nft_refusals() {
	local jump_at=1-45 jump_reason=$'\n' element_at=1-45

	try "nftables $version: refused in an arp chain" refused_at 18-28 \
		': imq: not in this family' \
		'add table arp t
add chain arp t c { type filter hook input priority 0; }' \
		'add rule arp t c imq todev 1'
	try "nftables $version: refused in a nat chain" refused_at 25-35 \
		': imq: not in chains of type nat' \
		'add table ip t
add chain ip t c { type nat hook postrouting priority 100; }' \
		'add rule ip t c counter imq todev 1'
	try "nftables $version: refused in a route chain" refused_at 19-37 \
		': imq: not in chains of type nat or route' \
		'add table inet t
add chain inet t c { type route hook output priority 0; }' \
		'add rule inet t c imq todev meta mark'
	# The kernel checks the whole table then, and gives no reason: see imq.rst. 6.1
	# checks when it gets the rule, or the element.
	case $(uname -r) in
	6.1.*) jump_at=40-44 jump_reason=': imq: not in chains of type nat' element_at=22-29 ;;
	esac
	try "nftables $version: refused where a nat chain jumps" refused_at "$jump_at" "$jump_reason" \
		'add table ip t
add chain ip t shape
add rule ip t shape imq todev 1
add chain ip t c { type nat hook postrouting priority 100; }' \
		'add rule ip t c ip saddr 10.0.0.1 jump shape'
	try "nftables $version: refused where the map of a nat chain jumps" refused_at "$element_at" $'\n' \
		'add table ip t
add chain ip t shape
add rule ip t shape imq todev 1
add map ip t m { type ipv4_addr : verdict; }
add chain ip t c { type nat hook postrouting priority 100; }
add rule ip t c ip saddr vmap @m' \
		'add element ip t m { 10.0.0.1 : goto shape }'
	modprobe -q nft_imq || true
	if [ -f /sys/module/nft_imq/initstate ]; then
		try "nftables $version: the module is missing" no_module
	else
		skip "nftables $version: the module is missing" "nft_imq is built in"
	fi
}

# stock_nft: lists, adds, and deletes in a table with imq, and touches no rule
# that it does not understand.
stock_nft() {
	local stock=/usr/sbin/nft before after out status=0

	nft add table ip t
	nft add chain ip t c '{ type filter hook prerouting priority 0; }'
	nft add rule ip t c ip saddr 10.0.0.1 counter accept
	nft add rule ip t c ip saddr 10.0.0.2 imq todev 1
	nft add rule ip t c ip saddr 10.0.0.3 imq todev meta mark
	before=$(nft -a list chain ip t c)
	echo "with imq:"
	echo "$before"
	out=$(env -u LD_LIBRARY_PATH "$stock" -a list chain ip t c 2>&1) || status=$?
	echo "$("$stock" --version), status $status:"
	echo "$out"
	case $out in
	*imq*) echo "the stock nft knows imq"; return 1 ;;
	*"ip saddr 10.0.0.1 counter"*) ;;
	*) echo "it does not list what it knows"; return 1 ;;
	esac
	env -u LD_LIBRARY_PATH "$stock" add rule ip t c ip saddr 10.0.0.4 accept
	after=$(env -u LD_LIBRARY_PATH "$stock" -a list chain ip t c |
		sed -n 's/.*10.0.0.4 accept # handle //p')
	env -u LD_LIBRARY_PATH "$stock" delete rule ip t c handle "$after"
	[ "$(nft -a list chain ip t c)" = "$before" ]
}

# nft_checks: with those of $nft.
nft_checks() {
	local version t out
	# Not the libraries of another one, which is first in PATH.
	local -x LD_LIBRARY_PATH=$nft/lib

	version=$("$nft/sbin/nft" --version | sed 's/^nftables v\([^ ]*\).*/\1/')
	rm -rf "$tap_tmp/nftables"
	cp -a "$nft/share/nftables-tests" "$tap_tmp/nftables"
	cd "$tap_tmp/nftables/tests/py"
	for t in */imq.t; do
		try "nftables $version: nft-test.py $t" nft_py "$t"
		try "nftables $version: nft-test.py -j $t" nft_py -j "$t"
	done
	cd "$tap_tmp/nftables/tests/shell"
	for t in testcases/imq/*_[0-9]; do
		try "nftables $version: run-tests.sh $t" env "NFT=$nft/sbin/nft" ./run-tests.sh "$t"
	done
	cd "$tap_tmp/nftables/tests/monitor"
	try "nftables $version: monitor/run-tests.sh testcases/imq.t" nft_monitor testcases/imq.t
	cd "$IMQ_TOP"
	for t in statements.txt libnftables-json.adoc; do
		try "nftables $version: examples of $t" env "PATH=$nft/sbin:$PATH" \
			IMQ_REQUIRE=nft tools/selftests/doc-examples.sh "$nft/share/nftables-tests/doc/$t"
	done
	nft_refusals
	out=$(realpath /usr/sbin/nft 2>/dev/null) || out=''
	if [ -x "$out" ]; then
		try "nftables $version: a stock nft leaves imq alone" env "PATH=$nft/sbin:$PATH" \
			unshare -n "$BASH" -euc "$(declare -f stock_nft); stock_nft"
	else
		skip "nftables $version: a stock nft leaves imq alone" "no /usr/sbin/nft"
	fi
}

if [ $# -eq 0 ]; then
	skip "nftables: nft-test.py" "no patched nft"
	skip "nftables: run-tests.sh" "no patched nft"
fi
for nft; do
	nft_checks
done

tap_end
