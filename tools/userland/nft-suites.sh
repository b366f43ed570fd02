#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/userland/nft-suites.sh [-s SUITES] [-t DIRS] [-k KERNEL] [VERSION]
#
# Runs all tests that nftables has, tests/py, tests/monitor and tests/shell,
# with a stock nft and with the patched one, in two guests on the patched kernel at
# the same time, and prints a table and what differs. A test that passes with the
# stock nft has to pass with the patched one. That takes long (10 to 60 minutes).
#
#   -s SUITES  only these: "py monitor shell"
#   -t DIRS    of tests/shell only these directories, e.g. "maps parsing"
#   -k KERNEL  what tools/guest/run.sh takes (default: um-builtin)
#   VERSION    that of nftables (default: see nft.sh)
#
# tests/py is counted by file if all is well, with JSON, else by line with an
# error; tests/monitor by file and syntax; tests/shell by test. Results and output: $IMQ_CACHE/nft-suites/VERSION/.
# IMQ_NFT_LIMIT is the time for a guest in seconds (default 3600); when it is over,
# what both have tested is compared, and stderr says so.
#
# Last line: "N passed, N failed, N skipped", of the patched nft: failed is what
# passes with the stock one, skipped what fails with both, or skips itself.
# Exit status 1 if one failed, 3 if there is no source.
set -uo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../results.sh
. "$(dirname "$0")/../results.sh"
# shellcheck source=source.sh
. "$(dirname "$0")/source.sh"

suites='py monitor shell'
dirs=''
kernel=um-builtin
guest=''
while [ $# -gt 0 ]; do
	case $1 in
	-s) suites=$2; shift 2 ;;
	-t) dirs=$2; shift 2 ;;
	-k) kernel=$2; shift 2 ;;
	--guest) guest=$2 out=$3; shift 3 ;;	# by ourselves, in the guest
	-*) usage ;;
	*) break ;;
	esac
done
[ $# -le 1 ] || usage

# In the guest ----------------------------------------------------------------

# verdict ok|fail|skip SUITE TEST
verdict() {
	printf '%s\t%s/%s\n' "$@" >>"$out/results"
}

suite_py() {
	local t lines n

	cd "$out/tests/tests/py" || return
	/usr/bin/python3 ./nft-test.py -j -l "$guest/lib/libnftables.so.1" >"$out/py.log" 2>&1
	for t in */*.t; do
		lines=$(sed -nE "s|^$t: ERROR: line ([0-9]+):.*|\1|p" "$out/py.log" | sort -un)
		if [ -n "$lines" ]; then
			for n in $lines; do
				verdict fail py "$t line $n"
			done
		elif grep -qE "^$t: .* [1-9][0-9]* error" "$out/py.log"; then
			verdict fail py "$t"
		else
			verdict ok py "$t"
		fi
	done
}

suite_monitor() {
	local t option

	cd "$out/tests/tests/monitor" || return
	for t in testcases/*.t; do
		for option in '' -j; do
			echo "== $t $option" >>"$out/monitor.log"
			# shellcheck disable=SC2086 # no option
			if NFT=$guest/sbin/nft ./run-tests.sh $option "$t" >>"$out/monitor.log" 2>&1; then
				verdict ok monitor "${t#*/}$option"
			else
				verdict fail monitor "${t#*/}$option"
			fi
		done
	done
}

suite_shell() {
	local line state tests=()

	cd "$out/tests/tests/shell" || return
	# shellcheck disable=SC2086 # words
	[ -z "$dirs" ] || mapfile -t tests < <(cd testcases &&
		find $dirs -type f -perm -1 -printf 'testcases/%p\n' | sort)
	NFT=$guest/sbin/nft NO_COLOR=1 ./run-tests.sh "${tests[@]}" 2>&1 | tee "$out/shell.log" |
		sed -unE 's/^.*[IW]: \[(OK|SKIPPED|[A-Z ]*(FAIL|DUMP)[A-Z ]*)\][^a-z]*(\.?\.?\/)*(testcases\/)?([^ :]+).*$/\1\t\5/p' |
		while IFS=$'\t' read -r state line; do
			case $state in
			OK) verdict ok shell "$line" ;;
			SKIPPED) verdict skip shell "$line" ;;
			*) verdict fail shell "$line" ;;
			esac
		done
}

if [ -n "$guest" ]; then
	for s in $suites; do
		"suite_$s"
	done
	exit 0
fi

# On the host -----------------------------------------------------------------

version=${1:-${NFT_VERSION:-${NFT_VERSIONS%% *}}}
dir=$IMQ_CACHE/nft-suites/$version
patched=$("$IMQ_TOP/tools/userland/prefix.sh" nft "$version") || exit
stock=$(STOCK=1 "$IMQ_TOP/tools/userland/prefix.sh" nft "$version") || exit

# run STATE PREFIX: with the tests of PREFIX itself.
run() {
	local state=$1 prefix=$2 status

	rm -rf "${dir:?}/$state"
	mkdir -p "$dir/$state"
	cp -a "$prefix/share/nftables-tests" "$dir/$state/tests"
	: >"$dir/$state/results"
	"$IMQ_TOP/tools/guest/run.sh" -q --mem 2G --timeout "${IMQ_NFT_LIMIT:-3600}" \
		--out "$dir/$state" --prefix "$prefix" --log "$dir/$state/guest" "$kernel" -- \
		"$IMQ_TOP/tools/userland/nft-suites.sh" -s "$suites" -t "$dirs" --guest "$prefix" "$dir/$state" \
		>"$dir/$state/guest.log" 2>&1
	status=$?
	echo "exit status of the guest: $status" >"$dir/$state/status"
	case $status in
	124) warn "nftables $version, $state: not all tests have been run" ;;
	125) printf 'fail\tguest/the guest with the %s nft died\n' "$state" ;;
	126) printf 'fail\tguest/the kernel complained\n' ;;
	esac >>"$dir/$state/results"
}

run stock "$stock" &
background+=($!)
run patched "$patched" &
background+=($!)
wait
partial=0
! grep -q ': 124$' "$dir"/*/status || partial=1

awk -F'\t' -v partial="$partial" -v version="$version" -v suites="$suites" '
{ file = FILENAME == ARGV[1] ? 1 : 2 }
{ split($2, p, "/"); seen[$2] = 1; r[file, $2] = $1; n[file, p[1], $1]++ }
END {
	printf "| nftables %s | stock: passed | failed | skipped | patched: passed | failed | skipped |\n", version
	print "|---|---|---|---|---|---|---|"
	m = split(suites, s, " ")
	for (i = 1; i <= m; i++) {
		printf "| tests/%s", s[i]
		for (f = 1; f <= 2; f++)
			printf " | %d | %d | %d", n[f, s[i], "ok"], n[f, s[i], "fail"], n[f, s[i], "skip"]
		print " |"
	}
	for (t in seen) {
		a = r[1, t]; b = r[2, t]
		if (partial && (a == "" || b == "") && t !~ /^guest/)
			continue
		if (b == "ok") {
			passed++
			if (a != "ok")
				in_list[t] = a == "" ? "Only there with the patches" : "Pass with the patched nft only"
		} else if (a == "ok" || (a != "fail" && b == "fail") || t ~ /died$/) {
			failed++
			in_list[t] = "Fail with the patched nft only"
		} else {
			skipped++
			if (a == "fail" || b == "fail")
				in_list[t] = "Fail with both, or with the stock nft"
		}
	}
	for (t in in_list)
		lists[in_list[t]] = 1
	for (l in lists) {
		printf "\n%s:\n", l
		for (t in in_list)
			if (in_list[t] == l)
				print "  " t | "sort"
		close("sort")
	}
	printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit failed > 0 || passed == 0
}' "$dir/stock/results" "$dir/patched/results"
