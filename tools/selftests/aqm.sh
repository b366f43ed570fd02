#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What keeps queues short does so on imq0 as on a real device: the same qdisc, at
# the same rate, is on lan1 or on imq0, more comes than goes through, and packets
# wait as long, and as many are dropped.
#
# The drawing is in imq_lib.sh (topology).
#
#   device:  W ── netem 20 ms ── wan ────────────── forward ── lan1: qdisc ── H1
#   imq:     W ── netem 20 ms ── wan ── imq0: qdisc ── forward ── lan1 ────── H1
#
# The qdisc is codel or fq_codel below htb, or cake, at 4 Mbit/s of IP packets on
# both: the Ethernet header, which lan1 has and imq0 has not, is not counted. Needs
# simulated time.

. "$(dirname "$0")/imq_lib.sh"

# Difference between imq0 and the device, percent
MAX_DIFFERENCE=10
KBIT=4000
NETEM_US=20000
# Of a ping: time that a packet of the others takes to pass, us
PACKET_US=$((1500 * 8 * 1000 / KBIT))

# qdisc_on DEV QDISC
qdisc_on() {
	local stab=()

	case $2 in
	cake)
		have_sch cake
		r tc qdisc add dev "$1" root handle 1: cake bandwidth "${KBIT}kbit" \
			besteffort overhead 0 ;;
	*)
		have_sch htb
		have_sch "$2"
		[ "$1" = imq0 ] || stab=(stab overhead -14)
		r tc qdisc add dev "$1" root handle 1: "${stab[@]}" htb default 1
		r tc class add dev "$1" parent 1: classid 1:1 htb rate "${KBIT}kbit" quantum 1500
		# All flows have a queue of their own, whatever they hash to.
		[ "$2" != fq_codel ] || set -- "$1" fq_codel flows 65536 quantum 1514
		r tc qdisc add dev "$1" parent 1:1 handle 2: "${@:2}" ;;
	esac
}

# start PLACE QDISC: topology with the qdisc; sets dev
start() {
	topology
	dev=lan1
	if [ "$1" = imq ]; then
		dev=imq0
		shape_in wan udp 0
		shape_in wan tcp 0
	fi
	w tc qdisc add dev eth0 root netem delay "${NETEM_US}us" limit 100000
	qdisc_on "$dev" "$2"
}

# numbers PLACE LINES: of qdisc and receiver, into numbers.PLACE: "NAME VALUE UNIT"
numbers() {
	local out=$2 key

	out=$(flow tc "$2")
	{
		echo "drops $(field drops "$out") packets"
		for key in ldelay avg_delay peak_delay; do
			[[ " $out" != *" $key="* ]] || echo "$key $(field "$key" "$out") us"
		done
	} >"$imq_tmp/numbers.$1"
}

# delay KEY LINES: of all flows, on the average, in the router, us
delay() {
	awk -v k="$1" -F'[ =]' -v netem="$NETEM_US" '
		/^id=f/ {
			for (i = 1; i < NF; i += 2)
				if ($i == k) {
					sum += $(i + 1) - netem
					n++
				}
		}
		END { printf "%.1f\n", sum / n }' <<<"$2"
}

# udp_case PLACE QDISC: four flows, together 1.4 times what goes through
udp_case() {
	local dev out flows=() i

	start "$1" "$2"
	for i in 1 2 3 4; do
		flows+=("from=$W,to=$H1,dst=10.0.1.2,port=500$i,rate=$((KBIT * 350))")
	done
	out=$(paced --settle 8 --time 20 --watch "$R,$dev" "${flows[@]}")
	numbers "$1" "$out"
	{
		echo "rate $(field rate "$(flow all "$out")") bit/s"
		echo "delay_mean $(delay mean "$out") us"
		echo "delay_p95 $(delay p95 "$out") us"
	} >>"$imq_tmp/numbers.$1"
	[ "$1" != imq ] || no_other_counter "$R" imq0
	imq_clean
}

# tcp_case PLACE QDISC: four downloads, and a thin flow, as a ping
tcp_case() {
	local dev out bulk flows=() i key seconds line

	seconds=$(amount 15 100)
	line=$((KBIT * 125 * (5 + seconds)))
	start "$1" "$2"
	for i in 1 2 3 4; do
		flows+=("from=$H1,to=$W,dst=198.51.100.2,port=500$i,reverse=1,bytes=0")
	done
	background bulk "$imq_dir/imq_traffic.py" tcp --time 5 "${flows[@]}"
	out=$(paced --settle 5 --time "$seconds" --watch "$R,$dev" \
		"from=$W,to=$H1,dst=10.0.1.2,rate=40000,size=100,random=1")
	numbers "$1" "$out"
	bulk=$(background_end bulk)
	# Less what headers and pings take, and what is lost; a little longer.
	within "$1: bytes of the downloads" "$(total bytes "$bulk")" \
		$((line * 7 / 10)) $((line * 5 / 4))
	for key in p50 p95 max; do
		echo "ping_$key $(delay "$key" "$out") us"
	done >>"$imq_tmp/numbers.$1"
	[ "$1" != imq ] || no_other_counter "$R" imq0
	imq_clean
}

# compare WHAT [NAME]: the numbers of both places, or those whose name matches
compare() {
	local name device unit imq limit

	while read -r name device unit; do
		imq=$(awk -v n="$name" '$1 == n { print $2 }' "$imq_tmp/numbers.imq")
		figure "$1, device: $name" "$device" "$unit"
		figure "$1, imq: $name" "$imq" "$unit"
	done <"$imq_tmp/numbers.device"
	while read -r name device unit; do
		[[ $name =~ ${2:-.} ]] || continue
		imq=$(awk -v n="$name" '$1 == n { print $2 }' "$imq_tmp/numbers.imq")
		case $name in
		ping_*)
			figure "$1: $name, more than on the device" "$(awk -v i="$imq" -v d="$device" \
				'BEGIN { printf "%.1f\n", i - d }')" us "<=" "$PACKET_US" ;;
		*)
			figure "$1: $name, difference" "$(awk -v i="$imq" -v d="$device" 'BEGIN {
				x = d ? (i / d - 1) * 100 : i ? 100 : 0
				printf "%.2f\n", x < 0 ? -x : x
			}')" % "<=" "$MAX_DIFFERENCE" ;;
		esac
	done <"$imq_tmp/numbers.device"
}

# same udp|tcp QDISC [NAME]
same() {
	simulated
	"$1_case" device "$2"
	"$1_case" imq "$2"
	compare "$2, $1" "${3:-}"
}

imq_begin
for qdisc in codel fq_codel cake; do
	imq_test "$qdisc at overload, UDP: as on a device" same udp $qdisc
done
# The latest of all is a matter of luck: it is shown only.
imq_test "ping through cake under TCP: no later than on a device" same tcp cake ping_p
# TCP is chaotic: the same only on the average of a long time
if [ "${IMQ_FULL:-}" = 1 ]; then
	for qdisc in codel fq_codel cake; do
		imq_test "$qdisc under TCP: as on a device" same tcp $qdisc
	done
fi
imq_end
