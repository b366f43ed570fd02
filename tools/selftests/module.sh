#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading, with parameters, rules and packets there. R is the
# router of the drawing in imq_lib.sh (topology); the devices that the module
# makes by itself are in the initial namespace.

. "$(dirname "$0")/imq_lib.sh"

MODULES="xt_IMQ nft_imq imq"

# Each test begins with nothing loaded.
begin() {
	local module

	for module in $MODULES; do
		modular "$module" || skip "$module is built in"
	done
	[ -z "$(ip link show type imq up)" ] || skip "imq is in use on this machine"
	# shellcheck disable=SC2086 # a list of words
	unload $MODULES
	log_mark
}

devices() {
	ip -o link show type imq | awk '{ sub(":", "", $2); print $2 }' |
		sort -V | tr '\n' ' '
}

tx_queues() {
	find "/sys/class/net/$1/queues" -name 'tx-*' | wc -l
}

default_devices() {
	begin
	run modprobe imq
	equal "devices" "$(devices)" "imq0 imq1 "
	equal "tx queues of imq0" "$(tx_queues imq0)" 1
	unload imq
	equal "devices after unloading" "$(devices)" ""
	equal "kernel log" "$(log_since)" ""
}

numdevs() {
	local i names=''

	begin
	for ((i = 0; i < $1; i++)); do
		names="${names}imq$i "
	done
	run modprobe imq "numdevs=$1"
	equal "devices" "$(devices)" "$names"
	unload imq
	equal "devices after unloading" "$(devices)" ""
}

numqueues() {
	local wanted=$1

	begin
	[ "$1" -gt 0 ] || wanted=$(awk -F- '{ print $NF + 1 }' /sys/devices/system/cpu/possible)
	run modprobe imq numdevs=1 "numqueues=$1"
	equal "tx queues of imq0" "$(tx_queues imq0)" "$wanted"
}

# Another device has the name of one that is made at load.
name_in_use() {
	begin
	ip link show imq1 >/dev/null 2>&1 && skip "imq1 is in use on this machine"
	new_ns "$R"
	run ip link add imq1 type veth peer name imqv netns "$R"
	run modprobe imq numdevs=3
	equal "devices" "$(devices)" "imq0 imq2 "
	equal "kernel log, imq" "$(log_since | grep -o 'imq: .*')" \
		"imq: imq1 is not made: its name or index is in use"
	run ip link del imq1
	unload imq
	equal "devices after unloading" "$(devices)" ""
}

# refused_load PARAMETER=VALUE RANGE: not loaded; one line in the log, that
# names the parameter and the range.
refused_load() {
	begin
	refused "modprobe imq $1" "Invalid argument" modprobe imq "$1"
	equal "kernel log" "$(log_since | sed 's/^\[ *[0-9.]*\] //')" \
		"imq: $1 is out of range ($2)"
	equal "devices" "$(devices)" ""
}

# What is no number is refused by the kernel's own parser.
no_number() {
	begin
	refused "modprobe imq $1" "Invalid argument" modprobe imq "$1"
	equal "devices" "$(devices)" ""
}

load_again() {
	local i

	begin
	for i in 1 2 3 4 5; do
		run modprobe imq "numdevs=$i"
		equal "devices" "$(ip -o link show type imq | wc -l)" "$i"
		unload imq
	done
	equal "kernel log" "$(log_since)" ""
}

# The names of rtnetlink, x_tables and nf_tables load what they need.
autoload_link() {
	begin
	new_ns "$R"
	r ip link add imq0 type imq
	grep -q '^imq ' /proc/modules
}

autoload_xt() {
	have_xt "$1"
	begin
	new_ns "$R"
	r "$1" -t mangle -A PREROUTING -j IMQ
	grep -q '^xt_IMQ ' /proc/modules
}

autoload_nft() {
	have_nft
	begin
	new_ns "$R"
	r nft -f - <<-EOT
	table inet shape {
		chain pre {
			type filter hook prerouting priority -99
			imq todev 0
		}
	}
	EOT
	grep -q '^nft_imq ' /proc/modules
}

# A user of the module holds it: the rules, not the devices.
in_use() {
	have_xt iptables-legacy
	begin
	new_ns "$R"
	r iptables-legacy -t mangle -A PREROUTING -j IMQ
	refused "modprobe -r xt_IMQ" "in use" modprobe -r xt_IMQ
	r iptables-legacy -t mangle -F
	unload xt_IMQ
}

ping_ok() {
	h1 ping -q -c 3 -i 0.05 -W 2 "$1"
}

# Rules with the driver away: packets pass, are counted, and the log has a line.
# With the driver back, they are shaped.
without_driver() {
	local rule

	case $1 in
	nft) have_nft ;;
	*) have_xt "$1" ;;
	esac
	have ping
	begin
	topology
	case $1 in
	nft)
		r nft -f - <<-EOT
		table ip shape {
			chain pre {
				type filter hook prerouting priority -99
				iifname "lan1" icmp type echo-request imq todev 0
			}
		}
		EOT
		;;
	*)
		rule="PREROUTING -i lan1 -p icmp --icmp-type echo-request"
		# shellcheck disable=SC2086 # a list of words
		r "$1" -t mangle -A $rule -j IMQ --todev 0
		;;
	esac
	ping_ok 198.51.100.2
	equal "imq0: left" "$(left "$R" imq0)" 3
	equal "counted as without driver" "$(bypassed "$R" no_driver)" 0

	unload imq
	log_mark
	ping_ok 198.51.100.2
	ping_ok 198.51.100.2
	equal "counted as without driver" "$(bypassed "$R" no_driver)" 6
	equal "counted in another namespace" "$(bypassed "$W" no_driver)" 0
	equal "lines in the kernel log" \
		"$(log_count "imq: driver is not loaded, packets pass unshaped")" 1

	r ip link add imq0 type imq
	r ip link set imq0 up
	ping_ok 198.51.100.2
	equal "imq0: left" "$(left "$R" imq0)" 3
	equal "counted as without driver" "$(bypassed "$R" no_driver)" 6

	# A second time is logged again.
	unload imq
	ping_ok 198.51.100.2
	equal "lines in the kernel log" \
		"$(log_count "imq: driver is not loaded, packets pass unshaped")" 2
}

# The module goes with packets in the qdisc; they are dropped, the rest passes.
unload_with_packets() {
	local out

	have_xt iptables-legacy
	have_sch netem delay 1ms
	begin
	topology
	r iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp -j IMQ --todev 0
	r tc qdisc add dev imq0 root netem delay 20s limit 1000
	udp --idle 100 "from=$H1,to=$W,dst=198.51.100.2,count=200" >/dev/null
	equal "packets in the qdisc" "$(qdisc_backlog "$R" imq0)" 200
	at_most 5 modprobe -r imq
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=50")
	equal "datagrams that arrive without the driver" "$(field got "$out")" 50
	r ip link add imq0 type imq
	r ip link set imq0 up
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=50")
	equal "datagrams that arrive with it again" "$(field got "$out")" 50
	equal "imq0: left" "$(left "$R" imq0)" 50
}

# nft_imq and its table go while packets are queued by it: the hook that queued
# them is no more; they go on behind its place.
unload_expression() {
	local out

	have_nft
	have_sch netem delay 1ms
	begin
	topology
	r nft -f - <<-EOT
	table ip shape {
		chain pre {
			type filter hook prerouting priority -99
			iifname "lan1" meta l4proto udp imq todev 0
		}
	}
	EOT
	r tc qdisc add dev imq0 root netem delay "$(slowly 1500)ms" limit 1000
	udp_load --idle "$(slowly 3000)" "from=$H1,to=$W,dst=198.51.100.2,count=100"
	wait_for 5 backlog_is "$R" imq0 100
	r nft delete table ip shape
	unload nft_imq
	equal "packets in the qdisc" "$(qdisc_backlog "$R" imq0)" 100
	wait_for 5 backlog_is "$R" imq0 0
	sleep 0.3
	out=$(udp_load_end)
	equal "datagrams that arrive" "$(field unique "$out")" 100
}

# Load, unload, in a loop, with traffic.
loop_under_load() {
	local i out end

	have_xt iptables-legacy
	begin
	topology
	r iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp -j IMQ --todev 0
	udp_load "from=$H1,to=$W,dst=198.51.100.2,count=0,gap=1000"
	end=$((SECONDS + $(slowly 4)))
	for ((i = 0; SECONDS < end; i++)); do
		r modprobe -r imq
		r ip link add imq0 type imq
		r ip link set imq0 up
		sleep 0.05
	done
	out=$(udp_load_end)
	say "$i times"
	within "datagrams sent" "$(field sent "$out")" 200 100000
	# A packet that the poll has not taken yet goes with the device.
	within "datagrams lost" "$(field lost "$out")" 0 "$i"
	equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
}

# NAT loaded after imq, in the same namespace (the order of hooks changes).
nat_afterwards() {
	local out

	have_xt iptables-legacy
	begin
	topology
	r iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp -j IMQ --todev 0
	r iptables-legacy -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev 1
	r tc qdisc add dev imq0 root netem delay "$(slowly 300)ms"
	udp_load --idle "$(slowly 2000)" "from=$H1,to=$W,dst=198.51.100.2,count=20"
	wait_for 5 backlog_is "$R" imq0 20
	r iptables-legacy -t nat -A POSTROUTING -o wan -j MASQUERADE
	r iptables-legacy -t raw -A PREROUTING -p tcp
	wait_for 5 backlog_is "$R" imq0 0
	sleep 0.2
	out=$(udp_load_end)
	equal "datagrams" "$(field unique "$out")" 20
	out=$(udp --idle "$(slowly 2000)" "from=$H1,to=$W,dst=198.51.100.2,count=20,sport=7000")
	equal "datagrams, a second time" "$(field unique "$out")" 20
	equal "source at W" "$(field from "$out")" 198.51.100.1
}

# waits WHEN LEAST MOST: packets in imq0
waits() {
	within "packets in the qdisc, $1" "$(qdisc_backlog "$R" imq0)" "$2" "$3"
}

# conntrack_waits MODULE RULES: packets of new connections will wait in imq0 for long,
# with conntrack there also when the RULES, a table "goes", and MODULE have gone.
conntrack_waits() {
	have_nft
	have_sch netem delay 1ms
	begin
	modular "$1" || skip "no $1, or not a module"
	topology
	r nft -f - <<-EOT
	table ip stays {
		chain in { type filter hook input priority 0; ct state new accept; }
	}
	table ip goes {
		$2
	}
	EOT
	r tc qdisc add dev imq0 root netem delay "$(slowly 10)s" limit 1000
}

# flushed WITHOUT: no packet waits, none has gone on, and the device works as before.
flushed() {
	local out

	waits "without $1" 0 0
	equal "imq0: left" "$(left "$R" imq0)" 0
	no_other_counter "$R" imq0
	r tc qdisc del dev imq0 root
	r nft -f - <<-EOT
	table ip again {
		chain shape {
			type filter hook prerouting priority 0
			iifname "lan1" udp dport 5000 imq todev 0
		}
	}
	EOT
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "datagrams afterwards" "$(field unique "$out")" 20
	equal "imq0: left afterwards" "$(left "$R" imq0)" 20
}

# A helper of conntrack goes, with packets queued whose connection is known to nobody
# but them, and has it: nothing may call it when they go on.
unload_helper() {
	conntrack_waits nf_conntrack_ftp '
		ct helper ftp { type "ftp" protocol tcp; }
		chain before {
			type filter hook prerouting priority -150
			tcp dport 21 ct helper set "ftp"
		}
		chain shape {
			type filter hook prerouting priority 0
			tcp dport 21 imq todev 0
		}'
	on "$H1" timeout 1 bash -c '</dev/tcp/198.51.100.2/21' 2>/dev/null || true
	waits "with the rules" 1 5
	r nft delete table ip goes
	waits "without" 1 5
	unload nf_conntrack_ftp
	flushed "the helper"
}

# nat_waits: packets will wait whose connection NAT has in its list, behind srcnat.
nat_waits() {
	conntrack_waits nf_nat '
		chain nat {
			type nat hook postrouting priority srcnat
			udp dport 5000 masquerade
		}
		chain shape {
			type filter hook postrouting priority srcnat + 1
			udp dport 5000 imq todev 0
		}'
}

# nat_unused: but by these. modprobe would unload it, too.
nat_unused() {
	local module

	r nft delete table ip goes
	for module in nft_masq nft_nat nft_redir nft_chain_nat xt_MASQUERADE xt_nat \
			iptable_nat ip6table_nat; do
		! grep -q "^$module " /proc/modules || wait_for 5 rmmod "$module" ||
			fail "$module can't be unloaded"
	done
}

unload_nat() {
	nat_waits
	udp --idle 100 "from=$H1,to=$W,dst=198.51.100.2,count=20" >/dev/null
	waits "with the rules" 20 20
	nat_unused
	waits "without" 20 20
	unload nf_nat
	flushed NAT
}

# nfqueued: packets that NFQUEUE has
nfqueued() {
	r cat /proc/net/netfilter/nfnetlink_queue | awk '$1 == 5 { print $3 }'
}

some_nfqueued() {
	[ "$(nfqueued)" -ge 10 ]
}

# All the time, some go on from imq0 to NFQUEUE, which is flushed before imq is, as
# RTNL is held for long: they must not stay there.
unload_nat_nfqueue() {
	local length

	nat_waits
	r nft -f - <<-EOT
	table ip behind {
		chain c {
			type filter hook postrouting priority srcnat + 2
			udp dport 5000 queue num 5
		}
	}
	EOT
	r tc qdisc replace dev imq0 root netem delay "$(slowly 4)s" 2100ms limit 10000
	background listener ip netns exec "$R" "$imq_dir/imq_packets.py" nfqueue 5 hold=1
	wait_for 5 grep -q ready "$imq_tmp/out.listener" || skip "the kernel has no NFQUEUE"
	r ip link add many numtxqueues 4096 type imq
	r ip link set many up
	flood --idle 1 "from=$H1,to=$W,dst=198.51.100.2,count=8000,renew=1" >/dev/null
	nat_unused
	for length in 300 600 900 1200; do
		background "rtnl$length" bash -c "while ip -n $R link set many txqueuelen $length; do
				:
			done"
	done
	wait_for 6 some_nfqueued || fail "none goes on to NFQUEUE"
	unload nf_nat
	for length in 300 600 900 1200; do
		background_end "rtnl$length" >/dev/null
	done
	waits "without NAT" 0 0
	equal "packets in NFQUEUE, without NAT" "$(nfqueued)" 0
	# All of them, if NAT has taken long to go, and then nothing was to be seen here.
	note "seen by NFQUEUE: $(background_end listener | tail -n 1)"
}

finish() {
	local module

	for module in $MODULES; do
		modular "$module" || skip "$module is built in"
	done
	# shellcheck disable=SC2086 # a list of words
	unload $MODULES
}

imq_begin
imq_test "without parameters: two devices" default_devices
imq_test "numdevs=0" numdevs 0
imq_test "numdevs=8" numdevs 8
imq_test "numdevs=200" numdevs 200
imq_test "numqueues=4" numqueues 4
imq_test "numqueues=0: one for each processor" numqueues 0
imq_test "a name in use when imq is loaded" name_in_use
imq_test "numdevs=65537 is refused" refused_load numdevs=65537 0-65536
imq_test "numqueues=4097 is refused" refused_load numqueues=4097 0-4096
imq_test "numdevs=-1 is refused" no_number numdevs=-1
imq_test "numdevs=many is refused" no_number numdevs=many
imq_test "F9 load, unload, load again" load_again
imq_test "ip link add type imq loads imq" autoload_link
for command in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
	imq_test "$command -j IMQ loads xt_IMQ" autoload_xt "$command"
done
imq_test "nft imq loads nft_imq" autoload_nft
imq_test "rules hold xt_IMQ" in_use
imq_test "iptables rules without the driver" without_driver iptables-legacy
imq_test "nft rules without the driver" without_driver nft
imq_test "F9 unload imq with packets queued" unload_with_packets
imq_test "F9 unload nft_imq with packets queued" unload_expression
imq_test "F9 unload a conntrack helper with packets queued" unload_helper
imq_test "F9 unload NAT with packets queued" unload_nat
imq_test "F9 unload NAT with packets queued, NFQUEUE behind" unload_nat_nfqueue
imq_test "F9 load and unload imq in a loop under load" loop_under_load
imq_test "F9 NAT tables loaded with packets queued" nat_afterwards
imq_test "all can be unloaded in the end" finish
imq_end
