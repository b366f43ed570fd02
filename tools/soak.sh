#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/soak.sh [-t TESTS] [-f] [SECONDS [GUEST...]]
#
# Runs the selftests with full amounts (IMQ_FULL=1), on kernels that check
# themselves, again and again, for as long as asked; the last line is
# "N passed, N failed, N skipped". Exit status 1 if one failed or none passed.
#
#   -t TESTS   only these (names without .sh)
#   -f         end after the first script with a failure
#   SECONDS    no script begins later than that (default 3600); one that runs
#              then comes to its end. Those that never began count as skipped.
#   GUEST      debug   User Mode Linux: KASAN, lockdep...
#              smp     x86-64 under QEMU, 2 and 4 processors: the same and more
#              kcsan   x86-64 under QEMU, 4 processors: KCSAN
#              or the name of any other configuration in tools/kernel/config/TABLE
#              (default: debug smp kcsan)
#
# All guests take turns with a script before the next one begins. IMQ_LIMIT is
# the longest that a script may take, in seconds (default 7200).
# Logs: $IMQ_CACHE/soak/.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=results.sh
. "$(dirname "$0")/results.sh"
# shellcheck source=guest/tests.sh
. "$(dirname "$0")/guest/tests.sh"
cd "$IMQ_TOP" || exit 1

tests='' first=''
while [ $# -gt 0 ]; do
	case $1 in
	-t) tests=$2; shift 2 ;;
	-f) first=1; shift ;;
	-*) usage ;;
	*) break ;;
	esac
done
duration=${1:-3600}
case $duration in *[!0-9]*) usage ;; esac
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- debug smp kcsan

# guest NAME CONFIG [OPTION...]: one more, if its kernel can be built.
names=() options=()
declare -A kernels
guest() {
	local name=$1 config=$2
	shift 2

	if [ -z "${kernels[$config]:-}" ]; then
		if ! kernels[$config]=$(tools/kernel/build.sh "$config"); then
			result fail "$name: kernel $config builds"
			return
		fi
		result ok "$name: kernel $config builds"
	fi
	names+=("$name")
	options+=("${kernels[$config]} $*")
}

guests() {
	local kind qemu="--qemu --mem 2G"

	if ! command -v qemu-system-x86_64 >/dev/null; then
		qemu=''
	fi
	for kind; do
		case $kind in
		debug) guest um-debug um-debug --mem 2G ;;
		smp|kcsan)
			if [ -z "$qemu" ]; then
				result skip "smp-$kind: all tests" "no qemu-system-x86_64"
			elif [ "$kind" = smp ]; then
				guest "smp-debug, 2 CPUs" smp-debug "$qemu --smp 2"
				guest "smp-debug, 4 CPUs" smp-debug "$qemu --smp 4"
			else
				guest "smp-kcsan" smp-kcsan "$qemu --smp 4"
			fi ;;
		*) guest "$kind" "$kind" ;;
		esac
	done
}

# over: no more scripts.
over() {
	[ "$((SECONDS - results_start))" -ge "$duration" ] ||
		{ [ -n "$first" ] && [ "$(count fail)" -gt 0 ]; }
}

# turn ROUND SCRIPT I: in guest number I.
turn() {
	local round=$1 f=$2 name=${names[$3]} kernel option

	read -r kernel option <<<"${options[$3]}"
	if over; then
		[ "$round" -gt 1 ] || result skip "$name: $(basename "$f" .sh)" "no time left"
		return
	fi
	# The log is looked at after each test, and full amounts fill it.
	# shellcheck disable=SC2086 # a list of words
	guest_test "round $round, $name" "$kernel" "$f" --env IMQ_FULL=1 \
		--append log_buf_len=16M $option
}

known_tests "$tests"
results_begin soak
start_tools
if source_of linux "all tests in a guest"; then
	guests "$@"
	guest_prepare
fi
limit=${IMQ_LIMIT:-7200}
# Builds are no part of the time.
results_start=$SECONDS
round=0
while [ "${#names[@]}" -gt 0 ] && { [ "$round" = 0 ] || ! over; }; do
	round=$((round + 1))
	for f in $(guest_scripts "$tests"); do
		for i in "${!names[@]}"; do
			turn "$round" "$f" "$i"
		done
	done
	log "round $round: $(elapsed $((SECONDS - results_start)))"
done
results_end
