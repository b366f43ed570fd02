#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Traffic between two network namespaces, as fast as it goes, and how long it takes.

usage: wall.py bulk FROM TO ADDRESS BYTES      one TCP connection, no look at the data
       wall.py small FROM TO ADDRESS COUNT     datagrams of 32 bytes, that nobody reads
       wall.py rr FROM TO ADDRESS COUNT        UDP request and response, one at a time

FROM and TO are names in /run/netns, ADDRESS is TO's. Prints ns= (wall time), and done=
(bytes, datagrams that have left FROM, or responses). The exit status is 1 if it
couldn't be done.
"""

import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../selftests"))
# pylint: disable=wrong-import-position
from imq_flood import BATCH, Batch, libc    # noqa: E402
from imq_traffic import enter               # noqa: E402

PORT = 5000
CHUNK = 1 << 18


def sockets(source, target, address, kind):
    """The receiver's, bound, and the sender's"""
    enter(target)
    rx = socket.socket(socket.AF_INET, kind)
    rx.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    rx.bind((address, PORT))
    enter(source)
    return rx, socket.socket(socket.AF_INET, kind)


def pump(tx, count):
    data = bytes(CHUNK)
    while count > 0:
        count -= tx.send(data[:count])
    tx.shutdown(socket.SHUT_WR)


def bulk(source, target, address, count):
    listener, tx = sockets(source, target, address, socket.SOCK_STREAM)
    listener.listen(1)
    tx.connect((address, PORT))
    rx = listener.accept()[0]
    rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, CHUNK)
    done, buffer = 0, bytearray(CHUNK)
    sender = threading.Thread(target=pump, args=(tx, count))
    start = time.monotonic_ns()
    sender.start()
    while True:
        n = rx.recv_into(buffer)
        if not n:
            break
        done += n
    end = time.monotonic_ns()
    sender.join()
    return done, end - start


def small(source, target, address, count):
    _rx, tx = sockets(source, target, address, socket.SOCK_DGRAM)
    tx.connect((address, PORT))
    batch = Batch(32, False)
    done, start = 0, time.monotonic_ns()
    while done < count:
        done += batch.call(libc.sendmmsg, tx, 0, min(BATCH, count - done))
    return done, time.monotonic_ns() - start


def echo(rx):
    while True:
        data, peer = rx.recvfrom(100)
        rx.sendto(data, peer)


def rr(source, target, address, count):
    rx, tx = sockets(source, target, address, socket.SOCK_DGRAM)
    tx.connect((address, PORT))
    tx.settimeout(5)
    threading.Thread(target=echo, args=(rx,), daemon=True).start()
    start = time.monotonic_ns()
    for _ in range(count):
        tx.send(b"x")
        tx.recv(100)
    return count, time.monotonic_ns() - start


def main(args):
    commands = {f.__name__: f for f in (bulk, small, rr)}
    if len(args) != 5 or args[0] not in commands or not args[4].isdigit():
        sys.exit(__doc__)
    done, ns = commands[args[0]](*args[1:4], int(args[4]))
    print("ns=%d done=%d" % (ns, done))


main(sys.argv[1:])
