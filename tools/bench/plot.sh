#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/plot.sh DIR
#
# Draws DIR/bench.png and DIR/bench.svg from DIR/plot.csv, which report.py has
# written. Needs gnuplot.
set -euo pipefail
export LC_ALL=C

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../plot.sh
. "$here/../plot.sh"
dir=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

about() {
	sed -n "s/^# $1 //p" "$dir/plot.csv"
}
for arrival in lone burst; do
	grep "^$arrival," "$dir/plot.csv" | cut -d, -f2- >"$tmp/$arrival"
done
cat >"$tmp/vars" <<END
data = "$tmp"
goal = $(about goal)
heading = "What a detour through a shaper costs a router"
subheading = "Instructions per forwarded packet beyond those with the same qdisc on the way out, and for IMQ \
with a rule that lets all pass. Dashes: $(about goal) of IFB's."
footer = "Linux $(about kernel), x86-64, one processor of qemu -icount; UDP in frames of 60 bytes, 1,000 flows."
END
draw "$dir/bench" '1500, 640' "$tmp/vars" "$here/plot.gp"
