#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Frames of all kinds between interfaces, compared byte by byte.

usage: imq_frames.py [--count N] [--to MAC] WAY FROM:DEV TO:DEV KIND...

Sends N frames (default 5) of each KIND from interface DEV of the network
namespace FROM, as if they came from elsewhere, and waits for them at DEV of TO.
A line per kind: kind=, sent=, got=, changed=, twice=. KIND is

  arp     ARP request            any     EtherType 0x88b5, shortest and longest
  ip4     with options, TOS      ip6     with destination options, flow label
  frag    second fragment        mcast   IPv4 multicast
  pppoe   PPPoE session, IPv4    padi    PPPoE discovery
  mpls    MPLS unicast           vlan    802.1Q tag, priority 3, IPv4
  qinq    802.1ad and 802.1Q tag, IPv4

WAY tells what may change, and how to look:

  wire    nothing; all that DEV receives is looked at
  stack   nothing, but tags are gone; what reaches the protocols is looked at,
          behind ingress hooks: of vlan at DEV.5, of qinq at DEV.7.5
  routed  addresses of Ethernet; TTL or hop limit is one less (ip4, ip6 only)

--to is the destination address in Ethernet (default 02:00:00:00:00:02).
The exit status is 0 whatever became of the frames, 1 if none could be sent.
"""

import os
import select
import socket
import struct
import sys
import time

from imq_packets import checksum
from imq_traffic import enter

SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
ETH_P_ALL = 3
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 0x10, 0x40
MARK = b"imq-frame" + os.urandom(7)
SOURCE = "02:00:00:00:00:01"


def mac(text):
    return bytes(int(x, 16) for x in text.split(":"))


def ip4(data, dst="198.51.100.2", fragment=0, ttl=9):
    options = b"\x94\x04\x00\x00" if not fragment else b""     # router alert
    payload = data if fragment else struct.pack("!HHHH", 5001, 5001, 8 + len(data), 0) + data
    header = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0xB8,
                         20 + len(options) + len(payload), 0x1234, fragment, ttl, 17, 0,
                         socket.inet_aton("10.0.1.2"), socket.inet_aton(dst)) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ip6(data, ttl=9):
    extension = struct.pack("!BBBBI", 17, 0, 1, 4, 0)           # PadN
    udp = struct.pack("!HHHH", 5001, 5001, 8 + len(data), 0xBEEF) + data
    return struct.pack("!IHBB16s16s", 0x62E12345, len(extension + udp), 60, ttl,
                       socket.inet_pton(socket.AF_INET6, "fd00:1::2"),
                       socket.inet_pton(socket.AF_INET6, "2001:db8:f::2")) + extension + udp


def arp(data):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac(SOURCE),
                       socket.inet_aton("10.77.0.1"), bytes(6),
                       socket.inet_aton("10.77.0.2")) + data


def ppp(data):
    inner = struct.pack("!H", 0x21) + ip4(data)
    return struct.pack("!BBHH", 0x11, 0, 77, len(inner)) + inner


def any_type(data):
    return data + bytes(i & 0xFF for i in range(1500 - len(data))) if data[-1] & 1 else data


# Kind: tags, EtherType, payload, destination that is not --to.
KINDS = {
    "arp": ((), 0x0806, arp, "ff:ff:ff:ff:ff:ff"),
    "any": ((), 0x88B5, any_type, None),
    "ip4": ((), 0x0800, ip4, None),
    "frag": ((), 0x0800, lambda d: ip4(d, fragment=100), None),
    "mcast": ((), 0x0800, lambda d: ip4(d, dst="239.1.1.1"), "01:00:5e:01:01:01"),
    "ip6": ((), 0x86DD, ip6, None),
    "vlan": (((0x8100, 3 << 13 | 5),), 0x0800, ip4, None),
    "qinq": (((0x88A8, 7), (0x8100, 5)), 0x0800, ip4, None),
    "pppoe": ((), 0x8864, ppp, None),
    "padi": ((), 0x8863, lambda d: struct.pack("!BBHH", 0x11, 9, 0, len(d)) + d,
             "ff:ff:ff:ff:ff:ff"),
    "mpls": ((), 0x8847, lambda d: struct.pack("!I", 16 << 12 | 1 << 8 | 9) + ip4(d), None),
}


class Kind:
    def __init__(self, name, number, to, way):
        tags, self.ethertype, payload, dst = KINDS[name]
        self.name, self.way = name, way
        self.frames, self.wanted = [], []
        self.seen = {}
        self.changed = self.twice = self.sent = 0
        head = mac(dst or to) + mac(SOURCE)
        tagged = b"".join(struct.pack("!HH", *tag) for tag in tags)
        self.suffix = "".join(".%d" % (tci & 0xFFF) for _, tci in tags)
        self.place = None
        for i in range(count):
            # The second last byte tells the kind, the last one the frame.
            data = MARK + bytes((number, i))
            body = struct.pack("!H", self.ethertype) + payload(data)
            self.frames.append(head + tagged + body)
            if way == "routed":
                self.wanted.append(head + body[:2] + payload(data, ttl=8))
            else:
                self.wanted.append(head + (b"" if way == "stack" else tagged) + body)

    def got(self, number, frame):
        if number in self.seen:
            self.twice += 1
        self.seen[number] = 1
        skip = 12 if self.way == "routed" else 0
        wanted = self.wanted[number][skip:]
        # An interface may append to the shortest frames.
        if frame[skip:skip + len(wanted)] != wanted:
            self.changed += 1


def receivers(netns, dev, way, kinds):
    enter(netns)
    for kind in kinds:
        kind.place = (dev, ETH_P_ALL)
        if way == "stack":
            kind.place = (dev + kind.suffix, kind.ethertype)
    for place in {kind.place for kind in kinds}:
        name, protocol = place
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        s.bind((name, protocol))
        s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        s.setblocking(False)
        yield s, place


def receive(s):
    """A frame, with the tag that the kernel keeps beside it."""
    frame, extra, _, _ = s.recvmsg(65536, 256)
    for level, kind, data in extra:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return frame


def main(args):
    global count
    count, to = 5, "02:00:00:00:00:02"
    while args and args[0].startswith("--"):
        if args[0] == "--count":
            count = int(args[1])
        elif args[0] == "--to":
            to = args[1]
        args = args[2:]
    if len(args) < 4 or args[0] not in ("wire", "stack", "routed"):
        sys.exit(__doc__)
    way, source, target = args[:3]
    kinds = [Kind(name, i, to, way) for i, name in enumerate(args[3:])]
    sockets = dict(receivers(*target.split(":"), way, kinds))

    netns, dev = source.split(":")
    enter(netns)
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((dev, 0))
    for i in range(count):
        for kind in kinds:
            out.send(kind.frames[i])
            kind.sent += 1

    end = time.monotonic() + 5
    while time.monotonic() < end:
        if all(len(kind.seen) == count for kind in kinds):
            end = min(end, time.monotonic() + 0.1)      # nothing comes twice
        for s in select.select(sockets, [], [], 0.05)[0]:
            frame = receive(s)
            where = frame.find(MARK)
            if where >= 0:
                number, i = frame[where + len(MARK):where + len(MARK) + 2]
                # What is for a VLAN is seen on the device below, too.
                if sockets[s] == kinds[number].place:
                    kinds[number].got(i, frame)
    for kind in kinds:
        print("kind=%s sent=%d got=%d changed=%d twice=%d" % (
            kind.name, kind.sent, len(kind.seen), kind.changed, kind.twice))


if __name__ == "__main__":
    main(sys.argv[1:])
