#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/demo/guest.sh OUT FRONTEND PASS...
#
# Runs in the guest, as root: five hosts behind a NAT router download from one
# server, all at once. Every network node is a network namespace:
#
#   server                isp                          router             LAN
#  ┌────────────┐  ┌───────────────────┐  ┌──────────────────────┐    ┌───────┐
#  │        net0├──┤net0          cust0├──┤wan0    NAT    lan0 ──┼─┬──┤ ann   │
#  └────────────┘  └───────────────────┘  └──────────────────────┘ ├──┤ bea   │
#   203.0.113.10    203.0.113.1            198.51.100.2  (bridge)  ├──┤ cal   │
#                   netem on net0:         shaper here:            ├──┤ dan   │
#                   20 ms                  ifb0 or imq0            └──┤ eve   │
#                         198.51.100.1             192.168.1.1        └───────┘
#                    tbf on cust0:                              192.168.1.11 … .15
#                    the line, 40 Mbit/s of frames,             (eth0)
#                    behind 2.5 MB of FIFO: 500 ms
#
# The round trip is 20 ms on an idle line. Downloads fill what queue they find:
# without a shaper that is the provider's FIFO. A shaper at the router has to
# stay below the line's rate for its own queue to be the one that fills: the
# agreed rates (file hosts) add up to 32 Mbit/s.
#
# Offloads are off, so that packets are what is on a wire, 1500 bytes at most,
# in all queues and counters.
#
# PASS is one of
#   none        no shaper
#   ifb         IFB and CAKE at the sum of the rates (ifb.sh)
#   ifb-ctmark  IFB with a class per host, by conntrack marks (ifb-ctmark.sh)
#   imq         IMQ with a class per host (imq.sh)
# FRONTEND is nft (router-imq.nft) or iptables (router-imq.iptables).
#
# What is measured, in each pass, once the downloads have run for $settle s:
#   - received by each host in $measure s: bytes of the counter of its eth0, less
#     14 bytes of Ethernet header per packet (bytes of IP; some ARP is in it)
#   - meanwhile each host pings the server, ten times a second (ping.py)
# Written to OUT:
#   throughput.csv   pass,host,seconds,ip_bytes      cumulated, every $step s
#   ping.csv         pass,host,seconds,rtt_ms        rtt_ms is empty for a lost one
#   passes.csv       pass,measure_from_s,measure_to_s,cpu_busy_percent,idle_rtt_ms
#                    (processor of the guest in that time; mean of 20 pings before)
#   about.txt        what the figures were measured with
#   PASS-router.txt  statistics of the router's queues and rules afterwards
#   commands.log     every command that built the network
# Seconds count from the start of the downloads of the pass.
set -euo pipefail
export LC_ALL=C

if [ $# -lt 3 ]; then
	echo "usage: $0 OUT FRONTEND PASS..." >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
out=$1 frontend=$2
shift 2

settle=6	# s
measure=20	# s
step=0.5	# s
interval=0.1	# s, between pings
pings=200	# $measure s of them
line=40		# Mbit/s of Ethernet frames
fifo=500	# ms of that
delay=20ms	# of the way to the server: has fewer packets than the way back

names=() addrs=() connections=()
while read -r name addr _ conns; do
	case $name in ''|'#'*) continue ;; esac
	names+=("$name") addrs+=("$addr") connections+=("$conns")
done <"$here/hosts"

[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd

exec 3>"$out/commands.log"
# n NAMESPACE COMMAND...: run it there and log it.
n() {
	local ns=$1
	shift
	printf '%s# %s\n' "$ns" "$*" >&3
	ip netns exec "$ns" "$@"
}
now() {
	printf -v "$1" '%s' "${EPOCHREALTIME/./}"	# µs
}

# pause SECONDS: without a process
exec {never}<> <(:)
pause() {
	read -rt "$1" -u "$never" || true
}

background=()
# bg NAMESPACE COMMAND...: in the background, silent, ended by stop_network
bg() {
	printf '%s# %s &\n' "$1" "${*:2}" >&3
	ip netns exec "$@" >/dev/null 2>&1 &
	background+=($!)
}

new_node() {
	ip netns add "$1"
	n "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	n "$1" ip link set lo up
}

# wire NODE1 DEV1 NODE2 DEV2
wire() {
	ip -n "$1" link add "$2" type veth peer name "$4" netns "$3"
	n "$1" ethtool -K "$2" tso off gso off gro off >/dev/null
	n "$3" ethtool -K "$4" tso off gso off gro off >/dev/null
	n "$1" ip link set "$2" up
	n "$3" ip link set "$4" up
}

start_network() {
	local node i

	for node in server isp router "${names[@]}"; do
		new_node "$node"
	done

	wire server net0 isp net0
	n server ip addr add 203.0.113.10/24 dev net0
	n server ip route add default via 203.0.113.1
	n server sysctl -qw net.ipv4.tcp_congestion_control=cubic
	# In one kernel the sender's hash of a connection travels with its packets,
	# and fq_codel sorts by it. It must not change when TCP retransmits.
	n server sysctl -qw net.core.txrehash=0
	n isp ip addr add 203.0.113.1/24 dev net0
	n isp tc qdisc add dev net0 root netem delay $delay limit 10000
	n isp sysctl -qw net.ipv4.ip_forward=1

	wire isp cust0 router wan0
	n isp ip addr add 198.51.100.1/30 dev cust0
	n isp tc qdisc add dev cust0 root tbf rate ${line}mbit burst 20kb \
		limit $((fifo * line * 1000 / 8))
	n router ip addr add 198.51.100.2/30 dev wan0
	n router ip route add default via 198.51.100.1
	n router sysctl -qw net.ipv4.ip_forward=1

	n router ip link add lan0 type bridge
	n router ip addr add 192.168.1.1/24 dev lan0
	n router ip link set lan0 up
	for i in "${!names[@]}"; do
		wire router "port$i" "${names[i]}" eth0
		n router ip link set "port$i" master lan0
		n "${names[i]}" ip addr add "${addrs[i]}/24" dev eth0
		n "${names[i]}" ip route add default via 192.168.1.1
	done
}

# start_shaper PASS: what the router does in that pass
start_shaper() {
	case $1-$frontend in
	imq-iptables) n router iptables-restore "$here/router-imq.iptables" ;;
	*) n router nft -f "$here/router-nat.nft" ;;
	esac
	case $1 in
	none) ;;
	ifb) n router "$here/ifb.sh" "$here/hosts" ;;
	ifb-ctmark)
		n router nft -f "$here/router-ctmark.nft"
		n router "$here/ifb-ctmark.sh" "$here/hosts" ;;
	imq)
		if [ "$frontend" = nft ]; then
			n router "$here/imq.sh" "$here/hosts"
			n router nft -f "$here/router-imq.nft"
		else
			n router "$here/imq.sh" "$here/hosts" filters
		fi ;;
	*) echo "$0: no pass '$1'" >&2; exit 2 ;;
	esac
}

# show_router: what the shaper and the rules have counted
show_router() {
	local dev

	for dev in wan0 ifb0 imq0; do
		[ -e "/sys/class/net/$dev" ] || continue
		ip -s link show dev "$dev"
		tc -s qdisc show dev "$dev"
		tc -s class show dev "$dev"
		tc -s filter show dev "$dev"
	done
	if iptables-save | grep -q IMQ; then
		iptables-save -c
	else
		nft list ruleset
	fi
}

stop_network() {
	local node

	kill "${background[@]}" 2>/dev/null || true
	wait "${background[@]}" 2>/dev/null || true
	background=()
	for node in "${names[@]}" router isp server; do
		ip netns del "$node"
	done
}

# sample START: cumulated bytes of every host, until killed. The counters of a
# namespace are read through a process that lives there.
sample() {
	local start=$1 us i field pids=() next

	for i in "${!names[@]}"; do
		ip netns exec "${names[i]}" sleep infinity &
		pids+=($!)
	done
	trap 'kill "${pids[@]}"; exit' TERM
	next=$start
	while :; do
		now us
		for i in "${!names[@]}"; do
			while read -ra field; do
				[ "${field[0]}" = eth0: ] || continue
				printf '%s,%s,%d.%06d,%d\n' "$pass" "${names[i]}" \
					$(((us - start) / 1000000)) $(((us - start) % 1000000)) \
					$((field[1] - 14 * field[2]))
			done <"/proc/${pids[i]}/net/dev"
		done >>"$out/throughput.csv"
		next=$((next + step_us))
		now us
		[ "$next" -le "$us" ] || pause "$(printf '0.%06d' $((next - us)))"
	done
}
step_us=$(awk -v s="$step" 'BEGIN { printf "%d", s * 1e6 }')

cpu() {
	awk '/^cpu / { for (i = 2; i <= NF; i++) all += $i; print all - $5 - $6, all }' /proc/stat
}

run_pass() {
	local i start from to b0 a0 b1 a1 idle pingers=()
	pass=$1

	start_network
	start_shaper "$pass"
	# The first one waits for ARP too.
	n "${names[0]}" ping -n -q -c 1 203.0.113.10 >/tmp/idle
	n "${names[0]}" ping -n -q -i 0.1 -c 20 203.0.113.10 >/tmp/idle
	idle=$(awk -F/ '/^rtt/ { print $5 }' /tmp/idle)
	bg server "$here/bulk.py" serve 5001
	pause 0.5
	now start
	sample "$start" &
	background+=($!)
	for i in "${!names[@]}"; do
		bg "${names[i]}" "$here/bulk.py" get 203.0.113.10 5001 "${connections[i]}"
	done
	pause $settle

	now from
	read -r b0 a0 < <(cpu)
	for i in "${!names[@]}"; do
		n "${names[i]}" "$here/ping.py" 203.0.113.10 $pings $interval >"/tmp/ping.$i" &
		pingers+=($!)
	done
	pause $measure
	now to
	read -r b1 a1 < <(cpu)
	wait "${pingers[@]}"
	for i in "${!names[@]}"; do
		awk -F, -v pass="$pass" -v host="${names[i]}" -v start="$start" '{
			printf "%s,%s,%.3f,%s\n", pass, host, $1 - start / 1e6, $2
		}' "/tmp/ping.$i"
	done >>"$out/ping.csv"
	awk -v pass="$pass" -v from=$((from - start)) -v to=$((to - start)) \
		-v busy=$((b1 - b0)) -v all=$((a1 - a0)) -v idle="$idle" 'BEGIN {
		printf "%s,%.3f,%.3f,%.0f,%s\n", pass, from / 1e6, to / 1e6,
			all ? busy * 100 / all : 0, idle
	}' >>"$out/passes.csv"
	n router bash -c "$(declare -f show_router); show_router" >"$out/$pass-router.txt" 2>&1
	stop_network
}

time=real
! grep -q time-travel=inf-cpu /proc/cmdline || time=simulated
cat >"$out/about.txt" <<EOF
kernel $(uname -r)
rules $frontend
time $time
line_mbit $line
fifo_ms $fifo
EOF
echo 'pass,host,seconds,ip_bytes' >"$out/throughput.csv"
echo 'pass,host,seconds,rtt_ms' >"$out/ping.csv"
echo 'pass,measure_from_s,measure_to_s,cpu_busy_percent,idle_rtt_ms' >"$out/passes.csv"
for pass; do
	echo "pass $pass: $((settle + measure)) s of downloads"
	run_pass "$pass"
done
