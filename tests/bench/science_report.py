"""What science found, in words: a text table for tuning, Markdown for docs/performance.md, and
one plot each of recovered sources, false detections, bias, scatter, astrometry, transients."""
import os

from science_judge import BINS

GOALS = {"10": dict(recovered=(92, 99, 99.8, 99.8), false=1, bias=(None, 5, None, 1)),
         "20": dict(recovered=(80, 98, 99.5, 99.5), false=None, bias=(None, 25, None, None))}
PUBLISHED = 25      # Vohl et al. 2017: negligible effect on transients to about this ratio
MAS = 263           # milliarcseconds a DECam pixel, for those who think in them


def entries(result, kind):
    """(codec, wanted ratio, its entry, that entry's figures, figures by S/N bin)."""
    for name, by_ratio in result["codecs"].items():
        for wanted, entry in by_ratio.items():
            if kind in entry:
                yield name, wanted, entry, entry[kind], [entry[kind]["bins"][b] for b in BINS]


def misses(kind, wanted, figures, bins):
    """Which figures miss a goal: lists of flags for recovered and bias, a flag for false."""
    goal = GOALS.get(wanted) if kind == "sources" else None
    if not goal:
        return [False] * 4, [False] * 4, False
    return ([v["recovered"] < g for v, g in zip(bins, goal["recovered"])],
            [g is not None and abs(v["bias_mmag"]) > g for v, g in zip(bins, goal["bias"])],
            goal["false"] is not None and figures["false_percent"] > goal["false"])


# ---- text ----

def main_table(result, kind):
    rows = [f"{kind}: recovered %, bias and scatter (mmag) by S/N {', '.join(BINS)}; false and"
            " promoted % of all", f"{'codec':<20}{'ratio':>6}{'recovered':>11}{'':<18}{'bias':<25}"
            f"{'scatter':<17}{'false':<7}{'prom':>5}"]
    for name, wanted, entry, e, b in entries(result, kind):
        low, biased, false = misses(kind, wanted, e, b)
        flag = lambda bad: "!" if bad else " "
        rows.append(
            f"{name[-20:]:<20}{entry.get('ratio', float(wanted)):6.2f}"
            + "".join(f"{v['recovered']:6.2f}{flag(m)}" for v, m in zip(b, low)) + " "
            + "".join(f"{v['bias_mmag']:5.1f}{flag(m)}" for v, m in zip(b, biased)) + " "
            + "".join(f"{v['scatter_mmag']:4.0f}" for v in b)
            + f" {e['false_percent']:6.2f}{flag(false)}{e['promoted_percent']:5.2f}")
    counts = [f"{n}: {v['sources']}" for n, v in zip(BINS, b)] if len(rows) > 2 else []
    rows[0] += f" ({', '.join(counts)})" if kind == "transients" else ""
    return rows if len(rows) > 2 else []


def aperture_table(result):
    rows = ["sources: aperture bias and scatter (mmag), astrometric bias dx,dy and scatter"
            " (1/1000 pixel) by S/N", f"{'codec':<20}{'ratio':>6} {'aper bias':<28}{'aper scatter':<16}"
            f"{'dx,dy 7-10':>12}{'20-50':>12} {'xy scatter':>12}"]
    for name, wanted, entry, _, b in entries(result, "sources"):
        goals = GOALS.get(wanted, {}).get("bias", (None,) * 4)
        marks = ["!" if g and abs(v["aper_bias_mmag"]) > g else " " for v, g in zip(b, goals)]
        rows.append(
            f"{name[-20:]:<20}{entry.get('ratio', float(wanted)):6.2f}"
            + "".join(f"{v['aper_bias_mmag']:6.1f}{m}" for v, m in zip(b, marks)) + " "
            + "".join(f"{v['aper_scatter_mmag']:4.0f}" for v in b)
            + "".join(f"{1000 * b[i]['dx']:6.1f},{1000 * b[i]['dy']:5.1f}" for i in (1, 3)) + " "
            + "".join(f"{1000 * v['xy_scatter']:4.0f}" for v in b))
    return rows


def text(result):
    tables = [main_table(result, "sources"), main_table(result, "transients"),
              aperture_table(result)]
    return "".join("\n" + "\n".join(rows) + "\n" for rows in tables if rows) \
        + "! misses a goal"


# ---- Markdown ----

def about(result):
    d = result["frames"]
    return (f"{d['frames']} raw ccds, noise {d['noise_adu']:.2f} ADU, seeing {d['fwhm_pixels']:.2f}"
            f" pixels; {sum(d['sources'].values())} sources of S/N 5 to 50 ("
            + ", ".join(f"{n}: {c}" for n, c in d["sources"].items())
            + f"), {d['injected']} transients injected.")


def markdown(result):
    out = [about(result), ""]
    for kind in ("sources", "transients"):
        rows = list(entries(result, kind))
        if not rows:
            continue
        out += [f"| {kind}: codec | ratio |" + "".join(f" recovered {n}, % |" for n in BINS)
                + " false, % | promoted, % |" + "".join(f" bias {n} |" for n in BINS)
                + "".join(f" scatter {n} |" for n in BINS), "|---" * 16 + "|"]
        for name, wanted, entry, e, b in rows:
            low, biased, false = misses(kind, wanted, e, b)
            bold = lambda t, bad: f" **{t}** |" if bad else f" {t} |"
            out.append(
                f"| {name} | {entry.get('ratio', float(wanted)):.1f} |"
                + "".join(bold(f"{v['recovered']:.1f}", m) for v, m in zip(b, low))
                + bold(f"{e['false_percent']:.2f}", false) + f" {e['promoted_percent']:.2f} |"
                + "".join(bold(f"{v['bias_mmag']:.1f}", m) for v, m in zip(b, biased))
                + "".join(f" {v['scatter_mmag']:.0f} |" for v in b))
        out.append("")
    out += ["| aperture photometry: codec | ratio |" + "".join(f" bias {n} |" for n in BINS)
            + "".join(f" scatter {n} |" for n in BINS), "|---" * 10 + "|"]
    for name, wanted, entry, _, b in entries(result, "sources"):
        out.append(f"| {name} | {entry.get('ratio', float(wanted)):.1f} |"
                   + "".join(f" {v['aper_bias_mmag']:.1f} |" for v in b)
                   + "".join(f" {v['aper_scatter_mmag']:.0f} |" for v in b))
    out += ["", "| astrometry: codec | ratio |" + "".join(f" dx, dy {n} |" for n in BINS)
            + "".join(f" scatter {n} |" for n in BINS), "|---" * 10 + "|"]
    for name, wanted, entry, _, b in entries(result, "sources"):
        out.append(f"| {name} | {entry.get('ratio', float(wanted)):.1f} |"
                   + "".join(f" {MAS * v['dx']:.1f}, {MAS * v['dy']:.1f} |" for v in b)
                   + "".join(f" {MAS * v['xy_scatter']:.0f} |" for v in b))
    out += ["", "Bias and scatter in mmag (FLUX_AUTO, or a circle two FWHM across; decoded minus"
            " lossless), astrometry in"
            f" milliarcseconds ({MAS} a pixel); bold misses a goal of this project. False: S/N"
            " over 5 where the lossless frame has no source of S/N 4 or more within 2 pixels;"
            " promoted: it has one of S/N 4 to 5; both in % of the lossless sources over 5."]
    return "\n".join(out)


# ---- plots ----

MARKERS = "osD^vP*X"


def curves_of(result, kind, value):
    """{codec: [(ratio, value, its error), ...]}; value(figures, by bin) gives the last two."""
    lines = {}
    for name, wanted, entry, e, b in entries(result, kind):
        lines.setdefault(name, []).append((entry.get("ratio", float(wanted)), *value(e, b)))
    return {name: sorted(points) for name, points in lines.items()}


def draw(axis, result, lines, dashed=False):
    for k, (name, points) in enumerate(lines.items()):
        x, y, error = zip(*points)
        axis.errorbar(x, y, error, label=None if dashed else name, marker=MARKERS[k % 8], ms=4,
                      lw=1.2, capsize=2, color=f"C{k}", ls="--" if dashed else "-")
    axis.axvline(PUBLISHED, color="grey", ls=":", lw=1)
    axis.set_xscale("log")
    ticks = result["ratios"]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.set_xlabel("compression ratio")
    axis.grid(alpha=0.3)


def draw_goal(axis, wanted, *levels):
    for level in levels:
        axis.plot([float(wanted) * 0.93, float(wanted) * 1.07], [level, level], color="black",
                  lw=3, zorder=5, solid_capstyle="butt")


def by_bin(result, kind, key, words, path, goal=None, beside=None, log=False):
    """A PNG with a panel for each S/N bin, a line for each codec over the ratio. words: title
    and unit; goal(a GOALS entry, bin): levels; beside: a second figure, drawn dashed."""
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, len(BINS), figsize=(15, 4.4), layout="constrained")
    for i, axis in enumerate(axes):
        if log:
            axis.set_yscale("symlog", linthresh=1)
        draw(axis, result, curves_of(result, kind, lambda e, b: (
            b[i][key], b[i].get(key + "_error", 0))))
        if beside:
            draw(axis, result, curves_of(result, kind, lambda e, b: (b[i][beside], 0)), True)
        for wanted in GOALS if goal else ():
            draw_goal(axis, wanted, *goal(GOALS[wanted], i))
        if key == "recovered":
            axis.set_ylim(min(axis.get_ylim()[0], 99), 100.2)
        axis.set_title(f"S/N {BINS[i]}")
    axes[0].set_ylabel(words[1])
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{words[0]} ({'black bars: goals; ' if goal else ''}dotted: published"
                    f" {PUBLISHED}:1)", fontsize=11)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path


def plot_false(result, path):
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    axis.set_yscale("symlog", linthresh=1)
    draw(axis, result, curves_of(result, "sources", lambda e, b: (e["false_percent"], 0)))
    axis.set_ylim(bottom=0)
    draw_goal(axis, "10", GOALS["10"]["false"])
    axis.set_ylabel("% of lossless sources over S/N 5")
    axis.legend(fontsize=8)
    axis.set_title(f"False detections (black bar: goal; dotted: published {PUBLISHED}:1)",
                   fontsize=11)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path


def plots(result, stem):
    """Draws all that there are figures for; the files' names."""
    import matplotlib
    matplotlib.use("Agg")
    both = lambda g, i: () if g["bias"][i] is None else (g["bias"][i], -g["bias"][i])
    made = [
        by_bin(result, "sources", "recovered", ("Sources recovered", "% of lossless"),
               f"{stem}-recovered.png", lambda g, i: (g["recovered"][i],)),
        plot_false(result, f"{stem}-false.png"),
        by_bin(result, "sources", "bias_mmag", ("Photometric bias, decoded - lossless", "mmag"),
               f"{stem}-bias.png", both, log=True),
        by_bin(result, "sources", "scatter_mmag", ("Photometric scatter added", "mmag rms"),
               f"{stem}-scatter.png"),
        by_bin(result, "sources", "xy_scatter", ("Astrometric scatter added, and bias (dashed)",
               "pixels: rms an axis; bias of both"), f"{stem}-astrometry.png", beside="xy_bias")]
    if any(True for _ in entries(result, "transients")):
        made.append(by_bin(result, "transients", "recovered", (
            "Transients recovered on difference frames", "% of lossless"),
            f"{stem}-transients.png"))
    return made
