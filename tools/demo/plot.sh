#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/demo/plot.sh DIR
#
# Draws DIR/demo.png and DIR/demo.svg from what guest.sh and report.sh have
# written there: throughput.csv, ping.csv, passes.csv, summary.csv, about.txt.
# Needs gnuplot.
set -euo pipefail
export LC_ALL=C

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../plot.sh
. "$here/../plot.sh"
dir=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# PASS.HOST.rate: what came in between two samples one second apart, drawn in
# the middle of it.
awk -F, -v dir="$tmp" '
FNR == 1 { next }
{
	k = $1 "." $2
	n[k]++
	t[k, n[k]] = $3
	b[k, n[k]] = $4
	if (n[k] < 3)
		next
	dt = $3 - t[k, n[k] - 2]
	printf "%.3f,%.4f\n", $3 - dt / 2, ($4 - b[k, n[k] - 2]) * 8 / 1e6 / dt >(dir "/" k ".rate")
}' "$dir/throughput.csv"

# summary: the percentiles of the pings that came back; a pass that lost more
# than the report's own percentile allows is seen in the report.
awk -F, -v OFS=, '
FNR == 1 && !/^-/ { next }
FILENAME ~ /passes.csv$/ { pass[$1] = ++passes; next }
FILENAME ~ /summary.csv$/ {
	if (!($2 in host))
		host[$2] = ++hosts
	share[$1, $2] = $4 / $3 * 100
	next
}
$4 != "" { n[$1, $2]++; rtt[$1, $2, n[$1, $2]] = $4 }
function quantile(p, h, q,    i) {
	i = int(q * n[p, h])
	if (i < q * n[p, h])
		i++
	return rtt[p, h, i]
}
END {
	for (p in pass)
		for (h in host)
			print pass[p], host[h], share[p, h], quantile(p, h, 0.5), \
			      quantile(p, h, 0.05), quantile(p, h, 0.95)
}' "$dir/passes.csv" "$dir/summary.csv" \
	<(sed 1s/^/-/ "$dir/ping.csv" | sort -t, -k1,1 -k2,2 -k4,4n) | sort -t, -k1,1n -k2,2n >"$tmp/summary"

# Scales: whatever was measured fits.
awk -F, '
FNR == 1 && FILENAME !~ /summary$/ { next }
FILENAME ~ /passes.csv$/ {
	passes = passes " " $1
	title[++np] = $1
	from = $2
	to = to > $3 ? to : $3
	idle += $5
	next
}
FILENAME ~ /summary.csv$/ {
	if (!($2 in seen)) {
		seen[$2] = 1
		hosts = hosts " " $2
		agreed = agreed " " $3
		nh++
		top = top > $3 ? top : $3
	}
	next
}
FILENAME ~ /rate$/ { if ($1 > 2) top = top > $2 ? top : $2; next }
{
	share_min = NR == 1 || !share_min || $3 < share_min ? $3 : share_min
	share_max = share_max > $3 ? share_max : $3
	rtt_max = rtt_max > $6 ? rtt_max : $6
}
END {
	name["none"] = "No shaper"
	name["ifb"] = "IFB + CAKE"
	what["ifb"] = ", equal shares by host"
	name["ifb-ctmark"] = "IFB + HTB"
	what["ifb-ctmark"] = ", classes by conntrack mark"
	name["imq"] = "IMQ + HTB"
	what["imq"] = ", a class for each host"
	printf "passes = \"%s\"\nhosts = \"%s\"\nagreed = \"%s\"\n", passes, hosts, agreed
	printf "np = %d\nnh = %d\n", np, nh
	for (p = 1; p <= np; p++)
		printf "short%d = \"%s\"\ntitle%d = \"%s%s\"\n", p, name[title[p]], p,
		       name[title[p]], what[title[p]]
	printf "from = %s\nto = %s\ntop_rate = %s\n", from, to, top * 1.16
	printf "share_min = %s\nshare_max = %s\n", share_min * 0.7, share_max * 1.6
	printf "idle = %s\nrtt_min = %s\nrtt_max = %s\n", idle / np, idle / np / 1.6, (rtt_max > 60 ? rtt_max : 60) * 1.7
}' "$dir/passes.csv" "$dir/summary.csv" "$tmp"/*.rate "$tmp/summary" >"$tmp/vars"

about() {
	sed -n "s/^$1 //p" "$dir/about.txt"
}
sum=$(awk -F, 'FNR > 1 && !seen[$2]++ { sum += $3 } END { print sum }' "$dir/summary.csv")
cat >>"$tmp/vars" <<EOF
data = "$tmp"
limit = 50
heading = "Five hosts behind one NAT router, all downloading at once"
subheading = "The provider's line: $(about line_mbit) Mbit/s, behind a FIFO of $(about fifo_ms) ms. \
Dashed: the agreed rates, $sum Mbit/s together. The less a host has agreed to, the more connections it opens."
footer = "Linux $(about kernel) in User Mode Linux, $(about time) time; IMQ rules: $(about rules). \
Received: IP packets at the host's interface."
EOF
# As wide as its panels need.
np=$(($(wc -l <"$dir/passes.csv") - 1))
size="$((np > 3 ? 100 + 500 * np : 1600)), 1080"
draw "$dir/demo" "$size" "$tmp/vars" "$here/plot.gp"
