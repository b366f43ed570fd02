#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Hostile input: random messages for all interfaces of the kernel, by root and by
# the owner of a user namespace, and packets that are sent to a device by other
# ways than a hook (F27).
#
# IMQ_SEED   repeats what printed this seed
#
#    H1                     R
#   ┌───────────┐          ┌──────────────────────┐
#   │ eth0      ├──────────┤ p1              imq0 │
#   │ 10.0.9.1  │          │ 10.0.9.254           │
#   └───────────┘          └──────────────────────┘

. "$(dirname "$0")/imq_lib.sh"

MESSAGES=$(amount 2000 100000)
PACKETS=$(amount 2000 100000)

# Messages ------------------------------------------------------------------

# interface KIND: the kernel has it.
interface() {
	case $1 in
	xt) modprobe -q -a iptable_mangle xt_IMQ || true ;;
	xt6) modprobe -q -a ip6table_mangle xt_IMQ || true ;;
	compat) modprobe -q -a nft_compat xt_IMQ || true ;;
	nft) modprobe -q -a nft_imq nft_meta || true ;;
	esac
	modprobe -q nfnetlink_hook || true
	case $1 in
	xt|compat) r iptables-legacy -t mangle -A OUTPUT -j IMQ ;;
	xt6) r ip6tables-legacy -t mangle -A OUTPUT -j IMQ ;;
	*) return 0 ;;
	esac || missing kernel "the kernel has no xt_IMQ"
	del_ns "$R"
	new_ns "$R"
}

# messages KIND root|user: see imq_fuzz.py.
messages() {
	local out prefix='' seed status=0

	# Short runs are always the same, long ones find what these don't.
	seed=${IMQ_SEED:-$(amount 1 "")}

	case $1 in xt|xt6|compat) have_xt iptables-legacy ;; esac
	new_ns "$R"
	interface "$1"
	if [ "$2" = user ]; then
		have unshare
		unshare -U true 2>/dev/null || skip "no user namespaces"
		prefix="unshare -Urn"
	fi
	kept_mark
	# shellcheck disable=SC2086 # two lists of words
	out=$(r $prefix "$imq_dir/imq_fuzz.py" --count "$MESSAGES" \
		${seed:+--seed $seed} "$1") || status=$?
	case $status in
	0) ;;
	4) skip "$out" ;;
	*) fail "$out" ;;
	esac
	note "$out"
	del_ns "$R"
	kept_check 300
}

# not_owner KIND: a user in a network namespace that is not the user's
not_owner() {
	local before out

	have unshare
	unshare -U true 2>/dev/null || skip "no user namespaces"
	new_ns "$R"
	interface "$1"
	r ip link add imq0 type imq
	before=$(r ip -d link show)
	# shellcheck disable=SC2086 # a list of words
	out=$(r unshare -Ur "$imq_dir/imq_fuzz.py" --count "$MESSAGES" \
		${IMQ_SEED:+--seed $IMQ_SEED} --forbidden "$1") || fail "$out"
	note "$out"
	equal "devices" "$(r ip -d link show)" "$before"
}

# Packets -------------------------------------------------------------------

place() {
	local ns

	have_sch pfifo
	new_ns "$R" "$H1"
	r ip link add imq0 numtxqueues 2 type imq
	# Or longer packets are refused
	r ip link set imq0 mtu 1000000
	r ip link set imq0 up
	ip link add p1 netns "$R" mtu 65535 type veth \
		peer name eth0 mtu 65535 netns "$H1"
	for ns in "$R" "$H1"; do
		imq_sysctl "$ns"
	done
	r ip link set p1 up
	h1 ip link set eth0 up
	r ip address add 10.0.9.254/24 dev p1
	h1 ip address add 10.0.9.1/24 dev eth0
	wait_for 5 links_ready "$R"
	[ "$1" = direct ] || r tc qdisc add dev imq0 root "${@:2}"
	background tap ip netns exec "$R" "$imq_dir/imq_garbage.py" tap imq0
	wait_for 10 grep -q ready "$imq_tmp/out.tap"
	received=$(received)
}

# What IPv4 has received in R, forwarded and delivered, and UDP from IPv6
received() {
	# shellcheck disable=SC2016 # for awk
	r awk '/^Ip: [0-9]/ { print $4, $7, $10 }' /proc/net/snmp
	# shellcheck disable=SC2016 # as well
	r awk '/^Udp6(InDatagrams|NoPorts) / { print $2 }' /proc/net/snmp6
}

# transmitted WHAT: sets tap to the number of packets that imq0 has transmitted.
transmitted() {
	note "$1"
	# IPv6 of H1 sends on its own account, whenever it likes.
	h1 ip link set eth0 down
	wait_for 10 backlog_is "$R" imq0 0
	tap=$(field tap "$(background_end tap | tail -n 1)")
}

# none_own COUNT: so many were foreign; none was taken for one of the device's own.
none_own() {
	equal "imq0: entered, left" "$(entered "$R" imq0) $(left "$R" imq0)" "0 0"
	within "imq0: TX dropped" "$(r cat /sys/class/net/imq0/statistics/tx_dropped)" \
		"$1" 1000000000
	note "foreign=$1"
}

# foreign_all LEAST WHAT: as many packets as imq0 has transmitted are counted as
# foreign, LEAST or more.
foreign_all() {
	local tap

	transmitted "$2"
	within "transmitted by imq0" "$tap" "$1" 1000000000
	equal "imq0: foreign" "$(stat_of "$R" imq0 foreign)" "$tap"
	none_own "$tap"
}

# foreign_received LEAST WHAT: LEAST or more came to the ingress of imq0, and are
# counted as foreign; it has transmitted none.
foreign_received() {
	local tap foreign

	transmitted "$2"
	equal "transmitted by imq0" "$tap" 0
	foreign=$(stat_of "$R" imq0 foreign)
	within "imq0: foreign" "$foreign" "$1" 1000000000
	none_own "$foreign"
}

none_received() {
	equal "received by IP" "$(received)" "$received"
}

# garbage NETNS [ARG...] DEV
garbage() {
	local netns=$1
	shift

	# shellcheck disable=SC2086 # a list of words
	on "$netns" "$imq_dir/imq_garbage.py" send --count "$PACKETS" \
		${IMQ_SEED:+--seed $IMQ_SEED} "$@"
}

mac() {
	r cat /sys/class/net/p1/address
}

# By packet sockets, straight to the device
packet_sockets() {
	local out sent plain

	place "$@"
	kept_mark
	out=$(garbage "$R" imq0)
	sent=$(field sent "$out") plain=$(field plain "$out")
	# Those of a virtio_net header may not be what it says.
	within "taken by the socket" "$plain" 1 "$((sent - 1))"
	within "refused by the socket" "$(field refused "$out")" 1 "$PACKETS"
	foreign_all "$plain" "$out"
	none_received
	kept_check 300
}

# mirred mirror|redirect: what p1 receives
mirred() {
	local out

	place direct
	r tc qdisc add dev p1 clsact || skip "the kernel has no clsact"
	r tc filter add dev p1 ingress protocol all matchall \
		action mirred egress "$1" dev imq0 || skip "the kernel has no mirred"
	out=$(garbage "$H1" --ether "$(mac)" eth0)
	foreign_all "$(field plain "$out")" "$out"
	[ "$1" = mirror ] || none_received
}

# bpf HOW: see imq_garbage.py.
bpf() {
	local out

	place direct
	r tc qdisc add dev p1 clsact || skip "the kernel has no clsact"
	out=$(r "$imq_dir/imq_garbage.py" redirect p1 imq0 "$1")
	case $out in
	ok) ;;
	EINVAL*|ENOENT*|ENOSYS*|EPERM*) skip "the kernel takes no BPF program: $out" ;;
	*) fail "BPF: $out" ;;
	esac
	# Where that looks for a neighbour, and has none
	r ip route add 203.0.113.0/24 dev imq0
	out=$(garbage "$H1" --ether "$(mac)" --to 203.0.113.9 eth0)
	case $1 in
	ingress) foreign_received "$(field plain "$out")" "$out"; none_received ;;
	neigh) foreign_all 1 "$out"; none_received ;;
	clone) foreign_all "$(field plain "$out")" "$out" ;;
	*) foreign_all "$(field plain "$out")" "$out"; none_received ;;
	esac
}

# Sends with interrupts off, when something is logged.
netconsole() {
	local place="6665@192.0.2.1/imq0,6666@192.0.2.2/02:00:00:00:00:01"

	modinfo netconsole >/dev/null 2>&1 || skip "netconsole is no module here"
	new_ns "$R"
	r ip link add imq0 type imq
	r ip link set imq0 up
	log_mark
	if r modprobe netconsole "netconsole=$place"; then
		echo "imq selftest: to be sent by netconsole" >/dev/kmsg
		rmmod netconsole
		fail "netconsole has taken imq0"
	fi
	equal "times that imq0 was refused" \
		"$(log_count "imq0 doesn't support polling")" 1
}

imq_begin
for kind in nft compat link xt xt6; do
	imq_test "random messages, $kind, root" messages "$kind" root
	imq_test "random messages, $kind, user namespace" messages "$kind" user
done
for kind in nft compat link xt xt6; do
	imq_test "random messages, $kind, by no owner" not_owner "$kind"
done
imq_test "F27: garbage by packet sockets" packet_sockets direct
imq_test "F27: garbage by packet sockets, waiting" packet_sockets waiting \
	netem delay 1ms limit 100000
imq_test "F27: garbage by packet sockets, split" packet_sockets waiting \
	tbf rate 10gbit burst 1m limit 100m
imq_test "F27: garbage by mirred redirect" mirred redirect
imq_test "F27: garbage by mirred mirror" mirred mirror
imq_test "F27: garbage by bpf_redirect()" bpf redirect
imq_test "F27: garbage by bpf_clone_redirect()" bpf clone
imq_test "F27: garbage by bpf_redirect_neigh()" bpf neigh
imq_test "F27: garbage by bpf_redirect(), to be received" bpf ingress
imq_test "F27: no netconsole" netconsole
imq_end
