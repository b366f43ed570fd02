#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/guest/run.sh [options] KERNEL [options] -- COMMAND [ARG...]
#
# Boots KERNEL, runs COMMAND in it as root, streams its output to stdout and
# ends with its exit status. The guest sees this machine's file system at the
# same paths, read-only below an overlay in memory: it may write anywhere, and
# nothing of it stays, except in --out directories.
#
#   KERNEL          directory printed by tools/kernel/build.sh, or the name of a
#                   configuration (um-builtin, um-module...), built when needed
#   --out DIR       DIR of the host is writable in the guest, at the same path
#                   (may be repeated; DIR is made when missing)
#   --prefix DIR    DIR/bin and DIR/sbin come first in PATH, DIR/lib in
#                   LD_LIBRARY_PATH; DIR/lib/xtables and DIR/lib/ip hold plugins
#                   of iptables and ip (may be repeated, the first one wins)
#   --env NAME=VAL  set in the command's environment (may be repeated)
#   --mem SIZE      memory of the guest (default 1G)
#   --timeout SEC   kill the guest after SEC seconds (default 600)
#   --log DIR       keep the logs there: console.log (kernel messages),
#                   host.log (boot, emulator), output.log (of the command)
#   --append ARGS   more kernel parameters, e.g. "imq.numdevs=4"
#   --qemu          KERNEL is for qemu-system-x86_64 (implied by its image)
#   --smp N         processors, --qemu only (default 2)
#   --icount        --qemu only: time counts instructions (one processor, or so many
#                   that take turns: --icount --smp N)
#   --plugin ARG    --qemu only: a plugin for its TCG, as its -plugin takes it
#   --keep-splat    a kernel warning does not fail the run
#   --tty           stdin and stdout of the command are this terminal (not --qemu)
#   -q              no word on stderr when all went well
#
# The command's directory is the current one. Its status is trusted only as
# init wrote it. Statuses of its own:
#   124  timeout                 125  the guest died without a verdict
#   126  the kernel log has a warning, a bug or a sanitizer's report
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

kernel='' shares=() prefixes=() envs=() mem=1G limit=600 logdir='' append=()
qemu='' smp=2 icount='' plugin='' keep_splat='' quiet='' tty=''
while [ $# -gt 0 ]; do
	case $1 in
	--out) shares+=("$2"); shift ;;
	--prefix) prefixes+=("$2"); shift ;;
	--env) envs+=("$2"); shift ;;
	--mem) mem=$2; shift ;;
	--timeout) limit=$2; shift ;;
	--log) logdir=$2; shift ;;
	--append) read -ra words <<<"$2"; append+=("${words[@]}"); shift ;;
	--qemu) qemu=1 ;;
	--smp) smp=$2; shift ;;
	--icount) icount=1 smp=1 ;;
	--plugin) plugin=$2; shift ;;
	--keep-splat) keep_splat=1 ;;
	--tty) tty=1 ;;
	-q) quiet=1 ;;
	--) shift; break ;;
	-*) usage ;;
	*) [ -z "$kernel" ] || usage; kernel=$1 ;;
	esac
	shift
done
if [ -z "$kernel" ] || [ $# -eq 0 ]; then
	usage
fi

[ -d "$kernel" ] || kernel=$("$IMQ_TOP/tools/kernel/build.sh" "$kernel")
kernel=$(cd "$kernel" && pwd)
[ -e "$kernel/linux" ] || qemu=1

# Where the guest's memory lives: a file that is mapped executable.
memory_dir() {
	local mb=$1 free

	if [ -w /dev/shm ] && ! grep -q '^[^ ]* /dev/shm [^ ]* [^ ]*noexec' /proc/mounts; then
		free=$(df -Pm /dev/shm | awk 'NR == 2 { print $4 }')
		[ "$free" -gt "$mb" ] && echo /dev/shm && return
	fi
	echo "${TMPDIR:-/tmp}"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/imq-guest.XXXXXX")
guest_pid=''
end_guest() {
	local i

	[ -n "$guest_pid" ] || return 0
	# The guest leads its own process group: nothing else is in it.
	kill -TERM -- "-$guest_pid" 2>/dev/null || return 0
	for ((i = 0; i < 20; i++)); do
		kill -0 -- "-$guest_pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL -- "-$guest_pid" 2>/dev/null || true
}
cleanup() {
	end_guest
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$logdir" ]; then
	logdir=$dir/log
fi
mkdir -p "$logdir"
logdir=$(cd "$logdir" && pwd)
: >"$logdir/console.log"
: >"$logdir/output.log"

# What the guest is to do.
init=$IMQ_CACHE/guest/init-$(hash_files "$IMQ_TOP/tools/guest/init.c" | cut -c1-12)
if [ ! -x "$init" ]; then
	mkdir -p "${init%/*}"
	cc -O2 -Wall -o "$init.$$" "$IMQ_TOP/tools/guest/init.c"
	mv "$init.$$" "$init"
fi
mkdir "$dir/job"
job=$dir/job
{
	printf 'cd %q\n' "$PWD"
	printf 'exec'
	printf ' %q' "$@"
	echo
} >"$job/job"
path='' libpath='' xtables='' iplib=''
for p in "${prefixes[@]}"; do
	p=$(cd "$p" && pwd)
	path="$path$p/sbin:$p/bin:"
	[ -d "$p/lib" ] && libpath="$libpath${libpath:+:}$p/lib"
	[ -d "$p/lib/xtables" ] && xtables="$xtables$p/lib/xtables:"
	[ -d "$p/lib/ip" ] && [ -z "$iplib" ] && iplib=$p/lib/ip
done
if [ -n "$xtables" ]; then
	xtables=$xtables$(pkg-config --variable=xtlibdir xtables 2>/dev/null ||
			  echo "/usr/lib/$(uname -m)-linux-gnu/xtables")
fi
{
	printf 'export PATH=%q\n' "$path/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	[ -z "$libpath" ] || printf 'export LD_LIBRARY_PATH=%q\n' "$libpath"
	[ -z "$xtables" ] || printf 'export XTABLES_LIBDIR=%q\n' "$xtables"
	[ -z "$iplib" ] || printf 'export IP_LIB_DIR=%q\n' "$iplib"
	printf 'export HOME=/root LC_ALL=C.UTF-8\n'
	printf 'export IMQ_JOB=%q IMQ_TOP=%q\n' "$job/job" "$IMQ_TOP"
	for e in "${envs[@]}"; do
		printf 'export %s=%q\n' "${e%%=*}" "${e#*=}"
	done
} >"$job/env"
for s in "${shares[@]}"; do
	mkdir -p "$s"
	(cd "$s" && pwd)
done >"$job/shares"
echo "$kernel/lib/modules" >"$job/modules"

mb=$(numfmt --from=iec "$mem")
mb=$((mb / 1024 / 1024))
params=(loglevel=8 oops=panic panic=-1 rcupdate.rcu_cpu_stall_timeout=30
	dummy.numdummies=0 ifb.numifbs=0 bonding.max_bonds=0
	"init=$init" "imq_setup=$IMQ_TOP/tools/guest/setup.sh" "imq_dir=$job"
	"${append[@]}")

# Without <&0, an asynchronous command would read /dev/null.
start_um() {
	TMPDIR=$(memory_dir "$mb") setsid "$kernel/linux" "mem=${mb}M" \
		root=/dev/root rootfstype=hostfs rootflags=/ ro \
		"uml_dir=$dir/" "umid=guest" \
		con=null "con0=$con" ssl=null ssl0=null,fd:3 \
		stderr=1 console=ttyS0 \
		imq_fs=hostfs imq_console=/dev/tty0 ${tty:+imq_tty=1} \
		"${params[@]}" <&0 \
		2>"$logdir/host.log" 3>"$logdir/console.log" &
	guest_pid=$!
}

# share_9p TAG DIR [OPTION]: adds a file system that the guest mounts by the tag.
share_9p() {
	local id=fs${#fs[@]}

	fs+=(-fsdev "local,id=$id,path=$2,security_model=none,multidevs=remap${3:+,$3}"
		-device "virtio-9p-device,fsdev=$id,mount_tag=$1")
}

# The microvm has one serial line, for kernel messages. Without a way to power
# off, init has it reboot instead.
# No cmpxchg16b, which the allocator uses: qemu 7.2 leaves part of an address in the
# flags (helper_cmpxchg16b_unlocked() computes them by a stale cc_op), and an interrupt
# right behind it returns with those: single step, nested task, double fault.
start_qemu() {
	local fs=() s

	share_9p /dev/root / readonly=on
	while read -r s; do
		share_9p "$(printf '%s' "$s" | cksum | cut -d' ' -f1)" "$s"
	done < <(cat "$job/shares"; echo "$job")
	setsid qemu-system-x86_64 -M microvm,acpi=off,pcie=off \
		-accel "tcg${icount:+,thread=single}" -cpu max,cx16=off -m "$mb" -smp "$smp" \
		${icount:+-icount shift=0,sleep=off} ${plugin:+-plugin "$plugin"} \
		-nodefaults -no-user-config -no-reboot -display none \
		-kernel "$kernel/bzImage" "${fs[@]}" \
		-chardev "file,id=log,path=$logdir/console.log" -serial chardev:log \
		-device virtio-serial-device \
		-chardev "file,id=out,path=/dev/fd/3" -device virtconsole,chardev=out \
		-append "root=/dev/root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,msize=262144,cache=loose ro \
console=ttyS0 reboot=t imq_fs=9p imq_console=/dev/hvc0 ${params[*]}" \
		</dev/null 3>"$dir/out" >"$logdir/host.log" 2>&1 &
	guest_pid=$!
}

mkfifo "$dir/out"
tee_pid='' con=null,fd:1 start=$SECONDS
if [ -n "$tty" ]; then
	# The emulator puts the terminal into raw mode, and may not put it back.
	settings=$(stty -g)
	con=fd:0,fd:1
	start_um </dev/tty >/dev/tty
else
	tee "$logdir/output.log" <"$dir/out" &
	tee_pid=$!
	if [ -n "$qemu" ]; then
		start_qemu
	else
		start_um </dev/null >"$dir/out"
	fi
fi

timed_out=''
while kill -0 "$guest_pid" 2>/dev/null; do
	if [ $((SECONDS - start)) -ge "$limit" ]; then
		timed_out=1
		break
	fi
	sleep 0.1
done
end_guest
wait "$guest_pid" 2>/dev/null || true
guest_pid=''
[ -z "$tee_pid" ] || wait "$tee_pid" || true
[ -z "$tty" ] || stty "$settings" || true

# What a kernel prints when something is wrong with it, whoever noticed.
splat='WARNING: |BUG: |kernel BUG|Oops|Kernel panic|INFO: task .* blocked'
splat="$splat|INFO: rcu|rcu: INFO|INFO: possible|INFO: trying to register"
splat="$splat|possible (circular|recursive|irq)|suspicious RCU|inconsistent lock state"
splat="$splat|general protection fault|UBSAN: |KASAN: |refcount_t: "
splat="$splat|unregister_netdevice: waiting|leaked reference|kmemleak: [0-9]+ new"
splat="$splat|Call Trace:|soft lockup|scheduling while atomic|bad unlock balance"

show_tail() {
	log "--- end of the kernel log:"
	tail -n 40 "$logdir/console.log" >&2
	if [ ! -s "$logdir/console.log" ]; then
		log "--- end of the boot log:"
		tail -n 40 "$logdir/host.log" >&2
	fi
}

status=''
[ -s "$job/status" ] && status=$(cat "$job/status")
if grep -qE "$splat" "$logdir/console.log"; then
	log "guest: the kernel complained:"
	grep -E -m 1 -A 45 -B 3 "$splat" "$logdir/console.log" >&2
	splatted=1
fi
if [ -n "$timed_out" ]; then
	log "guest: killed after $limit s"
	[ -n "${splatted:-}" ] || show_tail
	exit 124
fi
case $status in
"exit "*) code=${status#exit } ;;
"signal "*) log "guest: the command died of signal ${status#signal }"; code=$((128 + ${status#signal })) ;;
*)
	log "guest: died without a verdict"
	[ -n "${splatted:-}" ] || show_tail
	exit 125 ;;
esac
if [ -n "${splatted:-}" ] && [ -z "$keep_splat" ]; then
	exit 126
fi
[ -n "$quiet" ] || log "guest: exit status $code after $((SECONDS - start)) s"
exit "$code"
