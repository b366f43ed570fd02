#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: nft-check.sh NFT
#
# Test what nft makes of the imq statement, as far as that needs no IMQ in the
# running kernel: parsing, error messages with their place, netlink payload,
# JSON. Also that the payloads and the JSON in nftables' own tests, which a
# patched kernel runs, are what this nft makes of their rules.
#
# NFT     path of the nft to test, as nft.sh has installed it, with its tests
#
# Needs root (for a network namespace of its own, and nf_tables in the kernel)
# and, for some of the tests, /usr/bin/python3. Prints TAP: "ok", "not ok", or
# "ok ... # SKIP reason", and the plan at the end. Exits with 0 if nothing
# failed, with 1 if something did, with 2 if called wrongly.

# shellcheck disable=SC2016 # $ for variables of nft

set -euo pipefail
. "$(dirname "$0")/../lib.sh"

[ $# -eq 1 ] || usage
[ -x "$1" ] || die "cannot execute '$1'"
NFT=$(realpath -- "$1")

if [ -z "${NFT_CHECK_NETNS:-}" ]; then
	NFT_CHECK_NETNS=1 exec unshare -n -- "$BASH" "$0" "$NFT"
fi
. "$(dirname "$0")/tap.sh"

VERSION=$("$NFT" --version | sed 's/^nftables v\([^ ]*\).*/\1/')
# The tests of nftables that were installed with it: goldens differ by version.
TESTS=${NFT%/*/*}/share/nftables-tests/tests

# What rules refer to. The rule is line 9, hence "9:" in messages.
BASE='define dev = 7
table ip t {
	map marks { type ipv4_addr : mark; }
	map ports { type ipv4_addr : inet_service; }
	map ranges { type ipv4_addr : interval mark; }
	map verdicts { type ipv4_addr : verdict; }
	chain c { type filter hook prerouting priority 0; }
}'

# refused STATEMENT COLUMNS REASON [DEFINE]
#   COLUMNS   place in "add rule ip t c STATEMENT", first-last; or
#             LINE:first-last
#   DEFINE    replaces the first line of $BASE
refused() {
	local base=$BASE place=$2 out want status=0

	[ $# -lt 4 ] || base="$4${BASE#*7}"
	case $place in *:*) ;; *) place=9:$place ;; esac
	printf '%s\nadd rule ip t c %s\n' "$base" "$1" >"$tap_tmp/rules"
	out=$("$NFT" -c -f "$tap_tmp/rules" 2>&1) || status=$?
	want="$tap_tmp/rules:$place: Error: $3"
	if [ "$status" -eq 1 ] && [ "${out%%$'\n'*}" = "$want" ]; then
		status=0
	else
		status=1
	fi
	tap_result "$status" "refused: $1${4:+, $4}" "expected: $want
got: $out"
}

# The expressions of a rule in the output of --debug=netlink, one per line.
# The kernel may have refused the rule: its expression is new.
payload() {
	sed -n 's/^  \[ \(.*\) \]$/\1/p'
}

# accepted STATEMENT PAYLOAD [DEFINE]: lines of PAYLOAD as the last ones of what
# goes to the kernel.
accepted() {
	local base=$BASE out status=1

	[ $# -lt 3 ] || base="$3${BASE#*7}"
	printf '%s\nadd rule ip t c %s\n' "$base" "$1" >"$tap_tmp/rules"
	out=$("$NFT" -c --debug=netlink -f "$tap_tmp/rules" 2>&1) || true
	[ "$(payload <<<"$out")" != "$2" ] || status=0
	tap_result "$status" "payload: $1${3:+, $3}" "expected:
$2
got:
$out"
}

test_payload() {
	local i

	accepted 'imq todev 0' 'imq dev 0'
	accepted 'imq todev 65535' 'imq dev 65535'
	accepted 'imq todev 0x10' 'imq dev 16'
	accepted 'imq todev $dev' 'imq dev 7'
	accepted 'imq todev 1 << 3' 'imq dev 8'
	accepted 'imq todev 0x10000 >> 8' 'imq dev 256'
	accepted 'imq todev $dev' 'imq dev 256' 'define dev = 0x10000 >> 8'
	accepted 'imq todev 3 comment "x"' 'imq dev 3'
	accepted 'ct mark 5 imq todev 3' 'ct load mark => reg 1
cmp eq reg 1 0x00000005
imq dev 3'
	accepted 'ip saddr 10.0.0.1 counter imq todev 3' \
		'payload load 4b @ network header + 12 => reg 1
cmp eq reg 1 0x0100000a
counter pkts 0 bytes 0
imq dev 3'
	for i in 'meta mark' 'ct mark' 'meta cgroup' 'meta priority' 'meta cpu' \
		 'meta skuid' 'meta skgid' 'rt classid' 'socket mark'; do
		accepted "imq todev $i" "${i/ / load } => reg 1
imq sreg_dev 1"
	done
	accepted 'imq todev ct mark & 0xff | 0x100' 'ct load mark => reg 1
bitwise reg 1 = ( reg 1 & 0x000000ff ) ^ 0x00000100
imq sreg_dev 1'
	accepted 'imq todev (meta mark & 0xff00) >> 8' 'meta load mark => reg 1
bitwise reg 1 = ( reg 1 & 0x0000ff00 ) ^ 0x00000000
bitwise reg 1 = ( reg 1 >> 0x00000008 )
imq sreg_dev 1'
	accepted 'imq todev meta mark & 0xff00 >> 8' 'meta load mark => reg 1
bitwise reg 1 = ( reg 1 & 0x000000ff ) ^ 0x00000000
imq sreg_dev 1'
	accepted 'imq todev numgen inc mod 65536' 'numgen reg 1 = inc mod 65536
imq sreg_dev 1'
	accepted 'imq todev jhash ip saddr mod 8 offset 2' \
		'payload load 4b @ network header + 12 => reg 2
hash reg 1 = jhash(reg 2, 4, 0x0) % mod 8 offset 2
imq sreg_dev 1'
	accepted 'imq todev symhash mod 4 offset 1' 'hash reg 1 = symhash() % mod 4 offset 1
imq sreg_dev 1'
	for i in '@marks' '{ 10.0.0.1 : 1, 10.0.0.2 : 65535 }' \
		 '{ 10.0.0.0/24 : 1, * : 9 }'; do
		accepted "imq todev ip daddr map $i" \
			"payload load 4b @ network header + 16 => reg 1
lookup reg 1 set $([ "$i" = @marks ] && echo marks || echo '__map%d') dreg 1
imq sreg_dev 1"
	done
	accepted 'imq todev ip daddr map $m' \
		'payload load 4b @ network header + 16 => reg 1
lookup reg 1 set __map%d dreg 1
imq sreg_dev 1' 'define m = { 10.0.0.1 : 1, 10.0.0.2 : 2 }'
	accepted 'imq todev ip daddr map $m' \
		'payload load 4b @ network header + 16 => reg 1
lookup reg 1 set __map%d dreg 1
imq sreg_dev 1' 'define a = { 10.0.0.1 : 1, 10.0.0.2 : 2 }
define b = $a
define m = $b'
	# Newer versions take two values, and what a lookup of the route gives.
	[ "$VERSION" != 1.0.6 ] || return 0
	accepted 'imq todev meta mark | ct mark' 'meta load mark => reg 1
ct load mark => reg 2
bitwise reg 1 = ( reg 1 | reg 2 )
imq sreg_dev 1'
	[ "$VERSION" != 1.1.3 ] || return 0
	accepted 'imq todev fib saddr type' 'fib saddr type => reg 1
imq sreg_dev 1'
}

test_names() {
	accepted 'iifname imq imq todev 1' 'meta load iifname => reg 1
cmp eq reg 1 0x00716d69 0x00000000 0x00000000 0x00000000
imq dev 1'
	accepted 'imq todev $imq comment imq' 'imq dev 4' 'define imq = 4'
	accepted 'log prefix imq' 'log prefix imq'
	accepted 'imq todev iifname map { imq : 1, imq0 : 2 }' \
		'meta load iifname => reg 1
lookup reg 1 set __map%d dreg 1
imq sreg_dev 1'

	# Nothing that the kernel doesn't know: -c must succeed.
	cat >"$tap_tmp/rules" <<-'EOF'
	define todev = imq
	table ip imq {
		set imq { type ipv4_addr; }
		map todev { type ipv4_addr : mark; }
		counter imq { }
		chain imq { }
		chain todev { }
		chain c { ip saddr @imq jump imq; counter name imq goto todev; }
	}
	add element ip imq imq { 10.0.0.1 }
	add element ip imq todev { 10.0.0.1 : 70000 }
	list chain ip imq imq
	delete chain ip imq c
	delete chain ip imq imq
	EOF
	local out status=0
	out=$("$NFT" -c -f "$tap_tmp/rules" 2>&1) || status=$?
	tap_result "$status" "tables, chains, sets, maps, counters called imq or todev" "$out"

	# What not every kernel has: it is enough that they are read.
	out=$("$NFT" -c -f - 2>&1 <<-'EOF'
	table netdev imq {
		flowtable imq { hook ingress priority 0; devices = { imq, imq0, "imq" }; }
		chain imq { type filter hook ingress device imq priority 0; }
		chain todev { type filter hook ingress devices = { imq, imq0 } priority 0; }
		quota imq { over 1 mbytes; }
		limit imq { rate 1/second; }
		ct helper imq { type "ftp" protocol tcp; }
		synproxy imq { mss 1460; wscale 7; }
		secmark imq { "imq"; }
	}
	list hooks netdev device imq
	list flowtable netdev imq imq
	reset quota netdev imq imq
	EOF
	) || true
	status=0
	[[ $out != *"syntax error"* ]] || status=1
	tap_result "$status" "devices, flow tables and objects called imq" "$out"
}

test_refused() {
	local dtype='datatype mismatch: expected'
	local host="$dtype 32 bits in host byte order, expression has type" out

	refused 'imq todev 65536' 27-31 'Value 65536 exceeds valid range 0-65535'
	refused 'imq todev 99999999999999999999' 27-46 \
		'Value 99999999999999999999 exceeds valid range 0-65535'
	refused 'imq todev 1 << 16' 27-33 'Value 65536 exceeds valid range 0-65535'
	refused 'imq todev 0x1000000 >> 8' 27-40 'Value 65536 exceeds valid range 0-65535'
	refused 'imq todev $dev' 1:14-18 'Value 70000 exceeds valid range 0-65535' \
		'define dev = 70000'
	refused 'imq todev -1' 27-27 'syntax error, unexpected -'
	refused 'imq todev imq1' 27-30 'Could not parse integer'
	refused 'imq todev imq' 27-29 'Could not parse integer'
	refused 'imq todev' 26-26 'syntax error, unexpected newline'
	refused 'imq' 20-20 'syntax error, unexpected newline, expecting todev'
	refused 'imq 1' 21-21 'syntax error, unexpected number, expecting todev'
	refused 'imq dev 1' 21-23 'syntax error, unexpected string, expecting todev'
	refused 'imq todev { 1, 2 }' 27-27 "syntax error, unexpected '{'"
	refused 'imq todev 1-3' 27-29 \
		'you cannot use a range here, imq takes a single device'
	refused 'imq todev $dev' 1:14-21 \
		'you cannot use a set here, imq takes a single device' \
		'define dev = { 1, 2 }'
	refused 'imq todev $dev,$dev' 1:14-14 \
		'Basetype of type integer is not bitmask' 'define dev = 1'
	refused 'imq todev ip saddr . ip daddr' 27-45 \
		'you cannot use a concat here, imq takes a single device'
	refused 'imq todev exists' 27-32 \
		"$dtype integer, expression has type boolean type"
	refused 'imq todev meta iifname' 27-38 \
		"$dtype integer, expression has type network interface name"
	refused 'imq todev ct state' 27-34 \
		"$dtype integer, expression has type conntrack state"
	refused 'imq todev ct bytes' 27-34 \
		"$host integer with 64 bits in host byte order"
	refused 'imq todev ip saddr' 27-34 \
		"$host IPv4 address with 32 bits in network byte order"
	refused 'imq todev tcp sequence' 27-38 \
		"$host integer with 32 bits in network byte order"
	refused 'imq todev vlan id' 27-33 \
		"$host integer with 12 bits in network byte order"
	refused 'imq todev ct zone' 27-33 \
		"$host integer with 16 bits in host byte order"
	refused 'imq todev numgen inc mod 65537' 27-46 \
		'Maximum value 65536 exceeds valid range 0-65535'
	refused 'imq todev numgen inc mod 4 offset 65533' 27-55 \
		'Maximum value 65536 exceeds valid range 0-65535'
	refused 'imq todev symhash mod 65536 offset 1' 27-52 \
		'Maximum value 65536 exceeds valid range 0-65535'
	refused 'imq todev jhash ip saddr mod 2 offset 65535' 27-59 \
		'Maximum value 65536 exceeds valid range 0-65535'
	refused 'imq todev ip saddr map { 10.0.0.1 : 65536 }' 53-57 \
		'Value 65536 exceeds valid range 0-65535'
	refused 'imq todev ip saddr map $m' 1:39-43 \
		'Value 65536 exceeds valid range 0-65535' \
		'define m = { 10.0.0.1 : 1, 10.0.0.2 : 65536 }'
	refused 'imq todev ip saddr map $m' 1:12-14 'Expression is not a map' \
		'define m = 1-5'
	refused 'imq todev ip saddr map { 10.0.0.1 : 1-2 }' 53-55 \
		'you cannot use a range here, imq takes a single device'
	case $VERSION in
	1.1.6) out="Element mapping mismatches map definition, expected integer, not 'netfilter verdict'" ;;
	*) out='you cannot use a verdict here, imq takes a single device' ;;
	esac
	refused 'imq todev ip saddr map { 10.0.0.1 : accept }' 53-58 "$out"
	refused 'imq todev ip saddr map { 10.0.0.1 }' 42-49 \
		'missing device of this element'
	refused 'imq todev ip saddr map @ranges' 27-46 \
		'you cannot map to a range here, imq takes a single device'
	refused 'imq todev ip saddr map @ports' 27-45 \
		"$host internet network service with 16 bits in network byte order"
	refused 'imq todev ip saddr map @verdicts' 27-48 \
		"$dtype integer, expression has type netfilter verdict"
	refused 'imq todev ip saddr map @unknown' 40-47 'No such file or directory'
	refused 'imq todev 1 counter' 29-35 \
		'Statement after terminal statement has no effect'
	refused 'imq todev 1 accept' 29-34 \
		'Statement after terminal statement has no effect'
	refused 'accept imq todev 1' 24-34 \
		'Statement after terminal statement has no effect'
}

# What follows imq in a rule is refused in the words that queue has for it.
test_terminal() {
	local after queue imq status=0

	for after in counter accept 'log prefix "x"' 'meta mark set 1' 'queue num 2' 'imq todev 2'; do
		queue=$("$NFT" -c -f - 2>&1 <<<"$BASE
add rule ip t c queue num 1 $after") && status=1
		imq=$("$NFT" -c -f - 2>&1 <<<"$BASE
add rule ip t c imq todev 1 $after") && status=1
		# Both statements are equally long, and so the places are the same.
		[ "${queue%%$'\n'*}" = "${imq%%$'\n'*}" ] || status=1
		[ "$status" = 0 ] || break
	done
	tap_result "$status" "refused behind imq as behind queue" "$after: $imq, $queue"
}

# A kernel without imq, as that of this machine may be one.
test_kernel() {
	local out status=0

	out=$("$NFT" -c -f - 2>&1 <<<"$BASE
add rule ip t c ip saddr 10.0.0.1 imq todev 1") || status=$?
	if [ "$status" = 0 ]; then
		skip "the kernel lacks imq" "it has it"
		return
	fi
	[[ ${out%%$'\n'*} == "/dev/stdin:9:35-45: Error: imq is not supported, perhaps kernel support is missing?" ]] ||
		status=2
	tap_result $((status - 1)) "the kernel lacks imq" "$out"
}

# json_run STATEMENT: JSON, as in the "expr" of a rule.
json_run() {
	cat >"$tap_tmp/json" <<-EOF
	{"nftables": [
	 {"add": {"table": {"family": "ip", "name": "imq"}}},
	 {"add": {"map": {"family": "ip", "table": "imq", "name": "marks",
			  "type": "ipv4_addr", "map": "mark"}}},
	 {"add": {"chain": {"family": "ip", "table": "imq", "name": "imq"}}},
	 {"add": {"rule": {"family": "ip", "table": "imq", "chain": "imq",
			   "expr": [$1]}}}
	]}
	EOF
	"$NFT" -j -c --debug=netlink -f "$tap_tmp/json" 2>&1
}

json_accepted() {
	local out status=1

	out=$(json_run "$1") || true
	[ "$(payload <<<"$out")" != "$2" ] || status=0
	tap_result "$status" "JSON payload: $1" "$out"
}

json_refused() {
	local out status=0

	out=$(json_run "$1") || status=$?
	if [ "$status" -eq 1 ] && [[ ${out%%$'\n'*} == *": Error: $2" ]]; then
		status=0
	else
		status=1
	fi
	tap_result "$status" "JSON refused: $1" "expected: $2
got: $out"
}

test_json() {
	json_accepted '{"imq": {"todev": 7}}' 'imq dev 7'
	json_accepted '{"imq": {"todev": "7"}}' 'imq dev 7'
	json_accepted '{"imq": {"todev": {"meta": {"key": "mark"}}}}' \
		'meta load mark => reg 1
imq sreg_dev 1'
	json_accepted '{"imq": {"todev": {">>": [65536, 8]}}}' 'imq dev 256'
	json_accepted '{"imq": {"todev": {"socket": {"key": "mark"}}}}' \
		'socket load mark => reg 1
imq sreg_dev 1'
	json_accepted '{"imq": {"todev": {"map": {"key": {"socket": {"key": "mark"}}, "data": {"set": [[1, 8], [2, 9]]}}}}}' \
		'socket load mark => reg 1
lookup reg 1 set __map%d dreg 1
imq sreg_dev 1'
	json_accepted '{"imq": {"todev": {"numgen": {"mode": "inc", "mod": 4, "offset": 1}}}}' \
		'numgen reg 1 = inc mod 4 offset 1
imq sreg_dev 1'
	json_accepted '{"imq": {"todev": {"map": {"key": {"meta": {"key": "mark"}}, "data": {"set": [[1, 8], [2, 9]]}}}}}' \
		'meta load mark => reg 1
lookup reg 1 set __map%d dreg 1
imq sreg_dev 1'
	json_accepted '{"imq": {"todev": {"map": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": "@marks"}}}}' \
		'payload load 4b @ network header + 12 => reg 1
lookup reg 1 set marks dreg 1
imq sreg_dev 1'

	json_refused '{"imq": {"todev": 65536}}' 'Value 65536 exceeds valid range 0-65535'
	json_refused '{"imq": {"todev": -1}}' 'Value -1 exceeds valid range 0-65535'
	json_refused '{"imq": {"todev": "x"}}' 'Could not parse integer'
	json_refused '{"imq": {"todev": true}}' 'Boolean values not allowed in this context.'
	json_refused '{"imq": {"todev": [1, 2]}}' 'Basetype of type integer is not bitmask'
	json_refused '{"imq": {"todev": {"set": [1, 2]}}}' \
		'you cannot use a set here, imq takes a single device'
	json_refused '{"imq": {"todev": {"range": [1, 2]}}}' \
		'you cannot use a range here, imq takes a single device'
	json_refused '{"imq": {"todev": "@marks"}}' \
		'you cannot use a set reference here, imq takes a single device'
	json_refused '{"imq": {"device": 1}}' 'Object item not found: todev'
	json_refused '{"imq": {}}' 'Object item not found: todev'
	json_refused '{"imq": 7}' 'Expected object, got integer'
	json_refused '{"imq": {"todev": 1}}, {"counter": null}' \
		'Statement after terminal statement has no effect'
}

# py_rules FILE: the first family, table and chain of a .t file and its rules,
# each as "ok RULE" or "fail RULE".
py_rules() {
	awk -F';' '
		/^\*/ && !where { split($3, c, ","); where = "table " substr($1, 2) " " $2 " " c[1]; print where }
		/^[a-z]/ { print $2, $1 }
	' "$1"
}

# py_section FILE RULE: what FILE (.payload, .json) has below "# RULE".
py_section() {
	awk -v rule="# $2" '$0 == rule { on = 1; next } /^$/ { on = 0 } on' "$1"
}

# Netlink payload of a rule as --debug=netlink prints it, elements of sets
# included, without what else is printed: chain, set, and errors of the kernel.
py_payload() {
	awk '/^  \[/ || /^\telement/ { print }'
}

test_py() {
	local t kind rule family table chain out want n=0 bad='' status=1

	for t in "$TESTS"/py/*/imq.t; do
		py_rules "$t" >"$tap_tmp/py"
		while read -r kind rule; do
			if [ "$kind" = table ]; then
				read -r family table chain <<<"$rule"
				continue
			fi
			n=$((n + 1))
			out=$("$NFT" -c --debug=netlink -f - 2>&1 <<-EOF || true
			add table $family $table
			add chain $family $table $chain { type filter hook $chain priority 0; }
			add rule $family $table $chain $rule
			EOF
			)
			if [ "$kind" = fail ]; then
				[[ $out == *": Error: "* && $out != *"  [ imq"* ]] ||
					bad+="$rule: not refused"$'\n'
				continue
			fi
			want=$(py_section "$t.payload" "$rule" | py_payload)
			[ -n "$want" ] && [ "$(py_payload <<<"$out")" = "$want" ] ||
				bad+="$rule: payload is"$'\n'"$out"$'\n'
		done <"$tap_tmp/py"
	done
	[ "$n" -ge 50 ] || bad+="only $n rules found"
	[ -n "$bad" ] || status=0
	tap_result "$status" "payloads of tests/py/*/imq.t, $n rules" "$bad"
}

# The JSON of each rule must give the payload of the rule.
test_py_json() {
	local out status=0

	if [ ! -x /usr/bin/python3 ]; then
		skip "JSON of tests/py/*/imq.t" "no python3"
		return
	fi
	out=$(/usr/bin/python3 - "$NFT" "$tap_tmp/json" "$TESTS"/py/*/imq.t 2>&1 <<-'EOF'
	import json, re, subprocess, sys

	nft, temp, files = sys.argv[1], sys.argv[2], sys.argv[3:]
	count = bad = 0

	def sections(path):
	    text = open(path).read()
	    for part in re.split(r"^# ", text, flags=re.M)[1:]:
	        rule, _, body = part.partition("\n")
	        yield rule, body

	def keep(text):
	    return [l for l in text.splitlines()
	            if re.match(r"  \[|\telement", l)]

	for path in files:
	    payload = dict(sections(path + ".payload"))
	    for rule, body in sections(path + ".json"):
	        family, table, chain = re.search(r"^(ip) (\S+) (\S+)$", payload[rule], re.M).groups()
	        name = {"family": family, "table": table}
	        doc = {"nftables": [
	            {"add": {"table": {"family": family, "name": table}}},
	            {"add": {"chain": {**name, "name": chain, "type": "filter",
	                               "hook": chain, "prio": 0, "policy": "accept"}}},
	            {"add": {"rule": {**name, "chain": chain, "expr": json.loads(body)}}}]}
	        with open(temp, "w") as f:
	            json.dump(doc, f)
	        got = subprocess.run([nft, "-j", "-c", "--debug=netlink", "-f", temp], text=True,
	                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
	        count += 1
	        if keep(got) != keep(payload[rule]):
	            bad += 1
	            print(f"{rule}: {got}")
	    if set(payload) != set(r for r, _ in sections(path + ".json")):
	        bad += 1
	        print(f"{path}: .payload and .json have different rules")
	print(f"{count} rules")
	sys.exit(1 if bad or count < 30 else 0)
	EOF
	) || status=1
	tap_result "$status" "JSON of tests/py/*/imq.t" "$out"
}

# What nftables' shell tests check without loading anything.
test_shell() {
	local out status=0

	out=$(NFT=$NFT bash "$TESTS/shell/testcases/imq/0002errors_0" 2>&1) || status=$?
	tap_result "$status" "tests/shell/testcases/imq/0002errors_0" "$out"
}

if ! "$NFT" list ruleset >"$tap_tmp/out" 2>&1; then
	die "nft does not work here: $(head -n 1 "$tap_tmp/out")"
fi
test_payload
test_names
test_refused
test_terminal
test_kernel
test_json
test_py
test_py_json
test_shell
tap_end
