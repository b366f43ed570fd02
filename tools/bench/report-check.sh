#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/report-check.sh
#
# Gives report.py made-up figures, and fails unless it judges them rightly: goals
# met, one goal after the other missed, and figures missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# figures [CASE INSTRUCTIONS]: results of two boots, with another figure for CASE
figures() {
	rm -rf "$dir/raw"
	mkdir "$dir/raw"
	awk -v dir="$dir/raw/" -v other="${1:-}" -v value="${2:-}" '
	function result(kernel, arrival, qdisc, name, n,    boot) {
		if (name == other && kernel == "imq")
			n = value
		for (boot = 1; boot <= 2; boot++)
			printf "result\t6.12-%s\t%s\t%s\t%s\t1\t1000\t%d\n", kernel, arrival, qdisc,
				name, (n + (other == "boot" && boot == 2 ? value : 0)) * 1000 >(dir kernel "-" boot ".tsv")
	}
	BEGIN {
		split("lone burst", arrivals)
		split("pfifo htb htb100 fq_codel cake", qdiscs)
		for (a in arrivals) {
			for (q in qdiscs) {
				result("imq", arrivals[a], qdiscs[q], "none", 5000)
				result("imq", arrivals[a], qdiscs[q], "floor", 5200)
				result("imq", arrivals[a], qdiscs[q], "ifb", 6200)
				result("imq", arrivals[a], qdiscs[q], "imq-nft", 6000)
				result("imq", arrivals[a], qdiscs[q], "imq-iptables", 6100)
			}
			result("imq", arrivals[a], "pfifo", "floor-nft", 5500)
			result("imq", arrivals[a], "pfifo", "floor-iptables", 5600)
			result("imq", arrivals[a], "pfifo", "elsewhere", 5050)
			result("plain", arrivals[a], "pfifo", "none", 5000)
			result("plain", arrivals[a], "pfifo", "elsewhere-accept", 5050)
		}
		split("10:1 10000:1 1000:1 1000:1000", maps)
		for (m in maps)
			result("imq", "lone", "pfifo", "map:" maps[m], 6000)
	}'
}

# judged STATUS [CASE INSTRUCTIONS]
judged() {
	local want=$1 status=0
	shift

	figures "$@"
	"$here/report.py" "$dir" >"$dir/out" 2>&1 || status=$?
	if [ "$status" != "$want" ]; then
		cat "$dir/out"
		echo "report.py ended with $status instead of $want: ${*:-all as it should be}"
		exit 1
	fi
}

judged 0
judged 1 imq-nft 6101
judged 1 imq-iptables 6201
judged 1 none 5011
judged 1 elsewhere 5061
judged 1 map:1000:1000 6301
judged 1 map:10000:1 6301
judged 1 boot 6
judged 0 imq-nft 6099
sed -i '/cake\tifb/d' "$dir"/raw/imq-*.tsv
status=0
"$here/report.py" "$dir" >/dev/null 2>&1 || status=$?
[ "$status" = 2 ] || { echo "a missing figure: status $status instead of 2"; exit 1; }
