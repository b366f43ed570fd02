#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Bulk TCP downloads, with few wakeups.

bulk.py serve PORT                     send to whoever connects, without end
bulk.py get ADDRESS PORT CONNECTIONS   receive over so many connections

The receiver wakes up for 64 KB at a time (SO_RCVLOWAT), where iperf3 does for
every packet. In User Mode Linux a wakeup costs so much that iperf3 takes four
times the processor time of all the rest, and the machine, not the line, would
be what limits the rates on a slow or busy machine.
"""
import socket
import sys
import threading

CHUNK = 64 * 1024


def feed(conn):
    data = bytes(16 * CHUNK)
    try:
        while True:
            conn.sendall(data)
    except OSError:
        pass  # the other end is gone


def serve(port):
    listener = socket.create_server(("", port), backlog=128)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=feed, args=(conn,), daemon=True).start()


def drain(conn):
    buf = bytearray(CHUNK)
    while conn.recv_into(buf):
        pass


def get(address, port, connections):
    for _ in range(connections):
        conn = socket.create_connection((address, port))
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, CHUNK)
        threading.Thread(target=drain, args=(conn,)).start()


def main(args):
    if len(args) == 2 and args[0] == "serve":
        serve(int(args[1]))
    elif len(args) == 4 and args[0] == "get":
        get(args[1], int(args[2]), int(args[3]))
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
