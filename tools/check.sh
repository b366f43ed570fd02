#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/check.sh [-t TESTS] [GROUP...]
#
# Runs the tests and counts them; the last line is
# "N passed, N failed, N skipped". Exit status 1 if one failed or none passed.
#
#   -t TESTS   of the selftests only these (names without .sh)
#   GROUP      only these groups, by default all:
#     static     scripts, patches as text, drift from the source folders
#     userland   patched tools and plugins, as far as no kernel is needed
#     builtin    the selftests in a guest, everything built into the kernel
#     module     the same with everything as modules; at the same time as builtin,
#                one guest more than there are processors
#     patches    sizes of structures; every patch builds on its own
#   and, when asked for:
#     debug      all selftests in a kernel that checks memory and locks
#     smp        those that need several processors, with even more checkers
#
# Tests always run; builds are cached (IMQ_CACHE), those of each patch with what they
# have said. Logs: $IMQ_CACHE/check/.
# What can't be tested here is counted as skipped, and named with the reason.
# shellcheck disable=SC2030,SC2031 # a subshell has results of its own
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=results.sh
. "$(dirname "$0")/results.sh"
# shellcheck source=guest/tests.sh
. "$(dirname "$0")/guest/tests.sh"
# shellcheck source=kernel/tree.sh
. "$(dirname "$0")/kernel/tree.sh"
# shellcheck source=userland/source.sh
. "$(dirname "$0")/userland/source.sh"
cd "$IMQ_TOP" || exit 1

tests=''
while [ $# -gt 0 ]; do
	case $1 in
	-t) tests=$2; shift 2 ;;
	-*) usage ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || set -- static userland builtin module patches
for group; do
	case $group in
	static|userland|builtin|module|debug|smp|patches) ;;
	*) usage ;;
	esac
done

known_tests "$tests"
results_begin check

# Groups --------------------------------------------------------------------

# The files of this repository, also where git is not at hand.
all_files() {
	git ls-files -co --exclude-standard 2>/dev/null ||
		find . -path ./work -prune -o -path ./out -prune -o -type f -printf '%P\n'
}

shell_scripts() {
	all_files | while read -r f; do
		case $f in
		*.sh) echo "$f" ;;
		*.patch|*.c|*.h|*.py) ;;
		*) head -c 64 "$f" 2>/dev/null | grep -aqE '^#!.*/(ba)?sh' && echo "$f" ;;
		esac
	done
}

# Lines added and removed in files that exist upstream. 6.1 needs five more: to take
# the extended ack off what a transaction keeps, and as skb_ext_total_length() is a list.
footprint() {
	local p allowed=123

	[ "$IMQ_KERNEL" != 6.1 ] || allowed=128

	while read -r p; do
		cat "patches/$p"
	done < <(series_patches) | awk -v "allowed=$allowed" '
		/^diff --git / { file = substr($4, 3); new = 0; body = 0; next }
		/^new file mode/ { new = 1; ours[file] }
		/^@@ / { body = 1; next }
		/^[+-]/ && body && !new && !(file in ours) && file !~ /^(Documentation|tools|include\/kunit)\/|^MAINTAINERS$/ { n[file]++; sum++ }
		END { for (f in n) print n[f], f; print sum + 0, "in all,", allowed, "allowed"; exit sum > allowed }'
}

applies() {
	apply_series "$src" "$logs/applied" "$(series_patches | wc -l)" && rm -rf "$logs/applied"
}

# checkpatch PATCH. Not of use here: MAINTAINERS has one entry for all new files;
# "source" lines in Kconfig name their files; the enums of nf_tables.h have no
# blank line before the macro that belongs to them. The scripts of the selftests
# have drawings, of whose characters it counts the bytes, and arguments as "no no".
# A macro that takes the name of a member can't have it in parentheses, and one that
# takes an array may use it twice.
checkpatch() {
	local ignore=FILE_PATH_CHANGES,EMBEDDED_FILENAME,LINE_SPACING

	case $1 in
	*-selftests-*) ignore=$ignore,LONG_LINE,LONG_LINE_COMMENT,REPEATED_WORD ;;
	*-kunit-*) ignore=$ignore,MACRO_ARG_PRECEDENCE,MACRO_ARG_REUSE ;;
	esac
	(cd "$src" && perl scripts/checkpatch.pl --strict --show-types --ignore "$ignore" \
		"$IMQ_TOP/patches/$1") >"$logs/checkpatch" 2>&1
	# It says so if it has read the patch.
	grep -q '^total: ' "$logs/checkpatch" || { cat "$logs/checkpatch"; return 1; }
	! grep -E '^(ERROR|WARNING|CHECK):' -A 8 "$logs/checkpatch"
}

# man_page FILE: no warning of groff. One without a title is a part of a page.
man_page() {
	{
		grep -q '^\.TH' "$1" || printf '.TH PART 8\n.SH PART\n'
		cat "$1"
	} | groff -man -ww -z 2>&1 | tee "$logs/groff"
	[ ! -s "$logs/groff" ]
}

userland_applies() {
	local work=$logs/work

	rm -rf "$work"
	cp -a "$src" "$work"
	(cd "$work" && apply_package "$IMQ_TOP/patches/$1/series") || return 1
	rm -rf "$work"
}

# static_series VERSION: the series for this kernel, where there is a source of it.
# Each patch is checked once, also if several series have it.
declare -A checked=()
static_series() {
	local p what="kernel $1: series applies, no fuzz"

	# KERNEL_SRC is of the version that was asked for.
	[ "$1" = "$IMQ_KERNEL" ] || local -x KERNEL_SRC=
	local -x IMQ_KERNEL=$1
	try "static: kernel $1: footprint in existing files" footprint
	tail -n 1 "$logs"/static__kernel_"$1"__footprint*.log | sed 's/^/    /'
	source_of linux "static: $what" || return
	try "static: $what" applies
	for p in $(series_patches); do
		[ -z "${checked[$p]:-}" ] || continue
		checked[$p]=1
		try "static: checkpatch $p" checkpatch "$p"
	done
}

group_static() {
	local f d v

	if command -v shellcheck >/dev/null; then
		for f in $(shell_scripts); do
			try "static: shellcheck $f" shellcheck "$f"
		done
	else
		result skip "static: shellcheck" "not installed"
	fi
	for f in $(all_files | grep '\.py$'); do
		try "static: $f compiles" /usr/bin/python3 -c \
			'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f"
	done
	for f in $(all_files | grep -E '(/man/.*\.[1-9]|\.man)$'); do
		if command -v groff >/dev/null; then
			try "static: $f: man page" man_page "$f"
		else
			result skip "static: $f: man page" "groff is not installed"
		fi
	done
	try "static: patches are what the source folders say (make patches)" tools/patches/update.py --check
	try "static: the benchmark judges its figures" tools/bench/report-check.sh
	for v in $(kernel_versions); do
		static_series "$v"
	done
	if source_of linux "static: mutants apply"; then
		try "static: mutants apply" tools/mutants/check.sh --apply
	fi
	for d in patches/*/; do
		d=${d#patches/} d=${d%/}
		[ -f "patches/$d/series" ] || continue
		if source_of "${d%-*}" "static: $d: patches apply, no fuzz" "${d##*-}"; then
			try "static: $d: patches apply, no fuzz" userland_applies "$d"
		fi
	done
}

group_userland() {
	local name plugins='' patched=$logs/patched args=()

	mkdir -p "$patched"
	for name in plugins iptables iproute2 nft; do
		if prefix_of "$name"; then
			result ok "userland: $name builds"
		elif [ "$(cat "$logs/tools.$name.status")" = 3 ]; then
			result skip "userland: $name builds" "$reason"
		else
			result fail "userland: $name builds"
			tail -n 40 "$logs/tools.$name.log" | sed 's/^/    /'
		fi
		case $name in
		plugins) plugins=$prefix ;;
		iptables|iproute2) [ -z "$prefix" ] || cp -rsn "$prefix/." "$patched/" ;;
		esac
	done

	if [ -n "$plugins" ]; then
		args=("$plugins")
		[ ! -d "$patched/sbin" ] || args+=("$patched")
		run_tests userland iptables-check \
			env "IPTABLES_SRC=$(tools/sources.sh iptables 2>/dev/null)" \
			"IPROUTE2_SRC=$(tools/sources.sh iproute2 2>/dev/null)" \
			tools/userland/iptables-check.sh "${args[@]}"
	else
		result skip "userland: iptables-check" "no plugins"
	fi
	run_tests userland nft-versions tools/userland/nft-versions.sh
	if ! prefix_of nft; then
		result skip "userland: nft-check" "$reason"
	elif [ "$(id -u)" != 0 ]; then
		run_tests userland nft-check unshare -Urn tools/userland/nft-check.sh "$prefix/sbin/nft"
	else
		run_tests userland nft-check tools/userland/nft-check.sh "$prefix/sbin/nft"
	fi
}

# list_jobs KIND KERNEL: a line for each guest: these two, and what runs there: a
# script, or the name and version of a newer tool.
list_jobs() {
	local f config options only

	machine "$1"
	for f in $(guest_scripts "${tests:-$only}"); do
		echo "$1 $2 $f"
	done
	[ "$1$tests" != module ] || while read -r f; do
		echo "$1 $2 $f"
	done <<<"$newer_tools"
}

# long_first FILE: the jobs of this file, so that no long one is left alone at the end
long_first() {
	awk -v long="$long_tests" '
		BEGIN {
			n = split(long, names)
			for (i = 1; i <= n; i++)
				rank[names[i]] = i
		}
		{
			name = $3
			sub(/.*\//, "", name)
			sub(/\.sh$/, "", name)
			print name in rank ? rank[name] : n + 1, NR, $0
		}' "$1" | sort -n -k 1,1 -k 2,2 | cut -d ' ' -f 3-
}

# run_job KIND KERNEL SCRIPT, or KIND KERNEL NAME VERSION
run_job() {
	local config options only start=$SECONDS

	machine "$1"
	if [ $# = 3 ]; then
		guest_test "$1" "$2" "$3" "${options[@]}"
	else
		guest_newer "$@"
	fi
	log "$1: $(basename "$3" .sh)${4:+ $4}: $(elapsed $((SECONDS - start)))"
}

# lane: takes one job of descriptor 9 after the other, until none is left. Results
# and output of each are handed over at its end. The lock is for both.
lane() {
	local job all=$results

	results=$all.$BASHPID
	exec 8>"$logs/jobs.lock"
	while flock 8 && read -ra job <&9; do
		flock -u 8
		: >"$results"
		run_job "${job[@]}" >"$results.out" 2>&1 8>&- 9<&-
		flock 8
		cat "$results.out"
		cat "$results" >>"$all"
		flock -u 8
	done
	exit 0
}

# group_guests KIND...: all of them at the same time. A guest of User Mode Linux has
# one processor, and waits for a third of its time: one more than there are processors.
# One of QEMU has several.
group_guests() {
	local kind name config options only i lanes

	start_tools
	if ! source_of linux "$*: all tests in a guest"; then
		return
	fi
	lanes=$(($(nproc) + 1))
	: >"$logs/jobs"
	for kind; do
		machine "$kind"
		[ "$kind" != smp ] || lanes=1
		if [ "$kind" = smp ] && ! command -v qemu-system-x86_64 >/dev/null; then
			result skip "$kind: all tests" "qemu-system-x86_64 is not installed"
		elif name=$(tools/kernel/build.sh "$config"); then
			result ok "$kind: kernel $config builds"
			list_jobs "$kind" "$name" >>"$logs/jobs"
		else
			result fail "$kind: kernel $config builds"
		fi
	done
	guest_prepare

	exec 9< <(long_first "$logs/jobs")
	for ((i = 0; i < lanes; i++)); do
		lane &
		background+=($!)
	done
	for i in "${background[@]}"; do
		wait "$i" || result fail "$*: all tests" "a runner died"
	done
	background=()
	exec 9<&-
}

# struct_size NAME CONFIG: size in bytes of a structure in net/core/skbuff.o.
struct_size() {
	local build

	build=$(tools/kernel/build.sh -t net/core/skbuff.o "$2") || return 1
	pahole -C "$1" "$build/net/core/skbuff.o" | sed -n 's/.*size: \([0-9]*\),.*/\1/p'
}

same_size() {
	local with without

	without=$(struct_size "$1" um-size-plain) || return 1
	with=$(struct_size "$1" um-size) || return 1
	echo "struct $1: $without bytes without the series, $with with it"
	[ -n "$with" ] && [ "$with" = "$without" ]
}

group_patches() {
	local s

	source_of linux "patches: each builds on its own" || return
	for s in sk_buff skb_shared_info net_device; do
		if command -v pahole >/dev/null; then
			try "patches: sizeof(struct $s) unchanged" same_size "$s"
		else
			result skip "patches: sizeof(struct $s) unchanged" "pahole is not installed"
		fi
	done
	run_tests patches each-patch tools/kernel/each-patch.sh
}

guests=()
for group; do
	case $group in builtin|module|debug) guests+=("$group") ;; esac
done
for group; do
	group_start=$SECONDS
	case $group in
	static) group_static ;;
	userland) group_userland ;;
	builtin|module|debug)
		[ "${#guests[@]}" -gt 0 ] || continue
		group=${guests[*]}
		group_guests "${guests[@]}"
		guests=() ;;
	smp) group_guests smp ;;
	patches) group_patches ;;
	esac
	log "$group: $(elapsed $((SECONDS - group_start)))"
done
results_end
