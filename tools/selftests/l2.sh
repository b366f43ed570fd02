#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# imq below IP: in the bridge family, on a bridge whose packets iptables sees
# (br_netfilter), and on ingress and egress of an interface (netdev family).
# Frames come out as they went in: addresses, VLAN tags, all protocols, also when
# they wait, and when the qdisc splits GSO packets.
#
#    H1                     R                         H2
#   ┌───────────┐          ┌───────────────┐         ┌───────────┐
#   │ eth0      ├──────────┤ p1   br0   p2 ├─────────┤ eth0      │
#   │ 10.0.9.1  │          │   10.0.9.254  │         │ 10.0.9.2  │
#   │ fd00:9::1 │          │   fd00:9::fe  │         │ fd00:9::2 │
#   │ eth0.5    │          │               │         │ eth0.5    │
#   │ 10.0.5.1  │          │               │         │ 10.0.5.2  │
#   └───────────┘          └───────────────┘         └───────────┘
#
# Or, for the netdev family, the router of imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

COUNT=30

switch() {
	local n ns

	have_nft
	new_ns "$R" "$H1" "$H2"
	r ip link add imq0 type imq
	r ip link add imq1 type imq
	r ip link set imq0 up
	r ip link set imq1 up
	r ip link add br0 type bridge mcast_snooping 0 || skip "the kernel has no bridge"
	ip link add p1 netns "$R" type veth peer name eth0 netns "$H1"
	ip link add p2 netns "$R" type veth peer name eth0 netns "$H2"
	for ns in "$R" "$H1" "$H2"; do
		imq_sysctl "$ns"
	done
	ip -n "$R" -batch - <<-EOT
	link set p1 master br0 up
	link set p2 master br0 up
	link set br0 up
	address add 10.0.9.254/24 dev br0
	address add fd00:9::fe/64 dev br0 nodad
	EOT
	for n in 1 2; do
		[ "$n" -eq 1 ] && ns=$H1 || ns=$H2
		ip -n "$ns" -batch - <<-EOT
		link set eth0 address 02:00:00:00:00:0$n
		address add 10.0.9.$n/24 dev eth0
		address add fd00:9::$n/64 dev eth0 nodad
		link set eth0 up
		EOT
	done
	for ns in "$H1" "$R" "$H2"; do
		wait_for 5 links_ready "$ns"
	done
}

vlan() {
	local n ns

	for n in 1 2; do
		[ "$n" -eq 1 ] && ns=$H1 || ns=$H2
		ip -n "$ns" link add link eth0 name eth0.5 type vlan id 5 ||
			skip "the kernel has no VLANs"
		ip -n "$ns" address add "10.0.5.$n/24" dev eth0.5
		ip -n "$ns" link set eth0.5 up
	done
}

# What comes out at H2 is counted on its ingress, by what it looks like.
look() {
	on "$H2" nft -f - <<-EOT
	table netdev look {
		counter good { }
		counter tagged { }
		counter strange { }
		chain c {
			type filter hook ingress device "eth0" priority 0
			ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 accept
			ether daddr != 02:00:00:00:00:02 counter name strange accept
			ether saddr 02:00:00:00:00:01 jump from_h1
			ether saddr $(mac_of "$R" br0) accept
			counter name strange
		}
		chain from_h1 {
			ether type vlan vlan id 5 counter name tagged accept
			ether type { ip, ip6, arp } counter name good accept
		}
	}
	EOT
}

looks() {
	nft_counter "$H2" netdev look "$1"
}

# shaper HOW: the qdisc of both devices. Direct: the default.
shaper() {
	case $1 in
	direct) return ;;
	deferred) set -- netem delay 3ms limit 10000 ;;
	tbf) set -- tbf rate 100mbit burst 3000 limit 1000000 ;;
	cake) set -- cake bandwidth 100mbit split-gso ;;
	esac
	have_sch "$@"
	r tc qdisc add dev imq0 root "$@"
	r tc qdisc add dev imq1 root "$@"
}

have_br_netfilter() {
	modprobe -q br_netfilter || true
	[ -e /proc/sys/net/bridge ] || skip "the kernel has no br_netfilter"
}

# bridge_rules CHAIN...: each sends all packets to imq0.
bridge_rules() {
	local hook

	{
		echo "table bridge shape {"
		for hook in "$@"; do
			echo "chain c_$hook { type filter hook $hook priority 0; imq todev 0; }"
		done
		echo "}"
	} | r nft -f -
}

# exchange FROM-TO-ADDRESSES...: each a pair of datagram flows from H1.
exchange() {
	local out id

	out=$(udp "id=h2v4,from=$H1,to=$H2,dst=10.0.9.2,port=5001,count=$COUNT,echo=1" \
		  "id=h2v6,from=$H1,to=$H2,dst=fd00:9::2,port=5002,count=$COUNT,echo=1" \
		  "id=br0v4,from=$H1,to=$R,dst=10.0.9.254,port=5003,count=$COUNT,echo=1" \
		  "id=br0v6,from=$H1,to=$R,dst=fd00:9::fe,port=5004,count=$COUNT,echo=1" "$@")
	while read -r id; do
		equal "$id: echoes" "$(field echoed "$(flow "$id" "$out")")" "$COUNT"
		equal "$id: duplicates" "$(field dup "$(flow "$id" "$out")")" 0
	done <<-EOT
	$(printf '%s\n' "$out" | sed 's/id=\([^ ]*\) .*/\1/')
	EOT
}

# bridge_hook HOW HOOK...: those that packets through the bridge, to it and from
# it pass. ARP and neighbour discovery go through imq0, too.
bridge_hook() {
	local how=$1 n=0 hook
	shift

	switch
	vlan
	look
	shaper "$how"
	bridge_rules "$@"
	exchange "id=vlan,from=$H1,to=$H2,dst=10.0.5.2,port=5005,count=$COUNT,echo=1"
	# To H2: two flows of $COUNT, and ARP and the like
	within "frames for H2" "$(looks good)" $((2 * COUNT)) $((2 * COUNT + 20))
	within "tagged frames for H2" "$(looks tagged)" "$COUNT" $((COUNT + 10))
	equal "strange frames for H2" "$(looks strange)" 0
	# Three flows go through the bridge, two are with it, in both directions.
	# And ARP and the like
	for hook in "$@"; do
		case $hook in
		prerouting|postrouting) n=$((n + (6 + 2) * COUNT)) ;;
		forward) n=$((n + 6 * COUNT)) ;;
		input|output) n=$((n + 2 * COUNT)) ;;
		esac
	done
	within "imq0: entered" "$(entered "$R" imq0)" "$n" $((n + 40 * $#))
	wait_for 5 all_left "$R" imq0
	no_other_counter "$R" imq0
}

# bridge_tcp HOW: GSO packets, and what becomes of them in a qdisc that splits.
bridge_tcp() {
	local out id

	switch
	vlan
	look
	shaper "$1"
	bridge_rules prerouting forward postrouting
	out=$(tcp "id=there4,from=$H1,to=$H2,dst=10.0.9.2,port=5001" \
		  "id=back4,from=$H1,to=$H2,dst=10.0.9.2,port=5002,reverse=1" \
		  "id=there6,from=$H1,to=$H2,dst=fd00:9::2,port=5003" \
		  "id=vlan,from=$H1,to=$H2,dst=10.0.5.2,port=5005" \
		  "id=local,from=$H1,to=$R,dst=10.0.9.254,port=5006,bytes=300000")
	for id in there4 back4 there6 vlan local; do
		equal "$id: intact" "$(field intact "$(flow "$id" "$out")")" yes
	done
	equal "strange frames for H2" "$(looks strange)" 0
	within "frames for H2" "$(looks good)" 50 100000
	within "tagged frames for H2" "$(looks tagged)" 20 100000
	no_other_counter "$R" imq0
}

# iptables sees bridged packets, and IMQ rules queue them.
br_netfilter() {
	local command

	have_xt "$1"
	have_xt "ip6${1#ip}"
	have_br_netfilter
	switch
	look
	shaper "$2"
	for command in "$1" "ip6${1#ip}"; do
		r "$command" -t mangle -A PREROUTING -m physdev --physdev-in p1 \
			-p udp -j IMQ --todev 0
		r "$command" -t mangle -A POSTROUTING -m physdev --physdev-is-bridged \
			--physdev-out p1 -p udp -j IMQ --todev 1
		r "$command" -A FORWARD -m physdev --physdev-in p1 --physdev-out p2 -p udp
	done
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
		 echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables'
	exchange
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" \
		"$((4 * COUNT)) $((4 * COUNT))"
	equal "imq1: entered, left" "$(entered "$R" imq1) $(left "$R" imq1)" \
		"$((2 * COUNT)) $((2 * COUNT))"
	for command in "$1" "ip6${1#ip}"; do
		equal "$command: packets on FORWARD, by bridge port" \
			"$(r "$command" -vxnL FORWARD |
				awk '/physdev|PHYSDEV/ { print $1 }')" "$COUNT"
	done
	equal "strange frames for H2" "$(looks strange)" 0
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

br_netfilter_tcp() {
	local command out id

	have_xt "$1"
	have_br_netfilter
	switch
	vlan
	look
	shaper "$2"
	for command in "$1" "ip6${1#ip}"; do
		r "$command" -t mangle -A PREROUTING -j IMQ --todev 0
		r "$command" -t mangle -A POSTROUTING -j IMQ --todev 1
	done
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
		 echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
		 echo 1 >/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged'
	out=$(tcp "id=there4,from=$H1,to=$H2,dst=10.0.9.2,port=5001" \
		  "id=back6,from=$H1,to=$H2,dst=fd00:9::2,port=5002,reverse=1" \
		  "id=vlan,from=$H1,to=$H2,dst=10.0.5.2,port=5003")
	for id in there4 back6 vlan; do
		equal "$id: intact" "$(field intact "$(flow "$id" "$out")")" yes
	done
	equal "strange frames for H2" "$(looks strange)" 0
	within "imq0: left" "$(left "$R" imq0)" 60 100000
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# What comes to port 5000, a line each
RECEIVE='
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)    # SO_RCVBUFFORCE
s.bind(("", 5000))
print("ready", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
'

# all_read NAME PACKETS: a program with RECEIVE has read so many. If it does not, what
# it has read is to be shown.
all_read() {
	wait_for 5 has_read "$1" "$2" || say "$1 has not read all"
}

has_read() {
	[ "$(grep -cv ready "$imq_tmp/out.$1" || true)" -ge "$2" ]
}

# Two packets of each of so many connections, for all of the network
FIRST_AND_SECOND='
import socket, sys, time
for i in range(int(sys.argv[1])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"first", ("10.0.9.255", 5000))
    s.sendto(b"second", ("10.0.9.255", 5000))
    time.sleep(0.02)
'

# A bridge floods copies, of which conntrack can't have two confirmed. The first
# packet of each connection passes unshaped, and all others wait.
br_netfilter_flood() {
	local where

	have_br_netfilter
	switch
	shaper deferred
	r nft -f - <<-EOT
	table ip t {
		chain pre {
			type filter hook prerouting priority 0
			udp dport 5000 ct state new,established
		}
		chain post {
			type filter hook postrouting priority srcnat - 1
			udp dport 5000 imq todev 0
		}
	}
	EOT
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables'
	for where in "$R" "$H2"; do
		background "${where##*-}" ip netns exec "$where" timeout 20 python3 -c "$RECEIVE"
		wait_for 10 grep -q ready "$imq_tmp/out.${where##*-}"
	done
	h1 python3 -c "$FIRST_AND_SECOND" "$COUNT"
	wait_for 5 backlog_is "$R" imq0 0
	for where in "$R" "$H2"; do
		all_read "${where##*-}" $((2 * COUNT))
		equal "received by ${where##*-}" \
			"$(background_end "${where##*-}" | grep -v ready | sort | uniq -c | xargs)" \
			"$COUNT first $COUNT second"
	done
	equal "first packets, which passed" "$(stat_of "$R" imq0 bypass_unfit)" "$COUNT"
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" \
		"$COUNT $COUNT"
}

# br_netfilter_duplicates: of a packet of a connection that only its delivery confirms,
# one of what netem makes of it is delivered, and the other counted. Both packets of a
# connection wait before it is confirmed.
br_netfilter_duplicates() {
	have_br_netfilter
	have_sch netem
	switch
	r tc qdisc add dev imq0 root netem delay 100ms duplicate 100%
	r nft -f - <<-EOT
	table ip t {
		chain pre {
			type filter hook prerouting priority 0
			udp dport 5000 ct state new,established imq todev 0
		}
		chain forward {
			type filter hook forward priority 0
			udp dport 5000 drop
		}
	}
	EOT
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables'
	background received ip netns exec "$R" timeout 20 python3 -c "$RECEIVE"
	wait_for 10 grep -q ready "$imq_tmp/out.received"
	h1 python3 -c "$FIRST_AND_SECOND" "$COUNT"
	wait_for 5 backlog_is "$R" imq0 0
	wait_for 5 left_is "$R" imq0 $((4 * COUNT)) || say "not all have left imq0"
	all_read received $((2 * COUNT))
	equal "received" "$(background_end received | grep -v ready | sort | uniq -c | xargs)" \
		"$COUNT first $COUNT second"
	equal "copies, dropped" "$(stat_of "$R" imq0 drop_hook)" "$((2 * COUNT))"
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" \
		"$((2 * COUNT)) $((4 * COUNT))"
}

# Tagged frames that iptables sees, with the tags beside the frame (in hardware,
# as it were) or in it. They keep the tag, and its priority.
br_netfilter_vlan() {
	local command out id

	have_xt "$1"
	have_br_netfilter
	switch
	vlan
	h1 ip link set eth0.5 type vlan egress-qos-map 0:5
	if [ "$3" = frame ]; then
		h1 ethtool -K eth0 txvlan off rxvlan off >/dev/null
		on "$H2" ethtool -K eth0 txvlan off rxvlan off >/dev/null
		r ethtool -K p1 txvlan off rxvlan off >/dev/null
		r ethtool -K p2 txvlan off rxvlan off >/dev/null
	fi
	shaper "$2"
	on "$H2" nft -f - <<-EOT
	table netdev look {
		counter tagged { }
		counter plain { }
		chain c {
			type filter hook ingress device "eth0" priority 0
			ether saddr 02:00:00:00:00:01 vlan id 5 vlan pcp 5 \
				vlan type ip @nh,72,8 17 counter name tagged accept
			ether saddr 02:00:00:00:00:01 ip protocol udp counter name plain
		}
	}
	EOT
	for command in "$1" "ip6${1#ip}"; do
		r "$command" -t mangle -A PREROUTING -p udp -j IMQ --todev 0
		r "$command" -t mangle -A POSTROUTING -p udp -j IMQ --todev 1
	done
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
		 echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
		 echo 1 >/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged'
	out=$(udp "id=vlan,from=$H1,to=$H2,dst=10.0.5.2,port=5001,count=$COUNT,echo=1" \
		  "id=plain,from=$H1,to=$H2,dst=10.0.9.2,port=5002,count=$COUNT,echo=1")
	for id in vlan plain; do
		equal "$id: echoes" "$(field echoed "$(flow "$id" "$out")")" "$COUNT"
		equal "$id: duplicates" "$(field dup "$(flow "$id" "$out")")" 0
		equal "$id: damaged" "$(field bad "$(flow "$id" "$out")")" 0
	done
	equal "tagged datagrams with their priority at H2" "$(looks tagged)" "$COUNT"
	equal "others at H2" "$(looks plain)" "$COUNT"
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" \
		"$((4 * COUNT)) $((4 * COUNT))"
	equal "imq1: entered, left" "$(entered "$R" imq1) $(left "$R" imq1)" \
		"$((4 * COUNT)) $((4 * COUNT))"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# All kinds of frames (F24) come out as they went in, and in order.
kinds() {
	local out

	switch
	h1 ping -n -q -c 1 10.0.9.2 >&3
	on "$H2" nft -f - <<-EOT
	table netdev look {
		counter last { }
		chain c {
			type filter hook ingress device "eth0" priority 0
			ether type 50 counter name last
		}
	}
	EOT
	out=$(through without 1)
	equal "frames that came, without imq" "$(wc -l <"$imq_tmp/without")" \
		"$(field frames "$out")"
	case $2 in
	bridge) bridge_rules prerouting forward postrouting ;;
	netdev)
		r nft -f - <<-EOT
		table netdev shape {
			chain in {
				type filter hook ingress device "p1" priority 0
				imq todev 0
			}
			chain out {
				type filter hook egress device "p2" priority 0
				imq todev 1
			}
		}
		EOT
		;;
	esac
	shaper "$1"
	through with 2 >&3
	diff -u "$imq_tmp/without" "$imq_tmp/with" >&3 ||
		fail "frames came another way through imq"
	within "imq0: left" "$(left "$R" imq0)" "$(field frames "$out")" 1000
	wait_for 5 all_left "$R" imq0
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# through FILE LAST: all kinds of frames from H1, and what H2 gets.
through() {
	background capture ip netns exec "$H2" "$imq_dir/imq_packets.py" capture eth0 \
		02:00:00:00:00:01
	wait_for 10 grep -q ready "$imq_tmp/out.capture" || fail "no packet socket"
	h1 "$imq_dir/imq_packets.py" frames eth0 bridge 02:00:00:00:00:02 02:00:00:00:00:01 \
		10.0.9.1 10.0.9.2 fd00:9::1 fd00:9::2
	wait_for 10 last_seen "$2" || say "the last one does not come"
	# Not ARP's and neighbour discovery's own
	background_end capture | grep '^frame ' |
		grep -v -E -e '^frame .{24}0806.{12}000[12]' \
			-e '^frame .{24}86dd6.{11}(3aff|0001)' >"$imq_tmp/$1" || true
}

last_seen() {
	[ "$(looks last)" -ge "$1" ]
}

# The bridge goes with packets of its own queued.
bridge_deleted() {
	local out

	switch
	have_sch netem delay 1ms
	bridge_rules forward
	r tc qdisc add dev imq0 root netem delay 1s limit 10000
	udp_load --idle 2000 "from=$H1,to=$H2,dst=10.0.9.2,count=0,gap=2000"
	wait_for 20 has_backlog "$R" imq0 20
	at_most 5 ip -n "$R" link del br0
	sleep 1.2
	out=$(udp_load_end)
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
	equal "imq0: queued" "$(qdisc_backlog "$R" imq0)" 0
}

# port_taken FAMILY: the port by which packets came in is a macvlan's when they go on;
# FAMILY is whose hook queued them: bridge, or ip by br_netfilter. What the bridge
# would look up in the port is not there any more.
port_taken() {
	local out

	switch
	have_sch netem delay 1ms
	if [ "$1" = ip ]; then
		have_br_netfilter
		r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables'
	fi
	r nft "table $1 shape { chain c {
		type filter hook prerouting priority 0; iifname { p1, br0 } imq todev 0; }; }"
	r tc qdisc add dev imq0 root netem delay 1s limit 10000
	udp_load --idle 2000 "from=$H1,to=$H2,dst=10.0.9.2,count=0,gap=2000"
	wait_for 20 has_backlog "$R" imq0 20
	r ip link set p1 nomaster
	r ip link add link p1 name mv0 type macvlan mode bridge ||
		skip "the kernel has no macvlan"
	wait_for 10 backlog_is "$R" imq0 0
	out=$(udp_load_end)
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
	within "imq0: drop_dev" "$(stat_of "$R" imq0 drop_dev)" 20 100000
	equal "imq0: left" "$(left "$R" imq0)" "$(entered "$R" imq0)"
}

# The netdev family ---------------------------------------------------------

netdev_rules() {
	have_nft
	r nft -f - <<-EOT
	table netdev shape {
		chain in {
			type filter hook ingress device "lan1" priority -10
			imq todev 0
		}
		chain out {
			type filter hook egress device "wan" priority 0
			imq todev 1
		}
	}
	EOT
}

# Both directions of R's work: what it receives on lan1 and sends on wan. Packets
# from W are not of either.
netdev() {
	local out id

	topology
	shaper "$1"
	netdev_rules
	r nft -f - <<-EOT
	table inet count {
		counter pre { }
		counter post { }
		chain pre {
			type filter hook prerouting priority 0
			iifname "lan1" meta l4proto udp counter name pre
		}
		chain post {
			type filter hook postrouting priority 0
			oifname "wan" meta l4proto udp counter name post
		}
		chain masq {
			type nat hook postrouting priority 100
			oifname "wan" masquerade
		}
	}
	EOT
	out=$(udp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT,echo=1" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=$COUNT,echo=1" \
		  "id=local,from=$R,to=$W,dst=198.51.100.2,port=5003,count=$COUNT,echo=1")
	for id in v4 v6 local; do
		equal "$id: echoes" "$(field echoed "$(flow "$id" "$out")")" "$COUNT"
		equal "$id: duplicates" "$(field dup "$(flow "$id" "$out")")" 0
	done
	equal "v4: source at W" "$(field from "$(flow v4 "$out")")" 198.51.100.1
	equal "v6: source at W" "$(field from "$(flow v6 "$out")")" 2001:db8:f::1
	equal "packets on PREROUTING" "$(nft_counter "$R" inet count pre)" $((2 * COUNT))
	equal "packets on POSTROUTING" "$(nft_counter "$R" inet count post)" $((3 * COUNT))
	# And ARP and the like
	within "imq0: entered" "$(entered "$R" imq0)" $((2 * COUNT)) $((2 * COUNT + 20))
	within "imq1: entered" "$(entered "$R" imq1)" $((3 * COUNT)) $((3 * COUNT + 20))
	wait_for 5 all_left "$R" imq0
	wait_for 5 all_left "$R" imq1
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# TCP, plain and with VLAN tags that the device strips and inserts
netdev_tcp() {
	local out id

	topology
	shaper "$1"
	r ip link add link lan1 name lan1.5 type vlan id 5 || skip "the kernel has no VLANs"
	h1 ip link add link eth0 name eth0.5 type vlan id 5
	r ip address add 10.0.5.1/24 dev lan1.5
	h1 ip address add 10.0.5.2/24 dev eth0.5
	r ip link set lan1.5 up
	h1 ip link set eth0.5 up
	h1 ip rule add ipproto tcp dport 5005 lookup 5
	h1 ip route add default via 10.0.5.1 table 5
	netdev_rules
	out=$(tcp "id=up4,from=$H1,to=$W,dst=198.51.100.2,port=5001" \
		  "id=down4,from=$H1,to=$W,dst=198.51.100.2,port=5002,reverse=1" \
		  "id=up6,from=$H1,to=$W,dst=2001:db8:f::2,port=5003" \
		  "id=vlan,from=$H1,to=$W,dst=198.51.100.2,port=5005,src=10.0.5.2")
	for id in up4 down4 up6 vlan; do
		equal "$id: intact" "$(field intact "$(flow "$id" "$out")")" yes
	done
	equal "vlan: client's address" "$(field from "$(flow vlan "$out")")" 10.0.5.2
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# A software flow table bypasses the hooks of IP, and so imq there; imq on ingress
# still sees every packet (F25).
flowtable() {
	local out n

	topology
	have_nft
	r nft -f - <<-EOT || skip "no flow tables"
	table inet ft {
		flowtable f {
			hook ingress priority 0
			devices = { "lan1", "wan" }
		}
		counter forwarded { }
		chain c {
			type filter hook forward priority 0
			meta l4proto udp flow add @f
			meta l4proto udp counter name forwarded
		}
		chain too_late {
			type filter hook forward priority 10
			meta l4proto udp imq todev 2
		}
	}
	EOT
	r ip link add imq2 type imq
	r ip link set imq2 up
	shaper "$1"
	netdev_rules
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=200,gap=500,echo=1")
	equal "echoes" "$(field echoed "$out")" 200
	n=$(nft_counter "$R" inet ft forwarded)
	within "packets on FORWARD: the rest took the flow table" "$n" 1 100
	within "imq0: entered" "$(entered "$R" imq0)" 200 220
	within "imq1, on egress: entered" "$(entered "$R" imq1)" 200 220
	equal "imq2, on FORWARD: left" "$(left "$R" imq2)" "$n"
	wait_for 5 all_left "$R" imq0
	wait_for 5 all_left "$R" imq1
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
	no_other_counter "$R" imq2
}

# A packet that was redirected to an ingress is as any other behind that: an ifb, to which
# it is routed, drops what is not redirected there.
redirected() {
	local how=$1 got

	have_nft
	topology
	r ip link add ifb0 type ifb || skip "the kernel has no ifb"
	r ip link set ifb0 up
	r ip route add 203.0.113.0/24 dev ifb0
	r tc qdisc add dev lan1 clsact
	r tc filter add dev lan1 ingress protocol ip flower ip_proto udp \
		action mirred ingress redirect dev lan2 || skip "the kernel has no mirred"
	if [ "$how" = deferred ]; then
		r tc qdisc add dev imq0 root netem delay 20ms limit 1000
	fi
	r nft -f - <<-EOT
	table netdev t {
		chain c {
			type filter hook ingress device "lan2" priority 0
			meta l4proto udp imq todev 0
		}
	}
	EOT
	udp --idle 200 "from=$H1,to=$W,dst=203.0.113.5,at=198.51.100.2,count=$COUNT" >/dev/null
	equal "imq0: left" "$(left "$R" imq0)" "$COUNT"
	got=$(ip -n "$R" -s link show ifb0 | awk '/RX:/ { getline; print $2, $4 }')
	equal "sent to ifb0, and dropped there" "$got" "$COUNT $COUNT"
}

# Ten datagrams of each of so many connections, in one GSO packet
TRAINS='
import socket, sys
for i in range(int(sys.argv[1])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_UDP, 103, 100)    # UDP_SEGMENT
    s.sendto(b"segment".ljust(100) * 10, ("10.0.9.254", 5000))
'

# The segments of a connection's first packet, which is for the router, all go on.
br_netfilter_segments() {
	have_br_netfilter
	have_sch tbf rate 100mbit burst 500 limit 100000
	switch
	r tc qdisc add dev imq0 root tbf rate 100mbit burst 500 limit 100000
	r nft -f - <<-EOT
	table ip t {
		chain pre {
			type filter hook prerouting priority 0
			udp dport 5000 ct state new,established imq todev 0
		}
	}
	EOT
	r sh -c 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables'
	background received ip netns exec "$R" timeout 20 python3 -c "$RECEIVE"
	wait_for 10 grep -q ready "$imq_tmp/out.received"
	h1 python3 -c "$TRAINS" "$COUNT"
	all_read received $((10 * COUNT))
	equal "received" "$(background_end received | grep -c segment || true)" $((10 * COUNT))
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" \
		"$COUNT $((10 * COUNT))"
	no_other_counter "$R" imq0
}

imq_begin
for hook in prerouting input forward output postrouting; do
	imq_test "bridge, $hook, direct" bridge_hook direct "$hook"
	imq_test "bridge, $hook, deferred" bridge_hook deferred "$hook"
done
imq_test "bridge, all hooks, deferred" bridge_hook deferred \
	prerouting input forward output postrouting
for how in direct deferred tbf cake; do
	imq_test "F23 bridge, TCP and VLANs, $how" bridge_tcp "$how"
done
imq_test "bridge, deleted with packets queued" bridge_deleted
imq_test "bridge, a port taken with packets queued" port_taken bridge
imq_test "F23 br_netfilter, a port taken with packets queued" port_taken ip
imq_test "F23 br_netfilter, direct" br_netfilter iptables-legacy direct
imq_test "F23 br_netfilter, deferred" br_netfilter iptables-legacy deferred
imq_test "F23 br_netfilter, copies of a new connection" br_netfilter_flood
imq_test "F23 br_netfilter, a new connection duplicated" br_netfilter_duplicates
imq_test "F23 br_netfilter, a new connection in segments" br_netfilter_segments
for how in direct deferred tbf; do
	imq_test "F23 br_netfilter, TCP and VLANs, $how" br_netfilter_tcp iptables-legacy "$how"
done
for how in direct deferred; do
	imq_test "F23 br_netfilter, VLAN tags beside the frame, $how" \
		br_netfilter_vlan iptables-legacy "$how" beside
	imq_test "F23 br_netfilter, VLAN tags in the frame, $how" \
		br_netfilter_vlan iptables-legacy "$how" frame
	imq_test "F24 all kinds of frames, bridge, $how" kinds "$how" bridge
	imq_test "F24 all kinds of frames, ingress and egress, $how" kinds "$how" netdev
done
imq_test "F23 ingress and egress, direct" netdev direct
imq_test "F23 ingress and egress, deferred" netdev deferred
for how in direct deferred tbf; do
	imq_test "F23 ingress and egress, TCP and VLANs, $how" netdev_tcp "$how"
done
imq_test "redirected to an ingress, direct" redirected direct
imq_test "redirected to an ingress, deferred" redirected deferred
imq_test "F25 ingress before a flow table, direct" flowtable direct
imq_test "F25 ingress before a flow table, deferred" flowtable deferred
imq_end
