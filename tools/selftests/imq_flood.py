#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Many numbered datagrams, quickly, every one of which is accounted for.

usage: imq_flood.py [--idle MS] [--time S] FLOW...

As `imq_traffic.py udp', with the same FLOW and the same line of results for
each, but a million datagrams take seconds: they are sent and received in
batches (sendmmsg, recvmmsg). It knows the keys id, from, to, dst, at, src, port,
atport, sport, mark, tos, prio, count, size, gap (default 0), and

  window=N    datagrams on the way at most: sent, and behind the highest number
              that has arrived (default 1000; 0: any number)
  renew=N     the sender takes another socket, and so another port, after each
              N datagrams (default 0: never)

When the window is full and nothing has come for 50 ms, times IMQ_SLOW in the
environment, then what is on the way is taken for lost.

A datagram that is refused by the kernel in the middle of a batch is tried again
once: use imq_traffic.py where an error is what a packet is to meet.
"""

import ctypes
import errno
import os
import selectors
import socket
import struct
import time

from imq_traffic import HEADER, Flow, Seen, Usage, datagram, program, signalled

BATCH = 256     # the pattern in a datagram repeats with its number
STALL = 0.05 * int(os.environ.get("IMQ_SLOW", 1))   # seconds
MSG_DONTWAIT = socket.MSG_DONTWAIT

libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint),
                ("iov", ctypes.POINTER(Iovec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("header", Msghdr), ("len", ctypes.c_uint)]


class Batch:
    """BATCH datagrams of up to `size' bytes, and their senders' addresses."""

    NAME = 28   # sockaddr_in6

    def __init__(self, size, names):
        self.size = size
        self.data = (ctypes.c_char * (size * BATCH))()
        self.names = (ctypes.c_char * (self.NAME * BATCH))()
        self.iovs = (Iovec * BATCH)()
        self.messages = (Mmsghdr * BATCH)()
        for i in range(BATCH):
            self.iovs[i].base = ctypes.addressof(self.data) + i * size
            self.iovs[i].len = size
            m = self.messages[i].header
            m.iov = ctypes.pointer(self.iovs[i])
            m.iovlen = 1
            if names:
                m.name = ctypes.addressof(self.names) + i * self.NAME
                m.namelen = self.NAME

    def call(self, function, s, first, count):
        """How many were sent or received; an OSError if none."""
        n = function(s.fileno(), ctypes.byref(self.messages[first]), count,
                     MSG_DONTWAIT, *([None] if function is libc.recvmmsg else []))
        if n < 0:
            e = ctypes.get_errno()
            raise OSError(e, os.strerror(e))
        return n


class Sender:
    def __init__(self, flow):
        self.flow = flow
        self.sent = self.failed = 0
        self.batch = Batch(flow.o["size"], False)
        self.data = memoryview(self.batch.data).cast("B")
        self.renew()

    def renew(self):
        self.socket = self.flow.sender(socket.SOCK_DGRAM)
        self.socket.connect((self.flow.o["dst"], self.flow.o["port"]))

    def fill(self):
        """The datagrams from this one on until the batch is full"""
        size = self.flow.o["size"]
        for number in range(self.sent, self.sent - self.sent % BATCH + BATCH):
            if number < BATCH:
                self.data[number * size:(number + 1) * size] = datagram(self.flow, number)
            else:
                struct.pack_into("!I", self.data, number % BATCH * size + 8, number)

    def send(self, most):
        """Up to so many, in one call."""
        slot = self.sent % BATCH
        if not slot:
            self.fill()
        most = min(most, BATCH - slot)
        renew = self.flow.o["renew"]
        if renew:
            most = min(most, renew - self.sent % renew)
        try:
            self.sent += self.batch.call(libc.sendmmsg, self.socket, slot, most)
        except OSError as e:
            if e.errno == errno.EAGAIN:
                return
            self.failed += 1
            self.sent += 1
        if renew and not self.sent % renew:
            self.socket.close()
            self.renew()


class Flood:
    def __init__(self, flow, select):
        if flow.o["size"] < HEADER.size:
            raise Usage("size must be %d or more" % HEADER.size)
        self.flow = flow
        self.seen = Seen(flow)
        self.rx = flow.receiver(socket.SOCK_DGRAM)
        self.batch = Batch(flow.o["size"] + 1, True)
        self.data = memoryview(self.batch.data).cast("B")
        self.lens = memoryview(self.batch.messages).cast("B").cast("I")
        self.peers = {}
        self.sender = Sender(flow)
        self.lost = 0   # numbers below this are not waited for
        self.start = time.monotonic()
        select.register(self.rx, selectors.EVENT_READ, self)

    def room(self, now):
        """How many may be sent."""
        o, sent = self.flow.o, self.sender.sent
        room = BATCH
        if o["count"]:
            room = min(room, o["count"] - sent)
        if o["window"]:
            room = min(room, o["window"] + max(self.seen.highest + 1, self.lost) - sent)
        if o["gap"]:
            room = min(room, int((now - self.start) * 1e6 / o["gap"]) + 1 - sent)
        return max(0, room)

    def more(self):
        return not self.flow.o["count"] or self.sender.sent < self.flow.o["count"]

    def peer(self, slot):
        name = self.batch.names[slot * Batch.NAME:(slot + 1) * Batch.NAME]
        name = name[8:24] if self.flow.v6 else name[4:8]
        if name not in self.peers:
            self.peers[name] = socket.inet_ntop(self.flow.family, name)
        return self.peers[name]

    def receive(self):
        """False if there is no more."""
        try:
            n = self.batch.call(libc.recvmmsg, self.rx, 0, BATCH)
        except OSError as e:
            return e.errno != errno.EAGAIN  # else an ICMP error
        words = ctypes.sizeof(Mmsghdr) // 4
        lens = self.lens[Mmsghdr.len.offset // 4:n * words:words].tolist()
        start = 0
        for slot in range(n):
            self.seen.add(bytes(self.data[start:start + lens[slot]]),
                          (self.peer(slot),))
            start += self.batch.size
        return n == BATCH

    def complete(self):
        return len(self.seen.numbers) == self.sender.sent

    def report(self):
        s, sent = self.seen, self.sender.sent
        print("id=%s sent=%d failed=%d got=%d unique=%d dup=%d late=%d bad=%d "
              "stray=%d lost=%d from=%s ms=%d" % (
                  self.flow.o["id"], sent, self.sender.failed, s.got,
                  len(s.numbers), s.dup, s.late, s.bad, s.stray,
                  sent - len(s.numbers), "+".join(sorted(s.peers)) or "-",
                  (time.monotonic() - self.start) * 1000))


def flood(flows, idle, limit):
    stopped = signalled()

    select = selectors.DefaultSelector()
    runs = [Flood(flow, select) for flow in flows]
    now = last = start = time.monotonic()
    while not limit or now - start < limit:
        sending = [r for r in runs if r.more() and not stopped]
        if not sending and now - last > (0.1 if all(r.complete() for r in runs) else idle):
            break
        busy = False
        for r in sending:
            room = r.room(now)
            if room:
                r.sender.send(room)
                busy = True
            elif now - last > STALL:
                r.lost = r.sender.sent
        for key, _ in select.select(0 if busy else 0.001):
            while key.data.receive():
                pass
            last = time.monotonic()
        now = time.monotonic()
        if busy:
            last = max(last, now)
    for r in runs:
        r.report()


def main(args):
    Flow.KEYS.update(window=int, renew=int)
    Flow.DEFAULTS.update(window=1000, renew=0, gap=0)
    idle, limit = 1.0, 0
    while args and args[0].startswith("--"):
        if len(args) < 2 or args[0] not in ("--idle", "--time"):
            raise Usage("unknown option, or no value: " + args[0])
        if args[0] == "--idle":
            idle = int(args[1]) / 1000
        else:
            limit = float(args[1])
        args = args[2:]
    if not args:
        raise Usage(__doc__)
    flows = [Flow(i + 1, text) for i, text in enumerate(args)]
    for flow in flows:
        if flow.o["echo"] or flow.o["tproxy"]:
            raise Usage("echo, tproxy: only imq_traffic.py knows these")
    flood(flows, idle, limit)


if __name__ == "__main__":
    program(main)
