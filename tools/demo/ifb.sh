#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Usage: ifb.sh HOSTS
#
# Shapes what comes in from wan0 with IFB, at the sum of the agreed rates. tc
# sees the packets before netfilter does, all of them for the router's address:
#
#   wan0 ingress ── mirred redirect ── ifb0 ── cake, the sum of the rates
#
# CAKE is as good as it gets without marks: it keeps the queue short, and "nat"
# asks connection tracking for the inner address, so that it shares the line
# equally between hosts (dual-dsthost), not between connections. But equal
# shares are not what was agreed, and CAKE has no rates per host.
set -eu

if [ $# -eq 0 ]; then
	echo "usage: $0 HOSTS" >&2
	exit 2
fi

sum=$(awk '/^[^#]/ { sum += $3 } END { print sum }' "$1")

ip link add ifb0 type ifb
ip link set ifb0 up
tc qdisc add dev wan0 handle ffff: ingress
tc filter add dev wan0 parent ffff: protocol all matchall \
	action mirred egress redirect dev ifb0
# overhead 0: counts IP packets, as imq.sh does.
tc qdisc add dev ifb0 root cake bandwidth "${sum}mbit" besteffort \
	nat dual-dsthost ingress overhead 0
