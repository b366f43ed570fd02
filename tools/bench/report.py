#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: report.py [--quick] DIR

Reads DIR/raw/*.tsv, one file for each boot (lines as guest.sh prints them), and
writes DIR/table.md, DIR/bench.json and, for plot.sh, DIR/plot.csv. Prints the table.

Figures are instructions per packet: the median of the measurements of each boot, and
of these the median. "spread" is the difference between the largest and the smallest
median, as a share of the largest; with one boot, between its measurements. Not of
maps: how long the chains of their hash tables are is another thing in each boot.
  overhead   what a case takes beyond the floor of the same qdisc and arrival, for IMQ
             the floor with a rule in the place of IMQ's that lets all pass
  ratio      overhead, as a share of IFB's

--quick: whatever there is, and no goals.

Exit status: 0 when all goals are met, 1 when not, 2 when figures are missing.
"""
import json
import os
import sys
from glob import glob
from statistics import median

QDISCS = {
    "pfifo": "pfifo", "htb": "htb, 1 class", "htb100": "htb, 100 classes by mark",
    "fq_codel": "fq_codel", "cake": "cake",
}
ARRIVALS = {"lone": "lone packets", "burst": "bursts of 32"}
IMQ = ("imq-nft", "imq-iptables")

# The goals
MAX_RATIO = 0.60		# of IFB's overhead
MAX_UNUSED = 0.2		# percent over the kernel without the series
MAX_SCALE = 5.0			# percent between few and many
MAX_SPREAD = 0.1		# percent between measurements


class Missing(Exception):
    """A figure that should be there is not."""


class Figures:
    """Instructions per packet by kernel, arrival, qdisc and case."""

    def __init__(self, directory):
        self.runs = {}
        runs = {}
        self.release = {}
        for name in sorted(glob(os.path.join(directory, "raw", "*.tsv"))):
            with open(name, encoding="ascii") as f:
                for line in f:
                    (_, release, arrival, qdisc, case, _,
                     packets, ns) = line.rstrip("\n").split("\t")
                    kernel = "plain" if release.endswith("-plain") else "imq"
                    self.release[kernel] = release
                    key = kernel, arrival, qdisc, case
                    runs.setdefault(key, {}).setdefault(name, []).append(int(ns) / int(packets))
        if not runs:
            raise Missing("no results in %s/raw" % directory)
        self.boots = min(len(boots) for boots in runs.values())
        for key, boots in runs.items():
            if len(boots) > 1:
                self.runs[key] = [median(r) for r in boots.values()]
            else:
                self.runs[key] = sorted(next(iter(boots.values())))

    def get(self, arrival, qdisc, case, kernel="imq"):
        """One figure for all boots."""
        runs = self.runs.get((kernel, arrival, qdisc, case))
        if not runs:
            raise Missing("no %s, %s, %s on the kernel %s" % (arrival, qdisc, case, kernel))
        return median(runs)

    def has(self, *key):
        """Whether the imq kernel has measured it."""
        return ("imq",) + key in self.runs

    def spread(self):
        """The largest one in percent."""
        return max(100 * (max(runs) - min(runs)) / max(runs)
                   for (*_, case), runs in self.runs.items() if not case.startswith("map:"))

    def floor(self, arrival, qdisc):
        """What the detour is added to."""
        return self.get(arrival, qdisc, "floor")

    def rule(self, arrival, case):
        """What a rule that lets all pass takes; no qdisc changes that."""
        if case not in IMQ:
            return 0
        return self.get(arrival, "pfifo", case.replace("imq", "floor")) - self.floor(arrival, "pfifo")

    def beyond(self, arrival, qdisc, case):
        """Beyond the floor, rule and all."""
        return self.get(arrival, qdisc, case) - self.floor(arrival, qdisc)

    def overhead(self, arrival, qdisc, case):
        """Beyond the floor with the same kind of rule."""
        return self.beyond(arrival, qdisc, case) - self.rule(arrival, case)

    def ratio(self, arrival, qdisc, case, with_rule=False):
        """The same as a share of IFB's."""
        imq = self.beyond if with_rule else self.overhead
        return imq(arrival, qdisc, case) / self.overhead(arrival, qdisc, "ifb")


def number(x):
    """1234.5 as 1,234 or so"""
    return "{:,.0f}".format(x)


def table(head, rows):
    """A table in Markdown, all columns but the first to the right."""
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w)
                                 for i, (c, w) in enumerate(zip(cells, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":"
                          for i, w in enumerate(widths)) + "|"
    return [line(head), rule] + [line(r) for r in rows]


def main_tables(fig):
    """One table for each way of arriving."""
    out = []
    for arrival, title in ARRIVALS.items():
        rows = []
        for qdisc in QDISCS:
            row = [QDISCS[qdisc], number(fig.floor(arrival, qdisc)),
                   "+ " + number(fig.overhead(arrival, qdisc, "ifb"))]
            for case in IMQ:
                row += ["+ " + number(fig.overhead(arrival, qdisc, case)),
                        "%.2f" % fig.ratio(arrival, qdisc, case)]
            rows.append(row)
        out += ["", "**%s**" % title.capitalize(), ""]
        out += table(["qdisc", "floor", "IFB", "IMQ, nft", "of IFB's", "IMQ, iptables",
                      "of IFB's"], rows)
        out += ["", "No qdisc: %s. A rule that lets all pass: %s." % (
            number(fig.get(arrival, "pfifo", "none")), "; ".join(
                "%s + %s (with it, IMQ's overhead would be %.2f to %.2f of IFB's)" % (
                    case[4:], number(fig.rule(arrival, case)),
                    min(fig.ratio(arrival, q, case, True) for q in QDISCS),
                    max(fig.ratio(arrival, q, case, True) for q in QDISCS)) for case in IMQ))]
    return out


class Goals:
    """Claims with a figure and a limit."""

    def __init__(self):
        self.list = []

    def add(self, what, value, limit, form):
        """value must not be above limit."""
        self.list.append({"what": what, "value": value, "limit": limit,
                          "met": value <= limit, "text": form % value})

    def met(self):
        """All of them."""
        return all(g["met"] for g in self.list)

    def lines(self):
        """As a table."""
        return table(["goal", "limit", "measured", ""],
                     [[g["what"], "%g" % g["limit"], g["text"], "" if g["met"] else "MISSED"]
                      for g in self.list])


def judge(fig):
    """The goals of the whole benchmark."""
    goals = Goals()
    for arrival, title in ARRIVALS.items():
        for case in IMQ:
            ratio, qdisc = max((fig.ratio(arrival, q, case), q) for q in QDISCS)
            goals.add("%s, %s: of IFB's overhead, at most (%s)" % (case, title, qdisc), ratio,
                      MAX_RATIO, "%.2f")
    for arrival, title in ARRIVALS.items():
        for case, base, what in (
                ("none", "none", "no rule"),
                ("elsewhere", "elsewhere-accept", "IMQ rules elsewhere, not others")):
            more = 100 * (fig.get(arrival, "pfifo", case) /
                          fig.get(arrival, "pfifo", base, "plain") - 1)
            goals.add("%s, %s: over the plain kernel, percent" % (what, title), more,
                      MAX_UNUSED, "%+.2f")
    one, many = (fig.get("lone", "pfifo", c) for c in ("map:1000:1", "map:1000:1000"))
    goals.add("1,000 devices instead of one, percent", 100 * (many / one - 1), MAX_SCALE, "%+.1f")
    few, many = (fig.get("lone", "pfifo", c) for c in ("map:10:1", "map:10000:1"))
    goals.add("a map of 10,000 customers instead of 10, percent", 100 * (many / few - 1),
              MAX_SCALE, "%+.1f")
    goals.add("spread, percent", fig.spread(), MAX_SPREAD, "%.3f")
    return goals


def notes(fig):
    """What else there is to know, in lines."""
    out = []
    for c, d in ((10, 1), (10000, 1), (1000, 1), (1000, 1000)):
        case = "map:%d:%d" % (c, d)
        if fig.has("lone", "pfifo", case):
            total = fig.get("lone", "pfifo", case)
            line = "map of %s to %s devices: %s" % (number(c), number(d), number(total))
            if fig.has("lone", "pfifo", "floor-dst:%d" % c):
                line += ", + %s" % number(total - fig.get("lone", "pfifo", "floor-dst:%d" % c))
            out.append(line)
    return out


def quick_columns(fig, arrival, qdisc, case):
    """Overhead and its share of IFB's, with the rule and without, as far as measured."""
    def share(figure):
        if not fig.has(arrival, qdisc, "ifb"):
            return ""
        return "%.2f" % (figure / fig.overhead(arrival, qdisc, "ifb"))

    if not fig.has(arrival, qdisc, "floor"):
        return [""] * 4
    beyond = fig.beyond(arrival, qdisc, case)
    columns = [number(beyond), share(beyond)]
    if case in IMQ and fig.has(arrival, "pfifo", case.replace("imq", "floor")):
        over = fig.overhead(arrival, qdisc, case)
        return columns + [number(over), share(over)]
    return columns + ["", ""]


def write_plot(fig, name):
    """The overheads, for plot.sh."""
    with open(name, "w", encoding="ascii") as f:
        f.write("# kernel %s\n# goal %g\n" % (fig.release["imq"], MAX_RATIO))
        f.write("# arrival,qdisc,overhead of ifb," + ",".join(IMQ) + "\n")
        for arrival in ARRIVALS:
            for qdisc in QDISCS:
                f.write(",".join([arrival, qdisc] + [
                    "%.1f" % fig.overhead(arrival, qdisc, c) for c in ("ifb",) + IMQ]) + "\n")


def main():
    """See above."""
    args = sys.argv[1:]
    quick = args[:1] == ["--quick"]
    if quick:
        args.pop(0)
    if len(args) != 1 or args[0].startswith("-"):
        sys.stderr.write(__doc__)
        return 2
    directory = args[0]
    try:
        fig = Figures(directory)
        lines = ["Linux %s; instructions per packet; boots: %d, spread at most %.3f %%"
                 % (fig.release.get("imq") or fig.release["plain"], fig.boots, fig.spread())]
        if quick:
            rows = [[a, q, c, number(fig.get(a, q, c, k))] + quick_columns(fig, a, q, c)
                    for k, a, q, c in fig.runs]
            lines += [""] + table(["arrival", "qdisc", "case", "total", "over floor", "of IFB's",
                                   "less rule", "of IFB's"], rows)
            goals = Goals()
        else:
            lines += main_tables(fig)
            goals = judge(fig)
            write_plot(fig, os.path.join(directory, "plot.csv"))
    except Missing as e:
        sys.stderr.write("report.py: %s\n" % e)
        return 2
    extra = notes(fig)
    if extra:
        lines += [""] + ["- " + line for line in extra]
    if goals.list:
        lines += [""] + goals.lines()
    text = "\n".join(lines) + "\n"
    with open(os.path.join(directory, "table.md"), "w", encoding="ascii") as f:
        f.write(text)
    sys.stdout.write(text)
    with open(os.path.join(directory, "bench.json"), "w", encoding="ascii") as f:
        json.dump({
            "kernel": fig.release,
            "unit": "instructions per packet",
            "figures": [{"kernel": k, "arrival": a, "qdisc": q, "case": c, "runs": runs}
                        for (k, a, q, c), runs in fig.runs.items()],
            "goals": goals.list,
        }, f, indent=1)
        f.write("\n")
    return 0 if goals.met() else 1


if __name__ == "__main__":
    sys.exit(main())
