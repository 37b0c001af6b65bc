"""What `skyferry-pull receive` is given, to the byte, and when.
    far_count.py run DIR COMMAND...      as a forced command: runs COMMAND with a pipe for its input, passes on
                                         what comes, and notes "CLOCK_MONOTONIC bytes" in DIR/PID
    far_count.py total DIR               bytes given to all of them
    far_count.py flows DIR BOX_LOG       for each restore of the line: seconds until payload came again
"""
import json
import os
import subprocess
import sys
import time

STEP_S = .01        # notes are this far apart
PAYLOAD = 16384     # no greeting is as long as this


def run(folder, *command):
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    into, total, noted = child.stdin.fileno(), 0, 0.0
    with open(f"{folder}/{os.getpid()}", "a", buffering=1) as notes:
        try:
            while got := os.splice(0, into, 1 << 20):
                total += got
                if time.monotonic() - noted >= STEP_S:
                    noted = time.monotonic()
                    notes.write(f"{noted:.6f} {total}\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        notes.write(f"{time.monotonic():.6f} {total}\n")
    child.stdin.close()
    sys.exit(child.wait() & 255)


def notes(folder):
    """Per process: a list of (seconds, bytes so far)."""
    for name in os.listdir(folder):
        with open(f"{folder}/{name}") as f:
            # the last line may be half written
            yield [(float(t), int(n)) for t, n in (x.split() for x in f if x.endswith("\n"))]


def flows(folder, box_log):
    events = [json.loads(x) for x in open(box_log) if '"restore"' in x]
    everything = list(notes(folder))
    for restored in (e["mono"] for e in events):
        first = None
        for process in everything:
            before = max((n for t, n in process if t <= restored), default=0)
            came = [t for t, n in process if t > restored and n - before >= PAYLOAD]
            first = min(came + ([first] if first else []), default=None)
        print(f"{first - restored:.3f}" if first else "never")


def main(verb, folder, *rest):
    if verb == "run":
        run(folder, *rest)
    elif verb == "flows":
        flows(folder, *rest)
    else:
        print(sum(p[-1][1] for p in notes(folder) if p))


main(*sys.argv[1:])
