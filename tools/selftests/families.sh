#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The nftables families and hooks that imq works in, one by one: packets wait in
# the qdisc of the device; then chains of the same hook with a higher priority see
# each of them once; and what goes on is what came in. Frames of all kinds, where
# the hook has them: other protocols than IP, VLAN tags, PPPoE. And what nft traces
# of it. (input.sh has what is refused, l2.sh has TCP and flow tables.)
#
# The topology is that of imq_lib.sh, or for the bridge family:
#
#    H1                 R                     H2
#   ┌─────────┐        ┌─────────────┐       ┌─────────┐
#   │    eth0 ├────────┤ p1  br0  p2 ├───────┤ eth0    │
#   └─────────┘        └─────────────┘       └─────────┘

. "$(dirname "$0")/imq_lib.sh"

COUNT=$(amount 40 2000)
FRAMES=$(amount 5 200)

# Everything waits for a second: held() has to see it, on a busy machine too.
slow() {
	have_sch netem delay 1s
	r tc qdisc add dev imq0 root netem delay 1s limit 100000
}

# rules FAMILY HOOK MATCH [DEVICE]: what matches goes to imq0, between two chains
# that count it. The line of a chain of nft's netdev family has a device.
rules() {
	local chain="type filter hook $2 ${4:+device \"$4\"} priority"

	have_nft
	r nft -f - <<-EOT
	table $1 family {
		counter before { }
		counter next { }
		chain before { $chain -10; $3 counter name before; }
		chain shape { $chain 0; $3 imq todev 0; }
		chain next { $chain 10; $3 counter name next; }
	}
	EOT
}

# held FAMILY N: packets are in the qdisc, and none of these has come to the next
# hook. Read in this order, the sum can't be above N unless one is in both. It can
# be 0, if the packets go on between the two.
held() {
	local next

	wait_for 15 has_backlog "$R" imq0 1 || fail "nothing waits in imq0"
	next=$(nft_counter "$R" "$1" family next)
	within "behind the hook ($next), and queued" \
		$((next + $(qdisc_backlog "$R" imq0))) 0 "$2"
}

# once FAMILY N [MORE]: N packets, and up to MORE of other kinds, have passed all.
once() {
	local most=$(($2 + ${3:-0})) before

	wait_for 5 all_left "$R" imq0 || fail "not all have left imq0"
	before=$(nft_counter "$R" "$1" family before)
	within "before the hook" "$before" "$2" "$most"
	equal "behind the hook" "$(nft_counter "$R" "$1" family next)" "$before"
	equal "imq0: entered" "$(entered "$R" imq0)" "$before"
	no_other_counter "$R" imq0
}

# The flows that pass a hook of R.
flows() {
	case $1 in
	input)
		echo "from=$H1,to=$R,dst=10.0.1.1"
		echo "from=$H1,to=$R,dst=fd00:1::1" ;;
	output)
		echo "from=$R,to=$W,dst=198.51.100.2"
		echo "from=$R,to=$W,dst=2001:db8:f::2" ;;
	*)
		echo "from=$H1,to=$W,dst=198.51.100.2"
		echo "from=$H1,to=$W,dst=2001:db8:f::2" ;;
	esac
}

# hook FAMILY HOOK: the other family's packets don't wait.
hook() {
	local n=$COUNT out line

	topology
	slow
	rules "$1" "$2" "meta l4proto udp"
	[ "$1" != inet ] || n=$((2 * COUNT))
	mapfile -t flows < <(flows "$2")
	udp_load --idle 3000 "${flows[@]/%/,count=$COUNT,tos=184}"
	held "$1" "$n"
	out=$(udp_load_end)
	for line in 1 2; do
		line=$(flow "f$line" "$out")
		equal "arrived, twice, damaged" "$(field unique "$line") \
$(field dup "$line") $(field bad "$line")" "$(field sent "$line") 0 0"
	done
	n=$(field sent "$(flow f1 "$out")")
	case $1 in
	ip6) n=$(field sent "$(flow f2 "$out")") ;;
	inet) n=$((n + $(field sent "$(flow f2 "$out")"))) ;;
	esac
	once "$1" "$n"
}

# frames WAY FROM:DEV TO:DEV KIND...: see imq_frames.py; in the background.
frames() {
	background frames "$imq_dir/imq_frames.py" --count "$FRAMES" --to "$mac" "$@"
}

# frames_ok KIND...: all have come, unchanged.
frames_ok() {
	local out kind

	wait_for 15 gone "$(cat "$imq_tmp/pid.frames")" || fail "imq_frames.py does not end"
	out=$(background_end frames)
	for kind; do
		equal "$kind" "$(printf '%s\n' "$out" | grep "^kind=$kind ")" \
			"kind=$kind sent=$FRAMES got=$FRAMES changed=0 twice=0"
	done
}

IP_KINDS='ip4 ip6'
ALL_KINDS='arp any ip4 frag mcast ip6 vlan qinq pppoe padi mpls'

# routed HOOK: header fields that a socket doesn't show.
routed() {
	topology
	slow
	rules inet "$1" 'iifname "lan1" meta l4proto udp'
	mac=$(mac_of "$R" lan1)
	# shellcheck disable=SC2086 # words
	frames routed "$H1:eth0" "$W:eth0" $IP_KINDS
	held inet $((2 * FRAMES))
	# shellcheck disable=SC2086
	frames_ok $IP_KINDS
	once inet $((2 * FRAMES))
}

bridge() {
	new_ns "$R" "$H1" "$H2"
	r ip link add imq0 type imq
	r ip link set imq0 up
	r ip link add br0 type bridge mcast_snooping 0 || skip "the kernel has no bridge"
	ip link add p1 netns "$R" type veth peer name eth0 netns "$H1"
	ip link add p2 netns "$R" type veth peer name eth0 netns "$H2"
	for dev in p1 p2; do
		r ip link set "$dev" master br0
	done
	for dev in br0 p1 p2; do
		r ip link set "$dev" up
	done
	h1 ip link set eth0 up
	h2 ip link set eth0 up
	for ns in "$H1" "$R" "$H2"; do
		wait_for 5 links_ready "$ns"
	done
	mac=02:00:00:00:00:02
}

# The frames that pass a hook of the bridge. Those to itself have its address and
# are looked at on br0; the chain does not count what is not ours.
bridge_hook() {
	local from="$H1:eth0" to="$H2:eth0" way=wire kinds=$ALL_KINDS n

	bridge
	slow
	rules bridge "$1" "ether saddr 02:00:00:00:00:01"
	case $1 in
	input) to="$R:br0" way=stack mac=$(mac_of "$R" br0)
		kinds='any ip4 ip6 pppoe mpls' ;;
	output) from="$R:br0"
		# Or each is sent twice: nobody has H2's address.
		r ip link set p1 down ;;
	esac
	# shellcheck disable=SC2086 # words
	n=$((FRAMES * $(set -- $kinds; echo $#)))
	# shellcheck disable=SC2086
	frames "$way" "$from" "$to" $kinds
	held bridge "$n"
	# shellcheck disable=SC2086
	frames_ok $kinds
	# Broadcast frames go to the bridge, too, and from there nowhere.
	once bridge "$n" "$n"
}

# device_hook FAMILY ingress|egress: of lan1, in and out.
device_hook() {
	local n dev

	topology
	slow
	for dev in lan1:5:802.1q lan1:7:802.1ad lan1.7:5:802.1q; do
		IFS=: read -r dev id proto <<<"$dev"
		r ip link add link "$dev" name "$dev.$id" type vlan proto "$proto" id "$id" ||
			skip "the kernel has no VLANs"
		r ip link set "$dev.$id" up
	done
	rules "$1" "$2" "ether saddr 02:00:00:00:00:01" lan1
	mac=$(mac_of "$R" lan1)
	# shellcheck disable=SC2086 # words
	n=$((FRAMES * $(set -- $ALL_KINDS; echo $#)))
	# To the inet family, ip4, frag, mcast, ip6, and vlan when the tag is off.
	[ "$1" != inet ] || n=$((FRAMES * 5))
	# shellcheck disable=SC2086
	case $2 in
	ingress) frames stack "$H1:eth0" "$R:lan1" $ALL_KINDS ;;
	egress) frames wire "$R:lan1" "$H1:eth0" $ALL_KINDS ;;
	esac
	held "$1" "$n"
	# shellcheck disable=SC2086
	frames_ok $ALL_KINDS
	once "$1" "$n"
}

# nf_tables has no egress hook in the inet family.
inet_egress() {
	have_nft
	new_ns "$R"
	refused "a chain of family inet at egress" "The inet family does not support this hook" \
		r nft 'table inet t { chain c { type filter hook egress device lo priority 0; imq todev 0; }; }'
	equal "tables" "$(r nft list tables)" ""
}

# trace FAMILY HOOK: nft says that imq has taken the packet, and to which device.
trace() {
	topology
	have_nft
	r nft -f - <<-EOT
	table inet family {
		chain shape {
			type filter hook forward priority 0
			meta l4proto udp meta nftrace set 1 jump to
		}
		chain to {
			ip daddr 198.51.100.2 imq todev 1
			meta mark set 70000
			imq todev meta mark
		}
	}
	EOT
	background trace ip netns exec "$R" nft monitor trace
	wait_for 8 traced "imq todev 1"
	contains "trace" "$(background_end trace)" "verdict imq todev 1)"
	within "imq1: entered" "$(entered "$R" imq1)" 1 100000
	within "packets without a device" "$(bypassed "$R" no_device)" 1 100000
}

# traced TEXT: after more packets.
traced() {
	udp "from=$H1,to=$W,dst=198.51.100.2,count=1" \
		"from=$H1,to=$W,dst=2001:db8:f::2,count=1" >/dev/null
	grep -qF "$1" "$imq_tmp/out.trace"
}

imq_begin
for family in ip ip6 inet; do
	for place in prerouting input forward output postrouting; do
		imq_test "$family $place" hook "$family" "$place"
	done
done
for place in prerouting forward postrouting; do
	imq_test "inet $place, whole packets" routed "$place"
done
for place in prerouting input forward output postrouting; do
	imq_test "bridge $place" bridge_hook "$place"
done
imq_test "netdev ingress" device_hook netdev ingress
imq_test "netdev egress" device_hook netdev egress
imq_test "inet ingress" device_hook inet ingress
imq_test "inet egress" inet_egress
imq_test "nft monitor trace" trace
imq_end
