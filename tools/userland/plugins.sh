#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: plugins.sh PREFIX
#
# Build the plugins for the iptables and the ip of the distribution, and install
# them in PREFIX:
#
#   PREFIX/lib/xtables/libxt_IMQ.so   -j IMQ; needs the headers of libxtables
#   PREFIX/lib/ip/link_imq.so         type imq; needs the kernel's headers
#
# To use them from there:
#
#   XTABLES_LIBDIR=PREFIX/lib/xtables:$(pkg-config --variable=xtlibdir xtables)
#   IP_LIB_DIR=PREFIX/lib/ip
#
# To install them for good: `make install' in net-netfilter/iptables and in
# drivers-net-imq/iproute2.
#
# The log is PREFIX/plugins.log. If one can't be built, the other still is.
# Exits with 0 if both were installed, else with 1.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"

# plugin NAME DIR ASSIGNMENT...: make and install the plugin in DIR.
plugin() {
	local name=$1 dir=$2
	shift 2

	printf '%s\n' "$name" >>"$log"
	make -C "$IMQ_TOP/$dir" O="$work/$name" "$@" install >>"$log" 2>&1 &&
		return
	tail -n 10 "$log" >&2
	warn "$name: building failed (log: $log)"
	failed=1
}

[ $# -eq 1 ] || usage
case $1 in /*) ;; *) die "PREFIX '$1' must be an absolute path" ;; esac
failed=0
log=$1/plugins.log
mkdir -p "$1"
: >"$log"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

plugin libxt_IMQ net-netfilter/iptables XTLIBDIR="$1/lib/xtables"
plugin link_imq drivers-net-imq/iproute2 IPLIBDIR="$1/lib/ip" \
	BASHCOMPDIR="$1/share/bash-completion"
exit "$failed"
