#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/demo/report.sh DIR
#
# Reads what guest.sh has measured (throughput.csv, ping.csv, passes.csv and
# about.txt in DIR), writes DIR/summary.csv, prints it as a table, and judges the pass imq:
#
#   - each host has received its agreed rate, plus or minus 5 %
#   - of the pings of each host, the median and the 95th percentile are below
#     50 ms; a lost ping counts as one that took longer than any other
#
# Exit status: 0 when that holds, 1 when not, 2 when figures are missing.
#
# summary.csv has one line per pass and host: agreed and measured rate in Mbit/s
# (IP bytes received at the host's interface in the measured time), deviation in
# percent, pings sent and lost, median and 95th percentile of the round trip in
# ms ("inf" when that many were lost).
set -euo pipefail
export LC_ALL=C

max_deviation=5	# percent
max_rtt=50	# ms

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
for f in throughput.csv ping.csv passes.csv about.txt; do
	[ -s "$dir/$f" ] || { echo "$0: no $dir/$f" >&2; exit 2; }
done

# The pings are sorted per host, so that the awk below picks the nth.
awk -F, -v OFS=, '
FILENAME ~ /hosts$/ {
	if (split($0, word, " ") >= 4 && $0 !~ /^#/) {
		name[++hosts] = word[1]
		agreed[word[1]] = word[3]
	}
	next
}
FNR == 1 && !/^-/ { next }
FILENAME ~ /passes.csv$/ { pass[++passes] = $1; from[$1] = $2; to[$1] = $3; next }
FILENAME ~ /throughput.csv$/ {
	# The first and the last sample in the measured time.
	if ($3 < from[$1] || $3 > to[$1])
		next
	k = $1 SUBSEP $2
	if (!(k in t0)) {
		t0[k] = $3
		b0[k] = $4
	}
	t1[k] = $3
	b1[k] = $4
	next
}
{
	k = $1 SUBSEP $2
	sent[k]++
	if ($4 == "")
		lost[k]++
	else
		rtt[k, sent[k] - lost[k]] = $4
}
# rank: the smallest value that at least the share q of all is not above
function quantile(k, q,    n) {
	n = int(q * sent[k])
	if (n < q * sent[k])
		n++
	return n > sent[k] - lost[k] ? "inf" : rtt[k, n]
}
END {
	print "pass,host,agreed_mbit,measured_mbit,deviation_percent," \
	      "pings_sent,pings_lost,ping_median_ms,ping_p95_ms"
	for (p = 1; p <= passes; p++)
		for (h = 1; h <= hosts; h++) {
			k = pass[p] SUBSEP name[h]
			if (!sent[k] || t1[k] <= t0[k]) {
				print "missing figures: " pass[p] " " name[h] >"/dev/stderr"
				exit 2
			}
			mbit = (b1[k] - b0[k]) * 8 / 1e6 / (t1[k] - t0[k])
			printf "%s,%s,%s,%.3f,%.1f,%d,%d,%s,%s\n", pass[p], name[h],
			       agreed[name[h]], mbit, (mbit / agreed[name[h]] - 1) * 100,
			       sent[k], lost[k], quantile(k, 0.5), quantile(k, 0.95)
		}
}' "$here/hosts" "$dir/passes.csv" "$dir/throughput.csv" \
	<(sed 1s/^/-/ "$dir/ping.csv" | sort -t, -k1,1 -k2,2 -k4,4n) >"$dir/summary.csv"

awk -F, -v max_deviation=$max_deviation -v max_rtt=$max_rtt \
	-v real="$(sed -n 's/^time real$/1/p' "$dir/about.txt")" \
	-v rules="$(sed -n 's/^rules //p' "$dir/about.txt")" '
function centered(s, width,    left) {
	left = int((width - length(s)) / 2)
	return sprintf("%*s%-*s", left, "", width - left, s)
}
function ms(rtt) {
	return rtt == "inf" ? "lost" : sprintf("%.1f ms", rtt)
}
FNR == 1 { next }
FILENAME ~ /passes.csv$/ { pass[++passes] = $1; busy[$1] = $4; idles = idles (passes > 1 ? ", " : " ") sprintf("%.1f", $5); next }
{
	if (!($2 in agreed))
		name[++hosts] = $2
	agreed[$2] = $3
	mbit[$1, $2] = $4
	lost[$1] += $7
	sent[$1] += $6
	median[$1, $2] = $8
	p95[$1, $2] = $9
	if ($1 != "imq")
		next
	judged++
	if ($5 > max_deviation || $5 < -max_deviation)
		bad[++bads] = sprintf("%s: %.2f instead of %.2f Mbit/s (%+.1f %%)", $2, $4, $3, $5)
	# "inf" is compared as text by some awks
	if ($8 == "inf" || $8 + 0 >= max_rtt)
		bad[++bads] = sprintf("%s: median of the ping %s", $2, ms($8))
	if ($9 == "inf" || $9 + 0 >= max_rtt)
		bad[++bads] = sprintf("%s: 95th percentile of the ping %s", $2, ms($9))
}
END {
	title["none"] = "no shaper"
	title["ifb"] = "IFB + CAKE"
	title["ifb-ctmark"] = "IFB + conntrack mark"
	title["imq"] = "IMQ + HTB"

	printf "%-6s %6s", "", ""
	for (p = 1; p <= passes; p++)
		printf " | %s", centered(title[pass[p]], 20)
	printf "\n%-6s %6s", "host", "agreed"
	for (p = 1; p <= passes; p++)
		printf " | %6s %6s %6s", "rate", "ping", "p95"
	printf "\n%-6s %6s", "", "Mbit/s"
	for (p = 1; p <= passes; p++)
		printf " | %6s %6s %6s", "Mbit/s", "ms", "ms"
	printf "\n-------------"
	for (p = 1; p <= passes; p++)
		printf "-+---------------------"
	for (h = 1; h <= hosts; h++) {
		printf "\n%-6s %6.2f", name[h], agreed[name[h]]
		for (p = 1; p <= passes; p++) {
			k = pass[p] SUBSEP name[h]
			printf " | %6.2f %6s %6s", mbit[k],
			       median[k] == "inf" ? "lost" : sprintf("%.1f", median[k]),
			       p95[k] == "inf" ? "lost" : sprintf("%.1f", p95[k])
			total[p] += mbit[k]
		}
		sum += agreed[name[h]]
	}
	printf "\n%-6s %6.2f", "sum", sum
	for (p = 1; p <= passes; p++)
		printf " | %6.2f %13s", total[p], ""
	printf "\n%-13s", "pings lost"
	for (p = 1; p <= passes; p++)
		printf " | %20s", sprintf("%d of %d", lost[pass[p]], sent[pass[p]])
	if (real) {
		printf "\n%-13s", "CPU busy"
		for (p = 1; p <= passes; p++)
			printf " | %20s", busy[pass[p]] " %"
	}
	print "\n\nrate: received by the host, in IP packets; ping: median round trip of the host" \
	      "\nwhile all download, and 95th percentile. Before the downloads:" idles " ms."
	if (!real)
		print "Simulated time: no figure depends on the speed or the load of this machine."
	if (!judged)
		exit 0
	print "IMQ rules: " (rules == "nft" ? "nft, imq todev 0" : "iptables, -j IMQ --todev 0") "\n"
	if (!bads) {
		printf "PASS: with IMQ every host is within %d %% of its rate, and the ping below %d ms\n",
		       max_deviation, max_rtt
		exit 0
	}
	printf "FAIL: IMQ has to keep rates within %d %%, and pings below %d ms:\n", max_deviation, max_rtt
	for (i = 1; i <= bads; i++)
		print "      " bad[i]
	exit 1
}' "$dir/passes.csv" "$dir/summary.csv"
