#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Shaping is right: rates are those that were agreed, hosts behind NAT get equal
# shares, GSO packets are charged as what they are on the wire and are not split.
#
# The drawing is in imq_lib.sh (topology). All that comes from the world goes
# through imq0, behind dstnat:
#
#   W ── wan ── prerouting, dstnat + 1: imq0, htb or cake ── lan1 ── H1
#
# Rates are of IP packets, at the receiver. Needs simulated time, in which sender,
# router and receiver are infinitely fast, and timers exact.

. "$(dirname "$0")/imq_lib.sh"

# Deviation from the agreed rate, percent
MAX_DEVIATION=2
# Jain's index of the hosts' shares
MIN_JAIN=0.99
HOSTS=32

# htb KBIT: all in one class of imq0, at that rate
htb() {
	have_sch htb
	r tc qdisc add dev imq0 root handle 1: htb default 1
	r tc class add dev imq0 parent 1: classid 1:1 htb rate "$1kbit" quantum 1500
	r tc qdisc add dev imq0 parent 1:1 pfifo limit 100
}

# deviation GOT KBIT: percent, of bit/s
deviation() {
	awk -v got="$1" -v kbit="$2" 'BEGIN {
		d = (got / kbit / 1000 - 1) * 100
		printf "%.2f\n", d < 0 ? -d : d
	}'
}

# rate_udp KBIT SECONDS: half more than goes through is sent.
rate_udp() {
	local out got

	simulated
	topology
	shape_in wan udp 0
	htb "$1"
	out=$(paced --settle "$(awk -v s="$2" 'BEGIN { print s / 5 }')" --time "$2" \
		"from=$W,to=$H1,dst=10.0.1.2,rate=$(($1 * 1500))")
	got=$(field rate "$(flow f1 "$out")")
	figure "htb $1 kbit/s, UDP: rate" "$got" bit/s
	figure "htb $1 kbit/s, UDP: deviation" "$(deviation "$got" "$1")" % "<=" "$MAX_DEVIATION"
	no_other_counter "$R" imq0
}

# rate_tcp KBIT SECONDS: of what goes through, 1448 of 1500 bytes are data, though
# packets are longer here. Long enough that one of 64 KiB does not matter, which htb
# lets through before it counts.
rate_tcp() {
	local out bytes=$(($1 * $2 * 125)) got

	simulated
	topology
	shape_in wan tcp 0
	htb "$1"
	out=$(tcp --time 700 "from=$H1,to=$W,dst=198.51.100.2,reverse=1,bytes=$bytes")
	equal "data is intact" "$(field intact "$out")" yes
	got=$(awk -v bytes="$bytes" -v ms="$(field ms "$out")" \
		'BEGIN { printf "%.0f\n", bytes * 8000 / ms * 1500 / 1448 }')
	figure "htb $1 kbit/s, TCP: rate" "$got" bit/s
	figure "htb $1 kbit/s, TCP: deviation" "$(deviation "$got" "$1")" % "<=" "$MAX_DEVIATION"
	within "bytes per packet" $(($(r cat /sys/class/net/imq0/statistics/tx_bytes) /
		$(left "$R" imq0))) 2000 65535
}

# behind_nat: hosts of H1, behind the address of wan. Those of attempt N are
# 10.8.N.1 to 10.8.N.HOSTS.
behind_nat() {
	topology
	r ip route add 10.8.0.0/16 via 10.0.1.2
	if (have nft); then
		r nft -f - <<-EOT
		table ip masq {
			chain c {
				type nat hook postrouting priority srcnat
				oifname "wan" masquerade
			}
		}
		EOT
	else
		have iptables-legacy
		r iptables-legacy -t nat -A POSTROUTING -o wan -j MASQUERADE
	fi
}

# attempts OP LIMIT QDISC LOAD...: calls LOAD N until the index it leaves in $jain is
# as it should be. cake puts a host at a place that a hash of its address tells, also
# if another one is there whose flows have no backlog yet (cake_hash()): two of 32
# that begin at once share one of the 1024 places in 4 of 10 cases, on any device.
# The hash is the same until the next boot, so other hosts have to try, which leaves
# 1 of 100,000.
attempts() {
	local op=$1 limit=$2 qdisc=$3 i n
	shift 3

	for ((n = 1; n <= 12; n++)); do
		for ((i = 1; i <= HOSTS; i++)); do
			echo "address add 10.8.$n.$i/32 dev eth0"
		done | ip -n "$H1" -batch -
		r tc qdisc replace dev imq0 root pfifo
		# shellcheck disable=SC2086
		r tc qdisc replace dev imq0 root $qdisc
		"$@" "$n"
		say "attempt $n: $jain"
		! awk "BEGIN { exit !($jain $op $limit) }" || break
	done
}

# udp_hosts N: host I has I % 4 + 1 downloads, each of which alone is more than its
# share of 10 Mbit/s.
udp_hosts() {
	local out flows=() i j port=20000

	for ((i = 1; i <= HOSTS; i++)); do
		for ((j = 0; j <= i % 4; j++)); do
			port=$((port + 1))
			flows+=("nat=1,from=$W,to=$H1,src=198.51.100.2,sport=$port,dst=10.8.$1.$i,atport=$port,port=$port,rate=375000")
		done
	done
	out=$(paced --settle 1 --time 4 "${flows[@]}")
	out=$(flow all "$out")
	within "all of the line is used, bit/s" "$(field rate "$out")" 9800000 10200000
	jain=$(field jain "$out")
}

# fair_udp MODE OP LIMIT
fair_udp() {
	local jain

	simulated
	have_sch cake
	behind_nat
	shape_in wan udp 0
	attempts "$2" "$3" "cake bandwidth 10mbit besteffort $1 overhead 0" udp_hosts
	figure "cake, UDP, $1: Jain's index of $HOSTS hosts" "$jain" "" "$2" "$3"
}

# tcp_hosts N: as udp_hosts, connections without an end, 20 seconds of them.
tcp_hosts() {
	local out flows=() i j port=$((20000 + 100 * $1))

	for ((i = 1; i <= HOSTS; i++)); do
		for ((j = 0; j <= i % 4; j++)); do
			port=$((port + 1))
			flows+=("id=h$i,from=$H1,src=10.8.$1.$i,to=$W,dst=198.51.100.2,port=$port,reverse=1,bytes=0")
		done
	done
	background bulk "$imq_dir/imq_traffic.py" tcp --time 5 "${flows[@]}"
	sleep 20
	out=$(background_end bulk)
	jain=$(awk -F'[ =]' -v hosts="$HOSTS" '
		$1 == "id" { got[$2] += $4 }
		END {
			for (h in got) { n++; sum += got[h]; squares += got[h] ^ 2 }
			printf "%.5f\n", n == hosts ? sum ^ 2 / (n * squares) : 0
		}' <<<"$out")
}

fair_tcp() {
	local jain

	simulated
	have_sch cake
	behind_nat
	shape_in wan tcp 0
	w tc qdisc add dev eth0 root netem delay 20ms limit 10000
	attempts ">=" "$MIN_JAIN" "cake bandwidth 20mbit besteffort dual-dsthost overhead 0" tcp_hosts
	figure "cake, TCP, dual-dsthost: Jain's index of $HOSTS hosts" "$jain" "" ">=" "$MIN_JAIN"
}

# gso_whole SPLIT QDISC...: as many packets, segments counted as one, come to R,
# enter, leave and go on; more leave if the qdisc splits them.
gso_whole() {
	local split=$1 out n
	shift

	have nft
	have_sch "$@"
	topology
	shape_in wan tcp 0
	r tc qdisc add dev imq0 root handle 1: "$@"
	[ "$1" != htb ] || r tc class add dev imq0 parent 1: classid 1:1 htb rate 1gbit quantum 60000
	r nft -f - <<-EOT
	table inet count {
		counter before { }
		counter behind { }
		chain pre {
			type filter hook prerouting priority raw
			iifname "wan" meta l4proto tcp counter name before
		}
		chain forward {
			type filter hook forward priority filter
			iifname "wan" meta l4proto tcp counter name behind
		}
	}
	EOT
	out=$(tcp "from=$W,to=$H1,dst=10.0.1.2,bytes=5000000")
	equal "data is intact" "$(field intact "$out")" yes
	n=$(nft_counter "$R" inet count before)
	equal "entered, of those that came" "$(entered "$R" imq0)" "$n"
	equal "go on, of those that left" "$(nft_counter "$R" inet count behind)" \
		"$(left "$R" imq0)"
	figure "GSO, $*: packets that came" "$n" packets "<=" $((5000000 / 1448 / 4))
	figure "GSO, $*: packets that left" "$(left "$R" imq0)" packets
	if [ "$split" = no ]; then
		equal "left, of those that entered" "$(left "$R" imq0)" "$n"
	else
		within "left" "$(left "$R" imq0)" $((5000000 / 1448)) $((5000000 / 1000))
	fi
	no_other_counter "$R" imq0
}

imq_begin
imq_test "htb keeps 64 kbit/s, UDP" rate_udp 64 60
imq_test "htb keeps 1 Mbit/s, UDP" rate_udp 1000 20
imq_test "htb keeps 10 Mbit/s, UDP" rate_udp 10000 2
imq_test "htb keeps 100 Mbit/s, UDP" rate_udp 100000 0.5
imq_test "htb keeps 1 Gbit/s, UDP" rate_udp 1000000 0.1
imq_test "htb keeps 64 kbit/s, TCP with GSO" rate_tcp 64 600
imq_test "htb keeps 1 Mbit/s, TCP with GSO" rate_tcp 1000 20
imq_test "htb keeps 10 Mbit/s, TCP with GSO" rate_tcp 10000 10
imq_test "htb keeps 100 Mbit/s, TCP with GSO" rate_tcp 100000 2
imq_test "htb keeps 1 Gbit/s, TCP with GSO" rate_tcp 1000000 1
imq_test "cake is fair to 32 hosts behind NAT, UDP" \
	fair_udp dual-dsthost ">=" "$MIN_JAIN"
imq_test "cake is not when told to look at flows only" \
	fair_udp flows "<=" 0.9
[ "${IMQ_FULL:-}" != 1 ] || imq_test "cake is fair to 32 hosts behind NAT, TCP" fair_tcp
imq_test "GSO packets are not split, pfifo" gso_whole no pfifo
imq_test "GSO packets are not split, htb" gso_whole no htb default 1
imq_test "GSO packets are not split, fq_codel" gso_whole no fq_codel
imq_test "GSO packets are not split, cake no-split-gso" gso_whole no cake no-split-gso
imq_test "GSO packets are split where cake is to do it" gso_whole yes cake bandwidth 500mbit
imq_end
