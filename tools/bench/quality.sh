#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/quality.sh [options] [PART...]
#
# How well IMQ shapes, where instructions per packet (bench.sh) do not tell:
#
#   shaping  rates of htb from 64 kbit/s to 1 Gbit/s, fairness of cake behind NAT,
#            GSO packets that stay whole
#   aqm      time that packets wait in codel, fq_codel and cake at overload, and
#            drops, on imq0 and on a real device; a ping through cake meanwhile
#   memory   of a packet that waits, and of a device, beside an IFB's
#   smp      one device for what 1, 2 and 4 processors receive: packets delivered,
#            where they are forwarded, lost, late
#   wall     bulk TCP, small datagrams, requests: no shaper, IFB, IMQ, in real time
#
# Default: all of them. Each is a program in a guest, says at its top what it does,
# draws its network, and can be run alone by tools/guest/run.sh:
#
#   part     program                       guest
#   shaping  tools/selftests/shaping.sh    um-module, simulated time: the figures
#   aqm      tools/selftests/aqm.sh        are the same on any machine
#   memory   tools/selftests/memory.sh     um-module; bench with 1, 2, 4 processors
#   smp      tools/bench/smp-guest.sh      bench with 1, 2, 4 emulated processors
#   wall     tools/bench/wall-guest.sh     um-module, real time
#
# Figures of smp and wall depend on the machine, and need one that is idle; what they
# do about it, they say at their top.
#
#   -o OUT       directory for the results (default out/quality):
#                figures.jsonl (an object for each figure: part, script, name,
#                value, unit, and limit and ok where there is a limit), table.txt
#                (also printed), and PART.log, the guests' output
#   -u KERNEL    for User Mode Linux: name of a configuration, or directory of a
#                built kernel (default um-module)
#   -x KERNEL    for qemu, likewise (default bench)
#   -c "N..."    numbers of processors (default "1 2 4")
#   -q           quick: amounts as in make check, fewer rounds
#
# Exit status: 0 if all limits are met, else 1; 2 for a usage error.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../results.sh
. "$(dirname "$0")/../results.sh"

out=$IMQ_TOP/out/quality um=um-module x86=bench cpus='1 2 4' full=1
while getopts o:u:x:c:q option; do
	case $option in
	o) out=$OPTARG ;;
	u) um=$OPTARG ;;
	x) x86=$OPTARG ;;
	c) cpus=$OPTARG ;;
	q) full='' ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
parts=("$@")
[ $# -gt 0 ] || parts=(shaping aqm memory smp wall)
for part in "${parts[@]}"; do
	case $part in
	shaping|aqm|memory|smp|wall) ;;
	*) usage ;;
	esac
done

mkdir -p "$out"
rm -rf "$out"/figures-* "$out/ticks"
out=$(cd "$out" && pwd)
prefixes=()
for name in nft iproute2 plugins; do
	prefixes+=(--prefix "$("$IMQ_TOP/tools/userland/prefix.sh" "$name")")
done

# kernel NAME|DIR
kernel() {
	if [ -d "$1" ]; then
		echo "$1"
	else
		"$IMQ_TOP/tools/kernel/build.sh" "$1"
	fi
}

# guest NAME OPTION... KERNEL [OPTION...] -- COMMAND...: its output is shown, and
# kept; what it measures is collected. Returns its status.
guest() {
	local name=$1
	shift

	log "quality: $name"
	# Written by the guest, which can't append to what others write.
	rm -f "$out/figures-$name"
	{
		"$IMQ_TOP/tools/guest/run.sh" -q --timeout 3600 --out "$out" --log "$out/log/$name" \
			"${prefixes[@]}" --env "IMQ_FIGURES=$out/figures-$name" \
			--env "IMQ_FULL=$full" "$@" | tee "$out/$name.log"
	} &
	background=($!)
	wait "$!"
}

simulated=(--append "$IMQ_SIMULATED")
tests=$IMQ_TOP/tools/selftests
here=$IMQ_TOP/tools/bench

part_shaping() {
	guest shaping "${simulated[@]}" "$um" -- "$tests/shaping.sh"
}

part_aqm() {
	guest aqm "${simulated[@]}" "$um" -- "$tests/aqm.sh"
}

part_memory() {
	local n bad=0

	guest memory-um "${simulated[@]}" "$um" -- "$tests/memory.sh" || bad=1
	for n in $cpus; do
		guest "memory-$n" --qemu --smp "$n" --append no_timer_check "$x86" -- "$tests/memory.sh" || bad=1
	done
	return "$bad"
}

# tell_ticks LOG FILE: keeps in FILE the processor time, in 1/100 s, of the emulator
# that logs there, until it ends or this script does. (A guest can't see its host's
# clocks.)
tell_ticks() {
	local pid='' stat

	while kill -0 $$ 2>/dev/null; do
		if [ -z "$pid" ]; then
			pid=$(pgrep -o -f "^qemu-system.*path=$1/console.log") || true
		elif read -r stat <"/proc/$pid/stat"; then
			read -ra stat <<<"${stat##*) }"
			echo $((stat[11] + stat[12])) >"$2.new"
			mv "$2.new" "$2"
		else
			return
		fi 2>/dev/null
		sleep 0.05
	done
}

part_smp() {
	local n bad=0 options=()

	[ -n "$full" ] || options=(-p 20000 -r 2 -n 100000)
	for n in $cpus; do
		# as ruler.sh, which has one processor
		guest "smp-$n-instructions" --icount --smp "$n" \
			--append 'no_timer_check tsc_early_khz=1000000 tsc=reliable clearcpuid=erms,fsrm,fsrs' \
			"$x86" -- "$here/smp-guest.sh" -i -p 10000 -r 1 scale where || bad=1
		mkdir -p "$out/ticks"
		tell_ticks "$out/log/smp-$n" "$out/ticks/$n" &
		guest "smp-$n" --qemu --smp "$n" --append no_timer_check \
			--env "BENCH_TICKS=$out/ticks/$n" "$x86" -- \
			"$here/smp-guest.sh" "${options[@]}" scale order || bad=1
	done
	return "$bad"
}

part_wall() {
	local options=()

	[ -n "$full" ] || options=(-r 5)
	guest wall "$um" -- "$here/wall-guest.sh" "${options[@]}"
}

case " ${parts[*]} " in *\ shaping\ *|*\ aqm\ *|*\ memory\ *|*\ wall\ *) um=$(kernel "$um") ;; esac
case " ${parts[*]} " in *\ memory\ *|*\ smp\ *) x86=$(kernel "$x86") ;; esac
status=0 failed=''
for part in "${parts[@]}"; do
	"part_$part" || failed="$failed $part"
done

cat "$out"/figures-* 2>/dev/null | grep '^{' >"$out/figures.jsonl" || true
python3 - "$out/figures.jsonl" <<'END' | tee "$out/table.txt" || status=1
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
script = None
for row in rows:
    if row["script"] != script:
        script = row["script"]
        print("\n%s\n%s" % (script, "-" * len(script)))
    print("%-72s %14s %-9s %s" % (
        row["name"], row["value"], row["unit"],
        "%s  %s" % (row["limit"], "ok" if row["ok"] else "MISSED") if "limit" in row else ""))
limits = [row for row in rows if "limit" in row]
missed = [row for row in limits if not row["ok"]]
print("\n%d figures, %d limits, %d missed" % (len(rows), len(limits), len(missed)))
sys.exit(bool(missed) or not limits)
END
[ -z "$failed" ] || { log "quality: failed:$failed; see $out"; status=1; }
exit $status
