#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: ynl-guest.sh LINUX
#
# Tests, in a guest whose kernel knows IMQ, that the netlink specifications of
# the series describe what that kernel speaks: ynl, the program of the kernel
# tree that knows nothing but the specification, makes an imq device, shows it
# with its index and counters, and shows imq expressions of nf_tables.
#
# LINUX     directory with the unpatched source of the kernel
#           (tools/sources.sh linux); what the series changes in
#           Documentation/netlink is applied to a copy
#
# Needs root, python3 with its modules yaml and jsonschema, and patch. Prints
# TAP. Exit status 1 if one failed, 4 if there is nothing to test with.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

[ $# -eq 1 ] || usage
# Without other devices, some of whose kinds the specifications don't have.
[ -n "${IMQ_YNL_NETNS:-}" ] || IMQ_YNL_NETNS=1 exec unshare -n "$0" "$@"
linux=$1
python=/usr/bin/python3
specs=$tap_tmp/linux/Documentation/netlink

if ! "$python" -c 'import yaml, jsonschema' 2>/dev/null; then
	skip "ynl" "no python3-yaml or no python3-jsonschema"
	exit "$KSFT_SKIP"
fi
if [ ! -f "$linux/tools/net/ynl/cli.py" ]; then
	skip "ynl" "no ynl in $linux"
	exit "$KSFT_SKIP"
fi

# specifications: those of the kernel, as the series has them.
specifications() {
	mkdir -p "$tap_tmp/linux/Documentation"
	cp -R "$linux/Documentation/netlink" "$tap_tmp/linux/Documentation/"
	sed '/^#/d; /^$/d' "$IMQ_TOP/series" | while read -r p; do
		awk '/^diff --git / { ours = $3 ~ /^a\/Documentation\/netlink\// } ours' \
			"$IMQ_TOP/patches/$p"
	done >"$tap_tmp/specs.patch"
	[ -s "$tap_tmp/specs.patch" ]
	patch -s -d "$tap_tmp/linux" -p1 -F0 <"$tap_tmp/specs.patch"
}

# ynl SPEC ARG...: the answer as JSON
ynl() {
	local spec=$1
	shift

	"$python" "$linux/tools/net/ynl/cli.py" --spec "$specs/specs/$spec.yaml" \
		--process-unknown --output-json "$@"
}

# value EXPRESSION: of the JSON in stdin, called `x'
value() {
	"$python" -c 'import json, sys; x = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}

device() {
	ynl rt_link --create --excl --do newlink --json \
		'{"ifname": "ynl7", "linkinfo": {"kind": "imq", "data": {"index": 7}}}'
	ynl rt_link --do getlink --json '{"ifname": "ynl7"}' | tee "$tap_tmp/link"
	echo
	equal "index" "$(value 'x["linkinfo"]["data"]' <"$tap_tmp/link")" "{'index': 7}"
	equal "kind" "$(value 'x["linkinfo"]["kind"]' <"$tap_tmp/link")" imq
}

counters() {
	equal "counters" "$(value 'x["linkinfo"]["xstats"]' <"$tap_tmp/link")" \
		"{'bypass-down': 0, 'bypass-nomem': 0, 'bypass-unfit': 0, 'drop-dev': 0, 'drop-hook': 0, 'drop-sock': 0, 'foreign': 0, 'ring-full': 0}"
	# One packet that nobody has queued
	ip link set ynl7 up
	ip address add 192.0.2.1/24 dev ynl7
	! ping -n -q -c 1 -W 0.1 192.0.2.2 || return 1
	ynl rt_link --do getlink --json '{"ifname": "ynl7"}' >"$tap_tmp/link"
	equal "foreign" "$(value 'x["linkinfo"]["xstats"]["foreign"] > 0' <"$tap_tmp/link")" True
}

dump() {
	ynl rt_link --dump getlink >"$tap_tmp/links"
	equal "indexes of imq devices" "$(value '[l["linkinfo"]["data"]["index"]
		for l in x if l["ifname"] == "ynl7"]' <"$tap_tmp/links")" "[7]"
}

# The kernel's message comes with the error. (ynl of 6.12 can't print one that is
# about an attribute inside of another one that depends on the kind.)
refused() {
	local out

	if out=$(ynl rt_link --create --excl --do newlink --json \
		'{"ifname": "imq7", "linkinfo": {"kind": "imq"}}' 2>&1); then
		return 1
	fi
	echo "$out"
	contains "error" "$out" "index 7, as the name says, is in use"
}

# rules FAMILY-NUMBER: the imq expressions of its rules
rules() {
	ynl nftables --dump getrule --json "{\"nfgen-family\": $1}" | tee -a "$tap_tmp/rules" |
		value '[e["data"] for r in x for e in r["expressions"]["elem"] if e["name"] == "imq"]'
}

expression() {
	"$IMQ_TOP/tools/selftests/imq_netlink.py" rule ip filter prerouting 0 imq:dev=65535
	"$IMQ_TOP/tools/selftests/imq_netlink.py" rule ip6 filter input 0 mark=1 imq:sreg=1
	equal "rules of ip" "$(rules 2)" "[{'dev': 65535}]"
	equal "rules of ip6" "$(rules 10)" "[{'sreg-dev': 1}]"
}

# A rule that is made by ynl
new_rule() {
	local rule='{"nfgen-family": 2, "table": "imqtest", "chain": "c",
		"expressions": {"elem": [{"name": "imq", "data": {"dev": 258}}]}}'

	ynl nftables --create --append --multi batch-begin '{"res-id": 10}' \
		--multi newrule "$rule" --multi batch-end '{"res-id": 10}'
	contains "rules of ip" "$(rules 2)" "{'dev': 258}"
}

modprobe -q imq || true
modprobe -q nft_imq || true
try "ynl: specifications of the series" specifications
try "ynl: rt_link makes and shows a device" device
try "ynl: rt_link shows the counters" counters
try "ynl: rt_link shows all devices" dump
try "ynl: rt_link refuses an index in use" refused
try "ynl: nftables shows the expression" expression
try "ynl: nftables makes a rule" new_rule
tap_end
