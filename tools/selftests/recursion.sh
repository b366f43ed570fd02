#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets that go through imq devices again and again: by rules, in tunnels, in
# loops. Each pass happens once, all end, and the stack doesn't overflow: the
# last test prints the deepest one (with CONFIG_STACK_TRACER or, less exactly,
# CONFIG_DEBUG_STACK_USAGE, for tasks; with CONFIG_KPROBE_EVENTS for softirqs).
# A kernel without KASAN and the like gives the figures that count.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

COUNT=$(amount 100 2000)
# shellcheck disable=SC2034 # of imq_lib.sh: the stack's own limit, see tunnel_loop
imq_expected='Dead loop on virtual device loop[ab]'

# wait_in direct|waiting|mixed: what the packets meet in imq0 and imq1
wait_in() {
	case $1 in
	direct) ;;
	waiting)
		r tc qdisc replace dev imq0 root netem delay 1ms limit 100000
		r tc qdisc replace dev imq1 root netem delay 1ms limit 100000
		;;
	mixed) r tc qdisc replace dev imq1 root netem delay 1ms limit 100000 ;;
	esac
}

# three HOOK A B MATCH...: three chains of the hook, to imq A, B, and A again
three() {
	local hook=$1 a=$2 b=$3
	shift 3

	cat <<-EOT
	chain ${hook}_1 { type filter hook $hook priority -152; $* imq todev $a; }
	chain ${hook}_2 { type filter hook $hook priority -151; $* imq todev $b; }
	chain ${hook}_3 { type filter hook $hook priority -150; $* imq todev $a; }
	EOT
}

passed() {
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" "$1 $1"
	equal "imq1: entered, left" "$(entered "$R" imq1) $(left "$R" imq1)" "$2 $2"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

rules_forward() {
	local out

	have_nft
	topology
	wait_in "$1"
	{
		echo "table inet t {"
		three prerouting 0 1 "udp dport 5000"
		three forward 1 0 "udp dport 5000"
		three postrouting 0 1 "udp dport 5000"
		echo "}"
	} | r nft -f -
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT")
	accounted "$R" "" "$out" >/dev/null
	equal "delivered" "$(field got "$out")" "$COUNT"
	passed $((5 * COUNT)) $((4 * COUNT))
}

rules_local() {
	local out

	have_nft
	topology
	wait_in "$1"
	{
		echo "table inet t {"
		three output 0 1 "udp dport 5000"
		three postrouting 1 0 "udp dport 5000"
		three prerouting 0 1 "udp sport 5000"
		three input 1 0 "udp sport 5000"
		echo "}"
	} | r nft -f -
	out=$(udp "from=$R,to=$W,dst=198.51.100.2,count=$COUNT,echo=1")
	equal "echoes" "$(field echoed "$out")" "$COUNT"
	passed $((6 * COUNT)) $((6 * COUNT))
	# On lo, it is all one call if nothing waits.
	{
		echo "flush ruleset; table inet t {"
		three output 0 1 "udp dport 5000"
		three postrouting 1 0 "udp dport 5000"
		three prerouting 0 1 "udp dport 5000"
		three input 1 0 "udp dport 5000"
		echo "}"
	} | r nft -f -
	out=$(udp "from=$R,dst=127.0.0.1,count=$COUNT")
	equal "delivered by lo" "$(field got "$out")" "$COUNT"
	passed $((12 * COUNT)) $((12 * COUNT))
}

# nested LEVELS: tunnels in each other between R and W, 10.1.N.1 and 10.1.N.2
nested() {
	local n kind ns r_end=198.51.100.1 w_end=198.51.100.2

	# It would have things to say through them.
	for ns in "$R" "$W"; do
		on "$ns" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
	done
	for ((n = 1; n <= $1; n++)); do
		kind=ipip
		[ $((n % 2)) -eq 1 ] || kind=gre
		r ip link add "t$n" type "$kind" local "$r_end" remote "$w_end" ||
			skip "the kernel has no $kind"
		w ip link add "t$n" type "$kind" local "$w_end" remote "$r_end"
		r_end=10.1.$n.1 w_end=10.1.$n.2
		r ip link set "t$n" up
		w ip link set "t$n" up
		r ip address add "$r_end/24" dev "t$n"
		w ip address add "$w_end/24" dev "t$n"
		imq_sysctl "$R"
		imq_sysctl "$W"
	done
}

# All packets between R and W through imq0, and so each tunnel's, both ways
all_to_imq0() {
	r nft -f - <<-EOT
	table ip t {
		chain post {
			type filter hook postrouting priority 99
			ip protocol { ipencap, gre, udp, tcp } imq todev 0
		}
		chain pre {
			type filter hook prerouting priority -99
			ip protocol { ipencap, gre, udp, tcp } imq todev 0
		}
	}
	EOT
}

# Three are what the stack allows in one call (IP_TUNNEL_RECURSION_LIMIT): a packet
# sent while one is sent, twice for each tunnel.
tunnels() {
	local levels=3 out

	have_nft
	topology
	nested "$levels"
	all_to_imq0
	wait_in "$1"
	out=$(udp "from=$R,to=$W,dst=10.1.$levels.2,count=$COUNT,echo=1")
	equal "echoes" "$(field echoed "$out")" "$COUNT"
	passed $((2 * (levels + 1) * COUNT)) 0
}

# Ten are more than that. With a queue in between, each of them is a call of its own.
tunnels_ten() {
	local out

	have_nft
	topology
	nested 10
	all_to_imq0
	wait_in waiting
	out=$(udp "from=$R,to=$W,dst=10.1.10.2,count=$COUNT")
	# W has no queue on its way in, and no need for one.
	equal "delivered" "$(field got "$out")" "$COUNT"
	passed $((11 * COUNT)) 0
}

# Two tunnels, each with the other as its way: the stack ends that when it is one
# call. Waiting in between, it ends by the MTU, as the packet grows. Then the tunnels
# know, and fragment those that come after it: fragments of fragments would go round
# with no end but the limit of the qdisc. So it is one packet then.
tunnel_loop() {
	local rounds count=$COUNT

	[ "$1" = direct ] || count=1

	have_nft
	topology
	r ip link add loopa type ipip local 198.51.100.1 remote 203.0.113.1 ||
		skip "the kernel has no ipip"
	r ip link add loopb type ipip local 198.51.100.1 remote 203.0.113.2
	r ip link set loopa up
	r ip link set loopb up
	r ip route add 203.0.113.1 dev loopb
	r ip route add 203.0.113.2 dev loopa
	all_to_imq0
	wait_in "$1"
	r python3 - "$count" <<-'EOT'
	import socket, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	for _ in range(int(sys.argv[1])):
	    try:
	        s.sendto(bytes(100), ("203.0.113.1", 5000))
	    except OSError:
	        pass
	EOT
	wait_for 10 settled
	rounds=$(($(entered "$R" imq0) / count))
	case $1 in
	direct) within "rounds" "$rounds" 1 12 ;;
	waiting) within "rounds" "$rounds" 1 80 ;;
	esac
	note "ended after $rounds rounds"
	no_other_counter "$R" imq0
}

# None is in imq0, or between two rounds.
settled() {
	local n

	n=$(entered "$R" imq0) &&
		[ "$(left "$R" imq0)" = "$n" ] && sleep 0.1 && [ "$(entered "$R" imq0)" = "$n" ]
}

# R and W send a packet to each other until its TTL is used up.
routing_loop() {
	local out

	have_nft
	topology
	r ip route add 203.0.113.0/24 via 198.51.100.2
	w ip route add 203.0.113.0/24 via 198.51.100.1
	r nft 'table ip t { chain c { type filter hook prerouting priority 0
		udp dport 5000 imq todev 0; }; }'
	wait_in "$1"
	out=$(udp --idle 500 "from=$H1,to=$W,dst=203.0.113.9,at=198.51.100.2,count=$COUNT")
	equal "sent" "$(field sent "$out")" "$COUNT"
	wait_for 10 all_left "$R" imq0
	# With TTL 64, 62, ... 2
	passed $((32 * COUNT)) 0
}

# In a device already, a packet can't enter another one: both would want to have
# it go on.
egress() {
	local out dev other

	have_nft
	topology
	shape_in lan1 udp 0
	shape_out wan udp 1
	for dev in 0 1; do
		other=$((1 - dev))
		[ "$2" = other ] || other=$dev
		r nft "table netdev t$dev { chain c { type filter hook egress \
			device imq$dev priority 0; imq todev $other; }; }" ||
			skip "the kernel has no egress hook"
	done
	wait_in "$1"
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT")
	equal "delivered" "$(field got "$out")" "$COUNT"
	for dev in imq0 imq1; do
		equal "$dev: entered, left" \
			"$(entered "$R" "$dev") $(left "$R" "$dev")" "$COUNT $COUNT"
		equal "$dev: passed as they were" "$(stat_of "$R" "$dev" bypass_unfit)" "$COUNT"
		equal "$dev: foreign" "$(stat_of "$R" "$dev" foreign)" 0
	done
}

# The stack -----------------------------------------------------------------

TRACE=/sys/kernel/tracing
# Called deep down: on entry, so much of the stack was in use.
PROBES="nf_imq_queue imq_xmit __dev_queue_xmit dev_hard_start_xmit nft_do_chain
	kmem_cache_alloc_noprof kmem_cache_alloc_node_noprof __kmalloc_noprof
	__kmalloc_node_track_caller_noprof enqueue_to_backlog netif_rx
	sock_def_readable try_to_wake_up hrtimer_start_range_ns mod_timer
	tcp_v4_rcv udp_queue_rcv_skb kfree_skb_reason sk_skb_reason_drop consume_skb"

option() {
	zcat /proc/config.gz 2>/dev/null | sed -n "s/^CONFIG_$1=//p"
}

# Bytes of a stack of this kernel; of softirqs' stack as well, if they have one.
stack_size() {
	local order

	if [ "$(option X86_64)" = y ] && [ -z "$(option UML)" ]; then
		echo $((16384 << ($(option KASAN | grep -c y || true) > 0)))
		return
	fi
	order=$(option KERNEL_STACK_ORDER)
	[ -n "$order" ] || skip "size of the stack unknown"
	echo $((4096 << order))
}

probes_on() {
	local probe

	[ -w "$TRACE/kprobe_events" ] || return 0
	mkdir -p "$TRACE/instances/imq"
	# shellcheck disable=SC2016 # for the kernel
	echo 'p:imqstack/net_rx_action net_rx_action sp=$stack:x64' \
		>>"$TRACE/kprobe_events" || return 0
	for probe in $PROBES; do
		echo "p:imqstack/$probe $probe sp=\$stack:x64" \
			>>"$TRACE/kprobe_events" || true
	done
	echo 65536 >"$TRACE/instances/imq/buffer_size_kb"
	echo 1 >"$TRACE/instances/imq/events/imqstack/enable"
}

probes_off() {
	[ -d "$TRACE/instances/imq" ] || return 0
	echo 0 >"$TRACE/instances/imq/events/imqstack/enable"
	cat "$TRACE/instances/imq/trace" >"$imq_tmp/trace"
	rmdir "$TRACE/instances/imq"
	echo >"$TRACE/kprobe_events"
}

# tracers_off: also where the load has failed.
tracers_off() {
	probes_off
	[ ! -e /proc/sys/kernel/stack_tracer_enabled ] ||
		echo 0 >/proc/sys/kernel/stack_tracer_enabled
}

# deepest_softirq SIZE: "BYTES FUNCTION" above net_rx_action() on its stack
deepest_softirq() {
	python3 - "$imq_tmp/trace" "$1" <<-'EOT'
	import re, sys
	size = int(sys.argv[2])
	base, deepest = {}, (0, "-")
	line_is = re.compile(r"\[(\d+)\].* (\w+): \(.*\) sp=0x([0-9a-f]+)")
	for line in open(sys.argv[1]):
	    m = line_is.search(line)
	    if not m:
	        continue
	    cpu, name, sp = m[1], m[2], int(m[3], 16)
	    if name == "net_rx_action":
	        base[cpu] = sp
	    elif cpu in base and 0 < base[cpu] - sp < size:
	        deepest = max(deepest, (base[cpu] - sp, name))
	print(*deepest)
	EOT
}

# load: of all kinds, through as many tunnels as the stack lets nest in one call
load() {
	udp "from=$R,to=$W,dst=10.1.3.2,count=$COUNT,echo=1" \
		"from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT,echo=1" \
		"from=$R,dst=127.0.0.1,port=5002,count=$COUNT" >/dev/null
	tcp "from=$R,to=$W,dst=10.1.3.2,port=6001,bytes=300000" \
		"from=$H1,to=$W,dst=198.51.100.2,port=6002,bytes=300000"
}

# measure NAME: bytes of task and softirq stacks that the load uses, in
# depth_task and depth_softirq
measure() {
	local where

	trap tracers_off EXIT
	echo 0 >"$TRACE/stack_max_size" 2>/dev/null || true
	[ ! -e /proc/sys/kernel/stack_tracer_enabled ] ||
		echo 1 >/proc/sys/kernel/stack_tracer_enabled
	probes_on
	load
	tracers_off
	depth_task=unknown depth_softirq=unknown
	if [ -e /proc/sys/kernel/stack_tracer_enabled ]; then
		depth_task=$(cat "$TRACE/stack_max_size")
		cat "$TRACE/stack_trace" >&3
	fi
	if [ -s "$imq_tmp/trace" ]; then
		read -r depth_softirq where <<<"$(deepest_softirq "$(stack_size)")"
	fi
	note "$1: deepest stack of a task $depth_task, of a softirq $depth_softirq" \
		"(${where:--}) of $(stack_size) bytes"
}

deepest_stack() {
	local size lowest down_task down_softirq

	have_nft
	size=$(stack_size)
	topology
	nested 3
	r tc qdisc add dev imq0 root handle 1: htb default 1
	r tc class add dev imq0 parent 1: classid 1:1 htb rate 10gbit
	r tc qdisc add dev imq0 parent 1:1 cake
	{
		echo "table inet t {"
		three prerouting 0 1 "meta l4proto { ipencap, gre, udp, tcp }"
		three input 0 1 "meta l4proto { ipencap, gre, udp, tcp }"
		three forward 0 1 "meta l4proto { ipencap, gre, udp, tcp }"
		three output 0 1 "meta l4proto { ipencap, gre, udp, tcp }"
		three postrouting 0 1 "meta l4proto { ipencap, gre, udp, tcp }"
		echo "}"
	} | r nft -f -
	r ip link set imq0 down
	r ip link set imq1 down
	measure "imq down"
	down_task=$depth_task down_softirq=$depth_softirq
	r ip link set imq0 up
	r ip link set imq1 up
	measure "imq up"
	within "packets through imq0" "$(left "$R" imq0)" $((20 * COUNT)) 1000000000
	lowest=$(dmesg | sed -n 's/.*greatest stack depth: \([0-9]*\) bytes left/\1/p' | tail -n 1)
	[ -z "$lowest" ] || note "since boot, of a task: $lowest bytes left"
	[ "$depth_task$depth_softirq$lowest" != unknownunknown ] ||
		skip "the kernel does not tell how deep stacks are"
	[ -z "$lowest" ] || within "bytes left to tasks" "$lowest" 4096 "$size"
	for depth in "$depth_task" "$depth_softirq" "$down_task" "$down_softirq"; do
		[ "$depth" = unknown ] ||
			within "bytes left" $((size - depth)) 4096 "$size"
	done
}

imq_begin
for how in direct waiting mixed; do
	imq_test "imq0, imq1, imq0 by rules, forwarded, $how" rules_forward "$how"
	imq_test "imq0, imq1, imq0 by rules, local, $how" rules_local "$how"
done
for how in direct waiting; do
	imq_test "three tunnels in each other, $how" tunnels "$how"
	imq_test "two tunnels in a loop, $how" tunnel_loop "$how"
	imq_test "routers in a loop, $how" routing_loop "$how"
	imq_test "imq at the egress of another imq, $how" egress "$how" other
	imq_test "imq at its own egress, $how" egress "$how" same
done
imq_test "ten tunnels in each other, waiting" tunnels_ten
imq_test "deepest stack" deepest_stack
imq_end
