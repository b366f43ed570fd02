# SPDX-License-Identifier: GPL-2.0
#
# The picture that plot.sh draws. It sets: data (directory), goal (share of IFB's
# overhead), heading, subheading and footer, and the terminal and output.
#
# Files in data, one for each panel: lone and burst, with a line for each qdisc: its
# name, and the overheads of IFB, of IMQ by nft and by iptables.

# Okabe and Ito's colours, as in tools/demo/plot.gp.
array colour[3] = [0xe69f00, 0x009e73, 0x0072b2]
array name[3] = ["IFB", "IMQ, nft", "IMQ, iptables"]
array arrival[2] = ["lone", "burst"]
array title[2] = ["Packets one by one", "Bursts of 32"]
ink = 0x222222
grey = 0x707070
pale = 0xdddddd

set datafile separator ","
set border 3 lc rgb grey lw 1
set tics nomirror out scale 0.5 textcolor rgb ink
set grid ytics lt 1 lc rgb pale lw 0.6
set key off
set style fill solid 1.0 noborder

left = 0.06
right = 0.985
gap = 0.045
width = (right - left - gap) / 2

# One scale for both.
stats data . "/lone" using 2 nooutput
top = STATS_max
stats data . "/burst" using 2 nooutput
top = 1.2 * (top > STATS_max ? top : STATS_max)

set multiplot
set label 1 heading at screen left, 0.94 left font ",22" tc rgb ink
set label 2 subheading at screen left, 0.875 left font ",13" tc rgb grey
set label 3 footer at screen left, 0.03 left font ",11" tc rgb grey
set bmargin at screen 0.16
set tmargin at screen 0.76
set yrange [0:top]
set xtics scale 0 noenhanced
set ylabel "instructions per packet" tc rgb ink offset -0.4, 0
do for [p = 1:2] {
	file = data . "/" . arrival[p]
	set lmargin at screen left + (p - 1) * (width + gap)
	set rmargin at screen left + (p - 1) * (width + gap) + width
	set label 4 title[p] at graph 0, 1.07 left font ",17" tc rgb ink
	set xrange [-0.6:4.6]
	if (p == 2) {
		do for [i = 1:3] {
			set label 10 + i name[i] at screen right - 0.3 + 0.07 * i, 0.94 left \
				font ",14" tc rgb colour[i]
		}
	}
	plot for [i = 1:3] file using ($0 + (i - 2) * 0.27):(column(i + 1)):(0.25) \
			with boxes lc rgb colour[i], \
		for [i = 1:3] file using ($0 + (i - 2) * 0.27):(0): \
			(sprintf("%.0f", column(i + 1))) with labels offset 0, 0.7 font ",10" tc rgb 0xffffff, \
		file using 0:(0):xtic(1) with points pt -1, \
		file using ($0 - 0.135):(goal * $2):(0.54):(0) with vectors nohead dt (6, 4) lw 1.6 lc rgb ink
	unset label
	unset ylabel
}
unset multiplot
