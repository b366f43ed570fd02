#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/wall-guest.sh [-r ROUNDS] [-w "WHAT..."] [CASE...]
#
# Runs in a guest (User Mode Linux, real time; see quality.sh): how fast a router
# forwards, without a shaper, with IFB, with IMQ.
#
#   W ── wan ── router ── lan1 ── H1        (imq_lib.sh draws it)
#         │
#         ├─ ifb: mirred on ingress of wan ── ifb0
#         └─ imq: nft, prerouting ─────────── imq0
#
# W sends: bulk TCP in GSO packets, small datagrams as fast as it can, requests (rr)
# that H1 answers one at a time (the answers are not shaped); WHAT is some of "bulk
# small rr". CASE is none, ifb, imq, or
# one of the latter two with a qdisc other than pfifo: ifb:fq_codel. All cases take
# turns, in ROUNDS (default 25) rounds, in another order each time. Each figure is
# the median of all rounds, and comparisons are medians of what was compared within
# a round: so what disturbs a round matters little. How well a comparison is known
# is given by the interval that has the true median in 95 % of all cases.
#
# Prints figures as imq_lib.sh does, to $IMQ_FIGURES too. Limits: bulk TCP through
# IMQ is 0.95 times that without a shaper, or more, and no less than through IFB.
set -euo pipefail

rounds=25 measured='bulk small rr'
usage() {
	sed -n '3,/^set /s/^# \{0,1\}//p' "$0" >&2
	exit 2
}
while getopts r:w: option; do
	case $option in
	r) rounds=$OPTARG ;;
	w) measured=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
for what in $measured; do
	case $what in bulk|small|rr) ;; *) usage ;; esac
done
[ $# -gt 0 ] || set -- none ifb imq ifb:fq_codel imq:fq_codel
cases=("$@")

# shellcheck source=../selftests/imq_lib.sh
. "$(dirname "$0")/../selftests/imq_lib.sh"
wall=$(dirname "$0")/wall.py

BULK=$(amount 50000000 1000000000)
SMALL=$(amount 10000 100000)
REQUESTS=$(amount 500 2000)
MIN_NONE=0.95
MIN_IFB=1.0

set_case() {
	local dev=$1 qdisc=pfifo

	r tc qdisc del dev wan clsact 2>/dev/null || true
	r nft delete table inet shape_prerouting 2>/dev/null || true
	r ip link del ifb0 2>/dev/null || true
	case $1 in
	none) return ;;
	*:*) qdisc=${1#*:} dev=${1%%:*} ;;
	esac
	if [ "$dev" = ifb ]; then
		r ip link add ifb0 type ifb
		r ip link set ifb0 up
		r tc qdisc add dev wan clsact
		r tc filter add dev wan ingress protocol ip matchall \
			action mirred egress redirect dev ifb0
	else
		shape_in wan tcp 0
		shape_in wan udp 0
	fi
	r tc qdisc replace dev "${dev}0" root "$qdisc" limit 10000
}

# measure WHAT AMOUNT CASE: a line with the ns it took into $imq_tmp/m.WHAT.CASE
measure() {
	local before out

	before=$(received)
	out=$("$wall" "$1" "$W" "$H1" 10.0.1.2 "$2")
	equal "$3, $1: done" "$(field "done" "$out")" "$2"
	[ "$1" != small ] || within "$3: datagrams that have come" $(($(received) - before)) \
		"$2" $(($2 + 20))
	field ns "$out" >>"$imq_tmp/m.$1.$3"
}

received() {
	h1 cat /sys/class/net/eth0/statistics/rx_packets
}

rounds_of_all() {
	local i round case what

	topology
	for ((round = 0; round <= rounds; round++)); do
		for ((i = 0; i < ${#cases[@]}; i++)); do
			case=${cases[(i + round) % ${#cases[@]}]}
			set_case "$case"
			for what in $measured; do
				case $what in
				bulk) measure bulk "$BULK" "$case" ;;
				small) measure small "$SMALL" "$case" ;;
				rr) measure rr "$REQUESTS" "$case" ;;
				esac
			done
		done
		# The first one warms caches.
		[ "$round" -gt 0 ] || rm -f "$imq_tmp"/m.*
	done
}

# median of the numbers in stdin
median() {
	sort -g | awk '{ v[NR] = $1 } END { printf "%.3f\n", v[int((NR + 1) / 2)] }'
}

# value WHAT CASE: median, in the unit of figures
value() {
	awk -v what="$1" -v bulk="$BULK" -v n_small="$SMALL" -v n_rr="$REQUESTS" '{
		if (what == "bulk")
			print bulk * 8e3 / $1
		else if (what == "small")
			print n_small * 1e6 / $1
		else
			print $1 / n_rr / 1e3
	}' "$imq_tmp/m.$1.$2" | median
}

unit() {
	case $1 in bulk) echo Mbit/s ;; small) echo 1000/s ;; rr) echo us ;; esac
}

# ratio WHAT CASE OTHER: how many times as fast as the other, in a round: the median,
# and what is as far from both ends as the true one is in 95 % of all cases (normal
# approximation of the binomial distribution)
ratio() {
	paste "$imq_tmp/m.$1.$3" "$imq_tmp/m.$1.$2" | awk '{ print $1 / $2 }' | sort -g | awk '
		{ v[NR] = $1 }
		END {
			k = int((NR - 1.96 * sqrt(NR)) / 2)
			k = k < 1 ? 1 : k
			printf "%.3f %.3f %.3f\n", v[int((NR + 1) / 2)], v[k], v[NR + 1 - k]
		}'
}

values() {
	local what case

	rounds_of_all
	for what in $measured; do
		for case in "${cases[@]}"; do
			figure "$what, $case" "$(value "$what" "$case")" "$(unit "$what")"
		done
	done
}

# faster WHAT CASE OTHER [LIMIT]
faster() {
	local limit=() name="$1: $2, times as fast as $3" median least most

	[ -s "$imq_tmp/m.$1.$2" ] || skip "not measured"
	[ -s "$imq_tmp/m.$1.$3" ] || skip "not measured"
	[ -z "${4:-}" ] || limit=(">=" "$4")
	read -r median least most < <(ratio "$1" "$2" "$3")
	figure "$name, at least" "$least" ""
	figure "$name, at most" "$most" ""
	figure "$name" "$median" "" "${limit[@]}"
}

imq_keep=1
imq_begin
have nft
imq_test "traffic without a shaper, through IFB, through IMQ" values
imq_test "bulk TCP: imq and none" faster bulk imq none "$MIN_NONE"
imq_test "bulk TCP: imq and ifb" faster bulk imq ifb "$MIN_IFB"
for what in bulk small rr; do
	[ $what = bulk ] || imq_test "$what: imq and none" faster $what imq none
	[ $what = bulk ] || imq_test "$what: imq and ifb" faster $what imq ifb
	imq_test "$what, fq_codel: imq and ifb" faster $what imq:fq_codel ifb:fq_codel
done
imq_end
