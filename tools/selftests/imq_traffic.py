#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Traffic between network namespaces, every packet of which is accounted for.

usage: imq_traffic.py udp [--idle MS] [--time S] FLOW...
       imq_traffic.py tcp [--time S] FLOW...

All sockets of all namespaces belong to this one process. A FLOW is a comma
separated list of key=value:

  id=NAME     printed in front of the results (default: f1, f2...)
  from=NS     namespace of the sender, by its name in /run/netns
  to=NS       namespace of the receiver (default: that of the sender)
  dst=ADDR    address that the sender sends to
  at=ADDR     address that the receiver binds to (default: dst)
  src=ADDR    address that the sender binds to (default: any)
  port=N      port that the sender sends to (default 5000)
  atport=N    port that the receiver binds to (default: port)
  sport=N     port that the sender binds to (default: any)
  prio=N mark=N tos=N   socket options of the sender
  tproxy=1    the receiver's socket is transparent, bound to any address

udp sends datagrams with a number and a pattern in them; more keys:

  count=N     datagrams; 0: until SIGTERM or SIGINT (default 10)
  size=N      bytes of payload, 12 or more (default 100)
  gap=US      microseconds between two of them (default 200)
  echo=1      the receiver sends each of them back

It ends when all have arrived and nothing more came for 100 ms, or when all
have been sent and nothing came for MS milliseconds (default 1000). A line per
flow: sent=, failed= (sent, and refused by the kernel at once), got= (all that
arrived), unique=, dup=, late= (behind a higher number), bad= (wrong content or
size), stray= (of an earlier run; in none of the others), lost= (never arrived),
from= (source addresses, separated by +), and echoed=, edup=, ebad= for the
echoes.

tcp transfers data from the sender; more keys:

  bytes=N     (default 1000000); 0: until SIGTERM or SIGINT
  reverse=1   the receiver, which listens, sends the data
  chunk=N     bytes that it hands over at once (default 65536)

A line per flow: bytes= (arrived), intact=yes|no (by SHA-256), ms= (duration),
from= (the client's address as the server sees it).

The exit status is 0 whatever became of the packets. It is 1, and a message is
printed, if the traffic couldn't be made at all; a connection that can't be
made or is broken in S seconds (default 20, from the signal on if there is a
flow that ends by it) counts: intact=no.
"""

import ctypes
import hashlib
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
HEADER = struct.Struct("!III")
RUN = int.from_bytes(os.urandom(4), "big")
PATTERN = bytes(i * 7 & 0xFF for i in range(256)) * 300

libc = ctypes.CDLL(None, use_errno=True)


class Usage(Exception):
    pass


def program(main):
    """Runs main(arguments); its Usage is an error message."""
    try:
        main(sys.argv[1:])
    except Usage as e:
        print(e, file=sys.stderr)
        sys.exit(1)


def signalled():
    """A list that is empty until SIGTERM or SIGINT"""
    signals = []
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda number, _: signals.append(number))
    return signals


def enter(netns):
    """Sockets are made in this namespace from now on (this thread only)."""
    fd = os.open("/run/netns/" + netns, os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns " + netns)
    finally:
        os.close(fd)


class Flow:
    KEYS = {
        "id": str, "from": str, "to": str, "dst": str, "at": str, "src": str,
        "port": int, "atport": int, "sport": int, "prio": int, "mark": int,
        "tos": int, "tproxy": int, "count": int, "size": int, "gap": int,
        "echo": int, "bytes": int, "reverse": int,
        "chunk": int,
    }
    DEFAULTS = {
        "port": 5000, "sport": 0, "count": 10, "size": 100, "gap": 200,
        "echo": 0, "bytes": 1000000, "reverse": 0, "tproxy": 0, "chunk": 65536,
    }

    def __init__(self, number, text):
        self.number = number
        self.o = dict(self.DEFAULTS, id="f%d" % number)
        for item in text.split(","):
            key, sep, value = item.partition("=")
            if not sep or key not in self.KEYS:
                raise Usage("flow: unknown '%s'" % item)
            self.o[key] = self.KEYS[key](value)
        for key in ("from", "dst"):
            if key not in self.o:
                raise Usage("flow '%s': no %s=" % (text, key))
        self.o.setdefault("to", self.o["from"])
        self.o.setdefault("at", self.o["dst"])
        self.o.setdefault("atport", self.o["port"])
        self.v6 = ":" in self.o["dst"]
        self.family = socket.AF_INET6 if self.v6 else socket.AF_INET

    def make(self, kind):
        s = socket.socket(self.family, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return s

    def receiver(self, kind):
        enter(self.o["to"])
        s = self.make(kind)
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        at = self.o["at"]
        if self.o["tproxy"]:
            at = "::" if self.v6 else "0.0.0.0"
            if self.v6:
                s.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            else:
                s.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        s.bind((at, self.o["atport"]))
        return s

    def sender(self, kind):
        enter(self.o["from"])
        s = self.make(kind)
        if kind == socket.SOCK_DGRAM:
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            s.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)
        if "mark" in self.o:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.o["mark"])
        if "tos" in self.o:
            if self.v6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, self.o["tos"])
            else:
                s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self.o["tos"])
        if "prio" in self.o:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, self.o["prio"])
        if "src" in self.o or self.o["sport"]:
            s.bind((self.o.get("src", ""), self.o["sport"]))
        return s


class Seen:
    """Which numbered datagrams have arrived at one end."""

    def __init__(self, flow):
        self.flow = flow
        self.numbers = set()
        self.peers = set()
        self.got = self.dup = self.late = self.bad = self.stray = 0
        self.highest = -1

    def add(self, data, peer):
        self.got += 1
        self.peers.add(peer[0])
        if len(data) != self.flow.o["size"]:
            self.bad += 1
            return
        run, flow, number = HEADER.unpack_from(data)
        if run != RUN:
            self.got -= 1
            self.stray += 1
            return
        if (flow != self.flow.number or
                data[HEADER.size:] != pattern(number, len(data))):
            self.bad += 1
            return
        if number in self.numbers:
            self.dup += 1
            return
        self.numbers.add(number)
        if number < self.highest:
            self.late += 1
        self.highest = max(self.highest, number)


def pattern(number, size):
    start = number & 0xFF
    return PATTERN[start:start + size - HEADER.size]


def datagram(flow, number):
    return (HEADER.pack(RUN, flow.number, number) +
            pattern(number, flow.o["size"]))


class Udp:
    def __init__(self, flow, select):
        if flow.o["size"] < HEADER.size:
            raise Usage("size must be %d or more" % HEADER.size)
        self.flow = flow
        self.sent = 0
        self.failed = 0
        self.seen = Seen(flow)
        self.echoed = Seen(flow)
        self.next = 0.0
        self.rx = flow.receiver(socket.SOCK_DGRAM)
        self.tx = flow.sender(socket.SOCK_DGRAM)
        for s in self.rx, self.tx:
            s.setblocking(False)
        select.register(self.rx, selectors.EVENT_READ, self.on_data)
        select.register(self.tx, selectors.EVENT_READ, self.on_echo)

    def more(self):
        return not self.flow.o["count"] or self.sent < self.flow.o["count"]

    def send(self):
        """A datagram that the stack refuses for now (ENOBUFS: the qdisc has
        dropped it) is sent, and lost."""
        to = (self.flow.o["dst"], self.flow.o["port"])
        try:
            self.tx.sendto(datagram(self.flow, self.sent), to)
        except BlockingIOError:
            return
        except OSError:
            self.failed += 1
        self.sent += 1

    def receive(self, s, seen, echo):
        for _ in range(64):
            try:
                data, peer = s.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue    # an ICMP error
            seen.add(data, peer)
            if echo:
                try:
                    s.sendto(data, peer)
                except OSError:
                    pass

    def on_data(self):
        self.receive(self.rx, self.seen, self.flow.o["echo"])

    def on_echo(self):
        self.receive(self.tx, self.echoed, False)

    def complete(self):
        return (len(self.seen.numbers) == self.sent and
                (not self.flow.o["echo"] or
                 len(self.echoed.numbers) == self.sent))

    def report(self):
        s, e = self.seen, self.echoed
        print("id=%s sent=%d failed=%d got=%d unique=%d dup=%d late=%d bad=%d "
              "stray=%d lost=%d from=%s echoed=%d edup=%d ebad=%d" % (
                  self.flow.o["id"], self.sent, self.failed, s.got,
                  len(s.numbers), s.dup, s.late, s.bad, s.stray,
                  self.sent - len(s.numbers), "+".join(sorted(s.peers)) or "-",
                  len(e.numbers), e.dup, e.bad))


def udp(flows, idle, limit):
    stopped = signalled()

    select = selectors.DefaultSelector()
    runs = [Udp(flow, select) for flow in flows]
    now = last = start = time.monotonic()
    while True:
        sending = [r for r in runs if r.more() and not stopped]
        if sending:
            last = now
        elif now - last > (0.1 if all(r.complete() for r in runs) else idle):
            break
        if limit and now - start > limit:
            break
        for r in sending:
            if r.next <= now:
                r.send()
                # Never catch up in a burst.
                r.next = max(r.next, now - 0.002) + r.flow.o["gap"] / 1e6
        wait = 0.01
        if sending:
            wait = max(0, min(r.next for r in sending) - time.monotonic())
        for key, _ in select.select(min(wait, 0.01)):
            key.data()
            last = time.monotonic()
        now = time.monotonic()
    for r in runs:
        r.report()


class Tcp:
    """One connection; the server and the client have a thread each."""

    def __init__(self, flow, limit, stopped):
        self.flow = flow
        self.limit = limit
        self.stopped = stopped
        self.sent = 0
        self.errors = []
        self.peer = "-"
        self.sum_in = self.sum_out = None
        self.bytes = 0
        self.ms = 0
        self.listener = flow.receiver(socket.SOCK_STREAM)
        self.listener.listen(4)
        self.listener.settimeout(limit)
        self.threads = [threading.Thread(target=self.guard, args=(f,), daemon=True)
                        for f in (self.server, self.client)]

    def guard(self, function):
        try:
            function()
        except OSError as e:
            self.errors.append(str(e).replace(" ", "_"))

    def server(self):
        s, peer = self.listener.accept()
        self.peer = peer[0]
        s.settimeout(self.limit)
        self.pump(s) if self.flow.o["reverse"] else self.drain(s)

    def client(self):
        s = self.flow.sender(socket.SOCK_STREAM)
        s.settimeout(self.limit)
        s.connect((self.flow.o["dst"], self.flow.o["port"]))
        self.drain(s) if self.flow.o["reverse"] else self.pump(s)

    def more(self):
        """Bytes that are left to send at least"""
        if not self.flow.o["bytes"]:
            return 0 if self.stopped else self.flow.o["chunk"]
        return self.flow.o["bytes"] - self.sent

    def pump(self, s):
        sha, n = hashlib.sha256(), 0
        pattern = PATTERN * (1 + self.flow.o["chunk"] // 65536)
        while self.more():
            start = n * 13 & 0xFF
            data = pattern[start:start + min(self.more(), self.flow.o["chunk"])]
            n += 1
            sha.update(data)
            s.sendall(data)
            self.sent += len(data)
        self.sum_out = sha.digest()
        s.shutdown(socket.SHUT_WR)
        s.recv(1)    # the other end has all

    def drain(self, s):
        sha, start = hashlib.sha256(), time.monotonic()
        while True:
            data = s.recv(1 << 18)
            if not data:
                break
            sha.update(data)
            self.bytes += len(data)
        self.ms = int((time.monotonic() - start) * 1000)
        self.sum_in = sha.digest()
        s.close()

    def report(self):
        intact = (self.sum_in == self.sum_out and self.sum_in is not None and
                  self.bytes == self.sent)
        print("id=%s bytes=%d intact=%s ms=%d from=%s errors=%s" % (
            self.flow.o["id"], self.bytes, "yes" if intact else "no", self.ms,
            self.peer, "+".join(self.errors) or "-"))


def tcp(flows, limit):
    stopped = signalled()

    runs = [Tcp(flow, limit or 20, stopped) for flow in flows]
    for r in runs:
        for t in r.threads:
            t.start()
    while not stopped and not all(flow.o["bytes"] for flow in flows):
        time.sleep(0.1)
    end = time.monotonic() + (limit or 20)
    for r in runs:
        for t in r.threads:
            t.join(max(0.01, end - time.monotonic()))
    for r in runs:
        r.report()
    sys.stdout.flush()
    os._exit(0)    # without waiting for threads that hang


def main(args):
    if not args or args[0] not in ("udp", "tcp"):
        raise Usage(__doc__)
    kind, args = args[0], args[1:]
    idle, limit = 1.0, 0
    while args and args[0].startswith("--"):
        if len(args) < 2:
            raise Usage("%s: no value" % args[0])
        if args[0] == "--idle":
            idle = int(args[1]) / 1000
        elif args[0] == "--time":
            limit = float(args[1])
        else:
            raise Usage("unknown option " + args[0])
        args = args[2:]
    flows = [Flow(i + 1, text) for i, text in enumerate(args)]
    if not flows:
        raise Usage("no flow")
    if kind == "udp":
        udp(flows, idle, limit)
    else:
        tcp(flows, limit)


if __name__ == "__main__":
    program(main)
