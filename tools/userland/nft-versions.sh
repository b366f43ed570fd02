#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: nft-versions.sh
#
# Builds and checks the patched nft in the versions that are not the default one:
# nft-check.sh for each. Their sources are those that this machine has, in the
# cache or as NFTABLES_SRC and LIBNFTNL_SRC, or with IMQ_FETCH=1 the releases (see
# tools/sources.sh). A build takes a minute or two, and at most IMQ_NFT_BUILD
# seconds (default 600).
#
# Prints TAP. What can't be had is skipped, by name. Exit status 1 if something
# failed, 4 if all was skipped.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=source.sh
. "$(dirname "$0")/source.sh"

[ $# -eq 0 ] || usage
here=$IMQ_TOP/tools/userland
n=0 failed=0 passed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# one ok|"not ok" TEXT
one() {
	n=$((n + 1))
	echo "$1 $n - $2"
	case $1:$2 in
	ok:*"# SKIP"*) ;;
	ok:*) passed=$((passed + 1)) ;;
	*) failed=1 ;;
	esac
}

# check VERSION PREFIX: its lines with our numbers.
check() {
	local line

	while IFS= read -r line; do
		case $line in
		"ok "*|"not ok "*) one "${line%% [0-9]*}" "nftables $1: ${line#* - }" ;;
		1..*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done < <("$here/nft-check.sh" "$2/sbin/nft" || echo "not ok 0 - status $?")
}

for version in ${NFT_VERSIONS#* }; do
	status=0
	prefix=$(timeout "${IMQ_NFT_BUILD:-600}" "$here/prefix.sh" nft "$version" 2>"$log") ||
		status=$?
	case $status in
	0)
		one ok "nftables $version: builds, libnftnl's make check"
		check "$version" "$prefix" ;;
	3)	one ok "nftables $version # SKIP $(tail -n 1 "$log")" ;;
	*)
		sed 's/^/# /' "$log" | tail -n 40
		one "not ok" "nftables $version: builds, libnftnl's make check" ;;
	esac
done
echo "1..$n"
[ "$failed" = 0 ] || exit 1
[ "$passed" != 0 ] || exit "$KSFT_SKIP"
