"""For tests/wan/overload: the exposures that come, and what became of them.

overload.py feed TEMPLATE DIR LOG FIRST GAP JITTER SECONDS
    Copies of TEMPLATE appear in DIR, each with its own EXPNUM (from FIRST on) and DATE-OBS, one
    every GAP s (give or take JITTER times that), for SECONDS s. LOG: a line each, NAME CLOSE_NS.
overload.py judge STATUS LOG ALONE USED
    The latencies of the newest, close of file to receipt, from `skyferry-push status --json`;
    ALONE: LOG of those that came alone; USED: the share of the time that the line was busy.
"""
import datetime
import json
import os
import random
import statistics
import sys
import time


def card(head, key, value):
    """The primary header with another value of this key."""
    at = head.index(b"%-8s=" % key.encode())
    text = (f"{key:<8}= {value:>20}" if isinstance(value, int) else f"{key:<8}= '{value}'").ljust(80)
    return head[:at] + text.encode() + head[at + 80:]


def feed(template, folder, log, first, gap, jitter, seconds):
    whole = open(template, "rb").read()
    head, rest = whole[:28800], whole[28800:]
    dice = random.Random(4)
    due = begin = time.monotonic()
    number = int(first)
    with open(log, "a") as notes:
        while due < begin + float(seconds):
            time.sleep(max(0, due - time.monotonic()))
            now = datetime.datetime.utcnow().isoformat()
            name = f"DECam_{number:08d}"
            mine = card(card(head, "EXPNUM", number), "DATE-OBS", now)
            hidden = f"{folder}/.{name}.tmp"
            with open(hidden, "wb") as f:
                f.write(mine)
                f.write(rest)
            os.rename(hidden, f"{folder}/{name}.fits.fz")
            print(name, time.time_ns(), file=notes, flush=True)
            due += float(gap) * (1 + float(jitter) * dice.uniform(-1, 1))
            number += 1


def closed(log):
    return {name: int(ns) for name, ns in (line.split() for line in open(log))}


def newest(rows, close):
    """Of those that had no younger one stored before them: the latencies, in s."""
    youngest, found = 0, []
    for row in sorted(rows, key=lambda r: r["stored_ns"]):
        if close[row["name"]] > youngest:
            youngest = close[row["name"]]
            found.append((row["stored_ns"] - youngest) / 1e9)
    return found


def percentile_95(values):
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def judge(status, log, alone_log, used):
    rows = [r for r in json.load(open(status))["exposures"] if r["stored_ns"]]
    close, alone = closed(log), closed(alone_log)
    unloaded = [(r["stored_ns"] - alone[r["name"]]) / 1e9 for r in rows if r["name"] in alone]
    loaded = [r for r in rows if r["name"] in close]
    if not unloaded or not loaded:
        sys.exit("nothing was delivered")
    found = newest(loaded, close)
    p95, p95_alone = percentile_95(found), percentile_95(unloaded)
    names = [r["name"] for r in loaded]
    print(f"unloaded latency, s: median {statistics.median(unloaded):.2f}, p95 {p95_alone:.2f}, "
          f"worst {max(unloaded):.2f} of {len(unloaded)}")
    print(f"newest under load, s: median {statistics.median(found):.2f}, p95 {p95:.2f}, "
          f"worst {max(found):.2f}; {len(found)} of {len(close)} exposures")
    print(f"p95 under load / unloaded p95: {p95 / p95_alone:.2f}, / unloaded median: "
          f"{p95 / statistics.median(unloaded):.2f}")
    print(f"line busy: {100 * float(used):.1f} %")
    print(f"delivered {len(set(names))}, twice {len(names) - len(set(names))}, "
          f"dropped {len(close) - len(set(names))}")
    verdicts = {"the newest's p95 within 1.3 of unloaded": p95 <= 1.3 * p95_alone,
                "the line at least 95 % busy": float(used) >= 0.95,
                "nothing dropped, nothing twice": sorted(names) == sorted(close)}
    for what, good in verdicts.items():
        print("pass" if good else "FAIL", what)
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    {"feed": feed, "judge": judge}[sys.argv[1]](*sys.argv[2:])
