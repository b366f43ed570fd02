#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Conservation: of many numbered packets that go through a qdisc, each one is
# delivered once or is in a counter, and nothing of them stays in memory.
#
# The drawing is in imq_lib.sh (topology). Datagrams of both families go from H1
# to W, and R sends them through imq0 when it has received them.

. "$(dirname "$0")/imq_lib.sh"

N=$(amount 20000 1000000)

# many: N datagrams in four flows; a line for each. Each has a processor of its own to
# send on, if there are so many: a sender that moves may overtake itself, on a veth.
many() {
	local flow name i=0

	for flow in "id=a,dst=198.51.100.2,port=5001" "id=b,dst=2001:db8:f::2,port=5002" \
		"id=c,dst=198.51.100.2,port=5003,tos=40" \
		"id=d,dst=2001:db8:f::2,port=5004,size=700"; do
		background "many$i" taskset -c $((i % $(nproc))) "$imq_dir/imq_flood.py" \
			--idle 300 "$flow,from=$H1,to=$W,window=250,count=$((N / 4))"
		i=$((i + 1))
	done
	for name in many0 many1 many2 many3; do
		wait_for 600 gone "$(cat "$imq_tmp/pid.$name")" || fail "$name does not end"
		background_end "$name"
	done
}

qdisc() {
	[ "$1" = multiq ] || have_sch "$@"
	case $1 in
	multiq)
		r ip link del imq0
		r ip link add imq0 numtxqueues 4 type imq
		r ip link set imq0 up
		;;
	esac
	r tc qdisc add dev imq0 root handle 1: "$@" || skip "the kernel has no qdisc $1"
	case $1 in
	htb)
		r tc class add dev imq0 parent 1: classid 1:1 htb rate 500mbit
		r tc class add dev imq0 parent 1: classid 1:2 htb rate 500mbit
		r tc filter add dev imq0 parent 1: protocol ipv6 u32 match u32 0 0 flowid 1:2
		;;
	esac
}

# conserved "DROPS DUPLICATES LATE" QDISC [ARG...]: each is no, some, or maybe:
# does the qdisc cause any?
conserved() {
	local expected out drops
	read -ra expected <<<"$1"
	shift

	have taskset
	kept_mark
	topology
	neighbours
	shape_in lan1 udp 0
	qdisc "$@"
	out=$(many)
	if [ "${expected[1]}" = no ]; then
		accounted "$R" imq0 "$out"
	else
		accounted "$R" imq0 "$out" "dup=$N"
	fi
	drops=$(qdisc_drops "$R" imq0)
	expect "dropped" "${expected[0]}" "$drops"
	expect "duplicates" "${expected[1]}" "$(total dup "$out")"
	expect "late" "${expected[2]}" "$(total late "$out")"
	equal "entered" "$(entered "$R" imq0)" "$N"
	no_other_counter "$R" imq0
	imq_clean
	kept_check "$IMQ_MOST"
}

# expect WHAT no|some|maybe COUNT
expect() {
	case $2 in
	no) equal "$1" "$3" 0 ;;
	some) within "$1" "$3" 1 "$N" ;;
	maybe) say "$1: $3" ;;
	*) fail "expect: $2" ;;
	esac
}

# More than goes through, from many sockets: most is dropped, and counted, and
# while that lasts no more memory is used than the qdisc holds.
overload() {
	local out limit=2000 rate

	rate=$((1000 / $(slowly 1)))kbit
	have_sch tbf rate "$rate" burst 3000 limit 1000000
	kept_mark
	topology
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root handle 1: tbf rate "$rate" burst 3000 limit 100000000
	r tc qdisc add dev imq0 parent 1: handle 2: pfifo limit "$limit"
	flood_load "from=$H1,to=$W,dst=198.51.100.2,count=$N,window=0,size=50,renew=50"
	wait_for 60 has_entered "$R" imq0 $((N / 2))
	# KASAN keeps those of dropped packets for a while.
	wait_for 10 no_more skbuff_ext_cache $((limit + IMQ_MOST)) ||
		fail "extensions under load: $(objects skbuff_ext_cache)"
	wait_for 300 load_is_done || fail "the load does not end"
	out=$(udp_load_end)
	accounted "$R" imq0 "$out"
	within "dropped" "$(qdisc_drops "$R" imq0)" $((N / 2)) "$N"
	imq_clean
	kept_check "$IMQ_MOST"
}

has_entered() {
	[ "$(entered "$1" "$2")" -ge "$3" ]
}

imq_begin
imq_test "F13 pfifo conserves" conserved "no no no" pfifo limit 1000
imq_test "F13 htb conserves" conserved "no no no" htb default 1
imq_test "F13 fq_codel conserves" conserved "no no no" fq_codel
imq_test "F13 fq conserves" conserved "no no no" fq
imq_test "F13 sfq conserves" conserved "maybe no maybe" sfq
imq_test "F13 cake conserves" conserved "maybe no no" cake bandwidth 500mbit
imq_test "F13 multiq conserves" conserved "no no no" multiq
imq_test "F13 netem conserves, delay" conserved "no no no" netem delay 5ms limit 10000
imq_test "F13 netem conserves, reorder" conserved "no no some" \
	netem delay 5ms reorder 50% limit 10000
imq_test "F13 netem conserves, duplicate" conserved "no some maybe" \
	netem delay 1ms duplicate 30% limit 10000
imq_test "F13 netem conserves, loss" conserved "some no no" netem loss 10% limit 10000
imq_test "F13 netem conserves, all at once" conserved "some some maybe" \
	netem delay 5ms 3ms loss 10% duplicate 20% reorder 20% limit 10000
imq_test "F13 a full netem conserves" conserved "some no no" netem delay 3ms limit 50
imq_test "F12 overload: drops counted, memory flat" overload
imq_end
