#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/userland/prefix.sh NAME [VERSION]
#
# Builds NAME with IMQ support, if it was not built before from the same source
# and patches, and prints the prefix that it is installed in. NAME is plugins
# (for the iptables and ip of the distribution), nft, iptables or iproute2.
# VERSION (not of plugins): see nft.sh, iptables.sh, iproute2.sh. STOCK=1, for
# nft only: without our patches.
#
# Exit status 3, with one line that says why, if there is no source (see
# tools/sources.sh), or nothing to build it with: callers skip what needs it.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../kernel/tree.sh
. "$(dirname "$0")/../kernel/tree.sh"
# shellcheck source=source.sh
. "$(dirname "$0")/source.sh"

case $# in 1|2) ;; *) usage ;; esac
name=$1 version=${2:-}
cd "$IMQ_TOP"

# What goes into NAME: the files of this repository, and unpatched sources.
files=(tools/userland/"$name".sh tools/userland/source.sh)
src=()
case $name in
plugins) files+=(net-netfilter drivers-net-imq) ;;
nft)
	export NFT_VERSION=${version:=${NFT_VERSION:-${NFT_VERSIONS%% *}}}
	libnftnl=$(libnftnl_of "$version") || exit
	files+=(patches/"libnftnl-$libnftnl" patches/"nftables-$version")
	src+=("$("$IMQ_TOP/tools/sources.sh" libnftnl "$libnftnl")") || exit
	src+=("$("$IMQ_TOP/tools/sources.sh" nftables "$version")") || exit ;;
iptables)
	export IPTABLES_VERSION=${version:=${IPTABLES_VERSIONS%% *}}
	files+=(patches/"iptables-$version")
	libnftnl=$(libnftnl_for_iptables "$version") || exit
	if [ -n "$libnftnl" ]; then
		files+=(patches/"libnftnl-$libnftnl")
		src+=("$("$IMQ_TOP/tools/sources.sh" libnftnl "$libnftnl")") || exit
	fi
	src+=("$("$IMQ_TOP/tools/sources.sh" iptables "$version")") || exit ;;
iproute2)
	export IPROUTE2_VERSION=${version:=${IPROUTE2_VERSIONS%% *}}
	files+=(patches/"iproute2-$version")
	src+=("$("$IMQ_TOP/tools/sources.sh" iproute2 "$version")") || exit ;;
*) usage ;;
esac

ids=$(for s in "${src[@]}"; do source_id "$s"; done)
mapfile -t files < <(find "${files[@]}" -type f | sort)
key=$(hash_text "$ids" "$(hash_files "${files[@]}")" "$(gcc --version | head -n 1)" ${STOCK:+stock})
label=$name${STOCK:+-stock}${version:+-$version}
prefix=$IMQ_CACHE/userland/$label-${key:0:12}
if [ -f "$prefix/complete" ]; then
	touch "$prefix"
	echo "$prefix"
	exit
fi

lock "userland-$label"
if [ ! -f "$prefix/complete" ]; then
	rm -rf "$prefix"
	log "building $label"
	# CHECK: libnftnl has tests of its own, which take some seconds.
	CHECK=1 "$IMQ_TOP/tools/userland/$name.sh" "${src[@]}" "$prefix" {IMQ_LOCK_FD}>&- >&2
	touch "$prefix/complete"
	keep_latest 3 "$IMQ_CACHE/userland" "$label-*"
fi
echo "$prefix"
