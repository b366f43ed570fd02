# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What boots a guest whose clock counts instructions (bash, sourced after lib.sh).

# The program that sends (send.c), built when needed.
ruler_send=$IMQ_CACHE/guest/send-$(hash_files "$IMQ_TOP/tools/bench/send.c" | cut -c1-12)
if [ ! -x "$ruler_send" ]; then
	mkdir -p "${ruler_send%/*}"
	cc -O2 -Wall -Wextra -o "$ruler_send.$$" "$IMQ_TOP/tools/bench/send.c"
	mv "$ruler_send.$$" "$ruler_send"
fi

# The patched nft, and the plugin for the system's iptables.
ruler_prefixes=()
for ruler_name in plugins nft; do
	ruler_prefixes+=(--prefix "$("$IMQ_TOP/tools/userland/prefix.sh" "$ruler_name")")
done

# ruler_guest OPTION... KERNEL -- COMMAND...: run.sh, so that the guest's clock runs
# as qemu's counts, and that clearing and copying memory is not an instruction for
# each byte, as qemu counts string instructions.
ruler_guest() {
	"$IMQ_TOP/tools/guest/run.sh" -q --icount --timeout 3600 "${ruler_prefixes[@]}" \
		--env "BENCH_SEND=$ruler_send" \
		--append 'tsc_early_khz=1000000 tsc=reliable clearcpuid=erms,fsrm,fsrs' "$@"
}
