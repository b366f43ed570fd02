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

# behind_nat: HOSTS hosts, all in H1, behind the address of wan
behind_nat() {
	local i

	topology
	for ((i = 3; i < HOSTS + 2; i++)); do
		echo "address add 10.0.1.$i/24 dev eth0"
	done | ip -n "$H1" -batch -
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

# fair_udp NAME MODE OP LIMIT: host N has N % 4 + 1 downloads, each of which alone
# is more than its share of 10 Mbit/s.
fair_udp() {
	local out flows=() i j port=20000

	simulated
	have_sch cake
	behind_nat
	shape_in wan udp 0
	for ((i = 0; i < HOSTS; i++)); do
		for ((j = 0; j <= i % 4; j++)); do
			port=$((port + 1))
			flows+=("nat=1,from=$W,to=$H1,src=198.51.100.2,sport=$port,dst=10.0.1.$((i + 2)),atport=$port,port=$port,rate=375000")
		done
	done
	# cake hashes hosts at random into 1024 places, and two that begin at once may get
	# the same one, on any device. Then it is asked again.
	for i in 1 2 3 4 5 6; do
		r tc qdisc replace dev imq0 root pfifo
		r tc qdisc replace dev imq0 root cake bandwidth 10mbit besteffort "$2" overhead 0
		out=$(paced --settle 1 --time 4 "${flows[@]}")
		say "hash $i"
		! awk -v j="$(field jain "$(flow all "$out")")" -v op="$3" -v limit="$4" \
			'BEGIN { exit !(op == ">=" ? j >= limit : j <= limit) }' || break
	done
	equal "all of the line is used" \
		"$(field rate "$(flow all "$out")" | awk '{ print ($1 > 9.8e6 && $1 < 10.2e6) }')" 1
	figure "cake, UDP, $1: Jain's index of $HOSTS hosts" \
		"$(field jain "$(flow all "$out")")" "" "$3" "$4"
}

fair_tcp() {
	local out flows=() i j port=20000

	simulated
	have_sch cake
	behind_nat
	shape_in wan tcp 0
	r tc qdisc add dev imq0 root cake bandwidth 20mbit besteffort dual-dsthost overhead 0
	w tc qdisc add dev eth0 root netem delay 20ms limit 10000
	for ((i = 0; i < HOSTS; i++)); do
		for ((j = 0; j <= i % 4; j++)); do
			port=$((port + 1))
			flows+=("id=h$i,from=$H1,src=10.0.1.$((i + 2)),to=$W,dst=198.51.100.2,port=$port,reverse=1,bytes=0")
		done
	done
	background bulk "$imq_dir/imq_traffic.py" tcp --time 5 "${flows[@]}"
	sleep 20
	out=$(background_end bulk)
	figure "cake, TCP, dual-dsthost: Jain's index of $HOSTS hosts" "$(awk -F'[ =]' -v hosts="$HOSTS" '
		$1 == "id" { got[$2] += $4 }
		END {
			for (h in got) { n++; sum += got[h]; squares += got[h] ^ 2 }
			printf "%.5f\n", n == hosts ? sum ^ 2 / (n * squares) : 0
		}' <<<"$out")" "" ">=" "$MIN_JAIN"
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
	fair_udp "dual-dsthost" dual-dsthost ">=" "$MIN_JAIN"
imq_test "cake is not when told to look at flows only" \
	fair_udp "flows" flows "<=" 0.9
[ "${IMQ_FULL:-}" != 1 ] || imq_test "cake is fair to 32 hosts behind NAT, TCP" fair_tcp
imq_test "GSO packets are not split, pfifo" gso_whole no pfifo
imq_test "GSO packets are not split, htb" gso_whole no htb default 1
imq_test "GSO packets are not split, fq_codel" gso_whole no fq_codel
imq_test "GSO packets are not split, cake no-split-gso" gso_whole no cake no-split-gso
imq_test "GSO packets are split where cake is to do it" gso_whole yes cake bandwidth 500mbit
imq_end
