#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What IMQ takes of the memory: of a queued packet, beyond its sk_buff, and of a
# device, compared with an IFB.
#
# The drawing is in imq_lib.sh (topology). Packets are held by netem.
#
# Where the kernel tells of slab caches, their objects are counted, and the memory of
# the processors: by that figures repeat. Else pages, of which one is not free while
# there is something in it. Many devices are made, several times, and the median counts.
# Per-CPU memory is in it, for each possible CPU.

. "$(dirname "$0")/imq_lib.sh"

# An imq device is no more than so many times an ifb. Not judged when both are up as
# they are made: the rings of the default qdisc, pfifo_fast, are as long as the
# transmit queue: 1000 packets, and 32 of an ifb.
MAX_DEVICE=1.05
DEVICES=1000
ROUNDS=$(amount 1 5)
PACKETS=1000

# slab CACHE ATTRIBUTE
slab() {
	cat "/sys/kernel/slab/$1/$2"
}

# queued DEV: extensions while PACKETS packets wait in that device, and behind that
queued() {
	local n

	r tc qdisc add dev "$1" root netem delay 5s limit $((2 * PACKETS))
	background load "$imq_dir/imq_flood.py" --idle 6000 \
		"from=$W,to=$H1,dst=10.0.1.2,window=0,count=$PACKETS"
	# Some of the neighbours' own may wait, too.
	wait_for 4 has_backlog "$R" "$1" "$PACKETS" ||
		fail "packets that wait in $1: $(qdisc_backlog "$R" "$1")"
	n=$(objects skbuff_ext_cache)
	wait_for 20 background_gone load || fail "the flood does not end"
	total lost "$(background_end load)" >"$imq_tmp/lost"
	equal "lost" "$(cat "$imq_tmp/lost")" 0
	r tc qdisc del dev "$1" root
	echo "$n $(objects skbuff_ext_cache)"
}

background_gone() {
	gone "$(cat "$imq_tmp/pid.$1")"
}

# extension_bytes N: of each of PACKETS packets that have N extensions
extension_bytes() {
	awk -v n="$1" -v s="$size" -v p="$PACKETS" 'BEGIN { print n * s / p }'
}

# packet: the extension is the one thing that a packet has in imq.
packet() {
	local before during behind size

	have_sch netem
	topology
	r ping -n -q -c 1 10.0.1.2
	r ping -n -q -c 1 198.51.100.2
	before=$(objects skbuff_ext_cache)
	size=$(slab skbuff_ext_cache slab_size)

	read -r during behind < <(queued lan1)
	equal "extensions, packets wait in lan1" $((during - before)) 0

	# Behind imq0, where none waits yet
	shape_in wan udp 0
	read -r during behind < <(queued lan1)
	equal "imq0: left" "$(left "$R" imq0)" "$PACKETS"
	# Those that are kept, whatever the number of packets
	figure "packet that does not: skb extensions" \
		"$(extension_bytes $((during - before)))" bytes \
		"<=" "$(extension_bytes "$IMQ_KEPT")"

	read -r during behind < <(queued imq0)
	within "extensions, packets wait in imq0" $((during - before)) \
		$((PACKETS - IMQ_KEPT)) "$PACKETS"
	within "extensions, no packet waits" $((behind - before)) 0 "$IMQ_KEPT"
	figure "packet that waits: skb extensions" \
		"$(extension_bytes $((during - before)))" bytes
	no_other_counter "$R" imq0
}

# in_use: bytes of the memory that are not free, without what can be dropped. What
# was freed comes back a grace period later, and pages of slabs when asked for.
in_use() {
	local cache n size bytes=0

	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 0.5
	for cache in /sys/kernel/slab/*; do
		[ -L "$cache" ] && continue
		echo 1 >"$cache/shrink"
		[ -r "$cache/objects" ] || continue
		read -r n _ <"$cache/objects"
		read -r size <"$cache/slab_size"
		bytes=$((bytes + n * size))
	done
	awk -v slabs="$bytes" '{ sub(":", "", $1); m[$1] = $2 }
		END {
			all = m["MemTotal"] - m["MemFree"] - m["Buffers"] - m["Cached"]
			printf "%.0f\n", slabs ? slabs + m["Percpu"] * 1024 : all * 1024
		}' /proc/meminfo
}

# namespace_gone: where the kernel does not tell, after some time.
namespace_gone() {
	if [ -n "$namespaces" ]; then
		no_more net_namespace "$namespaces"
	else
		sleep 3
	fi
}

# devices TYPE STATE: bytes of one of DEVICES devices; STATE is down, up, up and
# options of ip, or the qdisc of devices that are up. That is there first: the rings of
# the default one would be freed, but could share pages with others' memory.
devices() {
	local ns=imq-$imq_id-mem before behind options=''

	case $2 in "up "*) options=${2#up } ;; esac
	ip netns add "$ns"
	# What is allocated once
	ip -n "$ns" link add first type "$1"
	ip -n "$ns" link set first up
	before=$(in_use)
	each_device "link add dev %s $options type $1" | ip -n "$ns" -batch -
	case $2 in
	down|up*) ;;
	*) each_device "qdisc add dev %s root $2" | tc -n "$ns" -batch - ;;
	esac
	[ "$2" = down ] || each_device "link set dev %s up" | ip -n "$ns" -batch -
	behind=$(in_use)
	ip netns delete "$ns"
	wait_for 30 namespace_gone || fail "the namespace stays"
	echo $(((behind - before) / DEVICES))
}

# each_device LINE: a line for each, with its name for %s
each_device() {
	local i

	for ((i = 0; i < DEVICES; i++)); do
		echo "${1/\%s/d$i}"
	done
}

# per_device STATE: imq and ifb in turn
per_device() {
	local i namespaces ifb imq limit=()

	modprobe -q ifb numifbs=0 2>/dev/null || true
	ip link add "ifb$imq_id" type ifb || skip "the kernel has no ifb"
	ip link del "ifb$imq_id"
	case $1 in down|up*) ;; *) have_sch "$1" ;; esac
	namespaces=''
	! [ -r /sys/kernel/slab/net_namespace/objects ] || namespaces=$(objects net_namespace)
	# Not the first, which grows caches
	devices imq "$1" >/dev/null
	for ((i = 0; i < ROUNDS; i++)); do
		devices ifb "$1" >>"$imq_tmp/ifb"
		devices imq "$1" >>"$imq_tmp/imq"
	done
	say "ifb:" "$(cat "$imq_tmp/ifb")" "imq:" "$(cat "$imq_tmp/imq")"
	ifb=$(median "$imq_tmp/ifb") imq=$(median "$imq_tmp/imq")
	figure "device, $1, $(nproc) CPU: ifb" "$ifb" bytes
	figure "device, $1, $(nproc) CPU: imq" "$imq" bytes
	[ "$1" = up ] || limit=("<=" "$MAX_DEVICE")
	figure "device, $1, $(nproc) CPU: imq / ifb" \
		"$(awk -v a="$imq" -v b="$ifb" 'BEGIN { printf "%.3f\n", a / b }')" "" \
		"${limit[@]}"
}

median() {
	sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

imq_begin
imq_test "a packet, queued and not" packet
# A page more or less depends on what was there before: for the benchmark, which
# collects figures, and no test.
states=()
if [ -n "${IMQ_FIGURES:-}" ]; then
	states=(down htb)
	[ "${IMQ_FULL:-}" != 1 ] || states=(down up "up txqueuelen 1000" htb fq_codel)
fi
for state in "${states[@]}"; do
	rm -f "$imq_tmp/ifb" "$imq_tmp/imq"
	imq_test "$DEVICES devices, $state" per_device "$state"
done
imq_end
