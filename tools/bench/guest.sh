#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/guest.sh [options] CASE...
#
# Runs in the guest, as root: sends packets through a router and prints how many
# nanoseconds a packet took. Under qemu's -icount one of these is one instruction
# of the one processor. bench.sh calls it, profile.sh too.
#
#   router (network namespace)                                      sink
#  ┌────────────────────────────────────────────────────────────┐  ┌───────┐
#  │ pktgen ─ src ─── in ─ PREROUTING ─ route ─ FORWARD ─ out ──┼──┤ dst   │
#  │           (veth)  10.1.0.1/24                 10.2.0.1/24  │  │counted│
#  │           └── ifb0 ──┘    └── imq0 ──┘             └ floor │  │dropped│
#  └────────────────────────────────────────────────────────────┘  └───────┘
#   10.1.0.2, ports 1024 to 2023  ────►  10.64.0.1:9, by 10.2.0.2
#
# Both ends of src-in are in one namespace, since a mark does not survive the way
# into another one. Neighbours are fixed, so no ARP. The router's neighbour has an
# address that is not dst's: dst counts the packet and IP drops it at once.
#
# Packets are UDP over IPv4 in frames of 60 bytes, of 1,000 flows in turn.
#
#   -q QDISCS    of "pfifo htb htb100 fq_codel cake netem" (default pfifo), for each the
#                cases. The case none has no qdisc: it runs with the first one, and
#                with htb100, since marks are set then
#   -a ARRIVALS  of "lone burst" (default lone):
#                lone   pktgen hands them to src one by one, and each is forwarded
#                       in a softirq of its own
#                burst  32 at once: a packet socket gives src a train of 32 (GSO,
#                       which the stack segments before src), and in's NAPI poll
#                       has them all, as a network card's has them under load
#                       (send.c)
#   -n N         packets in a measurement, by 3200 (default 12800)
#   -r RUNS      measure each case so often (default 1)
#
# CASE:
#   none          no qdisc, no rule
#   floor         the qdisc on out
#   floor-nft     the same, and nft accepts in prerouting: that ends the chain, as imq
#   floor-iptables  the same with iptables, -t mangle -A PREROUTING -j MARK --or-mark 0:
#                 this changes nothing, and the table goes on, as behind IMQ
#   ifb           the qdisc on ifb0: tc matchall and mirred at the ingress of in
#   imq-nft       the qdisc on imq0: nft, prerouting, imq todev 0
#   imq-iptables  the same with iptables, -t mangle -A PREROUTING -j IMQ --todev 0
#   elsewhere     none, but both kinds of IMQ rules are in another namespace
#   elsewhere-accept  none, but rules that accept are in another namespace: the
#                 stack looks for rules everywhere once there is one
#   floor-dst:C   floor, to C destinations in turn
#   map:C:D       imq-nft, to C destinations, by a map of C addresses to D devices
#
# Packets wait in netem only: 100 us each, so that none leaves the qdisc in the call
# that has brought it.
#
# htb100 has a class for each mark from 1 to 100. With pktgen, packets get their
# mark by tc at the egress of src (so does "none" with htb100), with burst from
# the socket.
#
# Printed for each measurement, after "result": kernel, arrival, qdisc, case, run,
# packets, ns. These are differences of two sendings, one of them N packets longer,
# so that what a sending costs once is not in it, and not the first ones.
#
# Afterwards counters tell whether all packets came through, and went the way of
# the case. If not: exit status 1.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C

usage() {
	awk 'NR == 1 || /SPDX/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0" >&2
	exit 2
}
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

qdiscs=pfifo arrivals=lone n=12800 runs=1 inside=''
while getopts q:a:n:r:i o; do
	case $o in
	q) qdiscs=$OPTARG ;;
	a) arrivals=$OPTARG ;;
	n) n=$OPTARG ;;
	r) runs=$OPTARG ;;
	i) inside=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
: "${BENCH_SEND:?is the program send.c}"

flows=1000
train=32	# packets of a burst
warm=3200	# packets before measuring
short=1600	# packets of the shorter sending: whole trains, and whole rounds of marks
sent=0

# The network -----------------------------------------------------------------

start_network() {
	local f

	for f in all default; do
		echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6
	done
	echo 1 >/proc/sys/net/ipv4/ip_forward
	ip link add src type veth peer name in
	ip link add out type veth peer name dst netns sink
	ip -batch - <<-END
		link set in address 02:00:00:00:01:01
		addr add 10.1.0.1/24 dev in
		addr add 10.2.0.1/24 dev out
		link set lo up
		link set src up
		link set in up
		link set out up
		neigh add 10.1.0.2 lladdr 02:00:00:00:01:02 dev in
		neigh add 10.2.0.2 lladdr 02:00:00:00:02:99 dev out
		route add 10.64.0.0/10 via 10.2.0.2
	END
	ip -n sink link set dst up
}

# add_qdisc DEV
add_qdisc() {
	local i

	case $qdisc in
	pfifo) tc qdisc add dev "$1" root handle 1: pfifo limit 1000 ;;
	fq_codel) tc qdisc add dev "$1" root handle 1: fq_codel ;;
	netem) tc qdisc add dev "$1" root handle 1: netem delay 100us limit 10000 ;;
	cake) tc qdisc add dev "$1" root handle 1: cake bandwidth 10gbit ;;
	htb)
		tc -batch - <<-END
			qdisc add dev $1 root handle 1: htb default 1
			class add dev $1 parent 1: classid 1:1 htb rate 10gbit quantum 60000
		END
		;;
	htb100)
		{
			echo "qdisc add dev $1 root handle 1: htb"
			for i in {1..100}; do
				printf 'class add dev %s parent 1: classid 1:%x htb rate 10gbit quantum 60000\n' "$1" "$i"
				printf 'filter add dev %s parent 1: protocol ip prio 1 handle %d fw classid 1:%x\n' "$1" "$i" "$i"
			done
		} | tc -batch -
		;;
	*) die "no qdisc $qdisc" ;;
	esac
}

# add_marks: what src sends has a mark from 1 to 100, by its flow
add_marks() {
	local i

	{
		echo "qdisc add dev src clsact"
		for ((i = 0; i < flows; i++)); do
			echo "filter add dev src egress protocol ip prio 1 flower ip_proto udp" \
				"src_port $((1024 + i)) action skbedit mark $((i % 100 + 1))"
		done
	} | tc -batch -
}

# add_devices COUNT: imq0 and so on, each with the qdisc
add_devices() {
	local i

	for ((i = 0; i < $1; i++)); do
		echo "link add imq$i type imq"
		echo "link set imq$i up"
	done | ip -batch -
	if [ "$1" = 1 ]; then
		add_qdisc imq0
		return
	fi
	[ "$qdisc" = pfifo ] || die "$qdisc on $1 devices: only pfifo can do"
	for ((i = 0; i < $1; i++)); do
		echo "qdisc add dev imq$i root handle 1: pfifo limit 1000"
	done | tc -batch -
}

# nft_rule STATEMENT: in a chain as in imq.rst
nft_rule() {
	nft -f - <<-END
		table inet shape {
			chain pre {
				type filter hook prerouting priority mangle
				$1
			}
		}
	END
}

# add_map CUSTOMERS DEVICES
add_map() {
	local i

	{
		printf 'table inet shape {\nmap customers {\ntype ipv4_addr : mark\nelements = {\n'
		for ((i = 0; i < $1; i++)); do
			printf '10.64.%d.%d : %d,\n' $(((i + 1) / 256)) $(((i + 1) % 256)) $((i % $2))
		done
		printf '}\n}\n}\n'
	} >/tmp/map
	nft -f /tmp/map
	nft_rule 'imq todev ip daddr map @customers'
}

# build_case CASE: the device that has the qdisc, if any, in $dev
build_case() {
	local c d

	dev='' dsts=1
	case $1 in
	none|elsewhere*) ;;
	floor*) dev=out; add_qdisc out ;;
	ifb)
		dev=ifb0
		ip link add ifb0 type ifb
		ip link set ifb0 up
		add_qdisc ifb0
		tc qdisc add dev in clsact
		tc filter add dev in ingress matchall action mirred egress redirect dev ifb0 ;;
	imq-*) dev=imq0; add_devices 1 ;;
	map:*)
		IFS=: read -r _ c d <<<"$1"
		dev=imq0 dsts=$c
		[ "$d" = 1 ] || dev='imq*'
		add_devices "$d"
		add_map "$c" "$d" ;;
	*) die "no case $1" ;;
	esac
	case $1 in
	floor-nft) nft_rule accept ;;
	imq-nft) nft_rule 'imq todev 0' ;;
	floor-iptables) iptables-legacy -t mangle -A PREROUTING -j MARK --or-mark 0 ;;
	imq-iptables) iptables-legacy -t mangle -A PREROUTING -j IMQ --todev 0 ;;
	floor-dst:*) dsts=${1#*:} ;;
	esac
}

# Sending -----------------------------------------------------------------------

# pg FILE COMMAND: to pktgen
pg() {
	echo "$2" >"/proc/net/pktgen/$1" || die "pktgen: $2"
}

start_pktgen() {
	local c last=$dsts

	pg kpktgend_0 rem_device_all
	pg kpktgend_0 'add_device src'
	for c in 'clone_skb 0' 'pkt_size 60' 'delay 0' 'src_min 10.1.0.2' 'src_max 10.1.0.2' \
		'dst_min 10.64.0.1' "dst_max 10.64.$((last / 256)).$((last % 256))" \
		'dst_mac 02:00:00:00:01:01' 'src_mac 02:00:00:00:01:02' \
		'udp_dst_min 9' 'udp_dst_max 9' 'udp_src_min 1024' "udp_src_max $((1024 + flows))" \
		'flag NO_TIMESTAMP'; do
		pg src "$c"
	done
	[ "$qdisc" != htb100 ] || pg src 'xmit_mode queue_xmit'
}

# send COUNT: sets ns
send() {
	case $arrival in
	lone)
		pg src "count $1"
		"$BENCH_SEND" lone
		ns=$(sed -n 's/^Result: OK: \([0-9]*\)(.*/\1000/p' /proc/net/pktgen/src) ;;
	burst)
		ns=$("$BENCH_SEND" burst src $((sent / train)) "$1" $train $flows "$marks") ;;
	esac
	[ -n "$ns" ] || die "$arrival $1: not sent"
	sent=$((sent + $1))
}

# Counters ------------------------------------------------------------------------

# counter DEV rx|tx
counter() {
	local f sum=0

	for f in /sys/class/net/$1/statistics/$2_packets; do
		sum=$((sum + $(<"$f")))
	done
	echo $sum
}

# expect WHAT GOT: it is as many as were sent
expect() {
	[ "$2" = "$sent" ] && return
	ip -s link >&2
	tc -s qdisc >&2
	die "$arrival $qdisc $case_name: $1 is $2, not $sent"
}

check_counters() {
	local classes

	expect "delivered" "$(ip netns exec sink cat /sys/class/net/dst/statistics/rx_packets)"
	case $dev in
	ifb0) expect "through ifb0" "$(counter ifb0 tx)" ;;
	imq*) expect "through $dev" "$(counter "$dev" tx)" ;;
	esac
	[ -n "$dev" ] || return 0
	# "Sent N bytes N pkt ..." follows the line of each qdisc.
	expect "sent by $qdisc on $dev" "$(tc -s qdisc show | awk -v dev="^${dev/\*/[0-9]+}\$" '
		/^qdisc/ { on = $5 ~ dev && $0 ~ / root / }
		on && /^ Sent/ { sum += $4 }
		END { print sum + 0 }')"
	case $qdisc in
	htb100)
		# each class has its share of what came through: nothing went past
		classes=$(tc -s class show dev "$dev" | awk -v want=$((sent / 100)) '
			/^ Sent/ { if ($4 >= want - 32 && $4 <= want + 32) n++ } END { print n + 0 }')
		[ "$classes" = 100 ] || die "$case_name: $classes classes have their packets, not 100" ;;
	htb)
		expect "sent by the class" "$(tc -s class show dev "$dev" | awk '/^ Sent/ { print $4 }')" ;;
	esac
}

# One case -------------------------------------------------------------------------

# run_case: in a new namespace
run_case() {
	local run t1 t2

	start_network
	build_case "$case_name"
	marks=0
	if [ "$qdisc" = htb100 ]; then
		marks=100
		[ "$arrival" = burst ] || add_marks
	fi
	if [ "$arrival" = lone ]; then
		start_pktgen
	else
		# a veth receives by NAPI from a sender that leaves segmentation to others
		ethtool -K src tso off gso off tx-udp-segmentation off >/dev/null
		ethtool -K in gro on >/dev/null
	fi
	# What removing and making namespaces has left to do; sleeping is for free.
	sleep 2
	send $((warm > dsts ? warm : 2 * dsts))
	for ((run = 1; run <= runs; run++)); do
		send $short
		t1=$ns
		send $((short + n))
		t2=$ns
		printf 'result\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n' "$(uname -r)" "$arrival" "$qdisc" \
			"$case_name" "$run" "$n" $((t2 - t1))
	done
	check_counters
}

if [ -n "$inside" ]; then
	qdisc=$qdiscs arrival=$arrivals case_name=$1
	run_case
	exit
fi

[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
for m in veth pktgen ifb sch_htb sch_fq_codel sch_cake sch_netem sch_ingress cls_fw cls_flower \
		cls_matchall act_mirred act_skbedit nf_tables iptable_mangle; do
	modprobe "$m"
done
imq=''
case $(uname -r) in
*-plain) ;;
*) imq=1
	for m in imq nft_imq xt_IMQ; do
		modprobe "$m"
	done ;;
esac

new_namespaces() {
	local ns

	for ns in /run/netns/*; do
		[ ! -e "$ns" ] || ip netns del "${ns##*/}"
	done
	ip netns add router
	ip netns add sink
}

# rules_elsewhere STATEMENT TARGET: of nft and iptables, in a third namespace
rules_elsewhere() {
	ip netns add other
	if [ -n "$imq" ]; then
		ip -n other link add imq0 type imq
		ip -n other link set imq0 up
	fi
	ip netns exec other bash -c "$(declare -f nft_rule); nft_rule '$1'"
	ip netns exec other iptables-legacy -t mangle -A PREROUTING -j "$2"
}

for arrival in $arrivals; do
	for qdisc in $qdiscs; do
		for case_name; do
			case $imq:$case_name in
			:imq-*|:map:*|:elsewhere) continue ;;
			esac
			case $case_name:$qdisc in
			none:htb100|none:"${qdiscs%% *}") ;;
			none:*) continue ;;
			esac
			new_namespaces
			case $case_name in
			elsewhere) rules_elsewhere 'imq todev 0' IMQ ;;
			elsewhere-accept) rules_elsewhere accept ACCEPT ;;
			esac
			ip netns exec router "$0" -i -q "$qdisc" -a "$arrival" -n "$n" -r "$runs" "$case_name"
		done
	done
done
