#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: nft.sh SRC_LIBNFTNL SRC_NFTABLES PREFIX
#
# Build libnftnl and nft with the imq statement, and install them in PREFIX.
#
# SRC_LIBNFTNL   an unpacked libnftnl, unpatched; it isn't changed
# SRC_NFTABLES   an unpacked nftables, likewise
# PREFIX         absolute path; made if it doesn't exist. There will be
#                  sbin/nft                      finds its libraries by itself
#                  share/nftables-tests/         for the tests of nftables, and
#                                                texts whose examples are tests:
#                    tests/py/nft-test.py -l PREFIX/lib/libnftables.so.1
#                    NFT=PREFIX/sbin/nft tests/shell/run-tests.sh
#                  libnftnl-VERSION.log, nftables-VERSION.log
# NFT_VERSION    that of nftables: 1.0.6 (default, with libnftnl 1.2.4), 1.1.3
#                (with 1.2.9) or 1.1.6 (with 1.3.1)
# CHECK=1        also run libnftnl's `make check'; a failure is an error
# STOCK=1        without our patches, to compare with
#
# Needs a C compiler, make, autoconf, automake, libtool, pkg-config, bison, flex,
# and the headers of libmnl, GMP and jansson; with those of readline there is nft -i.
# IMQ_JOBS: see tools/lib.sh.
# Exits with 0 if all was installed, else with 1.

set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/source.sh"

# The patches change Makefile.am, parser and scanner: what the release has
# generated from them, if anything, is out of date.
# shellcheck disable=SC2317 # called by build_package, through build
configure() {
	autoreconf -fi &&
		./configure --prefix="$PREFIX" --enable-silent-rules \
			LDFLAGS="-Wl,-rpath,$PREFIX/lib" "$@"
}

# check_libnftnl: every test of the list must have run and passed.
# shellcheck disable=SC2317 # called by build_libnftnl
check_libnftnl() {
	make check || return
	[ "${STOCK:-0}" = 1 ] ||
		grep -q '^:test-result: PASS' tests/nft-expr_imq-test.trs
}

# shellcheck disable=SC2317 # called by build_package
build_libnftnl() {
	configure --disable-static &&
		make -j"$IMQ_JOBS" &&
		{ [ "${CHECK:-0}" != 1 ] || check_libnftnl; } &&
		make install
}

# shellcheck disable=SC2317 # called by build_package
build_nftables() {
	local tests=$PREFIX/share/nftables-tests cli=--without-cli

	[ ! -f /usr/include/readline/readline.h ] || cli=--with-cli=readline
	PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" \
		configure --disable-static --disable-man-doc --disable-python \
		--with-json "$cli" &&
		make -j"$IMQ_JOBS" &&
		make install &&
		rm -rf "$tests" &&
		mkdir -p "$tests/tests" "$tests/doc" &&
		cp doc/statements.txt doc/libnftables-json.adoc "$tests/doc" &&
		cp -R py "$tests" &&
		cp -R tests/py tests/shell tests/monitor tests/json_echo "$tests/tests"
}

[ $# -eq 3 ] || usage
SRC_LIBNFTNL=$1
SRC_NFTABLES=$2
PREFIX=$3
case $PREFIX in /*) ;; *) die "PREFIX '$PREFIX' must be an absolute path" ;; esac
for tool in autoreconf libtoolize bison flex pkg-config; do
	command -v "$tool" >/dev/null ||
		die "$tool not found (Debian: autoconf automake libtool bison flex pkg-config)"
done
pkg-config --exists libmnl jansson ||
	die "libmnl or jansson not found (Debian: libmnl-dev libjansson-dev)"
NFT_VERSION=${NFT_VERSION:-${NFT_VERSIONS%% *}}
libnftnl=$(libnftnl_of "$NFT_VERSION")
[ -f "$SRC_LIBNFTNL/src/expr_ops.c" ] || die "no libnftnl source in '$SRC_LIBNFTNL'"
[ -f "$SRC_NFTABLES/src/evaluate.c" ] || die "no nftables source in '$SRC_NFTABLES'"

steps=66
[ "${CHECK:-0}" != 1 ] || steps=208
build() { build_libnftnl; }
build_package "libnftnl-$libnftnl" "$SRC_LIBNFTNL" "$PREFIX" "$steps"
# shellcheck disable=SC2317 # called by build_package
build() { build_nftables; }
build_package "nftables-$NFT_VERSION" "$SRC_NFTABLES" "$PREFIX" 51
"$PREFIX/sbin/nft" --version >/dev/null || die "$PREFIX/sbin/nft does not start"
