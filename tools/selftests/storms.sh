#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Storms: for some seconds everything around the packets changes as fast as it
# can, on all processors, while all kinds of traffic pass. No packet is lost
# without being counted, none comes twice; all goes on as before when the storm
# is over; and nothing that is deleted takes longer than 5 seconds to go (25 where
# QEMU emulates the processors: slowly in imq_lib.sh).
#
# The drawing is in imq_lib.sh (topology). All of R's traffic passes one of imq0
# and imq1 on PREROUTING, of imq2 and imq3 on POSTROUTING, and UDP over IPv4 one
# of the latter once more by iptables, if that knows IMQ. What comes to imq0 and
# imq2 is let through at once, most of the time; to the others, later.

. "$(dirname "$0")/imq_lib.sh"

TIME=$(amount 2 60)
DEVS="imq0 imq1 imq2 imq3"

# What the storms change, and put back: one file for a shell in R, run at the
# beginning and after a storm, and by the one that unloads modules.
base() {
	local legacy

	legacy=$( (have_xt iptables-legacy) >/dev/null 2>&1 && echo 1)
	cat <<-EOT
	for i in 0 1 2 3; do
		ip link show imq\$i >/dev/null 2>&1 ||
			ip link add imq\$i numtxqueues \$((i + 1)) type imq
		ip link set imq\$i up
	done
	tc qdisc replace dev imq1 root netem delay 1ms limit 1000 || :
	tc qdisc replace dev imq3 root tbf rate 500mbit burst 20000 limit 1000000 || :
	${legacy:+iptables-legacy -t mangle -F}
	${legacy:+iptables-legacy -t mangle -A POSTROUTING -p udp -j IMQ --todev 3}
	nft -f - <<-END
	table inet shape
	delete table inet shape
	table inet shape {
		chain pre {
			type filter hook prerouting priority -98
			meta l4proto { tcp, udp } imq todev symhash mod 2
		}
		chain post {
			type filter hook postrouting priority 99
			meta l4proto { tcp, udp } imq todev symhash mod 2 offset 2
		}
	}
	table ip nat
	delete table ip nat
	table ip nat {
		chain post {
			type nat hook postrouting priority srcnat
			oifname "wan" udp dport 6000-6999 masquerade
		}
	}
	END
	EOT
}

# Packets before and behind the rules of base(), which count what is missing.
counters() {
	r nft -f - <<-EOT
	table inet count {
		counter pre_in { }
		counter pre_out { }
		counter post_in { }
		counter post_out { }
		chain pre_in {
			type filter hook prerouting priority -99
			meta l4proto { tcp, udp } counter name pre_in
		}
		chain pre_out {
			type filter hook prerouting priority -97
			meta l4proto { tcp, udp } counter name pre_out
		}
		chain post_in {
			type filter hook postrouting priority 98
			meta l4proto { tcp, udp } counter name post_in
		}
		chain post_out {
			type filter hook postrouting priority 101
			meta l4proto { tcp, udp } counter name post_out
		}
	}
	EOT
}

# packets_of COUNTER: of one of these, in what nft lists.
packets_of() {
	awk -v c="$1" '$1 == "counter" { ours = $2 == c }
		ours && $1 == "packets" { print $2; n = 1 } END { exit !n }'
}

# missing_in DEV: packets that it has counted as dropped, or its qdiscs dropped.
missing_in() {
	ip netns exec "$R" ethtool -S "$1" | awk '
		$1 == "entered:" || $1 ~ /^drop_/ { n += $2; seen++ }
		$1 == "left:" { n -= $2; seen++ }
		END { print n; exit seen < 5 }'
}

# account: no packet is missing that no counter has, neither of the devices that
# are there, nor of those that have gone.
account() {
	local hook list n dev watched missing=0 counted

	list=$(r nft list table inet count)
	for hook in pre post; do
		n=$(($(packets_of "${hook}_in" <<<"$list") - $(packets_of "${hook}_out" <<<"$list")))
		say "$hook: $n packets are missing behind imq"
		missing=$((missing + n))
	done
	watched=$(tail -n 1 "$imq_tmp/out.watch")
	say "$watched"
	counted=$(($(field entered "$watched") - $(field left "$watched") + $(field dropped "$watched")))
	for dev in $DEVS; do
		n=$(missing_in "$dev")
		say "$dev: $n packets dropped"
		counted=$((counted + n))
	done
	say "packets missing: $missing, in counters: $counted"
	[ "$missing" -eq "$counted" ] && [ "$(field foreign "$watched")" -eq 0 ]
}

# load: traffic from all processors, of local sockets and forwarded, in both
# directions, of both families, and in fragments. It takes what the storms leave
# of the processors.
load() {
	local cpu port window

	# What waits for slow processors is no more than they do in a second.
	window=$(amount 5 25)
	for cpu in $(cpus); do
		port=$((5000 + 10 * cpu))
		background "udp$cpu" nice -n 19 taskset -c "$cpu" "$imq_dir/imq_flood.py" \
			"id=out4,from=$H1,to=$W,dst=198.51.100.2,port=$port,count=0,window=$window,renew=500" \
			"id=in6,from=$W,to=$H2,dst=fd00:2::2,port=$((port + 1)),count=0,window=$window,renew=500" \
			"id=nat4,from=$H2,to=$W,dst=198.51.100.2,port=$((port + 1000)),count=0,window=$window,renew=500,size=1200" \
			"id=frag4,from=$H2,to=$W,dst=198.51.100.2,port=$((port + 2)),count=0,window=$window,size=4000" \
			"id=frag6,from=$W,to=$H1,dst=fd00:1::2,port=$((port + 3)),count=0,window=$window,size=4000" \
			"id=local4,from=$R,to=$W,dst=198.51.100.2,port=$((port + 4)),count=0,window=$window" \
			"id=local6,from=$H1,to=$R,dst=fd00:1::1,port=$((port + 5)),count=0,window=$window"
	done
	# What a storm has kept from its acknowledgements tries again after as long,
	# at most (TCP doubles its timeouts).
	background tcp nice -n 19 "$imq_dir/imq_traffic.py" tcp --time $((3 * TIME + 60)) \
		"id=out4,from=$H1,to=$W,dst=198.51.100.2,port=5900,bytes=0" \
		"id=in6,from=$W,to=$H2,dst=fd00:2::2,port=5901,bytes=0" \
		"id=local4,from=$R,to=$W,dst=198.51.100.2,port=5902,bytes=0" \
		"id=local6,from=$H1,to=$R,dst=fd00:1::1,port=5903,bytes=0,reverse=1"
	for cpu in $(cpus); do
		wait_for 60 loaded_on "$cpu" || fail "the load of processor $cpu does not begin"
	done
}

cpus() {
	sed 's/,/\n/g' /sys/devices/system/cpu/online |
		awk -F- '{ for (i = $1; i <= $NF; i++) print i }'
}

# exchange: some new packets of all kinds; none is missing.
exchange() {
	local out line n=20

	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,port=7001,count=$n,echo=1" \
		"from=$H2,to=$W,dst=2001:db8:f::2,port=7002,count=$n,echo=1" \
		"from=$H2,to=$W,dst=198.51.100.2,port=6003,count=$n,echo=1,size=4000" \
		"from=$W,to=$R,dst=2001:db8:f::1,port=7004,count=$n,echo=1")
	while read -r line; do
		equal "datagrams, echoes, duplicates" \
			"$(field unique "$line") $(field echoed "$line") $(field dup "$line")" "$n $n 0"
	done <<<"$out"
	out=$(tcp "from=$H1,to=$W,dst=198.51.100.2,port=7005,bytes=300000" \
		"from=$R,to=$W,dst=2001:db8:f::2,port=7006,bytes=300000")
	while read -r line; do
		equal "TCP intact" "$(field intact "$line")" yes
	done <<<"$out"
}

# calm: as it was before the storm
calm() {
	local cpu dev

	for cpu in /sys/devices/system/cpu/cpu[0-9]*/online; do
		[ ! -w "$cpu" ] || echo 1 >"$cpu"
	done
	for dev in wan lan1 lan2; do
		echo "link set $dev mtu 1500 txqueuelen 1000 up"
	done | r ip -batch -
	for dev in $DEVS; do
		echo "qdisc del dev $dev root"
		echo "qdisc del dev $dev clsact"
	done | r tc -force -batch - || true
	r sh "$imq_tmp/base"
	for dev in $DEVS; do
		echo "link set $dev mtu 1500 txqueuelen 1000"
	done | r ip -batch -
	wait_for 5 links_ready "$R"
}

# prepare: what all storms share, by the first of them.
prepare() {
	local dev

	[ ! -f "$imq_tmp/prepared" ] || return 0
	have taskset
	have_nft
	[ -z "$(ip link show type imq up)" ] || skip "imq is in use on this machine"
	base >"$imq_tmp/base"
	# The modules that are needed aren't new to kept_check then.
	new_ns "$R"
	r sh -e "$imq_tmp/base"
	counters
	del_ns "$R"
	kept_mark
	new_ns "$W" "$R" "$H1" "$H2"
	topology_links "$R" 4
	r sh -e "$imq_tmp/base"
	counters
	background watch "$imq_dir/imq_storm.py" watch "$R"
	exchange
	load
	: >"$imq_tmp/prepared"
}

# loaded_on CPU: its load has begun: the last of its sockets is there.
loaded_on() {
	r grep -q ":$(printf '%04X' $((5005 + 10 * $1))) " /proc/net/udp6
}

# loads SIGNAL: to all that load() has started.
loads() {
	local file

	for file in "$imq_tmp"/pid.udp* "$imq_tmp/pid.tcp"; do
		kill "-$1" "$(cat "$file")"
	done
}

# blow KIND: a storm, in the background.
blow() {
	local kind=$1 args

	case $kind in
	updown|qdiscs) read -ra args <<<"$DEVS" ;;
	links) kind=updown args=(wan lan1 lan2) ;;
	sizes) read -ra args <<<"$DEVS wan lan1 lan2" ;;
	modules) args=(". $imq_tmp/base") ;;
	*) args=() ;;
	esac
	background "storm-$1" "$imq_dir/imq_storm.py" "$kind" "$R" "$TIME" "${args[@]}"
}

# settled KIND: its storm is over, has changed something, and found no failure.
settled() {
	local out

	wait_for $((TIME + 120)) gone "$(cat "$imq_tmp/pid.storm-$1")" ||
		fail "the storm of $1 does not end"
	out=$(background_end "storm-$1")
	case $out in *Traceback*) fail "the storm of $1 failed" ;; esac
	within "$1: changes" "$(field ops "$out")" 1 1000000000
	case $out in *FAILED*) fail "$out" ;; esac
	[ "$1" != namespaces ] ||
		within "packets in their queues" "$(field queued "$out")" 1 1000000000
	note "$1: $(grep ^ops= <<<"$out")"
}

# storm KIND...: those of imq_storm.py, all at once, and what must hold then.
storm() {
	local kind ns mask=all

	for kind; do
		possible "$kind"
	done
	prepare
	# net_rps_send_ipi() leaves out a processor that has just gone offline. Its
	# backlog counts as scheduled from then on, and isn't: nobody serves it again.
	[[ " $* " != *" processors "* ]] || mask=0
	for ns in "$W" "$R" "$H1" "$H2"; do
		steer "$ns" "$mask" '*' || true
	done
	loads CONT
	for kind; do
		blow "$kind"
	done
	for kind; do
		settled "$kind"
	done
	loads STOP
	calm
	exchange
	for dev in $DEVS; do
		wait_for 10 backlog_is "$R" "$dev" 0 || fail "$dev is not empty"
	done
	# A connection may try again in between.
	wait_for 10 account || fail "packets are missing, or counters are wrong"
	imq_check_kernel
}

# possible KIND: skip what can't be done here.
possible() {
	case $1 in
	modules) modular imq || skip "imq is built in" ;;
	processors) can_hotplug || skip "no processor that can be set offline" ;;
	esac
}

can_hotplug() {
	[ -w /sys/devices/system/cpu/cpu1/online ]
}

all_at_once() {
	local kinds="devices updown qdiscs namespaces sizes links"

	if (modular imq); then
		kinds="$kinds modules"
	fi
	if can_hotplug; then
		kinds="$kinds processors"
	fi
	# shellcheck disable=SC2086 # a list of words
	storm $kinds
}

# loaded NAME: what that has printed; a connection that lost much takes its time
# to end.
loaded() {
	wait_for $((2 * TIME + 90)) gone "$(cat "$imq_tmp/pid.$1")" || fail "$1 does not end"
	background_end "$1"
}

# load_end: each flow came through, and none of its packets twice.
load_end() {
	local cpu line out sent=0 got=0

	loads CONT
	loads TERM
	for cpu in $(cpus); do
		out=$(loaded "udp$cpu")
		equal "processor $cpu: flows" "$(grep -c ^id= <<<"$out" || true)" 7
		while read -r line; do
			within "$(field id "$line"): datagrams that arrived" \
				"$(field unique "$line")" 1 "$(field sent "$line")"
			equal "duplicates, damaged" "$(field dup "$line") $(field bad "$line")" "0 0"
		done <<<"$out"
		sent=$((sent + $(total sent "$out")))
		got=$((got + $(total unique "$out")))
	done
	within "datagrams that arrived" "$got" 1 "$sent"
	out=$(loaded tcp)
	equal "TCP connections" "$(grep -c ^id= <<<"$out" || true)" 4
	while read -r line; do
		equal "$(field id "$line"): intact" "$(field intact "$line")" yes
		within "bytes" "$(field bytes "$line")" 1 1000000000000
	done <<<"$out"
	note "datagrams: $sent sent, $got arrived; $(total bytes "$out") bytes of TCP"
}


# after: what has lasted all the time comes to an end, and nothing stays.
after() {
	local dev

	[ -f "$imq_tmp/prepared" ] || skip "there was no storm"
	load_end
	note "devices: $(background_end watch | tail -n 1)"
	# There may have been a storm that failed.
	calm
	for dev in $DEVS; do
		at_most 5 ip -n "$R" link del "$dev"
	done
	imq_clean
	kept_check "$IMQ_MOST"
}

# test_storm NAME COMMAND...: as imq_test, but that a long storm is logged at
# length: the log has been looked at behind each.
test_storm() {
	imq_test "$@"
	log_mark
	imq_begin_mark=$imq_mark
}

imq_begin
imq_keep=1
test_storm "devices set up and down" storm updown
test_storm "devices added and deleted" storm devices
test_storm "qdiscs, classes and filters replaced" storm qdiscs
test_storm "namespaces with full queues created and deleted" storm namespaces
test_storm "modules loaded and unloaded" storm modules
test_storm "processors set offline and online" storm processors
test_storm "MTU, length and number of queues changed" storm sizes
test_storm "links set down and up" storm links
test_storm "all at once" all_at_once
imq_keep=''
test_storm "traffic lasts, came once, and nothing stays" after
imq_end
