# SPDX-License-Identifier: GPL-2.0
#
# The picture that plot.sh draws. It sets: data (directory of files to plot),
# passes, hosts, agreed (lists), np and nh (their lengths), title1, title2...
# and short1, short2... (names of the passes), heading, subheading and footer, from and to (measured time, s), top_rate
# (Mbit/s), share_min and share_max (percent), rtt_min and rtt_max (ms), idle
# (ms), limit (ms), and the terminal and output.
#
# Files in data: PASS.HOST.rate (s, Mbit/s) and summary (pass number, host number,
# percent of the agreed rate, median, 5th and 95th percentile of the ping in ms).

# Okabe and Ito's colours, told apart with any kind of colour vision.
array colour[6] = [0xd55e00, 0xe69f00, 0x009e73, 0x56b4e9, 0x0072b2, 0xcc79a7]
ink = 0x222222
grey = 0x707070
pale = 0xdddddd

host(h) = word(hosts, h)
rate(h) = word(agreed, h) + 0
title(p) = value(sprintf("title%d", p))
short(p) = value(sprintf("short%d", p))

set datafile separator ","
set border 3 lc rgb grey lw 1
set tics nomirror out scale 0.5 textcolor rgb ink
set grid ytics lt 1 lc rgb pale lw 0.6
set key off
set style fill solid 1.0 noborder

# The panels' edges, in shares of the page.
left = 0.058
right = 0.927
top_from = 0.515
top_to = 0.835
bottom_from = 0.115
bottom_to = 0.385
gap = 0.022
width = (right - left - gap * (np - 1)) / np
half = (right - left - 0.085) / 2

set multiplot
set label 1 heading at screen left, 0.957 left font ",23" tc rgb ink
set label 2 subheading at screen left, 0.917 left font ",13" tc rgb grey
set label 6 footer at screen left, 0.022 left font ",11" tc rgb grey

# --- throughput over time, one panel for each pass
set bmargin at screen top_from
set tmargin at screen top_to
set xrange [0:to]
set yrange [0:top_rate]
set xtics 5
set ytics 4
set xlabel "seconds since the downloads began" tc rgb ink offset 0, 0.4
set ylabel "received, Mbit/s" tc rgb ink offset -0.4, 0
set object 1 rectangle from 0, 0 to from, top_rate fc rgb 0xf0f0f0 fs noborder behind
do for [h = 1:nh] {
	set arrow h from 0, rate(h) to to, rate(h) nohead dt (9, 6) lw 1.7 lc rgb colour[h] back
}
do for [p = 1:np] {
	set lmargin at screen left + (p - 1) * (width + gap)
	set rmargin at screen left + (p - 1) * (width + gap) + width
	set label 3 title(p) at graph 0, 1.065 left font ",17" tc rgb ink
	if (p == 1) {
		set label 4 "start,\nnot measured" at from / 2.0, top_rate * 0.96 \
			center font ",10" tc rgb grey
	}
	if (p == np) {
		set label 5 "agreed" at graph 1.02, first rate(nh) + 0.075 * top_rate left font ",12" tc rgb grey
		do for [h = 1:nh] {
			set label 10 + h sprintf("%s %g", host(h), rate(h)) \
				at graph 1.02, first rate(h) left font ",13" tc rgb colour[h]
		}
	}
	plot for [h = 1:nh] sprintf("%s/%s.%s.rate", data, word(passes, p), host(h)) \
		using 1:2 with lines lw 2.8 lc rgb colour[h]
	unset label
	unset ylabel
	set format y ""
}
unset object
unset arrow
set format y "%g"

# --- one slot for each host, grouped by pass
set bmargin at screen bottom_from
set tmargin at screen bottom_to
set logscale y
unset xtics
unset xlabel
slot(p, h) = (p - 1) * (nh + 1) + h
set xrange [0.2:np * (nh + 1) - 0.2]
do for [p = 1:np] {
	set label 10 + p short(p) at slot(p, (nh + 1) / 2.0), graph -0.18 center font ",14" tc rgb ink
	do for [h = 1:nh] {
		set label 100 + p * 10 + h host(h) at slot(p, h), graph -0.075 \
			center font ",11" tc rgb colour[h]
	}
}

# Bars grow up or down from 100 percent.
set lmargin at screen left
set rmargin at screen left + half
set label 3 "Received, as a share of what was agreed" at graph 0, 1.1 left font ",17" tc rgb ink
set ylabel "percent (log scale)" tc rgb ink offset 0, 0
set yrange [share_min:share_max]
set ytics (6.25, 12.5, 25, 50, 100, 200, 400, 800, 1600)
set arrow 1 from graph 0, first 100 to graph 1, first 100 nohead lw 1.2 lc rgb ink front
low(y) = y < 100 ? y : 100
high(y) = y < 100 ? 100 : y
plot data . "/summary" using (slot($1, $2)):(100):(slot($1, $2) - 0.36):(slot($1, $2) + 0.36):(low($3)):(high($3)):(colour[int($2)]) \
		with boxxyerror lc rgb variable, \
	"" using (slot($1, $2)):(high($3)):(sprintf("%.0f", $3)) \
		with labels offset 0, 0.6 font ",11" tc rgb ink
unset label 3
unset arrow

set lmargin at screen right - half
set rmargin at screen right
set label 3 "Ping while downloading{/*0.75 :  median, 5th to 95th percentile}" at graph 0, 1.1 left font ",17" tc rgb ink
set ylabel "round trip, ms (log scale)" tc rgb ink offset 0, 0
set yrange [rtt_min:rtt_max]
set ytics (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
set arrow 1 from graph 0, first limit to graph 1, first limit nohead dt (9, 6) lw 1.5 lc rgb ink back
set label 4 sprintf("goal %g ms", limit) at graph 1.015, first limit left font ",11" tc rgb ink
set arrow 2 from graph 0, first idle to graph 1, first idle nohead dt (2, 4) lw 1.5 lc rgb grey back
set label 5 "idle line" at graph 1.015, first idle left font ",11" tc rgb grey
set bars 0.6
plot data . "/summary" using (slot($1, $2)):4:5:6:(colour[int($2)]) \
		with yerrorbars pt 7 ps 1.3 lw 2.4 lc rgb variable, \
	"" using (slot($1, $2)):6:(sprintf("%.0f", $4)) \
		with labels offset 0, 0.7 font ",11" tc rgb ink
unset multiplot
