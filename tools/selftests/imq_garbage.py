#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets that have no business where they are sent.

usage: imq_garbage.py send [--count N] [--seed N] [--ether MAC] [--to ADDR] DEV
       imq_garbage.py tap DEV
       imq_garbage.py redirect DEV TO HOW

send: to DEV, by packet sockets: raw and cooked, and raw with a virtio_net
header that promises a GSO packet or a checksum; from 1 byte to 512 KiB, in
fragments; half of them IP packets (to ADDR, UDP or TCP), the rest random bytes;
with --ether behind an Ethernet header, to that address. Prints seed=, sent= (taken by the
kernel), plain= (those without a virtio_net header), refused=.

tap: counts what DEV transmits until SIGTERM, then prints tap=.

redirect: a BPF program on ingress of DEV, which needs a clsact, sends all its
packets to TO. HOW is redirect, clone, neigh (see bpf_redirect(), and so on, in
linux/bpf.h), or ingress: the packets are received by TO. Prints ok, or the error.
"""

import argparse
import ctypes
import errno
import os
import random
import signal
import socket
import struct
import sys

from imq_netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Netlink, nest, text, u32
from imq_packets import bpf_load, call, checksum, insn, mov

SOL_PACKET, PACKET_STATISTICS, PACKET_VNET_HDR = 263, 6, 15
SO_SNDBUFFORCE, SO_ATTACH_FILTER, ETH_P_ALL = 32, 26, 3
RTM_NEWTFILTER = 44
CLSACT_INGRESS = 0xFFFFFFF2
BIG = 512 << 10


class Garbage:
    PROTOCOLS = (0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x88B5, 0x8847, 0, 1, 4)

    def __init__(self, seed, dev, ether, to):
        self.r = random.Random(seed)
        self.dev = dev
        self.ether = bytes.fromhex(ether.replace(":", "")) + b"\2\0\0\0\0\1" if ether else b""
        self.to = socket.inet_aton(to)
        self.sent = self.plain = self.refused = 0
        self.sockets = {}
        for kind, vnet in ((socket.SOCK_RAW, False), (socket.SOCK_RAW, True),
                           (socket.SOCK_DGRAM, False)):
            s = socket.socket(socket.AF_PACKET, kind)
            s.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
            if vnet:
                s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            self.sockets[kind, vnet] = s

    def size(self):
        r = self.r
        how = r.random()
        if how < 0.02:
            return BIG
        if how < 0.1:
            return r.choice((16384, 65535, 65536, 131072, r.randrange(65536)))
        return r.choice((1, 2, 19, 20, 21, 40, 41, 60, 100, 1500, r.randrange(1, 1500)))

    def packet(self):
        """(protocol, content)"""
        r = self.r
        size = self.size()
        if r.random() < 0.5:
            return r.choice(self.PROTOCOLS), (r.randbytes(min(size, 256)) * (
                size // min(size, 256) + 1))[:size]
        ports = struct.pack("!HHHH", 1000, r.choice((5000, 5001)), min(8 + size, 65535), 0)
        protocol = r.choice((socket.IPPROTO_UDP, socket.IPPROTO_TCP))
        payload = (ports + bytes(size))[:max(size, 20)]
        if r.random() < 0.5:
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, min(20 + len(payload), 65535),
                               1, 0, 64, protocol, 0, b"\x0a\0\x09\1", self.to)
            head = head[:10] + struct.pack("=H", socket.htons(checksum(head))) + head[12:]
            return 0x0800, head + payload
        return 0x86DD, struct.pack("!IHBB16s16s", 6 << 28, min(len(payload), 65535),
                                   protocol, 64, b"\xfd" + bytes(14) + b"\1",
                                   b"\xfd" + bytes(14) + b"\2") + payload

    def header(self, size):
        """struct virtio_net_hdr"""
        r = self.r
        edge = (0, 1, 8, 14, 20, 34, 40, 54, 100, 1448, 65535, r.randrange(65536))
        gso = r.choice((0, 1, 1, 3, 4, 4, 5, 0x81, r.randrange(256)))
        # Nearly right, or the kernel takes none
        if r.random() < 0.6:
            tcp = gso & 0x7F in (1, 4)
            start = len(self.ether) + r.choice((20, 40))
            return struct.pack("=BBHHHH", 1, gso, min(start + 20, size), r.choice(
                (1, 536, 1448, 9000)), start, 16 if tcp else 6)
        return struct.pack("=BBHHHH", r.choice((0, 1, 2, 3, 255)), gso, r.choice(edge),
                           r.choice(edge), r.choice(edge), r.choice(edge))

    def send(self):
        protocol, data = self.packet()
        kind, vnet = self.r.choice(list(self.sockets))
        if self.ether and kind == socket.SOCK_RAW:
            data = self.ether + struct.pack("!H", protocol) + data
        if vnet:
            data = self.header(len(data)) + data
        to = (self.dev, protocol, 0, 0, self.ether[:6])
        try:
            self.sockets[kind, vnet].sendto(data, to)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.EMSGSIZE, errno.ENOBUFS,
                               errno.ENOMEM):
                raise
            self.refused += 1
            return
        self.sent += 1
        self.plain += not vnet


def send(args):
    seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
    g = Garbage(seed, args.dev, args.ether, args.to)
    for _ in range(args.count):
        g.send()
    print("seed=%d sent=%d plain=%d refused=%d" % (seed, g.sent, g.plain, g.refused))


def tap(args):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    # A filter of classic BPF: what is PACKET_OUTGOING, not what is received
    code = [(0x20, 0, 0, 0xFFFFF004), (0x15, 0, 1, 4), (6, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                 struct.pack("@HP", 4, ctypes.addressof(code)))
    s.bind((args.dev, ETH_P_ALL))
    # What doesn't fit any more is counted nevertheless.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    print("ready", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pause()
    print("tap=%d" % struct.unpack("=II", s.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[0])


def program(how, ifindex):
    """Register 1 has the packet."""
    return {
        "redirect": mov(1, ifindex) + mov(2, 0) + call(23),
        "ingress": mov(1, ifindex) + mov(2, 1) + call(23),
        "neigh": mov(1, ifindex) + mov(2, 0) + mov(3, 0) + mov(4, 0) + call(152),
        "clone": mov(2, ifindex) + mov(3, 0) + call(13) + mov(0, 2),
    }[how] + insn(0x95)


def redirect(args):
    try:
        fd = bpf_load(program(args.how, socket.if_nametoindex(args.to)))
    except OSError as e:
        print(errno.errorcode[e.errno], e.strerror)
        return
    nl = Netlink(socket.NETLINK_ROUTE)
    body = struct.pack("=BxxxiIII", 0, socket.if_nametoindex(args.dev), 0,
                       CLSACT_INGRESS, 1 << 16 | socket.htons(ETH_P_ALL))
    options = nest(2, u32(6, fd), text(7, args.how), u32(8, 1))
    nl.send(nl.message(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                       body + text(1, "bpf") + options))
    print(nl.answer(1))
    os.close(fd)


def main():
    parser = argparse.ArgumentParser()
    parser.format_help = lambda: __doc__
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("send")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--seed", type=int)
    p.add_argument("--ether")
    p.add_argument("--to", default="10.0.9.254")
    p.add_argument("dev")
    p.set_defaults(run=send)
    p = commands.add_parser("tap")
    p.add_argument("dev")
    p.set_defaults(run=tap)
    p = commands.add_parser("redirect")
    for name in "dev", "to", "how":
        p.add_argument(name)
    p.set_defaults(run=redirect)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())
