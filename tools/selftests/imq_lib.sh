# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the imq selftests (bash, sourced first). A script is
#
#	. "$(dirname "$0")/imq_lib.sh"
#	some_test() { ...commands, the first that fails fails the test...; }
#	imq_begin			# maybe skips the script
#	imq_test "what it shows" some_test [ARG...]
#	imq_end				# last check, exit status
#
# and prints for each test one line, and the commands of a failed one:
#
#	TEST: script: what it shows                          [ OK ]
#	TEST: script: what it shows                          [FAIL]
#	TEST: script: what it shows                          [SKIP] reason
#
# Fn in a name: row n of the list of what users of earlier IMQ patches have reported as
# broken (F1 to F28), which the test repeats.
#
# Exit status: 0 if a test passed and none failed, 1 if one failed, 4 if all
# were skipped. Needs root, bash, iproute2, python3 and ethtool.
#
# IMQ_REQUIRE   words for what may not be missing: "kernel" (imq, xt_IMQ,
#               nft_imq, their KUnit tests), "nft", "iptables", "ip" (that
#               know imq), "all". Tests that would be skipped for want of
#               these fail then.
# IMQ_ONLY      only the tests whose name matches this extended regular
#               expression are run, and the last one
# IMQ_FULL      1: full amounts (packets, seconds, rounds) instead of those that
#               keep a test short
# IMQ_FIGURES   file to which what is measured is appended, a JSON object a line:
#               script, name, value, unit, and limit and ok where there is a limit
#
# A test runs in a subshell with errexit: not in a condition, so that errexit
# holds in the functions that it calls. What it changes in namespaces stays for
# imq_lib to remove, and its programs in the background for imq_lib to end: after
# the test, or while the script has imq_keep=1, at the end.

set -eu
set -o pipefail
shopt -s inherit_errexit
export LC_ALL=C

KSFT_PASS=0
KSFT_FAIL=1
KSFT_SKIP=4

imq_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
imq_script=$(basename "$0" .sh)
imq_passed=0
imq_failed=0
imq_skipped=0
imq_begun=''
imq_keep=''
imq_backlog=''
imq_tmp=$(mktemp -d /tmp/imq-selftest.XXXXXX)
imq_log=$imq_tmp/log
: >"$imq_log"
exec 3>>"$imq_log"

# Unique names: the tests may run beside each other and on a machine in use.
imq_id=${imq_tmp##*.}
# shellcheck disable=SC2034 # used by the scripts
W=imq-$imq_id-w R=imq-$imq_id-r H1=imq-$imq_id-h1 H2=imq-$imq_id-h2

# amount BOUNDED FULL: how much of something a test does.
amount() {
	if [ "${IMQ_FULL:-}" = 1 ]; then
		echo "$2"
	else
		echo "$1"
	fi
}

# Times as long as elsewhere, things take where QEMU emulates the processors, and all
# else with them; the programs beside this one ask for it, too.
IMQ_SLOW=1
! grep -q "QEMU TCG" /proc/cpuinfo || IMQ_SLOW=5
export IMQ_SLOW

# slowly N: how long something may take, or takes to be on the safe side
slowly() {
	echo $((IMQ_SLOW * $1))
}

# missing WHAT TEXT...: as skip, for one of the words of IMQ_REQUIRE.
missing() {
	local what=$1
	shift

	case " ${IMQ_REQUIRE:-} " in
	*" $what "*|*" all "*) fail "$* (and IMQ_REQUIRE is \"$IMQ_REQUIRE\")" ;;
	esac
	skip "$*"
}

# Commands ------------------------------------------------------------------

# say TEXT...: in the log that is shown when the test fails.
say() {
	printf '%s\n' "$*" >&3
}

# on NETNS COMMAND...: run it there.
on() {
	local netns=$1
	shift

	say "[${netns##*-}] $*"
	case $1 in
	ip|tc) "$1" -n "$netns" "${@:2}" ;;
	*) ip netns exec "$netns" "$@" ;;
	esac
}

w() { on "$W" "$@"; }
r() { on "$R" "$@"; }
h1() { on "$H1" "$@"; }
h2() { on "$H2" "$@"; }

# run COMMAND...: in the initial namespace.
run() {
	say "[-] $*"
	"$@"
}

# note TEXT...: is printed behind the verdict, also if the test has passed.
note() {
	say "$*"
	printf '    %s\n' "$*" >>"$imq_tmp/notes"
}

# fail TEXT...: the test has failed.
fail() {
	say "FAILED: $*"
	imq_stack
	exit "$KSFT_FAIL"
}

# skip TEXT...: the test can't be done here, and why.
skip() {
	printf '%s' "$*" >"$imq_tmp/skip"
	exit "$KSFT_SKIP"
}

# equal WHAT GOT WANTED
equal() {
	[ "$2" = "$3" ] || fail "$1: $2, expected $3"
	say "$1: $2, as expected"
}

# within WHAT GOT LOWEST HIGHEST: integers.
within() {
	case $2 in ''|*[!0-9-]*) fail "$1: '$2' is no number" ;; esac
	if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
		fail "$1: $2, expected $3 to $4"
	fi
	say "$1: $2, as expected ($3 to $4)"
}

# contains WHAT TEXT PART: the text has the part in it.
contains() {
	case $2 in
	*"$3"*) say "$1: \"$3\", as expected" ;;
	*) fail "$1: \"$2\", expected \"$3\"" ;;
	esac
}

# refused WHAT PART COMMAND...: the command fails, with this in what it prints.
refused() {
	local what=$1 part=$2 out status=0
	shift 2

	say "expected to fail: $*"
	out=$("$@" 2>&1) || status=$?
	[ "$status" -ne 0 ] || fail "$what: accepted"
	contains "$what" "$out" "$part"
}

# wait_for SECONDS COMMAND...: until it succeeds; fails if it never does (see slowly).
wait_for() {
	local end=$((SECONDS + $(slowly "$1") + 1))
	shift

	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# at_most SECONDS COMMAND...: fails if it fails or takes longer (see slowly).
at_most() {
	local seconds start

	seconds=$(slowly "$1")
	shift

	start=$(date +%s%N)
	say "at most $seconds s: $*"
	timeout "$((seconds + 10))" "$@" || fail "$*: status $?"
	within "milliseconds for: $*" "$((($(date +%s%N) - start) / 1000000))" \
		0 "$((seconds * 1000))"
}

# figure NAME VALUE UNIT [<=|>= LIMIT]: what was measured, printed and kept; the
# test fails if the limit is missed. Numbers with a fraction may be.
figure() {
	local name=$1 value=$2 unit=$3 limit=${4:+$4 $5} ok=true

	[ -z "$limit" ] || awk -v v="$value" -v op="$4" -v l="$5" \
		'BEGIN { exit !(v == v + 0 && (op == "<=" ? v <= l + 0 : v >= l + 0)) }' || ok=false
	[ -z "${IMQ_FIGURES:-}" ] ||
		printf '{"script": "%s", "name": "%s", "value": %s, "unit": "%s"%s}\n' \
			"$imq_script" "$name" "$value" "$unit" \
			"${limit:+, \"limit\": \"$limit\", \"ok\": $ok}" >>"$IMQ_FIGURES"
	note "$name: $value $unit${limit:+ ($limit)}"
	[ "$ok" = true ] || fail "$name: $value $unit, expected $limit"
}

# simulated: the test is for a clock that stands still while the guest computes
# (User Mode Linux with time-travel=inf-cpu): no figure depends on the machine.
simulated() {
	# On another kernel's command line, it means nothing.
	if ! grep -q "User Mode Linux" /proc/cpuinfo ||
	   ! grep -q time-travel=inf-cpu /proc/cmdline; then
		skip "needs simulated time (User Mode Linux with time-travel=inf-cpu)"
	fi
}

# field NAME TEXT: value of NAME=VALUE in the line.
field() {
	local text=" $2 "

	case $text in
	*" $1="*) text=${text#*" $1="}; printf '%s\n' "${text%% *}" ;;
	*) fail "no $1= in: $2" ;;
	esac
}

# udp FLOW...: see imq_traffic.py. The lines it prints.
udp() {
	say "udp $*"
	"$imq_dir/imq_traffic.py" udp --time 30 "$@" | tee -a "$imq_log"
}

tcp() {
	say "tcp $*"
	"$imq_dir/imq_traffic.py" tcp "$@" | tee -a "$imq_log"
}

# flow ID LINES: the line of one flow.
flow() {
	printf '%s\n' "$2" | grep "^id=$1 " || fail "no flow $1 in: $2"
}

# background NAME COMMAND...: run the program until background_end NAME, or the
# end of the test. Not for functions, which would not pass the signal on.
background() {
	local name=$1
	shift

	say "in the background, $name: $*"
	# Not by the background process, after somebody has looked.
	: >"$imq_tmp/out.$name"
	"$@" >>"$imq_tmp/out.$name" 2>&1 3>&- &
	echo $! >"$imq_tmp/pid.$name"
}

# background_end NAME: ask it to end, wait for that, and print its output.
background_end() {
	local pid

	pid=$(cat "$imq_tmp/pid.$1")
	rm -f "$imq_tmp/pid.$1"
	kill -TERM "$pid" 2>/dev/null || true
	wait_for 10 gone "$pid" || fail "$1 does not end"
	tee -a "$imq_log" <"$imq_tmp/out.$1"
}

# gone PID: it has ended, and maybe waits for its parent.
gone() {
	local state

	state=$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null) || return 0
	[ "$state" = Z ]
}

# udp_load FLOW...: as udp, in the background, until udp_load_end.
udp_load() {
	background load "$imq_dir/imq_traffic.py" udp "$@"
}

udp_load_end() {
	background_end load
}

# load_is_done: all has been sent, and what there is to say is printed.
load_is_done() {
	[ -s "$imq_tmp/out.load" ]
}

# flood FLOW...: as udp, for many datagrams; see imq_flood.py. flood_load: in the
# background, until udp_load_end.
flood() {
	say "flood $*"
	"$imq_dir/imq_flood.py" "$@" | tee -a "$imq_log"
}

flood_load() {
	background load "$imq_dir/imq_flood.py" "$@"
}

# paced ARG...: datagrams at given rates; see imq_load.py. The lines it prints.
paced() {
	say "paced $*"
	"$imq_dir/imq_load.py" "$@" | tee -a "$imq_log"
}

# total KEY LINES: of all flows.
total() {
	printf '%s\n' "$2" | awk -v k="$1" -F'[ =]' '
		{ for (i = 1; i < NF; i += 2) if ($i == k) { sum += $(i + 1); n++ } }
		END { printf "%.0f\n", sum; exit !n }' || fail "no $1= in: $2"
}

# Counters ------------------------------------------------------------------

# stat_of NETNS DEV COUNTER: of ethtool -S.
stat_of() {
	ip netns exec "$1" ethtool -S "$2" |
		awk -v c="$3:" '$1 == c { print $2; n = 1 } END { exit !n }' ||
		fail "$2 has no counter $3"
}

# entered NETNS DEV, left NETNS DEV
entered() { stat_of "$1" "$2" entered; }
left() { stat_of "$1" "$2" left; }

# class_packets NETNS DEV CLASSID, class_bytes NETNS DEV CLASSID
class_packets() { class_stat "$@" 4; }
class_bytes() { class_stat "$@" 2; }

# class_stat NETNS DEV CLASSID WORD: of the line "Sent BYTES bytes PACKETS pkt".
class_stat() {
	tc -n "$1" -s class show dev "$2" | awk -v c="$3" -v word="$4" '
		$1 == "class" { ours = $3 == c }
		ours && $1 == "Sent" && !n++ { print $word }
		END { exit !n }' || fail "$2 has no class $3"
}

# qdisc_drops NETNS DEV: drops of the root qdisc.
qdisc_drops() {
	tc -n "$1" -s qdisc show dev "$2" root | awk '
		$1 == "Sent" && !n++ { sub(",", "", $7); print $7 }
		END { exit !n }' || fail "$2 has no root qdisc"
}

# qdisc_backlog NETNS DEV: packets in the root qdisc.
qdisc_backlog() {
	tc -n "$1" -s qdisc show dev "$2" root | awk '
		$1 == "backlog" && !n++ { sub("p", "", $3); print $3 }
		END { exit !n }' || fail "$2 has no root qdisc"
}

# backlog_is NETNS DEV PACKETS
backlog_is() {
	[ "$(qdisc_backlog "$1" "$2")" -eq "$3" ]
}

# has_backlog NETNS DEV PACKETS: so many or more
has_backlog() {
	[ "$(qdisc_backlog "$1" "$2")" -ge "$3" ]
}

# nft_counter NETNS FAMILY TABLE NAME: packets of a named counter.
nft_counter() {
	ip netns exec "$1" nft list counter "$2" "$3" "$4" |
		awk '$1 == "packets" { print $2; n = 1 } END { exit !n }' ||
		fail "$1 has no counter $4"
}

# conntrack_lost NETNS: packets that connection tracking dropped when it was to confirm
# their connections (nf_ct_resolve_clash()): insert_failed of all CPUs.
conntrack_lost() {
	local column='' sum=0 columns row i

	{
		read -r -a columns
		for i in "${!columns[@]}"; do
			[ "${columns[i]}" != insert_failed ] || column=$i
		done
		while read -r -a row; do
			sum=$((sum + 16#${row[column]}))
		done
	} < <(ip netns exec "$1" cat /proc/net/stat/nf_conntrack)
	echo "$sum"
}

# bypassed NETNS NAME: a line of /proc/net/netfilter/nf_imq there.
bypassed() {
	ip netns exec "$1" cat /proc/net/netfilter/nf_imq |
		awk -v c="$2" '$1 == c { print $2; n = 1 } END { exit !n }' ||
		fail "nf_imq has no counter $2"
}

# Conservation --------------------------------------------------------------

# sum_of NETNS DEVS COUNTER...: over the devices, of which there may be none.
sum_of() {
	local netns=$1 devs=$2 dev counter n=0
	shift 2

	for dev in $devs; do
		for counter in "$@"; do
			n=$((n + $(stat_of "$netns" "$dev" "$counter")))
		done
	done
	echo "$n"
}

# accounted NETNS DEVS LINES [KEY=N...]: every packet that the LINES, of udp or
# flood, tell of is accounted for: it has arrived, or is in a counter of what
# became of it. DEVS are the imq devices of NETNS on the way, and LINES all that
# has come through them. No packet is damaged, and none arrives twice; but:
#
#   dup=N      up to N may arrive twice, which a qdisc duplicates
#   hooks=N    N were dropped by rules, interfaces, routes
#   purged=N   N went with a qdisc that was replaced or reset, which counts no
#              more: "any", or 0 (default)
#
# Prints drops= (by qdiscs and purges), gone= (drop_*), bypassed= (by all DEVS).
accounted() {
	local netns=$1 devs=$2 lines=$3 dup=0 hooks=0 purged=0 key dev got drops gone
	local counted=0 twice bypassed
	shift 3

	for key in "$@"; do
		case $key in
		dup=*|hooks=*|purged=*) local "$key" ;;
		*) fail "accounted: unknown $key" ;;
		esac
	done
	for dev in $devs; do
		wait_for 10 backlog_is "$netns" "$dev" 0 || fail "$dev is not empty"
		counted=$((counted + $(qdisc_drops "$netns" "$dev")))
	done
	got=$(total got "$lines")
	# What was duplicated is a negative drop.
	drops=$(($(sum_of "$netns" "$devs" entered) - $(sum_of "$netns" "$devs" left)))
	gone=$(sum_of "$netns" "$devs" drop_dev drop_hook drop_sock)
	bypassed=$(sum_of "$netns" "$devs" bypass_down bypass_nomem bypass_unfit)
	equal "delivered, and dropped by qdisc ($drops), driver ($gone), rules ($hooks)" \
		$((got + drops + gone + hooks)) "$(total sent "$lines")"
	twice=$(total dup "$lines")
	within "duplicates" "$twice" 0 "$dup"
	equal "damaged" "$(total bad "$lines")" 0
	case $purged in
	any) within "dropped by the qdisc's own account" "$counted" 0 $((drops + dup)) ;;
	*) within "dropped by the qdisc's own account, and purged" \
		$((counted + purged)) $((drops + twice)) $((drops + dup)) ;;
	esac
	echo "drops=$drops gone=$gone bypassed=$bypassed"
}

# objects CACHE: those in use of a slab cache, without what is kept for reuse.
objects() {
	local dir=/sys/kernel/slab/$1

	[ -r "$dir/objects" ] || skip "the kernel does not tell of slab caches"
	echo 1 >"$dir/shrink"
	sed 's/ .*//' "$dir/objects"
}

# Extensions that imq keeps for each CPU, at most: NF_IMQ_SPARES in nf_imq.c
IMQ_KEPT=$((64 * $(nproc)))
# What may stay in another slab cache: each CPU keeps some objects for itself.
# shellcheck disable=SC2034 # used by the scripts
IMQ_MOST=$((64 * $(nproc) + 64))

IMQ_CACHES="skbuff_ext_cache skbuff_head_cache skbuff_fclone_cache
	skbuff_small_head kmalloc-1k kmalloc-2k nf_conntrack"

# kept_mark: kept_check begins to count here.
kept_mark() {
	local cache

	for cache in $IMQ_CACHES net_namespace; do
		# only with CONFIG_SLUB_DEBUG
		[ -r "/sys/kernel/slab/$cache/objects" ] || continue
		echo "$cache $(objects "$cache")"
	done >"$imq_tmp/kept"
	references >"$imq_tmp/kept-modules"
}

# kept_check MOST: the namespaces, interfaces and sockets that were made since are
# gone. No namespace and no reference to a module stays, no extension but those
# that imq keeps (IMQ_KEPT), and no more than MOST objects of each of the other
# slab caches, of which each CPU keeps some.
kept_check() {
	local cache before most

	while read -r cache before; do
		case $cache in
		skbuff_ext_cache) most=$((before + IMQ_KEPT)) ;;
		net_namespace) most=$before ;;
		*) most=$((before + $1)) ;;
		esac
		wait_for 10 no_more "$cache" "$most" || true
		within "objects in $cache: $before, and now" "$(objects "$cache")" 0 "$most"
	done <"$imq_tmp/kept"
	wait_for 5 same_references ||
		fail "references of modules: $(same_references)"
}

no_more() {
	[ "$(objects "$1")" -le "$2" ]
}

# references: to each module, without those of modules that need it: these may have
# come for another reason.
references() {
	awk '{ print $1, $3 - gsub(",", "", $4) }' /proc/modules
}

# Modules that have come since aren't compared.
same_references() {
	references | awk 'NR == FNR { before[$1] = $2; next }
		$1 in before && $2 > before[$1] { print $1, before[$1], $2; bad = 1 }
		END { exit bad }' "$imq_tmp/kept-modules" -
}

# Kernel log ----------------------------------------------------------------

# log_mark: log_since starts here.
log_mark() {
	imq_mark="imq selftest $imq_id $RANDOM$RANDOM"
	echo "$imq_mark" >/dev/kmsg
}

log_since() {
	dmesg | sed "1,/$imq_mark/d"
}

# log_count TEXT: lines since the mark with this text.
log_count() {
	log_since | grep -cF -- "$1" || true
}

imq_splat='WARNING: |BUG: |kernel BUG|Oops|INFO: |possible (circular|recursive|irq)'
imq_splat="$imq_splat|suspicious RCU|inconsistent lock state|KASAN: |UBSAN: "
imq_splat="$imq_splat|refcount_t: |general protection fault|Call Trace:"
imq_splat="$imq_splat|unregister_netdevice: waiting|leaked reference|dead loop"
imq_splat="$imq_splat|scheduling while atomic|Dead loop|bad gso|hw csum failure"
# What a script provokes and matches this is none.
imq_expected='^$'

# Topology ------------------------------------------------------------------

# mac_of NETNS DEV
mac_of() {
	ip -n "$1" -o link show "$2" | sed 's/.*link\/ether \([^ ]*\).*/\1/'
}

# steer NETNS MASK DEV...: what these receive goes to the processors of MASK by its flow
# (RPS): hexadecimal, 0 for none, or all. DEV may be a pattern.
steer() {
	local netns=$1 mask=$2 dev
	shift 2

	[ "$mask" != all ] || mask=$(printf '%x' $(((1 << $(nproc)) - 1)))
	for dev; do
		on "$netns" sh -c "for q in /sys/class/net/$dev/queues/rx-*/rps_cpus; do
			[ ! -e \$q ] || echo $mask >\$q; done"
	done
}

# new_ns NETNS...: empty namespaces, of which nothing was there before.
new_ns() {
	local ns

	for ns in "$@"; do
		say "[-] ip netns add $ns"
		ip netns add "$ns"
		ip -n "$ns" link set lo up
	done
}

# del_ns NETNS...: and what runs there.
del_ns() {
	local ns

	for ns in "$@"; do
		[ -e "/run/netns/$ns" ] || continue
		ip netns pids "$ns" | xargs -r kill 2>/dev/null || true
		ip netns delete "$ns"
	done
}

# Router between the world and two hosts:
#
#    W                       R                                 H1
#   ┌──────────────┐        ┌────────────────────────┐        ┌──────────────┐
#   │         eth0 ├────────┤ wan               lan1 ├────────┤ eth0         │
#   │ 198.51.100.2 │        │ 198.51.100.1  10.0.1.1 │        │ 10.0.1.2     │
#   │ 2001:db8:f::2│        │ 2001:db8:f::1 fd00:1::1│        │ fd00:1::2    │
#   └──────────────┘        │                        │        └──────────────┘
#                           │                        │         H2
#                           │                        │        ┌──────────────┐
#                           │                   lan2 ├────────┤ eth0         │
#                           │               10.0.2.1 │        │ 10.0.2.2     │
#                           │               fd00:2::1│        │ fd00:2::2    │
#                           └────────────────────────┘        └──────────────┘
#
# All netmasks are /24 and /64. Hosts have R as default gateway, and so has W:
# without NAT in R, addresses stay as they are. imq0 and imq1 in R are up.
topology() {
	new_ns "$W" "$R" "$H1" "$H2"
	r ip link add imq0 type imq
	r ip link add imq1 type imq
	r ip link set imq0 up
	r ip link set imq1 up
	topology_links "$R"
}

# topology_links NETNS [QUEUES]: the drawing without namespaces and imq; NETNS is R,
# or empty for the initial namespace. The veths have as many queues, if given.
topology_links() {
	local netns=$1 veth=${2:+numtxqueues $2 numrxqueues $2} ns

	say "[-] links of the topology"
	ip -batch - <<-EOT
	link add wan ${netns:+netns $netns} $veth type veth peer name eth0 netns $W $veth
	link add lan1 ${netns:+netns $netns} $veth type veth peer name eth0 netns $H1 $veth
	link add lan2 ${netns:+netns $netns} $veth type veth peer name eth0 netns $H2 $veth
	EOT
	for ns in "$W" "$H1" "$H2" "$netns"; do
		imq_sysctl "$ns"
	done
	ip ${netns:+-n "$netns"} -batch - <<-EOT
	address add 198.51.100.1/24 dev wan
	address add 2001:db8:f::1/64 dev wan nodad
	address add 10.0.1.1/24 dev lan1
	address add fd00:1::1/64 dev lan1 nodad
	address add 10.0.2.1/24 dev lan2
	address add fd00:2::1/64 dev lan2 nodad
	link set wan up
	link set lan1 up
	link set lan2 up
	EOT
	topology_host "$W" 198.51.100 2001:db8:f
	topology_host "$H1" 10.0.1 fd00:1
	topology_host "$H2" 10.0.2 fd00:2
	for ns in "$W" "$H1" "$H2" "$netns"; do
		wait_for 5 links_ready "$ns"
	done
}

# links_ready [NETNS]: all that are up have a carrier. The kernel takes up to a
# second to see that of a veth whose ends have the same ifindex.
links_ready() {
	local links

	links=$(ip ${1:+-n "$1"} -o link show up)
	case $links in
	*"state DOWN"*|*"state LOWERLAYERDOWN"*) return 1 ;;
	esac
}

# neighbours: H1 and R know the addresses on the way to W. Packets that wait for one are
# sent by the processor that hears of it, and later ones overtake them, without any imq
# device too: for tests of the order.
neighbours() {
	have ping
	h1 ping -q -n -c 1 -W 5 198.51.100.2 >/dev/null
	h1 ping -q -n -c 1 -W 5 2001:db8:f::2 >/dev/null
}

# topology_host NETNS PREFIX4 PREFIX6
topology_host() {
	ip -n "$1" -batch - <<-EOT
	address add $2.2/24 dev eth0
	address add $3::2/64 dev eth0 nodad
	link set eth0 up
	route add default via $2.1
	route add default via $3::1
	EOT
}

# No address may be missing when the first packet goes, or an interface was down.
imq_sysctl() {
	# shellcheck disable=SC2016 # for another shell
	local command='
		for i in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >"$i"; done
		for i in /proc/sys/net/ipv6/conf/*/keep_addr_on_down; do echo 1 >"$i"; done
		for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$i"; done
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'

	if [ -n "$1" ]; then
		ip netns exec "$1" sh -c "$command"
	else
		sh -c "$command"
	fi
}

# shape_in DEV PROTOCOL INDEX [OPTION...]: what R receives there, IPv4 and IPv6,
# goes through the imq device, behind dstnat; by nft if that knows imq, else by
# iptables. shape_out: what R sends there, before srcnat.
shape_in() {
	shape prerouting iifname -99 -i "$@"
}

shape_out() {
	shape postrouting oifname 99 -o "$@"
}

shape() {
	local hook=$1 key=$2 priority=$3 option=$4 dev=$5 protocol=$6 index=$7
	local command status=0

	(have_nft) || status=$?
	# One that is required is not replaced.
	[ "$status" -eq 0 ] || [ "$status" -eq "$KSFT_SKIP" ] || exit "$status"
	if [ "$status" -eq 0 ]; then
		r nft -f - <<-EOT
		table inet shape_$hook {
			chain c {
				type filter hook $hook priority $priority
				$key "$dev" meta l4proto $protocol imq todev $index
			}
		}
		EOT
		return
	fi
	for command in iptables-legacy ip6tables-legacy; do
		(have_xt "$command") || skip "neither nft nor $command know imq"
		r "$command" -t mangle -A "${hook^^}" "$option" "$dev" \
			-p "$protocol" -j IMQ --todev "$index"
	done
}

# left_is NETNS DEV PACKETS
left_is() {
	[ "$(left "$1" "$2")" = "$3" ]
}

# all_left NETNS DEV: none is in it; for wait_for.
all_left() {
	local n

	# What can't be read is not equal.
	n=$(entered "$1" "$2") && [ "$(left "$1" "$2")" = "$n" ]
}

# no_other_counter NETNS DEV: nothing of what can happen to a packet other than
# to enter and to leave has happened.
no_other_counter() {
	local counters

	counters=$(ip netns exec "$1" ethtool -S "$2" |
		awk '/bypass|drop|foreign/ && $2 != 0 { printf "%s %s ", $1, $2 }')
	equal "$2: counters of exceptions that are not 0" "$counters" ""
}

# What there is -------------------------------------------------------------

# have TOOL...: skip the test, or with `imq_begin' the script, without them.
have() {
	local tool

	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "no $tool in PATH"
	done
}

# have_nft: an nft that knows `imq'. A kernel that doesn't is another thing.
have_nft() {
	local out

	command -v nft >/dev/null || missing nft "no nft in PATH"
	out=$(nft -c 'add table ip t; add chain ip t c; add rule ip t c imq todev 0' 2>&1) ||
		case $out in
		*"syntax error"*) missing nft "nft in PATH has no imq statement" ;;
		esac
}

# have_xt COMMAND: an iptables that knows the IMQ target.
have_xt() {
	local help

	have "$1"
	help=$("$1" -t mangle -j IMQ --help 2>&1) || true
	case $help in
	*--todev*) ;;
	*) missing iptables "$1 has no libxt_IMQ" ;;
	esac
}

# have_ip_index: an ip that knows `type imq index N'.
have_ip_index() {
	local help

	help=$(ip link help imq 2>&1) || true
	case $help in
	*index*) ;;
	*) missing ip "ip in PATH has no link_imq" ;;
	esac
}

# have_sch QDISC [ARG...]: the kernel has it.
have_sch() {
	local ns=imq-$imq_id-sch status=0

	ip netns add "$ns"
	tc -n "$ns" qdisc add dev lo root "$@" 2>/dev/null || status=$?
	ip netns delete "$ns"
	[ "$status" -eq 0 ] || skip "the kernel has no qdisc $1"
}

# kernel_since VERSION: the kernel is of this version or a later one.
kernel_since() {
	printf '%s\n' "$1" "$(uname -r)" | sort -VC
}

# modular MODULE: it is a module here, loaded or not.
modular() {
	modprobe -q "$1" 2>/dev/null || true
	grep -q "^$1 " /proc/modules
}

# unload MODULE...: all are modules, and are not loaded any more.
unload() {
	local module

	for module in "$@"; do
		say "[-] modprobe -r $module"
		grep -q "^$module " /proc/modules || continue
		wait_for 5 modprobe -q -r "$module" ||
			fail "$module can't be unloaded: $(modprobe -r "$module" 2>&1)"
	done
}

# Verdicts ------------------------------------------------------------------

imq_clean() {
	local file ns

	for file in "$imq_tmp"/pid.*; do
		[ -f "$file" ] || continue
		kill -TERM "$(cat "$file")" 2>/dev/null || true
		rm -f "$file"
	done
	# All of this script's, whoever made them.
	for ns in $(ip netns list | awk -v p="^imq-$imq_id-" '$1 ~ p { print $1 }'); do
		del_ns "$ns"
	done
}

imq_exit() {
	local status=$?

	trap - EXIT
	imq_clean
	[ -z "$imq_backlog" ] || sysctl -qw net.core.netdev_max_backlog="$imq_backlog"
	if [ -z "$imq_begun" ] && [ "$status" -ne "$KSFT_SKIP" ]; then
		status=$KSFT_FAIL
		imq_verdict "began, and did not end" FAIL
	fi
	rm -rf "$imq_tmp"
	exit "$status"
}
trap imq_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# imq_verdict NAME RESULT [REASON]
imq_verdict() {
	case $2 in
	OK) imq_passed=$((imq_passed + 1)); set -- "$1" "[ OK ]" ;;
	SKIP) imq_skipped=$((imq_skipped + 1)); set -- "$1" "[SKIP] $3" ;;
	*) imq_failed=$((imq_failed + 1)); set -- "$1" "[FAIL]" ;;
	esac
	printf 'TEST: %-66s  %s\n' "$imq_script: $1" "$2"
}

# imq_begin: first call. Skips the script without root, without the basic tools,
# or without imq in the kernel.
imq_begin() {
	local status=0

	imq_tainted=$(cat /proc/sys/kernel/tainted)
	(
		[ "$(id -u)" -eq 0 ] || skip "needs root"
		have ip tc python3 ethtool
		ip netns add "imq-$imq_id-probe" || skip "no network namespaces"
		ip -n "imq-$imq_id-probe" link add imq0 type imq ||
			missing kernel "the kernel has no imq"
		ip -n "imq-$imq_id-probe" link add v0 type veth peer name v1 ||
			skip "the kernel has no veth"
	) >>"$imq_log" 2>&1 || status=$?
	if [ "$status" -eq "$KSFT_SKIP" ]; then
		imq_verdict "all tests" SKIP "$(cat "$imq_tmp/skip")"
		exit "$KSFT_SKIP"
	elif [ "$status" -ne 0 ]; then
		cat "$imq_log"
		imq_verdict "all tests" FAIL
		imq_begun=1
		exit "$KSFT_FAIL"
	fi
	imq_clean
	# More than all that is on the way: it is not for a CPU's backlog to drop.
	imq_backlog=$(sysctl -n net.core.netdev_max_backlog)
	sysctl -qw net.core.netdev_max_backlog=10000
	log_mark
	imq_begin_mark=$imq_mark
}

# Where in the script we are, below the caller of the caller
imq_stack() {
	local i

	for ((i = 1; i < ${#FUNCNAME[@]} - 2; i++)); do
		say "    ${BASH_SOURCE[i + 1]##*/}:${BASH_LINENO[i]} in ${FUNCNAME[i + 1]}()"
	done
}

# For the first command that fails
imq_where() {
	local status=$?

	say "FAILED: status $status: $BASH_COMMAND (line ${BASH_LINENO[0]})"
	imq_stack
}

# imq_test NAME FUNCTION [ARG...]
imq_test() {
	local name=$1 status
	shift

	[[ $name =~ ${IMQ_ONLY:-.} ]] || [ "$1" = imq_check_kernel ] || return 0
	rm -f "$imq_tmp/skip" "$imq_tmp/notes"
	: >"$imq_log"
	set +e
	(
		set -eE
		trap imq_where ERR
		trap - EXIT
		"$@"
	) >>"$imq_log" 2>&1
	status=$?
	set -e
	case $status in
	"$KSFT_PASS") imq_verdict "$name" OK ;;
	"$KSFT_SKIP") imq_verdict "$name" SKIP "$(cat "$imq_tmp/skip")" ;;
	*)
		sed 's/^/    /' "$imq_log"
		imq_verdict "$name" FAIL
		;;
	esac
	[ ! -e "$imq_tmp/notes" ] || cat "$imq_tmp/notes"
	[ -n "$imq_keep" ] || imq_clean
}

imq_check_kernel() {
	local tainted

	imq_mark=$imq_begin_mark
	tainted=$(cat /proc/sys/kernel/tainted)
	equal "taint of the kernel" "$tainted" "$imq_tainted"
	equal "begin of this script in the kernel log" \
		"$(dmesg | grep -cF "$imq_mark" || true)" 1
	if log_since | grep -vE "$imq_expected" | grep -E "$imq_splat"; then
		log_since | grep -E -A 40 "$imq_splat" | head -n 100
		fail "the kernel complained"
	fi
}

# imq_end: last call.
imq_end() {
	imq_test "the kernel has nothing to complain about" imq_check_kernel
	imq_begun=1
	[ "$imq_failed" -eq 0 ] || exit "$KSFT_FAIL"
	# The last one always passes.
	[ "$imq_passed" -gt 1 ] || exit "$KSFT_SKIP"
	exit "$KSFT_PASS"
}
