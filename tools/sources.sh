#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/sources.sh NAME [VERSION]
#
# Prints the directory of an unpacked, unpatched source. NAME is linux,
# libnftnl, nftables, iptables or iproute2; VERSION is one of those in the table
# below, by default the first one of NAME. Looked for in this order:
#
#   linux       KERNEL_SRC= (a clean directory or a tarball), else
#               /usr/src/linux-source-VERSION.tar.xz of Debian's package
#   the others  LIBNFTNL_SRC=, NFTABLES_SRC=, IPTABLES_SRC=, IPROUTE2_SRC=
#               (directory; with VERSION: if it is of that one), then
#               $IMQ_CACHE/sources/NAME-VERSION, then the Debian archive that
#               this system uses, then the release tarball of the project,
#               checked against a pinned SHA-256
#
# Versions other than the first one of NAME are fetched only with IMQ_FETCH=1, as
# the tests are then run with them, too. IMQ_OFFLINE=1 looks only at this machine.
# IMQ_KERNEL is the kernel's version (default 6.12). Exit status 3, with one line
# that says why, when there is no source to be had: callers skip what needs it, by
# name.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case $# in 1|2) ;; *) usage ;; esac
name=$1
version=${2:-}
IMQ_KERNEL=${IMQ_KERNEL:-6.12}

# Name, version, suffix of the upstream tarball, its SHA-256: of Debian 12's .dsc,
# and for the other versions what several distributions' recipes agree on.
versions='
libnftnl 1.2.4 bz2 c0fe233be4cdfd703e7d5977ef8eb63fcbf1d0052b6044e1b23d47ca3562477f
libnftnl 1.2.9 xz e8c216255e129f26270639fee7775265665a31b11aa920253c3e5d5d62dfc4b8
libnftnl 1.3.1 xz 607da28dba66fbdeccf8ef1395dded9077e8d19f2995f9a4d45a9c2f0bcffba8
nftables 1.0.6 xz 2407430ddd82987670e48dc2fda9e280baa8307abec04ab18d609df3db005e4c
nftables 1.1.3 xz 9c8a64b59c90b0825e540a9b8fcb9d2d942c636f81ba50199f068fde44f34ed8
nftables 1.1.6 xz 372931bda8556b310636a2f9020adc710f9bab66f47efe0ce90bff800ac2530c
iptables 1.8.9 xz ef6639a43be8325a4f8ea68123ffac236cb696e8c78501b64e8106afb008c87f
iptables 1.8.13 xz 1afcd33da9e8f913ace6a2126788162e207e26f5d5e29c6573c0e581ffc58b99
iproute2 6.1.0 xz 5ce12a0fec6b212725ef218735941b2dab76244db7e72646a76021b0537b43ab
iproute2 7.1.0 xz fd9fa1b95809417157ca83dd72957e3261bdbce896353cb936f80af0b33a4b5c
'
src=''
case $name in
linux) ;;
libnftnl|nftables|iptables) url=https://www.netfilter.org/projects/$name/files ;;
iproute2) url=https://www.kernel.org/pub/linux/utils/net/iproute2 ;;
*) usage ;;
esac
if [ "$name" != linux ]; then
	default=$(awk -v n="$name" '$1 == n { print $2; exit }' <<<"$versions")
	read -r _ version suffix sha256 < <(awk -v n="$name" -v v="$version" \
		'$1 == n && (v == "" || $2 == v) { print; exit }' <<<"$versions") || usage
	url=$url/$name-$version.tar.$suffix
	src=${name^^}_SRC
	src=${!src:-}
fi

none() {
	printf '%s%s: no source: %s\n' "$name" "${version:+ $version}" "$*" >&2
	exit 3
}

# unpack TARBALL DIR: its single top directory becomes DIR, all or nothing.
unpack() {
	local tmp=$2.tmp.$$

	rm -rf "$tmp"
	mkdir -p "$tmp"
	if ! tar -xf "$1" -C "$tmp" --strip-components=1; then
		rm -rf "$tmp"
		return 1
	fi
	mv -T "$tmp" "$2"
}

# The kernel: the cache's directory is named after the very tarball.
linux_source() {
	local tar=${KERNEL_SRC:-/usr/src/linux-source-$IMQ_KERNEL.tar.xz} id dest

	if [ -d "$tar" ]; then
		[ -f "$tar/kernel/Makefile" ] || none "KERNEL_SRC=$tar holds no kernel"
		(cd "$tar" && pwd)
		return
	fi
	[ -f "$tar" ] ||
		none "$tar is missing; install linux-source-$IMQ_KERNEL (make deps) or set KERNEL_SRC="
	id=$(hash_text "$tar" "$(stat -c '%s %Y' "$tar")" | cut -c1-12)
	dest=$IMQ_CACHE/sources/linux-$IMQ_KERNEL-$id
	if [ ! -d "$dest" ]; then
		log "unpacking ${tar##*/}"
		unpack "$tar" "$dest" || none "$tar can't be unpacked"
	fi
	echo "$dest"
}

# The archive: the system's own apt configuration, sources instead of binaries,
# in lists of our own. apt checks signatures and hashes. The original tarball
# is all that is wanted of it.
from_archive() {
	local dest=$1 dir=$IMQ_CACHE/apt f tar opts

	command -v apt-get >/dev/null || { why="no apt"; return 1; }
	rm -rf "$dir/get"
	mkdir -p "$dir/parts" "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/get"
	rm -f "$dir"/parts/*
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$f" ] || continue
		sed -n 's/^deb\(-src\)\?\([[:space:]]\)/deb-src\2/p' "$f" | sort -u >"$dir/parts/${f##*/}"
	done
	[ ! -f "$dir/parts/sources.list" ] || mv "$dir/parts/sources.list" "$dir/parts/00system.list"
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -f "$f" ] || continue
		sed 's/^Types:.*/Types: deb-src/' "$f" >"$dir/parts/${f##*/}"
	done
	opts=(-q -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$dir/parts"
		-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache"
		-o "Acquire::Retries=1" -o "Acquire::http::Timeout=20")
	[ "$(id -u)" != 0 ] || opts+=(-o "APT::Sandbox::User=root")
	if [ -z "$(find "$dir/lists" -name '*Sources*' -mmin -1440 -print -quit)" ]; then
		apt-get "${opts[@]}" update >"$dir/update.log" 2>&1 ||
			{ why="apt-get update failed, see $dir/update.log"; return 1; }
	fi
	(cd "$dir/get" && apt-get "${opts[@]}" source --only-source --download-only "$name") \
		>"$dir/$name.log" 2>&1 ||
		{ why="not in the Debian archive ($(sed -n 's/^[EW]: //p' "$dir/$name.log" | head -n 1))"; return 1; }
	tar=$(find "$dir/get" -name "${name}_$version.orig.tar.*" ! -name '*.asc' | head -n 1)
	[ -n "$tar" ] || { why="the Debian archive has another version"; return 1; }
	unpack "$tar" "$dest"
}

from_project() {
	local dest=$1 tar=$IMQ_CACHE/sources/${url##*/}

	mkdir -p "$IMQ_CACHE/sources"
	if [ ! -f "$tar" ]; then
		if command -v curl >/dev/null; then
			curl -fsSL --connect-timeout 15 --max-time 300 -o "$tar.$$" "$url"
		elif command -v wget >/dev/null; then
			wget -q --timeout=15 --tries=1 -O "$tar.$$" "$url"
		else
			false
		fi 2>/dev/null ||
			{ rm -f "$tar.$$"; why="$why, and ${url##*/} can't be downloaded"; return 1; }
		mv "$tar.$$" "$tar"
	fi
	if ! echo "$sha256  $tar" | sha256sum --check --status; then
		rm -f "$tar"
		why="$why, and ${url##*/} has another SHA-256 than expected"
		return 1
	fi
	unpack "$tar" "$dest"
}

lock "source-$name"
if [ "$name" = linux ]; then
	linux_source
	exit
fi

# of_version DIR: a source that says that it has the version asked for.
of_version() {
	grep -qsE "AC_INIT\(\[?$name\]?, *\[?$version\]?[],)]" "$1/configure.ac" ||
		grep -qs "\"$version\"" "$1/include/version.h"
}

if [ -n "$src" ]; then
	[ -d "$src" ] || none "$src is no directory"
	if [ $# -eq 1 ] || of_version "$src"; then
		(cd "$src" && pwd)
		exit
	fi
fi
dest=$IMQ_CACHE/sources/$name-$version
why=''
if [ ! -d "$dest" ]; then
	[ -z "${IMQ_OFFLINE:-}" ] || none "$dest is missing and IMQ_OFFLINE is set"
	[ "$version" = "$default" ] || [ -n "${IMQ_FETCH:-}" ] ||
		none "$dest is missing; IMQ_FETCH=1 fetches it"
	log "fetching $name $version"
	from_archive "$dest" || from_project "$dest" || none "$why"
fi
echo "$dest"
