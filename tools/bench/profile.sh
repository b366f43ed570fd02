#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/bench/profile.sh [options] [CASE...]
#
# Where the instructions of a packet go: counts each instruction of the kernel
# while the guest forwards packets as guest.sh does (see there for CASE; default:
# floor ifb imq-nft imq-iptables), and prints for each function how many it has
# per packet, in each case. They are counted, not sampled (plugin.c).
#
#   -k KERNEL    configuration or directory of a kernel (default bench)
#   -q QDISC     default pfifo
#   -a ARRIVAL   lone (default) or burst
#   -n N         packets, by 3200 (default 3200)
#   -b CASE      sort by what the last case has more than this one (default: the first)
#   -f FUNCTION  instead, print the instructions of FUNCTION with their counts, in
#                the last case
#   -o DIR       keep what was counted there
#
# Functions that the compiler has put into others count with these.
# Needs a qemu with plugins (Debian 12 has one; version 8.1 at most).
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

kernel=bench qdisc=pfifo arrival=lone n=3200 base='' out='' function=''
while [ $# -gt 0 ]; do
	case $1 in
	-k) kernel=$2; shift ;;
	-q) qdisc=$2; shift ;;
	-a) arrival=$2; shift ;;
	-n) n=$2; shift ;;
	-b) base=$2; shift ;;
	-f) function=$2; shift ;;
	-o) out=$2; shift ;;
	-*) usage ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || set -- floor ifb imq-nft imq-iptables
bench=$IMQ_TOP/tools/bench
# shellcheck source=ruler.sh
. "$bench/ruler.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/imq-profile.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
out=${out:-$tmp}
mkdir -p "$out"
out=$(cd "$out" && pwd)

cc -shared -fPIC -O2 -Wall -Wextra -o "$tmp/plugin.so" "$bench/plugin.c"
{
	printf '%q ' "$bench/guest.sh" -q "$qdisc" -a "$arrival" -n "$n" "$@"
	printf '\ncat /proc/kallsyms >%q\n' "$out/kallsyms"
} >"$out/job.sh"
[ -d "$kernel" ] || kernel=$("$IMQ_TOP/tools/kernel/build.sh" "$kernel")
ruler_guest --out "$out" --plugin "$tmp/plugin.so,out=$out/count" --log "$out/log" "$kernel" -- \
	bash -e "$out/job.sh" >"$out/output.txt"

"$bench/profile.py" ${base:+-b "$base"} ${function:+-f "$function"} "$out" "$n" "$@"
