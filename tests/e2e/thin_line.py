#!/usr/bin/python3
"""A thin line: forwards TCP connections, all together at a limited rate towards the far end.

    thin_line.py PORT_FILE TARGET_PORT BYTES_PER_SECOND COUNT_FILE

From a free port of 127.0.0.1, named in PORT_FILE, to TARGET_PORT there. COUNT_FILE always holds how
many bytes went towards the far end.
"""
import os
import socket
import sys
import threading
import time

lock, total, free_at = threading.Lock(), 0, 0.0


def put(name, value):
    """As a whole: a reader finds the old value or the new one, never an empty file."""
    with open(name + ".new", "w") as f:
        f.write(str(value))
    os.replace(name + ".new", name)


def pump(a, b, rate, count_file):
    """Until either side is done; a rate of None does not limit, nor count."""
    global total, free_at
    try:
        while data := a.recv(32768):
            if rate:
                with lock:
                    now = time.monotonic()
                    free_at = max(free_at, now) + len(data) / rate
                    wait = free_at - now
                    total += len(data)
                    put(count_file, total)
                time.sleep(wait)
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def forward(port_file, target, rate, count_file):
    ear = socket.create_server(("127.0.0.1", 0), backlog=32)
    put(count_file, 0)
    put(port_file, ear.getsockname()[1])
    while True:
        near, _ = ear.accept()
        try:
            far = socket.create_connection(("127.0.0.1", target))
        except OSError:
            near.close()
            continue
        for args in ((near, far, rate, count_file), (far, near, None, None)):
            threading.Thread(target=pump, args=args, daemon=True).start()


forward(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
