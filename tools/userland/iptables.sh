#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: iptables.sh SRC PREFIX
#
# Build iptables, legacy and nft, with the IMQ target, and install it in PREFIX.
#
# SRC      an unpacked iptables 1.8.9, unpatched; it isn't changed
# PREFIX   absolute path; made if it doesn't exist. The programs are in
#          PREFIX/sbin, the log is PREFIX/iptables-1.8.9.log
#
# Needs a C compiler, make, pkg-config, and the headers of libmnl and libnftnl.
# PKG_CONFIG_PATH may name a libnftnl of your own. IMQ_JOBS: see tools/lib.sh.
# Exits with 0 if all was installed, else with 1.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/source.sh"

# shellcheck disable=SC2317 # called by build_package
build() {
	./configure --prefix="$PREFIX" --sysconfdir=/etc --enable-nftables \
		--disable-devel --disable-libipq --disable-static &&
		make -j"$IMQ_JOBS" &&
		make install
}

[ $# -eq 2 ] || usage
SRC=$1
PREFIX=$2
case $PREFIX in /*) ;; *) die "PREFIX '$PREFIX' must be an absolute path" ;; esac
pkg-config --exists libmnl libnftnl ||
	die "libmnl or libnftnl not found (Debian: libmnl-dev, libnftnl-dev)"
[ -x "$SRC/configure" ] || die "no iptables source in '$SRC'"
build_package iptables-1.8.9 "$SRC" "$PREFIX" 250
