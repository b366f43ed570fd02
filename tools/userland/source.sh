# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Shared by the scripts here that build a patched package (bash, sourced after
# tools/lib.sh).

# The versions that there are patches for; the first one is used where nothing
# else is said.
# shellcheck disable=SC2034 # by those who source this
NFT_VERSIONS='1.0.6 1.1.3 1.1.6'
# shellcheck disable=SC2034
IPTABLES_VERSIONS='1.8.9 1.8.13'
# shellcheck disable=SC2034
IPROUTE2_VERSIONS='6.1.0 7.1.0'

# libnftnl_of VERSION: the version of libnftnl that goes with this nftables.
libnftnl_of() {
	case $1 in
	1.0.6) echo 1.2.4 ;;
	1.1.3) echo 1.2.9 ;;
	1.1.6) echo 1.3.1 ;;
	*) die "no patches for nftables $1, only for $NFT_VERSIONS" ;;
	esac
}

# libnftnl_for_iptables VERSION: the version of libnftnl to build for this iptables,
# which is newer than what distributions with the others have; none if empty.
libnftnl_for_iptables() {
	case $1 in
	1.8.9) ;;
	1.8.13) echo 1.3.1 ;;
	*) die "no patches for iptables $1, only for $IPTABLES_VERSIONS" ;;
	esac
}

# apply_package SERIES: apply the patches that the file SERIES lists, and that
# lie beside it, in the current directory. Fuzz is an error: a hunk that almost
# fits may land in the wrong place.
apply_package() {
	local series=$1 patch

	while read -r patch _; do
		case $patch in ''|'#'*) continue ;; esac
		printf 'applying %s\n' "$patch"
		patch -p1 -F0 -N -i "${series%/*}/$patch" || return
	done <"$series"
}

# build_package NAME SRC PREFIX STEPS: copy SRC, apply patches/NAME/series to
# the copy (unless STOCK is 1), run the caller's function `build' there, and
# remove the copy. All output goes to PREFIX/NAME.log, whose end is shown if
# something fails. STEPS is the number of compiler calls and the like to expect.
build_package() {
	local name=$1 src=$2 prefix=$3 steps=$4
	local log=$prefix/$name.log work status=0

	[ -d "$src" ] || die "no source directory '$src'"
	mkdir -p "$prefix"
	work=$(mktemp -d "$prefix/$name.XXXXXX")
	{
		cp -a "$src/." "$work" && cd "$work" &&
			{ [ "${STOCK:-0}" = 1 ] || apply_package "$IMQ_TOP/patches/$name/series"; } &&
			build
	} 2>&1 | progress "$name" "$steps" "$log" || status=$?
	if [ "$status" -ne 0 ]; then
		tail -n 30 "$log" >&2
		die "$name: building failed (log: $log; tree: $work)"
	fi
	rm -rf "$work"
}
