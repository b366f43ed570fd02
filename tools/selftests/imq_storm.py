#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Changes in a network namespace, as many as possible, while packets pass.

usage: imq_storm.py devices NETNS SECONDS [N]     imq devices 0 to N-1 (4) come,
                                                  go, are set up and down
       imq_storm.py updown NETNS SECONDS DEV...   links are set down and up
       imq_storm.py sizes NETNS SECONDS DEV...    MTU, length and number of queues
       imq_storm.py qdiscs NETNS SECONDS DEV...   qdiscs, classes and filters
       imq_storm.py namespaces NETNS SECONDS      namespaces that a packet or more
                                                  wait in come and go; NETNS sends
       imq_storm.py modules NETNS SECONDS RULES   modules come and go; RULES are
                                                  those that are put back
       imq_storm.py processors NETNS SECONDS      all but the first go off and on
       imq_storm.py watch NETNS                   no storm: until SIGTERM, print
                                                  the sums of the counters of all
                                                  imq devices that are deleted

NETNS is a name in /run/netns. RULES are lines of shell, run in NETNS. A storm ends
after so many seconds or at SIGTERM, and does not put back what it has changed. It
prints a line: ops= (changes that succeeded), refused= (that did not, as it must be
with other storms around), deletions=, longest= (milliseconds of the longest of
these), what= (took so long), queued= (packets in all the namespaces that it has
deleted); then a line for each reason of a refusal.

The exit status is 0 if there was no failure of the storm itself: 1, and a line
FAILED, if a deletion took longer than 5 seconds, times IMQ_SLOW in the environment, or
does not end.
"""

import ctypes
import errno
import fcntl
import glob
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import imq_netlink as nl

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR = 16, 17, 18, 20
RTMGRP_LINK = 1
IFF_UP, IFF_RUNNING = 1, 0x40
SIOCGIFFLAGS = 0x8913
IFLA_MTU, IFLA_TXQLEN, IFLA_STATS64 = 4, 13, 23
IFLA_NUM_TX_QUEUES = 31
IFA_LOCAL, IFA_ADDRESS = 2, 1
VETH_INFO_PEER = 1
IFLA_IMQ_XSTATS_DROPS, IFLA_IMQ_XSTATS_FOREIGN = (4, 5, 6), 7
SIOCETHTOOL, ETHTOOL_SCHANNELS = 0x8946, 0x3D
CPUS = "/sys/devices/system/cpu"

DELETION = 5 * int(os.environ.get("IMQ_SLOW", 1))    # seconds

libc = ctypes.CDLL(None, use_errno=True)


def netns_fd(name=None):
    path = "/run/netns/" + name if name else "/proc/thread-self/ns/net"
    return os.open(path, os.O_RDONLY)


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def unshare():
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


class Links:
    """Devices of the namespace in which this is made."""

    def __init__(self):
        self.nl = nl.Netlink(socket.NETLINK_ROUTE)
        self.nl.s.settimeout(60)

    def close(self):
        self.nl.s.close()

    def ask(self, kind, flags, name, *extra, up=None):
        body = struct.pack("=BxHiII", 0, 0, 0, IFF_UP if up else 0,
                           0 if up is None else IFF_UP)
        if name:
            body += nl.text(nl.IFLA_IFNAME, name)
        self.nl.send(self.nl.message(kind, nl.NLM_F_ACK | flags,
                                     body + b"".join(extra)))
        return self.nl.answer(1)

    def add_imq(self, name, queues=1, up=None):
        return self.ask(RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL, name,
                        nl.u32(IFLA_NUM_TX_QUEUES, queues), nl.link_info([]),
                        up=up)

    def add_veth(self, name, peer, netns):
        """The peer is in the namespace of the file descriptor."""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        peer = nl.nest(VETH_INFO_PEER, body, nl.text(nl.IFLA_IFNAME, peer),
                       nl.u32(nl.IFLA_NET_NS_FD, netns))
        return self.ask(RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL, name,
                        nl.nest(nl.IFLA_LINKINFO,
                                nl.text(nl.IFLA_INFO_KIND, "veth"),
                                nl.nest(nl.IFLA_INFO_DATA, peer)), up=True)

    def add_address(self, name, address):
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return "ENODEV"
        data = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, 24, 0, 0, index)
        self.nl.send(self.nl.message(
            RTM_NEWADDR, nl.NLM_F_ACK | nl.NLM_F_CREATE,
            body + nl.attr(IFA_LOCAL, data) + nl.attr(IFA_ADDRESS, data)))
        return self.nl.answer(1)

    def delete(self, name):
        return self.ask(RTM_DELLINK, 0, name)

    def set(self, name, up):
        return self.ask(RTM_NEWLINK, 0, name, up=up)

    def set_number(self, name, attribute, number):
        return self.ask(RTM_NEWLINK, 0, name, nl.u32(attribute, number))

    def exists(self, name):
        return self.ask(RTM_GETLINK, 0, name) == "ok"

    def entered(self, name):
        """Packets that an imq device has received; 0 if there is none"""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        self.nl.send(self.nl.message(RTM_GETLINK, 0, body +
                                     nl.text(nl.IFLA_IFNAME, name)))
        for kind, _, _, body in self.nl.receive():
            if kind != RTM_NEWLINK:
                return 0
            stats = dict(nl.attrs(body[16:]))[IFLA_STATS64]
            return struct.unpack_from("=Q", stats)[0]


class Storm:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.stopped = False
        self.rounds = 0
        self.ops = self.refused = self.deletions = self.longest = self.queued = 0
        self.what = "-"
        self.reasons = {}
        self.failures = []
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, self.stop)

    def stop(self, *_):
        self.stopped = True

    def on(self):
        """Whether there is another round: of one at least, however slow it is"""
        self.rounds += 1
        return not self.stopped and (self.rounds == 1 or
                                     time.monotonic() < self.end)

    def count(self, answer):
        if answer == "ok":
            self.ops += 1
        else:
            self.refused += 1
            self.reasons[answer] = self.reasons.get(answer, 0) + 1
        return answer == "ok"

    def deletion(self, what, start):
        """It has succeeded just now."""
        ms = int((time.monotonic() - start) * 1000)
        self.deletions += 1
        if ms > self.longest:
            self.longest, self.what = ms, what
        if ms > DELETION * 1000:
            self.failures.append("%s: %d ms" % (what, ms))

    def report(self):
        print("ops=%d refused=%d deletions=%d longest=%d what=%s queued=%d" % (
            self.ops, self.refused, self.deletions, self.longest, self.what,
            self.queued))
        for reason in sorted(self.reasons):
            print("refused %d times: %s" % (self.reasons[reason], reason))
        for failure in self.failures[:10]:
            print("FAILED:", failure)
        return 1 if self.failures else 0


# Storms --------------------------------------------------------------------

def devices(storm, number="4"):
    links, number = Links(), int(number)
    while storm.on():
        name = "imq%d" % random.randrange(number)
        action = random.randrange(4)
        if action == 0:
            start = time.monotonic()
            if storm.count(links.delete(name)):
                storm.deletion("link", start)
            continue
        if action == 1:
            storm.count(links.set(name, up=False))
            continue
        # It may be there, or gone: both are fine, and it is up then.
        queues = random.choice((1, 1, 2, 4, 8))
        if links.add_imq(name, queues, up=True) == "ok":
            storm.ops += 1
        else:
            storm.count(links.set(name, up=True))


def updown(storm, *names):
    links = Links()
    while storm.on():
        name = random.choice(names)
        storm.count(links.set(name, up=False))
        time.sleep(random.random() / 50)
        storm.count(links.set(name, up=True))
        time.sleep(random.random() / 20)


def channels(control, name, number):
    """As ethtool -L NAME rx 4 tx NUMBER. To change those of rx under load makes
    veth itself warn (get_rps_cpu(): "received packet on queue 2, but number of RX
    queues is 2")."""
    data = ctypes.create_string_buffer(struct.pack(
        "=9I", ETHTOOL_SCHANNELS, 0, 0, 0, 0, 4, number, 0, 0))
    request = struct.pack("16sP8x", name.encode(), ctypes.addressof(data))
    try:
        fcntl.ioctl(control, SIOCETHTOOL, request)
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]


def sizes(storm, *names):
    links, control = Links(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while storm.on():
        name, action = random.choice(names), random.randrange(3)
        if action == 0:
            mtu = random.choice((1280, 1400, 1500, 1500, 4000, 9000))
            storm.count(links.set_number(name, IFLA_MTU, mtu))
        elif action == 1:
            length = random.choice((1, 10, 100, 1000, 5000))
            storm.count(links.set_number(name, IFLA_TXQLEN, length))
        elif not name.startswith("imq"):
            storm.count(channels(control, name, random.randrange(1, 5)))
        time.sleep(random.random() / 100)


ROOTS = (
    ("pfifo limit 100",), ("pfifo_fast",), ("bfifo limit 100000",),
    ("fq_codel", "flows 64"), ("fq_codel limit 20",), ("fq",), ("sfq",),
    ("cake bandwidth 100mbit",), ("cake unlimited",),
    ("tbf rate 200mbit burst 20000 limit 100000",),
    ("netem delay 3ms limit 500",), ("netem delay 2ms 2ms limit 500",),
    ("prio",), ("red limit 400000 avpkt 1000 bandwidth 100mbit",),
    ("codel",), ("sfb",), ("drr",), ("mq",), ("multiq",),
)
ACTIONS = ("", "", "action ok", "action pipe", "action drop")


def htb(dev):
    yield "qdisc replace dev %s root handle 1: htb default 10" % dev
    for minor in 10, 11, 12:
        rate = random.choice((50, 100, 500))
        yield "class replace dev %s parent 1: classid 1:%d htb rate %dmbit" % (
            dev, minor, rate)
    for minor in 10, 11:
        leaf = " ".join(random.choice(ROOTS[:9]))
        yield "qdisc replace dev %s parent 1:%d %s" % (dev, minor, leaf)
    for _ in range(3):
        yield from filters(dev, "1:")


def filters(dev, parent):
    pref, to = random.randrange(1, 5), "1:1%d" % random.randrange(3)
    protocol = random.choice(("ip", "ipv6", "all"))
    head = "filter %%s dev %s parent %s pref %d protocol %s" % (
        dev, parent, pref, protocol)
    yield "filter del dev %s parent %s pref %d" % (dev, parent, pref)
    action = random.choice(ACTIONS)
    match = random.choice((
        "u32 match u8 17 0xff at 9", "matchall", "handle 7 fw",
        "flower ip_proto udp" if protocol != "all" else "matchall",
        "basic match 'meta(priority eq 0)'"))
    if action == "action drop":
        match = "u32 match u16 5019 0xffff at 22"
    yield (head % "add") + " %s classid %s %s" % (match, to, action)


def changes(dev):
    """Lines for tc"""
    action = random.randrange(8)
    if action < 3:
        yield from htb(dev)
    elif action == 3:
        yield "qdisc del dev %s root" % dev
    elif action == 4:
        yield from filters(dev, "1:")
        yield "class del dev %s classid 1:11" % dev
        yield "qdisc replace dev %s parent 1:10 pfifo limit 50" % dev
    elif action == 5:
        yield "qdisc replace dev %s clsact" % dev
        yield "filter add dev %s egress pref 1 matchall action ok" % dev
        yield "qdisc del dev %s clsact" % dev
    else:
        root = " ".join(random.choice(ROOTS))
        yield "qdisc replace dev %s root handle 1: %s" % (dev, root)


def qdiscs(storm, *names):
    while storm.on():
        lines = []
        for _ in range(10):
            lines += changes(random.choice(names))
        done = subprocess.run(
            ["tc", "-force", "-batch", "-"], input="\n".join(lines) + "\n",
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            check=False)
        failed = done.stderr.count("Command failed")
        storm.refused += failed
        storm.ops += len(lines) - failed


def queue_full(own, number):
    """A namespace with packets from the one that the descriptor is of in its
    queue. Returns the first of all the names there."""
    unshare()
    links, tc = Links(), ["tc", "qdisc", "add", "dev", "imq0", "root", "netem",
                          "delay", "30s", "limit", "5000"]
    answers = [links.add_imq("imq0", random.choice((1, 4)), up=True)]
    if answers[0] == "ok" and number % 8:
        # In a storm of modules the device may be gone.
        subprocess.run(tc, stderr=subprocess.DEVNULL, check=False)
    answers.append(nl.rule("ip", "filter", "prerouting", "-99",
                           ["imq:dev=0"]))
    answers.append(links.add_veth("v", "storm", own))
    answers.append(links.add_address("v", "192.0.2.1"))
    links.close()
    return answers


def burst(number):
    """To the other end of the veth"""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = struct.pack("16s24x", b"storm")
    for _ in range(100):
        flags = fcntl.ioctl(s, SIOCGIFFLAGS, request)
        if struct.unpack_from("=H", flags, 16)[0] & IFF_RUNNING:
            break
        time.sleep(0.01)
    for i in range(number):
        try:
            s.sendto(b"storm" * 20, ("192.0.2.1", 5000 + i % 8))
        except OSError:
            pass
    s.close()


def namespaces(storm):
    own, links, number = netns_fd(), Links(), 0
    while storm.on():
        number += 1
        answers = queue_full(own, number)
        full = netns_fd()
        setns(own)
        for answer in answers:
            storm.count(answer)
        if answers[2] == "ok":
            storm.count(links.set("storm", up=True))
            storm.count(links.add_address("storm", "192.0.2.2"))
            burst(200)
            setns(full)
            inside = Links()
            storm.queued += inside.entered("imq0")
            inside.close()
            setns(own)
        start = time.monotonic()
        os.close(full)
        while links.exists("storm"):
            if time.monotonic() - start > 10 * DELETION:
                storm.failures.append("namespace: it does not go")
                return
            time.sleep(0.005)
        storm.deletion("namespace", start)


MODULES = ("imq", "nft_imq", "xt_IMQ", "iptable_nat", "nft_masq", "nft_nat",
           "nft_chain_nat", "xt_MASQUERADE", "xt_nat", "nf_nat")


def modular():
    with open("/proc/modules", encoding="ascii") as f:
        loaded = {line.split()[0] for line in f}
    return [module for module in MODULES if module in loaded]


def shell(command):
    return subprocess.run(command, shell=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode


def modules(storm, rules):
    shell(rules)
    present = modular()
    while storm.on():
        shell("nft delete table inet shape; nft delete table ip nat;"
              "iptables-legacy -t mangle -F; iptables-legacy -t nat -F")
        for module in random.sample(present, len(present)):
            start = time.monotonic()
            if shell("modprobe -r " + module) == 0:
                storm.ops += 1
                storm.deletion(module, start)
            else:
                storm.refused += 1
        if random.randrange(2):
            shell("modprobe imq numdevs=%d" % random.randrange(1, 9))
        shell(rules)


def processors(storm):
    cpus = sorted(glob.glob(CPUS + "/cpu[0-9]*/online"))
    while storm.on():
        path, on = random.choice(cpus), random.choice("011")
        try:
            with open(path, "w", encoding="ascii") as f:
                f.write(on)
            storm.ops += 1
        except OSError:
            storm.refused += 1


def watch():
    """Sums of the counters of imq devices that are deleted: the kernel sends
    them when all is over for a device. Not tx_dropped of the common ones: what
    meets a device without a qdisc has entered, has not left, and is there too."""
    stopped = []
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: stopped.append(1))
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    s.bind((0, RTMGRP_LINK))
    deleted = entered = left = dropped = foreign = 0
    printed = -1
    while True:
        if not select.select([s], [], [], 0.05)[0]:
            if deleted != printed:
                print("deleted=%d entered=%d left=%d dropped=%d foreign=%d" % (
                    deleted, entered, left, dropped, foreign), flush=True)
                printed = deleted
            if stopped:
                break
            continue
        data = s.recv(1 << 20)    # raises ENOBUFS if messages were lost
        while len(data) >= 16:
            size, kind = struct.unpack_from("=IH", data)
            body, data = data[16:size], data[(size + 3) & ~3:]
            if kind != RTM_DELLINK:
                continue
            link = dict(nl.attrs(body[16:]))
            info = dict(nl.attrs(link.get(nl.IFLA_LINKINFO, b"")))
            if info.get(nl.IFLA_INFO_KIND, b"") != b"imq\0":
                continue
            stats = struct.unpack_from("=2Q", link[IFLA_STATS64])
            own = {counter: int.from_bytes(value, sys.byteorder) for
                   counter, value in nl.attrs(info[nl.IFLA_INFO_XSTATS])}
            deleted += 1
            entered += stats[0]
            left += stats[1]
            dropped += sum(own[counter] for counter in IFLA_IMQ_XSTATS_DROPS)
            foreign += own[IFLA_IMQ_XSTATS_FOREIGN]


STORMS = {f.__name__: f for f in (devices, updown, sizes, qdiscs, namespaces,
                                  modules, processors)}


def main(args):
    if len(args) < 2 or args[0] not in (*STORMS, "watch"):
        sys.exit(__doc__)
    setns(netns_fd(args[1]))
    if args[0] == "watch":
        watch()
        return 0
    storm = Storm(float(args[2]))
    STORMS[args[0]](storm, *args[3:])
    return storm.report()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
