#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Results of the KUnit tests of imq (CONFIG_IMQ_KUNIT_TEST), which ran at boot.
# Each is one test here; the rows of its table are shown if one of them failed.

. "$(dirname "$0")/imq_lib.sh"

debugfs=/sys/kernel/debug/kunit
SUITES="nf_imq imq_cell imq_link nft_imq xt_IMQ"

# suite NAME: its results, as KTAP.
suite() {
	cat "$debugfs/$1/results"
}

# unit SUITE TEST: passed.
unit() {
	local verdict

	verdict=$(suite "$1" | grep -E "^    (not )?ok [0-9]+ $2( |\$)") ||
		fail "no result of $2"
	case $verdict in
	*"# SKIP"*) skip "${verdict#*"# SKIP "}" ;;
	"    not ok"*)
		suite "$1" | awk -v test="$2" '
			{ seen = seen $0 "\n" }
			/^    (not )?ok / { if ($NF == test || $(NF - 1) == test) printf "%s", seen; seen = "" }' >&3
		fail "$verdict" ;;
	esac
}

# units SUITE: names of its tests.
units() {
	suite "$1" | sed -n -E 's/^    (not )?ok [0-9]+ ([^ ]*).*/\2/p'
}

# complete SUITE: it came to its end, and has as many results as it announced.
complete() {
	local planned

	planned=$(suite "$1" | sed -n 's/^    1\.\.\([0-9]*\)$/\1/p')
	equal "results" "$(units "$1" | wc -l)" "$planned"
}

mounted() {
	grep -q ' /sys/kernel/debug debugfs ' /proc/mounts ||
		mount -t debugfs none /sys/kernel/debug 2>/dev/null
	[ -d "$debugfs" ]
}

no_tests() {
	! (modular imq) || skip "imq is a module: KUnit tests are for built-in drivers"
	missing kernel "the kernel has no KUnit tests of $1 (CONFIG_IMQ_KUNIT_TEST)"
}

imq_begin
mounted || true
for name in $SUITES; do
	if [ ! -f "$debugfs/$name/results" ]; then
		imq_test "$name" no_tests "$name"
		continue
	fi
	imq_test "$name: all ran" complete "$name"
	for test in $(units "$name"); do
		imq_test "$name: $test" unit "$name" "$test"
	done
done
imq_end
