#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: guest-check.sh [NFT_PREFIX]
#
# Runs the tests that nftables and iptables themselves have, those of IMQ, in a
# guest whose kernel knows IMQ: nft-test.py (also with JSON) and run-tests.sh of
# nftables, iptables-test.py with both front ends of the iptables in PATH.
#
# NFT_PREFIX    what tools/userland/nft.sh has installed; without it the tests
#               of nftables are skipped
# IPTABLES_SRC  directory with the iptables source, for its iptables-test.py;
#               without it the tests of iptables are skipped
#
# Needs root and writes to /tmp. Prints TAP. Exit status 1 if one failed.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -le 1 ] || usage
nft=${1:-}
python=/usr/bin/python3
n=0 failed=0
modprobe -q imq || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# try NAME COMMAND...: must succeed; its output is shown if it does not.
try() {
	local name=$1
	shift

	n=$((n + 1))
	if "$@" >"$work/out" 2>&1; then
		echo "ok $n - $name"
	else
		failed=1
		sed 's/^/# /' "$work/out" | tail -n 40
		echo "not ok $n - $name"
	fi
}

skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# nft-test.py ends with 0 whatever happens to the rules; its last words count.
nft_py() {
	"$python" ./nft-test.py -l "$nft/lib/libnftables.so.1" "$@" >"$work/py" 2>&1 || {
		cat "$work/py"
		return 1
	}
	cat "$work/py"
	grep -qE ' [1-9][0-9]* unit tests, 0 error' "$work/py" && ! grep -q ERROR "$work/py"
}

if [ -d "$nft/share/nftables-tests/tests" ]; then
	cp -a "$nft/share/nftables-tests" "$work/nftables"
	cd "$work/nftables/tests/py"
	for t in */imq.t; do
		try "nftables: nft-test.py $t" nft_py "$t"
		try "nftables: nft-test.py -j $t" nft_py -j "$t"
	done
	cd "$work/nftables/tests/shell"
	for t in testcases/imq/*_[0-9]; do
		try "nftables: run-tests.sh $t" env "NFT=$nft/sbin/nft" ./run-tests.sh "$t"
	done
else
	skip "nftables: nft-test.py" "no patched nft"
	skip "nftables: run-tests.sh" "no patched nft"
fi

# ipt_py FRONTEND: ends with how many rules were not as the file says.
ipt_py() {
	local status=0

	cd "$work/iptables"
	"$python" ./iptables-test.py --host "$1" --no-netns \
		extensions/libxt_IMQ.t >"$work/ipt" 2>&1 || status=$?
	cat "$work/ipt"
	[ "$status" = 0 ] && grep -qE ' [1-9][0-9]* unit tests' "$work/ipt"
}

if [ -f "${IPTABLES_SRC:-}/iptables-test.py" ]; then
	mkdir -p "$work/iptables/extensions"
	cp "$IPTABLES_SRC/iptables-test.py" "$work/iptables/"
	cp "$IMQ_TOP/net-netfilter/iptables/libxt_IMQ.t" "$work/iptables/extensions/"
	try "iptables: iptables-test.py -l" ipt_py --legacy
	try "iptables: iptables-test.py -n" ipt_py --nftables
else
	skip "iptables: iptables-test.py" "no iptables source"
fi
echo "1..$n"
exit "$failed"
