#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/kernel/refresh.sh DIR
#
# Brings edits made in DIR, a tree of tools/kernel/quilt.sh, back: files that
# are new in the series go to the source folders, edits of upstream files into
# patches/. A file has to be known to quilt (quilt edit, quilt add); an edit goes to
# the last applied patch that has the file, so pop those above first if it
# belongs to a lower one. New files of the series have to be in
# tools/patches/files.map.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tree.sh
. "$(dirname "$0")/tree.sh"

[ $# -eq 1 ] || usage
cd "$1" || die "no directory $1"
if [ ! -d .pc ] || [ ! -f patches/series ]; then
	die "$1 is no tree of make quilt"
fi
export QUILT_DIFF_OPTS=-p
q() { quilt --quiltrc /dev/null "$@"; }
refresh() { q refresh -f -p ab --no-timestamps --no-index "$@" >&2; }

# An edit belongs to the last applied patch that has the file: with patches
# popped, the edits are of a lower one.
refresh "$(q top)" || die "$(q top) can't be refreshed, see above"
[ -z "$(q unapplied 2>/dev/null)" ] || q push -a --fuzz=0 -q >&2 ||
	die "patches above do not apply any more: resolve that with quilt in $PWD"
while read -r p; do
	refresh "$p" || die "$p can't be refreshed, see above"
done < <(sed '/^$/d' patches/series)

# content_after PATCH FILE: FILE as PATCH leaves it, which later ones may edit.
content_after() {
	local patch=$1 file=$2 p seen=''

	while read -r p; do
		if [ -n "$seen" ] && [ -f ".pc/$p/$file" ]; then
			echo ".pc/$p/$file"
			return
		fi
		[ "$p" != "$patch" ] || seen=1
	done < <(sed '/^$/d' patches/series)
	echo "$file"
}

while read -r patch file source; do
	[ -f "patches/$patch" ] || continue
	edited=$(content_after "$patch" "$file")
	[ -s "$edited" ] || { warn "$file is gone: remove it from files.map"; continue; }
	cmp -s "$edited" "$IMQ_TOP/$source" && continue
	cat "$edited" >"$IMQ_TOP/$source"
	log "$source: updated"
done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$IMQ_TOP/tools/patches/files.map")

while read -r p; do
	mkdir -p "$IMQ_TOP/patches/$(dirname "$p")"
	cp "patches/$p" "$IMQ_TOP/patches/$p"
done < <(sed '/^$/d' patches/series)
"$IMQ_TOP/tools/patches/update.py"
