#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What else gets its hands on packets that go through imq: duplicate address
# detection, NFQUEUE, BPF, packet sockets, qdiscs that change packets or look at
# their time, and interfaces whose queues come and go. Tests that are named F and
# a number repeat what earlier versions of IMQ have failed at.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

COUNT=$(amount 100 5000)
PACKETS=$imq_dir/imq_packets.py

# packets NETNS ARG...: imq_packets.py there.
packets() {
	on "$1" "$PACKETS" "${@:2}"
}

# packets_start NAME NETNS ARG...: in the background, until background_end NAME.
packets_start() {
	background "$1" ip netns exec "$2" "$PACKETS" "${@:3}"
	wait_for 10 grep -q ready "$imq_tmp/out.$1" ||
		fail "$1: $(cat "$imq_tmp/out.$1")"
}

# shaper HOW [DEV...]: direct is the default qdisc.
shaper() {
	local how=$1 dev

	[ "$how" != direct ] || return 0
	have_sch netem delay 1ms
	for dev in "${@:2}"; do
		r tc qdisc replace dev "$dev" root netem delay 5ms limit 100000
	done
}

# rule HOOK PRIORITY STATEMENT...: in a chain of its own in R.
rule() {
	r nft "add table inet t"
	r nft "add chain inet t c$1${2/-/m} { type filter hook $1 priority $2; }"
	r nft "add rule inet t c$1${2/-/m} ${*:3}"
}

# counter NAME [NETNS]: of table t
counter() {
	nft_counter "${2:-$R}" inet t "$1"
}

new_counter() {
	local name

	r nft "add table inet t"
	for name; do
		r nft "add counter inet t $name"
	done
}

# all_out DEV...: they are empty, and nothing else has happened to packets.
all_out() {
	local dev

	for dev; do
		wait_for 10 all_left "$R" "$dev" || fail "packets stay in $dev"
		no_other_counter "$R" "$dev"
	done
}

# Duplicate address detection (F2) ------------------------------------------

dad() {
	local hook=$1 priority=$2

	have_nft
	topology
	shaper "$3" imq0 imq1
	r sh -c 'echo 1 >/proc/sys/net/ipv6/conf/wan/accept_dad'
	new_counter asked told
	rule "$hook" "$priority" 'oifname "wan" icmpv6 type nd-neighbor-solicit ip6 saddr :: counter name asked imq todev 1'
	rule input 0 'iifname "wan" icmpv6 type nd-neighbor-advert counter name told imq todev 0'
	w ip address add 2001:db8:f::66/64 dev eth0 nodad
	r ip address add 2001:db8:f::55/64 dev wan
	r ip address add 2001:db8:f::66/64 dev wan
	wait_for 10 dad_done || fail "$(r ip -6 address show dev wan)"
	contains "an address that is in use" \
		"$(r ip -6 address show dev wan to 2001:db8:f::66)" dadfailed
	r ping -n -q -c 3 -i 0.1 -I 2001:db8:f::55 2001:db8:f::2 >&3 ||
		fail "the other address does not work"
	equal "neighbour solicitations for new addresses" "$(counter asked)" 2
	equal "imq1: left" "$(left "$R" imq1)" 2
	within "neighbour advertisements" "$(counter told)" 1 20
	equal "imq0: left" "$(left "$R" imq0)" "$(counter told)"
	all_out imq0 imq1
}

dad_done() {
	local addresses

	addresses=$(ip -n "$R" -6 -o address show dev wan)
	case $addresses in
	*"::66/64"*dadfailed*) ;;
	*) return 1 ;;
	esac
	! printf '%s\n' "$addresses" | grep "::55/64" | grep -q tentative
}

# Sockets assigned by BPF (F16) ---------------------------------------------

# A BPF program has put a socket on packets, on ingress, which hooks and routes
# would not find: it listens on another address and port.
sk_assign() {
	local place=$1 out

	have_nft
	topology
	packets "$R" bpf lan1 ingress pass || skip "the kernel has no TCX, or no BPF"
	case $2 in
	fq) have_sch fq; r tc qdisc replace dev imq0 root fq ;;
	*) shaper "$2" imq0 ;;
	esac
	# All that comes there is ours, whatever its address.
	r ip rule add iif lan1 lookup 100
	r ip route add local default dev lo table 100
	case $place in
	ingress)
		r nft -f - <<-EOT
		table netdev t {
			chain c {
				type filter hook ingress device "lan1" priority 0
				meta protocol ip meta l4proto { tcp, udp } imq todev 0
			}
		}
		EOT
		;;
	*) rule "${place%:*}" "${place#*:}" 'iifname "lan1" meta l4proto { tcp, udp } imq todev 0' ;;
	esac
	packets "$R" bpf lan1 ingress assign udp 53 127.0.0.1 5353
	packets "$R" bpf lan1 ingress assign tcp 80 127.0.0.1 8080
	out=$(udp "from=$H1,to=$R,dst=198.51.100.2,at=127.0.0.1,port=53,atport=5353,count=$COUNT")
	equal "datagrams for the socket" "$(field unique "$out")" "$COUNT"
	equal "datagrams twice, damaged" "$(field dup "$out")$(field bad "$out")" 00
	out=$(tcp "from=$H1,to=$R,dst=198.51.100.2,tproxy=1,port=80,atport=8080,bytes=300000")
	equal "TCP: intact" "$(field intact "$out")" yes
	within "imq0: left" "$(left "$R" imq0)" $((COUNT + 10)) 1000000
	all_out imq0
}

# Queues of interfaces (F18) ------------------------------------------------

# queues_link NAME NETNS: instead of R's link of that name, one with four queues.
queues_link() {
	r ip link del "$1"
	run ip link add "$1" netns "$R" numtxqueues 4 numrxqueues 4 type veth peer \
		name eth0 netns "$2" numtxqueues 4 numrxqueues 4
	r ethtool -L "$1" tx 4 rx 4
	on "$2" ethtool -L eth0 tx 4 rx 4
	r ip link set "$1" up
}

queues_topology() {
	topology
	r ip link add imq8 numtxqueues 8 type imq
	r ip link set imq8 up
	queues_link wan "$W"
	queues_link lan1 "$H1"
	r ip address add 198.51.100.1/24 dev wan
	r ip address add 10.0.1.1/24 dev lan1
	topology_host "$W" 198.51.100 2001:db8:f
	topology_host "$H1" 10.0.1 fd00:1
	for ns in "$W" "$R" "$H1"; do
		wait_for 5 links_ready "$ns"
	done
}

# mapping_rules: packets come by one of four queues. R counts them by that, before
# imq and behind.
mapping_rules() {
	local table n

	packets "$R" bpf lan1 ingress pass || skip "the kernel has no TCX, or no BPF"
	packets "$R" bpf lan1 ingress queues 3
	for table in raw:PREROUTING mangle:FORWARD; do
		for n in 0 1 2 3 4 5 6 7 8; do
			r iptables-legacy -t "${table%:*}" -A "${table#*:}" -i lan1 -p udp \
				-m bpf --bytecode "4,32 0 0 4294963224,21 0 1 $n,6 0 0 1,6 0 0 0" ||
				skip "no match bpf"
		done
	done
}

# mappings TABLE CHAIN: packets by queue_mapping
mappings() {
	r iptables-legacy -t "$1" -vxnL "$2" | awk '/lan1/ { printf "%s ", $1 }'
}

# Eight flows, two for each queue
queue_flows() {
	local n

	for n in 1 2 3 4 5 6 7 8; do
		echo "id=q$n,from=$H1,to=$W,dst=198.51.100.2,port=$((5000 + n)),sport=$((6000 + n * 97)),$1"
	done
}

# The queue that a packet came by is remembered, whatever imq's own is, and
# however many queues there are by then.
queues() {
	local out

	have_nft
	have iptables-legacy
	queues_topology
	mapping_rules
	shape_in lan1 udp 8
	mapfile -t flows < <(queue_flows "count=$COUNT,gap=500")
	out=$(udp "${flows[@]}")
	equal "delivered" "$(printf '%s\n' "$out" | grep -c "unique=$COUNT dup=0")" 8
	equal "packets by queue, before imq" "$(mappings raw PREROUTING)" \
		"$((2 * COUNT)) $((2 * COUNT)) $((2 * COUNT)) $((2 * COUNT)) 0 0 0 0 0 "
	equal "packets by queue" "$(mappings mangle FORWARD)" "$(mappings raw PREROUTING)"

	# Now they wait while all queues but one go.
	have_sch netem delay 1ms
	r tc qdisc replace dev imq8 root netem delay 1500ms limit 100000
	mapfile -t flows < <(queue_flows "count=25,gap=100")
	udp_load --idle 2500 "${flows[@]}"
	wait_for 10 backlog_is "$R" imq8 200
	r ethtool -L lan1 tx 1 rx 1
	r ethtool -L wan tx 1 rx 1
	out=$(udp_load_end)
	equal "delivered" "$(printf '%s\n' "$out" | grep -c "unique=25 dup=0")" 8
	equal "packets by queue" "$(mappings mangle FORWARD)" "$(mappings raw PREROUTING)"
	all_out imq8
}

# A traffic class has its queues, whoever sends: half of the flows are forwarded, the
# others are the router's own, and half of each are of either class.
queues_of_classes() {
	local n from flows=()

	have_nft
	topology
	r ip link add imq8 numtxqueues 2 type imq
	r ip link set imq8 up
	r tc qdisc replace dev imq8 root handle 1: mqprio num_tc 2 queues 1@0 1@1 hw 0 \
		map 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 || skip "the kernel has no mqprio"
	shape_in lan1 udp 8
	shape_out wan udp 8
	r nft -f - <<-EOT
	table inet classes {
		chain in {
			type filter hook prerouting priority -150
			iifname "lan1" udp sport & 1 == 1 meta priority set 0:1
		}
		chain out {
			type filter hook postrouting priority 0
			oifname "wan" udp sport & 1 == 1 meta priority set 0:1
		}
	}
	EOT
	for n in 0 1 2 3 4 5 6 7 8 9 10 11; do
		from=$H1
		[ "$n" -lt 6 ] || from=$R
		flows+=("id=f$n,from=$from,to=$W,dst=198.51.100.2,port=$((5000 + n)),sport=$((4000 + n)),count=$COUNT")
	done
	udp "${flows[@]}" >/dev/null
	# What is forwarded is there twice.
	equal "packets of class 0" "$(class_packets "$R" imq8 1:1)" $((9 * COUNT))
	equal "packets of class 1" "$(class_packets "$R" imq8 1:2)" $((9 * COUNT))
}

# Their number changes all the time.
queues_loop() {
	local out i n

	have_nft
	queues_topology
	shape_in lan1 udp 8
	shape_out wan udp 8
	shaper "$1" imq8
	mapfile -t flows < <(queue_flows "count=0,gap=1000")
	udp_load --idle 500 "${flows[@]}"
	for ((i = 0; i < $(amount 10 300); i++)); do
		n=$((i % 4 + 1))
		r ethtool -L lan1 tx "$n" rx $((5 - n))
		r ethtool -L wan tx $((5 - n)) rx "$n"
	done
	out=$(udp_load_end)
	equal "flows of which all arrived once, or were lost on lan1" \
		"$(printf '%s\n' "$out" | grep -c "dup=0 .*bad=0")" 8
	within "delivered" "$(total unique "$out")" 100 100000000
	all_out imq8
	r ethtool -L lan1 tx 4 rx 4
	r ethtool -L wan tx 4 rx 4
	wait_for 5 links_ready "$R"
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT")
	equal "delivered afterwards" "$(field unique "$out")" "$COUNT"
}

# Those of a tun device come and go with its user.
queues_tun() {
	local out n

	have_nft
	topology
	r ip link add imq8 numtxqueues 8 type imq
	r ip link set imq8 up
	[ -e /dev/net/tun ] || skip "no /dev/net/tun"
	packets_start tun "$R" tun tun0 4
	r ip link set tun0 up
	r ip route add 203.0.113.0/24 dev tun0
	shape_in lan1 udp 8
	shape_out tun0 udp 8
	shaper "$1" imq8
	mapfile -t flows < <(queue_flows "count=$COUNT,gap=500")
	out=$(udp --idle 300 "${flows[@]//dst=198.51.100.2/dst=203.0.113.1,at=198.51.100.2}")
	n=$((8 * COUNT))
	equal "sent" "$(total sent "$out")" "$n"
	all_out imq8
	equal "imq8: left" "$(left "$R" imq8)" $((2 * n))
	out=$(background_end tun | tail -n 1)
	within "times that a queue came or went" "$(field changes "$out")" 20 1000000
	# Queues that go take their packets along.
	within "packets read" "$(field read "$out")" $((n / 10)) $((n + 20))
}

# NFQUEUE (F19) -------------------------------------------------------------

# A listener before imq, behind it, and between two, each with the same packets.
nfqueue_around() {
	local out n

	have_nft
	topology
	shaper "$1" imq0 imq1
	packets_start before "$R" nfqueue 1
	packets_start between "$R" nfqueue 2
	packets_start behind "$R" nfqueue 3
	new_counter first last
	rule prerouting -120 'meta l4proto udp queue num 1'
	rule prerouting -110 'meta l4proto udp counter name first imq todev 0'
	rule prerouting -100 'meta l4proto udp queue num 2'
	rule forward 0 'meta l4proto udp imq todev 0'
	rule postrouting 90 'meta l4proto udp imq todev 1'
	rule postrouting 95 'meta l4proto udp queue num 3'
	rule postrouting 110 'meta l4proto udp counter name last'
	r nft 'add chain inet t masq { type nat hook postrouting priority srcnat; }'
	r nft 'add rule inet t masq oifname "wan" masquerade'
	out=$(udp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT,echo=1" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=$COUNT,echo=1")
	for n in v4 v6; do
		equal "$n: echoes" "$(field echoed "$(flow "$n" "$out")")" "$COUNT"
		equal "$n: duplicates" "$(field dup "$(flow "$n" "$out")")" 0
	done
	equal "source at W" "$(field from "$(flow v4 "$out")")" 198.51.100.1
	for n in first last; do
		equal "packets, $n" "$(counter "$n")" $((4 * COUNT))
	done
	for n in before between behind; do
		out=$(background_end "$n")
		contains "listener $n" "$out" "seen=$((4 * COUNT)) answered=$((4 * COUNT))"
	done
	equal "imq0: left" "$(left "$R" imq0)" $((8 * COUNT))
	equal "imq1: left" "$(left "$R" imq1)" $((4 * COUNT))
	all_out imq0 imq1
}

# The target's mark outlives the listener, which splits GSO packets.
nfqueue_marked() {
	local out

	have_nft
	have_xt iptables-legacy
	topology
	shaper "$1" imq0 imq1
	packets_start between "$R" nfqueue 1
	r iptables-legacy -t mangle -A PREROUTING -i lan1 -p tcp -j IMQ --todev 0
	r iptables-legacy -t mangle -A POSTROUTING -o lan1 -p tcp -j IMQ --todev 1
	rule prerouting -120 'iifname "lan1" meta l4proto tcp queue num 1'
	rule postrouting -120 'oifname "lan1" meta l4proto tcp queue num 1'
	out=$(tcp "id=up,from=$H1,to=$W,dst=198.51.100.2,port=5001,bytes=500000" \
		  "id=down,from=$H1,to=$W,dst=198.51.100.2,port=5002,bytes=500000,reverse=1")
	equal "up: intact" "$(field intact "$(flow up "$out")")" yes
	equal "down: intact" "$(field intact "$(flow down "$out")")" yes
	all_out imq0 imq1
	out=$(background_end between)
	equal "imq0, imq1: left" "$(($(left "$R" imq0) + $(left "$R" imq1)))" \
		"$(field seen "$(printf '%s\n' "$out" | tail -n 1)")"
	within "imq0: left" "$(left "$R" imq0)" 340 100000
	within "imq1: left" "$(left "$R" imq1)" 340 100000
}

# "repeat": the hook runs once more, and now says imq. And imq by the listener's
# own verdict.
nfqueue_verdicts() {
	local out

	have_nft
	topology
	shaper "$1" imq0 imq1
	packets_start again "$R" nfqueue 1 verdict=repeat mark=7
	packets_start direct "$R" nfqueue 2 verdict=0x14003
	new_counter first behind last
	r nft -f - <<-EOT
	table inet t {
		chain c {
			type filter hook prerouting priority -110
			iifname "lan1" meta l4proto udp jump ours
		}
		chain ours {
			meta mark != 7 counter name first queue num 1
			meta mark 7 imq todev 0
		}
	}
	EOT
	rule prerouting -100 'iifname "lan1" meta mark 7 counter name behind'
	rule forward 0 'iifname "lan1" meta l4proto udp queue num 2'
	rule forward 10 'iifname "lan1" meta mark 7 counter name last'
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT")
	equal "delivered" "$(field unique "$out") $(field dup "$out")" "$COUNT 0"
	contains "listener that repeats" "$(background_end again)" "seen=$COUNT "
	contains "listener that says imq" "$(background_end direct)" "seen=$COUNT "
	for n in first behind last; do
		equal "packets, $n" "$(counter "$n")" "$COUNT"
	done
	equal "imq0: left" "$(left "$R" imq0)" "$COUNT"
	equal "imq1: left" "$(left "$R" imq1)" "$COUNT"
	all_out imq0 imq1
}

# The listener holds packets on their way to imq0, and others that have been
# there, while imq0 goes; and while it comes back.
nfqueue_held() {
	local out

	have_nft
	topology
	packets_start held "$R" nfqueue 1 hold=1
	rule prerouting -110 'iifname "lan1" udp dport 5001 queue num 1'
	rule prerouting -99 'iifname "lan1" udp dport 5001-5002 imq todev 0'
	rule forward 0 'iifname "lan1" udp dport 5002 queue num 1'
	udp_load --idle 4000 \
		"id=before,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT" \
		"id=behind,from=$H1,to=$W,dst=198.51.100.2,port=5002,count=$COUNT"
	wait_for 10 held_by_queue $((2 * COUNT)) || fail "packets don't come to the queue"
	equal "imq0: left" "$(left "$R" imq0)" "$COUNT"
	r ip link del imq0
	[ "$1" = gone ] || {
		r ip link add imq0 type imq
		r ip link set imq0 up
	}
	kill -USR1 "$(cat "$imq_tmp/pid.held")"
	out=$(udp_load_end)
	equal "before: delivered" "$(field unique "$(flow before "$out")")" "$COUNT"
	equal "behind: delivered" "$(field unique "$(flow behind "$out")")" "$COUNT"
	contains "listener" "$(background_end held)" "answered=$((2 * COUNT))"
	if [ "$1" = gone ]; then
		equal "accepted without a device" "$(bypassed "$R" no_device)" "$COUNT"
	else
		equal "imq0: left" "$(left "$R" imq0)" "$COUNT"
		all_out imq0
	fi
}

# What waits in imq0 while its interface is set down does not go on to NFQUEUE, which
# would hold the interface until the listener answers.
nfqueue_down() {
	have_nft
	have_sch netem delay 1ms
	topology
	packets_start held "$R" nfqueue 1 hold=1
	r tc qdisc add dev imq0 root netem delay 1s limit 1000
	rule prerouting -99 'iifname "lan1" udp dport 5001 imq todev 0'
	rule forward 0 'iifname "lan1" udp dport 5001 queue num 1'
	udp_load --idle 4000 "from=$H1,to=$W,dst=198.51.100.2,port=5001,count=20"
	wait_for 5 backlog_is "$R" imq0 20 || fail "packets don't wait"
	r ip link set lan1 down
	wait_for 5 backlog_is "$R" imq0 0 || fail "packets stay in imq0"
	equal "drop_dev" "$(stat_of "$R" imq0 drop_dev)" 20
	held_by_queue 1 && fail "NFQUEUE has packets"
	at_most 5 ip -n "$R" link del lan1
	udp_load_end >/dev/null
	background_end held >/dev/null
}

# held_by_queue PACKETS
held_by_queue() {
	[ "$(ip netns exec "$R" cat /proc/net/netfilter/nfnetlink_queue |
		awk '{ print $3 }')" -ge "$1" ]
}

# Clones (F20) --------------------------------------------------------------

# tapped WAY DEV LINES: "packets distinct"
tapped() {
	local line

	line=$(printf '%s\n' "$3" | grep "^dev=$2 way=$1 ") || fail "tap: nothing $1 on $2"
	echo "$(field packets "$line") $(field distinct "$line")"
}

# netem makes clones, the packet socket has more of them, on each device.
duplicates() {
	local out sent got taps n=$COUNT

	have_nft
	have_sch netem delay 1ms
	topology
	shape_in lan1 udp 0
	shape_out wan udp 1
	case $1 in
	direct) set -- duplicate 50% ;;
	deferred) set -- delay 2ms duplicate 50% ;;
	esac
	r tc qdisc replace dev imq0 root netem "$@" limit 100000
	r tc qdisc replace dev imq1 root netem "$@" limit 100000
	packets_start tap "$R" tap 5001
	out=$(udp --idle 500 "from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$n,gap=100")
	sent=$(field sent "$out")
	got=$(field got "$out")
	equal "different ones delivered" "$(field unique "$out")" "$sent"
	equal "damaged" "$(field bad "$out")" 0
	within "copies delivered" "$(field dup "$out")" $((n / 2)) $((n * 3))
	taps=$(background_end tap)
	equal "on lan1" "$(tapped in lan1 "$taps")" "$sent $sent"
	equal "on imq0" "$(tapped out imq0 "$taps")" "$(left "$R" imq0) $sent"
	equal "on imq1" "$(tapped out imq1 "$taps")" "$got $sent"
	equal "on wan" "$(tapped out wan "$taps")" "$got $sent"
	equal "imq0: entered" "$(entered "$R" imq0)" "$sent"
	within "imq0: left" "$(left "$R" imq0)" $((sent + n / 4)) $((2 * sent))
	equal "imq1: entered" "$(entered "$R" imq1)" "$(left "$R" imq0)"
	equal "imq1: left" "$(left "$R" imq1)" "$got"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# count_copies: H2 counts those of datagrams to W, ports 5001 and 5002.
count_copies() {
	h2 nft -f - <<-EOT
	table ip t {
		counter copies { }
		chain c {
			type filter hook prerouting priority 0
			ip daddr 198.51.100.2 udp dport 5001-5002 counter name copies drop
		}
	}
	EOT
}

# nft and iptables make them before imq: each goes on once.
dup_and_tee() {
	local out

	have_nft
	have iptables-legacy
	topology
	shaper "$1" imq0 imq1
	rule prerouting -99 'iifname "lan1" udp dport 5001-5002 imq todev 0'
	rule postrouting 99 'oifname { "wan", "lan2" } udp dport 5001-5002 imq todev 1'
	r nft 'add table ip t; add chain ip t copies { type filter hook prerouting priority -110; }'
	r nft 'add rule ip t copies iifname "lan1" udp dport 5001 dup to 10.0.2.2 device "lan2"' ||
		skip "no dup"
	r iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp --dport 5002 \
		-j TEE --gateway 10.0.2.2 || skip "no TEE"
	count_copies
	out=$(udp "id=dup,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT" \
		  "id=tee,from=$H1,to=$W,dst=198.51.100.2,port=5002,count=$COUNT")
	equal "dup: delivered" "$(field got "$(flow dup "$out")")" "$COUNT"
	equal "tee: delivered" "$(field got "$(flow tee "$out")")" "$COUNT"
	all_out imq0 imq1
	equal "imq0: left" "$(left "$R" imq0)" $((2 * COUNT))
	equal "imq1: left" "$(left "$R" imq1)" $((4 * COUNT))
	equal "copies at H2" "$(nft_counter "$H2" ip t copies)" $((2 * COUNT))
}

# A copy that waits is not copied again when it goes on, nor is that one...
dup_waits() {
	local out

	have_nft
	topology
	shaper "$1" imq0
	r nft -f - <<-EOT || skip "no dup"
	table ip t {
		chain out {
			type filter hook output priority 0
			udp dport 5001 imq todev 0
		}
		chain copies {
			type filter hook postrouting priority 0
			udp dport 5001 dup to 10.0.2.2 device "lan2"
		}
	}
	EOT
	count_copies
	out=$(udp "from=$R,to=$W,dst=198.51.100.2,port=5001,count=$COUNT")
	equal "delivered" "$(field got "$out")" "$COUNT"
	all_out imq0
	equal "imq0: left" "$(left "$R" imq0)" $((2 * COUNT))
	equal "copies at H2" "$(nft_counter "$H2" ip t copies)" "$COUNT"
}

# Qdiscs that change packets (F22) ------------------------------------------

# With packet sockets beside, so that each packet has a clone.
tap_all() {
	packets_start tap "$R" tap 5001
	packets_start tap2 "$R" tap 5001
}

wash() {
	local out

	have_nft
	have_sch cake bandwidth 100mbit wash
	topology
	shape_in lan1 udp 0
	tap_all
	if [ "$1" = direct ]; then
		r tc qdisc replace dev imq0 root cake unlimited wash
	else
		r tc qdisc replace dev imq0 root cake bandwidth 20mbit wash
	fi
	r nft 'add table inet t; add counter inet t before; add counter inet t behind'
	rule prerouting -110 'iifname "lan1" @th,16,16 5001 ip dscp af11 counter name before'
	rule prerouting -110 'iifname "lan1" @th,16,16 5001 ip6 dscp af11 counter name before'
	rule forward 0 'iifname "lan1" @th,16,16 5001 ip dscp cs0 counter name behind'
	rule forward 0 'iifname "lan1" @th,16,16 5001 ip6 dscp cs0 counter name behind'
	out=$(udp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,tos=40,count=$COUNT" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5001,tos=40,count=$COUNT")
	equal "delivered, damaged" "$(printf '%s\n' "$out" | grep -c "unique=$COUNT .*bad=0")" 2
	equal "packets with DSCP before imq" "$(counter before)" $((2 * COUNT))
	equal "packets without DSCP behind imq" "$(counter behind)" $((2 * COUNT))
	all_out imq0
}

# The qdisc sees the hosts' addresses behind masquerading: each host has its
# share, though one sends by nine times as many flows.
cake_nat() {
	local out n one all=0 i

	have_nft
	have_sch cake bandwidth 10mbit nat dual-srchost
	topology
	r nft 'add table ip n; add chain ip n c { type nat hook postrouting priority srcnat; }'
	r nft 'add rule ip n c oifname "wan" masquerade'
	rule postrouting 110 'oifname "wan" meta l4proto udp imq todev 1'
	r tc qdisc replace dev imq1 root cake bandwidth 4mbit nat dual-srchost besteffort \
		memlimit 200000
	tap_all
	set -- "id=one,from=$H2,to=$W,dst=198.51.100.2,port=5001,count=600,size=1000,gap=1000"
	for ((i = 2; i < 11; i++)); do
		set -- "$@" "id=many$i,from=$H1,to=$W,dst=198.51.100.2,port=$((5000 + i)),count=600,size=1000,gap=1000"
	done
	out=$(udp --idle 800 "$@")
	n=$(total unique "$out")
	one=$(field unique "$(flow one "$out")")
	all=$(qdisc_drops "$R" imq1)
	equal "delivered, and dropped by cake" $((n + all)) 6000
	# As much as each other flow by flows, nine times as much by hosts; less of that
	# on a slow machine, where most of what it sends comes through.
	within "percent of another flow" $((one * 900 / (n - one))) 150 2000
	equal "source at W" "$(field from "$(flow one "$out")")" 198.51.100.1
	no_other_counter "$R" imq1
}

ack_filter() {
	local out

	have_nft
	have_sch cake bandwidth 10mbit ack-filter
	topology
	rule postrouting 99 'oifname "wan" meta l4proto tcp imq todev 1'
	r tc qdisc replace dev imq1 root cake bandwidth 128kbit "$1" besteffort no-split-gso
	packets_start tap "$R" tap 5001
	# Acknowledgements of many small packets
	w ethtool -K eth0 gso off tso off >/dev/null
	r ethtool -K wan gro off >/dev/null
	out=$(tcp --time 40 "from=$H1,to=$W,dst=198.51.100.2,reverse=1,bytes=2000000")
	equal "intact" "$(field intact "$out")" yes
	within "acknowledgements dropped" "$(r tc -s qdisc show dev imq1 root |
		awk '$1 == "ack_drop" { print $2 }')" 1 100000
	wait_for 10 backlog_is "$R" imq1 0
	equal "entered, but not left: dropped" \
		$(($(entered "$R" imq1) - $(left "$R" imq1))) "$(qdisc_drops "$R" imq1)"
	no_other_counter "$R" imq1
}

# marks QDISC...: a leaf of HTB that marks ECN packets instead of dropping them.
# As many come marked as it says.
marks() {
	local out marked kind=$1

	have_nft
	have_sch "$kind"
	topology
	shape_in lan1 udp 0
	r tc qdisc replace dev imq0 root handle 1: htb default 1
	r tc class add dev imq0 parent 1: classid 1:1 htb rate 4mbit burst 3000 cburst 3000
	r tc qdisc add dev imq0 parent 1:1 handle 11: "$@"
	tap_all
	new_counter marked
	rule forward 0 'iifname "lan1" ip ecn ce counter name marked'
	rule forward 0 'iifname "lan1" ip6 ecn ce counter name marked'
	out=$(udp --idle 1500 \
		"id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,tos=2,count=300,size=1000,gap=1500" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5001,tos=2,count=300,size=1000,gap=1500")
	marked=$(r tc -s qdisc show dev imq0 | awk -v k="$kind" '
		$1 == "qdisc" { ours = $2 == k }
		ours { for (i = 1; i < NF; i++) if ($i == "ecn_mark" || $i == "marked") print $(i + 1) }' |
		head -n 1)
	say "marked by $kind: $marked"
	within "packets that come marked" "$(counter marked)" 1 600
	[ "$kind" = sfb ] || equal "marked by $kind" "$marked" "$(counter marked)"
	equal "delivered, and dropped by $kind" \
		$(($(field got "$(flow v4 "$out")") + $(field got "$(flow v6 "$out")") +
		   $(qdisc_drops "$R" imq0))) 600
	equal "damaged" "$(field bad "$(flow v4 "$out")")$(field bad "$(flow v6 "$out")")" 00
	no_other_counter "$R" imq0
}

# splits QDISC...: GSO packets enter whole, and leave as segments, all of them
# with what netfilter has put on the packet.
splits() {
	local out

	have_nft
	have_sch "$@"
	topology
	shape_in lan1 tcp 0
	r tc qdisc replace dev imq0 root "$@"
	packets_start tap "$R" tap 5001
	new_counter marked forwarded
	rule prerouting -110 'iifname "lan1" meta l4proto tcp meta mark set 0x1234 meta priority set 1:7'
	rule prerouting -90 'iifname "lan1" meta l4proto tcp meta mark 0x1234 meta priority 1:7 ct state established,new counter name marked'
	rule forward 0 'iifname "lan1" meta l4proto tcp counter name forwarded'
	out=$(tcp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002")
	equal "v4: intact" "$(field intact "$(flow v4 "$out")")" yes
	equal "v6: intact" "$(field intact "$(flow v6 "$out")")" yes
	within "imq0: entered" "$(entered "$R" imq0)" 40 1000
	within "imq0: left" "$(left "$R" imq0)" 1380 10000
	no_other_counter "$R" imq0
	# What cake's AQM drops on a busy machine has come, and not left.
	equal "packets on FORWARD" "$(counter forwarded)" "$(left "$R" imq0)"
	equal "packets with mark and priority" "$(counter marked)" "$(left "$R" imq0)"
}

# All kinds of packets (F24) ------------------------------------------------

# sent_and_captured FILE: one of each kind from H1 to W; what W gets.
sent_and_captured() {
	local out

	packets_start capture "$W" capture eth0 -
	packets_start group "$R" mroute 239.1.1.1 10.0.1.2 10.0.1.1 198.51.100.1
	out=$(packets "$H1" frames eth0 router "$(mac_of "$R" lan1)" "$(mac_of "$H1" eth0)" \
		10.0.1.2 198.51.100.2 fd00:1::2 2001:db8:f::2)
	say "$out"
	# The last one that is forwarded
	wait_for 10 last_arrived "$2" || say "the last one has not arrived"
	background_end group >/dev/null
	background_end capture | grep '^frame ' >"$1" || true
}

last_arrived() {
	[ "$(nft_counter "$W" inet seen last)" -ge "$1" ]
}

# What W gets through imq, on the hooks around NAT and on FORWARD, is what it gets
# without, in the same order.
kinds() {
	have_nft
	topology
	r sysctl -qw net.ipv4.conf.all.bc_forwarding=1 net.ipv4.conf.lan1.bc_forwarding=1 \
		net.ipv4.conf.wan.bc_forwarding=1
	w nft -f - <<-EOT
	table inet seen {
		counter last { }
		chain c {
			type filter hook prerouting priority -500
			ip6 length 1460 counter name last
		}
	}
	EOT
	# Fragments are put together for conntrack, and taken apart again.
	[ "$1" = plain ] || rule prerouting -50 'ct state invalid counter'
	h1 ping -n -q -c 1 198.51.100.2 >&3
	h1 ping -n -q -c 1 2001:db8:f::2 >&3
	sent_and_captured "$imq_tmp/without" 1
	rule prerouting -99 'iifname "lan1" imq todev 0'
	rule prerouting -250 'iifname "lan1" imq todev 0'
	rule forward 0 'iifname "lan1" imq todev 0'
	rule postrouting 99 'oifname "wan" imq todev 1'
	shaper "$2" imq0 imq1
	sent_and_captured "$imq_tmp/with" 2
	within "packets at W" "$(wc -l <"$imq_tmp/without")" 24 40
	# Packets that have been put together get a new identification.
	[ "$1" = plain ] ||
		sed -E -i 's/^(frame .{12}2c.{74}).{8}/\1/' "$imq_tmp/without" "$imq_tmp/with"
	diff -u "$imq_tmp/without" "$imq_tmp/with" >&3 ||
		fail "packets came another way through imq"
	within "imq0: left" "$(left "$R" imq0)" 60 200
	all_out imq0 imq1
}

# Time (F26) ----------------------------------------------------------------

# stamps HOOK PRIORITY QDISC...: 100 ms in imq are no part of the time of
# arrival; fq and others don't take that for a time of departure.
stamps() {
	local out hook=$1 priority=$2 address
	shift 2

	have_nft
	have_sch "$@"
	topology
	rule "$hook" "$priority" 'udp dport 5001 imq todev 0'
	r tc qdisc replace dev imq0 root "$@"
	for address in 10.0.1.1 fd00:1::1; do
		out=$(packets "$R" stamps "$H1" "$R" "$address" 5001 50)
		equal "datagrams" "$(field got "$out")" 50
		equal "stamped before they were sent, or after they were read" \
			"$(field before "$out") $(field behind "$out")" "0 0"
		case $1 in
		netem) within "least time since the stamp" "$(field wait "$out")" 100000 100000000 ;;
		fq) equal "packets that fq takes for early" "$(fq_early imq0)" 0 ;;
		esac
	done
	equal "imq0: left" "$(left "$R" imq0)" 100
	equal "imq0: dropped" "$(qdisc_drops "$R" imq0)" 0
	all_out imq0
}

# stamps_copied: copies that are sent on have the time of arrival of what they are
# copies of: no time of departure either.
stamps_copied() {
	local out

	have_nft
	have_sch fq
	topology
	r nft -f - <<-EOT || skip "the kernel has no dup"
	table ip copies {
		chain in {
			type filter hook prerouting priority -150
			iifname "lan1" udp dport 5001 dup to 198.51.100.2 device "wan"
		}
	}
	EOT
	rule postrouting 0 'oifname "wan" udp dport 5001 imq todev 0'
	r tc qdisc replace dev imq0 root fq
	out=$(packets "$R" stamps "$H1" "$R" 10.0.1.1 5001 50)
	equal "datagrams" "$(field got "$out")" 50
	equal "packets that fq takes for early" "$(fq_early imq0)" 0
	equal "imq0: left" "$(left "$R" imq0)" 50
	equal "imq0: dropped" "$(qdisc_drops "$R" imq0)" 0
	all_out imq0
}

# fq_early DEV: packets that fq has held or dropped since it is not their time yet
fq_early() {
	r tc -s qdisc show dev "$1" root | awk '
		{ for (i = 1; i < NF; i++)
			if ($1 == "gc" && $i == "throttled" ||
			    $i == "horizon_drops" || $i == "horizon_caps") n += $(i + 1) }
		END { print n + 0 }'
}

# etf sends nothing before its time, and drops what has none or is late: packets
# that came in have none, whatever the time of their arrival. Of a local sender
# who says so, they go at their time, here at most two seconds before.
etf() {
	local out

	have_nft
	have_sch etf clockid CLOCK_TAI delta 100000 skip_sock_check
	topology
	rule prerouting -99 'iifname "lan1" udp dport 5001 imq todev 0'
	r tc qdisc replace dev imq0 root etf clockid CLOCK_TAI delta 100000 skip_sock_check
	out=$(packets "$R" stamps "$H1" "$R" 10.0.1.1 5001 20)
	equal "imq0: entered" "$(entered "$R" imq0)" 20
	equal "imq0: dropped for want of a time" "$(qdisc_drops "$R" imq0)" 20
	equal "delivered" "$(field got "$out")" 0
	rule output 0 'oifname "wan" udp dport 5002 imq todev 1'
	r tc qdisc replace dev imq1 root etf clockid CLOCK_TAI delta 2000000000
	w nft -f - <<-EOT
	table inet t {
		counter got { }
		chain c {
			type filter hook prerouting priority 0
			udp dport 5002 counter name got drop
		}
	}
	EOT
	packets "$R" txtime 198.51.100.2 5002 20 4000
	equal "imq1: entered" "$(entered "$R" imq1)" 20
	equal "imq1: left" "$(left "$R" imq1)" 0
	wait_for 10 all_left "$R" imq1
	wait_for 5 got_at_w 20 || fail "$(counter got "$W") delivered"
	no_other_counter "$R" imq1
}

got_at_w() {
	[ "$(counter got "$W")" -eq "$1" ]
}

# Redirects by BPF (F27) ----------------------------------------------------

# From lan1, on ingress and egress, to imq0: dropped, and counted. Clones of
# packets, too; the packets pass.
# bpf_redirect WAY WHAT [FLAGS]: FLAGS 1: to imq0's ingress
bpf_redirect() {
	local way=$1 what=$2 flags=${3:-0} out index from=$H1 to=$W dst=198.51.100.2 got=0

	topology
	packets "$R" bpf lan1 "$way" pass || skip "the kernel has no TCX, or no BPF"
	index=$(r cat /sys/class/net/imq0/ifindex)
	[ "$way" = ingress ] || from=$W to=$H1 dst=10.0.1.2
	packets "$R" bpf lan1 "$way" "$what" "$index" "$flags" 5001
	[ "$what" = redirect ] || got=$COUNT
	out=$(udp --idle 300 "id=f1,from=$from,to=$to,dst=$dst,port=5001,count=$COUNT" \
		  "id=f2,from=$from,to=$to,dst=$dst,port=5002,count=$COUNT")
	equal "delivered, redirected ones" "$(field got "$(flow f1 "$out")")" "$got"
	equal "delivered, others" "$(field got "$(flow f2 "$out")")" "$COUNT"
	equal "imq0: foreign" "$(stat_of "$R" imq0 foreign)" "$COUNT"
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" "0 0"
	equal "imq0: tx dropped" "$(ip -n "$R" -s link show imq0 |
		awk '/TX:/ { getline; print $4 }')" "$COUNT"
}

# A packet that imq has queued for another device, redirected by its egress
bpf_from_imq() {
	local out index

	have_nft
	topology
	shape_in lan1 udp 0
	packets "$R" bpf imq0 egress pass || skip "the kernel has no TCX, or no BPF"
	index=$(r cat /sys/class/net/imq1/ifindex)
	packets "$R" bpf imq0 egress redirect "$index" 0 5001
	out=$(udp --idle 300 "from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT")
	say "$out"
	equal "delivered" "$(field got "$out")" 0
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" "$COUNT 0"
	equal "imq1: foreign" "$(stat_of "$R" imq1 foreign)" "$COUNT"
	equal "imq1: left" "$(left "$R" imq1)" 0
}

imq_begin
for how in direct deferred; do
	imq_test "F2 IPv6 DAD, OUTPUT, $how" dad output 0 "$how"
	imq_test "F2 IPv6 DAD, POSTROUTING, $how" dad postrouting 99 "$how"
done
for how in direct deferred fq; do
	for place in ingress prerouting:-300 prerouting:-99 input:0; do
		imq_test "F16 bpf_sk_assign, imq on $place, $how" sk_assign "$place" "$how"
	done
done
imq_test "F18 queue mapping, and queues that go" queues
imq_test "F18 queues of traffic classes" queues_of_classes
imq_test "F18 queues come and go under load, direct" queues_loop direct
imq_test "F18 queues come and go under load, deferred" queues_loop deferred
imq_test "F18 queues of a tun device come and go, direct" queues_tun direct
imq_test "F18 queues of a tun device come and go, deferred" queues_tun deferred
for how in direct deferred; do
	imq_test "F19 NFQUEUE before, between and behind, $how" nfqueue_around "$how"
	imq_test "F19 NFQUEUE between -j IMQ and its hook, TCP, $how" nfqueue_marked "$how"
	imq_test "F19 NFQUEUE repeats, and queues to imq, $how" nfqueue_verdicts "$how"
done
imq_test "F19 NFQUEUE holds packets, imq0 goes" nfqueue_held gone
imq_test "F19 NFQUEUE holds packets, imq0 goes and comes" nfqueue_held again
imq_test "F10 input interface set down with packets queued, NFQUEUE behind" nfqueue_down
for how in direct deferred; do
	imq_test "F20 netem duplicates and packet sockets, $how" duplicates "$how"
	imq_test "F20 dup and TEE, $how" dup_and_tee "$how"
	imq_test "F20 dup behind imq, $how" dup_waits "$how"
done
imq_test "F22 cake wash, direct" wash direct
imq_test "F22 cake wash, deferred" wash deferred
imq_test "F22 cake nat" cake_nat
imq_test "F22 cake ack-filter" ack_filter ack-filter
imq_test "F22 cake ack-filter-aggressive" ack_filter ack-filter-aggressive
imq_test "F22 codel ecn" marks codel limit 1000 target 2ms interval 10ms ecn
imq_test "F22 fq_codel ecn" marks fq_codel limit 1000 target 2ms interval 10ms ecn
imq_test "F22 sfb" marks sfb limit 1000 max 200 target 5 increment 0.1 decrement 0.00001
imq_test "F22 tbf splits GSO packets" splits tbf rate 200mbit burst 1600 limit 4000000
imq_test "F22 cake splits GSO packets" splits cake bandwidth 400mbit split-gso memlimit 32mb
for how in direct deferred; do
	imq_test "F24 all kinds of packets, $how" kinds plain "$how"
	imq_test "F24 all kinds of packets with conntrack, $how" kinds conntrack "$how"
done
for hook in prerouting:-99 input:0; do
	imq_test "F26 SO_TIMESTAMP, fq, ${hook%:*}" stamps "${hook%:*}" "${hook#*:}" fq
	imq_test "F26 SO_TIMESTAMP, waiting, ${hook%:*}" stamps "${hook%:*}" "${hook#*:}" \
		netem delay 100ms limit 1000
done
imq_test "F26 SO_TIMESTAMP, fq, copies" stamps_copied
imq_test "F26 etf" etf
for way in ingress egress; do
	imq_test "F27 BPF redirect, $way" bpf_redirect "$way" redirect
	imq_test "F27 BPF clone redirect, $way" bpf_redirect "$way" clone
	imq_test "F27 BPF redirect, $way, to imq0's ingress" bpf_redirect "$way" redirect 1
done
imq_test "F27 BPF redirect from one imq to another" bpf_from_imq
imq_end
