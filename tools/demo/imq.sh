#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Usage: imq.sh HOSTS [filters]
#
# Makes imq0 with one class per host, at its agreed rate. HOSTS is the file with
# name, address and rate (Mbit/s) of each host; class 1:N is for the host whose
# address ends in N:
#
#   imq0 ── htb 1: ── 1:1 all of it ─┬─ 1:11  2 Mbit/s ── fq_codel
#                                    ├─ 1:12  4 Mbit/s ── fq_codel
#                                    ├─ ...
#                                    └─ 1:99  the router's own ── fq_codel
#
# Packets come with their class in skb->priority (router-imq.nft), or are sorted
# here, by the filters on the inner address (router-imq.iptables).
#
# imq0 counts IP packets, without link headers: rates are those of the IP layer.
# A burst of 16 KB lets a class catch up when a timer was late. fq_codel lets a
# ping pass the downloads of its host, unless it hashes to the queue of one of
# them: with 16384 queues instead of 1024 that hardly ever happens.
set -eu

if [ $# -eq 0 ]; then
	echo "usage: $0 HOSTS [filters]" >&2
	exit 2
fi

hosts=$1
filters=${2:-}
own=1		# Mbit/s, for what has no class
sum=$(awk -v sum="$own" '/^[^#]/ { sum += $3 } END { print sum }' "$hosts")

ip link show dev imq0 >/dev/null 2>&1 || ip link add imq0 type imq
ip link set imq0 up
tc qdisc add dev imq0 root handle 1: htb default 0x99 r2q 100
tc class add dev imq0 parent 1: classid 1:1 htb rate "${sum}mbit" \
	burst 16k cburst 16k
tc class add dev imq0 parent 1:1 classid 1:99 htb rate "${own}mbit"
tc qdisc add dev imq0 parent 1:99 fq_codel

while read -r name addr rate _; do
	case $name in ''|'#'*) continue ;; esac
	class=1:${addr##*.}
	tc class add dev imq0 parent 1:1 classid "$class" htb \
		rate "${rate}mbit" burst 16k cburst 16k
	tc qdisc add dev imq0 parent "$class" fq_codel flows 16384
	[ "$filters" != filters ] ||
		tc filter add dev imq0 parent 1: protocol ip \
			flower dst_ip "$addr" classid "$class"
done <"$hosts"
