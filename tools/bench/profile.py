#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: profile.py [-b CASE] [-f FUNCTION] [-m MIN] DIR N CASE...

Prints instructions per packet by function, from DIR/count.N (plugin.c) and
DIR/kallsyms, as profile.sh has made them: three countings for each case in turn,
of which the last has N + 1600 packets and the one before 1600.

    -b CASE      sort by what the last case has more than this one (default: the first)
    -f FUNCTION  instead, print the instructions of FUNCTION and how often each is
                 executed per packet, in the last case
    -m MIN       no functions where no two cases differ by MIN (default 0.5)
"""
import bisect
import getopt
import os
import sys
from collections import defaultdict

USER = "(user space)"
IDLE = ("default_idle", "pv_native_safe_halt", "native_safe_halt", "default_idle_call")


class Symbols:
    """Functions by address."""

    def __init__(self, name):
        symbols = {}
        with open(name, encoding="ascii") as f:
            for line in f:
                word = line.split()
                if word[1] in "tTwW":
                    symbols.setdefault(int(word[0], 16), word[2])
        self.addrs = sorted(symbols)
        self.names = [symbols[a] for a in self.addrs]

    def find(self, addr):
        """Name and offset."""
        if not addr:
            return USER, 0
        i = bisect.bisect_right(self.addrs, addr) - 1
        return self.names[i], addr - self.addrs[i]


def read(name):
    """How often each instruction was executed, by address."""
    counts = defaultdict(int)
    with open(name, encoding="ascii") as f:
        for line in f:
            addr, count = line.split()
            counts[int(addr, 16)] += int(count)
    return counts


def per_packet(directory, nth, packets):
    """The same per packet, of the nth case."""
    few = read(os.path.join(directory, "count.%d" % (3 * nth + 2)))
    many = read(os.path.join(directory, "count.%d" % (3 * nth + 3)))
    return {a: (n - few.get(a, 0)) / packets for a, n in many.items()}


def main():
    """See above."""
    try:
        opts, args = getopt.getopt(sys.argv[1:], "b:f:m:")
        directory, packets, *cases = args
        packets = int(packets)
    except (getopt.GetoptError, ValueError):
        sys.stderr.write(__doc__)
        return 2
    opts = dict(opts)
    least = float(opts.get("-m", 0.5))
    symbols = Symbols(os.path.join(directory, "kallsyms"))
    counts = [per_packet(directory, i, packets) for i in range(len(cases))]

    if "-f" in opts:
        for addr, n in sorted(counts[-1].items()):
            name, offset = symbols.find(addr)
            if name == opts["-f"]:
                print("%s+0x%x %8.2f" % (name, offset, n))
        return 0

    sums = defaultdict(lambda: [0.0] * len(cases))
    for i, count in enumerate(counts):
        for addr, n in count.items():
            sums[symbols.find(addr)[0]][i] += n
    for name in IDLE:
        sums.pop(name, None)
    base = cases.index(opts["-b"]) if "-b" in opts else 0

    def short(case):
        return case.replace("floor", "fl").replace("iptables", "ipt")[:9]

    def row(name, values):
        diffs = "".join("%+10.1f" % (v - values[base]) for i, v in enumerate(values) if i != base)
        print("%-34s" % name + "".join("%10.1f" % v for v in values) + diffs)

    print("%-34s" % "" + "".join("%10s" % short(c) for c in cases) +
          "".join("%10s" % ("+" + short(c)) for i, c in enumerate(cases) if i != base))
    row("all", [sum(v[i] for v in sums.values()) for i in range(len(cases))])
    for name, values in sorted(sums.items(), key=lambda s: s[1][base] - s[1][-1]):
        if max(values) - min(values) >= least:
            row(name, values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
