#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/kernel/quilt.sh DIR
#
# Lays out the kernel source in DIR, all patches applied by quilt, for editing:
#
#   cd DIR; quilt pop/push to the patch; quilt edit FILE (or quilt add FILE)
#   tools/kernel/refresh.sh DIR     brings the edits back into this repository
#
# The patches there are copies: nothing changes in patches/ before refresh.sh.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tree.sh
. "$(dirname "$0")/tree.sh"

[ $# -eq 1 ] || usage
dir=$1
[ ! -e "$dir" ] || die "$dir exists; remove it if nothing in it is needed"
src=$("$IMQ_TOP/tools/sources.sh" linux)
log "copying the kernel source to $dir"
mkdir -p "$(dirname "$dir")"
cp -a "$src" "$dir.tmp"
rm -rf "$dir.tmp/.git" "$dir.tmp/patches"
mv -T "$dir.tmp" "$dir"
cd "$dir"
mkdir patches
while read -r p; do
	mkdir -p "patches/$(dirname "$p")"
	cp "$IMQ_TOP/patches/$p" "patches/$p"
	echo "$p" >>patches/series
done < <(series_patches)
quilt --quiltrc /dev/null push -a --fuzz=0 -q >&2
log "ready: $PWD"
