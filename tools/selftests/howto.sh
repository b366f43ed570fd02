#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a user does to shape a router's traffic, with each front end: packets go
# through imq where it is documented, get into the classes that they belong in,
# and come out at the other end as they would without imq.
#
# The drawing is in imq_lib.sh (topology). R masquerades. Packets from the world
# go through imq0, behind the NAT, packets to the world through imq1, before it;
# so both see the hosts' own addresses.

. "$(dirname "$0")/imq_lib.sh"

# Datagrams of a host, each of which W sends back. In all sums of some of them,
# no two are equal.
H1_V4=7 H1_V6=13 H2_V4=29 H2_V6=58
SIZE=100
V4_HEADER=28 V6_HEADER=48

# Front ends ----------------------------------------------------------------

# ipt COMMAND ARG...: iptables and ip6tables of one kind.
ipt() {
	local command=$1
	shift

	r "ip$command" "$@"
	r "ip6$command" "$@"
}

masquerade() {
	case $1 in
	nft)
		r nft -f - <<-EOT
		table inet nat {
			chain post {
				type nat hook postrouting priority srcnat
				oifname "wan" masquerade
			}
		}
		EOT
		;;
	*) ipt "$1" -t nat -A POSTROUTING -o wan -j MASQUERADE ;;
	esac
}

# shape FRONT-END: the rules of the documentation.
shape() {
	case $1 in
	nft)
		r nft -f - <<-EOT
		table inet shape {
			chain pre {
				type filter hook prerouting priority dstnat + 1
				iifname "wan" imq todev 0
			}
			chain post {
				type filter hook postrouting priority srcnat - 1
				oifname "wan" imq todev 1
			}
		}
		EOT
		;;
	*)
		ipt "$1" -t mangle -A PREROUTING -i wan -m conntrack \
			--ctstate ESTABLISHED -j IMQ --todev 0
		ipt "$1" -t mangle -A POSTROUTING -o wan -m conntrack \
			--ctstate NEW,ESTABLISHED -j IMQ --todev 1
		;;
	esac
}

# The hosts' packets get marks 1 and 2, in both directions, and W's too:
# netfilter remembers them by connection.
marks() {
	case $1 in
	nft)
		r nft -f - <<-EOT
		table inet marks {
			chain pre {
				type filter hook prerouting priority mangle
				iifname "lan1" ct mark set 1
				iifname "lan2" ct mark set 2
				meta mark set ct mark
			}
		}
		EOT
		;;
	*)
		ipt "$1" -t mangle -A PREROUTING -i lan1 -j CONNMARK --set-mark 1
		ipt "$1" -t mangle -A PREROUTING -i lan2 -j CONNMARK --set-mark 2
		ipt "$1" -t mangle -A PREROUTING -j CONNMARK --restore-mark
		;;
	esac
}

# The class is in the packet's priority. iptables has a target for that, but not
# on PREROUTING: there, packets to the hosts are shaped on POSTROUTING.
shape_priority() {
	local v6_classes="fd00:1::2 : 1:10, fd00:2::2 : 1:20"

	case $1 in
	nft)
		r nft -f - <<-EOT
		table inet shape {
			chain pre {
				type filter hook prerouting priority dstnat + 1
				iifname "wan" jump to_hosts
			}
			chain to_hosts {
				ip daddr 10.0.1.2 meta priority set 1:10
				ip daddr 10.0.2.2 meta priority set 1:20
				meta priority set ip6 daddr map { $v6_classes }
				imq todev 0
			}
			chain post {
				type filter hook postrouting priority srcnat - 1
				oifname "wan" jump from_hosts
			}
			chain from_hosts {
				ip saddr 10.0.1.2 meta priority set 1:10
				ip saddr 10.0.2.2 meta priority set 1:20
				meta priority set ip6 saddr map { $v6_classes }
				imq todev 1
			}
		}
		EOT
		;;
	*)
		ipt "$1" -t mangle -A POSTROUTING -o lan1 -j CLASSIFY --set-class 1:10
		ipt "$1" -t mangle -A POSTROUTING -o lan2 -j CLASSIFY --set-class 1:20
		ipt "$1" -t mangle -A POSTROUTING -o lan+ -p udp -j IMQ --todev 0
		ipt "$1" -t mangle -A FORWARD -i lan1 -j CLASSIFY --set-class 1:10
		ipt "$1" -t mangle -A FORWARD -i lan2 -j CLASSIFY --set-class 1:20
		ipt "$1" -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev 1
		;;
	esac
}

# Shapers -------------------------------------------------------------------

classes() {
	local dev

	for dev in imq0 imq1; do
		r tc qdisc add dev "$dev" root handle 1: htb default 11
		r tc class add dev "$dev" parent 1: classid 1:1 htb rate 1gbit
		r tc class add dev "$dev" parent 1:1 classid 1:10 htb rate 300mbit ceil 1gbit
		r tc class add dev "$dev" parent 1:1 classid 1:20 htb rate 300mbit ceil 1gbit
		r tc class add dev "$dev" parent 1:1 classid 1:11 htb rate 100mbit ceil 1gbit
	done
}

filters_fw() {
	local dev

	for dev in imq0 imq1; do
		r tc filter add dev "$dev" parent 1: protocol all prio 1 handle 1 fw classid 1:10
		r tc filter add dev "$dev" parent 1: protocol all prio 1 handle 2 fw classid 1:20
	done
}

# filters_u32, filters_flower: by the hosts' own addresses.
filters_u32() {
	local dev dir

	for dev in imq0 imq1; do
		[ "$dev" = imq0 ] && dir=dst || dir=src
		r tc filter add dev "$dev" parent 1: protocol ip prio 1 u32 \
			match ip "$dir" 10.0.1.2/32 flowid 1:10
		r tc filter add dev "$dev" parent 1: protocol ip prio 1 u32 \
			match ip "$dir" 10.0.2.2/32 flowid 1:20
		r tc filter add dev "$dev" parent 1: protocol ipv6 prio 2 u32 \
			match ip6 "$dir" fd00:1::2/128 flowid 1:10
		r tc filter add dev "$dev" parent 1: protocol ipv6 prio 2 u32 \
			match ip6 "$dir" fd00:2::2/128 flowid 1:20
	done
}

filters_flower() {
	local dev dir

	for dev in imq0 imq1; do
		[ "$dev" = imq0 ] && dir=dst_ip || dir=src_ip
		r tc filter add dev "$dev" parent 1: protocol ip prio 1 flower \
			ip_proto udp "$dir" 10.0.1.2 classid 1:10
		r tc filter add dev "$dev" parent 1: protocol ip prio 1 flower \
			ip_proto udp "$dir" 10.0.2.2 classid 1:20
		r tc filter add dev "$dev" parent 1: protocol ipv6 prio 2 flower \
			ip_proto udp "$dir" fd00:1::2 classid 1:10
		r tc filter add dev "$dev" parent 1: protocol ipv6 prio 2 flower \
			ip_proto udp "$dir" fd00:2::2 classid 1:20
	done
}

# Checks --------------------------------------------------------------------

# flow_ok ID LINES COUNT SOURCE: all there and back, from this address.
flow_ok() {
	local line

	line=$(flow "$1" "$2")
	equal "$1: datagrams at W" "$(field unique "$line")" "$3"
	equal "$1: echoes" "$(field echoed "$line")" "$3"
	equal "$1: duplicates" "$(field dup "$line") $(field edup "$line")" "0 0"
	equal "$1: damaged" "$(field bad "$line") $(field ebad "$line")" "0 0"
	equal "$1: source address at W" "$(field from "$line")" "$4"
}

# Every datagram goes to W and back, translated.
exchange() {
	local out
	local to_w4="to=$W,dst=198.51.100.2,echo=1,size=$SIZE"
	local to_w6="to=$W,dst=2001:db8:f::2,echo=1,size=$SIZE"

	out=$(udp "id=h1v4,from=$H1,port=5001,$to_w4,count=$H1_V4" \
		  "id=h1v6,from=$H1,port=5002,$to_w6,count=$H1_V6" \
		  "id=h2v4,from=$H2,port=5003,$to_w4,count=$H2_V4" \
		  "id=h2v6,from=$H2,port=5004,$to_w6,count=$H2_V6")
	flow_ok h1v4 "$out" "$H1_V4" 198.51.100.1
	flow_ok h1v6 "$out" "$H1_V6" 2001:db8:f::1
	flow_ok h2v4 "$out" "$H2_V4" 198.51.100.1
	flow_ok h2v6 "$out" "$H2_V6" 2001:db8:f::1
}

# class_is DEV CLASSID V4 V6: so many datagrams have left it.
class_is() {
	equal "$1: packets in class $2" "$(class_packets "$R" "$1" "$2")" $(($3 + $4))
	equal "$1: bytes in class $2" "$(class_bytes "$R" "$1" "$2")" \
		$(($3 * (V4_HEADER + SIZE) + $4 * (V6_HEADER + SIZE)))
}

classes_ok() {
	local dev

	for dev in imq0 imq1; do
		class_is "$dev" 1:10 "$H1_V4" "$H1_V6"
		class_is "$dev" 1:20 "$H2_V4" "$H2_V6"
		# Neighbour discovery and the like may be on their way.
		wait_for 5 all_left "$R" "$dev"
		equal "$dev: drops" "$(qdisc_drops "$R" "$dev")" 0
	done
}

have_front_end() {
	case $1 in
	nft) have_nft ;;
	*) have_xt "ip$1"; have_xt "ip6$1" ;;
	esac
}

# Tests ---------------------------------------------------------------------

# by FRONT-END CLASSIFIER: packets get into their classes by it.
by() {
	have_front_end "$1"
	topology
	masquerade "$1"
	classes
	case $2 in
	fw) marks "$1"; shape "$1"; filters_fw ;;
	priority) shape_priority "$1" ;;
	*) shape "$1"; "filters_$2" ;;
	esac
	exchange
	classes_ok
}

# A mark chooses the rule, and so the device.
mark_picks_rule() {
	have_front_end "$1"
	topology
	masquerade "$1"
	marks "$1"
	case $1 in
	nft)
		r nft -f - <<-EOT
		table inet shape {
			chain pre {
				type filter hook prerouting priority dstnat + 1
				iifname "wan" meta mark 1 imq todev 0
				iifname "wan" meta mark 2 imq todev 1
			}
		}
		EOT
		;;
	*)
		ipt "$1" -t mangle -A PREROUTING -i wan -m mark --mark 1 -j IMQ --todev 0
		ipt "$1" -t mangle -A PREROUTING -i wan -m mark --mark 2 -j IMQ --todev 1
		;;
	esac
	exchange
	equal "imq0: entered" "$(entered "$R" imq0)" $((H1_V4 + H1_V6))
	equal "imq1: entered" "$(entered "$R" imq1)" $((H2_V4 + H2_V6))
}

# The last match wins, as it always did.
last_match_wins() {
	have_xt "ip$1"
	topology
	masquerade "$1"
	ipt "$1" -t mangle -A PREROUTING -i wan -p udp -j IMQ --todev 1
	ipt "$1" -t mangle -A PREROUTING -i wan -p udp -j IMQ
	exchange
	equal "imq0: entered" "$(entered "$R" imq0)" $((H1_V4 + H1_V6 + H2_V4 + H2_V6))
	equal "imq1: entered" "$(entered "$R" imq1)" 0
}

# `imq todev' takes what an expression yields, too: maps, marks.
nft_map() {
	have_nft
	topology
	masquerade nft
	r nft -f - <<-EOT
	table inet shape {
		map to_imq {
			type ipv4_addr : mark
			elements = { 10.0.1.2 : 0, 10.0.2.2 : 1 }
		}
		chain pre {
			type filter hook prerouting priority dstnat + 1
			iifname "wan" meta nfproto ipv4 imq todev ip daddr map @to_imq
			iifname "wan" imq todev ip6 daddr map { fd00:1::2 : 1, fd00:2::2 : 0 }
		}
	}
	EOT
	exchange
	equal "imq0: entered" "$(entered "$R" imq0)" $((H1_V4 + H2_V6))
	equal "imq1: entered" "$(entered "$R" imq1)" $((H2_V4 + H1_V6))
}

# tcp_ok ID LINES SOURCE
tcp_ok() {
	local line

	line=$(flow "$1" "$2")
	equal "$1: data is intact" "$(field intact "$line")" yes
	equal "$1: client's address" "$(field from "$line")" "$3"
}

# TCP in both directions, with both families, at once.
bulk_tcp() {
	local out dev

	have_front_end "$1"
	topology
	masquerade "$1"
	classes
	shape "$1"
	filters_u32
	out=$(tcp "id=up4,from=$H1,to=$W,dst=198.51.100.2,port=5001" \
		  "id=down4,from=$H1,to=$W,dst=198.51.100.2,port=5002,reverse=1" \
		  "id=up6,from=$H2,to=$W,dst=2001:db8:f::2,port=5003" \
		  "id=down6,from=$H2,to=$W,dst=2001:db8:f::2,port=5004,reverse=1")
	tcp_ok up4 "$out" 198.51.100.1
	tcp_ok down4 "$out" 198.51.100.1
	tcp_ok up6 "$out" 2001:db8:f::1
	tcp_ok down6 "$out" 2001:db8:f::1
	for dev in imq0 imq1; do
		within "$dev: bytes in class 1:10" \
			"$(class_bytes "$R" "$dev" 1:10)" 1000000 1200000
		within "$dev: bytes in class 1:20" \
			"$(class_bytes "$R" "$dev" 1:20)" 1000000 1200000
	done
}

# A rate that is a limit: the data needs the time that it should.
rate_holds() {
	local out ms

	have_front_end "$1"
	topology
	masquerade "$1"
	shape "$1"
	r tc qdisc add dev imq0 root handle 1: htb default 10
	r tc class add dev imq0 parent 1: classid 1:10 htb rate 8mbit burst 5k cburst 5k
	r tc qdisc add dev imq0 parent 1:10 pfifo limit 50
	out=$(tcp "id=down,from=$H1,to=$W,dst=198.51.100.2,reverse=1,bytes=1000000")
	tcp_ok down "$out" 198.51.100.1
	# 1000000 bytes and 690 headers of 52, at 1000 bytes per ms; the first 5000
	# may go at once, and the last packet, up to 64 KiB, before it has been
	# paid for.
	ms=$(field ms "$(flow down "$out")")
	within "milliseconds for 1 MB at 8 Mbit/s" "$ms" 960 "$(slowly 1140)"
}

# To the letter, in the initial namespace, with devices that the module makes.
letter_clean() {
	local command rule file value

	for command in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
		command -v "$command" >/dev/null || continue
		for rule in "mangle -D PREROUTING -i wan -p udp -j IMQ --todev 0" \
			    "mangle -D POSTROUTING -o wan -p udp -j IMQ --todev 1" \
			    "mangle -D PREROUTING -i wan -j MARK --set-mark 7" \
			    "nat -D POSTROUTING -o wan -j MASQUERADE"; do
			# shellcheck disable=SC2086 # a list of words
			while "$command" -w -t $rule 2>/dev/null; do :; done
		done
	done
	nft delete table inet shape 2>/dev/null || true
	tc qdisc del dev imq0 root 2>/dev/null || true
	tc qdisc del dev imq1 root 2>/dev/null || true
	ip link set imq0 down 2>/dev/null || true
	ip link set imq1 down 2>/dev/null || true
	while IFS=: read -r file value; do
		# "all" is for every interface, and comes first.
		echo "$value" 2>/dev/null >"$file" || true
	done <"$imq_tmp/sysctl"
	rmmod xt_IMQ nft_imq imq 2>/dev/null || true
}

# letter_sysctl: what imq_sysctl changes, and what follows from that, FILE:VALUE
letter_sysctl() {
	grep -H . /proc/sys/net/ipv[46]/conf/*/forwarding \
		/proc/sys/net/ipv4/conf/*/rp_filter \
		/proc/sys/net/ipv6/conf/*/{accept_dad,keep_addr_on_down}
}

letter_stat() {
	cat "/sys/class/net/$1/statistics/$2_packets"
}

# letter_begin: nothing of what is needed is there yet, or the test is skipped; imq0 and
# imq1 are there then, and the hosts.
letter_begin() {
	local name

	for name in wan lan1 lan2; do
		[ ! -e "/sys/class/net/$name" ] ||
			skip "the machine has an interface $name"
	done
	# shellcheck disable=SC2144 # one is enough
	if [ -n "$(ip link show type imq up)" ]; then
		skip "imq is in use on this machine"
	fi
	letter_sysctl >"$imq_tmp/sysctl"
	trap letter_clean EXIT
	if modular imq; then
		unload xt_IMQ nft_imq imq
		run modprobe imq numdevs=8
		equal "imq devices" "$(ip -o link show type imq | wc -l)" 8
	elif [ ! -e /sys/class/net/imq1 ]; then
		skip "imq is built in and makes no imq0 and imq1"
	fi
	new_ns "$W" "$H1" "$H2"
	topology_links ""
}

# letter_rules FRONT-END: those of the documentation, and a class for mark 7.
letter_rules() {
	local name

	run ip link set imq0 up
	run ip link set imq1 up
	run tc qdisc add dev imq0 root handle 1: htb default 11
	run tc class add dev imq0 parent 1: classid 1:11 htb rate 1gbit
	run tc class add dev imq0 parent 1: classid 1:10 htb rate 1gbit
	run tc filter add dev imq0 parent 1: protocol all handle 7 fw classid 1:10
	case $1 in
	nft)
		run nft add table inet shape
		run nft 'add chain inet shape pre { type filter hook prerouting priority -99; }'
		run nft 'add chain inet shape post { type filter hook postrouting priority 99; }'
		run nft 'add chain inet shape mangle { type filter hook prerouting priority -150; }'
		run nft 'add chain inet shape nat { type nat hook postrouting priority 100; }'
		run nft 'add rule inet shape nat oifname "wan" masquerade'
		run nft 'add rule inet shape mangle iifname "wan" meta mark set 7'
		run nft 'add rule inet shape pre iifname "wan" meta l4proto udp imq todev 0'
		run nft 'add rule inet shape post oifname "wan" meta l4proto udp imq todev 1'
		;;
	*)
		for name in "ip$1" "ip6$1"; do
			run "$name" -w -t nat -A POSTROUTING -o wan -j MASQUERADE
			run "$name" -w -t mangle -A PREROUTING -i wan -p udp -j IMQ --todev 0
			run "$name" -w -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev 1
			run "$name" -w -t mangle -A PREROUTING -i wan -j MARK --set-mark 7
		done
		;;
	esac
}

to_the_letter() {
	local n rx0 tx0 rx1 tx1

	have_front_end "$1"
	letter_begin
	letter_rules "$1"
	rx0=$(letter_stat imq0 rx) tx0=$(letter_stat imq0 tx)
	rx1=$(letter_stat imq1 rx) tx1=$(letter_stat imq1 tx)
	exchange
	run ip -s link show imq0 >&3
	run ip -s link show imq1 >&3
	n=$((H1_V4 + H1_V6 + H2_V4 + H2_V6))
	equal "imq0: rx packets" $(($(letter_stat imq0 rx) - rx0)) "$n"
	equal "imq0: tx packets" $(($(letter_stat imq0 tx) - tx0)) "$n"
	equal "imq1: rx packets" $(($(letter_stat imq1 rx) - rx1)) "$n"
	equal "imq1: tx packets" $(($(letter_stat imq1 tx) - tx1)) "$n"
	equal "imq0: packets with mark 7" "$(tc -s class show dev imq0 classid 1:10 |
		awk '$1 == "Sent" { print $4 }')" "$n"
}

imq_begin
for front_end in tables-legacy tables-nft nft; do
	case $front_end in
	nft) name=nft ;;
	*) name=ip$front_end ;;
	esac
	imq_test "$name, to the letter" to_the_letter "$front_end"
	imq_test "$name, classes by fw filters on marks" by "$front_end" fw
	imq_test "$name, classes by priority" by "$front_end" priority
	imq_test "$name, classes by u32 filters" by "$front_end" u32
	imq_test "$name, classes by flower filters" by "$front_end" flower
	imq_test "$name, marks pick rules" mark_picks_rule "$front_end"
	imq_test "$name, TCP both ways, both families" bulk_tcp "$front_end"
	imq_test "$name, a rate holds" rate_holds "$front_end"
done
for front_end in tables-legacy tables-nft; do
	imq_test "ip$front_end, the last match wins" last_match_wins "$front_end"
done
imq_test "nft, devices from maps" nft_map
imq_end
