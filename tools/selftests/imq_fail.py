#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Does something again and again; each time, one more allocation succeeds.

usage: imq_fail.py [--step N] OPERATION [ARG...]

In the network namespace that it is run in, by /proc/thread-self/fail-nth: the
first allocation fails, then the second one, and so on, until all succeed, or
with --step, of those behind the 50th, one of N. An operation that fails has left
nothing behind, one that succeeds nevertheless has done all of it. Then it is
undone. OPERATION is

  link-add, link-del, link-up, link-down     of imq0
  nft-rule, compat-rule, xt-rule             with a table, for ip
  qdisc                                      htb on imq0, which has to be there
  netns                                      a network namespace
  module FILE [ARG...]                       of the kernel, not loaded yet
  send ADDR [COUNT]                          a datagram to itself, or COUNT of them
                                             as one GSO packet, to port 5000;
                                             before each, one to port 5001

Prints a line: op=, tries=, refused= (by an error), despite= (succeeded without
this memory), silent= (send: neither an error, nor has it arrived; else: done, but
without an acknowledgment), sent= (send: datagrams). The exit status is 1 if
anything is left behind, 4 if the kernel can't do this.
"""

import argparse
import ctypes
import errno
import os
import select
import socket
import struct
import sys

from imq_fuzz import Socket, Tables, attributes
from imq_netlink import (
    HOOKS, IFLA_IFNAME, NETLINK_NETFILTER,
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES,
    NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NLM_F_ACK,
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLMSG_ERROR, RTM_GETLINK,
    RTM_NEWLINK, attr, be32, expression, link_info, nest, text, u32)

RTM_DELLINK, RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 17, 36, 37, 38
NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = 1, 2
IFF_UP = 1
SYS_FINIT_MODULE = {"x86_64": 313, "aarch64": 273}
SOL_UDP, UDP_SEGMENT = 17, 103
NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)

libc = ctypes.CDLL(None, use_errno=True)


class Broken(Exception):
    pass


class Operation:
    """do() returns the error, or None if nobody told; it is called with the
    failure armed. answer() is called behind it, disarmed."""

    errors = NO_MEMORY

    def answer(self, result):
        return result

    def prepare(self):
        """Called before each do(), not armed"""


class Message(Operation):
    """One sendmsg() on a netlink socket"""

    protocol = socket.NETLINK_ROUTE

    def __init__(self):
        self.nl = Socket(self.protocol)

    def prepare(self):
        self.data, self.numbers = self.messages()

    def do(self):
        try:
            self.nl.s.send(self.data)
        except OSError as e:
            return e.errno
        return 0

    def answer(self, result):
        if result:
            return result
        errors = []
        while True:
            try:
                data = self.nl.s.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise
                errors.append((0, None))    # no memory for an answer
                continue
            while len(data) >= 16:
                size, kind, _, seq, _ = struct.unpack_from("=IHHII", data)
                if kind == NLMSG_ERROR:
                    errors.append((seq, -struct.unpack_from("=i", data, 16)[0]))
                data = data[(size + 3) & ~3:]
        return self.verdict(errors)

    def verdict(self, errors):
        bad = [e for _, e in errors if e]
        if bad:
            return bad[0]
        if len(errors) < len(self.numbers) or any(e is None for _, e in errors):
            return None
        return 0

    def must(self, *messages):
        """Not armed"""
        answers = self.nl.exchange(messages)
        errors = [e for e in self.nl.errors(answers).values()]
        if not errors or any(errors):
            raise Broken("can't be undone: %s" % errors)


class Link(Message):
    # Of device_add(), for a name that there was no memory for
    errors = NO_MEMORY + (errno.EINVAL,)

    def __init__(self, name="imq0"):
        super().__init__()
        self.name = name

    def request(self, kind, flags, body=b"", ifi=0, change=0):
        return self.nl.message(kind, flags | NLM_F_ACK, struct.pack(
            "=BxHiII", 0, 0, 0, ifi, change) + text(IFLA_IFNAME, self.name) + body)

    def add(self):
        return self.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
                            link_info(["index=5"]) + u32(31, 2))

    def delete(self):
        return self.request(RTM_DELLINK, 0)

    def flag(self, up):
        return self.request(RTM_NEWLINK, 0, b"", up, IFF_UP)

    def messages(self):
        return self.wanted(), [self.nl.seq]

    def links(self):
        """{name: up}, and what else shows an interface"""
        found = {}
        for body in self.nl.dump(RTM_GETLINK, bytes(16)):
            name = attributes(body[16:])[IFLA_IFNAME].rstrip(b"\0").decode()
            found[name] = struct.unpack_from("=I", body, 8)[0] & IFF_UP
        with open("/proc/net/dev") as f:
            names = sorted(line.split(":")[0].strip() for line in list(f)[2:])
        if names != sorted(found):
            raise Broken("links %s, in /proc %s" % (found, names))
        return found

    state = links


class LinkAdd(Link):
    def wanted(self):
        return self.add()

    def undo(self):
        self.must(self.delete())


class LinkDel(Link):
    def begin(self):
        self.must(self.add())

    def wanted(self):
        return self.delete()

    def undo(self):
        self.must(self.add())

    def end(self):
        self.must(self.delete())


class LinkUp(Link):
    def begin(self):
        self.must(self.add())

    def wanted(self):
        return self.flag(1)

    def undo(self):
        self.must(self.flag(0))

    def end(self):
        self.must(self.delete())


class LinkDown(LinkUp):
    def begin(self):
        super().begin()
        self.must(self.flag(1))

    def wanted(self):
        return self.flag(0)

    def undo(self):
        self.must(self.flag(1))


class Qdisc(Link):
    """htb, and a class of it"""

    def begin(self):
        self.must(self.add())
        self.must(self.flag(1))
        for body in self.nl.dump(RTM_GETLINK, bytes(16)):
            if attributes(body[16:])[IFLA_IFNAME] == b"imq0\0":
                self.ifindex = struct.unpack_from("=i", body, 4)[0]

    def tc(self, kind, flags, body=b""):
        return self.nl.message(kind, flags | NLM_F_ACK, struct.pack(
            "=BxxxiIII", 0, self.ifindex, 0x10000, 0xFFFFFFFF, 0) + body)

    def wanted(self):
        # struct tc_htb_glob: version, rate2quantum, defcls, debug, direct packets
        options = nest(2, attr(2, struct.pack("=5I", 3, 10, 1, 0, 0)))
        return self.tc(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, text(1, "htb") + options)

    def state(self):
        return [attributes(body[20:])[1] for body in self.nl.dump(RTM_GETQDISC, bytes(20))
                if struct.unpack_from("=i", body, 4)[0] == self.ifindex and
                struct.unpack_from("=I", body, 8)[0] == 0x10000]

    def undo(self):
        self.must(self.tc(RTM_DELQDISC, 0))

    def end(self):
        self.must(self.delete())


class NftRule(Message):
    protocol = NETLINK_NETFILTER
    table = "imqtest"

    def rule(self):
        return expression("imq", be32(1, 3))

    def nft(self, kind, *body):
        return self.nl.message(NFNL_SUBSYS_NFTABLES << 8 | kind,
                               NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND,
                               struct.pack("!BBH", 2, 0, 0) + b"".join(body))

    def batch(self, *messages):
        head = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
        return b"".join((self.nl.message(NFNL_MSG_BATCH_BEGIN, 0, head), *messages,
                         self.nl.message(NFNL_MSG_BATCH_END, 0, head)))

    def messages(self):
        names = text(1, self.table), text(3, "c")
        messages = (
            self.nft(NFT_MSG_NEWTABLE, names[0]),
            self.nft(NFT_MSG_NEWCHAIN, *names, text(7, "filter"),
                     nest(4, be32(1, HOOKS["prerouting"]), be32(2, 0))),
            self.nft(NFT_MSG_NEWRULE, names[0], text(2, "c"), nest(4, self.rule())))
        return self.batch(*messages), [1, 2, 3]

    def state(self):
        return [attributes(body[4:])[1] for body in self.nl.dump(
            NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, struct.pack("!BBH", 0, 0, 0))]

    def undo(self):
        self.must(self.batch(self.nft(NFT_MSG_DELTABLE, text(1, self.table))))


class CompatRule(NftRule):
    table = "mangle"

    def rule(self):
        return expression("target", text(1, "IMQ"), be32(2, 0),
                          attr(3, struct.pack("=II", 3, 0)))


class XtRule(Operation):
    def __init__(self):
        self.t = Tables(1, 1)
        self.t.s = socket.socket(self.t.FAMILY, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.t.hooks = Socket(NETLINK_NETFILTER)

    def replacement(self, rules):
        return self.t.pack(self.t.table(rules), self.t.state()[0])

    def prepare(self):
        target = struct.pack("=H29sB", 40, b"IMQ", 0) + struct.pack("=II", 3, 0)
        self.data = self.replacement([[self.t.entry(target)]] + [[]] * 4)

    def do(self):
        return self.t.replace(self.data)

    def state(self):
        return self.t.state()[1], self.t.registered()

    def undo(self):
        if self.t.replace(self.replacement([[]] * 5)):
            raise Broken("can't be undone")


class Netns(Operation):
    """In a process of its own, which ends then"""

    # Many of its parts have an error of their own for it.
    errors = errno.errorcode

    def child(self, n, fd):
        global FAIL
        FAIL = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
        arm(n)
        result = libc.unshare(0x40000000)
        error = ctypes.get_errno() if result else 0
        os.write(fd, struct.pack("=ii", error, armed()))
        os._exit(0)

    def run(self, n):
        there, here = os.pipe()
        pid = os.fork()
        if not pid:
            self.child(n, here)
        os.close(here)
        os.waitpid(pid, 0)
        data = os.read(there, 8)
        os.close(there)
        # Without memory for its own page tables, it has been killed.
        return struct.unpack("=ii", data) if len(data) == 8 else (errno.ENOMEM, 0)

    def state(self):
        return None

    def undo(self):
        pass


class Module(Operation):
    def __init__(self, file, *args):
        self.fd = os.open(file, os.O_RDONLY)
        self.name = os.path.basename(file).split(".")[0]
        self.args = " ".join(args).encode()
        machine = os.uname().machine
        if machine not in SYS_FINIT_MODULE:
            sys.exit(4)
        self.number = SYS_FINIT_MODULE[machine]

    def do(self):
        if libc.syscall(self.number, self.fd, self.args, 0):
            return ctypes.get_errno()
        return 0

    def state(self):
        with open("/proc/modules") as f:
            loaded = [line.split()[0] for line in f]
        return self.name in loaded

    def undo(self):
        if os.system("modprobe -r " + self.name):
            raise Broken("can't be unloaded")


class Send(Operation):
    """State is what has arrived; there is no undoing. What is sent to port 5001
    is to wait somewhere, with the extensions that a CPU keeps for its next packets:
    so that each one to port 5000 needs a new one."""

    SIZE = 500
    KEPT = 64

    def __init__(self, address, count="1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.count = int(count)
        self.rx = socket.socket(family, socket.SOCK_DGRAM)
        self.rx.bind((address, 5000))
        self.tx = socket.socket(family, socket.SOCK_DGRAM)
        self.tx.connect((address, 5000))
        if self.count > 1:
            self.tx.setsockopt(SOL_UDP, UDP_SEGMENT, self.SIZE)
        self.holder = socket.socket(family, socket.SOCK_DGRAM)
        self.holder.connect((address, 5001))
        self.number = self.sent = 0

    def prepare(self):
        for _ in range(1 if self.number else self.KEPT):
            self.holder.send(b"wait")
        self.number += 1
        self.data = struct.pack("!II", self.number, 0).ljust(self.SIZE, b"x") * self.count

    def do(self):
        try:
            self.tx.send(self.data)
        except OSError as e:
            return e.errno
        return 0

    def arrived(self, wait):
        """Datagrams, whole ones; a late one of another try is none of them."""
        got = 0
        while select.select([self.rx], [], [], wait if got < self.count else 0.02)[0]:
            data = self.rx.recv(65536)
            if data != self.data[:self.SIZE]:
                raise Broken("arrived: %s" % data[:16])
            got += 1
        return got


def arm(n):
    os.pwrite(FAIL, b"%d" % n, 0)


def armed():
    """How many allocations it is still away from the failure; disarms."""
    left = int(os.pread(FAIL, 20, 0).rstrip(b"\0\n"))
    os.pwrite(FAIL, b"0", 0)
    return left


class Walk:
    def __init__(self, name, op, step):
        self.name, self.op, self.step = name, op, step
        self.tries = self.refused = self.despite = self.silent = 0

    def once(self, n):
        """Returns False if the failure was not reached."""
        op = self.op
        if isinstance(op, Netns):
            error, left = op.run(n)
        else:
            op.prepare()
            arm(n)
            error = op.do()
            left = armed()
            error = op.answer(error)
        self.tries += 1
        if left and error != 0:
            raise Broken("no failure, and an error: %s" % error)
        if error and error not in op.errors:
            raise Broken("allocation %d: %s" % (n, os.strerror(error)))
        self.check(n, error, left)
        return not left

    def check(self, n, error, left):
        op = self.op
        now = op.state()
        if error and now != self.before:
            raise Broken("allocation %d: %s, and there: %s" % (
                n, os.strerror(error), now))
        if error:
            self.refused += 1
            return
        done = isinstance(op, Netns) or now != self.before
        if error == 0 and not done:
            raise Broken("allocation %d: success, and not done" % n)
        if error is None:
            self.silent += 1
        elif left == 0:
            self.despite += 1
        if done:
            op.undo()
            if op.state() != self.before:
                raise Broken("allocation %d: undone, and there: %s" % (n, op.state()))

    def run(self):
        op = self.op
        if hasattr(op, "begin"):
            op.begin()
        self.before = op.state()
        # Caches are filled, modules loaded.
        if self.once(1 << 20):
            raise Broken("endless")
        n = 1
        while self.once(n):
            n += 1 if n < 50 else self.step
        if hasattr(op, "end"):
            op.end()
        self.report("")

    def report(self, more):
        print("op=%s tries=%d refused=%d despite=%d silent=%d%s" % (
            self.name, self.tries, self.refused, self.despite, self.silent, more))
        if self.tries < 3 or not self.refused + self.silent + self.despite:
            raise Broken("nothing failed")


class SendWalk(Walk):
    def once(self, n):
        op = self.op
        op.prepare()
        arm(n)
        error = op.do()
        left = armed()
        got = op.arrived(0.3 if left == 0 else 5)
        self.tries += 1
        if error and (error not in op.errors or got):
            raise Broken("allocation %d: %s, and %d have arrived" % (
                n, os.strerror(error), got))
        if left and got != op.count:
            raise Broken("no failure, and %d have arrived" % got)
        if got not in (0, op.count):
            raise Broken("allocation %d: %d have arrived" % (n, got))
        if error:
            self.refused += 1
        elif not got:
            self.silent += 1
        elif not left:
            self.despite += 1
        op.sent += not error
        return not left

    def run(self):
        if self.once(1 << 20):
            raise Broken("endless")
        n = 1
        while self.once(n):
            n += 1
        self.report(" sent=%d" % self.op.sent)


OPERATIONS = {"link-add": LinkAdd, "link-del": LinkDel, "link-up": LinkUp,
              "link-down": LinkDown, "nft-rule": NftRule, "compat-rule": CompatRule,
              "xt-rule": XtRule, "qdisc": Qdisc, "netns": Netns, "module": Module,
              "send": Send}


def main():
    global FAIL

    parser = argparse.ArgumentParser()
    parser.format_help = lambda: __doc__
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("args", nargs="*")
    args = parser.parse_args()
    try:
        # Of this thread; a child opens its own.
        FAIL = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    except OSError:
        sys.exit(4)
    op = OPERATIONS[args.operation](*args.args)
    walk = SendWalk if args.operation == "send" else Walk
    try:
        walk(args.operation, op, args.step).run()
    except Broken as e:
        print("%s: %s" % (args.operation, e))
        sys.exit(1)


if __name__ == "__main__":
    main()
