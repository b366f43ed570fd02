#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Usage: ifb-ctmark.sh HOSTS
#
# IFB with help from netfilter: a rule writes the host's class into the mark of
# each connection (router-ctmark.nft), and the action ctinfo copies that mark to
# the packets that come in from wan0, so that a filter finds the class:
#
#   wan0 ingress ── ctinfo cpmark ── mirred redirect ── ifb0 ── htb, fw filter
#
# This gets classes per host right where every connection can be given its mark
# beforehand, and the whole mark or some bits of it are free for that. It can't
# act on anything else that rules know about a packet.
set -eu

if [ $# -eq 0 ]; then
	echo "usage: $0 HOSTS" >&2
	exit 2
fi

hosts=$1
own=1		# Mbit/s, for what has no mark
sum=$(awk -v sum="$own" '/^[^#]/ { sum += $3 } END { print sum }' "$hosts")

ip link add ifb0 type ifb
ip link set ifb0 up
tc qdisc add dev wan0 handle ffff: ingress
tc filter add dev wan0 parent ffff: protocol ip matchall \
	action ctinfo cpmark 0xffffffff \
	action mirred egress redirect dev ifb0

tc qdisc add dev ifb0 root handle 1: stab overhead -14 htb default 0x99 r2q 100
tc class add dev ifb0 parent 1: classid 1:1 htb rate "${sum}mbit" \
	burst 16k cburst 16k
tc class add dev ifb0 parent 1:1 classid 1:99 htb rate "${own}mbit"
tc qdisc add dev ifb0 parent 1:99 fq_codel

while read -r name addr rate _; do
	case $name in ''|'#'*) continue ;; esac
	class=${addr##*.}
	tc class add dev ifb0 parent 1:1 classid "1:$class" htb \
		rate "${rate}mbit" burst 16k cburst 16k
	tc qdisc add dev ifb0 parent "1:$class" fq_codel flows 16384
	tc filter add dev ifb0 parent 1: protocol ip \
		handle "$class" fw classid "1:$class"
done <"$hosts"
