# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Results of tests, counted, for the scripts in tools/ that run many of them
# (bash, sourced after lib.sh). Such a script is
#
#	results_begin check		# logs and results below $IMQ_CACHE/check
#	try "what it shows" COMMAND...
#	run_tests GROUP NAME COMMAND...
#	results_end			# its status is the script's
#
# and its last line is "N passed, N failed, N skipped".
#
# logs        directory of this run, the last five are kept
# results     file with the results; a subshell may have one of its own
# background  processes that end with the script, with their children

background=()
kill_tree() {
	local child

	for child in $(pgrep -P "$1"); do
		kill_tree "$child"
	done
	kill "$1" 2>/dev/null
}
cleanup() {
	local pid

	for pid in "${background[@]}"; do
		kill_tree "$pid"
	done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# results_begin NAME
results_begin() {
	local all=$IMQ_CACHE/$1

	mkdir -p "$all"
	logs=$(mktemp -d "$all/$(date +%Y%m%d-%H%M%S).XXX")
	keep_latest 5 "$all" '[0-9]*'
	ln -sfn "$logs" "$all/latest"
	results=$logs/results
	results_start=$SECONDS
	: >"$results"
}

# result ok|fail|skip NAME [REASON]
result() {
	local mark

	printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$results"
	case $1 in ok) mark=' OK ' ;; fail) mark=FAIL ;; skip) mark=SKIP ;; esac
	printf 'TEST: %-70s [%s]%s\n' "$2" "$mark" "${3:+ $3}"
}

# try NAME COMMAND...: passes if the command does; shows what it said if not.
try() {
	local name=$1 log
	shift

	log=$logs/$(tr -c 'A-Za-z0-9._\n' _ <<<"$name").log
	if "$@" >"$log" 2>&1; then
		result ok "$name"
	else
		result fail "$name"
		tail -n 40 "$log" | sed 's/^/    /'
	fi
}

# collect GROUP: counts the test lines in stdin, of the selftests' form or TAP;
# everything else is passed on.
collect() {
	local group=$1 line
	local own='^TEST: (.*[^ ]) +\[( OK |FAIL|SKIP)\] ?(.*)$'
	local tap='^(not )?ok [0-9]+( -)? (.*)$'

	while IFS= read -r line; do
		if [[ $line =~ $own ]]; then
			case ${BASH_REMATCH[2]} in
			FAIL) result fail "$group: ${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}" ;;
			SKIP) result skip "$group: ${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}" ;;
			*) result ok "$group: ${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}" ;;
			esac
		elif [[ $line =~ $tap ]]; then
			line=${BASH_REMATCH[3]}
			if [ -n "${BASH_REMATCH[1]}" ]; then
				result fail "$group: $line"
			elif [[ $line =~ ^(.*)' # SKIP'\ ?(.*)$ ]]; then
				result skip "$group: ${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
			else
				result ok "$group: $line"
			fi
		elif [[ ! $line =~ ^([0-9]+\.\.[0-9]+|TAP\ version\ [0-9]+)$ ]]; then
			printf '%s\n' "$line"
		fi
	done
}

# run_tests GROUP NAME COMMAND...: a test program, whose lines are collected.
# Its exit status counts too: 0 with at least one result, 4 for all skipped.
run_tests() {
	local group=$1 name=$2 before after failed status
	shift 2

	before=$(wc -l <"$results")
	"$@" | collect "$group"
	status=${PIPESTATUS[0]}
	after=$(wc -l <"$results")
	failed=$(tail -n +$((before + 1)) "$results" | grep -c '^fail')
	case $status in
	0) [ "$after" -gt "$before" ] || result fail "$group: $name" "ran no test" ;;
	4) [ "$after" -gt "$before" ] || result skip "$group: $name" "skipped itself" ;;
	124) result fail "$group: $name" "timeout" ;;
	125) result fail "$group: $name" "the guest died" ;;
	126) result fail "$group: $name" "the kernel complained" ;;
	*) [ "$failed" -gt 0 ] || result fail "$group: $name" "exit status $status" ;;
	esac
}

# count STATE; list STATE TITLE
count() { grep -c "^$1" "$results"; }
list() {
	[ "$(count "$1")" -gt 0 ] || return 0
	printf '\n%s:\n' "$2"
	sed -n "s/^$1\t\([^\t]*\)\t\(.*\)/  \1: \2/p" "$results" | sed 's/: $//'
}

# results_end: prints the sum; fails if a test failed or none passed.
results_end() {
	local passed failed skipped

	list skip Skipped
	list fail Failed
	printf '\nTime: %s, logs: %s\n' "$(elapsed $((SECONDS - results_start)))" "$logs"
	passed=$(count ok) failed=$(count fail) skipped=$(count skip)
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
