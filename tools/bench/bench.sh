#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/bench.sh [options] [OUT]
#
# How many instructions the kernel needs to forward a packet, with IMQ, with IFB,
# and with neither. The guest (guest.sh draws its network) runs in qemu with
# -icount: its clock counts the instructions of its one processor, so that the
# figures repeat on any machine, however busy. Kernels: bench, and bench-plain
# without the series (tools/kernel/config).
#
# In OUT (default: out/bench) are then
#   table.md            the figures and the goals, also printed
#   bench.json          the same for programs, with each run's figures
#   bench.png, .svg     the plot; plot.csv: what it was made from
#   raw/                what the guests printed: KERNEL-BOOT.tsv; and their logs
#
# For a quick look at some cases on the kernel with what is in the tree now, two
# minutes with pfifo, name any of these:
#   -k KERNEL    name of a configuration, or directory of a built kernel (default bench)
#   -q QDISCS    of "pfifo htb htb100 fq_codel cake netem" (default pfifo)
#   -c CASES     see guest.sh (default "none floor floor-nft floor-iptables ifb
#                imq-nft imq-iptables")
#   -a ARRIVALS  of "lone burst" (default lone)
# The table is then all there is: no goals, no plot. Likewise for both:
#   -n N         packets in a measurement, by 3200 (default 12800)
#   -r BOOTS     how often to boot and measure (default 3; quick: 1). In each boot
#                everything is measured three times (quick: once)
#
#   tools/bench/bench.sh -q "pfifo htb" -c "none floor ifb imq-nft"
#
# Exit status: 0 when all packets went the way of their case, and every figure is
# there; 1 if not. Goals that are not met are in the table (MISSED).
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

kernel='' qdiscs='' cases='' arrivals='' n=12800 boots='' quick=''
while [ $# -gt 0 ]; do
	case $1 in
	-k) kernel=$2 quick=1; shift ;;
	-q) qdiscs=$2 quick=1; shift ;;
	-c) cases=$2 quick=1; shift ;;
	-a) arrivals=$2 quick=1; shift ;;
	-n) n=$2; shift ;;
	-r) boots=$2; shift ;;
	-*) usage ;;
	*) break ;;
	esac
	shift
done
[ $# -le 1 ] || usage
out=${1:-$IMQ_TOP/out/bench}
bench=$IMQ_TOP/tools/bench
# shellcheck source=../results.sh
. "$IMQ_TOP/tools/results.sh"	# ends guests with this script
# shellcheck source=ruler.sh
. "$bench/ruler.sh"

if [ -n "$quick" ]; then
	boots=${boots:-1}
	kernels=("${kernel:-bench}")
else
	boots=${boots:-3}
	kernels=(bench bench-plain)
fi

dirs=()
for name in "${kernels[@]}"; do
	[ -d "$name" ] || name=$("$IMQ_TOP/tools/kernel/build.sh" "$name")
	dirs+=("$name")
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -rf "$out"/raw "$out"/{table.md,bench.json,plot.csv,bench.png,bench.svg}
mkdir "$out/raw"

# guest DIR BOOT: boots and has guest.sh do the jobs of stdin, lines of arguments; its
# results are in a file.
guest() {
	local dir=$1 boot=$2 name run

	name=$(<"$dir/release")
	name=${name#*-}
	run=$out/raw/$name-$boot
	{
		echo 'set -e'
		sed "s|^|$(printf '%q' "$bench/guest.sh") |"
	} >"$run.sh"
	if ! ruler_guest --log "$run.log" "$dir" -- bash "$run.sh" >"$run.out"; then
		log "bench: $name, boot $boot failed; see $run.*"
		return 1
	fi
	grep '^result' "$run.out" >"$run.tsv"
}

# What the kernels have to do.
jobs_quick() {
	echo "-n $n -q '${qdiscs:-pfifo}' -a '${arrivals:-lone}'" \
		"${cases:-none floor floor-nft floor-iptables ifb imq-nft imq-iptables}"
}
all='pfifo htb htb100 fq_codel cake'
jobs_bench() {
	cat <<-END
		-n $n -r 3 floor-dst:10 map:10:1 floor-dst:10000 map:10000:1
		-n $n -r 3 floor-dst:1000 map:1000:1 map:1000:1000
		-n $n -r 3 -a 'lone burst' floor-nft floor-iptables elsewhere-accept elsewhere
		-n $n -r 3 -a 'lone burst' -q '$all' none floor ifb imq-nft imq-iptables
	END
}
jobs_bench-plain() {
	echo "-n $n -r 3 -a 'lone burst' none elsewhere-accept floor ifb"
}

# Two guests at a time: their clocks do not see each other.
log "bench: $boots boots of ${kernels[*]}; results in $out"
failed=''
for ((boot = 1; boot <= boots; boot++)); do
	for i in "${!dirs[@]}"; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
			wait -n || failed=1
		done
		if [ -n "$quick" ]; then
			jobs_quick
		else
			"jobs_${kernels[i]}"
		fi | guest "${dirs[i]}" "$boot" &
		background+=($!)
	done
done
while [ "$(jobs -p | wc -l)" -gt 0 ]; do
	wait -n || failed=1
done
[ -z "$failed" ] || die "not all guests did their work"

"$bench/report.py" ${quick:+--quick} "$out" || [ $? = 1 ] || exit 1
[ -n "$quick" ] || "$bench/plot.sh" "$out"
