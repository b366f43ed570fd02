#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: iproute2-guest.sh
#
# Runs the case that iproute2's test suite has for imq, with the ip in PATH, in
# a guest whose kernel knows IMQ; as `make check' of iproute2 does, which builds
# all of it first. And the bash completion, where there are devices.
#
# IPROUTE2_SRC  directory with the source of this ip, for the library of its
#               test suite; without it nothing is tested
#
# Needs root. Prints TAP. Exit status 1 if one failed, 4 if nothing was tested.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

[ $# -eq 0 ] || usage
IP=$(command -v ip)
export IP
what=$("$IP" -V | sed 's/.*iproute2-\([^,]*\).*/iproute2 \1/')

# testsuite_case: it says what is wrong in ERRF, and skips itself by 127.
testsuite_case() {
	local status=0

	mkdir -p "$tap_tmp/suite/lib"
	cp "$IPROUTE2_SRC"/testsuite/lib/*.sh "$tap_tmp/suite/lib/"
	cp "$IMQ_TOP/drivers-net-imq/iproute2/add_type_imq.t" "$tap_tmp/suite/"
	cd "$tap_tmp/suite"
	export STD_OUT=$tap_tmp/suite/out STD_ERR=$tap_tmp/suite/err ERRF=$tap_tmp/suite/errors
	: >"$ERRF"
	unshare -n ./add_type_imq.t || status=$?
	cat "$ERRF"
	[ "$status" != 127 ] && [ ! -s "$ERRF" ]
}

# completion: the lowest index that is free.
completion() {
	local i

	for i in 0 1 3; do
		"$IP" link add "dev$i" type imq index "$i"
	done
	# shellcheck source=../../drivers-net-imq/iproute2/imq.bash-completion
	. "$IMQ_TOP/drivers-net-imq/iproute2/imq.bash-completion"
	COMP_WORDS=("$IP" link add x type imq index '')
	COMP_CWORD=7
	_imq_ip ip '' index
	[ "${COMPREPLY[*]}" = 2 ] || { echo "offered: ${COMPREPLY[*]}, expected: 2"; return 1; }
}

modprobe -q imq || true
if [ ! -f "${IPROUTE2_SRC:-}/testsuite/lib/generic.sh" ]; then
	skip "$what: testsuite" "no source of iproute2"
	exit "$KSFT_SKIP"
fi
try "$what: testsuite, ip/link/add_type_imq.t" testsuite_case
try "$what: completion of an index" \
	unshare -n "$BASH" -euc "$(declare -f completion); completion"
tap_end
