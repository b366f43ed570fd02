# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The patched kernel source (bash, sourced after lib.sh).
#
# One tree per source in the cache, kept up to date: only files whose content
# the patches change are replaced, so that the next build makes only what
# depends on them. It shares unchanged files with the pristine source (hard
# links), so nothing may edit a file in it in place; for that, make quilt.

# The kernel that `series` and the source folders are for. Another one has a series,
# and patches, of its own: series-VERSION, patches/linux-VERSION/.
IMQ_KERNEL_DEFAULT=6.12
IMQ_KERNEL=${IMQ_KERNEL:-$IMQ_KERNEL_DEFAULT}

# kernel_versions: those that have a series.
kernel_versions() {
	local f

	echo "$IMQ_KERNEL_DEFAULT"
	for f in "$IMQ_TOP"/series-*; do
		[ ! -f "$f" ] || echo "${f##*/series-}"
	done
}

# series_file: the quilt series of this kernel version.
series_file() {
	if [ "$IMQ_KERNEL" != "$IMQ_KERNEL_DEFAULT" ] && [ -f "$IMQ_TOP/series-$IMQ_KERNEL" ]; then
		echo "$IMQ_TOP/series-$IMQ_KERNEL"
	else
		echo "$IMQ_TOP/series"
	fi
}

# series_patches: names of the patches in order, as in the series.
series_patches() {
	[ -f "$(series_file)" ] || return 0
	sed 's/[[:space:]]*#.*//; s/[[:space:]].*//; /^$/d' "$(series_file)"
}

# patch_targets PATCH...: files that the patches touch, each once.
patch_targets() {
	awk '/^--- / { old = $2; next }
	     /^\+\+\+ / && old != "" {
		f = ($2 == "/dev/null") ? old : $2
		sub(/^[^\/]*\//, "", f); print f
	     }
	     { old = "" }' "$@" | sort -u
}

# source_id SRC: what identifies the pristine source. Sources of the cache have
# it in their name; another directory is told by names, sizes and times.
source_id() {
	case $1 in
	"$IMQ_CACHE"/sources/*) echo "${1##*/}" ;;
	*) (cd "$1" && find . -name .git -prune -o -type f -printf '%P %s %T@\n' |
		sort | sha256sum | cut -c1-12) ;;
	esac
}

# um_room_for_amx SRC DIR: User Mode Linux before 6.13 keeps 2696 bytes of FPU
# state per task and dies at the first system call where the host's processor
# has more (Intel AMX: 11008 bytes). DIR gets the file with enough room. The
# room is taken from the kernel stack too: see KERNEL_STACK_ORDER in um.config.
um_room_for_amx() {
	local f=arch/x86/um/user-offsets.c

	grep -q 'HOST_FP_SIZE, 2696' "$1/$f" 2>/dev/null || return 0
	mkdir -p "$2/${f%/*}"
	sed 's/HOST_FP_SIZE, 2696/HOST_FP_SIZE, 12288/' "$1/$f" >"$2/$f"
}

# builds_nothing PATCH: it touches documentation, selftests and the like only.
builds_nothing() {
	! patch_targets "$1" | grep -qvE '^(Documentation|tools)/|^MAINTAINERS$'
}

# tree_id SRC COUNT [MUTANT [built]]: hash of the source, of the first COUNT patches,
# and of the patch MUTANT behind them; with "built", of those that a kernel is built
# from.
tree_id() {
	local p patches=(/dev/null)

	while read -r p; do
		[ -z "${4:-}" ] || ! builds_nothing "$IMQ_TOP/patches/$p" || continue
		patches+=("$IMQ_TOP/patches/$p")
	done < <(series_patches | head -n "$2")
	[ -z "${3:-}" ] || patches+=("$3")
	hash_text "$(source_id "$1")" "$(declare -f um_room_for_amx)" \
		"$(cat "${patches[@]}" | sha256sum)"
}

# apply_series SRC DIR COUNT: makes DIR with the files that the series touches,
# the first COUNT patches applied by quilt, with no fuzz.
apply_series() {
	local src=$1 dir=$2 count=$3 f p patches=()

	while read -r p; do
		[ -f "$IMQ_TOP/patches/$p" ] || die "$(series_file) names $p, which is not in patches/"
		patches+=("$IMQ_TOP/patches/$p")
	done < <(series_patches)
	rm -rf "$dir"
	mkdir -p "$dir"
	[ "$count" -gt 0 ] || return 0
	while read -r f; do
		[ -f "$src/$f" ] || continue
		mkdir -p "$(dirname "$dir/$f")"
		cp -p "$src/$f" "$dir/$f"
	done < <(patch_targets "${patches[@]}")
	(cd "$dir" && QUILT_PATCHES=$IMQ_TOP/patches QUILT_SERIES=$(series_file) \
		QUILT_PC=.pc quilt --quiltrc /dev/null push "$count" --fuzz=0) \
		>"$dir.log" 2>&1 || {
		cat "$dir.log" >&2
		log "the series does not apply to $src"
		return 1
	}
}

# replace NEW OLD: OLD gets NEW's content and mode, if different, as a new file.
replace() {
	[ -f "$2" ] && cmp -s "$1" "$2" && [ "$(stat -c %a "$1")" = "$(stat -c %a "$2")" ] && return
	mkdir -p "${2%/*}"
	cp "$1" "$2.imq-new"
	chmod "$(stat -c %a "$1")" "$2.imq-new"
	mv -f "$2.imq-new" "$2"
}

# apply_mutant DIR PATCH: PATCH behind the series that is applied in DIR; lines may
# have moved, but its context must be there.
apply_mutant() {
	patch -p1 -F0 -N -s -r - --no-backup-if-mismatch -d "$1" <"$2" >&2 || {
		log "$2 does not apply behind the series"
		return 1
	}
}

# tree_update SRC COUNT NAME [MUTANT]: prints the directory of the tree NAME, brought
# to the state with the first COUNT patches, and MUTANT. The caller holds a lock.
tree_update() {
	local src=$1 count=$2 mutant=${4:-} tree stage f id
	local old=() new=()

	tree=$IMQ_CACHE/kernel/$(source_id "$src")-$3
	stage=$tree.stage
	id=$(tree_id "$src" "$count" "$mutant")
	if [ "$(cat "$tree/.imq-id" 2>/dev/null)" = "$id" ]; then
		echo "$tree"
		return
	fi
	if [ ! -d "$tree" ]; then
		log "copying the kernel source"
		rm -rf "$tree.tmp"
		mkdir -p "${tree%/*}"
		cp -al "$src" "$tree.tmp" 2>/dev/null || {
			rm -rf "$tree.tmp"
			cp -a "$src" "$tree.tmp"
		}
		rm -rf "$tree.tmp/.git"
		mv -T "$tree.tmp" "$tree"
	fi
	apply_series "$src" "$stage" "$count" || return 1
	[ -z "$mutant" ] || apply_mutant "$stage" "$mutant" || return 1
	rm -f "$tree/.imq-id"
	um_room_for_amx "$src" "$stage"
	mapfile -t new < <(cd "$stage" && find . -name .pc -prune -o -type f -printf '%P\n')
	[ ! -f "$tree/.imq-touched" ] || mapfile -t old <"$tree/.imq-touched"
	for f in "${new[@]}"; do
		replace "$stage/$f" "$tree/$f"
	done
	# What only an earlier state of the series touched.
	for f in "${old[@]}"; do
		[ ! -f "$stage/$f" ] || continue
		if [ -f "$src/$f" ]; then
			replace "$src/$f" "$tree/$f"
		else
			rm -f "$tree/$f"
		fi
	done
	printf '%s\n' "${new[@]}" | sed '/^$/d' >"$tree/.imq-touched"
	rm -rf "$stage" "$stage.log"
	echo "$id" >"$tree/.imq-id"
	echo "$tree"
}
