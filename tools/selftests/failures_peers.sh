#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Real peers, whose packets imq gets before and behind what they do to them: PPP
# sessions of PPPoE, PPTP and L2TP with NAT (F14), and IPsec (F4). Tests that
# are named F and a number repeat what earlier versions of IMQ have failed at.
#
# The drawing is in imq_lib.sh (topology). Beside it, R has a PPP session:
#
#   R is the server of H1        R is the client of W         R is in between
#
#    H1         R        W       H1        R         W        H1       R        W
#    eth0 ─── lan1 wan ─ eth0    eth0 ─ lan1 wan ─── eth0     eth0 ─ lan1 wan ─ eth0
#    ppp0 ═══ ppp0               ppp0 in    ppp0 ═══ ppp0     ppp0 ════════════ ppp0
#       .2   .1                  W, R only     .2   .1           .2            .1
#
# with addresses 10.64.0.1 of the server and 10.64.0.2 of the client. Where R has
# one, packets from H1 get the address of the interface that R sends them by, and
# those to port 7000 of that address go to H1.

. "$(dirname "$0")/imq_lib.sh"

COUNT=$(amount 40 2000)

# PPP -----------------------------------------------------------------------

# pppd_options END: a file for pppd. No compression, nothing that asks anybody.
pppd_options() {
	cat >"$imq_tmp/ppp.$1" <<-EOT
	noauth
	noipdefault
	nodefaultroute
	noipv6
	noccp
	novj
	nopcomp
	noaccomp
	mtu 1400
	mru 1400
	debug
	logfile $imq_tmp/ppp.$1.log
	ip-up-script /bin/true
	ip-down-script /bin/true
	EOT
	: >"$imq_tmp/ppp.$1.log"
}

# pppoe_server NETNS DEV. The program answers discovery, and would have frames
# copied by another one: here, the kernel does it.
pppoe_server() {
	have pppoe-server
	cat >"$imq_tmp/pppd" <<-'EOT'
	#!/bin/bash
	# pty "pppoe -I DEV -e SESSION:MAC..." OPTION...
	dev=$(sed 's/.*-I *\([^ ]*\).*/\1/' <<<"$2")
	session=$(sed 's/.*-e *\([0-9a-f:]*\).*/\1/' <<<"$2")
	exec pppd plugin rp-pppoe.so "nic-$dev" rp_pppoe_sess "$session" "${@:3}"
	EOT
	chmod +x "$imq_tmp/pppd"
	background server ip netns exec "$1" pppoe-server -F -I "$2" -N 1 \
		-L 10.64.0.1 -R 10.64.0.2 -O "$imq_tmp/ppp.server" -q "$imq_tmp/pppd"
}

pppoe_client() {
	background client ip netns exec "$1" pppd plugin rp-pppoe.so "nic-$2" \
		nodetach file "$imq_tmp/ppp.client"
}

pptp_server() {
	have pptpd
	printf 'localip 10.64.0.1\nremoteip 10.64.0.2\n' >"$imq_tmp/pptpd.conf"
	background server ip netns exec "$1" pptpd -f -c "$imq_tmp/pptpd.conf" \
		-o "$imq_tmp/ppp.server" -p "$imq_tmp/pptpd.pid"
	wait_for 5 listens "$1" t 1723
}

pptp_client() {
	have pptp
	background client ip netns exec "$1" pppd pty "pptp $3 --nolaunchpppd" \
		nodetach file "$imq_tmp/ppp.client"
}

l2tp_server() {
	l2tp_daemon server "$1" <<-EOT
	[lns default]
	ip range = 10.64.0.2-10.64.0.2
	local ip = 10.64.0.1
	require authentication = no
	pppoptfile = $imq_tmp/ppp.server
	EOT
}

l2tp_client() {
	l2tp_daemon client "$1" <<-EOT
	[lac peer]
	lns = $3
	autodial = yes
	require authentication = no
	pppoptfile = $imq_tmp/ppp.client
	EOT
}

# l2tp_daemon END NETNS <CONFIGURATION
l2tp_daemon() {
	have xl2tpd
	{
		echo "[global]"
		echo "port = 1701"
		cat
	} >"$imq_tmp/l2tp.$1"
	background "$1" ip netns exec "$2" xl2tpd -D -c "$imq_tmp/l2tp.$1" \
		-p "$imq_tmp/l2tp.$1.pid" -C "$imq_tmp/l2tp.$1.control"
	wait_for 5 listens "$2" u 1701
}

# listens NETNS t|u PORT
listens() {
	[ -n "$(ip netns exec "$1" ss -Hln"$2" "sport = $3")" ]
}

# dial KIND SERVER DEV CLIENT DEV ADDRESS: until ppp0 is up in both namespaces;
# ADDRESS is the server's, to the client.
dial() {
	local end

	have pppd
	# for /dev/ppp
	modprobe -q ppp_generic || true
	pppd_options server
	pppd_options client
	"$1_server" "$2" "$3"
	"$1_client" "$4" "$5" "$6"
	wait_for 20 ppp_up "$2" "$4" || {
		for end in server client; do
			say "$end: $(cat "$imq_tmp/out.$end" "$imq_tmp/ppp.$end.log")"
		done
		fail "no PPP session"
	}
}

ppp_up() {
	local ns

	for ns in "$@"; do
		ip -n "$ns" -4 -o address show dev ppp0 2>/dev/null |
			grep -q "inet 10.64.0" || return 1
	done
}

# ppp_rules WIRE FAR NAT OUTER: R's; inner packets on ppp0, on the interface to
# the other side and outer ones, an nft match, go through imq. Outer ones of
# PPPoE are no IP packets.
ppp_rules() {
	r nft -f - <<-EOT
	table inet shape {
		counter ppp_in { }
		counter ppp_out { }
		counter far_in { }
		counter far_out { }
		counter wire_in { }
		counter wire_out { }
		chain pre {
			type filter hook prerouting priority -99
			iifname "ppp0" udp dport 1-65535 counter name ppp_in
			iifname "$2" udp dport 1-65535 counter name far_in
			iifname "$1" $4 counter name wire_in imq todev 0
			iifname { "ppp0", "$2" } imq todev 0
		}
		chain post {
			type filter hook postrouting priority 99
			oifname "ppp0" udp dport 1-65535 counter name ppp_out
			oifname "$2" udp dport 1-65535 counter name far_out
			oifname "$1" $4 counter name wire_out imq todev 0
			oifname { "ppp0", "$2" } imq todev 1
		}
		chain masq {
			type nat hook postrouting priority srcnat
			oifname "$3" masquerade
		}
		chain to_h1 {
			type nat hook prerouting priority dstnat
			iifname "$3" udp dport 7000 dnat ip to $5:7001
		}
	}
	table netdev shape {
		counter wire_in { }
		counter wire_out { }
		chain in {
			type filter hook ingress device "$1" priority 0
			ether type 0x8864 counter name wire_in imq todev 0
		}
		chain out {
			type filter hook egress device "$1" priority 0
			ether type 0x8864 counter name wire_out imq todev 0
		}
	}
	EOT
}

# ppp_exchange FLOW FLOW ADDRESS: datagrams out with masquerading and in with
# DNAT, and TCP. ADDRESS is the one that H1 has for W.
ppp_exchange() {
	local out id

	out=$(udp "id=out,$1,count=$COUNT,echo=1,gap=300" \
		  "id=in,$2,port=7000,atport=7001,count=$COUNT,echo=1,gap=300")
	for id in out "in"; do
		equal "$id: at the other end" "$(field unique "$(flow "$id" "$out")")" "$COUNT"
		equal "$id: echoes" "$(field echoed "$(flow "$id" "$out")")" "$COUNT"
		equal "$id: duplicates, damaged" \
			"$(field dup "$(flow "$id" "$out")")$(field bad "$(flow "$id" "$out")")" 00
	done
	equal "out: source at W" "$(field from "$(flow out "$out")")" "$3"
	out=$(tcp "id=up,$1,port=5002,bytes=300000" \
		  "id=down,$1,port=5003,bytes=300000,reverse=1")
	for id in up down; do
		equal "$id: intact" "$(field intact "$(flow "$id" "$out")")" yes
		equal "$id: source at W" "$(field from "$(flow "$id" "$out")")" "$3"
	done
}

# ppp_counters FAMILY ROUNDS: each round has two flows of COUNT datagrams in
# either direction.
ppp_counters() {
	local name

	for name in ppp_in ppp_out far_in far_out; do
		equal "datagrams, $name" "$(nft_counter "$R" inet shape "$name")" \
			$((2 * COUNT * $2))
	done
	for name in wire_in wire_out; do
		within "outer packets, $name" "$(nft_counter "$R" "$1" shape "$name")" \
			$((2 * COUNT * $2 + 100)) 1000000
	done
	for name in imq0 imq1; do
		wait_for 5 all_left "$R" "$name"
		no_other_counter "$R" "$name"
		equal "$name: dropped" "$(qdisc_drops "$R" "$name")" 0
		within "$name: left" "$(left "$R" "$name")" $((4 * COUNT * $2)) 1000000
	done
}

# Of a kind: the match for its outer packets, and the family of their hooks.
ppp_outer() {
	case $1 in
	pppoe) echo "ether type 0x8864" ;;
	pptp) echo "ip protocol gre" ;;
	l2tp) echo "udp dport 1701" ;;
	esac
}

ppp_family() {
	[ "$1" = pppoe ] && echo netdev || echo inet
}

# slower: what both devices do from now on
slower() {
	have_sch netem delay 1ms
	r tc qdisc replace dev imq0 root netem delay 2ms limit 10000
	r tc qdisc replace dev imq1 root netem delay 2ms limit 10000
}

ppp_server() {
	local kind=$1

	have_nft
	topology
	dial "$kind" "$R" lan1 "$H1" eth0 10.0.1.1
	h1 ip route replace default via 10.64.0.1 dev ppp0
	ppp_rules lan1 wan wan "$(ppp_outer "$kind")" 10.64.0.2
	set -- "from=$H1,to=$W,dst=198.51.100.2" \
		"from=$W,to=$H1,dst=198.51.100.1,at=10.64.0.2" 198.51.100.1
	ppp_exchange "$@"
	slower
	ppp_exchange "$@"
	ppp_counters "$(ppp_family "$kind")" 2
}

ppp_client() {
	local kind=$1

	have_nft
	topology
	w ip address add 203.0.113.1/32 dev lo
	dial "$kind" "$W" eth0 "$R" wan 198.51.100.2
	# pppd gives it an address first, and sets it up then.
	wait_for 10 ip -n "$R" route add 203.0.113.1 via 10.64.0.1 dev ppp0 ||
		fail "ppp0 of R is not up"
	ppp_rules wan lan1 ppp0 "$(ppp_outer "$kind")" 10.0.1.2
	set -- "from=$H1,to=$W,dst=203.0.113.1" \
		"from=$W,to=$H1,dst=10.64.0.2,at=10.0.1.2" 10.64.0.2
	ppp_exchange "$@"
	slower
	ppp_exchange "$@"
	ppp_counters "$(ppp_family "$kind")" 2
}

# The whole session goes through imq and NAT, PPTP's with the helper.
ppp_between() {
	local out n

	have_nft
	topology
	r nft -f - <<-EOT
	table inet shape {
		counter from_w { }
		counter to_w { }
		ct helper pptp {
			type "pptp" protocol tcp
			l3proto ip
		}
		chain help {
			type filter hook prerouting priority 0
			tcp dport 1723 ct helper set "pptp"
		}
		chain pre {
			type filter hook prerouting priority -99
			iifname "wan" $2 counter name from_w
			iifname "wan" ip protocol { tcp, udp, gre } imq todev 0
		}
		chain post {
			type filter hook postrouting priority 99
			oifname "wan" $2 counter name to_w
			oifname "wan" ip protocol { tcp, udp, gre } imq todev 1
		}
		chain masq {
			type nat hook postrouting priority srcnat
			oifname "wan" masquerade
		}
	}
	EOT
	w nft -f - <<-EOT
	table ip t {
		counter translated { }
		chain c {
			type filter hook input priority 0
			ip saddr 198.51.100.1 $2 counter name translated
		}
	}
	EOT
	[ "$3" = direct ] || slower
	dial "$1" "$W" eth0 "$H1" eth0 198.51.100.2
	out=$(udp "from=$H1,to=$W,dst=10.64.0.1,count=$COUNT,echo=1,gap=300")
	equal "echoes" "$(field echoed "$out")" "$COUNT"
	equal "source at W" "$(field from "$out")" 10.64.0.2
	out=$(tcp "from=$H1,to=$W,dst=10.64.0.1,port=5002,bytes=300000")
	equal "TCP: intact" "$(field intact "$out")" yes
	wait_for 5 all_left "$R" imq0
	wait_for 5 all_left "$R" imq1
	n=$(nft_counter "$R" inet shape to_w)
	within "outer packets to W" "$n" $((COUNT + 100)) 1000000
	within "outer packets to H1" "$(nft_counter "$R" inet shape from_w)" $((COUNT + 20)) 1000000
	within "outer packets at W with R's address" "$(nft_counter "$W" ip t translated)" \
		"$n" "$(nft_counter "$R" inet shape to_w)"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# hang_up KIND: the session, and with it ppp0, goes with packets queued that came
# from there, or are to be sent there.
hang_up() {
	local out pid seconds=4

	# xl2tpd takes 6 s on Linux 6.1, with packets in imq or without.
	[ "$1" != l2tp ] || seconds=10
	have_nft
	have_sch netem delay 1ms
	topology
	dial "$1" "$R" lan1 "$H1" eth0 10.0.1.1
	h1 ip route replace default via 10.64.0.1 dev ppp0
	r nft -f - <<-EOT
	table inet shape {
		chain pre {
			type filter hook prerouting priority -99
			iifname "ppp0" udp dport 5001 imq todev 0
		}
		chain post {
			type filter hook postrouting priority 99
			oifname "ppp0" udp dport 5002 imq todev 1
		}
	}
	EOT
	r tc qdisc replace dev imq0 root netem delay "$(slowly "$seconds")s" limit 10000
	r tc qdisc replace dev imq1 root netem delay "$(slowly "$seconds")s" limit 10000
	udp_load --idle 500 \
		"id=out,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=30,gap=500" \
		"id=in,from=$W,to=$H1,dst=10.64.0.2,port=5002,count=30,gap=500"
	wait_for 5 backlog_is "$R" imq0 30
	wait_for 5 backlog_is "$R" imq1 30
	pid=$(cat "$imq_tmp/pid.client")
	say "kill $pid, the client"
	kill -TERM "$pid"
	wait_for "$((seconds + 1))" no_ppp || fail "ppp0 stays"
	wait_for 10 all_left "$R" imq0
	wait_for 10 all_left "$R" imq1
	out=$(udp_load_end)
	equal "delivered" "$(field got "$(flow out "$out")") $(field got "$(flow in "$out")")" "0 0"
	equal "imq0: dropped for want of ppp0" "$(stat_of "$R" imq0 drop_dev)" 30
	equal "imq1: dropped for want of ppp0" "$(stat_of "$R" imq1 drop_dev)" 30
}

no_ppp() {
	! ip -n "$R" link show ppp0 >/dev/null 2>&1
}

# IPsec ---------------------------------------------------------------------

# ipsec_ends PROTOCOL MODE FAMILY [ADDRESS]: states and policies of R and W. Between
# their own addresses in transport mode; between H1, or this address, and 203.0.113.1,
# 2001:db8:cafe::1 at W, else.
ipsec_ends() {
	local r_outer w_outer r_inner w_inner ns

	case $3 in
	4) r_outer=198.51.100.1 w_outer=198.51.100.2 r_inner=10.0.1.2/32 w_inner=203.0.113.1/32 ;;
	6) r_outer=2001:db8:f::1 w_outer=2001:db8:f::2 r_inner=fd00:1::2/128
	   w_inner=2001:db8:cafe::1/128 ;;
	esac
	r_inner=${4:-$r_inner}
	w ip address add "$w_inner" dev lo
	r ip route add "$w_inner" via "$w_outer"
	if [ "$2" = transport ]; then
		r_inner=$r_outer w_inner=$w_outer
	fi
	for ns in "$R" "$W"; do
		ipsec_state "$ns" "$1" "$2" "$r_outer" "$w_outer" 0x100
		ipsec_state "$ns" "$1" "$2" "$w_outer" "$r_outer" 0x200
	done
	ipsec_policy "$R" out "$r_inner" "$w_inner" "$r_outer" "$w_outer" "$1" "$2"
	ipsec_policy "$R" "in" "$w_inner" "$r_inner" "$w_outer" "$r_outer" "$1" "$2"
	ipsec_policy "$R" fwd "$w_inner" "$r_inner" "$w_outer" "$r_outer" "$1" "$2"
	ipsec_policy "$W" out "$w_inner" "$r_inner" "$w_outer" "$r_outer" "$1" "$2"
	ipsec_policy "$W" "in" "$r_inner" "$w_inner" "$r_outer" "$w_outer" "$1" "$2"
}

# ipsec_state NETNS PROTOCOL MODE SRC DST SPI
ipsec_state() {
	local key=0x00112233445566778899aabbccddeeff

	case $2 in
	esp)
		on "$1" ip xfrm state add src "$4" dst "$5" proto esp spi "$6" mode "$3" \
			auth-trunc 'hmac(sha256)' "${key}00112233445566778899aabbccddeeff" 128 \
			enc 'cbc(aes)' "$key" || skip "the kernel has no ESP" ;;
	ah)
		on "$1" ip xfrm state add src "$4" dst "$5" proto ah spi "$6" mode "$3" \
			auth-trunc 'hmac(sha256)' "${key}00112233445566778899aabbccddeeff" 128 ||
			skip "the kernel has no AH" ;;
	esac
}

# ipsec_policy NETNS DIRECTION SRC DST TEMPLATE-SRC TEMPLATE-DST PROTOCOL MODE
ipsec_policy() {
	on "$1" ip xfrm policy add src "$3" dst "$4" dir "$2" \
		tmpl src "$5" dst "$6" proto "$7" mode "$8"
}

# ipsec_rules IMQ-IN IMQ-OUT: plain packets in front of xfrm or behind it, with
# UDP and TCP in them, and secured ones: each on its hooks, counted before imq and
# behind.
ipsec_rules() {
	r nft -f - <<-EOT
	table inet shape {
		counter plain_in { }
		counter plain_out { }
		counter plain_in_behind { }
		counter plain_out_behind { }
		counter secure_in { }
		counter secure_out { }
		counter secure_in_behind { }
		counter secure_out_behind { }
		chain pre {
			type filter hook prerouting priority -99
			iifname "wan" meta ipsec exists udp dport 1-65535 counter name plain_in
			iifname "wan" meta ipsec exists imq todev 0
			iifname "wan" meta l4proto $1 counter name secure_in imq todev 0
		}
		chain pre_behind {
			type filter hook prerouting priority -90
			iifname "wan" meta ipsec exists udp dport 1-65535 counter name plain_in_behind
			iifname "wan" meta l4proto $1 counter name secure_in_behind
		}
		chain post {
			type filter hook postrouting priority 99
			rt ipsec exists udp dport 1-65535 counter name plain_out
			rt ipsec exists imq todev 1
			oifname "wan" meta l4proto $1 counter name secure_out imq todev 1
		}
		chain post_behind {
			type filter hook postrouting priority 110
			rt ipsec exists udp dport 1-65535 counter name plain_out_behind
			oifname "wan" meta l4proto $1 counter name secure_out_behind
		}
	}
	EOT
}

ipsec() {
	local protocol=$1 mode=$2 family=$3 from dst out n name

	have_nft
	topology
	ipsec_ends "$@"
	ipsec_rules "$protocol"
	from=$H1 dst=203.0.113.1
	[ "$family" = 4 ] || dst=2001:db8:cafe::1
	if [ "$mode" = transport ]; then
		from=$R dst=198.51.100.2
		[ "$family" = 4 ] || dst=2001:db8:f::2
	fi
	for n in 1 2; do
		out=$(udp "from=$from,to=$W,dst=$dst,port=$((5000 + n)),count=$COUNT,echo=1,gap=300")
		equal "echoes" "$(field echoed "$out")" "$COUNT"
		equal "duplicates, damaged" "$(field dup "$out")$(field bad "$out")" 00
		for name in plain_in plain_out plain_in_behind plain_out_behind; do
			equal "packets, $name" "$(nft_counter "$R" inet shape "$name")" $((n * COUNT))
		done
		slower
	done
	out=$(tcp "id=up,from=$from,to=$W,dst=$dst,port=5002,bytes=300000" \
		  "id=down,from=$from,to=$W,dst=$dst,port=5003,bytes=300000,reverse=1")
	equal "up: intact" "$(field intact "$(flow up "$out")")" yes
	equal "down: intact" "$(field intact "$(flow down "$out")")" yes
	wait_for 5 all_left "$R" imq0
	wait_for 5 all_left "$R" imq1
	for name in secure_in secure_out; do
		within "packets, $name" "$(nft_counter "$R" inet shape "$name")" \
			$((2 * COUNT + 20)) 100000
		equal "packets, ${name}_behind" "$(nft_counter "$R" inet shape "${name}_behind")" \
			"$(nft_counter "$R" inet shape "$name")"
	done
	ipsec_statistics
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# ipsec_unread TIMES [NETEM...]: a socket that is closed with packets unread goes, also if
# they have been found to be for it on receive, and have been in imq with the path of
# their tunnel, which stays with them. TIMES as many leave it as have come.
ipsec_unread() {
	local before

	have_nft
	topology
	ipsec_ends esp tunnel 4 10.0.1.1/32
	r nft -f - <<-EOT
	table inet shape {
		chain input {
			type filter hook input priority 0
			meta ipsec exists udp dport 5001 imq todev 0
		}
	}
	EOT
	[ $# -eq 1 ] || r tc qdisc add dev imq0 root netem "${@:2}"
	before=$(sockets_of "$R")
	PYTHONPATH=$imq_dir python3 - "$R" "$W" "$COUNT" <<-'EOT'
	import socket
	import sys
	from imq_traffic import enter
	enter(sys.argv[1])
	rx = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	rx.bind(("10.0.1.1", 5001))
	rx.connect(("203.0.113.1", 5002))
	rx.settimeout(10)
	enter(sys.argv[2])
	tx = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	tx.bind(("203.0.113.1", 5002))
	for _ in range(int(sys.argv[3])):
	    tx.sendto(b"unread", ("10.0.1.1", 5001))
	if rx.recv(100, socket.MSG_PEEK) != b"unread":
	    sys.exit("another packet")
	EOT
	wait_for 5 left_is "$R" imq0 $(($1 * COUNT)) ||
		fail "packets that left imq0: $(left "$R" imq0)"
	wait_for 10 sockets_are "$R" "$before" ||
		fail "sockets of R: $(sockets_of "$R"), $before before"
	ipsec_statistics
	no_other_counter "$R" imq0
}

# sockets_of NETNS: that are there, closed or not
sockets_of() {
	on "$1" sed -n 's/^sockets: used //p' /proc/net/sockstat
}

sockets_are() {
	[ "$(sockets_of "$1")" = "$2" ]
}

# No packet has come or gone in clear, or could not be checked.
ipsec_statistics() {
	local ns

	for ns in "$R" "$W"; do
		equal "errors in xfrm_stat" "$(on "$ns" cat /proc/net/xfrm_stat |
			awk '$2 != 0 { printf "%s %s ", $1, $2 }')" ""
	done
}

imq_begin
for kind in pppoe pptp l2tp; do
	imq_test "F14 $kind with NAT, R is the server" ppp_server "$kind"
	imq_test "F14 $kind with NAT, R is the client" ppp_client "$kind"
	imq_test "F14 $kind, hung up with packets queued" hang_up "$kind"
done
for how in direct deferred; do
	imq_test "F14 pptp, NAT in between, $how" ppp_between pptp "ip protocol gre" "$how"
	imq_test "F14 l2tp, NAT in between, $how" ppp_between l2tp "udp dport 1701" "$how"
done
for kind in esp ah; do
	for mode in transport tunnel; do
		imq_test "F4 IPsec, $kind, $mode, IPv4" ipsec "$kind" "$mode" 4
		imq_test "F4 IPsec, $kind, $mode, IPv6" ipsec "$kind" "$mode" 6
	done
done
imq_test "F4 IPsec, a socket is closed with packets unread" ipsec_unread 1
imq_test "F4 IPsec, a socket is closed with copies unread" ipsec_unread 2 duplicate 100%
imq_end
