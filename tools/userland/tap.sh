# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Shared by the tests here that run in a guest (bash, sourced after
# tools/lib.sh): results as TAP.

tap_n=0
tap_failed=0
tap_tmp=$(mktemp -d)
trap 'rm -rf "$tap_tmp"' EXIT

# try NAME COMMAND...: must succeed; the end of its output is shown if it does
# not. A function runs in a subshell with errexit.
try() {
	local name=$1 status=0
	shift

	tap_n=$((tap_n + 1))
	set +e
	(set -e; "$@") >"$tap_tmp/out" 2>&1
	status=$?
	set -e
	if [ "$status" = 0 ]; then
		echo "ok $tap_n - $name"
	else
		tap_failed=1
		tail -n 40 "$tap_tmp/out" | sed 's/^/# /'
		echo "not ok $tap_n - $name"
	fi
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
