"""What source-extractor makes of a frame, and of its decoded copy beside the lossless one."""
import os

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from codec_tools import run

EDGES = (5, 7, 10, 20, 50)      # S/N bins, by the lossless frame
BINS = [f"{a}-{b}" for a, b in zip(EDGES, EDGES[1:])]
NEAR = 2.0                      # pixels within which two detections are one source
PARAMETERS = ("XWIN_IMAGE", "YWIN_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO", "FLUX_APER", "A_IMAGE",
              "B_IMAGE", "KRON_RADIUS", "FWHM_IMAGE", "ELLIPTICITY", "FLAGS")
CONFIG = """CATALOG_NAME {tmp}/cat
CATALOG_TYPE ASCII
PARAMETERS_NAME {tmp}/param
FILTER Y
FILTER_NAME /usr/share/source-extractor/default.conv
DETECT_MINAREA 5
THRESH_TYPE ABSOLUTE
DETECT_THRESH {level:.5f}
ANALYSIS_THRESH {level:.5f}
SATUR_KEY NONE
SATUR_LEVEL 1e9
GAIN_KEY NONE
GAIN {gain:.4f}
PHOT_APERTURES {aperture:.3f}
BACK_SIZE 64
BACK_FILTERSIZE 3
VERBOSE_TYPE QUIET
"""


def extract(light, gain, aperture, tmp, thresh=1.5):
    """The catalogue of a frame as a dict of arrays. The frame is in units of the lossless noise,
    so that the threshold is, too, and every S/N, whatever noise a decoded frame has left;
    gain is in electrons a unit."""
    with open(f"{tmp}/conf", "w", encoding="ascii") as f:
        f.write(CONFIG.format(tmp=tmp, level=thresh, gain=gain, aperture=aperture))
    with open(f"{tmp}/param", "w", encoding="ascii") as f:
        f.write("\n".join(PARAMETERS).replace("APER", "APER(1)") + "\n")
    fits.PrimaryHDU(light).writeto(f"{tmp}/light.fits", overwrite=True)
    run(["source-extractor", f"{tmp}/light.fits", "-c", f"{tmp}/conf"])
    table = np.loadtxt(f"{tmp}/cat", ndmin=2) if os.path.getsize(f"{tmp}/cat") else \
        np.zeros((0, len(PARAMETERS)))
    cat = dict(zip(PARAMETERS, table.T))
    cat["xy"] = np.column_stack([cat.pop("XWIN_IMAGE") - 1, cat.pop("YWIN_IMAGE") - 1])
    area = np.pi * cat["A_IMAGE"] * cat["B_IMAGE"] * np.maximum(cat["KRON_RADIUS"], 3.5) ** 2
    flux = cat["FLUX_AUTO"]
    cat["snr"] = flux / np.sqrt(area + np.maximum(flux, 0) / gain)
    return cat


def seeing(cat):
    """Median FWHM of round bright stars, pixels."""
    good = (cat["FLAGS"] == 0) & (cat["ELLIPTICITY"] < 0.2) & (cat["snr"] > 50)
    return float(np.median(cat["FWHM_IMAGE"][good])) if good.sum() > 2 else 4.0


def counts(mask, xy):
    """Is each place one where sources count?"""
    x = np.clip(np.rint(xy[:, 0]).astype(int), 0, mask.shape[1] - 1)
    y = np.clip(np.rint(xy[:, 1]).astype(int), 0, mask.shape[0] - 1)
    return ~mask[y, x]


def nearest(xy, others):
    """Distance to and index of the nearest of `others`; infinite where there is none."""
    if len(others) == 0:
        return np.full(len(xy), np.inf), np.zeros(len(xy), int)
    return cKDTree(others).query(xy) if len(xy) else (np.zeros(0), np.zeros(0, int))


def compare(lossless, deep, decoded, mask, places=None):
    """One frame (or difference). Per lossless source of S/N 5 to 50: S/N, found?, magnitude
    errors (AUTO, APER), dx, dy (NaN when not found). Then decoded sources of S/N over 5:
    how many there are that no lossless one of S/N 4 and more explains, how many that one of
    4 to 5 does. `deep`: the lossless catalogue with a lower threshold, for these only.
    With `places` (injected transients) only lossless detections of these are judged."""
    judged = counts(mask, lossless["xy"]) & (lossless["snr"] >= EDGES[0])
    if places is not None:
        judged &= nearest(lossless["xy"], places)[0] < NEAR
    base = judged.sum()
    judged &= lossless["snr"] < EDGES[-1]
    distance, index = nearest(lossless["xy"][judged], decoded["xy"])
    found = distance < NEAR
    rows = np.full((judged.sum(), 6), np.nan)
    rows[:, 0], rows[:, 1] = lossless["snr"][judged], found
    with np.errstate(divide="ignore", invalid="ignore"):
        for column, key in ((2, "FLUX_AUTO"), (3, "FLUX_APER")):
            mag = -2.5 * np.log10(decoded[key][index] / lossless[key][judged]) if len(
                decoded[key]) else np.nan
            rows[:, column] = np.where(found & np.isfinite(mag), mag, np.nan)
    if len(decoded["xy"]):
        shift = decoded["xy"][index] - lossless["xy"][judged]
        rows[:, 4:6] = np.where(found[:, None], shift, np.nan)
    new = counts(mask, decoded["xy"]) & (decoded["snr"] >= EDGES[0])
    known = lambda cat, low: nearest(decoded["xy"][new], cat["xy"][cat["snr"] >= low])[0] < NEAR
    at5 = known(lossless, 5) | known(deep, 5)
    at4 = known(lossless, 4) | known(deep, 4)
    return dict(rows=rows, base=int(base), false=int((~at4).sum()),
                promoted=int((at4 & ~at5).sum()))


# ---- statistics over all frames ----

def clip(values):
    v = values[np.isfinite(values)]
    for _ in range(8):
        if len(v) < 3 or v.std() == 0:
            break
        kept = v[np.abs(v - np.median(v)) <= 3 * v.std()]
        if len(kept) == len(v):
            break
        v = kept
    return v


def spread(values):
    v = clip(values)
    return float(v.std()) if len(v) > 2 else float("nan")


def middle(values):
    v = values[np.isfinite(values)]
    return float(np.median(v)) if len(v) else float("nan")


def summary(parts):
    """The figures of one codec at one ratio, from compare() of every frame."""
    rows = np.concatenate([p["rows"] for p in parts])
    base = sum(p["base"] for p in parts)
    out = dict(sources=base, bins={})
    for a, b, name in zip(EDGES, EDGES[1:], BINS):
        r = rows[(rows[:, 0] >= a) & (rows[:, 0] < b)]
        n, share = len(r), r[:, 1].mean() if len(r) else float("nan")
        out["bins"][name] = dict(
            sources=n, recovered=100 * share,
            recovered_error=100 * float(np.sqrt(max(share * (1 - share), 0.25 / max(n, 1)) / n))
            if n else float("nan"),
            bias_mmag=1000 * middle(r[:, 2]), scatter_mmag=1000 * spread(r[:, 2]),
            bias_mmag_error=1253 * spread(r[:, 2]) / max(n, 1) ** 0.5,    # of a median
            aper_bias_mmag=1000 * middle(r[:, 3]), aper_scatter_mmag=1000 * spread(r[:, 3]),
            dx=middle(r[:, 4]), dy=middle(r[:, 5]),
            xy_bias=float(np.hypot(middle(r[:, 4]), middle(r[:, 5]))),
            xy_scatter=float(np.hypot(spread(r[:, 4]), spread(r[:, 5])) / 2 ** 0.5))
    out["false_percent"] = 100 * sum(p["false"] for p in parts) / max(base, 1)
    out["promoted_percent"] = 100 * sum(p["promoted"] for p in parts) / max(base, 1)
    return out
