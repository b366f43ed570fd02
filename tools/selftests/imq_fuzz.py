#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random messages for the kernel's imq interfaces, and what must hold for them.

usage: imq_fuzz.py [--count N] [--seed N] [--forbidden] nft|compat|link|xt|xt6

  nft      rules with the expression imq, in all families, hooks, types of chain
  compat   rules with the target IMQ (nft_compat)
  link     RTM_NEWLINK, RTM_SETLINK and RTM_DELLINK for devices of type imq
  xt, xt6  replacements of iptables' and ip6tables' tables with the target IMQ

In the network namespace that it is run in, which is expected to have nothing,
and with `link' one more that it makes. Some messages are right, most are almost
right, and some are garbage.

What was refused has left nothing behind, what was accepted is dumped as it was
sent, what is deleted is gone: rules, devices, hooks, and references of modules.
Devices are taken from the kernel's echoes, as it chooses names and indexes.

With --forbidden, it is run by somebody who has no rights in this namespace: all
messages are refused with EPERM.

Prints one line: the seed, and how many messages were accepted and refused with
which error. The exit status is 1, with the message that did it, if something of
the above did not hold, or if fewer than one in 20 was accepted, or refused; 4, and
why, if that can't be told here.
"""

import argparse
import collections
import ctypes
import errno
import os
import random
import socket
import struct
import sys
import time

from imq_netlink import (
    FAMILIES, HOOKS, IFLA_IFNAME, IFLA_IMQ_INDEX, IFLA_INFO_DATA,
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_NET_NS_FD, NETLINK_NETFILTER,
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES,
    NFTA_IMQ_DEV, NFTA_IMQ_SREG_DEV, NFT_META_MARK, NFT_MSG_GETRULE,
    NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NLA_F_NESTED,
    NLA_TYPE_MASK, NLMSG_DONE, NLMSG_ERROR, NLM_F_ACK, NLM_F_APPEND,
    NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Netlink, RTM_GETLINK,
    RTM_NEWLINK, attr, be32, expression, link_info, nest, text, u32)

NLM_F_MULTI, NLM_F_ECHO, NLM_F_REPLACE = 0x2, 0x8, 0x100
NFT_MSG_DELRULE, NFT_MSG_DELTABLE = 8, 2
NFNL_SUBSYS_HOOK = 12
RTM_DELLINK, RTM_SETLINK = 17, 19
CLONE_NEWNET = 0x40000000
INDEX_MAX = 65535
EDGES = (0, 1, 2, 3, 7, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000,
         0x10001, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

libc = ctypes.CDLL(None, use_errno=True)


class Broken(Exception):
    """Something that must hold doesn't."""


class Untestable(Exception):
    pass


def attributes(data):
    """The attributes as the kernel parses them: the last of a type counts, and
    what is behind a broken one is not looked at."""
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4 or size > len(data):
            break
        found[kind & NLA_TYPE_MASK] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def elements(data):
    """As attributes(), for a list."""
    found = []
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4 or size > len(data):
            break
        found.append((kind & NLA_TYPE_MASK, data[4:size]))
        data = data[(size + 3) & ~3:]
    return found


def module_references():
    """How often the modules of imq are used, those that are loaded"""
    with open("/proc/modules") as f:
        words = [line.split() for line in f]
    return {w[0]: w[2] for w in words if w[0] in ("imq", "nft_imq", "xt_IMQ")}


class Random(random.Random):
    def chance(self, p):
        return self.random() < p

    def number(self):
        return self.choice(EDGES) if self.chance(0.7) else self.getrandbits(32)

    def index(self):
        """One that is in range"""
        return self.choice((0, 1, 2, 7, 255, 256, 32768, INDEX_MAX,
                            self.randrange(INDEX_MAX + 1)))

    def bytes_up_to(self, n):
        return self.randbytes(self.randrange(n + 1))

    def damaged(self, data):
        """With some bytes changed, or without its end"""
        data = bytearray(data)
        if data and self.chance(0.3):
            return bytes(data[:self.randrange(len(data))])
        for _ in range(self.randrange(1, 4)):
            if data:
                data[self.randrange(len(data))] = self.choice(
                    (0, 1, 4, 8, 0x40, 0x80, 0xFF, self.randrange(256)))
        return bytes(data)

    def attribute(self, kinds):
        """Of one of the types, or any other, with any content"""
        kind = self.choice(kinds) if self.chance(0.8) else self.getrandbits(16)
        if self.chance(0.1):
            kind |= self.choice((NLA_F_NESTED, 0x4000, 0xC000))
        how = self.randrange(6)
        if how < 2:
            return be32(kind, self.number())
        if how == 2:
            return u32(kind, self.number())
        if how == 3:
            return attr(kind, self.bytes_up_to(12))
        if how == 4:
            return nest(kind, be32(self.choice(kinds), self.number()))
        return attr(kind, self.bytes_up_to(300))


class Fuzz:
    """What the interfaces have in common"""

    def __init__(self, seed, count):
        self.r = Random(seed)
        self.seed = seed
        self.count = count
        self.done = 0
        self.results = collections.Counter()

    def result(self, error):
        self.done += 1
        self.results["accepted" if not error else
                     errno.errorcode.get(error, str(error)).replace(
                         "ENOTSUP", "EOPNOTSUPP")] += 1

    def settled(self, wanted=None):
        """A snapshot, when it has been the same for half a second, or is as wanted:
        the kernel lets go of what is deleted a moment later."""
        found, same = self.snapshot(), 0
        for _ in range(100):
            if found == wanted or same == 5:
                break
            time.sleep(0.1)
            last, found = found, self.snapshot()
            same = same + 1 if found == last else 0
        return found

    def run(self):
        self.begin()
        before = self.settled()
        while self.done < self.count:
            self.round()
        self.end()
        after = self.settled(before)
        if before != after:
            raise Broken("before: %s\nafter: %s" % (before, after))
        return self.report()

    def forbidden(self):
        """Of one who may do nothing here, every message is refused as such."""
        self.stranger()
        while self.done < self.count:
            for error in self.attempt():
                self.result(error)
        print("seed=%d messages=%d: %s" % (
            self.seed, self.done, " ".join("%s=%d" % i for i in self.results.items())))
        if set(self.results) != {"EPERM"}:
            raise Broken("something else than EPERM")

    def report(self):
        accepted = self.results.pop("accepted", 0)
        refused = sum(self.results.values())
        print("seed=%d messages=%d accepted=%d refused=%d: %s" % (
            self.seed, self.done, accepted, refused,
            " ".join("%s=%d" % item for item in self.results.most_common())))
        if 20 * min(accepted, refused) < self.done:
            raise Broken("this tests nothing: almost all or none was accepted")


class Socket(Netlink):
    """A netlink socket: the kernel answers before sendmsg() has returned."""

    def __init__(self, protocol):
        super().__init__(protocol)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.s.setblocking(False)

    def exchange(self, messages):
        """Sends them all at once; all answers, as Netlink.receive()."""
        self.s.send(b"".join(messages))
        answers = []
        while True:
            try:
                data = self.s.recv(1 << 20)
            except BlockingIOError:
                return answers
            while len(data) >= 16:
                size, kind, flags, seq, _ = struct.unpack_from("=IHHII", data)
                answers.append((kind, flags, seq, data[16:size]))
                data = data[(size + 3) & ~3:]

    def dump(self, kind, body):
        """The contents of the messages of a dump. An echo is no part of it: that of
        a device in another namespace comes to the socket with the same number
        there, also when the device is removed again, and the message refused."""
        self.s.send(self.message(kind, NLM_F_DUMP, body))
        found = []
        for kind, flags, _, body in self.receive():
            if not flags & NLM_F_MULTI and kind != NLMSG_ERROR:
                continue
            if kind == NLMSG_DONE:
                return found
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, "dump: " + os.strerror(code))
            found.append(body)

    @staticmethod
    def errors(answers):
        """Errors by sequence number; 0 is an acknowledgment."""
        return {seq: -struct.unpack_from("=i", body)[0]
                for kind, _, seq, body in answers if kind == NLMSG_ERROR}


# nf_tables --------------------------------------------------------------------

# NFTA_CHAIN_TABLE ... NFTA_RULE_USERDATA
CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 1, 3, 4, 7
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA = 1, 2, 4, 7


class Rules(Fuzz):
    """Rules in chains of all kinds. Messages of a batch are applied together or
    not at all, but the kernel goes on to check after the first one that it
    refuses: those that it accepts are sent again, without the others."""

    BATCH = 40
    TABLE = "t"
    INET = ("prerouting", "input", "forward", "output", "postrouting")
    FAMILIES = ("ip", "ip6", "inet", "bridge", "arp", "netdev")

    def begin(self):
        self.nl = Socket(NETLINK_NETFILTER)
        self.serial = 0
        self.good, self.wrong, refused = [], [], []
        for family in self.FAMILIES:
            self.table(family)
        for chain in self.chains():
            if not self.make_chain(*chain):
                refused.append(chain)
        for name in self.FAMILIES:
            # a chain without a hook
            self.must(self.nft(name, NFT_MSG_NEWCHAIN, text(CHAIN_TABLE, self.TABLE),
                               text(CHAIN_NAME, "none")))
            (self.good if name != "arp" else self.wrong).append((name, "none"))
        if refused:
            print("no chains here:", refused)
        # Loads what is a module.
        self.round()
        self.done = 0
        self.results.clear()

    def chains(self):
        """(family, type, hook, accepts imq)"""
        for family in "ip", "ip6", "inet", "bridge":
            for hook in self.INET:
                yield family, "filter", hook, True
        for hook in "prerouting", "input", "output", "postrouting":
            for family in "ip", "ip6", "inet":
                yield family, "nat", hook, False
        yield "ip", "route", "output", False
        yield "arp", "filter", "input", False
        yield "netdev", "filter", "ingress", True
        yield "netdev", "filter", "egress", True

    def table(self, family):
        self.must(self.nft(family, NFT_MSG_NEWTABLE, text(1, self.TABLE)))

    def make_chain(self, family, kind, hook, takes):
        number = 1 if (family, hook) == ("arp", "output") else HOOKS[hook]
        if family == "arp":
            number = 0 if hook == "input" else 1
        device = [text(3, "lo")] if family == "netdev" else []
        errors = self.batch([self.nft(
            family, NFT_MSG_NEWCHAIN, text(CHAIN_TABLE, self.TABLE),
            text(CHAIN_NAME, kind + hook),
            nest(CHAIN_HOOK, be32(1, number), be32(2, 10), *device),
            text(CHAIN_TYPE, kind))])
        if errors == [0]:
            (self.good if takes else self.wrong).append((family, kind + hook))
        return errors == [0]

    def stranger(self):
        self.nl = Socket(NETLINK_NETFILTER)
        self.serial = 0
        self.good = self.wrong = [("ip", "none"), ("inet", "none")]

    def attempt(self):
        messages = [self.rule(True)[0] for _ in range(self.BATCH)]
        head = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
        data = [self.nl.message(NFNL_MSG_BATCH_BEGIN, 0, head)]
        for kind, flags, body in messages:
            data.append(self.nl.message(kind, flags, body) + bytes(-len(body) % 4))
        data.append(self.nl.message(NFNL_MSG_BATCH_END, 0, head))
        # One answer for all
        return list(self.nl.errors(self.nl.exchange(data)).values()) * self.BATCH

    # Messages

    def nft(self, family, kind, *body):
        number = family if isinstance(family, int) else FAMILIES[family]
        return (NFNL_SUBSYS_NFTABLES << 8 | kind,
                NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND,
                struct.pack("!BBH", number, 0, 0) + b"".join(body))

    def batch(self, messages, tail=b""):
        """Errors of the messages, None for one without an answer"""
        head = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
        data = [self.nl.message(NFNL_MSG_BATCH_BEGIN, 0, head)]
        numbers = []
        for kind, flags, body in messages:
            data.append(self.nl.message(kind, flags, body) + bytes(-len(body) % 4))
            numbers.append(self.nl.seq)
        data.append(tail or self.nl.message(NFNL_MSG_BATCH_END, 0, head))
        errors = self.nl.errors(self.nl.exchange(data))
        return [errors.get(n) for n in numbers]

    def must(self, *messages):
        errors = self.batch(messages)
        if any(e != 0 for e in errors):
            raise Broken("refused: %s: %s" % (errors, messages))

    def place(self, good):
        """Family and chain"""
        if good:
            return self.r.choice(self.good)
        if self.r.chance(0.8):
            return self.r.choice(self.wrong)
        family, chain = self.r.choice(self.good + self.wrong)
        return self.r.choice(((self.r.randrange(20), chain), (family, "missing")))

    def rule(self, good_place):
        """A message, and its serial number as rules have it"""
        family, chain = self.place(good_place)
        self.serial += 1
        serial = struct.pack("!I", self.serial)
        words = self.expressions()
        # The serial number comes first, so that damage spares it.
        content = b"".join(words)
        if self.r.chance(0.15):
            content = self.r.damaged(content)
        more = [self.r.attribute((3, 5, 6, 10)) for _ in range(2)
                if self.r.chance(0.03)]
        return self.nft(family, NFT_MSG_NEWRULE, text(RULE_TABLE, self.TABLE),
                        text(RULE_CHAIN, chain), attr(RULE_USERDATA, serial),
                        attr(RULE_EXPRESSIONS | NLA_F_NESTED, content), *more), serial

    def mark(self, register):
        return expression("meta", be32(1, register), be32(2, NFT_META_MARK))

    def expressions(self):
        r = self.r
        words = []
        if r.chance(0.5):
            words.append(self.mark(r.choice((1, 2, 4, 8, 9, 23, r.randrange(30)))))
        for _ in range(r.choice((1, 1, 1, 1, 2, 0))):
            words.append(self.word())
        if r.chance(0.05):
            r.shuffle(words)
        if r.chance(0.02):
            words *= r.choice((2, 64, 65, 130))
        return words

    def word(self):
        r = self.r
        how = r.random()
        if how < 0.35:
            data = [be32(NFTA_IMQ_DEV, r.index())]
        elif how < 0.5:
            data = [be32(NFTA_IMQ_SREG_DEV, r.choice((1, 2, 4, 8, 9)))]
        elif how < 0.6:
            data = [be32(NFTA_IMQ_SREG_DEV, r.randrange(40))]
        elif how < 0.7:
            data = [be32(NFTA_IMQ_DEV, r.number())]
        else:
            data = [r.attribute((NFTA_IMQ_DEV, NFTA_IMQ_SREG_DEV, 0, 3, 4))
                    for _ in range(r.randrange(4))]
        # Others may have a module looked for.
        names = [b"imq\0", b"imq"]
        if r.chance(0.005):
            names = [b"", b"\0", b"imq\0\0\0", b"imqx\0", b"im", r.bytes_up_to(40)]
        parts = [attr(1, r.choice(names)),
                 attr(2 | (NLA_F_NESTED if r.chance(0.9) else 0), b"".join(data))]
        if r.chance(0.05):
            parts.append(r.attribute((0, 2, 3)))
        if r.chance(0.03):
            r.shuffle(parts)
        kind = 1 if r.chance(0.97) else r.randrange(4)
        return nest(kind, *parts)

    # What must hold

    def dumped(self):
        """Expressions of the rules by serial number, None for rules without"""
        rules = {}
        for body in self.nl.dump(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE,
                                 struct.pack("!BBH", 0, 0, 0)):
            a = attributes(body[4:])
            rules[a.get(RULE_USERDATA)] = self.values(a.get(RULE_EXPRESSIONS, b""))
        return rules

    @staticmethod
    def values(data):
        """What the imq expressions in it say, in the kernel's form"""
        found = []
        for _, element in elements(data):
            a = attributes(element)
            if a.get(1, b"").rstrip(b"\0") != b"imq":
                continue
            data = attributes(a.get(2, b""))
            found.append([(k, Rules.canonical(k, data[k][:4])) for k in
                          (NFTA_IMQ_DEV, NFTA_IMQ_SREG_DEV) if k in data])
        return found

    @staticmethod
    def canonical(kind, data):
        """The first 32 bits of a register of 128 have the name of that."""
        n = struct.unpack("!I", data.ljust(4, b"\0"))[0]
        if kind == NFTA_IMQ_SREG_DEV and n in (8, 12, 16, 20):
            return n // 4 - 1
        return n

    def empty(self, after):
        left = self.dumped()
        if left:
            raise Broken("rules left by %s: %s" % (after, left))

    def round(self):
        pairs = [self.rule(True) for _ in range(self.BATCH)]
        errors = self.batch([m for m, _ in pairs])
        if any(errors):
            self.empty("a batch that was refused: %s" % pairs)
        elif self.truth(pairs):
            self.flush()
        self.accepted([p for p, e in zip(pairs, errors) if e == 0])
        for error in filter(None, errors):
            self.result(error)
        for _ in range(4):
            self.alone()

    def accepted(self, pairs):
        """Sends them again, without those that were refused"""
        errors = self.batch([m for m, _ in pairs])
        if any(e != 0 for e in errors):
            bad = [(e, m) for (m, _), e in zip(pairs, errors) if e != 0]
            raise Broken("accepted with others, but not without: %s" % bad)
        self.truth(pairs)
        for _ in pairs:
            self.result(0)
        self.flush()

    def alone(self):
        """A batch of its own for what breaks it: a wrong place, or no end"""
        message, serial = self.rule(self.r.chance(0.2))
        tail = b""
        if self.r.chance(0.2):
            tail = self.r.choice((b"\1", self.r.randbytes(16), b"\0" * 16,
                                  struct.pack("=IHHII", 1 << 31, 2565, 5, 0, 0)))
        error, = self.batch([message], tail)
        left = self.dumped()
        if left and self.forbidden_place(message):
            raise Broken("accepted, in a wrong place: %s" % (message,))
        if error == 0 and left:
            self.truth([(message, serial)])
            self.flush()
        elif left:
            raise Broken("refused (%s), and there: %s" % (error, message))
        self.result(error if error or left else errno.EBADMSG)

    def forbidden_place(self, message):
        """The message has an imq expression for a chain that can't have one. One
        without a hook is not looked at before something leads there."""
        body = message[2]
        a = attributes(body[4:])
        place = body[0], a[RULE_CHAIN].rstrip(b"\0").decode()
        return (place in [(FAMILIES[f], c) for f, c in self.wrong if c != "none"] and
                self.values(a[RULE_EXPRESSIONS]))

    @staticmethod
    def in_range(values):
        """No expression has a number that no device can have."""
        return all(n <= INDEX_MAX for value in values for kind, n in value
                   if kind == NFTA_IMQ_DEV)

    def truth(self, pairs):
        """The rules of these messages are there as they were sent, no others"""
        found = self.dumped()
        wanted = {serial: self.values(attributes(m[2][4:])[RULE_EXPRESSIONS])
                  for m, serial in pairs}
        for serial, values in found.items():
            if not self.in_range(values):
                raise Broken("out of range: %s" % values)
        if found != wanted:
            for serial in set(found) | set(wanted):
                if found.get(serial) != wanted.get(serial):
                    raise Broken("sent %s, dumped %s: %s" % (
                        wanted.get(serial), found.get(serial),
                        [m for m, s in pairs if s == serial]))
        return True

    def flush(self):
        self.must(*(self.nft(f, NFT_MSG_DELRULE, text(RULE_TABLE, self.TABLE))
                    for f in self.FAMILIES))
        self.empty("a flush")

    def snapshot(self):
        return self.dumped(), module_references()

    def end(self):
        """The tables go, so chains have no user left."""
        self.must(*(self.nft(f, NFT_MSG_DELTABLE, text(1, self.TABLE))
                    for f in self.FAMILIES))


class Targets(Rules):
    """The target of iptables in rules of nf_tables"""

    TABLE = "mangle"
    FAMILIES = ("ip", "ip6", "inet", "bridge")

    def chains(self):
        for family in "ip", "ip6":
            for hook in self.INET:
                yield family, "filter", hook, True
        yield "inet", "filter", "prerouting", False
        yield "bridge", "filter", "prerouting", False

    def begin(self):
        super().begin()
        # It is of no use there, but who refuses it?
        self.good = [(f, c) for f, c in self.good if f in ("ip", "ip6")]
        self.wrong += [("inet", "none"), ("bridge", "none")]

    def word(self):
        r = self.r
        name, rev, size = b"IMQ\0", 0, 8
        if r.chance(0.15):
            size = r.choice((0, 1, 4, 7, 9, 16, 32, r.randrange(300)))
        if r.chance(0.1):
            rev = r.choice((1, 2, 255, 256, r.number()))
        if r.chance(0.005):
            name = r.choice((b"IMQ", b"", b"\0", b"IMQx\0", b"I" * 40))
        number = r.index() if r.chance(0.7) else r.number()
        info = (struct.pack("=II", number, 0) + bytes(300))[:size]
        parts = [attr(1, name), be32(2, rev), attr(3, info)]
        if r.chance(0.05):
            parts.append(r.attribute((0, 1, 2, 3, 4)))
        if r.chance(0.05):
            parts.pop(r.randrange(len(parts)))
        return expression("target", *parts)

    @staticmethod
    def values(data):
        found = []
        for _, element in elements(data):
            a = attributes(element)
            if a.get(1, b"").rstrip(b"\0") != b"target":
                continue
            data = attributes(a.get(2, b""))
            found.append((data.get(1, b"").rstrip(b"\0"), data.get(3, b"")[:4]))
        return found

    @staticmethod
    def in_range(values):
        return all(struct.unpack("=I", data)[0] <= INDEX_MAX for name, data in values)


# rtnetlink ---------------------------------------------------------------------

IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_TXQLEN = 4, 5, 10, 13
IFLA_NET_NS_PID, IFLA_GROUP, IFLA_NUM_TX_QUEUES = 19, 27, 31
IFLA_NUM_RX_QUEUES, IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 32, 37, 46


class Links(Fuzz):
    """Devices, in this namespace (0) and in another one (1)"""

    CHUNK = 16
    MANY = 40

    def begin(self):
        self.here = os.open("/proc/self/ns/net", os.O_RDONLY)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        self.there = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.other = Socket(socket.NETLINK_ROUTE)
        if libc.setns(self.here, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        self.nl = Socket(socket.NETLINK_ROUTE)
        probe = (RTM_NEWLINK, NLM_F_CREATE | NLM_F_ACK | NLM_F_ECHO, bytes(16),
                 link_info([]))
        if self.exchange([probe])[0][1] is None:
            raise Untestable("the kernel does not echo new links (before 6.2)")
        # {(namespace, ifindex): (name, index, tx queues)}
        self.devices = self.dumped()
        self.clean()
        self.round()
        self.clean()
        self.done = 0
        self.results.clear()

    def stranger(self):
        self.nl = Socket(socket.NETLINK_ROUTE)
        self.here = self.there = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.devices = {(0, n): None for n in range(1, 10)}

    def attempt(self):
        messages = [self.r.choice((self.create, self.delete, self.change))()
                    for _ in range(self.CHUNK)]
        return [e for e, _ in self.exchange([m for m in messages if m[2]])]

    # Messages

    def name(self):
        r = self.r
        if r.chance(0.3):
            return b"imq%d\0"
        if r.chance(0.5):
            return b"imq%d\0" % r.choice((0, 1, 2, 3, 5, 9, 77, 65535, 65536, 99999999))
        if r.chance(0.6):
            return r.choice((b"a\0", b"b", b"shape\0", b"shape%d\0", b"imq\0",
                             b"imq0x\0", b"imq-1\0", b"imq 1\0", b"imq00\0",
                             b"imq4294967296\0", b"x" * 15))
        return r.choice((b"", b"\0", b".", b"..\0", b"a/b\0", b"imq0:1\0", b"%d\0",
                         b"imq%d%d\0", b"imq%s\0", b"x" * 16, b"x" * 300,
                         r.bytes_up_to(16), b"\xff\xfe\0", b"lo\0"))

    def data(self):
        """What IFLA_INFO_DATA has"""
        r = self.r
        how = r.random()
        if how < 0.5:
            return [u32(IFLA_IMQ_INDEX, r.choice((r.index(), r.randrange(8))))]
        if how < 0.7:
            return [u32(IFLA_IMQ_INDEX, r.number())]
        return [r.attribute((IFLA_IMQ_INDEX, 0, 2, 3)) for _ in range(r.randrange(4))]

    def info(self):
        r = self.r
        parts = [attr(IFLA_INFO_KIND, r.choice((b"imq\0", b"imq")))]
        if r.chance(0.01):
            parts = [attr(IFLA_INFO_KIND, r.choice(
                (b"", b"im", b"imq\0\0", b"dummyx\0", b"imq" * 30)))]
        if r.chance(0.6):
            flag = NLA_F_NESTED if r.chance(0.8) else 0
            parts.append(attr(IFLA_INFO_DATA | flag, b"".join(self.data())))
        if r.chance(0.1):
            parts.append(r.attribute((0, 1, 2, 3, 4, 5, 6)))
        if r.chance(0.05):
            r.shuffle(parts)
        if r.chance(0.03):
            parts.pop(0)
        return nest(IFLA_LINKINFO, *parts)

    def queues(self):
        if self.r.chance(0.01):
            return self.r.choice((1024, 4096))
        return self.r.choice((0, 1, 1, 2, 4, 16, 4097, 65536, 0xFFFFFFFF))

    def namespace(self):
        r = self.r
        return r.choice((
            lambda: u32(IFLA_NET_NS_FD, r.choice((self.here, self.there, 0, 9999))),
            lambda: u32(IFLA_NET_NS_PID, r.choice((os.getpid(), 0, 1 << 30))),
            lambda: u32(IFLA_TARGET_NETNSID, r.choice((0, 1, 0xFFFFFFFF))),
            lambda: u32(IFLA_LINK_NETNSID, r.choice((0, 1, 0xFFFFFFFF)))))()

    def extra(self):
        """Attributes of any device"""
        r = self.r
        parts = []
        if r.chance(0.2):
            parts.append(u32(IFLA_NUM_TX_QUEUES, self.queues()))
        if r.chance(0.1):
            parts.append(u32(IFLA_NUM_RX_QUEUES, self.queues()))
        if r.chance(0.15):
            parts.append(self.namespace())
        if r.chance(0.1):
            parts.append(u32(r.choice((IFLA_MTU, IFLA_TXQLEN, IFLA_GROUP, IFLA_LINK,
                                       IFLA_MASTER)), r.number()))
        if r.chance(0.1):
            # not alternative names, nor what would make another kind of change
            parts.append(r.attribute([n for n in range(1, 66) if n not in (52, 53)]))
        return parts

    def header(self, ifindex=0):
        r = self.r
        flags = r.choice((0, 1, 1, r.number())) if r.chance(0.3) else 0
        change = r.choice((0, 1, 0xFFFFFFFF)) if flags else 0
        # Not promiscuous and the like: a line in the log for each
        return struct.pack("=BxHiII", 0, 0, ifindex, flags & 1, change & 1)

    def finish(self, kind, flags, head, parts):
        body = b"".join(parts)
        if self.r.chance(0.1):
            body = self.r.damaged(body)
        if self.r.chance(0.01):
            head = head[:self.r.randrange(16)]
            body = b""
        return kind, flags | NLM_F_ACK | NLM_F_ECHO, head, body

    def create(self):
        r = self.r
        flags = NLM_F_CREATE | NLM_F_EXCL
        if r.chance(0.05):
            flags = r.choice((0, NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE))
        ifindex = 0
        if r.chance(0.05):
            ifindex = r.choice((1, 1000 + r.randrange(1000), -1, 0x7FFFFFFF))
        parts = [self.info()] + self.extra()
        if r.chance(0.9):
            parts.append(attr(IFLA_IFNAME, self.name()))
        r.shuffle(parts)
        return self.finish(RTM_NEWLINK, flags, self.header(ifindex), parts)

    def some_device(self):
        known = [i for ns, i in self.devices if ns == 0]
        if known and self.r.chance(0.8):
            return self.r.choice(known)
        return self.r.choice((0, 1, 5, -1, 99999))

    def delete(self):
        parts = []
        if self.r.chance(0.1):
            parts.append(self.info())
        if self.r.chance(0.1):
            parts.append(self.r.attribute((0, 1, 2, 4, 18)))
        return self.finish(RTM_DELLINK, 0, self.header(self.some_device()), parts)

    def change(self):
        parts = [self.info()] if self.r.chance(0.8) else []
        parts += self.extra()
        if self.r.chance(0.2):
            parts.append(attr(IFLA_IFNAME, self.name()))
        return self.finish(self.r.choice((RTM_NEWLINK, RTM_SETLINK)), 0,
                           self.header(self.some_device()), parts)

    # What must hold

    def device(self, body):
        """(name, index, tx queues) of a message, None if it is no imq device"""
        a = attributes(body[16:])
        info = attributes(a.get(IFLA_LINKINFO, b""))
        if info.get(IFLA_INFO_KIND, b"").rstrip(b"\0") != b"imq":
            return None
        data = attributes(info.get(IFLA_INFO_DATA, b""))
        return (a[IFLA_IFNAME], struct.unpack("=I", data[IFLA_IMQ_INDEX])[0],
                struct.unpack("=I", a[IFLA_NUM_TX_QUEUES])[0])

    def dumped(self):
        found = {}
        for ns, nl in (0, self.nl), (1, self.other):
            for body in nl.dump(RTM_GETLINK, bytes(16)):
                device = self.device(body)
                if device:
                    found[ns, struct.unpack_from("=i", body, 4)[0]] = device
        return found

    def exchange(self, parts):
        """Sends the messages; for each its error, and the devices that the
        kernel has echoed."""
        messages, numbers = [], []
        for kind, flags, head, body in parts:
            data = self.nl.message(kind, flags, head + body)
            messages.append(data + bytes(-len(data) % 4))
            numbers.append(self.nl.seq)
        errors, echoes = {}, {}
        for kind, _, seq, body in self.nl.exchange(messages):
            if kind == NLMSG_ERROR:
                errors[seq] = -struct.unpack_from("=i", body)[0]
            elif kind == RTM_NEWLINK:
                echoes[seq] = body
        # One without even a family is acknowledged, and ignored.
        return [(errors.get(n) if part[2] else errno.EBADMSG, echoes.get(n))
                for n, part in zip(numbers, parts)]

    def created(self, message, echo):
        """An accepted message: what it asked for is what has been made."""
        a = attributes(message[3])
        info = attributes(attributes(a.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_DATA, b""))
        device = self.device(echo)
        name = a.get(IFLA_IFNAME, b"imq%d").split(b"\0")[0]
        if b"%" not in name and device[0].rstrip(b"\0") != name:
            raise Broken("name: %s for %s" % (device, message))
        if IFLA_IMQ_INDEX in info and info[IFLA_IMQ_INDEX][:4] != struct.pack("=I", device[1]):
            raise Broken("index: %s for %s" % (device, message))
        if IFLA_NUM_TX_QUEUES in a and a[IFLA_NUM_TX_QUEUES][:4] != struct.pack("=I", device[2]):
            raise Broken("queues: %s for %s" % (device, message))
        self.devices[0, struct.unpack_from("=i", echo, 4)[0]] = device

    def taken(self, message):
        """A message was refused since something exists: if nothing does by now, it
        is accepted."""
        a = attributes(message[3])
        name = a.get(IFLA_IFNAME, b"imq%d").split(b"\0")[0]
        if self.foreign(message) or b"%" in name:
            return
        info = attributes(attributes(a.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_DATA, b""))
        index = info.get(IFLA_IMQ_INDEX, b"")[:4]
        digits = name[3:] if name[:3] == b"imq" else b""
        if not index and digits.isdigit() and int(digits) <= INDEX_MAX:
            index = struct.pack("=I", int(digits))
        ifindex = struct.unpack_from("=i", message[2], 4)[0]
        ours = [(0, 1)] + [k for k in self.devices if k[0] == 0]
        devices = [v for k, v in self.devices.items() if k[0] == 0]
        # Not in the list: lo, which a message may have given another name.
        if ((0, ifindex) not in ours and
                name not in [os.fsencode(n) for _, n in socket.if_nameindex()] and
                name + b"\0" not in [d[0] for d in devices] and
                index not in [struct.pack("=I", d[1]) for d in devices]):
            if self.exchange([message])[0][0] == errno.EEXIST:
                raise Broken("nothing like that exists: %s, there are %s" % (
                    message, self.devices))
            self.devices = self.dumped()

    def foreign(self, message):
        """It names another namespace than this one."""
        a = attributes(message[3])
        return any(k in a for k in (IFLA_NET_NS_FD, IFLA_NET_NS_PID,
                                    IFLA_TARGET_NETNSID))

    def churn(self):
        """Devices are made and deleted"""
        messages = [self.create() if self.r.chance(0.6) else self.delete()
                    for _ in range(self.CHUNK)]
        elsewhere, exist = 0, []
        for message, (error, echo) in zip(messages, self.exchange(messages)):
            self.result(errno.EBADMSG if error is None else error)
            if error == errno.EEXIST:
                exist.append(message)
            if error != 0:
                continue
            if message[0] == RTM_DELLINK:
                key = 0, struct.unpack_from("=i", message[2], 4)[0]
                if key not in self.devices and not self.foreign(message):
                    raise Broken("deleted, and unknown: %s" % (message,))
                self.devices.pop(key, None)
            elif echo:
                self.created(message, echo)
            else:
                elsewhere += 1
        self.truth(elsewhere, messages)
        for message in exist:
            self.taken(message)

    def truth(self, elsewhere, messages):
        """What is there is what was accepted. Devices made in the other
        namespace have not been echoed."""
        found = self.dumped()
        there = {k: v for k, v in found.items() if k[0] == 1}
        new = set(there) - set(self.devices)
        if len(new) > elsewhere:
            raise Broken("nobody has made %s: %s" % (new, messages))
        gone = {k for k in self.devices if k[0] == 1 and k not in there}
        if len(gone) > self.CHUNK:
            raise Broken("gone: %s" % gone)
        ours = {k: v for k, v in self.devices.items() if k[0] == 0}
        if ours != {k: v for k, v in found.items() if k[0] == 0}:
            raise Broken("expected %s, there are %s: %s" % (ours, found, messages))
        for ns in 0, 1:
            indexes = [v[1] for k, v in found.items() if k[0] == ns]
            if len(set(indexes)) != len(indexes) or max(indexes, default=0) > INDEX_MAX:
                raise Broken("indexes: %s" % found)
        self.devices = found

    def changes(self):
        """Devices are changed: neither index nor number of queues can be, nor is
        one made or deleted. A change that is refused may have begun."""
        messages = [self.change() for _ in range(self.CHUNK)]
        for message, (error, _) in zip(messages, self.exchange(messages)):
            self.result(errno.EBADMSG if error is None else error)
            key = 0, struct.unpack_from("=i", (message[2] + bytes(16))[:16], 4)[0]
            self.unchanged(message, error, key)
        found = self.dumped()
        was, now = ({k: v[1:] for k, v in d.items()} for d in (self.devices, found))
        if was != now:
            raise Broken("before %s, after %s: %s" % (was, now, messages))
        self.devices = found

    def unchanged(self, message, error, key):
        """Another index than the device has was refused, by RTM_NEWLINK; the
        other one does not look at it."""
        if error or key not in self.devices or message[0] != RTM_NEWLINK:
            return
        info = attributes(attributes(message[3]).get(IFLA_LINKINFO, b""))
        data = attributes(info.get(IFLA_INFO_DATA, b""))
        index = data.get(IFLA_IMQ_INDEX, b"")[:4]
        if (info.get(IFLA_INFO_KIND, b"").rstrip(b"\0") == b"imq" and index and
                index != struct.pack("=I", self.devices[key][1])):
            raise Broken("index of %s: %s" % (self.devices[key], message))

    def clean(self):
        for (ns, ifindex) in self.devices:
            nl = (self.nl, self.other)[ns]
            answers = nl.exchange([nl.message(
                RTM_DELLINK, NLM_F_ACK, struct.pack("=BxHiII", 0, 0, ifindex, 0, 0))])
            if list(nl.errors(answers).values()) != [0]:
                raise Broken("can't be deleted: %d" % ifindex)
        self.devices = self.dumped()
        if self.devices:
            raise Broken("deleted, and there: %s" % self.devices)

    def round(self):
        self.churn()
        if self.r.chance(0.5):
            self.changes()
        if len(self.devices) > self.MANY:
            self.clean()

    def snapshot(self):
        return self.dumped(), module_references()

    def end(self):
        self.clean()


# x_tables ------------------------------------------------------------------------

SO_SET_REPLACE, SO_GET_INFO, SO_GET_ENTRIES = 64, 64, 65
STANDARD, ERROR = b"", b"ERROR"


def rule_target(name, revision, data, size=None):
    """struct xt_entry_target and what follows"""
    size = 32 + len(data) if size is None else size
    return struct.pack("=H29sB", size & 0xFFFF, name, revision & 0xFF) + data


class Tables(Fuzz):
    """Replacements of the table mangle; and what the kernel gives back."""

    NAMES = (b"mangle",) * 12 + (b"filter", b"nat", b"raw", b"security")
    LEVEL, FAMILY, KIND = socket.SOL_IP, socket.AF_INET, 2
    NFCACHE, ENTRY = 84, 112    # a member of struct ipt_entry, and its size

    def begin(self):
        self.s = socket.socket(self.FAMILY, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.hooks = Socket(NETLINK_NETFILTER)
        self.old = self.state()
        self.round()
        self.restore()
        self.done = 0
        self.results.clear()
        self.old = self.state()

    def stranger(self):
        # A raw socket is not for everybody.
        self.s = socket.socket(self.FAMILY, socket.SOCK_DGRAM)
        self.old = (5, [], b"")

    def attempt(self):
        return [self.replace(self.message()[1])]

    # Messages

    def entry(self, target, next_offset=None, target_offset=None):
        """struct ipt_entry or ip6t_entry that matches everything"""
        size = self.ENTRY + len(target)
        head = bytes(self.NFCACHE) + struct.pack(
            "=IHH", 0, self.ENTRY if target_offset is None else target_offset,
            size if next_offset is None else next_offset)
        return head.ljust(self.ENTRY, b"\0") + target

    def imq(self):
        r = self.r
        number = r.index() if r.chance(0.8) else r.number()
        name, revision, data, size = b"IMQ", 0, struct.pack("=II", number, 0), None
        if r.chance(0.08):
            data = r.bytes_up_to(64)
            data += bytes(-len(data) % 8)
        if r.chance(0.05):
            size = r.choice((0, 31, 32, 36, 40, 41, 48, 0xFFF8, 0xFFFF))
        if r.chance(0.03):
            revision = r.choice((1, 2, 255))
        if r.chance(0.004):
            name = r.choice((b"IMQx", b"imq", b"\xff" * 29, b"IMQ\0\0x"))
        target = rule_target(name, revision, data, size)
        how = r.random()
        if how < 0.02:
            return self.entry(target, next_offset=r.choice(
                (0, 1, self.ENTRY, 0xFFFF, r.randrange(400))))
        if how < 0.04:
            return self.entry(target, target_offset=r.choice(
                (0, 1, self.ENTRY + 8, 0xFFFF, r.randrange(400))))
        return self.entry(target)

    def table(self, rules):
        """struct ipt_replace; rules has those of each of the five hooks."""
        accept = self.entry(rule_target(STANDARD, 0, struct.pack("=iI", -2, 0)))
        blob, starts, ends, number = b"", [], [], 0
        for entries in rules:
            starts.append(len(blob))
            blob += b"".join(entries)
            ends.append(len(blob))
            blob += accept
            number += len(entries) + 1
        blob += self.entry(rule_target(ERROR, 0, b"ERROR".ljust(32, b"\0")))
        return [b"mangle", 0x1F, number + 1, len(blob), starts, ends, blob]

    def pack(self, t, counters):
        name, valid, number, size, starts, ends, blob = t
        buffer = ctypes.create_string_buffer(16 * max(counters, 1))
        self.counters = buffer
        return struct.pack("=32s3I5I5II", name, valid, number,
                           size, *starts, *ends, counters) + struct.pack(
            "=Q", ctypes.addressof(buffer)) + blob

    def message(self):
        r = self.r
        rules = [[self.imq() for _ in range(r.choice((0, 0, 0, 1, 1, 2)))]
                 for _ in range(5)]
        t = self.table(rules)
        counters = self.old[0]
        if r.chance(0.2):
            field = r.randrange(7)
            if field == 0:
                t[0] = r.choice(self.NAMES)
            elif field in (1, 2, 3):
                t[field] = r.choice((0, t[field] - 1, t[field] + 1, r.number()))
            elif field in (4, 5):
                t[field][r.randrange(5)] = r.choice((0, t[3], r.randrange(t[3]), r.number()))
            else:
                t[6] = r.damaged(t[6])
            t[1:4] = [n & 0xFFFFFFFF for n in t[1:4]]
        if r.chance(0.03):
            counters = r.choice((0, 1, counters + 1))
        data = self.pack(t, counters)
        if r.chance(0.02):
            data = data[:r.randrange(len(data))]
        return t, data

    # What must hold

    def ask(self, what, data):
        """getsockopt() that also says what it wants"""
        size = ctypes.c_uint(len(data))
        buffer = ctypes.create_string_buffer(data, len(data))
        if libc.getsockopt(self.s.fileno(), self.LEVEL, what, buffer,
                           ctypes.byref(size)):
            raise OSError(ctypes.get_errno(), "getsockopt")
        return buffer.raw[:size.value]

    def state(self):
        """Number of entries, and the targets of all as (place, name, data)"""
        info = self.ask(SO_GET_INFO, struct.pack("=32s52x", b"mangle"))
        number, size = struct.unpack_from("=II", info, 32 + 4 + 40)
        blob = self.ask(SO_GET_ENTRIES, struct.pack("=32sIxxxx", b"mangle", size) +
                        bytes(size))[40:]
        return number, self.targets(blob), blob[:0] + info[32:32 + 44]

    def targets(self, blob):
        found, at = [], 0
        while at < len(blob):
            target, following = struct.unpack_from("=HH", blob, at + self.NFCACHE + 4)
            size, name = struct.unpack_from("=H29s", blob, at + target)
            name = name.split(b"\0")[0]
            data = blob[at + target + 32:at + target + size]
            found.append((at, name, data[:5] if name == ERROR else data[:4]))
            at += following
        return found

    def registered(self):
        """Hooks of xt_IMQ in this namespace, (hook, priority)"""
        found = []
        for hook in range(5):
            head = struct.pack("!BBH", self.KIND, 0, 0)
            try:
                bodies = self.hooks.dump(NFNL_SUBSYS_HOOK << 8, head + be32(1, hook))
            except OSError:
                return "unknown"
            for body in bodies:
                a = attributes(body[4:])
                if a.get(4, b"").startswith(b"xt_imq_hook"):
                    found.append((hook, struct.unpack("!i", a[2])[0]))
        return found

    def replace(self, data):
        try:
            self.s.setsockopt(self.LEVEL, SO_SET_REPLACE, data)
        except OSError as e:
            return e.errno
        return 0

    def round(self):
        table, data = self.message()
        error = self.replace(data)
        self.result(error)
        now = self.state()
        if error and now != self.old:
            raise Broken("refused (%s), and there: %s" % (errno.errorcode[error], data.hex()))
        if any(struct.unpack("=I", data)[0] > INDEX_MAX
               for _, name, data in now[1] if name == b"IMQ"):
            raise Broken("out of range: %s" % data.hex())
        if not error and now[1] != self.targets(table[6]):
            raise Broken("sent %s, dumped %s: %s" % (
                self.targets(table[6]), now[1], data.hex()))
        self.old = now
        if self.done % 64 == 0:
            self.hooks_as_needed(now)

    def hooks_as_needed(self, now):
        there = self.registered()
        needed = any(name == b"IMQ" for _, name, _ in now[1])
        if there != "unknown" and bool(there) != needed:
            raise Broken("hooks %s with the targets %s" % (there, now[1]))

    def restore(self):
        error = self.replace(self.pack(self.table([[]] * 5), self.state()[0]))
        if error:
            raise Broken("an empty table is refused: " + os.strerror(error))

    def snapshot(self):
        return self.state()[1], self.registered(), module_references()

    def end(self):
        self.restore()


class Tables6(Tables):
    LEVEL, FAMILY, KIND = socket.IPPROTO_IPV6, socket.AF_INET6, 10
    NFCACHE, ENTRY = 136, 168


KINDS = {"nft": Rules, "compat": Targets, "link": Links, "xt": Tables, "xt6": Tables6}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--forbidden", action="store_true")
    parser.add_argument("kind", choices=KINDS)
    args = parser.parse_args()
    fuzz = KINDS[args.kind](args.seed, args.count)
    try:
        fuzz.forbidden() if args.forbidden else fuzz.run()
    except Broken as e:
        print("seed=%d after %d messages: %s" % (args.seed, fuzz.done, e))
        sys.exit(1)
    except Untestable as e:
        print(e)
        sys.exit(4)


if __name__ == "__main__":
    main()
