#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: iproute2.sh SRC PREFIX
#
# Build iproute2, whose ip knows the imq link type, and install it in PREFIX.
#
# SRC      an unpacked iproute2, unpatched; it isn't changed
# PREFIX   absolute path; made if it doesn't exist. The programs are in
#          PREFIX/sbin, the log is PREFIX/iproute2-VERSION.log
#
# IPROUTE2_VERSION  6.1.0 (default) or 7.1.0
#
# Needs a C compiler, make, bison, flex and pkg-config. Uses libmnl, libcap,
# libelf, libbpf and others if their headers are there. IMQ_JOBS: see tools/lib.sh.
# Exits with 0 if all was installed, else with 1.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/source.sh"

# Namespaces named by `ip netns' are shared with the stock ip, everything else
# is in PREFIX.
# shellcheck disable=SC2317 # called by build_package
build() {
	local vars=(
		PREFIX="$PREFIX" SBINDIR="$PREFIX/sbin"
		CONFDIR="$PREFIX/etc/iproute2" ARPDDIR="$PREFIX/var/lib/arpd"
		NETNS_RUN_DIR=/run/netns
	)

	./configure --prefix="$PREFIX" --libdir="$PREFIX/lib" &&
		make -j"$IMQ_JOBS" "${vars[@]}" &&
		make "${vars[@]}" install
}

[ $# -eq 2 ] || usage
SRC=$1
PREFIX=$2
case $PREFIX in /*) ;; *) die "PREFIX '$PREFIX' must be an absolute path" ;; esac
[ -f "$SRC/ip/iplink.c" ] || die "no iproute2 source in '$SRC'"
IPROUTE2_VERSION=${IPROUTE2_VERSION:-${IPROUTE2_VERSIONS%% *}}
build_package "iproute2-$IPROUTE2_VERSION" "$SRC" "$PREFIX" 260
