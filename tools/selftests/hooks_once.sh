#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every packet passes every hook once and in order, also while the rulesets that
# queue it are replaced (F21): with packets waiting in netem, with DNAT, a filter
# and SNAT around, by nft and by iptables-restore.
#
# The drawing is in imq_lib.sh (topology). H1 sends to an address that R knows
# nothing of but that it means W (DNAT), and W sees the address of R (SNAT).
#
# Hooks of a table that stays count the packets, and flip a bit of the mark of
# each, of which no bit may be set but those of the hooks before:
#
#   prerouting                          forward               postrouting
#   pre  │ early │ dnat imq0 │ behind   before │ filter imq1 │ after   late │ imq1 snat │ last
#   -310   -120    -100 -99    -90       -20     -10    0      10       90    95    100   110
#
# So one that is passed twice counts too much, one that is missed too little, and
# one that some miss and others pass twice leaves the wrong mark.

. "$(dirname "$0")/imq_lib.sh"

ROUNDS=$(amount 50 1000)
# Packets of a moment, each time
SOME=$((ROUNDS * 64 * $(nproc)))
HOOKS="pre:prerouting:-310 early:prerouting:-120 behind:prerouting:-90
	before:forward:-20 after:forward:10 late:postrouting:90 last:postrouting:110"
PORTS="udp dport 5001-5003"
# Bits of the mark that the rules flip that are replaced, and those of the others
REPLACED="in:0x100 through:0x200 out:0x400"
STAYING=0xff

# counting_rules: none has the priority of a hook that queues, since packets whose
# hook is gone go on at the next higher priority.
counting_rules() {
	local hook name bit=1 before=0

	echo "table inet count {"
	for hook in $HOOKS; do
		name=${hook%%:*}
		cat <<-EOT
		counter $name { }
		counter wrong_$name { }
		chain c_$name {
			type filter hook $(cut -d: -f2 <<<"$hook") priority ${hook##*:}
			$PORTS meta mark & $STAYING != $before counter name wrong_$name
			$PORTS meta mark set meta mark ^ $bit counter name $name
		}
		EOT
		before=$((before + bit))
		bit=$((bit * 2))
	done
	for hook in $REPLACED; do
		cat <<-EOT
		counter ${hook%:*} { }
		chain c_${hook%:*} {
			type filter hook postrouting priority $((${hook#*:}))
			$PORTS meta mark & ${hook#*:} != 0 counter name ${hook%:*}
		}
		EOT
	done
	echo "}"
}

nat_rules() {
	cat <<-EOT
	chain nat_in {
		type nat hook prerouting priority -100
		ip daddr 203.0.113.9 dnat ip to 198.51.100.2
		ip6 daddr 2001:db8:a::9 dnat ip6 to 2001:db8:f::2
	}
	chain drop_some {
		type filter hook forward priority -10
		udp dport 5003 drop
	}
	chain nat_out {
		type nat hook postrouting priority 100
		oifname "wan" masquerade
	}
	EOT
}

# nft_rules flush|delete ROUND: every other time, there is a chain more before and
# behind that which queues, so that nothing is where it was.
nft_rules() {
	cat <<-EOT
	table inet replaced
	$1 table inet replaced
	table inet replaced {
		chain mark_in {
			type filter hook prerouting priority -115
			$PORTS meta mark set meta mark ^ 0x100
		}
		chain queue_in {
			type filter hook prerouting priority -99
			iifname "lan1" $PORTS imq todev 0
		}
		chain mark_through {
			type filter hook forward priority -15
			$PORTS meta mark set meta mark ^ 0x200
		}
		chain queue_through {
			type filter hook forward priority 0
			$PORTS imq todev 1
		}
		chain mark_out {
			type filter hook postrouting priority 92
			$PORTS meta mark set meta mark ^ 0x400
		}
		chain queue_out {
			type filter hook postrouting priority 95
			oifname "wan" $PORTS imq todev 1
		}
	EOT
	if [ "$2" = 1 ]; then
		cat <<-EOT
		chain more_in {
			type filter hook prerouting priority -114
			ct state invalid accept
		}
		chain more_behind {
			type filter hook prerouting priority -95
			ct state invalid accept
		}
		EOT
	fi
	nat_stays "$1" || nat_rules
	echo "}"
}

# When a base chain is replaced by another, nf_tables has packets of a moment pass
# the rules of both (those of one that goes are there until its hook is), or on
# several CPUs those of none: of the chain that comes before it is there, and of
# that which goes when it is no more. A connection that begins so would not be
# translated.
nat_stays() {
	[ "$1" = delete ] && [ "$(nproc)" -gt 1 ]
}

# xt_rules ROUND ADDRESS NEW_ADDRESS: for iptables-restore
xt_rules() {
	cat <<-EOT
	*mangle
	-A PREROUTING -p udp --dport 5001:5003 -j MARK --xor-mark 0x100
	-A PREROUTING -i lan1 -p udp --dport 5001:5003 -j IMQ --todev 0
	-A FORWARD -p udp --dport 5001:5003 -j MARK --xor-mark 0x200
	-A POSTROUTING -p udp --dport 5001:5003 -j MARK --xor-mark 0x400
	-A POSTROUTING -o wan -p udp --dport 5001:5003 -j IMQ --todev 1
	EOT
	[ "$1" = 0 ] || echo "-I PREROUTING -p tcp -j ACCEPT"
	cat <<-EOT
	COMMIT
	*nat
	-A PREROUTING -d $2 -j DNAT --to-destination $3
	-A POSTROUTING -o wan -j MASQUERADE
	COMMIT
	*filter
	-A FORWARD -p udp --dport 5003 -j DROP
	COMMIT
	EOT
}

# load [KEY=VALUE...]: datagrams of connections that begin all the time, and some
# that the filter is there for. The last one comes as late as netem delays any.
load() {
	flood_load --idle "$(slowly 1000)" \
		"id=v4,from=$H1,to=$W,dst=203.0.113.9,at=198.51.100.2,port=5001,renew=200,$1" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:a::9,at=2001:db8:f::2,port=5002,renew=200,$1" \
		"id=no,from=$H1,to=$W,dst=203.0.113.9,at=198.51.100.2,port=5003,renew=50,$1,gap=2000"
}

# router: what stays, and netem, in which packets wait for longer than a replacement
# or two take: memory of chains that have gone is used by others then.
router() {
	have nft
	have_sch netem delay 1ms
	# Connections stay for 30 s, and there are more on a faster machine.
	conntrack_max=$(sysctl -n net.netfilter.nf_conntrack_max) || conntrack_max=1000000
	trap 'sysctl -qw net.netfilter.nf_conntrack_max="$conntrack_max" || true' EXIT
	sysctl -qw net.netfilter.nf_conntrack_max=1000000 || true
	topology
	counting_rules | r nft -f -
	r tc qdisc add dev imq0 root netem delay 500ms 400ms limit 100000
	r tc qdisc add dev imq1 root netem delay 20ms 5ms limit 100000
}

# other_losses NETNS: where else packets can have gone, for the log
other_losses() {
	# shellcheck disable=SC2016 # for another shell
	on "$1" sh -c 'awk '"'"'$2 && /Discards|NoRoutes|Errors/'"'"' /proc/net/snmp6
		grep Udp: /proc/net/snmp
		cat /proc/net/stat/nf_conntrack /proc/net/stat/ndisc_cache /proc/net/stat/arp_cache' || true
}

# clashes: packets behind all hooks that conntrack did not confirm. Every one that waits
# in imq0 before its connection is known has an entry of its own.
clashes() {
	local n most=0

	n=$(conntrack_lost "$R")
	[ "$(nproc)" -eq 1 ] || most=10
	within "dropped by conntrack: clashes" "$n" 0 "$most"
	echo "$n"
}

# all_once LINES [MISSED]: each hook that stays was passed once by each packet. Up
# to MISSED (none) may have passed rules that are replaced twice, or not at all.
all_once() {
	local lines=$1 missed=${2:-0} n name no expected clashed

	n=$(total sent "$lines")
	no=$(total sent "$(flow no "$lines")")
	expected=$n
	say "$(other_losses "$R")"
	say "$(other_losses "$W")"
	equal "failed" "$(total failed "$lines")" 0
	for name in pre early behind before after late last; do
		[ "$name" != after ] || expected=$((n - no))
		equal "packets at $name" "$(nft_counter "$R" inet count "$name")" "$expected"
		equal "of these with a wrong mark" \
			"$(nft_counter "$R" inet count "wrong_$name")" 0
	done
	for name in in through out; do
		within "packets that have passed the rule that is replaced, $name" \
			"$(nft_counter "$R" inet count "$name")" \
			$((expected - missed)) "$expected"
	done
	clashed=$(clashes)
	accounted "$R" "imq0 imq1" "$lines" "hooks=$((no + clashed))"
	equal "delivered of what the filter drops" "$(total got "$(flow no "$lines")")" 0
	equal "delivered" "$(total unique "$lines")" $((n - no - clashed))
	equal "source at W, IPv4" "$(field from "$(flow v4 "$lines")")" 198.51.100.1
	equal "source at W, IPv6" "$(field from "$(flow v6 "$lines")")" 2001:db8:f::1
	[ "$(nproc)" -gt 1 ] || missed=0
	# Twice: a packet that came when both the old and the new hook were there.
	within "imq0: entered" "$(entered "$R" imq0)" $((n - missed)) $((n + missed))
	note "$n packets, $clashed dropped by conntrack," \
		"$(grep -o '[0-9]* times in [0-9]* s' "$imq_log" || true)"
	no_other_counter "$R" imq0
	no_other_counter "$R" imq1
}

# replace COMMAND...: ROUNDS times under load, with a 0 or a 1 behind the last word,
# and so also the command in $also; prints what became of the load.
replace() {
	local start=$SECONDS

	load "count=0,gap=250"
	wait_for 5 has_backlog "$R" imq0 20
	# shellcheck disable=SC2016 # for the other shell
	r bash -c 'for ((i = 0; i < $0; i++)); do
			"$@"$((i % 2)) || exit
			j=$((i % 2)); [ -z "$also" ] || $also$j || exit
		done' "$ROUNDS" "$@" >&3 2>&3 || fail "the rules can't be replaced"
	say "$ROUNDS times in $((SECONDS - start)) s"
	wait_for 5 has_backlog "$R" imq0 20
	udp_load_end
}

nft_replaced() {
	local mode=$1 missed=0 i out

	have_nft
	router
	for i in 0 1; do
		nft_rules "$mode" "$i" >"$imq_tmp/rules$i"
	done
	if nat_stays "$mode"; then
		printf 'table inet stays {\n%s\n}\n' "$(nat_rules)" | r nft -f -
	fi
	[ "$mode" = flush ] || missed=$SOME
	r nft -f "$imq_tmp/rules0"
	out=$(replace nft -f "$imq_tmp/rules")
	all_once "$out" "$missed"
}

xt_replaced() {
	local i out

	have_xt "$1"
	have_xt "ip6${1#ip}"
	router
	for i in 0 1; do
		xt_rules "$i" 203.0.113.9 198.51.100.2 >"$imq_tmp/rules$i"
		xt_rules "$i" 2001:db8:a::9 2001:db8:f::2 >"$imq_tmp/6rules$i"
	done
	r "$1-restore" "$imq_tmp/rules0"
	r "ip6${1#ip}-restore" "$imq_tmp/6rules0"
	export also="ip6${1#ip}-restore $imq_tmp/6rules"
	out=$(replace "$1-restore" "$imq_tmp/rules")
	case $1 in
	*-nft) all_once "$out" "$SOME" ;;
	*) all_once "$out" ;;
	esac
}

# Nothing is replaced.
untouched() {
	local out

	have_nft
	router
	nft_rules flush 1 | r nft -f -
	load "count=2000"
	wait_for 30 load_is_done || fail "the load does not end"
	out=$(udp_load_end)
	all_once "$out"
}

# All rules go while packets are queued: these pass, and the hooks that are left
# are passed once.
rules_gone() {
	local out name n=400

	have_nft
	router
	nft_rules flush 1 | r nft -f -
	r tc qdisc replace dev imq0 root netem delay "$(slowly 800)ms" limit 10000
	udp_load --idle "$(slowly 2000)" \
		"id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=200,gap=0" \
		"id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,count=200,gap=0"
	wait_for 5 backlog_is "$R" imq0 "$n"
	r nft delete table inet replaced
	wait_for 5 backlog_is "$R" imq0 0
	out=$(udp_load_end)
	accounted "$R" "imq0 imq1" "$out"
	equal "delivered" "$(total unique "$out")" "$n"
	for name in pre early behind before after late last; do
		equal "packets at $name" "$(nft_counter "$R" inet count "$name")" "$n"
		equal "of these with a wrong mark" \
			"$(nft_counter "$R" inet count "wrong_$name")" 0
	done
}

# waiting_at PRIORITY [PORTS]: packets wait at this priority of postrouting, and wan has
# source NAT at 100, to these ports. W counts those that come from port 4000.
waiting_at() {
	have_nft
	have_sch netem delay 1ms
	topology
	r tc qdisc add dev imq1 root netem delay 200ms limit 1000
	r nft -f - <<-EOT
	table inet t {
		chain nat_out {
			type nat hook postrouting priority 100
			oifname "wan" meta l4proto udp masquerade ${2:+to $2}
		}
		chain queue_out {
			type filter hook postrouting priority $1
			oifname "wan" udp dport 5001 imq todev 1
		}
	}
	EOT
	w nft -f - <<-EOT
	table inet t {
		counter same { }
		chain c {
			type filter hook input priority 0
			udp sport 4000 udp dport 5001 counter name same
		}
	}
	EOT
}

# Each packet that waits before its connection is confirmed has an entry of conntrack of
# its own. All get the same port, also in front of source NAT.
new_connection() {
	local priority=$1 family out
	local v4="dst=198.51.100.2" v6="dst=2001:db8:f::2"

	for family in "$v4" "$v6"; do
		waiting_at "$priority"
		out=$(udp --idle "$(slowly 1000)" \
			"from=$H1,to=$W,$family,port=5001,sport=4000,count=20,gap=0")
		equal "imq1: left" "$(left "$R" imq1)" 20
		equal "delivered" "$(field unique "$out")" 20
		equal "from the port of the sender" "$(nft_counter "$W" inet t same)" 20
		equal "dropped by conntrack" "$(conntrack_lost "$R")" 0
		imq_clean
	done
}

# Where NAT finds no port, conntrack drops the packet and counts it.
no_port() {
	local out lost

	waiting_at 99 :1024-1027
	out=$(flood --idle "$(slowly 1000)" \
		"from=$H1,to=$W,dst=198.51.100.2,port=5001,renew=1,count=20")
	lost=$(conntrack_lost "$R")
	equal "dropped by conntrack" "$lost" 16
	accounted "$R" imq1 "$out" "hooks=$lost"
}

imq_begin
imq_test "F21 each hook once" untouched
imq_test "F21 each hook once, rules flushed and loaded by nft" nft_replaced flush
imq_test "F21 each hook once, tables deleted and loaded by nft" nft_replaced delete
imq_test "F21 each hook once, iptables-legacy-restore" xt_replaced iptables-legacy
imq_test "F21 each hook once, iptables-nft-restore" xt_replaced iptables-nft
imq_test "F21 each hook once, all rules deleted" rules_gone
imq_test "a new connection keeps its port, imq in front of source NAT" new_connection 99
imq_test "a new connection keeps its port, imq behind source NAT" new_connection 101
imq_test "what conntrack drops is counted" no_port
imq_end
