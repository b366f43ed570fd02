# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Shared by the tests here (bash, sourced after tools/lib.sh): results as TAP.
# $tap_tmp is a directory that goes away.

tap_n=0
tap_failed=0
tap_tmp=$(mktemp -d)
trap 'rm -rf "$tap_tmp"' EXIT

# tap_result STATUS NAME [DETAIL]: one line; passed if STATUS is 0, else with the
# detail as comments.
tap_result() {
	tap_n=$((tap_n + 1))
	if [ "$1" = 0 ]; then
		printf 'ok %d - %s\n' "$tap_n" "$2"
		return
	fi
	tap_failed=1
	[ -z "${3:-}" ] || printf '%s\n' "$3" | sed 's/^/# /'
	printf 'not ok %d - %s\n' "$tap_n" "$2"
}

# try NAME COMMAND...: must succeed; the end of its output is shown if it does
# not. A function runs in a subshell with errexit.
try() {
	local name=$1 status=0
	shift

	set +e
	(set -e; "$@") >"$tap_tmp/out" 2>&1
	status=$?
	set -e
	tap_result "$status" "$name" "$(tail -n 40 "$tap_tmp/out")"
}

# skip NAME REASON
skip() {
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

# tap_end: the last line and the exit status.
tap_end() {
	echo "1..$tap_n"
	exit "$tap_failed"
}

# equal WHAT GOT WANTED
equal() {
	[ "$2" = "$3" ] && return
	printf '%s:\n%s\nexpected:\n%s\n' "$1" "$2" "$3"
	return 1
}

# contains WHAT TEXT PART
contains() {
	[[ $2 == *"$3"* ]] && return
	printf '%s:\n%s\nexpected in it:\n%s\n' "$1" "$2" "$3"
	return 1
}
