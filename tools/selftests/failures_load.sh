#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What has gone wrong under load, and when something went away with packets
# queued: devices, qdiscs, interfaces. Each test bears the number of what it is
# about; more of them are in conserve.sh (F12, F13), hooks_once.sh (F21),
# module.sh (F9) and netns.sh (F11).
#
# The drawing is in imq_lib.sh (topology). Most tests send numbered datagrams
# from H1 to W, which R sends through imq0 when it has received them.

. "$(dirname "$0")/imq_lib.sh"

COUNT=200

# begin: with what is there to be compared in the end.
begin() {
	kept_mark
	topology
	steer "$R" all wan lan1
}

finish() {
	imq_clean
	kept_check "$IMQ_MOST"
}

# around HOOK KEY DEV BEFORE BEHIND PROTOCOL: counters "before" and "behind" of
# the packets of the protocol there, in table around_HOOK, which stays.
around() {
	r nft -f - <<-EOT
	table inet around_$1 {
		counter before { }
		counter behind { }
		chain before {
			type filter hook $1 priority $4
			$2 "$3" meta l4proto $6 counter name before
		}
		chain behind {
			type filter hook $1 priority $5
			$2 "$3" meta l4proto $6 counter name behind
		}
	}
	EOT
}

before() { nft_counter "$R" inet "around_$1" before; }
behind() { nft_counter "$R" inet "around_$1" behind; }

# conserved_at HOOK DEV: what came to the hook went on behind it, or is counted;
# whatever interfaces and routes did before and behind.
conserved_at() {
	local drops gone

	wait_for 10 backlog_is "$R" "$2" 0
	drops=$(($(entered "$R" "$2") - $(left "$R" "$2")))
	gone=$(sum_of "$R" "$2" drop_dev drop_hook drop_sock)
	equal "$1: behind $2, and dropped by its qdisc ($drops) or driver ($gone)" \
		$(($(behind "$1") + drops + gone)) "$(before "$1")"
	equal "$2: dropped by the qdisc's own account" "$(qdisc_drops "$R" "$2")" "$drops"
	within "$2: left" "$(left "$R" "$2")" 100 100000000
}

# four [KEY=VALUE...]: in the background, four flows of both families. More of them
# than may wait for a neighbour's address.
four() {
	neighbours
	flood_load --idle 500 \
		"id=a,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=0,$1" \
		"id=b,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=0,$1" \
		"id=c,from=$H1,to=$W,dst=198.51.100.2,port=5003,count=0,$1" \
		"id=d,from=$H1,to=$W,dst=2001:db8:f::2,port=5004,count=0,$1"
}

# passed_all LINES: each that was sent has entered imq0, or passed while it was
# down or had no qdisc. None was dropped but by what was replaced.
passed_all() {
	local account

	account=$(accounted "$R" imq0 "$1" purged=any)
	equal "entered, and passed unshaped" \
		$(($(entered "$R" imq0) + $(field bypassed "$account"))) "$(total sent "$1")"
	note "$(total sent "$1") packets, $account"
}

# One device for what comes in by an interface and what goes out, TCP both ways.
both_directions() {
	local out id flows=() bytes drops

	have_sch htb
	bytes=$(amount 2000000 60000000)
	begin
	have nft
	shape_in wan tcp 0
	shape_out wan tcp 0
	around prerouting iifname wan -110 -90 tcp
	around postrouting oifname wan 90 105 tcp
	r tc qdisc add dev imq0 root handle 1: htb default 2
	r tc class add dev imq0 parent 1: classid 1:1 htb rate 1gbit
	r tc class add dev imq0 parent 1:1 classid 1:2 htb rate 100mbit ceil 1gbit
	r tc class add dev imq0 parent 1:1 classid 1:3 htb rate 100mbit ceil 1gbit
	r tc filter add dev imq0 parent 1: protocol ip u32 \
		match ip dst 198.51.100.2 flowid 1:3
	for id in 1 2 3 4 5 6; do
		flows+=("id=u$id,from=$H1,to=$W,dst=198.51.100.2,port=500$id,bytes=$bytes")
		flows+=("id=d$id,from=$H1,to=$W,dst=2001:db8:f::2,port=501$id,bytes=$bytes,reverse=1")
	done
	out=$(tcp --time 120 "${flows[@]}")
	equal "connections that are intact" "$(grep -c intact=yes <<<"$out" || true)" 12
	wait_for 10 backlog_is "$R" imq0 0
	equal "entered" "$(entered "$R" imq0)" $(($(before prerouting) + $(before postrouting)))
	equal "left" "$(left "$R" imq0)" $(($(behind prerouting) + $(behind postrouting)))
	drops=$(($(entered "$R" imq0) - $(left "$R" imq0)))
	equal "dropped by htb" "$(qdisc_drops "$R" imq0)" "$drops"
	within "packets in class 1:2" "$(class_packets "$R" imq0 1:2)" 100 100000000
	within "packets in class 1:3" "$(class_packets "$R" imq0 1:3)" 100 100000000
	no_other_counter "$R" imq0
	note "12 connections, $(total bytes "$out") bytes," \
		"$(entered "$R" imq0) packets, $drops dropped"
	finish
}

# Interfaces, the router's own, are taken down and up.
interfaces_down() {
	local out i ns lines

	have nft
	have_sch netem delay 1ms
	begin
	shape_in lan1 udp 0
	shape_out wan udp 1
	around prerouting iifname lan1 -110 -90 udp
	around postrouting oifname wan 90 105 udp
	r tc qdisc add dev imq0 root handle 1: netem delay 2ms limit 10000
	r tc qdisc add dev imq1 root handle 1: netem delay 2ms limit 10000
	four gap=200
	for ((i = 0; i < $(amount 4 100); i++)); do
		r ip link set wan down
		r ip link set lan1 down
		r ip link set lan1 up
		r ip link set wan up
		for ns in "$W" "$R" "$H1"; do
			wait_for 5 links_ready "$ns"
		done
		sleep 0.1
	done
	lines=$(udp_load_end)
	equal "duplicates, damaged" "$(total dup "$lines") $(total bad "$lines")" "0 0"
	for i in a b; do
		within "$i: delivered" "$(field unique "$(flow "$i" "$lines")")" 100 10000000
	done
	conserved_at prerouting imq0
	conserved_at postrouting imq1
	out=$(udp --idle 700 "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT" \
		"from=$H1,to=$W,dst=2001:db8:f::2,count=$COUNT,port=5007")
	equal "delivered afterwards" "$(total unique "$out")" $((COUNT * 2))
	note "$(total sent "$lines") packets, $(total lost "$lines") lost to interfaces"
	finish
}

# The device is taken down and up. Those in its qdisc go then.
down_and_up() {
	local out i

	have_sch netem delay 1ms
	begin
	shape_in lan1 udp 0
	[ "$1" = direct ] || r tc qdisc add dev imq0 root handle 1: netem delay 5ms limit 10000
	four gap=200
	for ((i = 0; i < $(amount 25 500); i++)); do
		r ip link set imq0 down
		sleep 0.02
		r ip link set imq0 up
		sleep 0.03
	done
	out=$(udp_load_end)
	passed_all "$out"
	within "passed while down" "$(stat_of "$R" imq0 bypass_down)" 1 10000000
	within "left" "$(left "$R" imq0)" 1 10000000
	finish
}

# All that tc makes is added, replaced, deleted.
qdisc_loop() {
	local out i kind

	for kind in fq_codel netem sfq htb; do
		have_sch "$kind"
	done
	begin
	shape_in lan1 udp 0
	four gap=200
	for ((i = 0; i < $(amount 12 250); i++)); do
		for kind in pfifo fq_codel "netem delay 1ms" sfq; do
			# shellcheck disable=SC2086 # a list of words
			r tc qdisc replace dev imq0 root $kind
		done
		r tc qdisc replace dev imq0 root handle 1: htb default 1
		r tc class add dev imq0 parent 1: classid 1:1 htb rate 1gbit
		r tc class add dev imq0 parent 1: classid 1:2 htb rate 5mbit
		r tc filter add dev imq0 parent 1: protocol ip prio 1 u32 \
			match ip dst 198.51.100.2 flowid 1:2
		r tc qdisc add dev imq0 parent 1:1 handle 11: pfifo
		r tc class change dev imq0 parent 1: classid 1:2 htb rate 1gbit
		r tc filter del dev imq0 parent 1: prio 1
		r tc class del dev imq0 classid 1:2
		r tc qdisc del dev imq0 root
	done
	r tc qdisc add dev imq0 root pfifo
	out=$(udp_load_end)
	passed_all "$out"
	within "delivered" "$(total got "$out")" $(($(total sent "$out") / 2)) 10000000
	finish
}

# deleted WHICH: a device goes with COUNT packets queued: imq0, or the one that
# they came from, or the one that they are to be sent on.
deleted() {
	local out delay

	have_sch netem delay 1ms
	begin
	case $1 in
	wan) shape_out wan udp 0 ;;
	*) shape_in lan1 udp 0 ;;
	esac
	delay=$(slowly 1500)
	r tc qdisc add dev imq0 root handle 1: netem delay "${delay}ms" limit 10000
	udp_load --idle $((delay + 1000)) \
		"from=$H1,to=$W,dst=198.51.100.2,count=$COUNT,gap=0"
	wait_for 5 backlog_is "$R" imq0 "$COUNT" ||
		fail "the packets do not all wait at a time"
	at_most 5 ip -n "$R" link del "$1"
	out=$(udp_load_end)
	equal "sent" "$(total sent "$out")" "$COUNT"
	equal "delivered" "$(total got "$out")" 0
	if [ "$1" != imq0 ]; then
		equal "left" "$(left "$R" imq0)" "$COUNT"
		equal "dropped for want of the device" \
			"$(stat_of "$R" imq0 drop_dev)" "$COUNT"
		accounted "$R" imq0 "$out"
	fi
	finish
}

# The device goes and comes back.
deleted_loop() {
	local out i rounds

	rounds=$(amount 25 500)
	begin
	shape_in lan1 udp 0
	four gap=200
	for ((i = 0; i < rounds; i++)); do
		at_most 5 ip -n "$R" link del imq0
		r ip link add imq0 type imq
		r tc qdisc add dev imq0 root pfifo
		r ip link set imq0 up
		sleep 0.02
	done
	out=$(udp_load_end)
	# What is in the ring of a CPU when it goes
	within "lost" "$(total lost "$out")" 0 $((rounds * ($(nproc) * 64 - 63)))
	equal "duplicates, damaged" "$(total dup "$out") $(total bad "$out")" "0 0"
	within "sent" "$(total sent "$out")" 500 10000000
	note "$(total sent "$out") packets, $(total lost "$out") went with the device"
	finish
}

imq_begin
imq_test "F1 one device for both directions, htb, TCP both ways" both_directions
imq_test "F5 interfaces down and up under load" interfaces_down
imq_test "F7 imq0 down and up under load, direct" down_and_up direct
imq_test "F7 imq0 down and up under load, deferred" down_and_up deferred
imq_test "F8 qdiscs, classes, filters replaced under load" qdisc_loop
imq_test "F10 imq0 deleted with packets queued" deleted imq0
imq_test "F10 input interface deleted with packets queued" deleted lan1
imq_test "F10 output interface deleted with packets queued" deleted wan
imq_test "F10 imq0 deleted and made again under load" deleted_loop
imq_end
