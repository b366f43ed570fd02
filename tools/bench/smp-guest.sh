#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/smp-guest.sh [-p PACKETS] [-r ROUNDS] [-n PACKETS] [-c "CASE..."] [-i] [TEST...]
#
# Runs in a guest with one or more processors (see quality.sh). One device shapes
# what comes in on all of them: does forwarding behind it still scale, where does it
# run, is a packet lost, does a flow stay in order? IFB is beside it in the same run.
#
#   CPU 0: pktgen ── gen0 ══ in0 ─┐           ┌─ IFB: mirred on ingress ─┐
#   CPU 1: pktgen ── gen1 ══ in1 ─┤           │                          ├─ out0
#     ...                         ├─ router ──┤ ifb0 or imq0: htb        ├─ out1
#   CPU N: pktgen ── genN ══ inN ─┘           │                          ├─ ...
#                                             └─ IMQ: nft, prerouting   ─┘
#
# inK receives on the CPU of its sender, as a network card whose queues are spread
# over the processors. What came in on inK leaves by outK, a dummy: nothing but the
# device in the middle is shared. 60-byte UDP, one flow for each sender. htb has one
# class, of a rate that is never reached, with a pfifo of 10000 packets.
#
# TEST is one of
#   scale     packets delivered by one sender, and by one on each CPU
#   where     CPUs that packets came in on and are forwarded on
#   order     PACKETS (default 1000000) numbered datagrams, in 4 flows: none late
# Default: all. CASE is none; ifb, imq; ifb-mq, imq-mq: as many queues as CPUs, below
# mq, each CPU sends to its own (XPS). Default: all of them. Of scale, in ROUNDS
# (default 5) rounds, all cases in turn, each sender sends 100000 packets (-p): medians.
#
# Processors are emulated, and may have to share fewer real ones, with others. So what
# they deliver in wall time says little on a machine in use. Two other ways to count:
#
#   - per second of processor time that the emulator got, if $BENCH_TICKS is a file
#     that tells (quality.sh writes it all the time)
#   - -i: per instruction. The guest's clock counts those of all its processors, which
#     take turns (run.sh --icount --smp N): an hour for it is N half hours for each
#
# times the number of CPUs: the increase from one sender to N is then what it would be
# with a real processor for each, but for what they disturb each other in caches, and,
# with -i, for the time that one waits for another's lock.
#
# Prints figures as imq_lib.sh does, to $IMQ_FIGURES too.
set -euo pipefail

amount=100000 rounds=5
icount=''
while getopts p:r:n:c:i option; do
	case $option in
	p) amount=$OPTARG ;;
	r) rounds=$OPTARG ;;
	n) packets=$OPTARG ;;
	c) cases=$OPTARG ;;
	i) icount=1 ;;
	*) sed -n '3,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
tests=${*:-scale where order}

# shellcheck source=../selftests/imq_lib.sh
. "$(dirname "$0")/../selftests/imq_lib.sh"
packets=${packets:-1000000}

cpus=$(nproc)
# From one processor to two: the least gain
MIN_SCALE_2=1.7

# Host's processor time of this emulator, in 1/100 s; 0 if nobody tells.
host_ticks() {
	grep . "${BENCH_TICKS:-/dev/null}" 2>/dev/null || echo 0
}

# pg FILE COMMAND...: to pktgen
pg() {
	say "[-] pktgen $*"
	printf '%s\n' "${*:2}" >"/proc/net/pktgen/$1"
}

network() {
	local k ns

	for ((k = 0; k < cpus; k++)); do
		ip link add "gen$k" address "02:00:00:00:01:0$k" type veth peer name "in$k" address "02:00:00:00:02:0$k"
		ip link add "out$k" type dummy
		ip address add "10.$((100 + k)).0.1/24" dev "in$k"
		ip address add "10.$k.0.1/24" dev "out$k"
		ip link set "gen$k" up
		ip link set "in$k" up
		ip link set "out$k" arp off up
	done
	imq_sysctl ''
	modprobe pktgen
}

# sender K PACKETS: on CPU K. That many and no more: where the CPUs have more than
# they can do, nobody could be told to stop.
sender() {
	local k=$1

	pg "kpktgend_$k" "add_device gen$k"
	pg "gen$k" pkt_size 60
	pg "gen$k" count "$2"
	pg "gen$k" "dst_mac 02:00:00:00:02:0$k"
	pg "gen$k" "src_min 10.$((100 + k)).0.2"
	pg "gen$k" "src_max 10.$((100 + k)).0.2"
	pg "gen$k" "dst 10.$k.0.2"
	pg "gen$k" udp_src_min 9
	pg "gen$k" udp_src_max 9
	pg "gen$k" udp_dst_min 9
	pg "gen$k" udp_dst_max 9
}

# shaper DEV QUEUES [RATE BURST]: htb in each of them
shaper() {
	local q parent=root

	if [ "$2" -gt 1 ]; then
		tc qdisc add dev "$1" root handle 1: mq
		for ((q = 0; q < $2; q++)); do
			printf '%x' $((1 << q)) >"/sys/class/net/$1/queues/tx-$q/xps_cpus"
		done
	fi
	for ((q = 1; q <= $2; q++)); do
		[ "$2" -eq 1 ] || parent="parent 1:$(printf '%x' "$q")"
		# shellcheck disable=SC2086 # words
		tc qdisc add dev "$1" $parent handle "1$q:" htb default 1
		tc class add dev "$1" parent "1$q:" classid "1$q:1" htb rate "${3:-100gbit}" \
			burst "${4:-10mb}" cburst "${4:-10mb}" quantum 10000
		tc qdisc add dev "$1" parent "1$q:1" pfifo limit 10000
	done
}

# set_case CASE: sets dev
set_case() {
	local k queues=1

	clear_case
	case $1 in *-mq) queues=$cpus ;; esac
	dev=''
	case $1 in
	ifb*)
		dev=ifb0
		ip link add ifb0 numtxqueues "$queues" type ifb
		ip link set ifb0 up
		shaper ifb0 "$queues"
		for ((k = 0; k < cpus; k++)); do
			tc qdisc add dev "in$k" clsact
			tc filter add dev "in$k" ingress protocol ip matchall \
				action mirred egress redirect dev ifb0
		done ;;
	imq*)
		dev=imq0
		ip link add imq0 numtxqueues "$queues" type imq
		ip link set imq0 up
		shaper imq0 "$queues"
		nft -f - <<-EOT
		table ip shape {
			chain c {
				type filter hook prerouting priority -99
				iifname "in*" imq todev 0
			}
		}
		EOT
	esac
}

clear_case() {
	local k

	nft delete table ip shape 2>/dev/null || true
	ip link del imq0 2>/dev/null || true
	for ((k = 0; k < cpus; k++)); do
		tc qdisc del dev "in$k" clsact 2>/dev/null || true
	done
	ip link del ifb0 2>/dev/null || true
}

# packets_of PREFIX WAY: of all interfaces PREFIX0..., "rx" or "tx"
packets_of() {
	cat /sys/class/net/"$1"[0-9]*/statistics/"$2"_packets | awk '{ n += $1 } END { print n + 0 }'
}

# drops_of DEV: of its qdiscs, the sum that the root has
drops_of() {
	tc -s qdisc show dev "$1" | awk '
		$1 == "Sent" && !n++ { sub(",", "", $7); print $7 }'
}

# senders COUNT PACKETS: runs so many; sets sent, got (all that has come in and gone
# out), us (that the slowest one took) and ticks
senders() {
	local k rx tx h0

	for ((k = 0; k < cpus; k++)); do
		pg "kpktgend_$k" rem_device_all
		[ "$k" -ge "$1" ] || sender "$k" "$2"
	done
	rx=$(packets_of in rx) tx=$(packets_of out tx)
	h0=$(host_ticks)
	echo start >/proc/net/pktgen/pgctrl
	ticks=$(($(host_ticks) - h0))
	# pktgen's own account: what has written "start" sleeps in steps of 100 ms
	us=$(sed -n 's/^Result: OK: \([0-9]*\)(.*/\1/p' /proc/net/pktgen/gen* | sort -n | tail -n 1)
	# What is queued still goes on.
	sleep 0.3
	sent=$(($(packets_of in rx) - rx)) got=$(($(packets_of out tx) - tx))
	within "packets that came" "$sent" $(($1 * $2 / 2)) 1000000000
	within "packets that left" "$got" "$1" 1000000000
}

# those that this number of processors has
if [ -z "${cases:-}" ]; then
	cases='none ifb imq'
	[ "$cpus" -eq 1 ] || cases="$cases ifb-mq imq-mq"
fi

# median FILE
median() {
	sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# scale: into $imq_tmp/CASE.N.what: rate (packets per second), host (per second of
# the emulator's processor time), lost (percent of what came in)
scale() {
	local case n round sent got us ticks dev drops

	for ((round = 0; round <= rounds; round++)); do
		for case in $cases; do
			set_case "$case"
			for n in 1 "$cpus"; do
				drops=${dev:+$(drops_of "$dev")}
				senders "$n" "$amount"
				say "$case, $n of $cpus: came $sent, left $got, $us us, $ticks ticks," \
					"dropped ${dev:+$(($(drops_of "$dev") - drops))}"
				# The first one warms caches, the emulator's too.
				[ "$round" -gt 0 ] || [ "$rounds" -lt 3 ] || continue
				awk -v g="$got" -v us="$us" 'BEGIN { printf "%.0f\n", g / us * 1e6 }' \
					>>"$imq_tmp/$case.$n.rate"
				awk -v s="$sent" -v g="$got" 'BEGIN { printf "%.3f\n", (1 - g / s) * 100 }' \
					>>"$imq_tmp/$case.$n.lost"
				[ "$ticks" -eq 0 ] ||
					awk -v g="$got" -v t="$ticks" 'BEGIN { printf "%.0f\n", g / t * 100 }' \
						>>"$imq_tmp/$case.$n.host"
				[ -z "$dev" ] || lost_account "$case" "$n"
				[ "$cpus" -gt 1 ] || break
			done
		done
	done
	clear_case
	for case in $cases; do
		report_scale "$case"
	done
}

# lost_account CASE N: what came in and did not leave is in the qdisc's counter of
# drops: none is lost elsewhere.
lost_account() {
	local elsewhere=$((sent - got - $(drops_of "$dev") + drops))

	[ "$1" = "${1#ifb}" ] || return 0
	equal "$1, $2 of $cpus: lost, and not counted by the qdisc" "$elsewhere" 0
	no_other_counter_here "$dev"
}

no_other_counter_here() {
	equal "$1: counters of exceptions that are not 0" "$(ethtool -S "$1" |
		awk '/bypass|drop|foreign/ && $2 != 0 { printf "%s %s ", $1, $2 }')" ""
}

report_scale() {
	local n what gain limit

	for n in 1 "$cpus"; do
		figure "$1, $n of $cpus CPUs: delivered" "$(median "$imq_tmp/$1.$n.rate")" packet/s
		[ ! -s "$imq_tmp/$1.$n.host" ] ||
			figure "$1, $n of $cpus CPUs: delivered per host processor time" \
				"$(median "$imq_tmp/$1.$n.host")" packet/s
		figure "$1, $n of $cpus CPUs: lost" "$(median "$imq_tmp/$1.$n.lost")" %
		[ "$cpus" -gt 1 ] || return 0
	done
	for what in rate host; do
		[ -s "$imq_tmp/$1.1.$what" ] || continue
		[ "$what$icount" != host1 ] || continue
		gain=$(awk -v one="$(median "$imq_tmp/$1.1.$what")" \
			-v all="$(median "$imq_tmp/$1.$cpus.$what")" -v n="$cpus" -v w="$what" \
			-v icount="$icount" \
			'BEGIN { printf "%.2f\n", all / one * (w == "host" || icount ? n : 1) }')
		limit=()
		[ -z "$icount" ] || [ "$what" = host ] || what=instructions
		case $1-$cpus-$what in
		imq-2-instructions|imq-mq-2-instructions) limit=(">=" "$MIN_SCALE_2") ;;
		esac
		echo "$1 $what $gain ${limit[*]}" >>"$imq_tmp/gains"
	done
}

# gains: what scale has found, judged: after it, so that one that is too low does
# not hide the others.
gains() {
	local case what gain limit

	[ -s "$imq_tmp/gains" ] || skip "one processor, or not measured"
	while read -r case what gain limit; do
		case $what in
		rate) what="wall time" ;;
		host) what="processor time" ;;
		esac
		# shellcheck disable=SC2086 # words
		figure "$case: $cpus CPUs, times what one delivers, by $what" "$gain" "" $limit
	done <"$imq_tmp/gains"
}

# where: how many packets, of those that came in on CPU N, were forwarded there
where() {
	local case dev k c sent got us ticks share

	for case in $cases; do
		set_case "$case"
		{
			echo "table ip where {"
			for ((k = 0; k < cpus; k++)); do
				for ((c = 0; c < cpus; c++)); do
					echo "counter in_${k}_$c { }"
					echo "counter fwd_${k}_$c { }"
				done
			done
			echo "chain pre { type filter hook prerouting priority raw"
			for ((k = 0; k < cpus; k++)); do
				for ((c = 0; c < cpus; c++)); do
					echo "iifname in$k meta cpu $c counter name in_${k}_$c"
				done
			done
			echo "}"
			echo "chain forward { type filter hook forward priority filter"
			for ((k = 0; k < cpus; k++)); do
				for ((c = 0; c < cpus; c++)); do
					echo "iifname in$k meta cpu $c counter name fwd_${k}_$c"
				done
			done
			printf '}\n}\n'
		} | nft -f -
		senders "$cpus" "$amount"
		nft list counters table ip where |
			awk '$1 == "counter" { name = $2 } $1 == "packets" { print name, $2 }' \
			>"$imq_tmp/where"
		nft delete table ip where
		say "$case: $(tr '\n' ' ' <"$imq_tmp/where")"
		# An interrupt's tail may hand a batch to ksoftirqd: same CPU.
		share=$(awk -v cpus="$cpus" '
			{ v[$1] = $2 }
			END {
				for (k = 0; k < cpus; k++) {
					all = 0
					for (c = 0; c < cpus; c++)
						all += v["fwd_" k "_" c]
					n++
					share += all ? v["fwd_" k "_" k] / all : 0
				}
				printf "%.4f\n", share / n * 100
			}' "$imq_tmp/where")
		case $case in
		imq*) figure "$case, $cpus CPUs: forwarded on the CPU that received" "$share" % ">=" 99.9 ;;
		*) figure "$case, $cpus CPUs: forwarded on the CPU that received" "$share" % ;;
		esac
	done
	clear_case
}

# order: four flows, each from one CPU, in bursts that htb lets through in part: packets
# take both ways on, at once and later.
order() {
	local out i pids=() n=$((packets / 4)) queues=1

	case $1 in *-mq) queues=$cpus ;; esac
	topology
	if [ "$queues" -gt 1 ]; then
		r ip link del imq0
		r ip link add imq0 numtxqueues "$queues" type imq
		r ip link set imq0 up
	fi
	shape_in lan1 udp 0
	on "$R" bash -c "$(declare -f shaper); shaper imq0 $queues 10mbit 3000" 2>/dev/null
	neighbours
	for ((i = 0; i < 4; i++)); do
		say "flow $i on CPU $((i % cpus))"
		taskset -c $((i % cpus)) "$imq_dir/imq_flood.py" --idle 1000 \
			"id=f$i,from=$H1,to=$W,dst=198.51.100.2,port=$((5001 + i)),count=$n,size=20,window=250" \
			>"$imq_tmp/order.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	out=$(cat "$imq_tmp"/order.?)
	say "$out"
	# A sender that has failed prints less.
	equal "packets sent" "$(total sent "$out")" $((4 * n))
	accounted "$R" imq0 "$out"
	figure "$1, $cpus CPUs: numbered packets" "$(total unique "$out")" packets
	figure "$1, $cpus CPUs: that came late" "$(total late "$out")" packets "<=" 0
}

imq_begin
have nft taskset
network
for test in $tests; do
	case $test in
	scale)
		imq_test "delivered and lost, one sender and one on each of $cpus CPUs" scale
		imq_test "more CPUs deliver more" gains ;;
	where) imq_test "packets go on at the CPU that they came in on" where ;;
	order)
		imq_test "numbered packets keep their order" order imq
		[ "$cpus" -eq 1 ] || imq_test "numbered packets keep their order, mq" order imq-mq ;;
	*) echo "$0: no test '$test'" >&2; exit 2 ;;
	esac
done
imq_end
