#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rules whose device is down or missing: packets go on unshaped, through all the
# other hooks (SNAT: the far side sees the router's address), are counted, and
# the kernel log says so once per device and transition.
#
# The drawing is in imq_lib.sh (topology). R masquerades. Packets from H1 go
# through imq1 on POSTROUTING, before SNAT; packets to H1 through imq0.

. "$(dirname "$0")/imq_lib.sh"

COUNT=10
DOWN="device is down, packets pass unshaped"

rules() {
	case $1 in
	nft)
		have_nft
		r nft -f - <<-EOT
		table inet t {
			chain masq {
				type nat hook postrouting priority srcnat
				oifname "wan" masquerade
			}
			chain pre {
				type filter hook prerouting priority dstnat + 1
				iifname "wan" meta l4proto udp imq todev ${2:-0}
			}
			chain post {
				type filter hook postrouting priority srcnat - 1
				oifname "wan" meta l4proto udp imq todev ${3:-1}
			}
		}
		EOT
		;;
	*)
		have_xt "$1"
		have_xt "ip6${1#ip}"
		for command in "$1" "ip6${1#ip}"; do
			r "$command" -t nat -A POSTROUTING -o wan -j MASQUERADE
			r "$command" -t mangle -A PREROUTING -i wan -p udp -j IMQ --todev "${2:-0}"
			r "$command" -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev "${3:-1}"
		done
		;;
	esac
}

# A new connection each time, of each family: SNAT is decided by the first
# packet, and the connection confirmed behind it.
exchange() {
	local out id line

	out=$(udp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,echo=1,count=$COUNT" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,echo=1,count=$COUNT")
	for id in v4 v6; do
		line=$(flow "$id" "$out")
		equal "$id: at W" "$(field unique "$line")" "$COUNT"
		equal "$id: echoes" "$(field echoed "$line")" "$COUNT"
		equal "$id: duplicates" "$(field dup "$line")$(field edup "$line")" 00
	done
	equal "v4: source at W" "$(field from "$(flow v4 "$out")")" 198.51.100.1
	equal "v6: source at W" "$(field from "$(flow v6 "$out")")" 2001:db8:f::1
}

counters() {
	local dev=$1 entered=$2 down=$3

	equal "$dev: entered" "$(entered "$R" "$dev")" "$entered"
	equal "$dev: left" "$(left "$R" "$dev")" "$entered"
	equal "$dev: bypass_down" "$(stat_of "$R" "$dev" bypass_down)" "$down"
}

device_down() {
	local n=$((2 * COUNT))

	topology
	rules "$1"
	exchange
	counters imq0 "$n" 0
	counters imq1 "$n" 0

	r ip link set imq0 down
	log_mark
	exchange
	exchange
	counters imq0 "$n" $((2 * n))
	counters imq1 $((3 * n)) 0
	equal "warnings, imq0" "$(log_count "imq0: $DOWN")" 1
	equal "warnings, imq1" "$(log_count "imq1: $DOWN")" 0

	r ip link set imq1 down
	exchange
	exchange
	counters imq0 "$n" $((4 * n))
	counters imq1 $((3 * n)) $((2 * n))
	equal "warnings, imq0" "$(log_count "imq0: $DOWN")" 1
	equal "warnings, imq1" "$(log_count "imq1: $DOWN")" 1

	# Up: they are shaped again.
	r ip link set imq0 up
	r ip link set imq1 up
	exchange
	counters imq0 $((2 * n)) $((4 * n))
	counters imq1 $((4 * n)) $((2 * n))

	# Down once more: another transition.
	r ip link set imq0 down
	exchange
	equal "warnings, imq0" "$(log_count "imq0: $DOWN")" 2
	equal "warnings, imq1" "$(log_count "imq1: $DOWN")" 1
	equal "accepted without a device" "$(bypassed "$R" no_device)" 0
}

# Its shaper is still there, and works, after down and up.
shapes_again() {
	local out start

	topology
	rules "$1"
	r tc qdisc add dev imq1 root handle 1: tbf rate 200kbit burst 3000 limit 1000000
	r ip link set imq1 down
	exchange
	r ip link set imq1 up
	equal "qdisc of imq1" "$(r tc qdisc show dev imq1 root | cut -d' ' -f2)" tbf
	out=$(tcp "from=$H1,to=$W,dst=198.51.100.2,port=5003,bytes=100000")
	equal "imq1: TCP goes past it" "$(field intact "$out")" yes
	start=$(date +%s%N)
	# 25 datagrams of 1028 bytes at 25 bytes per ms, also where a kernel with
	# checkers takes 20 ms to send one; 3000 go at once
	udp "from=$H1,to=$W,dst=198.51.100.2,port=5004,count=25,size=1000,gap=0,echo=1" >/dev/null
	within "milliseconds for 26 kB at 200 kbit/s" \
		$((($(date +%s%N) - start) / 1000000)) 800 10000
	equal "imq1: drops" "$(qdisc_drops "$R" imq1)" 0
	within "imq1: overlimits" "$(r tc -s qdisc show dev imq1 root |
		awk '{ sub(")", "") } $8 == "overlimits" { print $9 }')" 1 1000
}

device_missing() {
	local n=$((2 * COUNT))
	local missing="no device with index 7 in this namespace, packets pass unshaped"

	topology
	rules "$1" 7 1
	log_mark
	exchange
	exchange
	equal "accepted without a device" "$(bypassed "$R" no_device)" $((2 * n))
	equal "in W" "$(bypassed "$W" no_device)" 0
	counters imq1 $((2 * n)) 0
	equal "warnings" "$(log_count "imq: $missing")" 1

	# It comes, and goes: that's a transition.
	r ip link add imq7 type imq
	r ip link set imq7 up
	exchange
	counters imq7 "$n" 0
	equal "accepted without a device" "$(bypassed "$R" no_device)" $((2 * n))
	r ip link del imq7
	exchange
	exchange
	equal "accepted without a device" "$(bypassed "$R" no_device)" $((4 * n))
	equal "warnings" "$(log_count "imq: $missing")" 2
}

# A packet may ask for an index that no device can have.
index_too_large() {
	have_nft
	topology
	r nft -f - <<-EOT
	table inet t {
		chain masq {
			type nat hook postrouting priority srcnat
			oifname "wan" masquerade
		}
		chain marks {
			type filter hook postrouting priority mangle
			meta mark set 0x10001
		}
		chain post {
			type filter hook postrouting priority srcnat - 1
			oifname "wan" meta l4proto udp imq todev meta mark
		}
	}
	EOT
	exchange
	equal "accepted without a device" "$(bypassed "$R" no_device)" $((2 * COUNT))
	counters imq1 0 0
}

# On the receive path of R itself, and on its transmit path
local_traffic() {
	local out n=$COUNT

	topology
	case $1 in
	nft)
		have_nft
		r nft -f - <<-EOT
		table inet t {
			chain input {
				type filter hook input priority 0
				meta l4proto udp imq todev 0
			}
			chain output {
				type filter hook output priority 0
				meta l4proto udp imq todev 1
			}
		}
		EOT
		;;
	*)
		have_xt "$1"
		r "$1" -t mangle -A PREROUTING -p udp -j IMQ --todev 0
		r "$1" -t mangle -A OUTPUT -p udp -j IMQ --todev 1
		;;
	esac
	r ip link set imq0 down
	r ip link set imq1 down
	out=$(udp "from=$H1,to=$R,dst=10.0.1.1,port=5001,echo=1,count=$n")
	equal "echoes" "$(field echoed "$out")" "$n"
	counters imq0 0 "$n"
	counters imq1 0 "$n"
}

# What was marked for a device that is down carries no extension to where it waits,
# here a raw socket (a UDP socket would take it off).
marks_gone() {
	local before

	have_xt "$1"
	topology
	r "$1" -t mangle -A PREROUTING -p udp -j IMQ --todev 0
	r ip link set imq0 down
	before=$(objects skbuff_ext_cache)
	background reader ip netns exec "$R" python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
print("ready", flush=True)
time.sleep(60)'
	wait_for 5 grep -q ready "$imq_tmp/out.reader"
	h1 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(200):
    s.sendto(b"x", ("10.0.1.1", 5001))'
	wait_for 5 waiting "$R" 200 || fail "in the socket: $(r cat /proc/net/raw)"
	within "imq0: bypass_down" "$(stat_of "$R" imq0 bypass_down)" 200 210
	within "extensions: $before, and now" "$(objects skbuff_ext_cache)" \
		0 $((before + IMQ_KEPT))
}

# waiting NETNS PACKETS: at least so many, of 256 bytes of memory or more, are in the
# raw socket for UDP.
waiting() {
	local bytes

	bytes=$(ip netns exec "$1" cat /proc/net/raw |
		awk '$2 ~ /:0011$/ { split($5, q, ":"); print q[2] }')
	[ $((16#${bytes:-0})) -ge $(($2 * 256)) ]
}

imq_begin
for front_end in iptables-legacy iptables-nft nft; do
	imq_test "F6 $front_end, device down" device_down "$front_end"
	imq_test "F6 $front_end, device missing" device_missing "$front_end"
	imq_test "F6 $front_end, down and up: shapes again" shapes_again "$front_end"
	imq_test "F6 $front_end, traffic of the router itself" local_traffic "$front_end"
done
imq_test "F6 nft, index out of range in a register" index_too_large
imq_test "F6 iptables-legacy, no mark stays with a packet" marks_gone iptables-legacy
imq_end
