# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The selftests in guests, with the patched tools (bash, sourced after lib.sh
# and results.sh, used after results_begin).
# shellcheck disable=SC2034,SC2154 # src, reason: for the caller; logs: results.sh's

# source_of NAME WHAT [VERSION]: sets src, or skips the tests WHAT.
source_of() {
	local name=$1 what=$2
	shift 2

	if src=$(tools/sources.sh "$name" "$@" 2>"$logs/source-$name"); then
		return 0
	fi
	result skip "$what" "$(tail -n 1 "$logs/source-$name")"
	return 1
}

# The patched tools, made beside everything else.
build_tools() {
	local name

	for name in plugins iptables iproute2 nft; do
		tools/userland/prefix.sh "$name" >"$logs/tools.$name" 2>"$logs/tools.$name.log"
		echo $? >"$logs/tools.$name.status"
	done
}
tools_built=''
start_tools() {
	[ -z "$tools_built" ] || return 0
	build_tools &
	background+=($!)
	tools_built=$!
}

# prefix_of NAME: sets prefix; 1 and reason if there is none.
prefix_of() {
	start_tools
	wait "$tools_built" 2>/dev/null
	background=()
	prefix=$(cat "$logs/tools.$1")
	reason=$(tail -n 1 "$logs/tools.$1.log")
	[ "$(cat "$logs/tools.$1.status")" = 0 ]
}

# Guests --------------------------------------------------------------------

# guest_prepare: what all of them need. Waits for the tools.
guest_prepare() {
	local name

	prefixes=() nft='' required=kernel
	for name in nft iptables iproute2 plugins; do
		if prefix_of "$name"; then
			prefixes+=(--prefix "$prefix")
			required+=" ${name/iproute2/ip}"
			[ "$name" != nft ] || nft=$prefix
		elif ! grep -q "^fail.*: $name builds" "$results" &&
		     [ "$(cat "$logs/tools.$name.status")" != 3 ]; then
			result fail "guests: $name builds" "$reason"
		fi
	done
	limit=$(sed -n 's/^timeout=//p' tools/selftests/settings 2>/dev/null)
	iptables_src=$(tools/sources.sh iptables 2>/dev/null)
	iproute2_src=$(tools/sources.sh iproute2 2>/dev/null)
}

# Scripts that run in the kernel with everything built in. All others need modules
# or are the same with them, and run in the other one: both kernels take turns.
builtin_tests='behavior conserve failures_load failures_paths failures_peers
	fuzz hooks_once howto kunit recursion ring'

# Scripts, and newer tools, that take more than a minute and a half: the longest first
long_tests='failures_paths hooks_once failures_peers l2 fuzz conserve nft howto families
	failures_load nft-guest aqm'

# Scripts that are too long, or need more than one processor
soak_tests='failslab storms'

# Scripts for a clock that does not depend on the machine; what they measure would
# mean nothing in a kernel with checkers.
simulated_tests='aqm memory shaping'

# others_than NAME...: all other scripts.
others_than() {
	local f name

	for f in $(guest_scripts ""); do
		name=$(basename "$f" .sh)
		[[ " $* " == *[[:space:]]"$name"[[:space:]]* ]] || echo "$name"
	done
}

# machine GROUP: config (see kernel/config/TABLE), options (of run.sh) and only
# (names of scripts, or none for all) of a group of tests.
machine() {
	config=um-$1 options=() only=''
	case $1 in
	builtin) only=$builtin_tests ;;
	module)
		# shellcheck disable=SC2086 # words
		only="$(others_than $builtin_tests $soak_tests) behavior howto" ;;
	debug)
		# shellcheck disable=SC2086 # words
		only=$(others_than $simulated_tests)
		options=(--mem 2G --timeout 600) ;;
	smp)
		config=smp-debug options=(--qemu --smp 4 --mem 2G --timeout 900)
		only='failures_load ring storms' ;;
	esac
}

# guest_scripts [NAMES]: all scripts of tests, or those of these names.
guest_scripts() {
	local f name

	for f in tools/selftests/*.sh tools/userland/*-guest.sh; do
		name=$(basename "$f" .sh)
		case $name in *lib) continue ;; esac
		[ -z "${1:-}" ] || [[ " $1 " == *[[:space:]]"$name"[[:space:]]* ]] || continue
		echo "$f"
	done
}

# known_tests [NAMES]: ends the script if there is none of a name.
known_tests() {
	local name

	for name in ${1:-}; do
		[ -n "$(guest_scripts "$name")" ] || die "no test '$name'"
	done
}

# run_guest GROUP NAME KERNEL OPTION... -- COMMAND...: a test program in a guest
# of its own, with options of run.sh.
run_guest() {
	local group=$1 name=$2 kernel=$3
	shift 3

	# KUnit's tests run at boot and leave a taint, which others look at.
	[ "$name" = kunit ] || set -- --append kunit.enable=0 "$@"
	# vmalloc() tells of allocations that are made to fail; the script knows which.
	[ "$name" != failslab ] || set -- --keep-splat "$@"
	run_tests "$group" "$name" tools/guest/run.sh -q --timeout "${limit:-300}" \
		--log "$logs/${group//[^a-zA-Z0-9]/-}-$name" "$kernel" "$@"
}

# guest_test GROUP KERNEL SCRIPT [OPTION...]: what was built for it must be of use.
guest_test() {
	local group=$1 kernel=$2 f=$3 name args=()
	shift 3

	name=$(basename "$f" .sh)
	case $name in
	nft-guest) [ -z "$nft" ] || args=("$nft") ;;
	ynl-guest) args=("$(tools/sources.sh linux)") ;;
	esac
	[[ " $simulated_tests " != *" $name "* ]] || set -- "$@" --append "$IMQ_SIMULATED"
	run_guest "$group" "$name" "$kernel" --env "IMQ_REQUIRE=$required" \
		--env "IPTABLES_SRC=$iptables_src" \
		--env "IPROUTE2_SRC=$iproute2_src" "${prefixes[@]}" "$@" -- "$f" "${args[@]}"
}

# Versions of the tools that are tested beside the default ones, where there is
# a source of them on this machine, or with IMQ_FETCH=1
newer_tools='nft 1.1.3
nft 1.1.6
iptables 1.8.13
iproute2 7.1.0'

# guest_newer GROUP KERNEL NAME VERSION: the same for one of these.
guest_newer() {
	local group=$1 kernel=$2 name=$3 version=$4 dir src
	local log=$logs/tools.$name-$version

	if ! dir=$(tools/userland/prefix.sh "$name" "$version" 2>"$log"); then
		result skip "$group: $name $version" "$(tail -n 1 "$log")"
		return
	fi
	case $name in
	nft)
		run_guest "$group" "$name-$version" "$kernel" --prefix "$dir" -- \
			tools/userland/nft-guest.sh "$dir" ;;
	*)
		src=$(tools/sources.sh "$name" "$version")
		run_guest "$group" "$name-$version" "$kernel" ${nft:+--prefix "$nft"} \
			--prefix "$dir" --env "${name^^}_SRC=$src" -- \
			tools/userland/"$name"-guest.sh ;;
	esac
}
