#!/usr/bin/python3
"""A line that counts: forwards TCP connections and notes how many bytes went towards the far end.

    counted_line.py PORT_FILE TARGET_PORT LOG [ADDRESS]
                                                forward from a free port of ADDRESS (127.0.0.1), named
                                                in PORT_FILE, to TARGET_PORT there; LOG gets lines
                                                "SECONDS BYTES", SECONDS of the wall clock, BYTES all
                                                that went so far
    counted_line.py judge LOG MBIT FROM TO      what the sliding 2 s between these times carried, in
                                                parts of MBIT: "least mean most"
"""
import selectors
import socket
import sys
import time

STEP = 0.01
WINDOW = 2.0


def forward(port_file, target, log_name, address="127.0.0.1"):
    sel = selectors.DefaultSelector()
    ear = socket.create_server((address, 0), backlog=32)
    sel.register(ear, selectors.EVENT_READ, None)
    with open(port_file, "w") as f:
        f.write(str(ear.getsockname()[1]))
    total, noted = 0, 0.0
    with open(log_name, "w", buffering=1) as log:
        while True:
            for key, _ in sel.select():
                if key.fileobj is ear:
                    near, _ = ear.accept()
                    far = socket.create_connection((address, target))
                    for s, other, counts in ((near, far, True), (far, near, False)):
                        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        sel.register(s, selectors.EVENT_READ, (other, counts))
                    continue
                other, counts = key.data
                try:
                    data = key.fileobj.recv(262144)
                    other.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    for s in (key.fileobj, other):
                        if s.fileno() >= 0 and s in sel.get_map():
                            sel.unregister(s)
                        s.close()
                    break  # events of these two may still be in the list
                total += len(data) if counts else 0
            now = time.time()
            if now - noted >= STEP:
                noted = now
                log.write(f"{now:.4f} {total}\n")


def judge(log_name, mbit, start, end):
    """At every step: the bytes of the 2 s before it, interpolated."""
    points = [tuple(map(float, line.split())) for line in open(log_name) if line.endswith("\n")]
    at = 0

    def total(t):
        nonlocal at
        while at > 0 and points[at][0] > t:
            at -= 1
        while at + 1 < len(points) and points[at + 1][0] <= t:
            at += 1
        return points[at][1]

    shares, t = [], start + WINDOW
    while t <= end:
        shares.append((total(t) - total(t - WINDOW)) * 8e-6 / WINDOW / mbit)
        t += 5 * STEP
    mean = (total(end) - total(start)) * 8e-6 / (end - start) / mbit
    print(f"{min(shares):.4f} {mean:.4f} {max(shares):.4f}")


if sys.argv[1] == "judge":
    judge(sys.argv[2], *map(float, sys.argv[3:6]))
else:
    forward(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
