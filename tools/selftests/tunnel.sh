#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tunnels: the inner and the outer packet go through the same imq, once each, in
# both directions (F3).
#
#    H1           R                             W
#   ┌──────┐     ┌─────────────────┐           ┌─────────────────┐
#   │ eth0 ├─────┤ lan1        wan ├───────────┤ eth0            │
#   └──────┘     │            tun0 ╞═══════════╡ tun0            │
#  10.0.1.2      │       10.0.77.1 │           │ 10.0.77.2       │
#                │     fd00:77::1  │           │ fd00:77::2      │
#                └─────────────────┘           └─────────────────┘

. "$(dirname "$0")/imq_lib.sh"

COUNT=50

tunnel() {
	local ns n peer

	topology
	for ns in "$R" "$W"; do
		[ "$ns" = "$R" ] && n=1 peer=2 || n=2 peer=1
		case $1 in
		ip6gre|ip6tnl)
			ip -n "$ns" link add tun0 type "$1" local "2001:db8:f::$n" \
				remote "2001:db8:f::$peer" encaplimit none ||
				skip "the kernel has no $1"
			;;
		vxlan)
			ip -n "$ns" link add tun0 type vxlan id 7 dstport 4789 \
				local "198.51.100.$n" remote "198.51.100.$peer" ||
				skip "the kernel has no $1"
			;;
		wireguard)
			ip -n "$ns" link add tun0 type wireguard || skip "the kernel has no $1"
			;;
		*)
			ip -n "$ns" link add tun0 type "$1" local "198.51.100.$n" \
				remote "198.51.100.$peer" ||
				skip "the kernel has no $1"
			;;
		esac
		imq_sysctl "$ns"
		ip -n "$ns" link set tun0 up
		ip -n "$ns" address add "10.0.77.$n/24" dev tun0
		ip -n "$ns" address add "fd00:77::$n/64" dev tun0 nodad || true
	done
	w ip route add 10.0.1.0/24 via 10.0.77.1
	[ "$1" != wireguard ] || wireguard
	wait_for 5 links_ready "$R"
}

# wireguard: R and W are peers.
wireguard() {
	have wg
	wg genkey >"$imq_tmp/key.r"
	wg genkey >"$imq_tmp/key.w"
	r wg set tun0 listen-port 51820 private-key "$imq_tmp/key.r" \
		peer "$(wg pubkey <"$imq_tmp/key.w")" endpoint 198.51.100.2:51820 \
		allowed-ips 0.0.0.0/0,::/0
	w wg set tun0 listen-port 51820 private-key "$imq_tmp/key.w" \
		peer "$(wg pubkey <"$imq_tmp/key.r")" endpoint 198.51.100.1:51820 \
		allowed-ips 0.0.0.0/0,::/0
	# Both have a session: later, each inner packet is one outer packet.
	r ping -n -q -c 3 -i 0.2 10.0.77.2 >&3 || fail "no session"
}

# shaper HOW: the qdisc of imq0. Direct: the default.
shaper() {
	case $1 in
	direct) ;;
	deferred)
		have_sch netem delay 1ms
		r tc qdisc add dev imq0 root netem delay 2ms limit 10000
		;;
	htb)
		r tc qdisc add dev imq0 root handle 1: htb default 1
		r tc class add dev imq0 parent 1: classid 1:1 htb rate 100mbit
		;;
	esac
}

# once_rules: both packets, on their way out and in, are counted and go to imq0.
once_rules() {
	r nft -f - <<-EOT
	table inet shape {
		counter inner { }
		counter outer { }
		chain post {
			type filter hook postrouting priority 99
			oifname "tun0" udp dport 5000-5999 jump inside
			oifname "wan" meta l4proto { icmp, ipv6-icmp } accept
			oifname "wan" ip daddr 198.51.100.2 jump outside
			oifname "wan" ip6 daddr 2001:db8:f::2 jump outside
		}
		chain pre {
			type filter hook prerouting priority -99
			iifname "tun0" udp sport 5000-5999 jump inside
			iifname "wan" meta l4proto { icmp, ipv6-icmp } accept
			iifname "wan" ip saddr 198.51.100.2 jump outside
			iifname "wan" ip6 saddr 2001:db8:f::2 jump outside
		}
		chain inside {
			counter name inner imq todev 0
		}
		chain outside {
			counter name outer imq todev 0
		}
	}
	EOT
}

# once KIND HOW: on the hook of both packets, on their way out and in.
once() {
	local out n

	have_nft
	tunnel "$1"
	shaper "$2"
	once_rules
	# What is in the tunnel, and is no datagram: as outer packets, some more
	n=4
	out=$(udp "id=forwarded,from=$H1,to=$W,dst=10.0.77.2,port=5001,count=$COUNT,echo=1" \
		  "id=local,from=$R,to=$W,dst=10.0.77.2,port=5002,count=$COUNT,echo=1")
	equal "forwarded: echoes" "$(field echoed "$(flow forwarded "$out")")" "$COUNT"
	equal "local: echoes" "$(field echoed "$(flow local "$out")")" "$COUNT"
	equal "inner packets" "$(counter inner)" $((n * COUNT))
	within "outer packets" "$(counter outer)" $((n * COUNT)) $((n * COUNT + 20))
	# Both may still grow.
	n=$(entered "$R" imq0)
	within "inner and outer packets" $(($(counter inner) + $(counter outer))) \
		"$n" "$(entered "$R" imq0)"
	wait_for 5 all_left "$R" imq0
	no_other_counter "$R" imq0
	# Data that is segmented behind the tunnel
	out=$(tcp "id=there,from=$H1,to=$W,dst=10.0.77.2,port=6001" \
		  "id=back,from=$H1,to=$W,dst=10.0.77.2,port=6002,reverse=1")
	equal "TCP there: intact" "$(field intact "$(flow there "$out")")" yes
	equal "TCP back: intact" "$(field intact "$(flow back "$out")")" yes
	no_other_counter "$R" imq0
}

counter() {
	nft_counter "$R" inet shape "$1"
}

# With the target, which marks packets: the outer packet is the inner one, and
# has been through imq already.
xt_once() {
	local out n

	have_xt iptables-legacy
	tunnel "$1"
	[ "$2" = direct ] || r tc qdisc add dev imq0 root netem delay 2ms limit 10000
	r iptables-legacy -t mangle -A POSTROUTING -o tun0 -p udp -j IMQ --todev 0
	r iptables-legacy -t mangle -A POSTROUTING -o wan -p "$3" -j IMQ --todev 0
	r iptables-legacy -t mangle -A PREROUTING -i tun0 -p udp -j IMQ --todev 0
	r iptables-legacy -t mangle -A PREROUTING -i wan -p "$3" -j IMQ --todev 0
	out=$(udp "id=forwarded,from=$H1,to=$W,dst=10.0.77.2,port=5001,count=$COUNT,echo=1")
	equal "echoes" "$(field echoed "$out")" "$COUNT"
	n=$(entered "$R" imq0)
	within "imq0: entered" "$n" $((4 * COUNT)) $((4 * COUNT + 10))
	equal "imq0: left" "$(left "$R" imq0)" "$n"
	no_other_counter "$R" imq0
}

imq_begin
for kind in gre ipip ip6gre vxlan wireguard; do
	for how in direct deferred htb; do
		imq_test "F3 $kind, inner and outer packet, $how" once "$kind" "$how"
	done
done
for how in direct deferred; do
	imq_test "F3 gre with -j IMQ, $how" xt_once gre "$how" gre
	imq_test "F3 ipip with -j IMQ, $how" xt_once ipip "$how" ipencap
done
imq_end
