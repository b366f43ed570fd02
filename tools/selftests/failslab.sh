#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that can't be had, anywhere (F28): whatever is done is done, or refused
# with nothing left behind; packets pass unshaped, and are counted, or they are
# dropped, and are counted. Needs CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS.
#
# The drawing is in imq_lib.sh (topology).

. "$(dirname "$0")/imq_lib.sh"

DIR=/sys/kernel/debug/failslab
# vmalloc() says so when it fails, with a trace.
# shellcheck disable=SC2034 # of imq_lib.sh
imq_expected='Call Trace:'
COUNT=$(amount 2000 50000)
# Of the allocations behind the 50th, every so many fails.
STEP=$(amount 7 1)

failslab() {
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug || true
	[ -d "$DIR" ] || skip "the kernel has no CONFIG_FAILSLAB"
	[ -e /proc/self/fail-nth ] || [ -e /proc/thread-self/fail-nth ] ||
		skip "the kernel has no fail-nth"
	echo 0 >"$DIR/verbose"
	echo 0 >"$DIR/probability"
	# Those that may sleep fail as well.
	echo N >"$DIR/ignore-gfp-wait"
	echo N >"$DIR/cache-filter"
	echo N >"$DIR/task-filter"
}

# walk OPERATION [ARG...]: every allocation of it fails once; see imq_fail.py.
walk() {
	local out status=0 step=$STEP

	failslab
	new_ns "$R"
	case $1 in
	xt-rule|compat-rule)
		have_xt iptables-legacy
		r iptables-legacy -t mangle -A OUTPUT -j IMQ
		r iptables-legacy -t mangle -F
		;;
	netns) step=$((STEP * 2)) ;;
	esac
	kept_mark
	out=$(r "$imq_dir/imq_fail.py" --step "$step" "$@") || status=$?
	[ "$status" -ne 4 ] || skip "not on this machine"
	[ "$status" -eq 0 ] || fail "$out"
	note "$out"
	del_ns "$R"
	kept_check 300
}

# Where a module is loaded from; "" if it isn't one.
load_module() {
	local file

	failslab
	modular "$1" || skip "$1 is no module"
	file=$(modinfo -F filename "$1")
	case $file in *.ko) ;; *) skip "$file is compressed" ;; esac
	unload nft_imq xt_IMQ imq
	modprobe -a nf_tables x_tables
	walk module "$file"
}

# sends HOW ADDR [COUNT]: R sends to itself, by an imq device on OUTPUT.
sends() {
	local how=$1 out command=iptables-legacy
	shift

	failslab
	new_ns "$R"
	r ip link add imq0 type imq
	r ip link set imq0 up
	# Of the packets that imq_fail.py has wait
	r ip link add imq1 type imq
	r ip link set imq1 up
	r tc qdisc add dev imq1 root netem delay 250s limit 100000
	imq_sysctl "$R"
	r ip address add fd00:9::1/64 dev lo nodad
	case $how in
	direct|mark) ;;
	waiting) r tc qdisc add dev imq0 root netem delay 2ms limit 1000 ;;
	split) r tc qdisc add dev imq0 root tbf rate 1gbit burst 2000 latency 1s ;;
	esac
	if [ "$how" = mark ]; then
		case $1 in *:*) command=ip6tables-legacy ;; esac
		have_xt "$command"
		r "$command" -t mangle -A OUTPUT -p udp --dport 5000 -j IMQ
		r "$command" -t mangle -A OUTPUT -p udp --dport 5001 -j IMQ --todev 1
	else
		have_nft
		r nft 'table inet t {
			counter seen { }
			chain c {
				type filter hook output priority 0
				udp dport 5000 imq todev 0
				udp dport 5001 imq todev 1
			}
			chain d {
				type filter hook output priority 1
				udp dport 5000 counter name seen
			}
		}'
	fi
	kept_mark
	out=$(r "$imq_dir/imq_fail.py" send "$@") || fail "$out"
	note "$out"
	wait_for 5 backlog_is "$R" imq0 0
	balance "$how" "$out" "${2:-1}"
	r ip link set imq1 down
	kept_check 300
}

# What sends() has sent went through the device or past it, or was dropped.
balance() {
	local sent refused silent nomem entered left

	sent=$(field sent "$2") refused=$(field refused "$2") silent=$(field silent "$2")
	nomem=$(($(stat_of "$R" imq0 bypass_nomem) + $(bypassed "$R" no_memory)))
	entered=$(entered "$R" imq0) left=$(left "$R" imq0)
	case $1 in
	mark|split) ;;
	*) equal "went on behind imq" "$(nft_counter "$R" inet t seen)" $((left + nomem)) ;;
	esac
	within "through imq, and past it" $((entered + nomem)) "$sent" $((sent + refused))
	within "past imq, for want of memory" "$nomem" 1 10
	if [ "$1" = split ]; then
		# Segments of what has arrived
		equal "left" "$left" $(((sent - nomem - silent) * $3))
	else
		within "dropped by the qdisc" $((entered - left)) 0 $((silent + refused))
	fi
	equal "dropped for want of a device or socket" \
		"$(sum_of "$R" imq0 drop_dev drop_hook drop_sock foreign)" 0
	note "entered=$entered left=$left bypass_nomem=$(stat_of "$R" imq0 bypass_nomem)" \
		"no_memory=$(bypassed "$R" no_memory)"
}

# Every second extension can't be had, in softirq -----------------------------

# disarm: nothing fails any more. Also at the end of a test that fails in between.
disarm() {
	echo 0 >"$DIR/probability"
	echo -1 >"$DIR/times"
	echo N >"$DIR/cache-filter"
	echo 0 2>/dev/null >/sys/kernel/slab/skbuff_ext_cache/failslab || true
}

# storm: until calm, which sets failures.
storm() {
	failslab
	trap disarm EXIT
	echo 1 2>/dev/null >/sys/kernel/slab/skbuff_ext_cache/failslab ||
		skip "the kernel can't have extensions fail"
	echo Y >"$DIR/cache-filter"
	echo 1000000 >"$DIR/times"
	echo 50 >"$DIR/probability"
}

calm() {
	echo 0 >"$DIR/probability"
	failures=$((1000000 - $(cat "$DIR/times")))
	disarm
}

# forwarded nft|mark: by R, from H1 to W; all packets wait, or they would have the
# same extensions one after the other.
forwarded() {
	local out key value

	failslab
	topology
	r tc qdisc add dev imq0 root netem delay "$(slowly 1000)ms" limit 100000
	if [ "$1" = mark ]; then
		have_xt iptables-legacy
		r iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp -j IMQ
	else
		have_nft
		shape_in lan1 udp 0
	fi
	kept_mark
	storm
	out=$(udp --idle "$(slowly 1500)" \
		"from=$H1,to=$W,dst=198.51.100.2,gap=0,count=$COUNT")
	calm
	case $1 in
	mark) key=no_memory value=$(bypassed "$R" no_memory) ;;
	*) key=bypass_nomem value=$(stat_of "$R" imq0 bypass_nomem) ;;
	esac
	equal "$key, as many as have failed" "$value" "$failures"
	within "failures" "$failures" $((COUNT / 4)) $((COUNT * 3 / 4))
	equal "entered" "$(entered "$R" imq0)" $((COUNT - failures))
	accounted "$R" imq0 "$out" >/dev/null
	equal "delivered" "$(field got "$out")" "$COUNT"
	note "sent=$COUNT $key=$failures delivered=$(field got "$out")"
	kept_check 300
}

# The bridge's own extension fails as well: such packets are dropped there.
bridged() {
	local link ns out

	failslab
	have_nft
	new_ns "$R" "$H1" "$W"
	r ip link add imq0 type imq
	r ip link set imq0 up
	r ip link add br0 type bridge || skip "the kernel has no bridges"
	ip link add p1 netns "$R" type veth peer name eth0 netns "$H1"
	ip link add p2 netns "$R" type veth peer name eth0 netns "$W"
	modprobe -q br_netfilter || true
	r sysctl -q net.bridge.bridge-nf-call-iptables=1 || skip "no br_netfilter"
	r sysctl -q net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
	for link in p1 p2; do
		r ip link set "$link" master br0
		r ip link set "$link" up
	done
	r ip link set br0 up
	h1 ip link set eth0 up
	h1 ip address add 10.0.8.1/24 dev eth0
	w ip link set eth0 up
	w ip address add 10.0.8.3/24 dev eth0
	for ns in "$R" "$H1" "$W"; do
		wait_for 5 links_ready "$ns"
	done
	r tc qdisc add dev imq0 root netem delay 1ms limit 100000
	r nft 'table bridge t { chain c { type filter hook forward priority 0
		ip protocol udp imq todev 0; }; }'
	kept_mark
	storm
	out=$(udp --idle 300 "from=$H1,to=$W,dst=10.0.8.3,gap=0,count=$COUNT")
	calm
	wait_for 5 all_left "$R" imq0
	# One that the bridge could not extend has come no further.
	equal "delivered" "$(field got "$out")" \
		$(($(left "$R" imq0) + $(stat_of "$R" imq0 bypass_nomem)))
	within "failures that were packets of the bridge's" \
		$((failures - $(stat_of "$R" imq0 bypass_nomem))) 1 "$COUNT"
	equal "lost" "$(field lost "$out")" \
		$((failures - $(stat_of "$R" imq0 bypass_nomem)))
	note "sent=$COUNT failures=$failures bypass_nomem=$(stat_of "$R" imq0 bypass_nomem)" \
		"delivered=$(field got "$out")"
	kept_check 300
}

# Some of all atomic allocations of the machine fail while all kinds of traffic
# pass: what is lost is lost elsewhere, but nothing stays.
atomic() {
	local out

	failslab
	have_nft
	topology
	r tc qdisc add dev imq0 root tbf rate 1gbit burst 3000 latency 1s
	r tc qdisc add dev imq1 root netem delay 1ms duplicate 10% limit 100000
	shape_in lan1 "{ tcp, udp }" 0
	shape_out wan "{ tcp, udp }" 1
	kept_mark
	trap disarm EXIT
	echo Y >"$DIR/ignore-gfp-wait"
	echo 3 >"$DIR/probability"
	echo -1 >"$DIR/times"
	out=$(udp --idle 500 "id=udp,from=$H1,to=$W,dst=198.51.100.2,gap=0,count=$COUNT,echo=1")
	tcp --time 10 "id=tcp,from=$H1,to=$W,dst=198.51.100.2,bytes=500000" || true
	disarm
	wait_for 10 backlog_is "$R" imq0 0
	wait_for 10 backlog_is "$R" imq1 0
	within "arrived" "$(field unique "$out")" $((COUNT / 4)) "$COUNT"
	equal "damaged" "$(field bad "$out")" 0
	within "past imq, for want of memory" \
		"$(sum_of "$R" "imq0 imq1" bypass_nomem)" 1 1000000000
	# With enough memory, it is as if nothing had been.
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,port=5002,count=100")
	equal "delivered then" "$(field unique "$out")" 100
	kept_check 300
}

no_leaks() {
	local file=/sys/kernel/debug/kmemleak

	[ -w "$file" ] || skip "the kernel has no CONFIG_DEBUG_KMEMLEAK"
	# What has just been freed may still be pointed to.
	echo scan >"$file"
	echo scan >"$file"
	equal "leaks that imq has to do with" "$(grep -c 'imq' "$file" || true)" 0
}

imq_begin
[ ! -w /sys/kernel/debug/kmemleak ] || echo clear >/sys/kernel/debug/kmemleak
for operation in link-add link-del link-up link-down qdisc nft-rule compat-rule \
		 xt-rule netns; do
	imq_test "F28: $operation" walk "$operation"
done
for module in imq nft_imq xt_IMQ; do
	imq_test "F28: load $module" load_module "$module"
done
for how in direct waiting mark; do
	imq_test "F28: send, $how, IPv4" sends "$how" 127.0.0.1
	imq_test "F28: send, $how, IPv6" sends "$how" fd00:9::1
done
imq_test "F28: send GSO packets, direct" sends direct 127.0.0.1 8
imq_test "F28: send GSO packets, waiting" sends waiting 127.0.0.1 8
imq_test "F28: send GSO packets, split" sends split 127.0.0.1 8
imq_test "F28: extensions of forwarded packets" forwarded nft
imq_test "F28: marks of forwarded packets" forwarded mark
imq_test "F28: extensions of bridged packets" bridged
imq_test "F28: all atomic allocations" atomic
imq_test "F28: no leaks" no_leaks
imq_end
