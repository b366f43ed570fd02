#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Bad input is refused, and the message says what is wrong with it: of ip, of
# iptables, of nft, and, by netlink messages that these would not send, of the
# kernel itself. Good input at the limits is taken.

. "$(dirname "$0")/imq_lib.sh"

# netlink ARG...: imq_netlink.py in R.
netlink() {
	r "$imq_dir/imq_netlink.py" "$@" | tee -a "$imq_log"
}

# Devices: by rtnetlink -----------------------------------------------------

index_chosen() {
	new_ns "$R"
	r ip link add 'imq%d' type imq
	equal "index of imq%d" "$(netlink link-index imq0)" 0
	r ip link del imq0
	r ip link add imq7 type imq
	equal "index of imq7" "$(netlink link-index imq7)" 7
	r ip link add shape type imq
	equal "index of shape: the lowest free one" "$(netlink link-index shape)" 0
	r ip link add imq0x type imq
	equal "index of imq0x: the lowest free one" "$(netlink link-index imq0x)" 1
	r ip link add imq65535 type imq
	equal "index of imq65535" "$(netlink link-index imq65535)" 65535
	r ip link add imq65536 type imq
	equal "index of imq65536: the lowest free one" "$(netlink link-index imq65536)" 2
	equal "index given" "$(netlink link-add given index=9)" ok
	equal "index of given" "$(netlink link-index given)" 9
	r ip link set given name imq7x
	equal "index after renaming" "$(netlink link-index imq7x)" 9
	r ip link del imq7
	r ip link add imq7 type imq
	equal "index of imq7, made anew" "$(netlink link-index imq7)" 7
}

# index_in_message N: older kernels can't put a number there (NL_SET_ERR_MSG_FMT()).
index_in_message() {
	if kernel_since 6.3; then
		echo "index $1"
	else
		echo index
	fi
}

index_taken() {
	new_ns "$R"
	equal "add a, index 5" "$(netlink link-add a index=5)" ok
	equal "add b, index 5" "$(netlink link-add b index=5)" \
		"EEXIST $(index_in_message 5) is in use"
	equal "add imq5" "$(netlink link-add imq5)" \
		"EEXIST $(index_in_message 5), as the name says, is in use: give another one"
	equal "add imq5, index 6" "$(netlink link-add imq5 index=6)" ok
	equal "devices" "$(r ip -o link show type imq | wc -l)" 2

	# A name that the kernel makes is no wish for its number.
	equal "add c, index 0" "$(netlink link-add c index=0)" ok
	r ip link add type imq
	equal "index of imq0: the lowest free one" "$(netlink link-index imq0)" 1
}

index_out_of_range() {
	local value

	new_ns "$R"
	for value in 65536 65537 2147483648 4294967295; do
		equal "index $value" "$(netlink link-add a "index=$value")" \
			"ERANGE integer out of range"
	done
	equal "index too short" "$(netlink link-add a index16=1 | cut -d' ' -f1)" ERANGE
	equal "index 65535" "$(netlink link-add a index=65535)" ok
	equal "devices" "$(r ip -o link show type imq | wc -l)" 1
}

index_fixed() {
	new_ns "$R"
	r ip link add imq3 type imq
	equal "the same again" "$(netlink link-set imq3 index=3)" ok
	equal "another" "$(netlink link-set imq3 index=4)" \
		"EOPNOTSUPP index can't be changed, rules use it"
	equal "index" "$(netlink link-index imq3)" 3
}

not_moved() {
	local message=''

	# Older kernels don't say why.
	! kernel_since 6.12 || message=' The interface netns is immutable'
	new_ns "$R" "$W"
	r ip link add imq0 type imq
	equal "move to another namespace" "$(netlink link-netns imq0 "$W")" "EINVAL$message"
	equal "devices there" "$(w ip -o link show type imq | wc -l)" 0
}

# Without a link layer header, there is no place for a tag in line; packets would
# be taken for foreign ones.
vlan_tags() {
	local feature

	new_ns "$R"
	r ip link add imq0 type imq
	for feature in tx-vlan-offload tx-vlan-stag-hw-insert; do
		r ethtool -K imq0 "$feature" off 2>/dev/null || true
		equal "$feature" "$(r ethtool -k imq0 | sed -n "s/^$feature: //p")" \
			"on [fixed]"
	done
	r ethtool -K imq0 tx-tcp-segmentation off
	equal "tx-tcp-segmentation" \
		"$(r ethtool -k imq0 | sed -n 's/^\ttx-tcp-segmentation: //p')" off
}

tx_queues() {
	local count

	new_ns "$R"
	r ip link add imq0 numtxqueues 16 type imq
	count=$(r sh -c 'ls -d /sys/class/net/imq0/queues/tx-* | wc -l')
	equal "tx queues" "$count" 16
	refused "numtxqueues 0" "Invalid number of transmit queues" \
		r ip link add imq1 numtxqueues 0 type imq
	refused "numtxqueues 4097" "Invalid number of transmit queues" \
		r ip link add imq1 numtxqueues 4097 type imq
}

# Qdiscs take it for a quantum.
mtu() {
	new_ns "$R"
	r ip link add imq0 type imq
	refused "MTU 0" "less than device minimum" r ip link set imq0 mtu 0
	refused "MTU 67" "less than device minimum" r ip link set imq0 mtu 67
	r ip link set imq0 mtu 68
	r ip link set imq0 mtu 1000000
}

# What the driver counts, by rtnetlink: as ethtool -S, which has two more first.
counters() {
	have ping
	new_ns "$R"
	r ip link add imq0 type imq
	r ip link set imq0 up
	r ip address add 192.0.2.1/24 dev imq0
	# Nothing has queued these.
	r ping -q -c 1 -W 0.1 192.0.2.2 >/dev/null || true
	equal "counters" "$(netlink link-xstats imq0)" "$(r ethtool -S imq0 |
		awk 'NR > 3 { printf "%s%s", s, $2; s = " " }')"
	within "foreign" "$(stat_of "$R" imq0 foreign)" 1 100
}

ip_counters() {
	local foreign shown

	have ping
	have_ip_index
	new_ns "$R"
	r ip link add imq0 type imq
	shown=$(r ip -s -d link show imq0)
	case $shown in *bypass_down*) ;; *) missing ip "ip in PATH has no counters" ;; esac
	contains "ip -s -d" "$shown" "bypass_down 0 bypass_nomem 0 bypass_unfit 0"
	contains "ip -s -d" "$shown" "drop_dev 0 drop_hook 0 drop_sock 0 foreign 0 ring_full 0"
	r ip link set imq0 up
	r ip address add 192.0.2.1/24 dev imq0
	r ping -q -c 1 -W 0.1 192.0.2.2 >/dev/null || true
	foreign=$(stat_of "$R" imq0 foreign)
	contains "ip -s -d" "$(r ip -s -d link show imq0)" " foreign $foreign "
	contains "ip -s -d -j" "$(r ip -s -d -j link show imq0 | tr -d ' ')" \
		"\"foreign\":$foreign,\"ring_full\":0}"
	case $(r ip -d link show imq0) in *bypass_down*) fail "ip -d shows counters" ;; esac
}

ip_index() {
	local value range

	have_ip_index
	new_ns "$R"
	r ip link add shape type imq index 12
	contains "ip -d link show" "$(r ip -d link show shape)" "imq index 12"
	contains "ip -d -j link show" "$(r ip -d -j link show shape | tr -d ' ')" \
		'"info_kind":"imq","info_data":{"index":12}'
	range='"index" must be a number in the range [0-65535]'
	for value in 65536 -1 abc imq1 1x ''; do
		refused "index '$value'" "argument \"$value\" is wrong: $range" \
			r ip link add other type imq index "$value"
	done
	refused "index 12 again" "$(index_in_message 12) is in use" \
		r ip link add other type imq index 12
	refused "index changed" "index can't be changed, rules use it" \
		r ip link set shape type imq index 13
	r ip link set shape type imq index 12
	refused "unknown option" 'unknown option "idx"' \
		r ip link add other type imq idx 1
}

# The target ----------------------------------------------------------------

xt_todev() {
	local value

	have_xt "$1"
	new_ns "$R"
	for value in imq1 abc 65536 4294967296 -1 1x ''; do
		refused "--todev '$value'" \
			'IMQ: bad value for option "--todev", or out of range (0-65535)' \
			r "$1" -t mangle -A PREROUTING -j IMQ --todev "$value"
	done
	refused "--todev without a number" 'option "--todev" requires an argument' \
		r "$1" -t mangle -A PREROUTING -j IMQ --todev
	refused "--todev twice" 'option "--todev" can only be used once' \
		r "$1" -t mangle -A PREROUTING -j IMQ --todev 1 --todev 2
	r "$1" -t mangle -A PREROUTING -j IMQ
	r "$1" -t mangle -A PREROUTING -j IMQ --todev 65535
	r "$1" -t mangle -A FORWARD -p tcp -j IMQ --todev 0x10
	contains "-S" "$(r "$1" -t mangle -S)" "-A PREROUTING -j IMQ --todev 0
-A PREROUTING -j IMQ --todev 65535
-A FORWARD -p tcp -j IMQ --todev 16"
	# What -save prints is what -restore takes.
	r "$1-save" -t mangle | grep -v '^#' >"$imq_tmp/saved"
	r "$1" -t mangle -F
	r "$1-restore" "$imq_tmp/saved"
	equal "saved, restored and saved" "$(r "$1-save" -t mangle | grep -v '^#')" \
		"$(cat "$imq_tmp/saved")"
	equal "rules" "$(grep -c -- '-j IMQ' "$imq_tmp/saved")" 3
}

xt_table() {
	local table

	have_xt "$1"
	new_ns "$R"
	for table in filter nat raw; do
		log_mark
		# It tells ten times in five seconds.
		wait_for 6 wrong_table "$1" "$table" ||
			fail "table $table: the kernel does not tell why"
	done
	r "$1" -t mangle -A OUTPUT -j IMQ
	r "$1" -t mangle -D OUTPUT -j IMQ --todev 0
}

# wrong_table COMMAND TABLE: the kernel takes no rule there, and tells why.
wrong_table() {
	refused "table $2" "" r "$1" -t "$2" -A OUTPUT -j IMQ
	[ "$(log_count "IMQ target: only valid in mangle table, not $2")" -gt 0 ]
}

# A number that libxt_IMQ would not send
xt_raw() {
	new_ns "$R"
	log_mark
	case $(netlink rule ip filter prerouting -150 IMQ=65535) in
	ok) ;;
	*) missing kernel "the kernel has no xt_IMQ, or no nft_compat" ;;
	esac
	equal "todev 65536" "$(netlink rule ip filter prerouting -150 IMQ=65536)" \
		"EINVAL (expression 1)"
	equal "lines in the kernel log" \
		"$(log_count "xt_IMQ: todev 65536 is out of range (0-65535)")" 1
	equal "todev 4294967295" "$(netlink rule ip filter prerouting -150 IMQ=4294967295)" \
		"EINVAL (expression 1)"
}

# The expression ------------------------------------------------------------

# rule_is RESULT ARG-OF-RULE...: each in a namespace of its own.
rule_is() {
	local wanted=$1
	shift

	del_ns "$R"
	new_ns "$R"
	equal "rule $*" "$(netlink rule "$@" | cut -d' ' -f1)" "$wanted"
}

# reason_is REASON EXPRESSION ARG-OF-RULE...: as above, for what is refused: the
# kernel says why, and that it is because of the EXPRESSION (1 is the first).
reason_is() {
	local wanted=$1 number=$2
	shift 2

	del_ns "$R"
	new_ns "$R"
	equal "rule $*" "$(netlink rule "$@" | cut -d' ' -f2-)" \
		"$wanted (expression $number)"
}

reasons() {
	local either="imq: takes either a device index or a register"
	local type="imq: not in chains of type nat or route, only in type filter"

	reason_is "$either" 1 ip filter prerouting 0 imq
	reason_is "$either" 2 ip filter prerouting 0 mark=1 imq:dev=0:sreg=1
	reason_is "integer out of range" 1 ip filter prerouting 0 imq:dev=65536
	reason_is "imq: not a register that holds a value" 2 \
		ip filter prerouting 0 mark=1 imq:sreg=5
	reason_is "imq: not in this family, only ip, ip6, inet, bridge, netdev" 1 \
		arp filter input 0 imq:dev=1
	reason_is "$type" 2 ip nat prerouting 0 mark=1 imq:sreg=1
	reason_is "$type" 1 ip6 route output 0 imq:dev=1
	reason_is "no such expression, or its module is missing" 2 \
		ip filter prerouting 0 mark=1 none:1=1
}

attributes() {
	local a="ip filter prerouting -150"

	# shellcheck disable=SC2086 # a list of words
	{
		rule_is ok $a imq:dev=0
		rule_is ok $a imq:dev=65535
		equal "dumped" "$(netlink rules ip)" "imq:dev=65535"
		rule_is ok $a mark=1 imq:sreg=1
		equal "dumped" "$(netlink rules ip)" "imq:sreg=1"
		rule_is ok $a mark=9 imq:sreg=9
		equal "dumped" "$(netlink rules ip)" "imq:sreg=9"
		rule_is EINVAL $a imq
		rule_is EINVAL $a mark=1 imq:dev=0:sreg=1
		rule_is ERANGE $a imq:dev=65536
		rule_is ERANGE $a imq:dev=4294967295
		rule_is ERANGE $a imq:dev16=1
		# The verdict register, and none
		rule_is EINVAL $a imq:sreg=0
		rule_is ERANGE $a imq:sreg=5
		rule_is ERANGE $a imq:sreg=24
	}
	equal "no rule is left" "$(netlink rules ip)" none
}

# A register that nothing has been loaded into
registers() {
	local a="ip filter prerouting -150"

	new_ns "$R"
	# shellcheck disable=SC2086 # a list of words
	{
		[[ $(netlink rule $a setmark=2) == ENODATA* ]] ||
			skip "nf_tables does not know which registers have a value"
		rule_is ENODATA $a imq:sreg=2
		rule_is ENODATA $a mark=9 imq:sreg=10
	}
	reason_is "imq: not a register that holds a value" 2 \
		ip filter prerouting 0 mark=1 imq:sreg=2
	equal "no rule is left" "$(netlink rules ip)" none
}

families() {
	local family hook

	for family in ip ip6 inet bridge; do
		for hook in prerouting input forward output postrouting; do
			rule_is ok "$family" filter "$hook" 10 imq:dev=1
		done
	done
	rule_is ok netdev filter ingress 0 dev:lo imq:dev=1
	rule_is ok netdev filter egress 0 dev:lo imq:dev=1
	rule_is EOPNOTSUPP ip route output -150 imq:dev=1
	# In a chain without a hook: where it is reached from counts.
	rule_is ok ip -filter prerouting 0 imq:dev=1
	rule_is EOPNOTSUPP arp filter input 0 imq:dev=1
	rule_is EOPNOTSUPP arp filter output 0 imq:dev=1
	rule_is EOPNOTSUPP arp -filter input 0 imq:dev=1
	for hook in prerouting input output postrouting; do
		rule_is EOPNOTSUPP ip nat "$hook" 10 imq:dev=1
		rule_is EOPNOTSUPP ip6 nat "$hook" 10 mark=1 imq:sreg=1
	done
	rule_is EOPNOTSUPP inet nat prerouting 10 imq:dev=1
	rule_is EOPNOTSUPP ip -nat prerouting 10 imq:dev=1
}

# nft's own family has another number for the hook of inet ingress.
inet_ingress() {
	have_nft
	new_ns "$R"
	r nft -f - <<-EOT
	table inet t {
		chain c {
			type filter hook ingress device "lo" priority 0
			imq todev 1
		}
	}
	EOT
}

# nft_is WANTED EXPRESSION
nft_is() {
	local out

	if out=$(r nft add rule inet t c imq todev "$2" 2>&1); then
		out=ok
	fi
	contains "imq todev $2" "$out" "$1"
}

nft_expressions() {
	have_nft
	new_ns "$R"
	r nft 'table inet t { chain c { type filter hook prerouting priority 0; }; }'
	nft_is "exceeds valid range 0-65535" 65536
	nft_is "exceeds valid range 0-65535" 4294967296
	nft_is "exceeds valid range 0-65535" "ip daddr map { 10.0.0.1 : 65536 }"
	nft_is "exceeds valid range 0-65535" "numgen inc mod 65537"
	nft_is "syntax error" -1
	nft_is "syntax error" "{ 1, 2 }"
	nft_is "you cannot use a range here" 1-2
	nft_is "Could not parse integer" imq1
	nft_is "Could not parse integer" '"wan"'
	nft_is "datatype mismatch" "ip daddr"
	nft_is "datatype mismatch" "ether saddr"
	nft_is "datatype mismatch" "tcp dport"
	nft_is "datatype mismatch" "vlan id"
	nft_is "you cannot use a verdict here" "ip daddr map { 10.0.0.1 : accept }"
	nft_is "Statement after terminal statement" "1 accept"
	equal "rules" "$(r nft list table inet t | grep -c 'imq todev' || true)" 0
	nft_is ok 0
	nft_is ok 65535
	nft_is ok 0x10
	nft_is ok "meta mark"
	nft_is ok "ct mark and 0xff"
	nft_is ok "numgen inc mod 65536"
	nft_is ok "jhash ip saddr mod 8"
	nft_is ok "symhash mod 8"
	nft_is ok "ip daddr map { 10.0.0.1 : 1, 10.0.0.2 : 65535 }"
	contains "listed" "$(r nft list table inet t | grep 'imq todev' | head -n 3 |
		sed 's/^[ \t]*//' | tr '\n' ';')" "imq todev 0;imq todev 65535;imq todev 16;"
	equal "rules" "$(r nft list table inet t | grep -c 'imq todev')" 9
	# What is listed is what is taken.
	r nft list table inet t >"$imq_tmp/listed"
	r nft flush ruleset
	r nft -f "$imq_tmp/listed"
	equal "listed, loaded and listed" "$(r nft list table inet t)" "$(cat "$imq_tmp/listed")"
}

nft_wrong_place() {
	have_nft
	new_ns "$R"
	r nft 'table arp t { chain c { type filter hook input priority 0; }; }'
	refused "in the arp family" "Operation not supported" \
		r nft add rule arp t c imq todev 1
	r nft 'table ip t { chain c { type nat hook prerouting priority -100; }; }'
	refused "in a nat chain" "Operation not supported" \
		r nft add rule ip t c imq todev 1
	r nft 'add chain ip t d'
	r nft 'add rule ip t d imq todev 1'
	refused "in a chain that a nat chain jumps to" "Operation not supported" \
		r nft add rule ip t c jump d
}

nft_names() {
	have_nft
	new_ns "$R"
	r nft -f - <<-EOT
	table ip imq {
		set imq { type ipv4_addr; }
		chain imq {
			type filter hook prerouting priority 0
			ip saddr @imq imq todev 1
		}
	}
	EOT
	contains "listed" "$(r nft list chain ip imq imq)" "ip saddr @imq imq todev 1"
}

imq_begin
imq_test "index of a new device" index_chosen
imq_test "index taken" index_taken
imq_test "index out of range" index_out_of_range
imq_test "index can't be changed" index_fixed
imq_test "a device can't be moved" not_moved
imq_test "number of tx queues" tx_queues
imq_test "a MTU without room for a packet" mtu
imq_test "VLAN tags stay beside the frame" vlan_tags
imq_test "counters by rtnetlink" counters
imq_test "ip link ... type imq index" ip_index
imq_test "ip -s -d link show" ip_counters
for command in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
	imq_test "$command -j IMQ --todev" xt_todev "$command"
	imq_test "$command, table mangle only" xt_table "$command"
done
imq_test "xt_IMQ: range of todev" xt_raw
imq_test "nft_imq: attributes" attributes
imq_test "nft_imq: registers without a value" registers
imq_test "nft_imq: what is wrong with a rule, and which expression" reasons
imq_test "nft_imq: families, hooks and types of chains" families
imq_test "nft: inet ingress" inet_ingress
imq_test "nft: what todev takes" nft_expressions
imq_test "nft: wrong places" nft_wrong_place
imq_test "nft: imq as a name" nft_names
imq_end
