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
#
# In a tree of another kernel than the default one (the same IMQ_KERNEL as for
# quilt.sh), edits are for that kernel: those of new files go to
# patches/linux-VERSION/new-files.diff. Patches that it shares with the default kernel
# are not written, as lines have other numbers here.
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

own=linux diffs=''
if [ "$IMQ_KERNEL" != "$IMQ_KERNEL_DEFAULT" ]; then
	own=linux-$IMQ_KERNEL diffs=$(mktemp)
	trap 'rm -f "$diffs"' EXIT
	# what it says at its top
	sed '/^---$/q' "$IMQ_TOP/patches/$own/new-files.diff" >"$diffs"
fi

# new_file FILE EDITED SOURCE: what a patch adds as FILE is now like EDITED.
new_file() {
	if [ -z "$diffs" ]; then
		cmp -s "$2" "$IMQ_TOP/$3" && return
		cat "$2" >"$IMQ_TOP/$3"
		log "$3: updated"
	elif ! cmp -s "$2" "$IMQ_TOP/$3"; then
		echo "diff --git a/$1 b/$1"
		diff -up --label "a/$1" --label "b/$1" "$IMQ_TOP/$3" "$2" || [ $? = 1 ]
	fi
}

while read -r patch file source; do
	[ "${patch%%/*}" = "$own" ] || continue
	edited=$(content_after "$patch" "$file")
	[ -s "$edited" ] || { warn "$file is gone: remove it from files.map"; continue; }
	new_file "$file" "$edited" "$source"
done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$IMQ_TOP/tools/patches/files.map" | sort -k 2) \
	>>"${diffs:-/dev/null}"
[ -z "$diffs" ] || cat "$diffs" >"$IMQ_TOP/patches/$own/new-files.diff"

# edits PATCH: its lines, in no order
edits() {
	sed '1,/^---$/d' "$1" | grep '^[-+]' | grep -vE '^(---|\+\+\+) ' | sort
}

same_edits() {
	cmp -s <(edits "patches/$1") <(edits "$IMQ_TOP/patches/$1")
}

while read -r p; do
	if [ "${p%%/*}" = "$own" ]; then
		cp "patches/$p" "$IMQ_TOP/patches/$p"
	elif ! same_edits "$p"; then
		warn "$p is not written: edit it in a tree of Linux $IMQ_KERNEL_DEFAULT"
	fi
done < <(sed '/^$/d' patches/series)
"$IMQ_TOP/tools/patches/update.py"
