#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest, as the only child of PID 1 (init.c). The root is the
# host's, read-only; an overlay in memory makes all of it writable:
#
#   host /  ── hostfs or 9p, read-only ──┐
#                                        ├─ overlay = /
#   memory  ── tmpfs ────────────────────┘
#   imq_dir ── hostfs or 9p, read-write: job (the command), env, status
#   shares  ── likewise, at the same path as on the host (--out)
#
# Environment, from the kernel's command line: imq_dir, imq_fs (hostfs or 9p).
set -eu
: "${imq_dir:?}" "${imq_fs:?}" "${imq_console:?}"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec </dev/null

# share DIR: the host's DIR, writable, at the same path.
share() {
	mkdir -p "$1"
	case $imq_fs in
	hostfs) mount -t hostfs none "$1" -o "$1" ;;
	9p) mount -t 9p "$(printf '%s' "$1" | cksum | cut -d' ' -f1)" "$1" \
		-o trans=virtio,version=9p2000.L,msize=262144,cache=none ;;
	esac
}

mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay \
	-o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mkdir -p .oldroot
pivot_root . .oldroot
cd /

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true
mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true
umount -l /.oldroot

share "$imq_dir"
while read -r dir; do
	share "$dir"
done <"$imq_dir/shares"
modules=$(cat "$imq_dir/modules")
if [ -d "$modules" ]; then
	mkdir -p /lib/modules
	mount --bind "$modules" /lib/modules
fi

# The output has the first console to itself; kernel messages go to another.
if [ -n "${imq_tty:-}" ]; then
	stty -F "$imq_console" sane 2>/dev/null || true
	exec <"$imq_console"
else
	stty -F "$imq_console" -opost -echo 2>/dev/null || true
fi
exec >"$imq_console" 2>&1

hostname imq
# New namespaces come without the fallback devices of built-in tunnels.
echo 1 >/proc/sys/net/core/fb_tunnels_only_for_init_net
ip link set lo up
unset imq_setup imq_console imq_tty
export TERM=linux
# shellcheck disable=SC1091 # written by run.sh
. "$imq_dir/env"
unset imq_dir imq_fs
exec bash "$IMQ_JOB"
