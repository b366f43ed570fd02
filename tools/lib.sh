# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Shared by the scripts in tools/ (bash, sourced).
#
# IMQ_CACHE   where sources, builds and logs are kept
#             (default: $XDG_CACHE_HOME/imq, else ~/.cache/imq)
# IMQ_JOBS    parallel jobs of a build (default: the number of processors)

IMQ_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
IMQ_CACHE=${IMQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/imq}
IMQ_JOBS=${IMQ_JOBS:-$(nproc)}
export IMQ_TOP IMQ_CACHE IMQ_JOBS

# Variables of "make check TESTS=..." aren't for the makes that the scripts call:
# automake has a TESTS, too.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

# The exit status that means "skipped", as in the kernel's selftests.
# shellcheck disable=SC2034
KSFT_SKIP=4

# Kernel parameters of User Mode Linux: time is simulated, it stands still while the
# guest computes, and jumps to the next timer when it waits. (The jitter entropy
# collector waits for a clock that never ticks evenly.)
# shellcheck disable=SC2034
IMQ_SIMULATED='time-travel=inf-cpu initcall_blacklist=jent_mod_init'

log() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# usage: print the comment at the top of the calling script and exit 2.
usage() {
	awk 'NR == 1 || /SPDX/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0" >&2
	exit 2
}

# hash_files FILE...: one SHA-256 over names and contents, in the order given.
hash_files() {
	sha256sum -- "$@" | sha256sum | cut -d' ' -f1
}

# hash_text TEXT...: SHA-256 of the arguments.
hash_text() {
	printf '%s\n' "$@" | sha256sum | cut -d' ' -f1
}

# lock NAME: hold the named lock of the cache until the script ends. Children
# that stay behind must close $IMQ_LOCK_FD, or they keep it.
lock() {
	local name=$1

	mkdir -p "$IMQ_CACHE/locks"
	exec {IMQ_LOCK_FD}>"$IMQ_CACHE/locks/$name"
	if ! flock -n "$IMQ_LOCK_FD"; then
		log "waiting for another run that holds the lock '$name'"
		flock "$IMQ_LOCK_FD"
	fi
}

# keep_latest COUNT DIR PATTERN: of what has such a name there (find -name), removes
# all but the latest COUNT.
keep_latest() {
	find "$2" -mindepth 1 -maxdepth 1 -name "$3" -printf '%T@ %p\n' | sort -rn |
		tail -n +$(($1 + 1)) | cut -d' ' -f2- | xargs -r -d '\n' rm -rf --
}

# elapsed SECONDS: as m:ss
elapsed() {
	printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

# progress LABEL TOTAL LOGFILE: copy a build's output from stdin to LOGFILE and
# show on stderr what is being made and how far the build is. TOTAL is the
# expected number of steps (lines like "  CC  net/core/dev.o"), 0 when unknown.
# On a terminal one line is rewritten; elsewhere a line is printed every
# IMQ_PROGRESS seconds (default 20).
progress() {
	local label=$1 total=$2 logfile=$3
	local every=${IMQ_PROGRESS:-20} tty=0 n=0 start=$SECONDS last=$SECONDS
	local line tool what rest pct width

	[ -t 2 ] && tty=1
	width=$(stty size 2>/dev/null <&2 | cut -d' ' -f2) || true
	[ "${width:-0}" -gt 20 ] || width=80
	: >"$logfile"
	while IFS= read -r line; do
		printf '%s\n' "$line" >>"$logfile"
		read -r tool what rest <<<"$line" || true
		case $tool in
		CC|HOSTCC|AR|AS|LD|CXX|CCLD|LEX|YACC|GEN|\[M\]|INSTALL) ;;
		*) continue ;;
		esac
		[ "$what" = "[M]" ] && what=$rest
		n=$((n + 1))
		if [ "$total" -gt 0 ]; then
			pct=$((n * 100 / total))
			[ "$pct" -gt 99 ] && pct=99
			pct=$(printf '%3d %%' "$pct")
		else
			pct=$(printf '%5d steps' "$n")
		fi
		if [ "$tty" = 1 ]; then
			printf '\r\033[K%.*s' "$((width - 1))" \
				"$label  $pct  $(elapsed $((SECONDS - start)))  $what" >&2
		elif [ $((SECONDS - last)) -ge "$every" ]; then
			last=$SECONDS
			log "$label  $pct  $(elapsed $((SECONDS - start)))  $what"
		fi
	done
	[ "$tty" = 1 ] && printf '\r\033[K' >&2
	log "$label  $n steps in $(elapsed $((SECONDS - start)))"
}
