#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Datagrams at given rates; at what rate they arrive, and how late.

usage: imq_load.py [--settle S] [--time S] [--watch NETNS,DEV] FLOW...

Sends S seconds (--time, default 10) after a time in which queues fill (--settle,
default 1), and tells of what has arrived in the former. As `imq_traffic.py udp',
with the same FLOW; it knows the keys id, from, to, dst, at, src, port, atport,
sport, mark, tos, prio, size (default 1472) of these, and

  rate=N      bit/s that are sent, of IP packets (default 1000000)
  random=1    not at even distances, but each at a random moment of its interval
  nat=1       `at' is behind NAT, and unknown to the sender: it is sent to whoever
              says hello from there, on the way to src and sport

A line per flow: sent= got= (datagrams), bytes= (of IP), rate= (bit/s of IP,
between the first and the last arrival: exact to one packet in all of them),
late= (behind a higher number), and the time that they were on the way, in us:
min= mean= p50= p95= max=. The last line is for all flows: id=all, got=, bytes=,
rate=, and jain=, Jain's index of the bytes of each receiving address (1: all got
the same).

--watch looks at the qdiscs of DEV four times a second, and prints id=tc, drops=
(of the root qdisc), and of what the qdiscs say about how long packets wait, where
they do, the means in us: ldelay= (codel, fq_codel: the last packet of each queue),
avg_delay=, peak_delay= (cake).

Times are the kernel's: when sendto() was called, and when the packet came to the
receiver's interface. In simulated time (time-travel=inf-cpu) nothing but queues
takes time. The exit status is 1 if the traffic couldn't be made at all.
"""

import ctypes
import heapq
import json
import random
import re
import socket
import struct
import subprocess
import time

from imq_traffic import HEADER, RUN, Flow, Usage, program

SO_TIMESTAMPNS = 35
PR_SET_TIMERSLACK = 29
STAMP = struct.Struct("!IIIQ")      # HEADER, and the time in ns
POLL = 5 * 10 ** 6     # ns, between two looks at what has arrived


class Load:
    def __init__(self, flow):
        self.flow = flow
        o = flow.o
        if o["size"] < STAMP.size or o["rate"] <= 0:
            raise Usage("size must be %d or more, rate more than 0" % STAMP.size)
        self.length = o["size"] + (48 if flow.v6 else 28)
        self.interval = self.length * 8e9 / o["rate"]
        self.rx = flow.receiver(socket.SOCK_DGRAM)
        self.rx.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.rx.setblocking(False)
        self.tx = flow.sender(socket.SOCK_DGRAM)
        if o["nat"]:
            self.meet()
        else:
            self.tx.connect((o["dst"], o["port"]))
        self.padding = bytes(o["size"] - STAMP.size)
        self.sent = self.got = self.late = 0
        self.highest = -1
        self.first = self.last = 0
        self.delays = []

    def meet(self):
        """What is behind NAT speaks first."""
        o = self.flow.o
        self.rx.sendto(b"hello", (o["src"], o["sport"]))
        self.tx.settimeout(5)
        self.tx.connect(self.tx.recvfrom(100)[1])
        self.tx.settimeout(None)

    def moments(self, start):
        """When datagrams are sent, in ns."""
        n = 0
        while True:
            n += 1
            shift = random.random() if self.flow.o["random"] else 0
            yield int(start + (n + shift) * self.interval)

    def send(self):
        try:
            self.tx.send(STAMP.pack(RUN, self.flow.number, self.sent, time.time_ns()) +
                         self.padding)
        except OSError:
            pass    # dropped by a qdisc on the way
        self.sent += 1

    def receive(self, begin, end):
        while True:
            try:
                data, control, _, _ = self.rx.recvmsg(self.flow.o["size"] + 1, 64)
            except BlockingIOError:
                return
            except OSError:
                continue    # an ICMP error
            if len(data) != self.flow.o["size"] or HEADER.unpack_from(data)[0] != RUN:
                continue
            now = time.time_ns()
            for level, kind, value in control:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    seconds, ns = struct.unpack("=qq", value)
                    now = seconds * 10 ** 9 + ns
            if begin <= now < end:
                self.account(now, *STAMP.unpack_from(data)[2:])

    def account(self, now, number, sent):
        self.first = self.first or now
        self.last = now
        self.got += 1
        self.late += number < self.highest
        self.highest = max(self.highest, number)
        self.delays.append(now - sent)

    def bytes(self):
        return self.got * self.length

    def rate(self):
        return rate(self.bytes() - self.length, self.last - self.first)

    def report(self):
        delays = sorted(self.delays) or [0]
        n = len(delays)
        print("id=%s sent=%d got=%d bytes=%d rate=%.0f late=%d min=%.1f mean=%.1f "
              "p50=%.1f p95=%.1f max=%.1f" % (
                  self.flow.o["id"], self.sent, self.got, self.bytes(), self.rate(),
                  self.late, delays[0] / 1e3, sum(delays) / n / 1e3,
                  delays[n // 2] / 1e3, delays[n * 95 // 100] / 1e3, delays[-1] / 1e3))


class Watch:
    """What the qdiscs of a device say"""

    EVERY = 250 * 10 ** 6   # ns
    KEYS = {"ldelay": "ldelay", "avg_delay_us": "avg_delay", "peak_delay_us": "peak_delay"}

    def __init__(self, where):
        self.netns, sep, self.dev = where.partition(",")
        if not sep:
            raise Usage("--watch: not NETNS,DEV: " + where)
        self.first = self.drops = None
        self.sums = {}
        self.next = 0

    def show(self, *args):
        return subprocess.run(["tc", "-n", self.netns, "-s", *args, "show", "dev", self.dev],
                              stdout=subprocess.PIPE, check=True, text=True).stdout

    def look(self, now):
        self.next = now + self.EVERY
        qdiscs = json.loads(self.show("-j", "qdisc"))
        for qdisc in qdiscs:
            if qdisc.get("root"):
                self.drops = qdisc["drops"]
                if self.first is None:
                    self.first = self.drops
        self.collect(qdiscs)
        if any(qdisc["kind"] == "fq_codel" for qdisc in qdiscs):
            # tc makes no valid JSON of classes.
            for value, unit in re.findall(r" ldelay ([0-9.]+)(us|ms|s)\b", self.show("class")):
                self.add("ldelay", float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit])

    def add(self, key, value):
        self.sums.setdefault(key, []).append(value)

    def collect(self, item):
        """They are at different depths."""
        if isinstance(item, list):
            for value in item:
                self.collect(value)
        elif isinstance(item, dict):
            for key, value in item.items():
                if key in self.KEYS:
                    self.add(self.KEYS[key], value)
                else:
                    self.collect(value)

    def report(self):
        print("id=tc drops=%d" % (self.drops - self.first) + "".join(
            " %s=%.1f" % (key, sum(values) / len(values)) for key, values in self.sums.items()))


def rate(count, ns):
    return count * 8e9 / ns if ns > 0 else 0


def report_all(loads):
    by_host = {}
    for load in loads:
        at = load.flow.o["at"]
        by_host[at] = by_host.get(at, 0) + load.bytes()
    total = by_host.values()
    first = min((load.first for load in loads if load.got), default=0)
    last = max(load.last for load in loads)
    squares = sum(n * n for n in total)
    print("id=all got=%d bytes=%d rate=%.0f jain=%.5f" % (
        sum(load.got for load in loads), sum(total),
        rate(sum(total) - loads[0].length, last - first),
        sum(total) ** 2 / (len(total) * squares) if squares else 0))


def run(loads, settle, seconds, watch):
    start = time.time_ns()
    begin = start + int(settle * 1e9)
    end = begin + int(seconds * 1e9)
    moments = [load.moments(start) for load in loads]
    heap = [(next(m), i) for i, m in enumerate(moments)]
    heapq.heapify(heap)
    poll = start
    while True:
        now = time.time_ns()
        if now >= end:
            break
        while heap[0][0] <= now:
            i = heap[0][1]
            loads[i].send()
            heapq.heapreplace(heap, (next(moments[i]), i))
        if now >= poll:
            for load in loads:
                load.receive(begin, end)
            poll = now + POLL
        if watch and begin <= now and now >= watch.next:
            watch.look(now)
        time.sleep(max(0, min(heap[0][0], poll, end) - time.time_ns()) / 1e9)
    if watch:
        watch.look(now)
    for load in loads:
        load.receive(begin, end)
        load.report()
    report_all(loads)
    if watch:
        watch.report()


def main(args):
    Flow.KEYS.update(rate=int, random=int, nat=int)
    Flow.DEFAULTS.update(size=1472, rate=10 ** 6, random=0, nat=0)
    settle, seconds, watch = 1.0, 10.0, None
    while args and args[0].startswith("--"):
        if len(args) < 2 or args[0] not in ("--settle", "--time", "--watch"):
            raise Usage("unknown option, or no value: " + args[0])
        if args[0] == "--settle":
            settle = float(args[1])
        elif args[0] == "--time":
            seconds = float(args[1])
        else:
            watch = Watch(args[1])
        args = args[2:]
    if not args:
        raise Usage(__doc__)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    run([Load(Flow(i + 1, text)) for i, text in enumerate(args)], settle, seconds,
        watch)


if __name__ == "__main__":
    program(main)
