#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets, and programs that get them, as no tool of this system makes them.

usage: imq_packets.py tap PORT
       imq_packets.py longest DEV
       imq_packets.py nfqueue QUEUE [verdict=accept|repeat|N] [mark=N] [hold=1]
       imq_packets.py frames DEV router|bridge DST-MAC SRC-MAC SRC4 DST4 SRC6 DST6
       imq_packets.py capture DEV SRC-MAC|-
       imq_packets.py bpf DEV ingress|egress redirect|clone IFINDEX FLAGS PORT
       imq_packets.py bpf DEV ingress|egress assign tcp|udp PORT ADDRESS PORT
       imq_packets.py bpf DEV ingress|egress queues MASK
       imq_packets.py bpf DEV ingress|egress pass
       imq_packets.py stamps FROM TO ADDRESS PORT COUNT
       imq_packets.py txtime ADDRESS PORT COUNT MS
       imq_packets.py big DEV BYTES
       imq_packets.py tun DEV QUEUES
       imq_packets.py mroute GROUP SRC IN-ADDRESS OUT-ADDRESS

tap, longest, nfqueue, capture, tun and mroute print `ready', work until SIGTERM, and print
what they have seen. All but stamps work in the network namespace they are in.

tap: a packet socket, which gets clones. For each device and direction of UDP
datagrams to PORT: dev= way=in|out packets= distinct= (different payloads).

longest: longest= in bytes, of the packets on the device.

nfqueue: a listener of that queue. N is a verdict as the kernel's; hold=1 gives
none until SIGUSR1. Prints seen= answered=.

frames sends one of each kind of packet, of those that a router or a bridge
forwards.
capture prints frames from SRC-MAC in hexadecimal, or with -, without the
Ethernet header, those from addresses that `frames' uses by default.

bpf attaches a program for TCX, which stays: UDP datagrams to PORT are redirected
to the device, or a clone of them is; packets to the first PORT, of TCP those
that begin a connection, get the socket that is bound to ADDRESS and the second
one; UDP datagrams get the bits MASK of their port as number of their queue; pass removes nothing, and shows whether the kernel can do that at all.

stamps sends datagrams from one namespace to another, whose socket asks for their
time of arrival: sent= got= before= (stamped before they were sent) behind=
(stamped after they were read) wait= (least time between stamp and arrival, us).

txtime sends datagrams that are to leave in MS milliseconds.

tun makes a device with so many queues, of which it gives all but one back and
takes them again, all the time: read= (packets) changes=.

big sets the size of GSO packets that a device takes, of IPv6 and IPv4, and prints for
which of them there is one.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import platform
import signal
import socket
import struct
import sys
import time

import imq_netlink as nl
from imq_traffic import Usage, enter, program

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_TXTIME = 33, 35, 61
PACKET_OUTGOING = 4
CLOCK_TAI = 11
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}


class Stop:
    """True from SIGTERM on."""

    def __init__(self):
        self.stopped = self.released = False
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGUSR1, self.release)

    def stop(self, *_):
        self.stopped = True

    def release(self, *_):
        self.released = True


def received(s, stop):
    """What comes at the socket, until somebody stops us; None now and then."""
    s.settimeout(0.05)
    print("ready", flush=True)
    while True:
        try:
            yield s.recvfrom(1 << 18)
        except socket.timeout:
            if stop.stopped:
                return
            yield None


def packet_socket(kind, dev=None):
    s = socket.socket(socket.AF_PACKET, kind, socket.htons(0 if dev else ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    if dev:
        s.bind((dev, ETH_P_ALL))
    return s


# Taps ----------------------------------------------------------------------

def datagram_to(data, port):
    """The payload of an IPv4 UDP datagram to the port, or None."""
    if len(data) < 28 or data[0] >> 4 != 4 or data[9] != 17:
        return None
    start = (data[0] & 15) * 4
    if struct.unpack_from("!H", data, start + 2)[0] != port:
        return None
    return data[start + 8:]


def tap(port):
    seen = {}
    s = packet_socket(socket.SOCK_DGRAM)
    for item in received(s, Stop()):
        if item is None:
            continue
        data, address = item
        payload = datagram_to(data, int(port))
        if payload is None:
            continue
        way = "out" if address[2] == PACKET_OUTGOING else "in"
        entry = seen.setdefault((address[0], way), [0, set()])
        entry[0] += 1
        entry[1].add(hashlib.md5(payload).digest())
    for (dev, way), (count, distinct) in sorted(seen.items()):
        print("dev=%s way=%s packets=%d distinct=%d" % (dev, way, count, len(distinct)))


def longest(dev):
    length = 0
    for item in received(packet_socket(socket.SOCK_RAW, dev), Stop()):
        length = max(length, len(item[0]) if item else 0)
    print("longest=%d" % length)


# NFQUEUE -------------------------------------------------------------------

class Queue:
    PACKET, VERDICT, CONFIG = 0x300, 0x301, 0x302

    def __init__(self, number):
        self.number = number
        self.link = nl.Netlink(nl.NETLINK_NETFILTER)
        self.link.s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.ask(nl.attr(1, struct.pack("!BBH", 1, 0, 0)))    # bind
        self.ask(nl.attr(2, struct.pack("!IB", 0, 1)))        # no payload
        self.ask(nl.be32(3, 100000))                          # room for so many

    def header(self):
        return struct.pack("!BBH", 0, 0, self.number)

    def ask(self, attribute):
        self.link.send(self.link.message(self.CONFIG, nl.NLM_F_ACK,
                                         self.header() + attribute))
        answer = self.link.answer(1)
        if answer != "ok":
            raise OSError("nfqueue: " + answer)

    def verdict(self, packet, verdict, mark):
        body = self.header() + nl.attr(2, struct.pack("!I", verdict) + packet)
        if mark is not None:
            body += nl.be32(3, mark)
        self.link.send(self.link.message(self.VERDICT, 0, body))

    def packets(self, data):
        """The ids in what has been received."""
        while len(data) >= 16:
            size, kind = struct.unpack_from("=IH", data)
            if kind == self.PACKET:
                for number, content in nl.attrs(data[20:size]):
                    if number == 1:
                        yield content[:4]
            data = data[(size + 3) & ~3:]


def nfqueue(number, *options):
    o = {"verdict": "accept", "mark": None, "hold": "0"}
    for option in options:
        key, sep, value = option.partition("=")
        if key not in o or not sep:
            raise Usage("nfqueue: " + option)
        o[key] = value
    verdict = {"accept": 1, "repeat": 4}.get(o["verdict"]) or int(o["verdict"], 0)
    mark = None if o["mark"] is None else int(o["mark"], 0)
    queue, stop, held, seen, answered = Queue(int(number)), Stop(), [], 0, 0
    for item in received(queue.link.s, stop):
        for packet in queue.packets(item[0]) if item else ():
            seen += 1
            held.append(packet)
        if o["hold"] == "1" and not stop.released:
            continue
        for packet in held:
            queue.verdict(packet, verdict, mark)
            answered += 1
        held.clear()
    print("seen=%d answered=%d" % (seen, answered))


# Frames of all kinds -------------------------------------------------------

def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Frames:
    """Kinds of packets between two addresses. Each is told by its number."""

    def __init__(self, dst_mac, src_mac, src4, dst4, src6, dst6):
        self.dst_mac, self.src_mac = (bytes.fromhex(m.replace(":", ""))
                                      for m in (dst_mac, src_mac))
        self.src4, self.dst4 = (socket.inet_aton(a) for a in (src4, dst4))
        self.src6, self.dst6 = (socket.inet_pton(socket.AF_INET6, a)
                                for a in (src6, dst6))
        self.number = 0

    def payload(self, size):
        self.number += 1
        return bytes((self.number * 31 + i * 7) & 0xFF for i in range(size))

    def ip4(self, protocol, data, dst=None, options=b"", ident=0, frag=0, ttl=64,
            tos=0):
        header = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, tos,
                             20 + len(options) + len(data), ident, frag, ttl,
                             protocol, 0, self.src4, dst or self.dst4) + options
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + data

    def ip6(self, header, data, dst=None, tclass=0, label=0):
        return struct.pack("!IHBB16s16s", 6 << 28 | tclass << 20 | label, len(data),
                           header, 64, self.src6, dst or self.dst6) + data

    def pseudo(self, six, protocol, size, dst=None):
        if six:
            return self.src6 + (dst or self.dst6) + struct.pack("!II", size, protocol)
        return self.src4 + (dst or self.dst4) + struct.pack("!HH", protocol, size)

    def udp(self, size, six=False, dst=None):
        data = self.payload(size)
        header = struct.pack("!HHHH", 4000, 4001, 8 + size, 0) + data
        total = checksum(self.pseudo(six, 17, 8 + size, dst) + header) or 0xFFFF
        return header[:6] + struct.pack("!H", total) + data

    def icmp(self, kind, code, data):
        header = struct.pack("!BBHI", kind, code, 0, 0x04D20001) + data
        return header[:2] + struct.pack("!H", checksum(header)) + header[4:]

    def icmp6(self, kind, code, rest, data):
        header = struct.pack("!BBHI", kind, code, 0, rest) + data
        total = checksum(self.pseudo(True, 58, len(header)) + header)
        return header[:2] + struct.pack("!H", total) + header[4:]

    def fragments4(self, ident, order):
        data = self.udp(3000)
        parts = []
        for start in 0, 1200, 2400:
            more = 0x2000 if start + 1200 < len(data) else 0
            parts.append(self.ip4(17, data[start:start + 1200], ident=ident,
                                  frag=start // 8 | more))
        return [parts[i] for i in order]

    def fragments6(self, ident):
        data = self.udp(2000, six=True)
        for start in 0, 1208:
            more = int(start + 1208 < len(data))
            yield self.ip6(44, struct.pack("!BBHI", 17, 0, start | more, ident) +
                           data[start:start + 1208])

    def ipv4(self):
        quoted = self.ip4(17, self.udp(20))[:28]
        broadcast = self.dst4[:3] + b"\xff"
        yield from self.fragments4(0x1111, (0, 1, 2))
        yield from self.fragments4(0x2222, (2, 0, 1))
        yield self.ip4(17, self.udp(30), options=bytes.fromhex("94040000"))
        yield self.ip4(17, self.udp(30), options=bytes.fromhex("0707040000000000"))
        yield self.ip4(17, self.udp(31), ttl=7, tos=0xB8, frag=0x4000)
        yield self.ip4(1, self.icmp(8, 0, self.payload(56)))
        yield self.ip4(1, self.icmp(3, 4, quoted))
        yield self.ip4(1, self.icmp(11, 0, quoted))
        yield self.ip4(253, self.payload(64))
        yield self.ip4(47, b"\0\0\x08\0" + quoted)
        yield self.ip4(17, self.udp(1))              # padded to 60 bytes
        yield self.ip4(17, self.udp(1472))
        yield self.ip4(17, self.udp(40, dst=broadcast), dst=broadcast)
        group = socket.inet_aton("239.1.1.1")
        yield self.ip4(17, self.udp(41, dst=group), dst=group)

    def ipv6(self):
        quoted = self.ip6(17, self.udp(20, six=True))[:48]
        padding = b"\x11\0\1\4\0\0\0\0"
        yield from self.fragments6(0x33333333)
        yield self.ip6(0, padding + self.udp(30, six=True))
        yield self.ip6(60, padding + self.udp(31, six=True))
        yield self.ip6(0, b"\x3c" + padding[1:] + padding + self.udp(32, six=True))
        yield self.ip6(17, self.udp(33, six=True), tclass=0xB8, label=0x12345)
        yield self.ip6(58, self.icmp6(128, 0, 1, self.payload(56)))
        yield self.ip6(58, self.icmp6(1, 4, 0, quoted))
        yield self.ip6(58, self.icmp6(2, 0, 1400, quoted))
        yield self.ip6(59, b"")
        yield self.ip6(253, self.payload(64))
        yield self.ip6(17, self.udp(1452, six=True))

    def bridged(self):
        """Frames that only a bridge forwards."""
        yield b"\xff" * 6, 0x0800, self.ip4(17, self.udp(42, dst=b"\xff" * 4),
                                            dst=b"\xff" * 4)
        group = socket.inet_pton(socket.AF_INET6, "ff02::1234")
        yield b"\x33\x33\0\0\x12\x34", ETH_P_IPV6, \
            self.ip6(17, self.udp(43, six=True, dst=group), dst=group)
        yield b"\xff" * 6, 0x0806, bytes.fromhex("00010800060400030200000000") + \
            b"\1" + self.src4 + bytes(6) + self.dst4
        yield self.dst_mac, 0x88B5, self.payload(100)
        yield self.dst_mac, 50, b"\x42\x42\x03" + self.payload(47)    # LLC

    def all(self, bridge):
        for packet in self.ipv4():
            to = self.dst_mac
            if packet[16] == 239:
                to = b"\1\0\x5e\1\1\1"
            yield to + self.src_mac + b"\x08\0" + packet
        for packet in self.ipv6():
            yield self.dst_mac + self.src_mac + b"\x86\xdd" + packet
        if bridge:
            for to, kind, data in self.bridged():
                yield to + self.src_mac + struct.pack("!H", kind) + data


def frames(dev, what, *addresses):
    s = packet_socket(socket.SOCK_RAW, dev)
    count = 0
    for frame in Frames(*addresses).all(what == "bridge"):
        s.send(frame.ljust(60, b"\0"))
        count += 1
    print("frames=%d" % count)


def capture(dev, mac):
    seen = []
    sources = (socket.inet_aton("10.0.1.2"), socket.inet_pton(socket.AF_INET6, "fd00:1::2"))
    s = packet_socket(socket.SOCK_RAW, dev)
    for item in received(s, Stop()):
        if item is None or item[1][2] == PACKET_OUTGOING:
            continue
        frame = item[0]
        if mac != "-":
            if frame[6:12] == bytes.fromhex(mac.replace(":", "")):
                seen.append(frame)
            continue
        packet = frame[14:]
        if (frame[12:14] == b"\x08\0" and packet[12:16] == sources[0] or
                frame[12:14] == b"\x86\xdd" and packet[8:24] == sources[1]):
            seen.append(packet)
    for frame in seen:
        print("frame " + frame.hex())


# BPF -----------------------------------------------------------------------

def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def mov(dst, imm):
    return insn(0xB7, dst, imm=imm)


def copy(dst, src):
    return insn(0xBF, dst, src)


def call(helper):
    return insn(0x85, imm=helper)


def load(size, offset):
    """r0: of the packet, from its link header, or from the IP header if it has none."""
    return insn({1: 0x30, 2: 0x28}[size], imm=offset)


def leave(code):
    return mov(0, code) + insn(0x95)


def unless(imm, end):
    """Leave with TCX_NEXT if r0 is not that."""
    return insn(0x15, 0, imm=imm, off=2) + leave(-1)


def is_ip4(link):
    """link: bytes in front of the IP header"""
    if link:
        return copy(6, 1) + load(2, link - 2) + unless(ETH_P_IP, -1)
    return copy(6, 1) + load(1, 0) + insn(0x57, 0, imm=0xF0) + unless(0x40, -1)


def is_datagram(link, protocol, port):
    return (is_ip4(link) + load(1, link + 9) + unless(protocol, -1) +
            load(2, link + 22) + unless(port, -1))


def program_redirect(link, clone, ifindex, flags, port):
    start = is_datagram(link, 17, int(port))
    if clone:
        return (start + copy(1, 6) + mov(2, int(ifindex)) + mov(3, int(flags)) +
                call(13) + leave(0))
    return (start + mov(1, int(ifindex)) + mov(2, int(flags)) + call(23) +
            insn(0x95))


def program_assign(link, protocol, port, address, to):
    tcp = protocol == "tcp"
    code = is_datagram(link, 6 if tcp else 17, int(port))
    if tcp:
        code += load(1, link + 33) + insn(0x57, 0, imm=0x12) + unless(2, -1)
    words = struct.unpack("<ii", socket.inet_aton(address) +
                          struct.pack("!HH", 0, int(to)))
    code += mov(1, 0) + insn(0x63, 10, 1, -16)
    code += mov(1, words[0]) + insn(0x63, 10, 1, -12)
    code += mov(1, words[1]) + insn(0x63, 10, 1, -8)
    code += copy(1, 6) + copy(2, 10) + insn(0x07, 2, imm=-16) + mov(3, 12)
    code += mov(4, -1) + mov(5, 0) + call(84 if tcp else 85)
    code += insn(0x55, 0, imm=0, off=2) + leave(2)    # no socket: drop
    code += copy(7, 0) + copy(1, 6) + copy(2, 7) + mov(3, 0) + call(124)
    code += copy(8, 0) + copy(1, 7) + call(86)
    code += insn(0x15, 8, imm=0, off=2) + leave(2) + leave(0)
    return code


def program_queues(link, mask):
    return (is_ip4(link) + load(1, link + 9) + unless(17, -1) + load(2, link + 22) +
            insn(0x57, 0, imm=int(mask)) +
            insn(0x63, 6, 0, 12) + leave(-1))    # __sk_buff.queue_mapping


def link_header(dev):
    """Bytes of it: none if the device is of type ARPHRD_NONE, else Ethernet's"""
    with open("/sys/class/net/%s/type" % dev) as f:
        return 0 if int(f.read()) == 0xFFFE else 14


def bpf_call(command, attributes):
    if platform.machine() not in SYS_BPF:
        raise OSError(errno.ENOSYS, "bpf")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYS_BPF[platform.machine()], command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def bpf_load(code):
    """BPF_PROG_LOAD of type BPF_PROG_TYPE_SCHED_CLS; a file descriptor"""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)
    try:
        return bpf_call(5, struct.pack(
            "=IIQQIIQ", 3, len(code) // 8, ctypes.addressof(instructions),
            ctypes.addressof(licence), 1, len(log), ctypes.addressof(log)).ljust(120, b"\0"))
    except OSError as e:
        raise OSError(e.errno, log.value.decode() or e.strerror) from e


def bpf(dev, way, what, *args):
    link = link_header(dev)
    make = {
        "redirect": lambda: program_redirect(link, False, *args),
        "clone": lambda: program_redirect(link, True, *args),
        "assign": lambda: program_assign(link, *args),
        "queues": lambda: program_queues(link, *args),
        "pass": lambda: leave(-1),
    }
    if what not in make:
        raise Usage("bpf: " + what)
    try:
        fd = bpf_load(make[what]())
    except OSError as e:
        sys.exit("bpf: %s" % e)
    bpf_call(8, struct.pack("=IIIIIIQ", socket.if_nametoindex(dev), fd,
                            {"ingress": 46, "egress": 47}[way], 0, 0, 0, 0))


# Time ----------------------------------------------------------------------

def stamped(s):
    """A datagram, and when it had arrived and has been read, in ns."""
    data, control, _, _ = s.recvmsg(2000, 200)
    now = time.time_ns()
    for level, kind, value in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, ns = struct.unpack("=qq", value)
            return data, seconds * 10 ** 9 + ns, now
    raise OSError("no time stamp")


def stamp_socket(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    s.bind((address, port))
    s.settimeout(3)
    return s


def stamps(source, target, address, port, count):
    """The kernel begins to stamp a little later than it has been asked to."""
    enter(target)
    s, other = stamp_socket(address, int(port)), stamp_socket(address, int(port) + 1)
    enter(source)
    tx = socket.socket(s.family, socket.SOCK_DGRAM)
    for _ in range(200):
        tx.sendto(b"x", (address, int(port) + 1))
        time.sleep(0.02)
        _, stamp, now = stamped(other)
        if now - stamp > 10 ** 7:
            break
    for _ in range(int(count)):
        tx.sendto(struct.pack("=q", time.time_ns()), (address, int(port)))
        time.sleep(0.002)
    got = before = behind = 0
    wait = 10 ** 18
    try:
        while got < int(count):
            data, stamp, now = stamped(s)
            got += 1
            before += stamp < struct.unpack("=q", data)[0]
            behind += stamp > now
            wait = min(wait, now - stamp)
    except socket.timeout:
        pass
    print("sent=%s got=%d before=%d behind=%d wait=%d" % (
        count, got, before, behind, wait // 1000))


def txtime(address, port, count, ms):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, SO_TXTIME, struct.pack("=iI", CLOCK_TAI, 0))
    for i in range(int(count)):
        when = time.clock_gettime_ns(CLOCK_TAI) + int(ms) * 10 ** 6
        s.sendmsg([struct.pack("=I", i)],
                  [(socket.SOL_SOCKET, SO_TXTIME, struct.pack("=Q", when))],
                  0, (address, int(port)))
    print("sent=%s" % count)


# Others --------------------------------------------------------------------

def big(dev, size):
    """IFLA_GSO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE; ip of 2022 knows one of them, and so do
    kernels."""
    link = nl.Netlink(socket.NETLINK_ROUTE)
    sizes = {41: "ipv6", 63: "ipv4"}
    for kind in sizes:
        body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(dev), 0, 0)
        link.send(link.message(nl.RTM_NEWLINK, nl.NLM_F_ACK,
                               body + nl.u32(kind, int(size))))
        answer = link.answer(1)
        if answer != "ok":
            sys.exit("big: " + answer)
    print(*(sizes[kind] for kind in sizes if kind in nl.link_attrs(dev)))


def tun(dev, queues):
    attach, detach, setiff, setqueue = 0x200, 0x400, 0x400454CA, 0x400454D9
    fds = [os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
           for _ in range(int(queues))]
    for fd in fds:    # IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE
        fcntl.ioctl(fd, setiff, struct.pack("16sH22x", dev.encode(), 0x1101))
    stop, read, changes = Stop(), 0, 0
    print("ready", flush=True)
    while not stop.stopped:
        for flag in detach, attach:
            for fd in fds[1:]:
                fcntl.ioctl(fd, setqueue, struct.pack("16sH22x", b"", flag))
                changes += 1
            for fd in fds:
                try:
                    while os.read(fd, 65536):
                        read += 1
                except OSError:
                    pass
            time.sleep(0.005)
    print("read=%d changes=%d" % (read, changes))


def mroute(group, source, *addresses):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    s.setsockopt(socket.IPPROTO_IP, 200, struct.pack("=i", 1))
    for i, address in enumerate(addresses):
        s.setsockopt(socket.IPPROTO_IP, 202, struct.pack(
            "=HBBI4s4s", i, 0, 1, 0, socket.inet_aton(address), bytes(4)))
    s.setsockopt(socket.IPPROTO_IP, 204, struct.pack(
        "=4s4sH", socket.inet_aton(source), socket.inet_aton(group), 0) +
        bytes([0, 1]) + bytes(30) + struct.pack("=2xIIIi", 0, 0, 0, 0))
    for _ in received(s, Stop()):
        pass


def main(args):
    commands = {f.__name__: f for f in (tap, longest, nfqueue, frames, capture, bpf, stamps,
                                        txtime, big, tun, mroute)}
    if not args or args[0] not in commands:
        raise Usage(__doc__)
    try:
        commands[args[0]](*args[1:])
    except TypeError as e:
        raise Usage("%s: %s" % (args[0], e))


if __name__ == "__main__":
    program(main)
