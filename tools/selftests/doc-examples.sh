#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: doc-examples.sh [-l] [FILE...]
#
# Runs the examples of the documentation, to the letter. FILE is an rst, Markdown
# (.md), asciidoc (.txt, .adoc) or man page (.1 to .9); by default imq.rst, and README.md and the man
# page where they are. -l lists the blocks and runs nothing.
#
# A block is an example if a comment stands before it (in Markdown, and in a man
# page, the same words in a comment of that language):
#
#	.. imq-test: NAME[,NAME...] TYPE [KEY=VALUE...]
#
#	::
#
#		the block
#
# The blocks of one NAME are run in their order in the file, for each NAME in new
# namespaces as drawn below. TYPE is
#
#	sh      commands for R, any of which fails the test if it fails
#	nft     a ruleset for R
#	json    likewise, in JSON
#	output  "# COMMAND" in the first line; it prints all other lines, but for
#	        numbers and white space
#	lines   likewise, but each of the other lines is in one of those printed
#
# and with a KEY, packets must take the right way after the block has been run:
#
#	down=DEV        pings from H; the answers have entered DEV
#	up=DEV          the requests have
#	both=DEV        both have
#	least=DEV       some of it has, and other packets, maybe
#	self=DEV        pings from R; the requests have entered DEV
#	lo=DEV          pings from R to itself; likewise
#	class=DEV:CLASS that class has sent packets
#	cut=yes         pings from H get no answer
#
#    W                       R                             H
#   ┌──────────────┐        ┌────────────────────┐        ┌──────────────┐
#   │         eth0 ├────────┤ wan0          lan0 ├────────┤ eth0         │
#   │ 198.51.100.2 │        │ 198.51.100.1       │        │ 10.0.0.11    │
#   └──────────────┘        │           10.0.0.1 │        │ 10.0.0.12    │
#                           └────────────────────┘        └──────────────┘
#
# R masquerades what goes out by wan0. In R there are imq0 and imq1, down.

. "$(dirname "$0")/imq_lib.sh"

PINGS=5

# Blocks --------------------------------------------------------------------

# extract FILE DIR: each block becomes DIR/NUMBER, and a line of DIR/index:
# NUMBER NAMES TYPE KEYS.
extract() {
	mkdir -p "$2"
	awk -v dir="$2" '
		function wrong(text) {
			printf "%s:%d: %s\n", FILENAME, FNR, text >"/dev/stderr"
			bad = 1
		}
		function begin_block() {
			block = dir "/" ++n
			print n, args >(dir "/index")
			printf "" >block
			args = ""
		}
		function end_block() { close(block); block = "" }

		BEGIN {
			kind = ARGV[1] ~ /\.md$/ ? "md" : ARGV[1] ~ /\.[1-9]$/ ? "man" : \
				ARGV[1] ~ /\.(txt|adoc)$/ ? "adoc" : "rst"
			comment["rst"] = "^\\.\\. imq-test: "
			comment["md"] = "^<!-- imq-test: "
			comment["adoc"] = "^// imq-test: "
			comment["man"] = "^\\.\\\\\" imq-test: "
		}
		# What is not indented ends a block in rst, and may begin the next.
		block != "" && kind == "rst" && /^[^ \t]/ { end_block() }
		block == "" && $0 ~ comment[kind] {
			if (args != "")
				wrong("comment before the block of another one")
			args = $0
			sub(comment[kind], "", args)
			sub(/ *-->$/, "", args)
			if (args !~ /^[a-z0-9,-]+ (sh|nft|json|output|lines)( [a-z]+=[^ ]+)*$/)
				wrong("not understood: " args)
			next
		}
		block == "" && args != "" {
			if (kind == "rst" && $0 == "::" ||
			    kind == "md" && /^```/ || kind == "adoc" && /^-----*$/ ||
			    kind == "man" && /^\.(EX|nf)$/) {
				begin_block()
				indent = -1
			} else if (NF && !(kind == "man" && /^\.(PP|IP|P|RS.*)$/) &&
				   !(kind == "adoc" && /^(\/\/\/\/$|\.[A-Z])/)) {
				wrong("a comment, and no block")
			}
			next
		}
		block != "" && kind == "rst" {
			if (indent < 0 && NF) {
				match($0, /^[ \t]*/)
				indent = RLENGTH
			}
			if (indent >= 0)
				print substr($0, indent + 1) >block
			next
		}
		block != "" && (kind == "md" || kind == "adoc") {
			if (kind == "md" ? /^```/ : /^-----*$/)
				end_block()
			else
				print >block
			next
		}
		block != "" && kind == "man" {
			if (/^\.(EE|fi)$/) {
				end_block()
				next
			}
			gsub(/\\-/, "-")
			gsub(/\\\(aq/, "\047")
			gsub(/\\e/, "\\")
			gsub(/\\&/, "")
			print >block
			next
		}
		END {
			if (args != "")
				wrong("a comment at the end, and no block")
			if (!n)
				wrong("no example")
			exit bad
		}' "$1"
}

# names DIR: of the examples, each once, in order.
names() {
	awk '{ split($2, name, ","); for (i = 1; i in name; i++) if (!seen[name[i]]++) print name[i] }' \
		"$1/index"
}

# What it takes -------------------------------------------------------------

# needed DIR NAME: skip the test if something that its blocks use is not here.
needed() {
	local n names type keys text sch

	while read -r n names type keys; do
		[[ ,$names, == *",$2,"* ]] || continue
		text=$(cat "$1/$n")
		case $type in nft|json) have_nft ;; esac
		[[ $text != *"nft -f"* ]] || have_nft
		[[ $text != *iptables* ]] || have_xt iptables
		[[ $text != *"type imq index"* ]] || have_ip_index
		[[ $text != *tcpdump* ]] || have tcpdump
		if [[ $text == */sys/kernel/tracing* ]]; then
			[ -d /sys/kernel/tracing/events/imq ] || skip "no tracefs"
		fi
		for sch in tbf htb fq_codel netem; do
			[[ $text != *" $sch"* ]] || have_sch_module "$sch"
		done
		[[ $text != *" cake "* ]] || have_sch cake
	done <"$1/index"
	have ping nsenter
}

# have_sch_module QDISC: the same for one that has options which it needs.
have_sch_module() {
	case $1 in
	tbf) have_sch tbf rate 1mbit burst 5k latency 50ms ;;
	*) have_sch "$1" ;;
	esac
}

# Running -------------------------------------------------------------------

doc_topology() {
	local ns

	new_ns "$W" "$R" "$H1"
	# Nothing goes anywhere but the pings.
	for ns in "$W" "$R" "$H1"; do
		on "$ns" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 \
			net.ipv6.conf.default.disable_ipv6=1
	done
	ip -batch - <<-EOT
	link add wan0 netns $R type veth peer name eth0 netns $W
	link add lan0 netns $R type veth peer name eth0 netns $H1
	EOT
	imq_sysctl "$R"
	ip -n "$R" -batch - <<-EOT
	address add 198.51.100.1/24 dev wan0
	address add 10.0.0.1/24 dev lan0
	link set wan0 up
	link set lan0 up
	link add imq0 type imq
	link add imq1 type imq
	EOT
	ip -n "$W" -batch - <<-EOT
	address add 198.51.100.2/24 dev eth0
	link set eth0 up
	EOT
	ip -n "$H1" -batch - <<-EOT
	address add 10.0.0.11/24 dev eth0
	address add 10.0.0.12/24 dev eth0
	link set eth0 up
	route add default via 10.0.0.1
	EOT
	r nft -f - <<-EOT
	table ip nat {
		chain postrouting {
			type nat hook postrouting priority srcnat
			oifname "wan0" masquerade
		}
	}
	EOT
}

# in_r COMMAND...: in R's network, with the mounts of this script, so that
# `ip netns add' in an example makes what the next one finds.
in_r() {
	nsenter --net="/run/netns/$R" "$@"
}

# normal: numbers, addresses and white space don't count.
normal() {
	sed -E 's/\b(0x)?[0-9a-f]{8,}\b/N/g; s/0x[0-9a-f]+/N/g; s/[0-9]+/N/g
		s/[[:space:]]+/ /g; s/^ //; s/ $//; /^$/d'
}

# transcript TYPE FILE
transcript() {
	local command want got line

	read -r command <"$2"
	[[ $command == "# "* ]] || fail "block begins with '$command', expected '# COMMAND'"
	say "[r] ${command#\# }"
	in_r sh -euc "${command#\# }" >"$imq_tmp/out"
	want=$(tail -n +2 "$2" | normal)
	got=$(normal <"$imq_tmp/out")
	if [ "$1" = output ]; then
		[ "$got" = "$want" ] || {
			cat "$imq_tmp/out"
			diff <(echo "$want") <(echo "$got") || true
			fail "the output differs"
		}
		return
	fi
	while read -r line; do
		grep -qF -- "$line" <<<"$got" || {
			tail -n 20 "$imq_tmp/out"
			fail "no line of the output has: $line"
		}
	done <<<"$want"
}

# pings_pass WANTED NETNS ADDRESS ARG...: that many of PINGS are answered. One
# at a time: ping waits for the last answer only as long as the others took.
pings_pass() {
	local wanted=$1 netns=$2 address=$3 wait=5 i got=0
	shift 3

	[ "$wanted" -gt 0 ] || wait=0.2
	for ((i = 0; i < PINGS; i++)); do
		if on "$netns" ping -n -q -c 1 -W "$wait" "$@" "$address" >/dev/null; then
			got=$((got + 1))
		fi
	done
	equal "answers" "$got" "$wanted"
}

# ways KEY=VALUE...
ways() {
	local key value before=() i=0

	[ $# -gt 0 ] || return 0
	for key; do
		value=${key#*=}
		case $key in
		down=*|up=*|self=*|lo=*|both=*|least=*) before+=("$(entered "$R" "$value")") ;;
		class=*) before+=("$(class_packets "$R" "${value%%:*}" "${value#*:}")") ;;
		cut=*) pings_pass 0 "$H1" 198.51.100.2 -I 10.0.0.11; return ;;
		*) fail "no such key: $key" ;;
		esac
	done
	case " $*" in
	*" self="*) pings_pass "$PINGS" "$R" 198.51.100.2 ;;
	*" lo="*) pings_pass "$PINGS" "$R" 127.0.0.1 ;;
	*) pings_pass "$PINGS" "$H1" 198.51.100.2 -I 10.0.0.11 ;;
	esac
	for key; do
		value=${key#*=}
		case $key in
		class=*) within "packets in $value" \
			"$(($(class_packets "$R" "${value%%:*}" "${value#*:}") - before[i]))" \
			"$PINGS" 1000 ;;
		both=*) equal "packets in $value" \
			"$(($(entered "$R" "$value") - before[i]))" "$((2 * PINGS))" ;;
		least=*) within "packets in $value" \
			"$(($(entered "$R" "$value") - before[i]))" "$PINGS" 1000 ;;
		*) equal "packets in $value" "$(($(entered "$R" "$value") - before[i]))" "$PINGS" ;;
		esac
		i=$((i + 1))
	done
}

# undo_example: what is outside of the script's namespaces.
undo_example() {
	if [ -e /sys/kernel/tracing/events/imq/enable ]; then
		echo 0 >/sys/kernel/tracing/events/imq/enable
	fi
	ip netns list | awk '{ print $1 }' | sort | comm -13 "$imq_tmp/netns" - |
		while read -r ns; do
			ip netns delete "$ns"
		done
}

example() {
	local dir=$1 name=$2 n names type keys

	needed "$dir" "$name"
	doc_topology
	ip netns list | awk '{ print $1 }' | sort >"$imq_tmp/netns"
	trap undo_example EXIT
	while read -r n names type keys <&4; do
		[[ ,$names, == *",$name,"* ]] || continue
		say "[r] $type:"
		cat "$dir/$n" >&3
		case $type in
		sh) in_r sh -eux "$dir/$n" ;;
		nft) in_r nft -f "$dir/$n" ;;
		json) in_r nft -j -f "$dir/$n" ;;
		*) transcript "$type" "$dir/$n" ;;
		esac
		# shellcheck disable=SC2086 # words
		ways $keys
	done 4<"$dir/index"
}

# Here, and in a kernel tree
default_files() {
	local file

	for file in "$imq_dir"/../../{Documentation/networking/imq.rst,README.md,Documentation/man/imq.7} \
		"$imq_dir"/../../../../../Documentation/networking/imq.rst; do
		[ ! -f "$file" ] || realpath "$file"
	done | sort -u
}

list=''
if [ "${1:-}" = -l ]; then
	list=1
	shift
fi
if [ $# -gt 0 ]; then
	files=("$@")
else
	mapfile -t files < <(default_files)
fi

if [ "$list" ]; then
	imq_begun=1
	for file in "${files[@]}"; do
		dir=$imq_tmp/doc/${file##*/}
		extract "$file" "$dir"
		sed "s|^|${file##*/}: |" "$dir/index"
	done
	exit 0
fi

imq_begin
[ "${#files[@]}" -gt 0 ] || imq_test "the documentation" skip "not here"
for file in "${files[@]}"; do
	dir=$imq_tmp/doc/${file##*/}
	imq_test "${file##*/}: blocks" extract "$file" "$dir"
	[ -f "$dir/index" ] || continue
	while read -r name <&5; do
		imq_test "${file##*/}: $name" example "$dir" "$name"
	done 5< <(names "$dir")
done
imq_end
