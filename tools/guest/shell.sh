#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/guest/shell.sh [KERNEL]
#
# Boots KERNEL (default um-builtin) with the patched tools, for trying things
# out: a shell in the guest on this terminal. The guest is User Mode Linux; it
# ends with the shell. Nothing that it writes stays.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -le 1 ] || usage
prefixes=()
for name in nft iptables iproute2 plugins; do
	if p=$("$IMQ_TOP/tools/userland/prefix.sh" "$name"); then
		prefixes+=(--prefix "$p")
	fi
done
exec "$IMQ_TOP/tools/guest/run.sh" --tty --timeout 86400 "${prefixes[@]}" \
	"${1:-um-builtin}" -- bash -i
