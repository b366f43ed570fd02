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
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

[ $# -eq 0 ] || usage
here=$IMQ_TOP/tools/userland
passed=0

# check VERSION PREFIX: its lines with our numbers.
check() {
	local line name

	while IFS= read -r line; do
		name="nftables $1: ${line#* - }"
		case $line in
		"ok "*" # SKIP "*) skip "${name% # SKIP *}" "${name##* # SKIP }" ;;
		"ok "*) tap_result 0 "$name"; passed=1 ;;
		"not ok "*) tap_result 1 "$name" ;;
		1..*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done < <("$here/nft-check.sh" "$2/sbin/nft" || echo "not ok 0 - status $?")
}

for version in ${NFT_VERSIONS#* }; do
	status=0
	prefix=$(timeout "${IMQ_NFT_BUILD:-600}" "$here/prefix.sh" nft "$version" 2>"$tap_tmp/log") ||
		status=$?
	case $status in
	0)
		tap_result 0 "nftables $version: builds, libnftnl's make check"
		passed=1
		check "$version" "$prefix" ;;
	3)	skip "nftables $version" "$(tail -n 1 "$tap_tmp/log")" ;;
	*)	tap_result 1 "nftables $version: builds, libnftnl's make check" "$(tail -n 40 "$tap_tmp/log")" ;;
	esac
done
if [ "$passed$tap_failed" = 00 ]; then
	echo "1..$tap_n"
	exit "$KSFT_SKIP"
fi
tap_end
