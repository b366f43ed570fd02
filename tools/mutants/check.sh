#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/mutants/check.sh [--apply] [NAME...]
#
# Are the tests good for anything? Each tools/mutants/NAME.patch breaks one guard
# of the driver, the queue handler or the expressions, and says at its top which
# test is to notice:
#
#   Guard:  what holds
#   Broken: what the patch does instead
#   Test:   a selftest, without .sh, and a regular expression for one of its tests
#   Kernel: configuration (um-builtin, if not given)
#
# A kernel is built with each (or with the NAMEs), and the test run on it: it must
# fail. On the kernel without a mutant it must pass. Prints a line for each mutant:
#
#   verdict | mutant | guard | test | how it was noticed
#
# and at the end "N passed, N failed, N skipped". A mutant that survives fails; one
# whose test can't be run here is skipped. Exit status 1 if one failed.
#
# The mutants are written for the default kernel. For another one (IMQ_KERNEL), those
# that break a line which that has otherwise (new-files.diff) are skipped.
#
#   --apply   only see whether each patch still applies behind the series (lines
#             may have moved, nothing else) and has its fields
#
# Logs: $IMQ_CACHE/check/mutants/.
set -uo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../results.sh
. "$(dirname "$0")/../results.sh"
# shellcheck source=../kernel/tree.sh
. "$(dirname "$0")/../kernel/tree.sh"
cd "$IMQ_TOP" || exit 1

apply=''
while [ $# -gt 0 ]; do
	case $1 in
	--apply) apply=1; shift ;;
	-*) usage ;;
	*) break ;;
	esac
done
if [ $# -eq 0 ]; then
	mapfile -t all < <(basename -s .patch tools/mutants/*.patch)
	set -- "${all[@]}"
fi

logs=$IMQ_CACHE/check/mutants
passed=0 failed=0 skipped=0

patch_of() {
	echo "$IMQ_TOP/tools/mutants/$1.patch"
}

# field MUTANT NAME: of the patch's first lines.
field() {
	sed -n "/^--- /q; s/^$2: *//p" "$(patch_of "$1")"
}

# verdict WORD MUTANT HOW: a line of the table, counted.
verdict() {
	case $1 in
	caught|applies) passed=$((passed + 1)) ;;
	skipped) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	printf '%s | %s | %s | %s | %s\n' "$1" "$2" "$(field "$2" Guard)" \
		"$(field "$2" Test)" "$3"
}

finish() {
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	[ "$failed" -eq 0 ] && [ "$((passed + skipped))" -gt 0 ]
}

# problem MUTANT: what is wrong with its fields, if anything.
problem() {
	local script

	[ -f "$(patch_of "$1")" ] || { echo "no such mutant"; return; }
	for name in Guard Broken Test; do
		[ -n "$(field "$1" $name)" ] || echo "no field $name"
	done
	script=$(field "$1" Test)
	[ -x "tools/selftests/${script%% *}.sh" ] || echo "no selftest ${script%% *}"
}

# Applying ------------------------------------------------------------------

# patched_tree: sets tree to a directory with the files that the series touches.
tree=''
patched_tree() {
	local src

	src=$(tools/sources.sh linux) || exit
	tree=$(mktemp -d)
	apply_series "$src" "$tree/linux" "$(series_patches | wc -l)" || exit 1
}

# applies MUTANT: behind the series, in patched_tree's. Says why not.
applies() {
	patch -p1 -F0 -N -f --dry-run -r - -d "$tree/linux" <"$(patch_of "$1")"
}

# not_for_kernel MUTANT: whether it is one that this kernel can't have.
not_for_kernel() {
	[ "$IMQ_KERNEL" != "$IMQ_KERNEL_DEFAULT" ] && ! applies "$1" >/dev/null
}

all_apply() {
	local name text

	patched_tree
	for name; do
		text=$(problem "$name")
		if [ -n "$text" ]; then
			verdict "BROKEN" "$name" "${text//$'\n'/, }"
		elif text=$(applies "$name"); then
			verdict applies "$name" ''
		elif not_for_kernel "$name"; then
			verdict skipped "$name" "Linux $IMQ_KERNEL has other lines there"
		else
			verdict "DOES NOT APPLY" "$name" "$(tail -n 1 <<<"$text")"
		fi
	done
	finish
}

# Running -------------------------------------------------------------------

# run_test MUTANT KERNEL LOG SECONDS: the mutant's test there; prints pass, skip, fail,
# or error if it could not be run, and what there is to say about it. It hangs if it
# takes longer.
run_test() {
	local script regex status=0 console=$3/console.log out=$3/output.log

	read -r script regex < <(field "$1" Test)
	tools/guest/run.sh -q --timeout "$4" --log "$3" --env "IMQ_ONLY=$regex" \
		--env IMQ_REQUIRE=kernel "${prefixes[@]}" "$2" -- \
		"tools/selftests/$script.sh" >"$3.out" 2>&1 </dev/null || status=$?
	case $status in
	0) echo pass ;;
	4)
		if grep -q '\[SKIP\]' "$out"; then
			echo "skip $(sed -n 's/.*\[SKIP\] //p' "$out" | head -n 1)"
		else
			echo "error no test has such a name"
		fi ;;
	124) echo "fail the guest hangs" ;;
	125|126) echo "fail the kernel: $(grep -aoE -m 1 "$splats" "$console" "$3.out" |
			head -n 1 | sed 's/^[^:]*://' | cut -c 1-80)" ;;
	*)
		if grep -q '\[FAIL\]' "$out"; then
			echo "fail $(sed -n 's/^ *FAILED: //p' "$out" | head -n 1 | cut -c 1-100)"
		else
			echo "error $(tail -n 1 "$3.out")"
		fi ;;
	esac
}
splats='(BUG|WARNING|KASAN|Oops|Kernel panic|refcount_t|INFO|possible recursive).*'

# on_clean MUTANT KERNEL: what the test says of the kernel without mutants, and the
# seconds it takes; it runs once for all mutants that have the same.
on_clean() {
	local log start=$SECONDS

	log=$logs/clean-$(hash_text "$2" "$(field "$1" Test)" | cut -c 1-12)
	if [ ! -f "$log.verdict" ]; then
		run_test "$1" "$2" "$log" 300 >"$log.verdict"
		echo $((SECONDS - start)) >>"$log.verdict"
	fi
	cat "$log.verdict"
}

# judge MUTANT CLEAN-KERNEL KERNEL: WORD and HOW of its verdict.
judge() {
	local clean seconds mutated

	{ read -r clean; read -r seconds; } < <(on_clean "$1" "$2")
	case $clean in
	pass) ;;
	skip*) echo "skipped ${clean#skip }"; return ;;
	error*) echo "BROKEN ${clean#error }"; return ;;
	*) echo "BROKEN the test fails without the mutant: ${clean#fail }"; return ;;
	esac
	# The next kernel may be built beside it.
	mutated=$(run_test "$1" "$3" "$logs/$1" $((3 * seconds + 60)))
	case $mutated in
	fail*) echo "caught ${mutated#fail }" ;;
	error*) echo "BROKEN ${mutated#error }" ;;
	*) echo "SURVIVES $mutated" ;;
	esac
}

# judged MUTANT: wait for its test, and print the line.
judged() {
	local word how

	[ -n "$1" ] || return 0
	wait "${background[@]}"
	background=()
	read -r word how <"$logs/$1.verdict"
	verdict "$word" "$1" "$how"
}

all_caught() {
	local name text config clean kernel previous=''

	rm -rf "$logs"
	mkdir -p "$logs"
	for name in nft iptables iproute2 plugins; do
		text=$(tools/userland/prefix.sh "$name" 2>"$logs/$name.log") &&
			prefixes+=(--prefix "$text")
	done
	[ "$IMQ_KERNEL" = "$IMQ_KERNEL_DEFAULT" ] || patched_tree
	# The next one is built while the test of the last one runs.
	for name; do
		text=$(problem "$name")
		if [ -n "$text" ]; then
			verdict BROKEN "$name" "${text//$'\n'/, }"
			continue
		fi
		if not_for_kernel "$name"; then
			verdict skipped "$name" "Linux $IMQ_KERNEL has other lines there"
			continue
		fi
		config=$(field "$name" Kernel)
		config=${config:-um-builtin}
		if ! clean=$(tools/kernel/build.sh "$config" 2>"$logs/build-$config"); then
			tail -n 20 "$logs/build-$config" >&2
			die "the kernel without mutants does not build"
		fi
		if ! kernel=$(tools/kernel/build.sh -m "$(patch_of "$name")" "$config" \
				2>"$logs/build-$name"); then
			tail -n 20 "$logs/build-$name" >&2
			verdict BROKEN "$name" "does not build"
			continue
		fi
		judged "$previous"
		judge "$name" "$clean" "$kernel" >"$logs/$name.verdict" &
		background=($!)
		previous=$name
	done
	judged "$previous"
	finish
}
prefixes=()
trap 'cleanup; rm -rf "$tree"' EXIT

if [ -n "$apply" ]; then
	all_apply "$@"
else
	all_caught "$@"
fi
