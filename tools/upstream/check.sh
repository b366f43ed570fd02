#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/upstream/check.sh [-p] [-l] [TEST...]
#
# Runs the kernel's own selftests of what the series touches, from the source that
# the series is for: on the unpatched kernel (um-plain-m), and on the patched one
# with IMQ loaded (um-module), which has the same configuration otherwise. Each
# test runs in a guest of its own. A difference is a failure; a test that fails on
# both kernels is skipped, as is one that skips itself.
#
#   -p     only the patched kernel: there each test has to pass
#   -l     list the tests that can be named
#   TEST   only these: netfilter/nft_queue, tc-testing/qdiscs/htb...
#
# One line per test, then the table, in Markdown; last line "N passed, N failed,
# N skipped". Exit status 1 if one failed or none passed, 4 without a kernel source or
# for one that is too old.
#
# Some of these tests depend on timing, and fail where processes are slow to start.
# What did not pass is run again, up to IMQ_UPSTREAM_TRIES times in all (3); the
# table says in which run it passed. Table and logs: $IMQ_CACHE/upstream/latest.
set -uo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../results.sh
. "$(dirname "$0")/../results.sh"
# shellcheck source=../kernel/tree.sh
. "$(dirname "$0")/../kernel/tree.sh"

# Of tc-testing: the queueing disciplines that one finds on an imq device, and the
# action that competes with it.
tdc_tests=(qdiscs/htb qdiscs/fq_codel qdiscs/netem actions/mirred)
# Of net/netfilter: not what measures, what needs a program or option that is not
# there (packetdrill; AUDIT; IP_VS), and what has nothing to do with packets.
netfilter_unfit='nft_concat_range|nf_conntrack_packetdrill|nft_audit|ipvs'
tries=${IMQ_UPSTREAM_TRIES:-3}

# Copies the tests, with their helper programs built by their own Makefile, and with
# an ebtables that has the table broute, which the one of nftables has not.
prepare() {
	local key tests=tools/testing/selftests

	key=$(hash_text "$(source_id "$src")" "$(gcc --version | head -n 1)" "$(declare -f prepare)")
	ksft=$IMQ_CACHE/ksft/${key:0:12}
	[ ! -d "$ksft" ] || return 0
	rm -rf "$ksft.tmp.$$"
	mkdir -p "$ksft.tmp.$$"
	(cd "$src/$tests" && cp -a --parents lib.mk kselftest.h kselftest_harness.h kselftest \
		net/lib.sh net/netfilter tc-testing "$ksft.tmp.$$") || exit 1
	if ! make -s -C "$ksft.tmp.$$/net/netfilter" "top_srcdir=$src" >"$ksft.log" 2>&1; then
		cat "$ksft.log" >&2
		die "the helper programs of net/netfilter can't be built"
	fi
	mkdir "$ksft.tmp.$$/bin"
	! command -v ebtables-legacy >/dev/null ||
		ln -s "$(command -v ebtables-legacy)" "$ksft.tmp.$$/bin/ebtables"
	# Another run may have been faster.
	mv -T "$ksft.tmp.$$" "$ksft" 2>/dev/null || rm -rf "$ksft.tmp.$$"
}

# The scripts that net/netfilter/Makefile names, as tests.
netfilter_tests() {
	sed -n 's/^TEST_\(GEN_\)\?PROGS *[+:]\?= *//p' "$src/tools/testing/selftests/net/netfilter/Makefile" |
		tr ' ' '\n' | sed 's/\.sh$//' | grep -vxE "$netfilter_unfit" | sed 's,^,netfilter/,'
}

# in_guest KERNEL LOG DIR COMMAND...: the command in a guest, in DIR. On the patched
# kernel IMQ is there, its handler registered and a device up. tdc.py probes for what a
# test needs in its namespace before it has made that: so there is one.
in_guest() {
	local kernel=$1 dir=$3 load='ip netns add tcut'
	local args=(-q --timeout 900 --log "$2" --prefix "$ksft")
	shift 3

	! grep -q '^CONFIG_IMQ=' "$kernel/config" ||
		load="$load && modprobe -a imq nft_imq xt_IMQ && ip link set imq0 up"
	(cd "$dir" && "$IMQ_TOP/tools/guest/run.sh" "$kernel" "${args[@]}" -- \
		bash -c "$load || exit 99; exec \"\$@\"" bash "$@")
}

# run_test KERNEL TEST LOG: runs it and writes LOG/units: result, name, reason.
run_test() {
	local kernel=$1 test=$2 log=$3 name=${2#*/} status

	mkdir -p "$log"
	case $test in
	tc-testing/*)
		in_guest "$kernel" "$log" "$ksft/tc-testing" /usr/bin/python3 tdc.py -J1 \
			${iproute2:+-p "$iproute2/sbin/tc"} -f "tc-tests/$name.json" ;;
	netfilter/*)
		[ ! -f "$ksft/net/netfilter/$name.sh" ] || name=$name.sh
		in_guest "$kernel" "$log" "$ksft/net/netfilter" "./$name" ;;
	esac >"$log/output" 2>&1
	status=$?
	units "$test" "$status" <"$log/output" >"$log/units"
}

# units TEST STATUS: what the output in stdin says. TAP has a unit per line; a
# script is one, which has failed if it says so, whatever its status is.
units() {
	local test=$1 status=$2 output failed=''

	output=$(cat)
	if grep -qE '^(not )?ok [0-9]' <<<"$output"; then
		sed -nE "s,^ok [0-9]+ (- )?(.*) # (SKIP|skipped -) ?(.*),skip\t$test: \2\t\4,p; t
			s,^ok [0-9]+ (- )?(.*),ok\t$test: \2\t,p
			s,^not ok [0-9]+ (- )?(.*),fail\t$test: \2\t,p" <<<"$output"
		! grep -q '^not ok' <<<"$output" || [ "$status" != 1 ] || return 0
	else
		failed=$(grep -m 1 -E '^(FAIL|ERROR)' <<<"$output")
	fi
	case $status in
	0) [ -z "$failed" ] || printf 'fail\t%s\t%s\n' "$test" "$failed"
		[ -n "$failed" ] || grep -qE '^ok [0-9]' <<<"$output" || printf 'ok\t%s\t\n' "$test" ;;
	4) printf 'skip\t%s\t%s\n' "$test" "$(sed -n 's/^SKIP: *//pI' <<<"$output" | head -n 1)" ;;
	99) printf 'fail\t%s\tIMQ could not be loaded\n' "$test" ;;
	124) printf 'fail\t%s\ttimeout\n' "$test" ;;
	125) printf 'fail\t%s\tthe guest died\n' "$test" ;;
	126) printf 'fail\t%s\tthe kernel complained\n' "$test" ;;
	*) printf 'fail\t%s\t%s\n' "$test" "${failed:-exit status $status}" ;;
	esac
}

# attempts WHICH KERNEL TEST: runs it until it passes, or often enough; what the
# kernel itself said against a run stays. The last run's results are in
# $logs/WHICH/TEST, and its number.
attempts() {
	local kernel=$2 test=$3 dir=$logs/$1/$3 n=0

	while [ "$n" -lt "$tries" ]; do
		n=$((n + 1))
		run_test "$kernel" "$test" "$dir/$n"
		grep -q '^fail' "$dir/$n/units" || break
		! grep -qP '\t(the guest died|the kernel complained)$' "$dir/$n/units" || break
	done
	cp "$dir/$n/units" "$dir/units"
	echo "$n" >"$dir/run"
}

# cell WHICH TEST: what the table says.
cell() {
	local dir=$logs/$1/$2 run

	run=$(cat "$dir/run")
	awk -F '\t' -v run="$run" '
		{ n[$1]++; sum++; if ($1 != "ok" && why == "") why = $3 }
		function part(k, word) { if (n[k]) { out = out sep n[k] " " word; sep = ", " } }
		END {
			if (sum == 1) {
				for (k in n) out = k == "ok" ? "pass" : k ": " why
			} else {
				part("ok", "pass"); part("fail", "fail"); part("skip", "skip")
			}
			gsub(/\|/, "/", out)
			print out (run > 1 ? " (run " run ")" : "")
		}' "$dir/units"
}

# unpatched TEST NAME PATCHED: the unit's result on the unpatched kernel; if that is
# not run, what it should be.
unpatched() {
	if [ -z "$only_patched" ]; then
		awk -F '\t' -v name="$2" '$2 == name { print $1; exit }' "$logs/unpatched/$1/units"
	elif [ "$3" = skip ]; then
		echo skip
	else
		echo ok
	fi
}

# missing TEST: units that only the unpatched kernel has.
missing() {
	[ -n "$only_patched" ] || awk -F '\t' 'NR == FNR { seen[$2] = 1; next }
		!($2 in seen) { print "missing\t" $2 "\t" }' \
		"$logs/patched/$1/units" "$logs/unpatched/$1/units"
}

# compare TEST: the results of its units.
compare() {
	local test=$1 state name reason before

	while IFS=$'\t' read -r state name reason; do
		before=$(unpatched "$test" "$name" "$state")
		case $before-$state in
		ok-ok) result ok "$name" ;;
		skip-skip) result skip "$name" "$reason" ;;
		fail-fail) result skip "$name" "fails unpatched too: $reason" ;;
		*) result fail "$name" "unpatched: ${before:-missing}, patched: $state $reason" ;;
		esac
	done < <(cat "$logs/patched/$test/units"; missing "$test")
}

only_patched='' list=''
while getopts pl option; do
	case $option in
	p) only_patched=1 ;;
	l) list=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))

if ! src=$("$IMQ_TOP/tools/sources.sh" linux); then
	exit "$KSFT_SKIP"
fi
if [ ! -d "$src/tools/testing/selftests/net/netfilter" ]; then
	log "Linux $IMQ_KERNEL has fewer tests of netfilter, and in another place: skipped"
	exit "$KSFT_SKIP"
fi
mapfile -t all < <(netfilter_tests; printf 'tc-testing/%s\n' "${tdc_tests[@]}")
if [ -n "$list" ]; then
	printf '%s\n' "${all[@]}"
	exit
fi
[ $# -gt 0 ] || set -- "${all[@]}"
for test; do
	printf '%s\n' "${all[@]}" | grep -qxF "$test" || die "no test '$test', see -l"
done

prepare
declare -A kernel
kernels=(patched)
kernel[patched]=$("$IMQ_TOP/tools/kernel/build.sh" um-module) || exit 1
if [ -z "$only_patched" ]; then
	kernels=(unpatched patched)
	kernel[unpatched]=$("$IMQ_TOP/tools/kernel/build.sh" um-plain-m) || exit 1
fi
# A tc that knows all that the tests of this kernel try.
iproute2=$("$IMQ_TOP/tools/userland/prefix.sh" iproute2 7.1.0) || iproute2=''

results_begin upstream
table=$logs/table.md
{
	printf '| test%s |\n' "$(printf ' | %s' "${kernels[@]}")"
	printf '|---%s|\n' "$(printf '|---%.0s' "${kernels[@]}")"
} >"$table"
for test; do
	for which in "${kernels[@]}"; do
		attempts "$which" "${kernel[$which]}" "$test" &
		background+=($!)
	done
	wait
	background=()
	compare "$test"
	{
		printf '| %s' "$test"
		for which in "${kernels[@]}"; do
			printf ' | %s' "$(cell "$which" "$test")"
		done
		echo ' |'
	} >>"$table"
done
echo
cat "$table"
results_end
