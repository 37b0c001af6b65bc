"""What tests/wan/bench measured, in words. Its results are lines of: line (Mbit/s:RTT ms[:loss %]),
contender, repetition, seconds, payload bytes, bytes that left the line, mark (- when all went well).
    bench_report.py head                   the heading of the rows
    bench_report.py row RESULTS            the last result, in 80 columns
    bench_report.py goals RESULTS          which goals of the medians are met
    bench_report.py docs RESULTS FILE WHAT tables between FILE's markers; WHAT was measured on
"""
import re
import statistics
import sys
from collections import defaultdict

MARKERS = "<!-- bench-wan: begin -->", "<!-- bench-wan: end -->"
STEADY = {"100:160": .95, "300:160": .95, "300:300": .90, "300:160:0.03": .85, "300:160:1": .60}
COLD = {"gridftp-8": 1.2, "scp": 2.5, "rsync": 2.5, "rclone": 2.5}      # at 300:160
CCD = "skyferry-ccd"


class Results:
    def __init__(self, path):
        self.rows = [line.rstrip("\n").split("\t") for line in open(path)]
        self.rates, self.seconds, self.sent, self.marks = (defaultdict(list) for _ in range(4))
        self.lines, self.contenders = [], []
        for line, name, _, seconds, size, sent, mark in self.rows:
            key = line, name
            self.lines += [line] if line not in self.lines else []
            self.contenders += [name] if name not in self.contenders else []
            failed = mark not in ("-", "stopped")
            self.rates[key].append(0 if failed or float(seconds) <= 0
                                   else int(size) * 8e-6 / float(seconds))
            self.seconds[key].append(float(seconds))
            self.sent[key].append(int(sent) / max(int(size), 1))
            self.marks[key].append(mark)
            self.ccd_bytes = int(size) if name == CCD else getattr(self, "ccd_bytes", 0)

    def median(self, line, name):
        rates = self.rates.get((line, name))
        return statistics.median(rates) if rates else None

    def capacity(self, line):
        """C: the best median of iperf3."""
        flows = [self.median(line, n) for n in self.contenders if n.startswith("iperf")]
        return max((f for f in flows if f), default=None)

    def ccd_bound(self, line):
        """Half a round trip, the line's time for the file, and a round trip: seconds."""
        rate, rtt = (float(x) for x in line.split(":")[:2])
        return 1.5 * rtt / 1000 + self.ccd_bytes * 8e-6 / rate


def spoken(line):
    rate, rtt, *loss = line.split(":")
    return f"{rate} Mbit/s, {rtt} ms" + (f", {loss[0]} % loss" if loss else "")


def head():
    print(f"{'line':<13} {'contender':<15} {'rep':>3} {'seconds':>8} {'Mbit/s':>8} {'of C':>6}"
          f" {'sent/payload':>13}  mark")


def row(r):
    line, name, rep, seconds, _, _, mark = r.rows[-1]
    rate, c = r.rates[line, name][-1], r.capacity(line)
    share = f"{rate / c:.3f}" if c else "-"
    if name == CCD:
        share = f"<{r.ccd_bound(line):.3f}s"
    # iperf3's first seconds are sent and not counted.
    sent = "-" if name.startswith("iperf") else f"{r.sent[line, name][-1]:.3f}"
    print(f"{line:<13} {name:<15} {rep:>3} {float(seconds):8.3f} {rate:8.1f} {share:>6}"
          f" {sent:>13}  {mark}", flush=True)


def goals(r):
    def say(met, what):
        print(f"{'met   ' if met else 'MISSED'} {what}")
    for line in r.lines:
        c, steady = r.capacity(line), r.median(line, "skyferry-steady")
        if c and steady and line in STEADY:
            say(steady >= STEADY[line] * c, f"{spoken(line)}: steady {steady:.1f} of C = {c:.1f}:"
                f" {steady / c:.3f}, goal {STEADY[line]}")
        cold = r.median(line, "skyferry-cold")
        for name, times in COLD.items() if line == "300:160" and cold else ():
            other = r.median(line, name)
            if other:
                say(cold >= times * other, f"{spoken(line)}: cold {cold:.1f} against {name}"
                    f" {other:.1f}: {cold / other:.2f} times, goal {times}")
        if (line, CCD) in r.seconds:
            took = statistics.median(r.seconds[line, CCD])
            say(took <= r.ccd_bound(line), f"{spoken(line)}: a warm ccd stored in {took:.3f} s,"
                f" goal {r.ccd_bound(line):.3f}")


def cell(r, line, name):
    rates = r.rates.get((line, name))
    if not rates:
        return "-"
    c, median, worst = r.capacity(line), statistics.median(rates), min(rates)
    marks = sorted(set(r.marks[line, name]) - {"-"})
    return (f"{median:.1f} ({worst:.1f})" + (f" {median / c:.2f}" if c else "")
            + (f" {', '.join(marks)}" if marks else ""))


def tables(r, what):
    shown = [n for n in r.contenders if n != CCD]
    reps = max(len(v) for v in r.rates.values())
    yield f"Measured on {what}. Repetitions: {reps}."
    yield ""
    yield "| Mbit/s: median (worst), of C | " + " | ".join(map(spoken, r.lines)) + " |"
    yield "|---" * (len(r.lines) + 1) + "|"
    for name in shown:
        yield f"| {name} | " + " | ".join(cell(r, line, name) for line in r.lines) + " |"
    if CCD in r.contenders:
        yield ""
        yield f"A ccd of {r.ccd_bytes / 1e6:.2f} MB on a line that was silent, from its close until it is stored:"
        yield ""
        yield "| line | s: median (worst) | half RTT + line time + RTT |"
        yield "|---|---|---|"
        for line in (x for x in r.lines if (x, CCD) in r.seconds):
            s = r.seconds[line, CCD]
            yield (f"| {spoken(line)} | {statistics.median(s):.3f} ({max(s):.3f}) |"
                   f" {r.ccd_bound(line):.3f} |")


def docs(r, path, what):
    text = open(path).read()
    inside = re.compile(re.escape(MARKERS[0]) + ".*?" + re.escape(MARKERS[1]), re.S)
    if not inside.search(text):
        sys.exit(f"bench-wan: {path} lacks the markers {' and '.join(MARKERS)}")
    new = "\n".join([MARKERS[0], *tables(r, what), MARKERS[1]])
    with open(path, "w") as f:
        f.write(inside.sub(lambda _: new, text))


def main(verb, *args):
    if verb == "head":
        return head()
    results = Results(args[0])
    if results.rows:
        {"row": row, "goals": goals, "docs": docs}[verb](results, *args[1:])


main(*sys.argv[1:])
