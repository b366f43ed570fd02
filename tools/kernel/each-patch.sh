#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/kernel/each-patch.sh
#
# Builds the directories of net/ and drivers/net/ with files that the series touches,
# after each of its patches, both built in and as modules, with warnings as errors.
# (The rest has headers of the series only, and is built with the whole series; here
# it would take twice as long.) After the last patch, also the files that the series
# touches once more with W=1 and sparse, for warnings that they don't have without
# the series; and once with nothing that IMQ can do without. One line per build, in
# TAP: "ok", "not ok", "ok ... # SKIP reason". Exit status 1 if one failed. If none
# does, the lines are kept, and nothing is built again from the same source, patches,
# configurations, scripts and compiler.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tree.sh
. "$(dirname "$0")/tree.sh"

[ $# -eq 0 ] || usage
mapfile -t patches < <(series_patches)
under=("${patches[@]/#/$IMQ_TOP/patches/}")
src=$("$IMQ_TOP/tools/sources.sh" linux)
key=$(cd "$IMQ_TOP" && hash_text "$(source_id "$src")" "$(gcc --version)" "$(sparse --version 2>&1)" \
	"$(hash_files "$(basename "$(series_file)")" "${patches[@]/#/patches/}" \
		tools/lib.sh tools/kernel/*.sh tools/kernel/config/*)")
kept=$IMQ_CACHE/each-patch/${key:0:12}
if [ -f "$kept" ]; then
	touch "$kept"
	exec cat "$kept"
fi
mkdir -p "${kept%/*}"
exec > >(tee "$kept.$$")
tee_pid=$!

n=0 failed=0
result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2"
	fi
}

# directories COUNT: those with source files that the first COUNT patches touch
directories() {
	patch_targets "${under[@]:0:$1}" | sed -n 's,/[^/]*\.c$,/,p' |
		grep -E '^(net|drivers/net)/' | sort -u | tr '\n' ' '
}

for ((i = 1; i <= ${#patches[@]}; i++)); do
	for kind in y m; do
		status=0
		"$IMQ_TOP/tools/kernel/build.sh" -p "$i" -t "$(directories "$i")" \
			"um-steps-$kind" >/dev/null || status=1
		result "$status" "${patches[i - 1]##*/} builds, =$kind"
	done
done

status=0
"$IMQ_TOP/tools/kernel/build.sh" -t "net/core/ net/netfilter/ drivers/net/imq/" um-least \
	>/dev/null || status=1
result "$status" "without connection tracking, nf_tables, bridge, IPv6 it builds"

# Objects of what the series touches: this configuration compiles them all. KUnit
# tests are included by what they test.
mapfile -t objects < <(patch_targets "${under[@]}" |
	sed -n '/_test\.c$/d; s/\.c$/.o/p' | grep -E '^(net|drivers/net)/')
build=$("$IMQ_TOP/tools/kernel/build.sh" -t modules_prepare um-steps-m)
status=0
for o in "${objects[@]}"; do
	if [ ! -f "$build/$o" ]; then
		echo "# um-steps-m does not compile $o"
		status=1
	fi
	rm -f "$build/$o"
done
result "$status" "all touched files were compiled"

# warnings COUNT ARGS OBJECT...: with so many patches applied, those in files that
# the series touches, without line numbers. Status 1 if something does not build. They
# are no errors here: with W=1, other files may have some.
mapfile -t touched < <(patch_targets "${under[@]}")
touched=("${touched[@]/%/:}")
warnings() {
	local count=$1 args=$2 status=0
	shift 2

	"$IMQ_TOP/tools/kernel/build.sh" -p "$count" -t "$args KCFLAGS=-Wno-error -k $*" um-steps-m \
		>/dev/null || status=1
	grep -E '(warning|error): ' "$build/targets.log" | grep -F "${touched[@]/#/-e}" |
		sed -E 's/:[0-9]+:[0-9]+:/:/' | sort -u
	return "$status"
}

# check WHAT ARGS: no warning that the kernel does not have without the series.
check() {
	local what=$1 args=$2 status=0 old=()

	mapfile -t old < <(for o in "${objects[@]}"; do
		[ ! -f "$src/${o%.o}.c" ] || echo "$o"
	done)
	warnings 0 "$args" "${old[@]}" >"$work/old" || status=1
	warnings "${#patches[@]}" "$args" "${objects[@]}" >"$work/new" || status=1
	if comm -13 "$work/old" "$work/new" | sed 's/^/# /' | grep .; then
		status=1
	fi
	result "$status" "no warnings with $what"
}

work=$(mktemp -d)
trap 'rm -rf "$work" "$kept.$$"' EXIT
check W=1 W=1
if command -v sparse >/dev/null; then
	check sparse C=2
else
	n=$((n + 1))
	echo "ok $n - no warnings with sparse # SKIP sparse is not installed"
fi
echo "1..$n"
exec >&-
wait "$tee_pid"
[ "$failed" != 0 ] || mv "$kept.$$" "$kept"
exit "$failed"
