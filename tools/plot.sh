# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How results are drawn (bash, sourced).

# draw NAME SIZE FILE...: NAME.png and NAME.svg, SIZE ("width, height") in pixels, by
# gnuplot's commands in the files.
draw() {
	local name=$1 size=$2
	shift 2

	gnuplot -e "set terminal pngcairo size $size font 'DejaVu Sans,13' background '#ffffff'" \
		-e "set output '$name.png'" "$@"
	gnuplot -e "set terminal svg size $size font 'sans-serif,13' fontscale 1.25 background '#ffffff'" \
		-e "set output '$name.svg'" "$@"
}
