#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets with a socket: that of their sender, or one that the kernel has found
# for them on the way in (early demux, TPROXY). They keep it through imq, also
# when they wait there, and limits that go by it hold.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

# rule HOOK PRIORITY MATCH... imq todev N
rule() {
	r nft "add table inet t"
	r nft "add chain inet t c$1 { type filter hook $1 priority $2; }"
	r nft "add rule inet t c$1 ${*:3}"
}

shaper() {
	case $1 in
	direct) ;;
	deferred)
		have_sch netem delay 1ms
		r tc qdisc add dev imq0 root netem delay 3ms limit 10000
		r tc qdisc add dev imq1 root netem delay 3ms limit 10000
		;;
	# fq looks at skb->sk and at timestamps.
	fq)
		have_sch fq
		r tc qdisc add dev imq0 root fq
		r tc qdisc add dev imq1 root fq
		;;
	esac
}

tcp_intact() {
	equal "$1: intact" "$(field intact "$(flow "$1" "$2")")" yes
}

# TPROXY has put a socket on the packet, which listens on another address and
# port than the packet is for: it can't be found again. imq behind it, on
# PREROUTING or INPUT, or before (F16).
tproxy() {
	local hook=$1 priority=$2 how=$3 out proxy

	have_nft
	topology
	shaper "$how"
	r nft -f - <<-EOT || skip "the kernel has no TPROXY"
	table inet proxy {
		chain pre {
			type filter hook prerouting priority mangle
			iifname "lan1" tcp dport 80 meta mark set 1 tproxy ip to :8080
			iifname "lan1" tcp dport 80 meta mark set 1 tproxy ip6 to :8080
			iifname "lan1" udp dport 53 meta mark set 1 tproxy ip to :5353
		}
	}
	EOT
	# Packets of the proxy's connections, which have a socket, too
	r ip rule add fwmark 1 lookup 100
	r ip route add local default dev lo table 100
	r ip -6 rule add fwmark 1 lookup 100
	r ip -6 route add local default dev lo table 100
	rule "$hook" "$priority" 'iifname "lan1" meta l4proto { tcp, udp } imq todev 0'
	proxy="to=$R,atport=8080,tproxy=1,port=80,bytes=300000"
	out=$(tcp "id=v4,from=$H1,dst=198.51.100.2,$proxy")
	tcp_intact v4 "$out"
	out=$(tcp "id=v4r,from=$H1,dst=198.51.100.77,$proxy,reverse=1")
	tcp_intact v4r "$out"
	out=$(tcp "id=v6,from=$H1,dst=2001:db8:f::2,$proxy")
	tcp_intact v6 "$out"
	out=$(udp "from=$H1,to=$R,dst=198.51.100.2,port=53,atport=5353,tproxy=1,count=20")
	equal "datagrams for the proxy" "$(field unique "$out")" 20
	within "imq0: left" "$(left "$R" imq0)" 40 100000
	no_other_counter "$R" imq0
}

# local_sockets FROM TO ADDRESS ADDRESS6 MATCH HOOK PRIORITY HOW: packets with a socket
# of R's go through imq0 there.
local_sockets() {
	local ends="from=$1,to=$2" v4=$3 v6=$4 match=$5 hook=$6 priority=$7 how=$8 out id

	have_nft
	topology
	shaper "$how"
	rule "$hook" "$priority" "$match meta l4proto { tcp, udp } imq todev 0"
	out=$(tcp "id=v4,$ends,dst=$v4,port=5001" \
		  "id=v4r,$ends,dst=$v4,port=5002,reverse=1" \
		  "id=v6,$ends,dst=$v6,port=5003")
	for id in v4 v4r v6; do
		tcp_intact "$id" "$out"
	done
	out=$(udp "$ends,dst=$v4,port=5004,count=50,echo=1" \
		  "$ends,dst=$v6,port=5004,count=50,echo=1")
	for id in f1 f2; do
		equal "echoes, $id" "$(field echoed "$(flow "$id" "$out")")" 50
	done
	within "imq0: left" "$(left "$R" imq0)" 110 100000
	no_other_counter "$R" imq0
}

# Packets for R's own sockets, shaped on the hooks before and behind the lookup
local_in() {
	local_sockets "$H1" "$R" 10.0.1.1 fd00:1::1 'iifname "lan1"' "$@"
}

# Packets of R's own sockets (F2)
local_out() {
	local_sockets "$R" "$W" 198.51.100.2 2001:db8:f::2 'oifname "wan"' "$@"
}

# The same device for all that R receives and sends, TCP in both directions (F1)
same_device() {
	local out id

	have_nft
	topology
	shaper "$1"
	rule prerouting -99 'iifname { "wan", "lan1" } imq todev 0'
	rule input 0 'iifname { "wan", "lan1" } imq todev 0'
	rule forward 0 imq todev 0
	rule output 0 'oifname { "wan", "lan1" } imq todev 0'
	rule postrouting 99 'oifname { "wan", "lan1" } imq todev 0'
	out=$(tcp "id=up,from=$H1,to=$W,dst=198.51.100.2,port=5001" \
		  "id=down,from=$H1,to=$W,dst=198.51.100.2,port=5002,reverse=1" \
		  "id=in,from=$H1,to=$R,dst=10.0.1.1,port=5003" \
		  "id=out,from=$R,to=$W,dst=198.51.100.2,port=5004" \
		  "id=in6,from=$W,to=$R,dst=2001:db8:f::1,port=5005")
	for id in up down "in" out in6; do
		tcp_intact "$id" "$out"
	done
	no_other_counter "$R" imq0
}

loopback() {
	local out id

	have_nft
	topology
	shaper "$1"
	rule output 0 'oifname "lo" imq todev 0'
	rule postrouting 99 'oifname "lo" imq todev 0'
	rule prerouting -99 'iifname "lo" imq todev 0'
	rule input 0 'iifname "lo" imq todev 0'
	out=$(tcp "id=v4,from=$R,dst=127.0.0.1,port=5001" \
		  "id=v6,from=$R,dst=::1,port=5002,reverse=1")
	tcp_intact v4 "$out"
	tcp_intact v6 "$out"
	out=$(udp "from=$R,dst=127.0.0.1,count=50,echo=1")
	equal "echoes" "$(field echoed "$out")" 50
	no_other_counter "$R" imq0
}

# sendable ADDRESS: how many datagrams of 1000 bytes R's socket with a send
# buffer of 20000 takes at once.
sendable() {
	r python3 - "$1" <<-EOT
	import socket, sys
	family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
	s = socket.socket(family, socket.SOCK_DGRAM)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
	s.setblocking(False)
	n = 0
	try:
	    while n < 1000:
	        s.sendto(bytes(1000), (sys.argv[1], 5001))
	        n += 1
	except BlockingIOError:
	    pass
	print(n)
	EOT
}

# What waits in imq counts for the sender's buffer, as what waits in the qdisc of
# any device does. (Not in netem, which lets the buffer go.)
send_buffer() {
	local on_wan on_imq address

	have_nft
	have_sch tbf rate 8kbit burst 1600 limit 1000000
	for address in 198.51.100.2 2001:db8:f::2; do
		topology
		r ping -q -c 1 "$address" >&3
		r tc qdisc add dev wan root tbf rate 8kbit burst 1600 limit 1000000
		on_wan=$(sendable "$address")
		within "datagrams that the socket takes, shaped on wan" "$on_wan" 2 100
		imq_clean
		topology
		r ping -q -c 1 "$address" >&3
		rule "$1" "$2" 'oifname "wan" meta l4proto udp imq todev 1'
		r tc qdisc add dev imq1 root tbf rate 8kbit burst 1600 limit 1000000
		on_imq=$(sendable "$address")
		equal "datagrams that the socket takes, shaped on imq1" "$on_imq" "$on_wan"
		within "imq1: queued" "$(qdisc_backlog "$R" imq1)" $((on_imq - 2)) "$on_imq"
		imq_clean
	done
}

# What imq drops of a local sender's is congestion to it, not an error: TCP slows
# down, and gets through.
drops_on_output() {
	local out refused

	have_nft
	have_sch tbf rate 1mbit burst 2000 limit 5000
	topology
	# No answers from there
	w nft 'table ip t { chain c { type filter hook input priority 0; ip protocol udp drop; }; }'
	r tc qdisc add dev imq1 root tbf rate 1mbit burst 2000 limit 5000
	rule "$1" "$2" 'oifname "wan" meta l4proto { tcp, udp } imq todev 1'
	refused=$(r python3 - <<-EOT
	import socket
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.setsockopt(socket.SOL_IP, 11, 1)      # IP_RECVERR: tell the sender
	refused = 0
	for i in range(100):
	    try:
	        s.sendto(bytes(1000), ("198.51.100.2", 5001))
	    except OSError as e:
	        refused += 1
	print(refused)
	EOT
	)
	equal "datagrams that the socket refuses" "$refused" 0
	equal "imq1: entered" "$(entered "$R" imq1)" 100
	within "imq1: dropped" "$(qdisc_drops "$R" imq1)" 80 99
	r tc qdisc replace dev imq1 root tbf rate 20mbit burst 2000 limit 8000
	out=$(tcp "id=v4,from=$R,to=$W,dst=198.51.100.2,port=5001,bytes=500000")
	tcp_intact v4 "$out"
	within "imq1: dropped" "$(qdisc_drops "$R" imq1)" 1 100000
	no_other_counter "$R" imq1
}

# A TCP sender keeps a small number of packets in the qdisc (TSQ).
small_queues() {
	local backlog max=0 i

	have_nft
	have_sch tbf rate 1mbit burst 2000 limit 10000
	topology
	r tc qdisc add dev imq1 root tbf rate 8mbit burst 70000 limit 10000000
	rule output 0 'oifname "wan" meta l4proto tcp imq todev 1'
	background bulk "$imq_dir/imq_traffic.py" tcp \
		"from=$R,to=$W,dst=198.51.100.2,bytes=3000000"
	for ((i = 0; i < 15; i++)); do
		sleep 0.05
		backlog=$(tc -n "$R" -s qdisc show dev imq1 root |
			awk '$1 == "backlog" { b = $2; sub("b", "", b)
				if (sub("K", "", b)) b *= 1024; print b }')
		[ "$backlog" -le "$max" ] || max=$backlog
	done
	wait_for 10 gone "$(cat "$imq_tmp/pid.bulk")"
	equal "intact" "$(field intact "$(background_end bulk)")" yes
	within "bytes in the qdisc, at most" "$max" 1000 270000
}

imq_begin
for how in direct deferred fq; do
	imq_test "F16 TPROXY, then imq on PREROUTING, $how" tproxy prerouting -99 "$how"
	imq_test "F16 TPROXY, then imq on INPUT, $how" tproxy input 0 "$how"
	imq_test "F16 imq on PREROUTING, then TPROXY, $how" tproxy prerouting -300 "$how"
	imq_test "F16 sockets of the router, PREROUTING, $how" local_in prerouting -99 "$how"
	imq_test "F16 sockets of the router, INPUT, $how" local_in input 0 "$how"
	imq_test "F2 sockets of the router, OUTPUT, $how" local_out output 0 "$how"
	imq_test "F2 sockets of the router, POSTROUTING, $how" local_out postrouting 99 "$how"
	imq_test "F1 one device on all hooks, $how" same_device "$how"
	imq_test "F2 loopback, $how" loopback "$how"
done
imq_test "F2 send buffer, OUTPUT" send_buffer output 0
imq_test "F2 send buffer, POSTROUTING" send_buffer postrouting 99
imq_test "F2 drops are congestion, OUTPUT" drops_on_output output 0
imq_test "F2 drops are congestion, POSTROUTING" drops_on_output postrouting 99
imq_test "F2 TCP small queues" small_queues
imq_end
