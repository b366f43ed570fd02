#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: tools/clean.sh [--all]
#
# Removes what was built, in the cache and in the repository. Sources and
# ccache stay, unless --all is given.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

what=(kernel kernels userland guest check soak upstream ksft nft-suites each-patch apt)
case ${1:-} in
'') ;;
--all) what+=(sources ccache locks apt-install.log) ;;
*) usage ;;
esac
for name in "${what[@]}"; do
	rm -rf "${IMQ_CACHE:?}/$name"
done
rm -rf "$IMQ_TOP/out"
[ ! -d "$IMQ_TOP/work" ] || log "work/ is kept: it may hold edits"
