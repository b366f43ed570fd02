#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Where in the hooks packets are queued: with the target, for AA, AB, BA, BB and
# hook_chains, and with nft, where the chain is.
#
# The drawing is in imq_lib.sh (topology). R masquerades. Packets from W are
# queued to imq0, on PREROUTING, packets to W to imq1, on POSTROUTING. The place
# shows in the addresses that filters see there:
#
#   place                  PREROUTING, from W       POSTROUTING, from H1
#   before NAT             to 198.51.100.1 (-149)   from 10.0.1.2     (99)
#   after NAT              to 10.0.1.2     (-99)    from 198.51.100.1 (101)
#
# and in marks: a chain right before the place sets bit 1 of the mark, one right
# behind it bit 2, and filters must see bit 1 only.

. "$(dirname "$0")/imq_lib.sh"

COUNT=6
FRONT_ENDS="iptables-legacy iptables-nft"

# xt_behavior: what is loaded, or built in.
xt_behavior() {
	cat /sys/module/xt_IMQ/parameters/behavior 2>/dev/null || true
}

# load_xt PARAMETER...: xt_IMQ with these, or skip.
load_xt() {
	if modular xt_IMQ; then
		unload xt_IMQ
		run modprobe xt_IMQ "$@"
	elif [ "$*" != "behavior=$(xt_behavior)" ]; then
		skip "xt_IMQ is built in with behavior=$(xt_behavior)"
	fi
}

# classes DEV DIRECTION: a class for each address, before NAT and after, of
# packets that are marked 1. All else goes to class 1:99.
classes() {
	local class=1 address

	r tc qdisc add dev "$1" root handle 1: htb default 99
	r tc class add dev "$1" parent 1: classid 1:99 htb rate 1gbit
	for address in 198.51.100.1/32 10.0.1.2/32; do
		r tc class add dev "$1" parent 1: classid "1:$class" htb rate 1gbit
		r tc filter add dev "$1" parent 1: protocol ip prio 1 u32 \
			match mark 1 0xffffffff match ip "$2" "$address" \
			flowid "1:$class"
		class=$((class + 1))
	done
	for address in 2001:db8:f::1/128 fd00:1::2/128; do
		r tc class add dev "$1" parent 1: classid "1:$class" htb rate 1gbit
		r tc filter add dev "$1" parent 1: protocol ipv6 prio 2 u32 \
			match mark 1 0xffffffff match ip6 "$2" "$address" \
			flowid "1:$class"
		class=$((class + 1))
	done
}

# sees DEV router|host: COUNT packets of each family have been classified by
# that one's address, and none otherwise.
sees() {
	local router=0 host=0

	[ "$2" = router ] && router=$COUNT || host=$COUNT
	equal "$1: IPv4, router's address" "$(class_packets "$R" "$1" 1:1)" "$router"
	equal "$1: IPv4, host's address" "$(class_packets "$R" "$1" 1:2)" "$host"
	equal "$1: IPv6, router's address" "$(class_packets "$R" "$1" 1:3)" "$router"
	equal "$1: IPv6, host's address" "$(class_packets "$R" "$1" 1:4)" "$host"
	equal "$1: others" "$(class_packets "$R" "$1" 1:99)" 0
}

# brackets HOOK PRIORITY: chains right before and behind set bits of the mark. A
# chain of the same priority may run on either side of the hook in question; so
# there is none.
brackets() {
	r nft -f - <<-EOT
	table inet brackets_$1 {
		chain before {
			type filter hook $1 priority $(($2 - 1))
			meta l4proto udp meta mark set 1
		}
		chain behind {
			type filter hook $1 priority $(($2 + 1))
			meta l4proto udp meta mark set meta mark or 2
		}
	}
	EOT
}

# COUNT datagrams of each family from H1 to W and back.
exchange() {
	local out id

	out=$(udp "id=v4,from=$H1,to=$W,dst=198.51.100.2,port=5001,echo=1,count=$COUNT" \
		  "id=v6,from=$H1,to=$W,dst=2001:db8:f::2,port=5002,echo=1,count=$COUNT")
	for id in v4 v6; do
		equal "$id: echoes" "$(field echoed "$(flow "$id" "$out")")" "$COUNT"
	done
	equal "v4: source at W" "$(field from "$(flow v4 "$out")")" 198.51.100.1
	equal "v6: source at W" "$(field from "$(flow v6 "$out")")" 2001:db8:f::1
}

router() {
	topology
	r nft -f - <<-EOT
	table inet nat {
		chain post {
			type nat hook postrouting priority srcnat
			oifname "wan" masquerade
		}
	}
	EOT
}

# check LETTERS RULES...: packets are where the letters say. RULES get the two
# priorities and make the rules.
check() {
	local pre post
	local pre_seen=host post_seen=host
	local letters=$1
	shift

	case $letters in
	A?) pre=-99 ;;
	B?) pre=-149 pre_seen=router ;;
	esac
	case $letters in
	?A) post=101 post_seen=router ;;
	?B) post=99 ;;
	esac
	router
	"$@" "$pre" "$post"
	brackets prerouting "$pre"
	brackets postrouting "$post"
	classes imq0 dst
	classes imq1 src
	exchange
	sees imq0 "$pre_seen"
	sees imq1 "$post_seen"
}

xt_rules() {
	local command

	for command in "$1" "ip6${1#ip}"; do
		r "$command" -t mangle -A PREROUTING -i wan -p udp -j IMQ --todev 0
		r "$command" -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev 1
	done
}

nft_rules() {
	r nft -f - <<-EOT
	table inet shape {
		chain pre {
			type filter hook prerouting priority $1
			iifname "wan" meta l4proto udp imq todev 0
		}
		chain post {
			type filter hook postrouting priority $2
			oifname "wan" meta l4proto udp imq todev 1
		}
	}
	EOT
}

# behavior FRONT-END LETTERS
behavior() {
	have_xt "$1"
	have_xt "ip6${1#ip}"
	have nft
	load_xt "behavior=$2"
	equal "behavior in /sys/module" "$(xt_behavior)" "$2"
	check "$2" xt_rules "$1"
}

nft_place() {
	have_nft
	check "$1" nft_rules
}

# hook_chains: rules in PREROUTING, packets are queued in FORWARD. Those to R
# itself are queued in INPUT.
hook_chains() {
	local out

	have_xt "$1"
	have nft
	load_xt hook_chains=INPUT,FORWARD hook_tables=mangle,filter
	router
	r "$1" -t mangle -A PREROUTING -p udp -j IMQ --todev 0
	brackets input -149
	brackets forward 1
	classes imq0 src
	out=$(udp "id=forward,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT" \
		  "id=input,from=$H1,to=$R,dst=10.0.1.1,port=5001,count=$COUNT")
	equal "forwarded" "$(field unique "$(flow forward "$out")")" "$COUNT"
	equal "received by R" "$(field unique "$(flow input "$out")")" "$COUNT"
	equal "packets of the host" "$(class_packets "$R" imq0 1:2)" $((2 * COUNT))
	equal "imq0: entered" "$(entered "$R" imq0)" $((2 * COUNT))
}

# bad_parameter MESSAGE PARAMETER...: xt_IMQ doesn't load, and says why.
bad_parameter() {
	local message=$1
	shift

	modular xt_IMQ || skip "xt_IMQ is built in"
	unload xt_IMQ
	log_mark
	refused "modprobe xt_IMQ $*" "Invalid argument" modprobe xt_IMQ "$@"
	equal "lines in the kernel log with \"$message\"" "$(log_count "$message")" 1
	equal "lines in the kernel log" "$(log_since | wc -l)" 1
}

# Hooks are there while there is a rule, and only then; of behavior=AB, PREROUTING's
# for rules in its chain, both for FORWARD, which has none of its own, and for chains
# that any may call.
hooks_come_and_go() {
	have_xt "$1"
	have nft
	load_xt behavior=AB
	topology
	count_hooks() {
		r nft list hooks 2>/dev/null | grep -c xt_imq_hook || true
	}
	r nft list hooks >/dev/null 2>&1 || skip "nft can't list hooks"
	equal "hooks without a rule" "$(count_hooks)" 0
	r "$1" -t mangle -A PREROUTING -j IMQ
	equal "hooks with a rule in PREROUTING" "$(count_hooks)" 1
	r "$1" -t mangle -A FORWARD -j IMQ
	r "$1" -t mangle -A FORWARD -j IMQ --todev 1
	equal "hooks with two in FORWARD" "$(count_hooks)" 2
	r "$1" -t mangle -D FORWARD -j IMQ
	equal "hooks with one rule" "$(count_hooks)" 2
	r "$1" -t mangle -F
	equal "hooks without a rule" "$(count_hooks)" 0
	r "$1" -t mangle -A POSTROUTING -j IMQ
	equal "hooks with a rule in POSTROUTING" "$(count_hooks)" 1
	r "$1" -t mangle -D POSTROUTING -j IMQ
	r "$1" -t mangle -N shape
	r "$1" -t mangle -A shape -j IMQ
	equal "hooks with a rule in a chain of the user's" "$(count_hooks)" 2
	r "$1" -t mangle -A PREROUTING -j shape
	r "$1" -t mangle -F
	r "$1" -t mangle -X shape
	equal "hooks without a rule" "$(count_hooks)" 0
}

imq_begin
for front_end in $FRONT_ENDS; do
	for letters in AA AB BA BB; do
		imq_test "$front_end, behavior=$letters" behavior "$front_end" "$letters"
	done
done
imq_test "hook_chains and hook_tables" hook_chains iptables-legacy
for front_end in $FRONT_ENDS; do
	imq_test "$front_end: hooks are there only with a rule" hooks_come_and_go "$front_end"
done
imq_test "behavior=XY is refused" bad_parameter \
	"xt_IMQ: behavior=XY: must be AA, AB, BA or BB" behavior=XY
imq_test "behavior=A is refused" bad_parameter \
	"xt_IMQ: behavior=A: must be AA, AB, BA or BB" behavior=A
imq_test "unknown hook_chains are refused" bad_parameter \
	"xt_IMQ: hook_chains: WAN is not" hook_chains=WAN hook_tables=mangle
imq_test "unknown hook_tables are refused" bad_parameter \
	"xt_IMQ: hook_tables: shape is not" hook_chains=INPUT hook_tables=shape
imq_test "hook_chains without hook_tables are refused" bad_parameter \
	"xt_IMQ: hook_chains names 2 chains and hook_tables 1 tables" \
	hook_chains=INPUT,FORWARD hook_tables=mangle
if modular xt_IMQ; then
	modprobe -q -r xt_IMQ || true
fi
imq_test "nft, chains before NAT, BB" nft_place BB
imq_test "nft, chains behind NAT, AA" nft_place AA
imq_test "nft, chains at the default places, AB" nft_place AB
imq_end
