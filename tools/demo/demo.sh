#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/demo/demo.sh [OUTDIR]
#
# The scenario that IMQ exists for: a router with NAT, one WAN, five hosts in
# the LAN with different agreed rates, and bulk TCP downloads to all of them at
# once. Builds the kernel and the tools, boots User Mode Linux, and runs it
# three times (guest.sh draws the network):
#
#   none   no shaper: the queue is in the provider's FIFO
#   ifb    IFB, with the best that tc can do at the ingress of the WAN, where all
#          packets are for the router's own address (ifb.sh)
#   imq    IMQ: one class per host, behind NAT (imq.sh and router-imq.nft)
#
# Then it prints a table of the agreed and the measured rate of each host, and
# of the latency of a ping while all download (report.sh), and draws it
# (plot.sh). In OUTDIR (default: $DEMO_OUT, else out/demo) are then
#
#   demo.png, demo.svg      the plot
#   table.txt, summary.csv  the figures
#   throughput.csv, ping.csv, passes.csv   what they were made from
#   *-router.txt            counters of the router's queues and rules
#   commands.log            how the network was built
#   log/                    console and boot messages of the guest
#
# Where the patched nft can't be had, the rules are iptables' -j IMQ
# (router-imq.iptables), with the system's iptables and our plugin.
#
# The guest's clock is simulated: it stands still while the guest computes, and
# jumps to the next timer when it waits. So the figures show what queues and
# rules do, on any machine, and say nothing about processor time.
#
# DEMO_PASSES   passes to run (default "none ifb imq"); ifb-ctmark is one more:
#               IFB with a class per host by conntrack marks (ifb-ctmark.sh)
# DEMO_RULES    nft or iptables (default: nft if it can be had)
# DEMO_TIME     simulated (default) or real: needs a fast machine that is idle
#
# Exit status: 0 when, with IMQ, each host is within 5 % of its rate, and median
# and 95th percentile of its ping are below 50 ms; else 1. 2 for a usage error.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -le 1 ] || usage
case ${1:-} in -*) usage ;; esac
demo=$IMQ_TOP/tools/demo
out=${1:-${DEMO_OUT:-$IMQ_TOP/out/demo}}
passes=${DEMO_PASSES:-none ifb imq}
rules=${DEMO_RULES:-}
clock=${DEMO_TIME:-simulated}
case $rules in ''|nft|iptables) ;; *) usage ;; esac
case $clock in
simulated) append=$IMQ_SIMULATED ;;
real) append='' ;;
*) usage ;;
esac

step() {
	log "[$1/5] $2"
}

step 1 "packages"
"$IMQ_TOP/tools/deps.sh" demo

step 2 "kernel"
kernel=$("$IMQ_TOP/tools/kernel/build.sh" um-builtin)

step 3 "tools"
prefixes=()
if [ "$rules" != iptables ]; then
	status=0
	prefix=$("$IMQ_TOP/tools/userland/prefix.sh" nft) || status=$?
	case $status in
	0) prefixes=(--prefix "$prefix") ;;
	3) why='there is no source for the patched nft (see above)' ;;
	*) why='the patched nft could not be built (see above)' ;;
	esac
	if [ "$status" = 0 ]; then
		rules=nft
	elif [ "$rules" = nft ]; then
		die "$why"
	else
		rules=iptables
		warn "$why: the rules will be iptables -j IMQ"
	fi
fi
if [ "$rules" = iptables ]; then
	prefix=$("$IMQ_TOP/tools/userland/prefix.sh" plugins)
	prefixes=(--prefix "$prefix")
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
# Nothing of an earlier run may be taken for this one's.
rm -f "$out"/{demo.png,demo.svg,table.txt,about.txt,commands.log} \
	"$out"/{summary,throughput,ping,passes}.csv "$out"/*-router.txt

step 4 "User Mode Linux: $passes ($rules, $clock time)"
start=$SECONDS
read -ra words <<<"$passes"
if ! "$IMQ_TOP/tools/guest/run.sh" -q --out "$out" --log "$out/log" "${prefixes[@]}" \
		--append "$append" "$kernel" -- "$demo/guest.sh" "$out" "$rules" "${words[@]}"; then
	die "the run in the guest failed; logs: $out/log"
fi

step 5 "table and plot (the guest ran for $(elapsed $((SECONDS - start))))"
status=0
"$demo/report.sh" "$out" >"$out/table.txt" || status=$?
echo
cat "$out/table.txt"
[ "$status" -le 1 ] || exit "$status"
"$demo/plot.sh" "$out"
echo
echo "plot: $out/demo.png and demo.svg; figures: $out/*.csv"
exit "$status"
