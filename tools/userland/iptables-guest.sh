#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: iptables-guest.sh
#
# Tests what the iptables in PATH makes of IMQ, in a guest whose kernel knows
# IMQ: iptables' own iptables-test.py and xlate-test.py, saving and restoring,
# rules made by binaries of earlier IMQ patches, native rules of nft, and the
# translation of a ruleset to nft. Each is done for IPv4 and IPv6, by the legacy
# programs and by those for nf_tables.
#
# IPTABLES_SRC  directory with the source of this iptables, for its test
#               programs; without it these are skipped
#
# Needs root; uses nft in PATH, if that knows imq, ping and a C compiler.
# Prints TAP. Exit status 1 if one failed.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

[ $# -eq 0 ] || usage
python=/usr/bin/python3
ext=$IMQ_TOP/net-netfilter/iptables
version=$(iptables-legacy -V | sed 's/^iptables v\([^ ]*\).*/\1/')
what="iptables $version"

modprobe -q imq || true
for i in 0 1; do
	ip link show "imq$i" >/dev/null 2>&1 || ip link add "imq$i" type imq
	ip link set "imq$i" up
done

entered() {
	ethtool -S "$1" | awk '$1 == "entered:" { print $2 }'
}

# pings FAMILY DEV WANTED: five echo requests to this machine are answered, and
# so many packets of them (requests and answers) enter the device meanwhile.
pings() {
	local before address=127.0.0.1

	[ "$1" = ip ] || address=::1
	before=$(entered "$2")
	ping -n -q -i 0.2 -c 5 -W 5 "$address"
	equal "packets that entered $2" "$(($(entered "$2") - before))" "$3"
}

# flush FAMILY FRONTEND: no rule is left, of iptables or of nft.
flush() {
	"$1tables-$2" -t mangle -F
	"$1tables-$2" -t mangle -X
}

# rules FAMILY FRONTEND: of the table mangle.
rules() {
	"$1tables-$2-save" -t mangle | grep '^-A'
}

# The test programs of iptables ----------------------------------------------

# ipt_py FRONTEND: it ends with how many rules were not as the file says.
ipt_py() {
	mkdir -p "$tap_tmp/src/extensions"
	cp "$IPTABLES_SRC/iptables-test.py" "$tap_tmp/src/"
	cp "$ext/libxt_IMQ.t" "$tap_tmp/src/extensions/"
	cd "$tap_tmp/src"
	"$python" ./iptables-test.py --host "$1" --no-netns extensions/libxt_IMQ.t \
		>"$tap_tmp/py" 2>&1 || { cat "$tap_tmp/py"; return 1; }
	cat "$tap_tmp/py"
	grep -qE ' [1-9][0-9]* unit tests' "$tap_tmp/py"
}

# It ends with 0 for no tests, too.
xlate_py() {
	local n

	n=$(grep -c '^ip6\?tables-translate' "$ext/libxt_IMQ.txlate")
	"$python" "$IPTABLES_SRC/xlate-test.py" -H "$ext/libxt_IMQ.txlate" |
		tee "$tap_tmp/py"
	contains "result" "$(cat "$tap_tmp/py")" \
		"$n tests, $n tests passed, 0 tests failed, 0 errors"
}

own_tests() {
	if [ ! -f "${IPTABLES_SRC:-}/iptables-test.py" ]; then
		skip "$what: iptables-test.py, xlate-test.py" "no source of iptables"
		return
	fi
	try "$what: iptables-test.py --legacy" ipt_py --legacy
	try "$what: iptables-test.py --nftables" ipt_py --nftables
	try "$what: xlate-test.py" xlate_py
}

# The example of the manual page, in a namespace with an eth0 of its own, where a
# module makes no devices.
manual() {
	local i

	for i in 1 2; do
		ip netns add "ipt$i"
	done
	ip -n ipt1 link add eth0 type veth peer name eth0 netns ipt2
	for i in 1 2; do
		ip -n "ipt$i" address add "192.0.2.$i/24" dev eth0
		ip -n "ipt$i" link set eth0 up
		ip -n ipt1 link add "imq$((i - 1))" type imq
	done
	sed -n '/^\.nf$/,/^\.fi$/p' "$ext/libxt_IMQ.man" |
		sed '/^\./d; /^modprobe/d; s/\\-/-/g' | ip netns exec ipt1 sh -eux
	ip netns exec ipt1 ping -n -q -i 0.2 -c 5 -W 5 192.0.2.2
	for i in 0 1; do
		equal "imq$i: entered" "$(ip netns exec ipt1 ethtool -S "imq$i" |
			awk '$1 == "entered:" { print $2 }')" 5
	done
}

# Saving and restoring -------------------------------------------------------

# counters: keeps the counters of stdin. Some versions lose them on restoring
# (ip6tables-nft 1.8.9), of any rule; then nothing is expected of ours.
counters() {
	if grep -q '^\[5:300\] -A INPUT' "$tap_tmp/saved"; then
		cat
	else
		sed 's/^\[[0-9:]*\]/[0:0]/'
	fi
}

# round_trip FAMILY FRONTEND: what is saved is what was given, also with
# counters, and what is restored from it.
round_trip() {
	local cmd=$1tables-$2

	flush "$1" "$2"
	cat >"$tap_tmp/given" <<-EOT
	*mangle
	:PREROUTING ACCEPT [0:0]
	:INPUT ACCEPT [0:0]
	:FORWARD ACCEPT [0:0]
	:OUTPUT ACCEPT [0:0]
	:POSTROUTING ACCEPT [0:0]
	:users - [0:0]
	[3:180] -A PREROUTING -i wan -p tcp -m tcp --dport 80 -j IMQ --todev 0
	[5:300] -A INPUT -i wan -j ACCEPT
	[0:0] -A FORWARD -j users
	[1:40] -A POSTROUTING -o wan -m mark --mark 0x7/0xf -j IMQ --todev 65535
	[0:0] -A users -m comment --comment "imq here" -j IMQ --todev 12
	COMMIT
	EOT
	"$cmd-restore" -c "$tap_tmp/given"
	"$cmd-save" -c -t mangle | grep -v '^#' >"$tap_tmp/saved"
	diff <(counters <"$tap_tmp/given") "$tap_tmp/saved"
	"$cmd-restore" -c "$tap_tmp/saved"
	"$cmd-save" -c -t mangle | grep -v '^#' >"$tap_tmp/again"
	diff "$tap_tmp/saved" "$tap_tmp/again"
	# One rule is found, by what it says, and deleted.
	"$cmd" -t mangle -C users -m comment --comment "imq here" -j IMQ --todev 12
	"$cmd" -t mangle -D users -m comment --comment "imq here" -j IMQ --todev 12
	if "$cmd" -t mangle -D FORWARD -j IMQ --todev 12; then return 1; fi
	flush "$1" "$2"
}

# A rule of a binary of earlier patches --------------------------------------

# old_binary FAMILY FRONTEND: its rules queue packets as they did, and the new
# extension lists, saves and deletes them.
old_binary() {
	local cmd=$1tables-$2 proto=icmp

	[ "$1" = ip ] || proto=icmpv6
	old() {
		XTABLES_LIBDIR=$tap_tmp/old:$XTABLES_LIBDIR "$@"
	}
	flush "$1" "$2"
	contains "help of the old one" "$(old "$cmd" -t mangle -j IMQ --help)" \
		"enqueue to imq<N>"
	old "$cmd" -t mangle -A POSTROUTING -p "$proto" -j IMQ --todev 1
	pings "$1" imq1 10
	# atoi() made device 0 of names.
	old "$cmd" -t mangle -A OUTPUT -p udp -j IMQ --todev imq1
	equal "rules" "$(rules "$1" "$2" | sed 's/ -p [^ ]*//')" \
		"-A OUTPUT -j IMQ --todev 0
-A POSTROUTING -j IMQ --todev 1"
	old "$cmd-save" -t mangle >"$tap_tmp/saved"
	"$cmd-restore" "$tap_tmp/saved"
	pings "$1" imq1 10
	"$cmd" -t mangle -D POSTROUTING -p "$proto" -j IMQ --todev 1
	"$cmd" -t mangle -D OUTPUT -p udp -j IMQ --todev 0
	equal "rules that are left" "$(rules "$1" "$2" || true)" ""
	# And the other way round
	"$cmd" -t mangle -A POSTROUTING -p "$proto" -j IMQ --todev 1
	contains "-S of the old one" "$(old "$cmd" -t mangle -S)" "-j IMQ --todev 1"
	old "$cmd" -t mangle -D POSTROUTING -p "$proto" -j IMQ --todev 1
}

# Native rules ---------------------------------------------------------------

# native FAMILY: rules that nft has put in a table of iptables, and elsewhere
native() {
	local cmd=$1tables-nft out

	nft flush ruleset
	"$cmd" -t mangle -A PREROUTING -i wan -j MARK --set-mark 1
	nft add rule "$1" mangle PREROUTING iifname wan counter imq todev 1
	nft -f - <<-EOT
	table $1 shape {
		chain c {
			type filter hook prerouting priority -99
			imq todev meta mark map { 1 : 2, 3 : 4 }
		}
	}
	EOT
	equal "rules" "$(rules "$1" nft)" \
		"-A PREROUTING -i wan -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -i wan -j IMQ --todev 1"
	"$cmd" -t mangle -L -n -v >"$tap_tmp/out.L"
	contains "-L" "$(cat "$tap_tmp/out.L")" "--todev 1"
	contains "-S" "$("$cmd" -t mangle -S)" "-A PREROUTING -i wan -j IMQ --todev 1"
	# Restored, it is the target.
	"$cmd-save" -t mangle >"$tap_tmp/saved"
	"$cmd-restore" "$tap_tmp/saved"
	contains "restored" "$(rules "$1" nft)" "-A PREROUTING -i wan -j IMQ --todev 1"
	contains "the table of nft" "$(nft list table "$1" shape)" "imq todev meta mark map"
	"$cmd" -t mangle -D PREROUTING -i wan -j IMQ --todev 1

	# A map has no counterpart: that is said, and other tables are listed.
	nft add rule "$1" mangle PREROUTING imq todev meta mark map '{ 1 : 2 }'
	out=$("$cmd-save")
	contains "save" "$out" "Table \`mangle' is incompatible, use 'nft' tool"
	"$cmd" -t filter -S
	"$cmd" -t filter -A INPUT -i wan -j ACCEPT
	contains "save" "$("$cmd-save")" "-A INPUT -i wan -j ACCEPT"
	if out=$("$cmd" -t mangle -S 2>&1); then return 1; fi
	contains "-S" "$out" "incompatible, use 'nft' tool"
	contains "the rule is still there" "$(nft list table "$1" mangle)" \
		"imq todev meta mark map { 0x00000001 : 2 }"
	nft flush ruleset

	# Nor has a rule of another table, where the kernel refuses the target.
	"$cmd" -t mangle -A INPUT -i wan -j ACCEPT
	"$cmd" -t filter -A INPUT -i wan -j ACCEPT
	nft add rule "$1" filter INPUT counter imq todev 1
	"$cmd-save" >"$tap_tmp/saved"
	contains "save" "$(cat "$tap_tmp/saved")" \
		"Table \`filter' is incompatible, use 'nft' tool"
	contains "save" "$(cat "$tap_tmp/saved")" "-A INPUT -i wan -j ACCEPT"
	"$cmd-restore" "$tap_tmp/saved"
	if out=$("$cmd" -t filter -S 2>&1); then return 1; fi
	contains "-S" "$out" "incompatible, use 'nft' tool"
	contains "the rule is still there" "$(nft list table "$1" filter)" "imq todev 1"
	nft flush ruleset
}

# Nor is there a target for bridges.
native_bridge() {
	local out

	nft flush ruleset
	ebtables-nft -A FORWARD -i wan -j ACCEPT
	contains "-L" "$(ebtables-nft -L FORWARD)" "-i wan -j ACCEPT"
	nft add rule bridge filter FORWARD imq todev 1
	if out=$(ebtables-nft -L FORWARD 2>&1); then return 1; fi
	contains "-L" "$out" "incompatible, use 'nft' tool"
	nft flush ruleset
}

# Translation ----------------------------------------------------------------

# translated FAMILY FRONTEND: a ruleset, as nft, queues the same packets.
translated() {
	local cmd=$1tables-$2 proto=icmp

	[ "$1" = ip ] || proto=icmpv6
	"$cmd-restore" <<-EOT
	*mangle
	:POSTROUTING ACCEPT
	:users -
	-A POSTROUTING -p $proto -j users
	-A users -j IMQ --todev 1
	COMMIT
	EOT
	pings "$1" imq1 10
	"$cmd-save" -t mangle >"$tap_tmp/saved"
	flush "$1" "$2"
	pings "$1" imq1 0
	"$1tables-restore-translate" -f "$tap_tmp/saved" >"$tap_tmp/nft"
	cat "$tap_tmp/nft"
	nft flush ruleset
	nft -f "$tap_tmp/nft"
	contains "the table" "$(nft list table "$1" mangle)" "imq todev 1"
	pings "$1" imq1 10
	nft flush ruleset
}

knows_imq() {
	nft -c 'add table ip t; add chain ip t c; add rule ip t c imq todev 0' 2>/dev/null
}

own_tests
try "$what: the example of the manual page" manual
mkdir -p "$tap_tmp/old"
cc -shared -fPIC -o "$tap_tmp/old/libxt_IMQ.so" "$IMQ_TOP/tools/userland/xt-imq-old.c" \
	2>"$tap_tmp/cc" || true
for family in ip ip6; do
	for frontend in legacy nft; do
		name="$what: ${family}tables-$frontend"
		try "$name: save and restore" round_trip "$family" "$frontend"
		if [ -f "$tap_tmp/old/libxt_IMQ.so" ]; then
			try "$name: rules of an old binary" old_binary "$family" "$frontend"
		else
			skip "$name: rules of an old binary" \
				"no C compiler or no libxtables headers"
		fi
		if knows_imq; then
			try "$name: translated to nft" translated "$family" "$frontend"
		else
			skip "$name: translated to nft" "no nft with imq"
		fi
	done
	if knows_imq; then
		try "$what: ${family}tables-nft: native rules" native "$family"
	else
		skip "$what: ${family}tables-nft: native rules" "no nft with imq"
	fi
done
if ! knows_imq; then
	skip "$what: ebtables-nft: native rules" "no nft with imq"
elif ! nft -c add table bridge t 2>/dev/null; then
	skip "$what: ebtables-nft: native rules" "no tables of bridges in the kernel"
else
	try "$what: ebtables-nft: native rules" native_bridge
fi
tap_end
