#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Pings at random moments.

ping.py ADDRESS COUNT INTERVAL

Sends COUNT pings, one in each INTERVAL (seconds), at a random moment in it, and
prints a line for each: when it was sent (seconds since 1970) and its round trip
in ms, separated by a comma; no round trip when it was lost (no answer until 3 s
after the last one was sent).

ping(8) waits whole milliseconds after an answer before it sends the next ping.
On a line that is shaped to a packet every 1, 2 or 3 ms all its pings but the
first find the same moment between two packets, and so the same delay.
"""
import os
import random
import socket
import struct
import sys
import threading
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0
PATIENCE = 3.0


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def echo_request(ident, seq):
    fields = (ECHO_REQUEST, 0, 0, ident, seq)
    payload = bytes(56)
    csum = checksum(struct.pack("!BBHHH", *fields) + payload)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, csum, ident, seq) + payload


def receive(sock, ident, sent, rtt):
    while True:
        packet = sock.recv(2048)
        now = time.monotonic()
        icmp = packet[(packet[0] & 15) * 4:]
        kind, _, _, reply_ident, seq = struct.unpack("!BBHHH", icmp[:8])
        if kind == ECHO_REPLY and reply_ident == ident and seq in sent:
            rtt.setdefault(seq, (now - sent[seq][1]) * 1000)


def main(address, count, interval):
    ident = os.getpid() & 0xffff
    sent, rtt = {}, {}
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.connect((address, 0))
        threading.Thread(target=receive, args=(sock, ident, sent, rtt), daemon=True).start()
        start = time.monotonic()
        for seq in range(count):
            moment = start + (seq + random.random()) * interval
            time.sleep(max(0, moment - time.monotonic()))
            sent[seq] = (time.time(), time.monotonic())
            sock.send(echo_request(ident, seq))
        deadline = time.monotonic() + PATIENCE
        while len(rtt) < count and time.monotonic() < deadline:
            time.sleep(0.05)
    for seq, (when, _) in sent.items():
        print("%.6f,%s" % (when, "%.3f" % rtt[seq] if seq in rtt else ""))


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
