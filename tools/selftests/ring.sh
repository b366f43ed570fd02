#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Between the qdisc and the hooks: packets that waited go on from the device's
# NAPI, a burst does not overflow its ring, and a flow that changes its processor
# does not overtake itself.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

tracing=/sys/kernel/tracing
reinject=$tracing/events/imq/imq_reinject

# No lock of a transmission may be held when receiving goes on: none of its
# functions is on the stack.
napi() {
	local stacks

	have_sch netem delay 1ms
	[ -e "$reinject/trigger" ] || skip "the kernel has no tracing"
	topology
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root netem delay 3ms
	echo >"$tracing/trace"
	echo stacktrace >"$reinject/trigger" || skip "the kernel traces no stacks"
	trap no_stacks EXIT
	udp "from=$H1,to=$W,dst=198.51.100.2,count=20" >/dev/null
	no_stacks
	trap - EXIT
	stacks=$(cat "$tracing/trace")
	echo >"$tracing/trace"
	say "$stacks"
	grep -q '^ => ' <<<"$stacks" || skip "the kernel's stack traces are empty"
	within "packets that went on from the NAPI" \
		"$(grep -c '^ => imq_poll' <<<"$stacks" || true)" 1 1000
	equal "packets that went on within a transmission" \
		"$(grep -c '^ => imq_xmit' <<<"$stacks" || true)" 0
}

no_stacks() {
	echo '!stacktrace' >"$reinject/trigger"
}

# one_napi SENDER DEV NETNS RECEIVER: what comes in there is taken by one NAPI. Else a
# veth puts it into the queue of the processor that it comes from, and what comes from
# another one may overtake it, without imq too. Not with TSO: veth bypasses it then.
one_napi() {
	on "$1" ethtool -K "$2" tso off >/dev/null
	on "$3" ethtool -K "$4" gro on >/dev/null
}

# topology_in_order: nothing but imq between H1 and W can change the order of packets.
topology_in_order() {
	topology
	one_napi "$H1" eth0 "$R" lan1
	one_napi "$R" wan "$W" eth0
	neighbours
}

# The ring takes 64 at a time; the tx queue stops, and goes on.
burst() {
	local out

	have_sch netem delay 1ms
	topology_in_order
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root netem slot 200ms 200ms limit 10000 ||
		skip "netem has no slots"
	out=$(udp --idle 700 "from=$H1,to=$W,dst=198.51.100.2,count=1000,gap=0")
	equal "delivered" "$(field unique "$out")" 1000
	within "times the ring was full" "$(stat_of "$R" imq0 ring_full)" 1 1000
	equal "out of order" "$(field late "$out")" 0
	no_other_counter "$R" imq0
}

# napi_thread DEV: the thread that receives on R's DEV; it runs where it is put.
napi_thread() {
	on "$R" sh -c "echo 1 >/sys/class/net/$1/threaded" || skip "no threaded NAPI"
	grep -l "^napi/$1-" /proc/[0-9]*/comm | sed 's|/proc/\([0-9]*\)/.*|\1|'
}

# Flows come in on two processors in turns, while some of each wait.
moved() {
	local out='' thread gone i

	have nft taskset
	have_sch htb
	[ "$(nproc)" -gt 1 ] || skip "one processor"
	topology_in_order
	thread=$(napi_thread lan1)
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 root handle 1: htb default 1
	r tc class add dev imq0 parent 1: classid 1:1 htb rate 100kbit burst 3000
	r nft -f - <<-EOT
	table ip moved {
		counter in0 { }
		counter in1 { }
		counter followed { }
		chain before {
			type filter hook prerouting priority -110
			meta l4proto udp meta cpu 0 meta mark set 0x10 counter name in0
			meta l4proto udp meta cpu 1 meta mark set 0x11 counter name in1
		}
		chain behind {
			type filter hook prerouting priority -90
			meta mark 0x10 meta cpu != 0 counter name followed
			meta mark 0x11 meta cpu != 1 counter name followed
		}
	}
	EOT
	# Packets take both ways on, later and at once: it is moved with both.
	background mover sh -c "n=0; trap 'echo moves=\$n; exit' TERM
		while :; do
			taskset -pc \$((n % 2)) $thread >/dev/null
			case \$((n % 4)) in 0) rate=100kbit ;; 2) rate=10mbit ;; esac
			tc -n $R class change dev imq0 parent 1: classid 1:1 htb rate \$rate burst 3000
			n=\$((n + 1)); sleep 0.1
		done"
	# Two windows, if one is given up too early, fit into a veth's ring and the
	# socket's buffer. On a busy machine, none of a run may have been moved while
	# others waited.
	for ((i = 0; i < 5; i++)); do
		out+=$(flood --idle 1000 \
			"from=$H1,to=$W,dst=198.51.100.2,count=$(amount 10000 100000),size=20,window=100")$'\n'
		[ "$(moved_counter followed)" -eq 0 ] || break
	done
	note "$(background_end mover), received by each: $(moved_counter in0)" \
		"$(moved_counter in1), went on at the other one: $(moved_counter followed)"
	within "packets of processor 0" "$(moved_counter in0)" 1000 1000000
	within "packets of processor 1" "$(moved_counter in1)" 1000 1000000
	# The ring of the veth may be too short when the thread is waited for.
	gone=$(($(total sent "$out") - $(moved_counter in0) - $(moved_counter in1)))
	accounted "$R" imq0 "$out" hooks="$gone"
	equal "out of order" "$(total late "$out")" 0
	within "packets that had to follow others" "$(moved_counter followed)" 1 1000000
}

moved_counter() { nft_counter "$R" ip moved "$1"; }

imq_begin
imq_test "packets that waited go on from the NAPI" napi
imq_test "a burst fills the ring, and none is lost" burst
imq_test "a flow that changes its processor keeps its order" moved
imq_end
