#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a packet is and carries behind imq is what it was and carried before, and
# packets that no hook has sent to an imq device end there. That all are accounted
# for is in conserve.sh, that each passes each hook once in hooks_once.sh.
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

# Nothing is received on an imq device.
mirred_ingress() {
	local protocol out

	topology
	r tc qdisc add dev lan1 clsact || skip "the kernel has no clsact"
	for protocol in ip ipv6; do
		r tc filter add dev lan1 ingress protocol "$protocol" flower ip_proto udp \
			action mirred ingress redirect dev imq0 ||
			skip "the kernel has no mirred, or no flower"
	done
	out=$(udp --idle 200 "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=20" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=20")
	equal "delivered" "$(total got "$out")" 0
	foreign_is imq0 40
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

# changed direct|deferred ACTION...: tc actions on imq0 that take from its packets
# what those behind the hook rely on: they are no more its own.
changed() {
	local how=$1 out
	shift

	topology
	shape_out wan udp 0
	if [ "$how" = deferred ]; then
		have_sch netem delay 1ms
		r tc qdisc add dev imq0 root netem delay 3ms
	fi
	r tc qdisc add dev imq0 clsact || skip "the kernel has no clsact"
	r tc filter add dev imq0 egress protocol all matchall action "$@" ||
		skip "the kernel has no act_$1"
	out=$(udp --idle 200 "from=$H1,to=$W,dst=198.51.100.2,count=20,size=40")
	equal "delivered" "$(field got "$out")" 0
	equal "imq0: entered" "$(entered "$R" imq0)" 20
	foreign_is imq0 20
	r tc filter del dev imq0 egress
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "delivered, unchanged" "$(field got "$out")" 20
	equal "imq0: left" "$(left "$R" imq0)" 20
	equal "imq0: foreign" "$(stat_of "$R" imq0 foreign)" 20
}

# headers_taken direct|deferred: of 68 bytes, 16 are left, which are nominally IP.
headers_taken() {
	local i pops=()

	for ((i = 0; i < 13; i++)); do
		pops+=(pipe action mpls pop protocol mpls_uc)
	done
	changed "$1" mpls push protocol mpls_uc label 7 "${pops[@]}" \
		pipe action mpls pop protocol ip
}

# What a packet carries -----------------------------------------------------

# look MAC: marks before imq; counters behind it of packets as they were before, from
# that address.
look() {
	local mac=$1

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
}

# all_seen: what look() counts is all of the packets.
all_seen() {
	local name new

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
}

# unmodified direct|deferred: what hooks behind imq see is what those before saw.
unmodified() {
	local out

	have nft iptables-legacy
	topology
	shape_in lan1 udp 0
	shape_out wan udp 1
	if [ "$1" = deferred ]; then
		have_sch netem delay 1ms
		r tc qdisc add dev imq0 root netem delay 3ms
		r tc qdisc add dev imq1 root netem delay 3ms
	fi
	h1 ethtool -K eth0 tx off >/dev/null
	look "$(mac_of "$H1" eth0)"
	out=$(numbered tos=40)
	equal "delivered" "$(total unique "$out")" $((2 * COUNT))
	equal "damaged" "$(total bad "$out")" 0
	all_seen
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

imq_begin
imq_test "F27 packet socket on imq0" packet_socket
imq_test "F27 mirred into imq0" mirred
imq_test "F27 mirred to the ingress of imq0" mirred_ingress
imq_test "F27 mirred from one imq to another" mirred_from_imq
for how in direct deferred; do
	imq_test "F27 the route taken off inside imq0, $how" changed "$how" tunnel_key unset
	imq_test "F27 another protocol inside imq0, $how" \
		changed "$how" mpls push protocol mpls_uc label 7 \
		pipe action mpls pop protocol mpls_uc
	imq_test "F27 headers taken off inside imq0, $how" headers_taken "$how"
done
imq_test "unmodified, direct" unmodified direct
imq_test "unmodified, deferred" unmodified deferred
for how in default netem tbf cake; do
	imq_test "F22 TCP intact, $how" tcp_intact "$how"
done
imq_end
