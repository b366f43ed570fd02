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

	prefixes=() nft=''
	for name in nft iptables iproute2 plugins; do
		if prefix_of "$name"; then
			prefixes+=(--prefix "$prefix")
			[ "$name" != nft ] || nft=$prefix
		fi
	done
	limit=$(sed -n 's/^timeout=//p' tools/selftests/settings 2>/dev/null)
	iptables_src=$(tools/sources.sh iptables 2>/dev/null)
}

# Scripts that load a machine, or fill it with garbage: for kernels that check
# themselves.
heavy_tests='conserve failslab fuzz hooks_once recursion storms'

# machine GROUP: config (see kernel/config/TABLE), options (of run.sh) and only
# (names of scripts, or none for all) of a group of tests.
machine() {
	local f name

	config=um-$1 options=() only=''
	case $1 in
	module|builtin)
		for f in $(guest_scripts ""); do
			name=$(basename "$f" .sh)
			case " $heavy_tests " in *" $name "*) ;; *) only="$only $name" ;; esac
		done ;;
	debug)
		options=(--mem 2G --timeout 600) ;;
	smp)
		config=smp-debug options=(--qemu --smp 4 --mem 2G --timeout 900)
		only='failures_load storms' ;;
	esac
}

# guest_scripts [NAMES]: all scripts of tests, or those of these names.
guest_scripts() {
	local f name

	for f in tools/selftests/*.sh tools/userland/guest-check.sh; do
		name=$(basename "$f" .sh)
		case $name in *lib) continue ;; esac
		[ -z "${1:-}" ] || [[ " $1 " == *" $name "* ]] || continue
		echo "$f"
	done
}

# guest_test GROUP KERNEL SCRIPT [OPTION...]: a script in a guest of its own,
# with options of run.sh.
guest_test() {
	local group=$1 kernel=$2 f=$3 name args=()
	shift 3

	name=$(basename "$f" .sh)
	[ "$name" != guest-check ] || [ -z "$nft" ] || args=("$nft")
	run_tests "$group" "$name" tools/guest/run.sh -q --timeout "${limit:-300}" \
		--log "$logs/${group//[^a-zA-Z0-9]/-}-$name" --env "IMQ_NFT_PREFIX=$nft" \
		--env "IPTABLES_SRC=$iptables_src" \
		"${prefixes[@]}" "$@" "$kernel" -- "$f" "${args[@]}"
}
