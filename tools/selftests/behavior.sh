#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Where in the hooks packets are queued: with the target, for AA, AB, BA, BB and
# hook_chains, and with nft, where the chain is.
#
# The drawing is in imq_lib.sh (topology). R masquerades. The place shows in
# what filters on imq0 see:
#
#   place                     PREROUTING, from W    POSTROUTING, from H1
#   before NAT (-149, 99)     to 198.51.100.1       from 10.0.1.2
#   after NAT  (-99, 101)     to 10.0.1.2           from 198.51.100.1
#
# and in marks: chains right before and behind the place each set a bit, and
# filters must see the first only.

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

# A filter for each address in either role, and for each mark.
classes() {
	local n=0 match family

	r tc qdisc add dev imq0 root handle 1: htb default 99
	for match in "ip dst 198.51.100.1/32" "ip dst 10.0.1.2/32" \
		     "ip src 10.0.1.2/32" "ip src 198.51.100.1/32" \
		     "ip6 dst 2001:db8:f::1/128" "ip6 dst fd00:1::2/128" \
		     "ip6 src fd00:1::2/128" "ip6 src 2001:db8:f::1/128"; do
		n=$((n + 1))
		case $match in
		"ip "*) family=ip ;;
		*) family=ipv6 ;;
		esac
		r tc class add dev imq0 parent 1: classid "1:$n" htb rate 1gbit
		# shellcheck disable=SC2086 # a list of words
		r tc filter add dev imq0 parent 1: protocol "$family" \
			prio "$n" u32 match $match flowid "1:$n"
	done
}

# What the class numbers above say
seen() {
	case $1 in
	to_router) echo 1 5 ;;
	to_host) echo 2 6 ;;
	from_host) echo 3 7 ;;
	from_router) echo 4 8 ;;
	esac
}

# seen_is WHAT COUNT: so many packets of each family got into that class.
seen_is() {
	local class

	for class in $(seen "$1"); do
		equal "packets that look $1 (class 1:$class)" \
			"$(class_packets "$R" imq0 "1:$class")" "$2"
	done
}

# brackets HOOK PRIORITY TABLE: chains right before and behind set marks, which
# another right behind the latter counts. Those of the same priority may run
# before the hook in question or behind it; so there is none.
brackets() {
	r nft -f - <<-EOT
	table inet $3 {
		counter only_before { }
		counter both { }
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

# Classes for the marks that imq0 sees.
classes_by_mark() {
	local mark

	r tc qdisc add dev imq0 root handle 1: htb default 99
	for mark in 1 2 3; do
		r tc class add dev imq0 parent 1: classid "1:$mark" htb rate 1gbit
		r tc filter add dev imq0 parent 1: protocol all prio 1 \
			handle "$mark" fw classid "1:$mark"
	done
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

# xt_rule COMMAND CHAIN: the target, for packets of the exchange on that hook.
xt_rule() {
	local side="-i wan"

	[ "$2" = PREROUTING ] || side="-o wan"
	# shellcheck disable=SC2086 # a list of words
	r "$1" -t mangle -A "$2" $side -p udp -j IMQ --todev 0
	# shellcheck disable=SC2086
	r "ip6${1#ip}" -t mangle -A "$2" $side -p udp -j IMQ --todev 0
}

nft_rule() {
	local side='iifname "wan"'

	[ "$1" = prerouting ] || side='oifname "wan"'
	r nft -f - <<-EOT
	table inet shape {
		chain c {
			type filter hook $1 priority $2
			$side meta l4proto udp imq todev 0
		}
	}
	EOT
}

# The four places: hook, priority, what filters see there
place() {
	case $1 in
	preA) echo prerouting -99 to_host ;;
	preB) echo prerouting -149 to_router ;;
	postA) echo postrouting 101 from_router ;;
	postB) echo postrouting 99 from_host ;;
	esac
}

# check_place RULE-COMMAND PLACE: RULE-COMMAND gets the hook and the priority.
check_place() {
	local rule=$1 what other
	local place
	read -ra place <<<"$(place "$2")"

	say "--- $2: addresses"
	router
	"$rule" "${place[@]:0:2}"
	classes
	exchange
	for what in to_router to_host from_host from_router; do
		other=0
		[ "$what" != "${place[2]}" ] || other=$COUNT
		case ${place[0]} in
		prerouting) case $what in from_*) continue ;; esac ;;
		postrouting) case $what in to_*) continue ;; esac ;;
		esac
		seen_is "$what" "$other"
	done
	imq_clean

	say "--- $2: marks right before and behind"
	router
	"$rule" "${place[@]:0:2}"
	brackets "${place[0]}" "${place[1]}" brackets
	classes_by_mark
	exchange
	equal "packets marked before the place only" \
		"$(class_packets "$R" imq0 1:1)" $((2 * COUNT))
	equal "packets marked behind the place" \
		"$(class_packets "$R" imq0 1:3)" 0
	imq_clean
}

# behavior FRONT-END BEHAVIOR
behavior() {
	local front_end=$1

	have_xt "$1"
	have_xt "ip6${1#ip}"
	have nft
	load_xt "behavior=$2"
	equal "behavior in /sys/module" "$(xt_behavior)" "$2"
	xt_rule_at() { xt_rule "$front_end" "${1^^}"; }
	check_place xt_rule_at "pre${2:0:1}"
	check_place xt_rule_at "post${2:1:1}"
}

nft_place() {
	have_nft
	nft_rule_at() { nft_rule "$1" "$2"; }
	check_place nft_rule_at "$1"
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
	brackets input -149 input
	brackets forward 1 forward
	classes_by_mark
	out=$(udp "id=forward,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=$COUNT" \
		  "id=input,from=$H1,to=$R,dst=10.0.1.1,port=5001,count=$COUNT")
	equal "forwarded" "$(field unique "$(flow forward "$out")")" "$COUNT"
	equal "received by R" "$(field unique "$(flow input "$out")")" "$COUNT"
	equal "packets marked before the place only" \
		"$(class_packets "$R" imq0 1:1)" $((2 * COUNT))
	equal "packets marked behind the place" "$(class_packets "$R" imq0 1:3)" 0
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

# Hooks are there while there is a rule, and only then.
hooks_come_and_go() {
	have_xt "$1"
	have nft
	topology
	count_hooks() {
		r nft list hooks 2>/dev/null | grep -c xt_imq_hook || true
	}
	r nft list hooks >/dev/null 2>&1 || skip "nft can't list hooks"
	equal "hooks without a rule" "$(count_hooks)" 0
	r "$1" -t mangle -A FORWARD -j IMQ
	r "$1" -t mangle -A FORWARD -j IMQ --todev 1
	equal "hooks with two rules" "$(count_hooks)" 2
	r "$1" -t mangle -D FORWARD -j IMQ
	equal "hooks with one rule" "$(count_hooks)" 2
	r "$1" -t mangle -F
	equal "hooks without a rule" "$(count_hooks)" 0
}

imq_begin
for front_end in $FRONT_ENDS; do
	for letters in AA AB BA BB; do
		imq_test "$front_end, behavior=$letters" behavior "$front_end" "$letters"
	done
done
imq_test "hook_chains and hook_tables" hook_chains iptables-legacy
imq_test "hooks are there only with a rule" hooks_come_and_go iptables-legacy
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
for place in preB preA postB postA; do
	imq_test "nft, chain at $(place "$place" | cut -d' ' -f1,2)" nft_place "$place"
done
imq_end
