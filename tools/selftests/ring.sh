#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Between the qdisc and the hooks: packets that waited go on from the device's
# NAPI, and a burst does not overflow its ring.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

tracing=/sys/kernel/tracing

# No lock of a transmission may be held when receiving goes on: none of its
# functions is on the stack.
napi() {
	local reinject=$tracing/events/imq/imq_reinject stacks

	have_sch netem delay 1ms
	[ -e "$reinject/trigger" ] || skip "the kernel has no tracing"
	topology
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root netem delay 3ms
	echo >"$tracing/trace"
	echo stacktrace >"$reinject/trigger" || skip "the kernel traces no stacks"
	udp "from=$H1,to=$W,dst=198.51.100.2,count=20" >/dev/null
	echo '!stacktrace' >"$reinject/trigger"
	stacks=$(cat "$tracing/trace")
	echo >"$tracing/trace"
	say "$stacks"
	grep -q '^ => ' <<<"$stacks" || skip "the kernel's stack traces are empty"
	within "packets that went on from the NAPI" \
		"$(grep -c '^ => imq_poll' <<<"$stacks" || true)" 1 1000
	equal "packets that went on within a transmission" \
		"$(grep -c '^ => imq_xmit' <<<"$stacks" || true)" 0
}

# The ring takes 64 at a time; the tx queue stops, and goes on.
burst() {
	local out

	have_sch netem delay 1ms
	topology
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root netem slot 200ms 200ms limit 10000 ||
		skip "netem has no slots"
	out=$(udp --idle 700 "from=$H1,to=$W,dst=198.51.100.2,count=1000,gap=0")
	equal "delivered" "$(field unique "$out")" 1000
	within "times the ring was full" "$(stat_of "$R" imq0 ring_full)" 1 1000
	equal "out of order" "$(field late "$out")" 0
	no_other_counter "$R" imq0
}

imq_begin
imq_test "packets that waited go on from the NAPI" napi
imq_test "a burst fills the ring, and none is lost" burst
imq_end
