#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets in imq are visible: tcpdump on imq0 and on any decodes them, once per
# device that they pass, and whole if they are GSO packets.
#
# The drawing is in imq_lib.sh (topology). R masquerades. Packets to and from
# the world go through imq0, behind DNAT and before SNAT.

. "$(dirname "$0")/imq_lib.sh"

# router FRONT-END PROTOCOL: of the packets that go through imq0
router() {
	have tcpdump
	topology
	case $1 in
	nft)
		have_nft
		r nft -f - <<-EOT
		table inet t {
			chain pre {
				type filter hook prerouting priority dstnat + 1
				iifname "wan" meta l4proto $2 imq todev 0
			}
			chain post {
				type filter hook postrouting priority srcnat - 1
				oifname "wan" meta l4proto $2 imq todev 0
			}
			chain masq {
				type nat hook postrouting priority srcnat
				oifname "wan" masquerade
			}
		}
		EOT
		;;
	*)
		have_xt "$1"
		for command in "$1" "ip6${1#ip}"; do
			r "$command" -t nat -A POSTROUTING -o wan -j MASQUERADE
			r "$command" -t mangle -A PREROUTING -i wan -p "$2" -j IMQ --todev 0
			r "$command" -t mangle -A POSTROUTING -o wan -p "$2" -j IMQ --todev 0
		done
		;;
	esac
}

# capture NAME OPTION...: tcpdump in R until captured NAME; it is ready on return.
# It writes the line "listening on" in pieces.
# Without -s, a handful of packets fills its buffer.
capture() {
	local name=$1
	shift

	background "$name" ip netns exec "$R" tcpdump -n -l -U \
		--immediate-mode -s 256 -B 8192 "$@"
	wait_for 10 grep -q "listening on.*snapshot" "$imq_tmp/out.$name" ||
		fail "tcpdump: $(cat "$imq_tmp/out.$name")"
}

captured() {
	# The last packets are on their way to its output.
	sleep "$(slowly 1)"
	background_end "$1" >"$imq_tmp/captured"
	grep -q '^0 packets dropped by kernel' "$imq_tmp/captured" ||
		fail "tcpdump has lost packets"
	cat "$imq_tmp/captured"
}

# lines TEXT PATTERN
lines() {
	printf '%s\n' "$1" | grep -cE -- "$2" || true
}

datagrams() {
	local out

	out=$(udp "id=v4,from=$H1,sport=6100,to=$W,dst=198.51.100.2,port=5001,echo=1,count=5" \
		  "id=v6,from=$H1,sport=6101,to=$W,dst=2001:db8:f::2,port=5002,echo=1,count=5")
	equal "echoes, IPv4" "$(field echoed "$(flow v4 "$out")")" 5
	equal "echoes, IPv6" "$(field echoed "$(flow v6 "$out")")" 5
}

# What is seen on imq0: IP packets with the hosts' own addresses, in both
# directions, as they are, and nothing else of the connections.
on_imq() {
	local out

	router "$1" udp
	capture dump -i imq0 udp
	contains "tcpdump" "$(cat "$imq_tmp/out.dump")" "link-type RAW"
	datagrams
	out=$(captured dump)
	equal "IPv4, to the world" \
		"$(lines "$out" 'IP 10\.0\.1\.2\.6100 > 198\.51\.100\.2\.5001: UDP, length 100')" 5
	equal "IPv4, to the host" \
		"$(lines "$out" 'IP 198\.51\.100\.2\.5001 > 10\.0\.1\.2\.6100: UDP, length 100')" 5
	equal "IPv6, to the world" \
		"$(lines "$out" 'IP6 fd00:1::2\.6101 > 2001:db8:f::2\.5002: UDP, length 100')" 5
	equal "IPv6, to the host" \
		"$(lines "$out" 'IP6 2001:db8:f::2\.5002 > fd00:1::2\.6101: UDP, length 100')" 5
	equal "packets" "$(lines "$out" '(IP|IP6) .* > ')" 20
}

# -i any: once on each device, as outgoing on imq0.
on_any() {
	local out dev count

	router "$1" udp
	capture dump -i any "udp and port 6100"
	datagrams
	out=$(captured dump)
	for dev in "lan1 In" "imq0 Out" "wan Out"; do
		count=$(lines "$out" " ${dev%% *} +${dev##* } +IP .*> 198\.51\.100\.2\.5001: UDP")
		equal "to the world, $dev" "$count" 5
	done
	for dev in "wan In" "imq0 Out" "lan1 Out"; do
		count=$(lines "$out" " ${dev%% *} +${dev##* } +IP 198\.51\.100\.2\.5001 > .*: UDP")
		equal "to the host, $dev" "$count" 5
	done
	equal "packets" "$(lines "$out" ' IP ')" 30
	# With the router's address on wan, the host's own elsewhere
	equal "to the world, untranslated" \
		"$(lines "$out" ' IP 10\.0\.1\.2\.6100 > 198\.51\.100\.2\.5001')" 10
	equal "to the host, translated" \
		"$(lines "$out" ' IP 198\.51\.100\.2\.5001 > 10\.0\.1\.2\.6100')" 10
}

# What tcpdump reads in the packets is right: checksums, with tx offload off.
verbose() {
	local out

	have ethtool
	router "$1" udp
	h1 ethtool -K eth0 tx off >/dev/null
	w ethtool -K eth0 tx off >/dev/null
	capture dump -i imq0 -vv udp
	datagrams
	out=$(captured dump)
	equal "UDP checksums" "$(lines "$out" 'udp sum ok')" 20
	equal "bad checksums" "$(lines "$out" 'bad (udp )?(ck)?sum')" 0
}

counts_match() {
	local out

	router "$1" udp
	capture dump -i imq0
	datagrams
	out=$(captured dump)
	equal "imq0: entered" "$(entered "$R" imq0)" 20
	equal "packets that tcpdump saw and imq0 counts" \
		"$(lines "$out" '(IP|IP6) .* > ')" "$(entered "$R" imq0)"
	equal "left" "$(left "$R" imq0)" "$(entered "$R" imq0)"
	equal "in ip -s link, rx" "$(r ip -s link show imq0 |
		awk '/RX:/ { getline; print $2 }')" "$(entered "$R" imq0)"
	equal "in ip -s link, tx" "$(r ip -s link show imq0 |
		awk '/TX:/ { getline; print $2 }')" "$(left "$R" imq0)"
}

# GSO packets stay whole in imq: far fewer packets than segments, with far more
# than fits on the wire in them.
gso_whole() {
	local out segments longest packets

	router "$1" tcp
	capture dump -i imq0 "tcp and dst port 5003"
	out=$(tcp "from=$H1,to=$W,dst=$2,port=5003,bytes=3000000")
	equal "data is intact" "$(field intact "$out")" yes
	out=$(captured dump)
	longest=$(printf '%s\n' "$out" | sed -n 's/.*, length \([0-9]*\)$/\1/p' |
		sort -n | tail -n 1)
	packets=$(lines "$out" ', length [1-9][0-9]*$')
	segments=$((3000000 / 1448))
	within "bytes of the longest packet on imq0" "$longest" 10000 524280
	within "packets with data, instead of $segments" "$packets" 1 $((segments / 4))
	equal "imq0: in between" $(($(entered "$R" imq0) - $(left "$R" imq0))) 0
}

# Nor are those of more than 64 KiB split, when the links take them. (tcpdump may
# not understand them.)
big_tcp() {
	local out

	router "$1" tcp
	out=$(h1 "$imq_dir/imq_packets.py" big eth0 200000) || skip "the kernel has no BIG TCP"
	[[ $2 == *:* || $out == *ipv4* ]] || skip "the kernel has BIG TCP for IPv6 only"
	r "$imq_dir/imq_packets.py" big wan 200000
	# A router counts the option with the length in, too (ip6_pkt_too_big()).
	h1 ip link set eth0 mtu 1492
	# Whatever the round trip takes
	h1 sysctl -qw net.ipv4.tcp_tso_rtt_log=30
	background longest ip netns exec "$R" "$imq_dir/imq_packets.py" longest imq0
	wait_for 10 grep -q ready "$imq_tmp/out.longest" || fail "no packet socket"
	out=$(tcp "from=$H1,to=$W,dst=$2,port=5003,bytes=12000000,chunk=1000000")
	equal "data is intact" "$(field intact "$out")" yes
	out=$(background_end longest | tail -n 1)
	within "bytes of the longest packet on imq0" "$(field longest "$out")" 65537 200000
	wait_for 5 all_left "$R" imq0
	no_other_counter "$R" imq0
}

# Split by a qdisc, their segments have no hop-by-hop header, which is taken into
# account when they are received here.
big_tcp_split() {
	local out errors least=$((12000000 / 1448))

	topology
	have_nft
	r nft -f - <<-EOT
	table ip6 t {
		chain pre {
			type filter hook prerouting priority mangle
			tcp dport 5003 imq todev 0
		}
	}
	EOT
	h1 "$imq_dir/imq_packets.py" big eth0 200000 || skip "the kernel has no BIG TCP"
	h1 sysctl -qw net.ipv4.tcp_tso_rtt_log=30
	r tc qdisc replace dev imq0 root tbf rate 10gbit burst 20000 limit 10m
	background longest ip netns exec "$R" "$imq_dir/imq_packets.py" longest lan1
	wait_for 10 grep -q ready "$imq_tmp/out.longest" || fail "no packet socket"
	out=$(tcp "from=$H1,to=$R,dst=fd00:1::1,port=5003,bytes=12000000,chunk=1000000")
	equal "data is intact" "$(field intact "$out")" yes
	out=$(background_end longest | tail -n 1)
	within "bytes of the longest packet" "$(field longest "$out")" 65537 200000
	# shellcheck disable=SC2016 # for awk
	errors=$(r awk '/^Ip6In(HdrErrors|UnknownProtos) / { sum += $2 } END { print sum }' \
		/proc/net/snmp6)
	equal "segments with wrong headers" "$errors" 0
	# All of 1428 bytes, but for packets that are shorter than the burst: a flow
	# begins with some, and with more of them on older kernels.
	kernel_since 6.3 || least=6000
	within "segments" "$(left "$R" imq0)" "$least" 100000
	no_other_counter "$R" imq0
}

imq_begin
for front_end in iptables-legacy nft; do
	imq_test "F15 $front_end, -i imq0 decodes" on_imq "$front_end"
	imq_test "F15 $front_end, -i any: once per device" on_any "$front_end"
	imq_test "F15 $front_end, -vv: checksums" verbose "$front_end"
	imq_test "F15 $front_end, as many as are counted" counts_match "$front_end"
	imq_test "F17 $front_end, GSO packets stay whole, IPv4" gso_whole "$front_end" 198.51.100.2
	imq_test "F17 $front_end, GSO packets stay whole, IPv6" gso_whole "$front_end" 2001:db8:f::2
	imq_test "F17 $front_end, BIG TCP, IPv4" big_tcp "$front_end" 198.51.100.2
	imq_test "F17 $front_end, BIG TCP, IPv6" big_tcp "$front_end" 2001:db8:f::2
done
imq_test "F17 BIG TCP, split, received" big_tcp_split
imq_end
