#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: iptables.sh [SRC_LIBNFTNL] SRC PREFIX
#
# Build iptables, legacy and nft, with the IMQ target, and install it in PREFIX.
#
# SRC_LIBNFTNL  an unpacked libnftnl 1.3.1, to be built and installed as well:
#               iptables 1.8.13 needs 1.2.6; without it the system's is used
# SRC           an unpacked iptables; neither is patched, or changed
# PREFIX        absolute path; made if it doesn't exist. The programs are in
#               PREFIX/sbin, the log is PREFIX/iptables-VERSION.log
#
# IPTABLES_VERSION  1.8.9 (default) or 1.8.13
#
# Needs a C compiler, make, pkg-config, and the headers of libmnl and libnftnl;
# for libnftnl, or a source without configure, also autoconf, automake, libtool.
# IMQ_JOBS: see tools/lib.sh. Exits with 0 if all was installed, else with 1.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/source.sh"

# shellcheck disable=SC2317 # called by build_package
build_libnftnl() {
	autoreconf -fi &&
		./configure --prefix="$PREFIX" --enable-silent-rules --disable-static &&
		make -j"$IMQ_JOBS" &&
		make install
}

# The rpath is one that LD_LIBRARY_PATH doesn't override.
# shellcheck disable=SC2317 # called by build_package
build_iptables() {
	{ [ -x configure ] || autoreconf -fi; } &&
		./configure --prefix="$PREFIX" --sysconfdir=/etc --enable-nftables \
			--disable-devel --disable-libipq --disable-static \
			LDFLAGS="-Wl,--disable-new-dtags,-rpath,$PREFIX/lib" &&
		make -j"$IMQ_JOBS" &&
		make install
}

case $# in 2|3) ;; *) usage ;; esac
PREFIX=${*: -1}
SRC=${*: -2:1}
IPTABLES_VERSION=${IPTABLES_VERSION:-${IPTABLES_VERSIONS%% *}}
case $PREFIX in /*) ;; *) die "PREFIX '$PREFIX' must be an absolute path" ;; esac
[ -f "$SRC/iptables/nft.c" ] || die "no iptables source in '$SRC'"
if [ $# -eq 3 ]; then
	build() { build_libnftnl; }
	build_package "libnftnl-$(libnftnl_for_iptables "$IPTABLES_VERSION")" "$1" "$PREFIX" 66
	export PKG_CONFIG_PATH=$PREFIX/lib/pkgconfig
fi
pkg-config --exists libmnl libnftnl ||
	die "libmnl or libnftnl not found (Debian: libmnl-dev, libnftnl-dev)"
# shellcheck disable=SC2317 # called by build_package
build() { build_iptables; }
build_package "iptables-$IPTABLES_VERSION" "$SRC" "$PREFIX" 250
