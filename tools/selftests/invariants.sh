#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What holds whatever the shaper does: every packet is delivered or in a named
# counter, is as it was before, and passes each hook once, also while rules,
# devices and addresses change with packets queued.
#
# The drawing is in imq_lib.sh (topology). Most tests send numbered datagrams
# from H1 to W, which R sends through imq0 when it has received them.

. "$(dirname "$0")/imq_lib.sh"

COUNT=200

# numbered [KEY=VALUE...]: COUNT datagrams of each family; a line for each.
numbered() {
	local more=${1:+,$1}

	udp --idle 700 \
		"id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT$more" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=$COUNT$more"
}

# sum NAME LINES: of both flows.
sum() {
	echo $(($(field "$1" "$(flow v4 "$2")") + $(field "$1" "$(flow v6 "$2")")))
}

qdisc() {
	have_sch "$@"
	r tc qdisc add dev imq0 root handle 1: "$@"
}

# Conservation --------------------------------------------------------------

# conserved DROPS DUPLICATES QDISC [ARG...]: DROPS and DUPLICATES are yes, no or
# maybe: does this qdisc cause any? Of a duplicated packet, one copy or both may
# be dropped: only a qdisc that does not do both can be balanced exactly.
conserved() {
	local drops=$1 duplicates=$2 out entered left dropped dup
	shift 2

	topology
	shape_in lan1 udp 0
	qdisc "$@"
	[ "$1" != htb ] || r tc class add dev imq0 parent 1: classid 1:1 htb rate 20mbit
	out=$(numbered gap=50)
	entered=$(entered "$R" imq0)
	left=$(left "$R" imq0)
	dropped=$(qdisc_drops "$R" imq0)
	dup=$(sum dup "$out")
	equal "entered" "$entered" "$(sum sent "$out")"
	equal "left" "$left" "$(sum got "$out")"
	if [ "$drops$duplicates" = yesyes ]; then
		within "left, and dropped by the qdisc" $((left + dropped)) \
			$((entered + dup)) $((entered * 2))
	else
		equal "left, and dropped by the qdisc" $((left + dropped)) $((entered + dup))
	fi
	equal "in the qdisc" "$(qdisc_backlog "$R" imq0)" 0
	equal "damaged" "$(sum bad "$out")" 0
	no_other_counter "$R" imq0
	# Later copies of duplicates count as such, not as late.
	case $* in
	*reorder*|*3ms*) within "out of order" "$(sum late "$out")" 1 $((COUNT * 2)) ;;
	*) equal "out of order" "$(sum late "$out")" 0 ;;
	esac
	case $drops in
	yes) within "dropped" "$dropped" 1 $((COUNT * 2 - 1)) ;;
	no) equal "dropped" "$dropped" 0 ;;
	esac
	case $duplicates in
	yes) within "duplicates" "$dup" 1 $((COUNT * 2)) ;;
	no) equal "duplicates" "$dup" 0 ;;
	esac
}

# The device is taken down and up while packets come. Those in its qdisc go then.
down_and_up() {
	local out i

	have_sch netem delay 1ms
	topology
	shape_in lan1 udp 0
	[ "$1" = direct ] || r tc qdisc add dev imq0 root handle 1: netem delay 5ms
	udp_load --idle 500 "from=$H1,to=$W,dst=198.51.100.2,count=0,gap=500"
	for ((i = 0; i < 25; i++)); do
		r ip link set imq0 down
		sleep 0.02
		r ip link set imq0 up
		sleep 0.03
	done
	out=$(udp_load_end)
	equal "entered, and passed while down" \
		$(($(entered "$R" imq0) + $(stat_of "$R" imq0 bypass_down))) \
		"$(field sent "$out")"
	equal "delivered" "$(field got "$out")" \
		$(($(left "$R" imq0) + $(stat_of "$R" imq0 bypass_down) - \
		   $(stat_of "$R" imq0 drop_dev)))
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
	within "passed while down" "$(stat_of "$R" imq0 bypass_down)" 1 1000000
	within "left" "$(left "$R" imq0)" 1 1000000
}

# Qdiscs are replaced while packets come (F8).
qdisc_loop() {
	local out i kind

	for kind in fq_codel netem sfq htb; do
		have_sch "$kind"
	done
	topology
	shape_in lan1 udp 0
	udp_load --idle 500 "from=$H1,to=$W,dst=198.51.100.2,count=0,gap=500"
	for ((i = 0; i < 12; i++)); do
		for kind in pfifo fq_codel "netem delay 1ms" sfq; do
			# shellcheck disable=SC2086 # a list of words
			r tc qdisc replace dev imq0 root $kind
		done
		r tc qdisc replace dev imq0 root handle 1: htb default 1
		r tc class add dev imq0 parent 1: classid 1:1 htb rate 1gbit
		r tc filter add dev imq0 parent 1: protocol ip prio 1 u32 \
			match ip dst 198.51.100.2 flowid 1:1
		r tc qdisc add dev imq0 parent 1:1 handle 11: pfifo
		r tc filter del dev imq0 parent 1: prio 1
		r tc qdisc del dev imq0 root
	done
	out=$(udp_load_end)
	equal "entered" "$(entered "$R" imq0)" "$(field sent "$out")"
	equal "delivered" "$(field got "$out")" "$(left "$R" imq0)"
	within "delivered" "$(field got "$out")" $(($(field sent "$out") / 2)) 1000000
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
	no_other_counter "$R" imq0
}

# deleted WHICH: a device goes with COUNT packets queued: imq0, or the one that
# they came from, or the one that they are to be sent on.
deleted() {
	local out dropped

	have_sch netem delay 1ms
	topology
	case $1 in
	wan) shape_out wan udp 0 ;;
	*) shape_in lan1 udp 0 ;;
	esac
	r tc qdisc add dev imq0 root handle 1: netem delay 1500ms limit 10000
	udp_load --idle 2500 "from=$H1,to=$W,dst=198.51.100.2,count=$COUNT,gap=0"
	wait_for 5 backlog_is "$R" imq0 "$COUNT"
	at_most 5 ip -n "$R" link del "$1"
	out=$(udp_load_end)
	equal "delivered" "$(field got "$out")" 0
	[ "$1" != imq0 ] || return 0
	dropped=$(stat_of "$R" imq0 drop_dev)
	equal "dropped for want of the device" "$dropped" "$COUNT"
	equal "left" "$(left "$R" imq0)" "$COUNT"
}

# The device goes and comes back under load.
deleted_loop() {
	local out i

	topology
	shape_in lan1 udp 0
	udp_load --idle 500 "from=$H1,to=$W,dst=198.51.100.2,count=0,gap=500"
	for ((i = 0; i < 25; i++)); do
		r ip link del imq0
		r ip link add imq0 type imq
		r tc qdisc add dev imq0 root pfifo
		r ip link set imq0 up
		sleep 0.02
	done
	out=$(udp_load_end)
	# A packet in the ring when it goes, each time
	within "lost" "$(field lost "$out")" 0 25
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
	within "sent" "$(field sent "$out")" 500 1000000
}

# Interfaces, the router's own, are taken down and up under load (F5).
interface_loop() {
	local out i ns

	have_sch netem delay 1ms
	topology
	shape_in lan1 udp 0
	shape_out wan udp 1
	r tc qdisc add dev imq0 root handle 1: netem delay 2ms
	r tc qdisc add dev imq1 root handle 1: netem delay 2ms
	udp_load --idle 500 \
		"id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=0,gap=500,echo=1" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=0,gap=500,echo=1"
	for ((i = 0; i < 3; i++)); do
		r ip link set wan down
		r ip link set lan1 down
		r ip link set lan1 up
		r ip link set wan up
		for ns in "$W" "$R" "$H1"; do
			wait_for 5 links_ready "$ns"
		done
		sleep 0.1
	done
	out=$(udp_load_end)
	equal "duplicates, damaged" "$(sum dup "$out") $(sum bad "$out")" "0 0"
	within "IPv4, delivered" "$(field unique "$(flow v4 "$out")")" 100 100000
	within "IPv6, delivered" "$(field unique "$(flow v6 "$out")")" 100 100000
	out=$(numbered)
	equal "delivered afterwards" "$(sum unique "$out")" $((COUNT * 2))
}

# More than goes through: memory doesn't grow, drops are counted (F12, F13).
overload() {
	local out before after

	topology
	shape_in lan1 udp 0
	qdisc tbf rate 2mbit burst 3000 limit 20000
	before=$(ext_slabs)
	out=$(udp --idle 400 "from=$H1,to=$W,dst=198.51.100.2,count=10000,gap=0,size=500")
	after=$(ext_slabs)
	equal "entered" "$(entered "$R" imq0)" 10000
	equal "delivered, and dropped" \
		$(($(field got "$out") + $(qdisc_drops "$R" imq0))) 10000
	within "dropped" "$(qdisc_drops "$R" imq0)" 5000 9999
	say "objects in skbuff_ext_cache: $before before, $after after"
	[ "$before" = unknown ] || within "growth" $((after - before)) -10000 500
}

ext_slabs() {
	awk '$1 == "skbuff_ext_cache" { n = $2 } END { print n ? n : "unknown" }' /proc/slabinfo
}

# Foreign packets -----------------------------------------------------------

# foreign_is DEV COUNT
foreign_is() {
	equal "$1: foreign" "$(stat_of "$R" "$1" foreign)" "$2"
	equal "$1: left" "$(left "$R" "$1")" 0
	equal "$1: tx dropped" "$(ip -n "$R" -s link show "$1" |
		awk '/TX:/ { getline; print $4 }')" "$2"
}

packet_socket() {
	topology
	# IPv4, IPv6, ARP, nothing at all; raw, and cooked
	r python3 - <<-EOT
	import socket
	for kind in socket.SOCK_RAW, socket.SOCK_DGRAM:
	    s = socket.socket(socket.AF_PACKET, kind)
	    for protocol, data in (
	        (0x0800, b"\x45\0\0\x14\0\0\0\0\x40\x01\0\0\x0a\0\x01\x02\xc6\x33\x64\x02"),
	        (0x86dd, b"\x60\0\0\0\0\0\x3b\x40" + bytes(32)),
	        (0x0806, bytes(28)),
	        (0x0800, b"\x45"),
	        (0x88b5, bytes(60))):
	        s.sendto(data, ("imq0", protocol))
	EOT
	foreign_is imq0 10
}

mirred() {
	local out

	topology
	r tc qdisc add dev lan1 clsact || skip "the kernel has no clsact"
	r tc filter add dev lan1 ingress protocol all matchall \
		action mirred egress redirect dev imq0 || skip "the kernel has no mirred"
	r tc filter add dev lan1 egress protocol all matchall \
		action mirred egress mirror dev imq1
	out=$(udp --idle 200 "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "delivered" "$(field got "$out")" 0
	within "imq0: foreign" "$(stat_of "$R" imq0 foreign)" 1 1000
	equal "imq0: left" "$(left "$R" imq0)" 0
	# Mirrored ones pass, their copies don't.
	r tc filter del dev lan1 ingress
	out=$(udp "from=$W,to=$H1,dst=10.0.1.2,count=20")
	equal "delivered" "$(field got "$out")" 20
	within "imq1: foreign" "$(stat_of "$R" imq1 foreign)" 20 1000
	equal "imq1: left" "$(left "$R" imq1)" 0
}

# A packet of imq0 that its own egress filter sends to imq1 has a hook to go on
# behind, but not from there.
mirred_from_imq() {
	local out

	topology
	shape_in lan1 udp 0
	r tc qdisc add dev imq0 clsact || skip "the kernel has no clsact"
	r tc filter add dev imq0 egress protocol all matchall \
		action mirred egress redirect dev imq1 || skip "the kernel has no mirred"
	out=$(udp --idle 200 "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "delivered" "$(field got "$out")" 0
	equal "imq0: entered" "$(entered "$R" imq0)" 20
	equal "imq0: left" "$(left "$R" imq0)" 0
	foreign_is imq1 20
	# A mirrored copy to W, past the hooks
	r tc filter del dev imq0 egress
	r tc filter add dev imq0 egress protocol all matchall \
		action mirred egress mirror dev imq1
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "delivered" "$(field got "$out")" 20
	foreign_is imq1 40
}

# What a packet carries -----------------------------------------------------

# unmodified direct|deferred: what hooks behind imq see is what those before saw.
unmodified() {
	local out mac name new

	have nft iptables-legacy
	topology
	shape_in lan1 udp 0
	shape_out wan udp 1
	if [ "$1" = deferred ]; then
		have_sch netem delay 1ms
		r tc qdisc add dev imq0 root netem delay 3ms
		r tc qdisc add dev imq1 root netem delay 3ms
	fi
	mac=$(ip -n "$H1" -o link show eth0 | sed 's/.*link\/ether \([^ ]*\).*/\1/')
	h1 ethtool -K eth0 tx off >/dev/null
	r nft -f - <<-EOT
	table inet marks {
		chain before {
			type filter hook prerouting priority -110
			iifname "lan1" meta l4proto udp jump mark_it
		}
		chain mark_it {
			meta mark set 0x12345678
			meta priority set abcd:1234
		}
	}
	table inet seen {
		counter marked { }
		counter prioritized { }
		counter from_lan1 { }
		counter length { }
		counter mac { }
		counter new { }
		counter established { }
		counter out { }
		chain behind {
			type filter hook prerouting priority -90
			iifname "lan1" meta l4proto udp jump look
		}
		chain look {
			meta mark 0x12345678 counter name marked
			meta priority abcd:1234 counter name prioritized
			iiftype ether meta pkttype host counter name from_lan1
			ether saddr $mac counter name mac
			ip length 128 ip dscp 10 ip ttl 64 counter name length
			ip6 length 108 ip6 dscp 10 ip6 hoplimit 64 counter name length
			ct state new counter name new
			ct state established counter name established
		}
		chain post {
			type filter hook postrouting priority 110
			oifname "wan" meta mark 0x12345678 jump look_out
		}
		chain look_out {
			ip ttl 63 counter name out
			ip6 hoplimit 63 counter name out
		}
	}
	EOT
	r iptables-legacy -A FORWARD -i lan1 -o wan -p udp -m mac --mac-source "$mac"
	r ip6tables-legacy -A FORWARD -i lan1 -o wan -p udp -m mac --mac-source "$mac"
	out=$(numbered tos=40)
	equal "delivered" "$(sum unique "$out")" $((2 * COUNT))
	equal "damaged" "$(sum bad "$out")" 0
	for name in marked prioritized from_lan1 mac length out; do
		equal "packets seen as $name" "$(nft_counter "$R" inet seen "$name")" $((2 * COUNT))
	done
	new=$(nft_counter "$R" inet seen new)
	within "packets that begin a connection" "$new" 2 $((2 * COUNT))
	equal "packets that begin a connection, and others" \
		$((new + $(nft_counter "$R" inet seen established))) $((2 * COUNT))
	for name in iptables-legacy ip6tables-legacy; do
		equal "$name: seen on FORWARD with its MAC address" \
			"$(r "$name" -vxnL FORWARD | awk '/MAC/ { print $1 }')" "$COUNT"
	done
	equal "UDP checksum errors at W" "$(snmp "$W" Udp InCsumErrors)" 0
}

# snmp NETNS PROTOCOL COUNTER: of /proc/net/snmp, a line of names and one of values.
snmp() {
	ip netns exec "$1" cat /proc/net/snmp | awk -v p="$2:" -v c="$3" '
		$1 == p && !column { for (i = 2; i <= NF; i++) if ($i == c) column = i; next }
		$1 == p { print $column }'
}

# GRO/GSO packets with partial checksums; TCP both ways through both devices,
# and through a qdisc that splits them.
tcp_intact() {
	local out id

	topology
	shape_in lan1 tcp 0
	shape_out lan1 tcp 1
	case $1 in
	netem) set -- netem delay 2ms limit 10000 ;;
	tbf) set -- tbf rate 100mbit burst 3000 limit 1000000 ;;
	cake) set -- cake bandwidth 100mbit split-gso ;;
	esac
	if [ "$1" != default ]; then
		have_sch "$@"
		r tc qdisc add dev imq0 root "$@"
		r tc qdisc add dev imq1 root "$@"
	fi
	out=$(tcp "id=up4,from=$H1,to=$W,dst=198.51.100.2,port=5001" \
		  "id=down4,from=$H1,to=$W,dst=198.51.100.2,port=5002,reverse=1" \
		  "id=up6,from=$H1,to=$W,dst=2001:db8:f::2,port=5003" \
		  "id=down6,from=$H1,to=$W,dst=2001:db8:f::2,port=5004,reverse=1")
	for id in up4 down4 up6 down6; do
		equal "$id: intact" "$(field intact "$(flow "$id" "$out")")" yes
	done
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
	within "imq0: left" "$(left "$R" imq0)" 100 100000
}

# Hooks ---------------------------------------------------------------------

# The rules that are replaced: imq, with NAT around it.
replaced_rules() {
	cat <<-EOT
	table inet replaced
	delete table inet replaced
	table inet replaced {
		chain pre {
			type filter hook prerouting priority -99
			iifname "lan1" meta l4proto udp imq todev 0
		}
		chain forwarded {
			type filter hook forward priority -10
			meta l4proto udp imq todev 1
		}
		chain post {
			type filter hook postrouting priority 95
			oifname "wan" meta l4proto udp imq todev 1
		}
		chain masq {
			type nat hook postrouting priority 100
			oifname "wan" masquerade
		}
	}
	EOT
}

# The hooks that count, and stay. None has the priority of one with imq: packets
# whose imq hook is gone go on at the next higher priority.
counting_rules() {
	local hook priority

	echo "table inet count {"
	for hook in pre:prerouting:-110 after_pre:prerouting:-90 forwarded:forward:-20 \
		    after_forwarded:forward:10 post:postrouting:90 \
		    after_post:postrouting:99 last:postrouting:110; do
		priority=${hook##*:}
		echo "counter ${hook%%:*} { }"
		hook=${hook%:*}
		cat <<-EOT
		chain c_${hook%%:*} {
			type filter hook ${hook#*:} priority $priority
			meta l4proto udp udp dport 5000-5999 counter name ${hook%%:*}
		}
		EOT
	done
	echo "}"
}

# Each hook is passed once, by all packets, and all are translated.
hooks_once() {
	local out name n i

	have_nft
	have_sch netem delay 1ms
	topology
	replaced_rules >"$imq_tmp/replaced"
	r nft -f "$imq_tmp/replaced"
	counting_rules | r nft -f -
	r tc qdisc add dev imq0 root netem delay 7ms 3ms limit 10000
	r tc qdisc add dev imq1 root netem delay 7ms 3ms limit 10000
	out=$imq_tmp/sum
	: >"$out"
	# shellcheck disable=SC2016 # for the other shell
	[ "$1" = still ] ||
		background reload ip netns exec "$R" bash -c \
			'n=0; trap "echo reloads=\$n; exit" TERM
			while :; do nft -f "$0" && n=$((n + 1)); done' "$imq_tmp/replaced"
	# New connections all the time
	for ((i = 0; i < $2; i++)); do
		numbered "port=$((5000 + i)),gap=100" >>"$out"
	done
	if [ "$1" != still ]; then
		within "times the rules were replaced" \
			"$(field reloads "$(background_end reload | tail -n 1)")" 100 100000
	fi
	n=$(($2 * 2 * COUNT))
	equal "delivered" "$(awk -F'unique=' '{ n += $2 } END { print n }' "$out")" "$n"
	equal "sources at W" "$(sed 's/.* from=\([^ ]*\).*/\1/' "$out" | sort -u | tr '\n' ' ')" \
		"198.51.100.1 2001:db8:f::1 "
	for name in pre after_pre forwarded after_forwarded post after_post last; do
		equal "packets counted by the hook $name" \
			"$(nft_counter "$R" inet count "$name")" "$n"
	done
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" "$n $n"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# The same with iptables-restore, and imq between the tables.
xt_hooks_once() {
	local out n=$((2 * COUNT)) i command

	have_xt "$1"
	have_xt "ip6${1#ip}"
	have_sch netem delay 1ms
	topology
	for command in "$1" "ip6${1#ip}"; do
		cat >"$imq_tmp/$command" <<-EOT
		*mangle
		-A PREROUTING -i lan1 -p udp -j IMQ --todev 0
		-A POSTROUTING -o wan -p udp -j IMQ --todev 1
		COMMIT
		*nat
		-A POSTROUTING -o wan -j MASQUERADE
		COMMIT
		EOT
		r "$command-restore" "$imq_tmp/$command"
		r "$command" -A FORWARD -i lan1 -p udp
	done
	r tc qdisc add dev imq0 root netem delay 7ms 3ms limit 10000
	r tc qdisc add dev imq1 root netem delay 7ms 3ms limit 10000
	# shellcheck disable=SC2016 # for the other shell
	background reload ip netns exec "$R" bash -c \
		'n=0; trap "echo reloads=\$n; exit" TERM
		while :; do "$0-restore" "$1" && "$2-restore" "$3" && n=$((n + 1)); done' \
		"$1" "$imq_tmp/$1" "ip6${1#ip}" "$imq_tmp/ip6${1#ip}"
	for ((i = 0; i < 4; i++)); do
		out=$(numbered "gap=500,sport=$((6000 + i))")
		equal "delivered" "$(sum unique "$out")" "$n"
		equal "duplicates" "$(sum dup "$out")" 0
		equal "source at W, IPv4" "$(field from "$(flow v4 "$out")")" 198.51.100.1
		equal "source at W, IPv6" "$(field from "$(flow v6 "$out")")" 2001:db8:f::1
	done
	within "times the rules were replaced" \
		"$(field reloads "$(background_end reload | tail -n 1)")" 5 100000
	for command in "$1" "ip6${1#ip}"; do
		equal "$command: packets on FORWARD" \
			"$(r "$command" -vxnL FORWARD | awk '/lan1/ { print $1 }')" $((4 * COUNT))
	done
	equal "imq1: left" "$(left "$R" imq1)" $((4 * n))
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# All rules go while packets are queued: they pass, and the hooks that are left
# are passed once.
rules_gone() {
	local out

	have_nft
	have_sch netem delay 1ms
	topology
	r nft -f - <<-EOT
	$(replaced_rules)
	EOT
	counting_rules | r nft -f -
	r tc qdisc add dev imq0 root netem delay 800ms limit 10000
	udp_load --idle 2000 \
		"id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT,gap=0" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=$COUNT,gap=0"
	wait_for 5 backlog_is "$R" imq0 $((2 * COUNT))
	r nft delete table inet replaced
	wait_for 5 backlog_is "$R" imq0 0
	out=$(udp_load_end)
	equal "delivered" "$(sum unique "$out")" $((2 * COUNT))
	equal "duplicates" "$(sum dup "$out")" 0
	for name in pre after_pre forwarded after_forwarded post last; do
		equal "packets counted by the hook $name" \
			"$(nft_counter "$R" inet count "$name")" $((2 * COUNT))
	done
}

imq_begin
imq_test "conserved by the default qdisc" conserved no no pfifo limit 1000
imq_test "conserved by htb" conserved no no htb default 1
imq_test "conserved by fq_codel" conserved no no fq_codel
imq_test "conserved by fq" conserved no no fq
imq_test "conserved by sfq" conserved maybe no sfq
imq_test "conserved by cake" conserved maybe no cake bandwidth 50mbit
imq_test "conserved by netem delay" conserved no no netem delay 10ms limit 10000
imq_test "conserved by netem loss" conserved yes no netem loss 20% limit 10000
imq_test "conserved by netem duplicate" conserved no yes netem delay 1ms duplicate 30% limit 10000
imq_test "conserved by netem reorder" conserved no no netem delay 10ms reorder 50% limit 10000
imq_test "conserved by netem, all at once" conserved yes yes \
	netem delay 5ms 3ms loss 10% duplicate 20% reorder 20% limit 10000
imq_test "conserved by a full pfifo" conserved yes no netem delay 100ms limit 20
imq_test "conserved, device down and up, direct" down_and_up direct
imq_test "conserved, device down and up, deferred" down_and_up deferred
imq_test "qdiscs, classes, filters replaced under load" qdisc_loop
imq_test "overload: drops counted, memory flat" overload
imq_test "imq0 deleted with packets queued" deleted imq0
imq_test "input interface deleted with packets queued" deleted lan1
imq_test "output interface deleted with packets queued" deleted wan
imq_test "imq0 deleted and made again under load" deleted_loop
imq_test "interfaces down and up under load" interface_loop
imq_test "foreign: packet socket" packet_socket
imq_test "foreign: mirred into imq0" mirred
imq_test "foreign: mirred from one imq to another" mirred_from_imq
imq_test "unmodified, direct" unmodified direct
imq_test "unmodified, deferred" unmodified deferred
for how in default netem tbf cake; do
	imq_test "TCP intact, $how" tcp_intact "$how"
done
imq_test "each hook once" hooks_once still 3
imq_test "each hook once, rules replaced under load" hooks_once replaced 14
imq_test "each hook once, all rules deleted" rules_gone
imq_test "each hook once, iptables-legacy-restore in a loop" xt_hooks_once iptables-legacy
imq_test "each hook once, iptables-nft-restore in a loop" xt_hooks_once iptables-nft
imq_end
