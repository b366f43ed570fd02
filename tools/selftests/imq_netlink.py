#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Netlink messages that tools of this system may not know, or refuse to send.

usage: imq_netlink.py link-add NAME [ATTR...]     make a device of type imq
       imq_netlink.py link-set NAME [ATTR...]     change it
       imq_netlink.py link-netns NAME NETNS       move it to /run/netns/NETNS
       imq_netlink.py link-index NAME             print its IFLA_IMQ_INDEX
       imq_netlink.py link-xstats NAME            print its counters, in order
       imq_netlink.py rule FAMILY TYPE HOOK PRIO [DEVICE] EXPR...
       imq_netlink.py rules FAMILY                print the imq expressions

ATTR is index=N (IFLA_IMQ_INDEX), index16=N (the same, too short), or
ATTRIBUTE-NUMBER=N (any other, as u32).

`rule' makes table imqtest, chain c on the hook, and a rule there. FAMILY is ip,
ip6, inet, arp, bridge or netdev; TYPE is filter, nat or route, or - for a
chain without a hook (HOOK and PRIO are ignored), with a rule that jumps there
from a chain of type filter if TYPE is -HOOK. DEVICE is dev:NAME. EXPR is
mark=REG (load meta mark), setmark=REG (set it), or imq[:KEY=N...], KEY one of dev
(NFTA_IMQ_DEV), sreg (NFTA_IMQ_SREG_DEV), dev16 (the former, too short), or a number;
none instead of imq is an expression that no kernel has. EXPRs
make one rule. IMQ=N instead is the target of x_tables, as iptables-nft sends
it; the table is called mangle then.

Prints `ok', or the error's name and the kernel's message; for a rule also which
expression (1 is the first) it is about, if the kernel says so. The exit status is
0 in both cases.
"""

import errno
import os
import socket
import struct
import sys

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS = 1, 2
NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

RTM_NEWLINK, RTM_GETLINK = 16, 18
IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_XSTATS = 1, 2, 3
IFLA_IMQ_INDEX = 1

NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_GETRULE = 0, 3, 6, 7
NFTA_RULE_EXPRESSIONS = 4
NFT_META_MARK = 3
NFTA_IMQ_DEV, NFTA_IMQ_SREG_DEV = 1, 2
FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3,
         "postrouting": 4, "ingress": 0, "egress": 1}


def attr(kind, data):
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)


def nest(kind, *attrs):
    return attr(kind | NLA_F_NESTED, b"".join(attrs))


def text(kind, s):
    return attr(kind, s.encode() + b"\0")


def u32(kind, n):
    return attr(kind, struct.pack("=I", n))


def be32(kind, n):
    return attr(kind, struct.pack("!I", n & 0xFFFFFFFF))


def attrs(data):
    """The attributes in data, as (type, content)."""
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4 or size > len(data):
            raise ValueError("broken attribute")
        yield kind & NLA_TYPE_MASK, data[4:size]
        data = data[(size + 3) & ~3:]


class Netlink:
    def __init__(self, protocol):
        self.s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self.s.bind((0, 0))
        self.s.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self.s.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.s.settimeout(10)
        self.seq = 1

    def message(self, kind, flags, body):
        self.seq += 1
        return struct.pack("=IHHII", 16 + len(body), kind,
                           flags | NLM_F_REQUEST, self.seq, 0) + body

    def send(self, *messages):
        self.s.send(b"".join(messages))

    def receive(self):
        """The messages that come, as (type, flags, sequence number, content)."""
        while True:
            data = self.s.recv(1 << 20)
            while len(data) >= 16:
                size, kind, flags, seq, _ = struct.unpack_from("=IHHII", data)
                yield kind, flags, seq, data[16:size]
                data = data[(size + 3) & ~3:]

    def answer(self, acks, place=None):
        """Waits for so many acks or the first error; returns what to print.

        place(sequence number, offset) tells what is in a request there.
        """
        for kind, flags, _, body in self.receive():
            if kind != NLMSG_ERROR:
                continue
            code = -struct.unpack_from("=i", body)[0]
            if not code:
                acks -= 1
                if acks:
                    continue
                return "ok"
            # Python knows EOPNOTSUPP by its other name.
            name = errno.errorcode.get(code, str(code))
            name = name.replace("ENOTSUP", "EOPNOTSUPP")
            words = [name] + self.extack(flags, body, place)
            return " ".join(filter(None, words))
        return "no answer"

    @staticmethod
    def extack(flags, body, place):
        """What the kernel says to an error: text and place"""
        if not flags & NLM_F_ACK_TLVS:
            return []
        start = 4 + 16
        if not flags & NLM_F_CAPPED:
            start = 4 + struct.unpack_from("=I", body, 4)[0]
        tlvs = dict(attrs(body[(start + 3) & ~3:]))
        words = [tlvs.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()]
        if place and NLMSGERR_ATTR_OFFS in tlvs:
            seq = struct.unpack_from("=I", body, 4 + 8)[0]
            words.append(place(seq, *struct.unpack("=I", tlvs[NLMSGERR_ATTR_OFFS])))
        return words


def link_data(items):
    out = []
    for item in items:
        key, value = item.split("=")
        if key == "index":
            out.append(u32(IFLA_IMQ_INDEX, int(value)))
        elif key == "index16":
            out.append(attr(IFLA_IMQ_INDEX, struct.pack("=H", int(value))))
        else:
            out.append(u32(int(key), int(value)))
    return out


def link(flags, name, extra):
    nl = Netlink(socket.NETLINK_ROUTE)
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + extra
    nl.send(nl.message(RTM_NEWLINK, NLM_F_ACK | flags, body))
    return nl.answer(1)


def link_info(items):
    data = link_data(items)
    return nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "imq"),
                *([nest(IFLA_INFO_DATA, *data)] if data else []))


def link_attrs(name):
    """What the kernel says of a device, by attribute"""
    nl = Netlink(socket.NETLINK_ROUTE)
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    nl.send(nl.message(RTM_GETLINK, 0, body))
    for kind, _, _, body in nl.receive():
        if kind != RTM_NEWLINK:
            sys.exit("no such device")
        return dict(attrs(body[16:]))


def link_get(name):
    """IFLA_LINKINFO of a device, by attribute"""
    return dict(attrs(link_attrs(name)[IFLA_LINKINFO]))


def link_index(name):
    data = dict(attrs(link_get(name)[IFLA_INFO_DATA]))
    return str(struct.unpack("=I", data[IFLA_IMQ_INDEX])[0])


def link_xstats(name):
    """Numbers of 4 or 8 bytes"""
    return " ".join(str(int.from_bytes(value, sys.byteorder)) for kind, value in
                    sorted(attrs(link_get(name).get(IFLA_INFO_XSTATS, b""))))


def expression(name, *data):
    return nest(1, text(1, name), *([nest(2, *data)] if data else []))


def rule_expression(word):
    name, _, options = word.partition(":")
    if name.startswith("IMQ="):
        info = struct.pack("=II", int(name[4:]), 0)
        return expression("target", text(1, "IMQ"), be32(2, 0), attr(3, info))
    if name.startswith("mark="):
        return expression("meta", be32(1, int(name[5:])), be32(2, NFT_META_MARK))
    if name.startswith("setmark="):
        return expression("meta", be32(2, NFT_META_MARK), be32(3, int(name[8:])))
    if name not in ("imq", "none"):
        sys.exit("unknown expression " + word)
    data = []
    for item in filter(None, options.split(":")):
        key, value = item.split("=")
        n = int(value)
        if key == "dev":
            data.append(be32(NFTA_IMQ_DEV, n))
        elif key == "sreg":
            data.append(be32(NFTA_IMQ_SREG_DEV, n))
        elif key == "dev16":
            data.append(attr(NFTA_IMQ_DEV, struct.pack("!H", n)))
        else:
            data.append(be32(int(key), n))
    # With an empty nest, as nft would send it, if there are no attributes.
    return nest(1, text(1, name), nest(2, *data))


def expression_at(message, offset):
    """Of the attributes in a NFT_MSG_NEWRULE, which expression begins there"""
    start = 16 + 4
    for kind, data in attrs(message[start:]):
        if kind != NFTA_RULE_EXPRESSIONS:
            start += (4 + len(data) + 3) & ~3
            continue
        start += 4
        for number, (_, element) in enumerate(attrs(data), 1):
            if start == offset:
                return "(expression %d)" % number
            start += (4 + len(element) + 3) & ~3
    return ""


def rule(family, chain_type, hook, prio, words):
    nl = Netlink(NETLINK_NETFILTER)
    table = "mangle" if words[0].startswith("IMQ=") else "imqtest"
    head = struct.pack("!BBH", FAMILIES[family], 0, 0)
    batch = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)

    def nft(kind, *body):
        return nl.message(NFNL_SUBSYS_NFTABLES << 8 | kind,
                          NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND,
                          head + b"".join(body))

    def base(name, kind, hook):
        return nft(NFT_MSG_NEWCHAIN, text(1, table), text(3, name),
                   nest(4, be32(1, HOOKS[hook]), be32(2, int(prio)), *device),
                   text(7, kind))

    device = []
    if words and words[0].startswith("dev:"):
        device = [text(3, words.pop(0)[4:])]
    messages = [nft(NFT_MSG_NEWTABLE, text(1, table))]
    if chain_type.startswith("-"):
        messages.append(nft(NFT_MSG_NEWCHAIN, text(1, table), text(3, "c")))
    else:
        messages.append(base("c", chain_type, hook))
    messages.append(nft(NFT_MSG_NEWRULE, text(1, table), text(2, "c"),
                        nest(4, *map(rule_expression, words))))
    if len(chain_type) > 1 and chain_type.startswith("-"):
        # NFT_JUMP (-3) in the verdict register of an immediate expression
        verdict = nest(2, be32(1, -3), text(2, "c"))
        messages.append(base("b", chain_type[1:], hook))
        messages.append(nft(NFT_MSG_NEWRULE, text(1, table), text(2, "b"), nest(
            4, expression("immediate", be32(1, 0), nest(2, verdict)))))
    nl.send(nl.message(NFNL_MSG_BATCH_BEGIN, 0, batch), *messages,
            nl.message(NFNL_MSG_BATCH_END, 0, batch))
    sent = {struct.unpack_from("=I", m, 8)[0]: m for m in messages}
    return nl.answer(len(messages),
                     lambda seq, offset: expression_at(sent[seq], offset))


def rules(family):
    """imq:KEY=VALUE for every imq expression of the family's rules"""
    nl = Netlink(NETLINK_NETFILTER)
    nl.send(nl.message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP,
                       struct.pack("!BBH", FAMILIES[family], 0, 0)))
    found = []
    names = {NFTA_IMQ_DEV: "dev", NFTA_IMQ_SREG_DEV: "sreg"}
    for kind, _, _, body in nl.receive():
        if kind in (NLMSG_DONE, NLMSG_ERROR):
            break
        for _, element in attrs(dict(attrs(body[4:])).get(4, b"")):
            expr = dict(attrs(element))
            if expr[1] != b"imq\0":
                continue
            found.append("imq" + "".join(
                ":%s=%d" % (names.get(k, k), struct.unpack("!I", v)[0])
                for k, v in attrs(expr[2])))
    return " ".join(found) or "none"


def main(args):
    command, args = args[0], args[1:]
    if command == "link-add":
        print(link(NLM_F_CREATE | NLM_F_EXCL, args[0], link_info(args[1:])))
    elif command == "link-set":
        print(link(0, args[0], link_info(args[1:])))
    elif command == "link-netns":
        fd = os.open("/run/netns/" + args[1], os.O_RDONLY)
        print(link(0, args[0], u32(IFLA_NET_NS_FD, fd)))
    elif command == "link-index":
        print(link_index(args[0]))
    elif command == "link-xstats":
        print(link_xstats(args[0]))
    elif command == "rule":
        print(rule(args[0], args[1], args[2], args[3], args[4:]))
    elif command == "rules":
        print(rules(args[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
