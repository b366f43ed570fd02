#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Devices belong to their network namespace: same names and indexes in two of
# them don't meet, a namespace goes with all that is queued, and its owner
# reaches its own devices only.

. "$(dirname "$0")/imq_lib.sh"

A=imq-$imq_id-a
B=imq-$imq_id-b

# rule NETNS: packets that it forwards from lan1 go through its imq0.
rule() {
	on "$1" iptables-legacy -t mangle -A PREROUTING -i lan1 -p udp -j IMQ --todev 0
}

#    H1 ─── lan1 R wan ─── lan1 A wan ─── W
#
# R and A both have an imq0, and both send the packets from H1 through theirs.
isolated() {
	local out

	have_xt iptables-legacy
	have_sch netem delay 1ms
	topology
	new_ns "$A"
	imq_sysctl "$A"
	r ip link set wan netns "$A"
	ip link add wan2 netns "$R" type veth peer name lan1 netns "$A"
	ip -n "$R" -batch - <<-EOT
	address add 192.0.2.1/24 dev wan2
	link set wan2 up
	route add 198.51.100.0/24 via 192.0.2.2
	EOT
	ip -n "$A" -batch - <<-EOT
	address add 198.51.100.1/24 dev wan
	address add 192.0.2.2/24 dev lan1
	link set wan up
	link set lan1 up
	route add 10.0.0.0/8 via 192.0.2.1
	link add imq0 type imq
	link set imq0 up
	EOT
	rule "$R"
	rule "$A"
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "datagrams" "$(field unique "$out")" 20
	equal "R, imq0: left" "$(left "$R" imq0)" 20
	equal "A, imq0: left" "$(left "$A" imq0)" 20

	# A's being down is no matter of R's.
	on "$A" ip link set imq0 down
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "datagrams" "$(field unique "$out")" 20
	equal "R, imq0: left" "$(left "$R" imq0)" 40
	equal "R, imq0: bypass_down" "$(stat_of "$R" imq0 bypass_down)" 0
	equal "A, imq0: left" "$(left "$A" imq0)" 20
	equal "A, imq0: bypass_down" "$(stat_of "$A" imq0 bypass_down)" 20

	# Nor is its being gone.
	on "$A" ip link del imq0
	out=$(udp "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "datagrams" "$(field unique "$out")" 20
	equal "R, no_device" "$(bypassed "$R" no_device)" 0
	equal "A, no_device" "$(bypassed "$A" no_device)" 20

	# One's shaper holds only one's packets.
	on "$A" ip link add imq0 type imq
	on "$A" ip link set imq0 up
	on "$A" tc qdisc add dev imq0 root netem delay 10s
	out=$(udp --idle 300 "from=$H1,to=$W,dst=198.51.100.2,count=20")
	equal "datagrams" "$(field got "$out")" 0
	equal "R, imq0: left" "$(left "$R" imq0)" 80
	equal "A, imq0: queued" "$(qdisc_backlog "$A" imq0)" 20
}

# Queues full of packets from outside; the namespace goes within 5 s. Not so with
# those of its own sockets: as on any device, they hold the namespace.
deleted_while_full() {
	local start

	have_xt iptables-legacy
	have_sch netem delay 1ms
	topology
	rule "$R"
	r iptables-legacy -t mangle -A PREROUTING -i wan -p udp -j IMQ --todev 1
	r tc qdisc add dev imq0 root netem delay 30s limit 5000
	r tc qdisc add dev imq1 root netem delay 30s limit 5000
	udp --idle 100 "id=forwarded,from=$H1,to=$W,dst=198.51.100.2,port=5001,count=300,gap=0" \
		"id=received,from=$W,to=$R,dst=198.51.100.1,port=5003,count=300,gap=0" >/dev/null
	equal "imq0: queued" "$(qdisc_backlog "$R" imq0)" 300
	equal "imq1: queued" "$(qdisc_backlog "$R" imq1)" 300
	# The other ends of its veths show when it is gone.
	start=$(date +%s%N)
	run ip netns delete "$R"
	wait_for 10 no_link "$W" eth0
	wait_for 10 no_link "$H1" eth0
	within "milliseconds until it is gone" $((($(date +%s%N) - start) / 1000000)) 0 5000
}

no_link() {
	! ip -n "$1" link show "$2" >/dev/null 2>&1
}

# Deleted while packets come in from all sides
deleted_under_load() {
	local i out

	have_xt iptables-legacy
	have_sch netem delay 1ms
	for i in 1 2 3 4; do
		topology
		rule "$R"
		r iptables-legacy -t mangle -A POSTROUTING -o wan -p udp -j IMQ --todev 1
		r tc qdisc add dev imq0 root netem delay "$((i - 1))ms" limit 5000
		udp_load --idle 200 "from=$H1,to=$W,dst=198.51.100.2,count=0,gap=100"
		wait_for 5 has_left "$R" imq1 100
		run ip netns delete "$R"
		at_most_until 5 no_link "$W" eth0
		out=$(udp_load_end)
		within "datagrams that arrived" "$(field unique "$out")" 100 1000000
		equal "duplicates, damaged" "$(field dup "$out") $(field bad "$out")" "0 0"
		imq_clean
	done
}

has_left() {
	[ "$(left "$1" "$2")" -ge "$3" ]
}

# at_most_until SECONDS CONDITION...
at_most_until() {
	local start
	start=$(date +%s%N)

	wait_for $(($1 + 5)) "${@:2}"
	within "milliseconds until $2" $((($(date +%s%N) - start) / 1000000)) \
		0 $(($1 * 1000))
}

# A user with a user namespace makes devices in a network namespace of it, and
# can neither make nor see any elsewhere.
user_namespace() {
	local out

	have unshare
	unshare -U true 2>/dev/null || skip "no user namespaces"
	new_ns "$A" "$B"
	on "$A" ip link add imq0 type imq
	on "$A" ip link add imq5 type imq
	# shellcheck disable=SC2016 # for the inner shell
	out=$(on "$A" unshare -U -r -n sh -c '
		ip link add imq0 type imq && ip link add imq1 type imq &&
		ip link set imq0 up && tc qdisc add dev imq0 root pfifo &&
		ip -o link show type imq | wc -l &&
		ip link del imq1 && ip link set imq0 down' 2>&1)
	equal "devices in the user's namespace" "$out" 2

	# In a namespace that is not the user's
	refused "add a device in another's namespace" "Operation not permitted" \
		on "$A" unshare -U -r ip link add imq1 type imq
	refused "delete a device in another's namespace" "Operation not permitted" \
		on "$A" unshare -U -r ip link del imq0
	refused "change a device in another's namespace" "Operation not permitted" \
		on "$A" unshare -U -r ip link set imq0 up
	refused "shape a device in another's namespace" "Operation not permitted" \
		on "$A" unshare -U -r tc qdisc add dev imq0 root pfifo
	equal "devices of A" "$(on "$A" ip -o link show type imq | wc -l)" 2
	equal "devices of B" "$(on "$B" ip -o link show type imq | wc -l)" 0
	equal "imq0 of A is down" "$(on "$A" ip -o link show up type imq)" ""
}

# Rules of the user's namespace reach its own imq0, not that of the others.
user_rules() {
	local out

	have_xt iptables-legacy
	have unshare ping
	unshare -U true 2>/dev/null || skip "no user namespaces"
	new_ns "$A"
	on "$A" ip link add imq0 type imq
	on "$A" ip link set imq0 up
	on "$A" iptables-legacy -t mangle -A OUTPUT -p icmp -j IMQ
	# shellcheck disable=SC2016 # for the inner shell
	out=$(on "$A" unshare -U -r -n sh -c '
		ip link set lo up && ip link add imq0 type imq && ip link set imq0 up &&
		XTABLES_LOCKFILE=/dev/null iptables-legacy -t mangle -A OUTPUT -p icmp -j IMQ &&
		ping -q -c 3 -i 0.05 127.0.0.1 >/dev/null &&
		ip -s link show imq0 | awk "/TX:/ { getline; print \$2 }"' 2>&1)
	case $out in *"ermission denied"*|*"ping: socket"*) skip "$out" ;; esac
	equal "imq0 of the user: left" "$out" 6
	equal "imq0 of A: entered" "$(entered "$A" imq0)" 0
}

# The device stays where it was made.
not_moved() {
	new_ns "$A" "$B"
	on "$A" ip link add imq0 type imq
	refused "ip link set imq0 netns" "" on "$A" ip link set imq0 netns "$B"
	equal "devices of A" "$(on "$A" ip -o link show type imq | wc -l)" 1
	equal "devices of B" "$(on "$B" ip -o link show type imq | wc -l)" 0
}

imq_begin
imq_test "F11 two namespaces with imq0 each are isolated" isolated
imq_test "F11 a namespace with full queues goes within 5 s" deleted_while_full
imq_test "F11 a namespace goes under load" deleted_under_load
imq_test "devices of a user namespace" user_namespace
imq_test "rules of a user namespace" user_rules
imq_test "a device is not moved to another namespace" not_moved
imq_end
