#!/bin/sh
# SPDX-License-Identifier: GPL-2.0

# shellcheck source=/dev/null
. lib/generic.sh

ts_log "[Testing Add IMQ interface]"

# Most kernels have no imq devices: nothing to test there.
"$IP" link add dev imq0 type imq 2> /dev/null || ts_skip
ts_ip "$0" "Del imq0"			link del dev imq0

NEW_DEV="$(rand_dev)"

ts_ip "$0" "Add $NEW_DEV, index 7"	link add dev "$NEW_DEV" type imq index 7
ts_ip "$0" "Show $NEW_DEV"		-d link show dev "$NEW_DEV"
test_on "imq index 7 "
ts_ip "$0" "Show $NEW_DEV, JSON"	-d -j link show dev "$NEW_DEV"
test_on '"info_kind":"imq","info_data":\{"index":7\}'
ts_ip "$0" "Show $NEW_DEV, counters"	-s -d link show dev "$NEW_DEV"
test_on "bypass_down 0 bypass_nomem 0 bypass_unfit 0 "
test_on "drop_dev 0 drop_hook 0 drop_sock 0 foreign 0 ring_full 0 "
ts_ip "$0" "Show $NEW_DEV, JSON"	-s -d -j link show dev "$NEW_DEV"
test_on '"info_xstats":\{"bypass_down":0,.*"ring_full":0\}'
ts_ip "$0" "Set $NEW_DEV, same index"	link set dev "$NEW_DEV" type imq index 7
ts_ip "$0" "Show type imq"		-d link show type imq
test_on "imq index 7 "
ts_ip "$0" "Del $NEW_DEV"		link del dev "$NEW_DEV"

ts_ip "$0" "Add imq5"			link add dev imq5 type imq
ts_ip "$0" "Show imq5"			-d link show dev imq5
test_on "imq index 5 "

ts_ip "$0" "Add $NEW_DEV, free index"	link add dev "$NEW_DEV" type imq
ts_ip "$0" "Show $NEW_DEV"		-d link show dev "$NEW_DEV"
test_on "imq index 0 "

ts_ip "$0" "Del $NEW_DEV"		link del dev "$NEW_DEV"
ts_ip "$0" "Del imq5"			link del dev imq5
