#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets that only the caller of their hook can go on with, that no qdisc can
# hold, or that a transmit path changes: they pass, wait or not, and all of them
# are accounted for.
#
#    H1                     R
#   ┌───────────┐          ┌──────────────────────────┐
#   │ eth0      ├──────────┤ p1   10.0.9.254/24       │
#   │ 10.0.9.1  │          │      fd00:9::fe/64  imq0 │
#   │ fd00:9::1 │          └──────────────────────────┘
#   └───────────┘

. "$(dirname "$0")/imq_lib.sh"

COUNT=20

pair() {
	local ns

	have_nft
	new_ns "$R" "$H1"
	r ip link add imq0 type imq
	r ip link set imq0 up
	ip link add p1 netns "$R" type veth peer name eth0 netns "$H1"
	for ns in "$R" "$H1"; do
		imq_sysctl "$ns"
	done
	r ip link set p1 up
	h1 ip link set eth0 up
}

addresses() {
	r ip address add 10.0.9.254/24 dev p1
	r ip address add fd00:9::fe/64 dev p1 nodad
	h1 ip address add 10.0.9.1/24 dev eth0
	h1 ip address add fd00:9::1/64 dev eth0 nodad
	wait_for 5 links_ready "$R"
	wait_for 5 links_ready "$H1"
}

waiting() {
	r tc qdisc replace dev imq0 root netem delay 5ms limit 10000
}

# frames COUNT DESTINATION ETHERTYPE LENGTH: raw frames from H1; hexadecimal.
frames() {
	h1 python3 - "$@" <<-'EOT'
	import socket, sys, time
	count, to, proto, length = sys.argv[1:]
	s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
	s.bind(("eth0", 0))
	frame = bytes.fromhex(to + "020000000001" + proto) + b"x" * int(length)
	for i in range(int(count)):
	    s.send(frame)
	    if i % 100 == 99:
	        time.sleep(0.02)
	EOT
}

# pings: COUNT of COUNT are answered.
pings() {
	local out

	out=$(h1 ping -n -q -i 0.02 -W 2 -c "$COUNT" "$1") || fail "ping $1: $out"
	contains "ping $1" "$out" " 0% packet loss"
}

# A frame has no payload: qdiscs can't account a packet without a byte, fq_codel
# has looked for one to drop where there was none.
empty_frames() {
	pair
	r tc qdisc replace dev imq0 root handle 1: htb default 1
	r tc class add dev imq0 parent 1: classid 1:1 htb rate 8kbit burst 1600 \
		cburst 1600
	r tc qdisc add dev imq0 parent 1:1 fq_codel limit 10 flows 16
	r nft -f - <<-EOT
	table netdev t {
		counter seen { }
		chain c {
			type filter hook ingress device "p1" priority 0
			ether type 0x88b5 imq todev 0
		}
		chain d {
			type filter hook ingress device "p1" priority 1
			ether type 0x88b5 counter name seen
		}
	}
	EOT
	frames 2 ffffffffffff 88b5 1400
	frames 40 ffffffffffff 88b5 0
	equal "frames without payload that passed" \
		"$(stat_of "$R" imq0 bypass_unfit)" 40
	within "frames at the next hook" "$(nft_counter "$R" netdev t seen)" 40 42
}

# br_handle_local_finish() does not take the frame: later nobody goes on with it.
link_local() {
	local before after

	pair
	r ip link add br0 type bridge
	r ip link set p1 master br0
	r ip link set br0 up
	waiting
	r nft -f - <<-EOT
	table bridge t {
		chain c {
			type filter hook input priority 0
			ether type 0x888e imq todev 0
		}
	}
	EOT
	before=$(awk '$1 == "skbuff_head_cache" { print $2 }' /proc/slabinfo)
	frames 4000 0180c2000003 888e 100
	wait_for 5 backlog_is "$R" imq0 0
	after=$(awk '$1 == "skbuff_head_cache" { print $2 }' /proc/slabinfo)
	equal "link-local frames that passed" \
		"$(stat_of "$R" imq0 bypass_unfit)" 4000
	within "sk_buffs more than before" "$((after - before))" -100000 500
}

# A VRF's own pass of PREROUTING ends with kfree_skb(): only its caller goes on.
vrf() {
	pair
	r ip link add red type vrf table 10 || skip "the kernel has no VRF"
	r ip link set red up
	r ip link set p1 master red
	addresses
	waiting
	r nft -f - <<-EOT
	table ip t {
		chain c {
			type filter hook prerouting priority mangle
			ip protocol icmp imq todev 0
		}
	}
	EOT
	pings 10.0.9.254
	within "passed as they were" "$(stat_of "$R" imq0 bypass_unfit)" \
		"$COUNT" "$((2 * COUNT))"
	within "queued on the port's pass" "$(left "$R" imq0)" "$COUNT" \
		"$((2 * COUNT))"
}

# The packets of a tunnel in another namespace have its device at the hooks of
# the underlay.
foreign_tunnel() {
	pair
	addresses
	new_ns "$H2"
	r ip link add g0 type gre local 10.0.9.254 remote 10.0.9.1 ||
		skip "the kernel has no GRE"
	r ip link set g0 netns "$H2"
	# Its own packets would be counted, too.
	h2 sysctl -qw net.ipv6.conf.g0.disable_ipv6=1
	h2 ip address add 10.2.0.1/24 dev g0
	h2 ip link set g0 up
	h1 ip link add g1 type gre local 10.0.9.1 remote 10.0.9.254
	h1 ip address add 10.2.0.2/24 dev g1
	h1 ip link set g1 up
	waiting
	r nft -f - <<-EOT
	table ip t {
		chain c {
			type filter hook postrouting priority 0
			oifname "p1" ip protocol gre imq todev 0
		}
	}
	EOT
	pings 10.2.0.1
	equal "answers that left imq0" "$(left "$R" imq0)" "$COUNT"
	equal "dropped" "$(stat_of "$R" imq0 drop_dev)" 0
}

# validate_xmit_skb() moves the transport header to where the checksum starts,
# behind the extension headers; ip6_input() looks for them.
extension_headers() {
	pair
	addresses
	[ "$1" = direct ] || waiting
	r nft -f - <<-EOT
	table ip6 t {
		chain c {
			type filter hook prerouting priority mangle
			iifname "p1" imq todev 0
		}
	}
	EOT
	background server ip netns exec "$R" python3 -c '
import socket
s = socket.create_server(("fd00:9::fe", 5000), family=socket.AF_INET6)
while True:
    c, _ = s.accept()
    c.sendall(b"hello")
    c.close()
'
	wait_for 5 listening
	equal "TCP with destination options" "$(h1 python3 -c '
import socket
s = socket.socket(socket.AF_INET6)
s.settimeout(5)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
s.connect(("fd00:9::fe", 5000))
print(s.recv(100).decode())
')" hello
	background_end server
}

listening() {
	r ss -Hltn 'sport = 5000' | grep -q LISTEN
}

# Segments of a GSO packet with a VLAN tag in line (QinQ) begin behind the tag.
tagged_segments() {
	local line

	pair
	r ip link add link p1 name s5 type vlan id 5 protocol 802.1ad ||
		skip "the kernel has no VLANs"
	h1 ip link add link eth0 name s5 type vlan id 5 protocol 802.1ad
	r ip link add link s5 name c6 type vlan id 6
	h1 ip link add link s5 name c6 type vlan id 6
	r ip link set s5 up
	h1 ip link set s5 up
	r ip link set c6 up
	h1 ip link set c6 up
	r ip address add 10.0.6.254/24 dev c6
	h1 ip address add 10.0.6.1/24 dev c6
	wait_for 5 links_ready "$R"
	wait_for 5 links_ready "$H1"
	r tc qdisc replace dev imq0 root tbf rate 400mbit burst 3000 latency 1s
	r nft -f - <<-EOT
	table netdev t {
		chain c {
			type filter hook ingress device "p1" priority 0
			imq todev 0
		}
	}
	EOT
	line=$(tcp "from=$H1,to=$R,dst=10.0.6.254,bytes=4000000")
	equal "TCP bytes arrived" "$(field bytes "$line")" 4000000
	equal "TCP data intact" "$(field intact "$line")" yes
	equal "GSO packets that could not be split" "$(qdisc_drops "$R" imq0)" 0
	within "segments that left" "$(left "$R" imq0)" 2700 100000
	equal "foreign" "$(stat_of "$R" imq0 foreign)" 0
}

imq_begin
imq_test "F24 frames without payload pass" empty_frames
imq_test "link-local frames for a bridge pass, and are freed" link_local
imq_test "a VRF's own pass of PREROUTING passes" vrf
imq_test "F3 a tunnel in another namespace" foreign_tunnel
imq_test "F24 IPv6 extension headers, at once" extension_headers direct
imq_test "F24 IPv6 extension headers, waiting" extension_headers waiting
imq_test "F23 GSO packets with a VLAN tag in line are split" tagged_segments
imq_end
