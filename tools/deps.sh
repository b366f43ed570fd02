#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/deps.sh [-n] [GROUP...]
#
# Installs the Debian packages that GROUP needs, as listed in tools/deps.list:
# build (kernel and userland), demo, bench, check (the default is all four).
# IMQ_KERNEL is the version of the kernel's source (default 6.12).
# Nothing is run, not even as root, when all of them are installed.
#
#   -n   only print what is missing; exit status 1 if anything is
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

only_print=''
while [ $# -gt 0 ]; do
	case $1 in
	-n) only_print=1 ;;
	build|demo|bench|check) break ;;
	*) usage ;;
	esac
	shift
done
[ $# -gt 0 ] || set -- build demo bench check

wanted=$(for group; do
	case $group in
	build) echo build ;;
	demo|bench|check) echo build; echo guest; echo "$group" ;;
	*) usage ;;
	esac
done | sort -u | while read -r group; do
	sed -n "s/#.*//; s/^$group:[[:space:]]*//p" "$IMQ_TOP/tools/deps.list"
done | sed "s/\$IMQ_KERNEL/${IMQ_KERNEL:-6.12}/" | tr -s ' \t' '\n' | sort -u)

if ! command -v dpkg-query >/dev/null; then
	log "This is no Debian system: nothing is installed. These Debian packages, or what"
	log "your distribution has in their place, are needed:"
	printf '%s\n' "$wanted" | fmt -w 76 | sed 's/^/  /' >&2
	[ -z "$only_print" ] || exit 1
	exit 0
fi

missing=$(comm -23 <(printf '%s\n' "$wanted" | sort) \
	<(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii //p' | sort -u))
[ -n "$missing" ] || exit 0
if [ -n "$only_print" ]; then
	printf '%s\n' "$missing"
	exit 1
fi

# shellcheck disable=SC2086 # words
set -- $missing
log "installing $# Debian packages: $*"
as_root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null ||
		die "neither root nor sudo; as root, run: apt-get install --no-install-recommends $*"
	as_root=(sudo)
fi
mkdir -p "$IMQ_CACHE"
apt_log=$IMQ_CACHE/apt-install.log
apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>"$apt_log" 2>&1
}
: >"$apt_log"
apt update || warn "apt-get update failed, see $apt_log; going on with the lists that are there"
if ! apt install -y --no-install-recommends "$@"; then
	tail -n 15 "$apt_log" >&2
	die "apt-get install failed, log: $apt_log"
fi
