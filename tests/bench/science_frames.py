"""Frames to judge codecs by: simulated pairs of one field (or files from a list), transients
put into the later one of a pair, the cut to the light-sensitive part, and the mask."""
import glob
import os
import re
import subprocess

import numpy as np
from astropy.io import fits
from scipy import ndimage
from scipy.spatial import cKDTree

from codec_tools import TOP, read_samples, write_samples

SIMCAM = os.path.join(TOP, "build/gcc/simcam")
PAD = 25            # pixels at the edges where nothing is injected
APART = 20          # pixels between two injected transients
BETA = 3.5          # Moffat exponent of what is injected: simcam's own


# ---- a raw ccd and the part of it that sees light ----

def section(header, key):
    """A header's '[x1:x2,y1:y2]' as slices, or None."""
    m = re.match(r"\[(\d+):(\d+),(\d+):(\d+)\]", str(header.get(key, "")).replace(" ", ""))
    if not m:
        return None
    x1, x2, y1, y2 = (int(v) for v in m.groups())
    return slice(min(y1, y2) - 1, max(y1, y2)), slice(min(x1, x2) - 1, max(x1, x2))


def clipped(values, rounds=6):
    """Mean and standard deviation inside 3 sigma, the latter corrected for the clipping."""
    v = np.asarray(values, np.float64).ravel()
    for _ in range(rounds):
        mean, std = v.mean(), v.std()
        kept = v[np.abs(v - mean) <= 3 * std]
        if len(kept) == len(v) or std == 0:
            break
        v = kept
    return v.mean(), v.std() / 0.9866


def cut(path):
    """The light of a raw ccd in ADU as float32: each amplifier's overscan level off, the data
    section alone; and the raw pixel of its first corner (y, x)."""
    samples, header = read_samples(path)
    data = samples.astype(np.float32)
    for amp in "AB":
        light, bias = section(header, "DATASEC" + amp), section(header, "BIASSEC" + amp)
        if light and bias:
            data[light] -= np.float32(clipped(data[bias])[0])
    where = section(header, "DATASEC") or (slice(0, data.shape[0]), slice(0, data.shape[1]))
    return np.ascontiguousarray(data[where]), (where[0].start, where[1].start)


def gain_of(header):
    gains = [header[k] for k in ("GAINA", "GAINB", "GAIN") if k in header]
    return float(np.mean(gains[:2])) if gains else 1.0


def noise_of(light):
    """Sky scatter, ADU: from differences of pixels two apart, so that gradients do not count."""
    rows = light[::3]
    return clipped(rows[:, 2:] - rows[:, :-2])[1] / 2 ** 0.5


def halves_of(header, shape):
    """Each amplifier's part of the cut frame, as slices; the whole where the header names none."""
    where, parts = section(header, "DATASEC"), []
    for amp in "AB":
        part = section(header, "DATASEC" + amp)
        if where and part:
            parts.append(tuple(slice(p.start - w.start, p.stop - w.start)
                               for p, w in zip(part, where)))
    return parts or [(slice(0, shape[0]), slice(0, shape[1]))]


def levels_of(light, halves):
    """Sky level and scatter of each amplifier, of a lossless frame."""
    return [(float(np.median(light[h])), noise_of(light[h])) for h in halves]


def flatten(light, halves, levels):
    """The frame in units of its amplifier's lossless noise, sky off: no seam, one threshold.
    Whole ADU are spread evenly over their width first (the same way in every frame):
    source-extractor's mode of whole numbers is up to 0.4 sigma off, and its depth with it."""
    flat = light + np.random.default_rng(1).random(light.shape, np.float32) - np.float32(0.5)
    for half, (sky, noise) in zip(halves, levels):
        flat[half] = (flat[half] - np.float32(sky)) / np.float32(noise)
    return flat


def make_mask(light, sigma):
    """True where no source counts: bad columns and what surrounds saturated stars."""
    height, width = light.shape
    mask = np.zeros(light.shape, bool)
    for top in range(0, height, 256):
        level = np.median(light[top:top + 256], axis=0)
        odd = np.abs(level - ndimage.median_filter(level, 25)) > 0.8 * sigma
        mask[top:top + 256, ndimage.binary_dilation(odd, iterations=5)] = True
    bright = light > 20000
    if bright.any():
        mask |= ndimage.distance_transform_edt(~bright) < 40
    mask[:8], mask[-8:], mask[:, :8], mask[:, -8:] = True, True, True, True
    return mask


def star_mask(light, sigma, reach):
    """True within `reach` pixels of light whose own photon noise shows in a difference."""
    sky = ndimage.zoom(np.median(light[:light.shape[0] // 64 * 64, :light.shape[1] // 64 * 64]
                       .reshape(light.shape[0] // 64, 64, -1, 64), axis=(1, 3)), 64, order=0)
    full = np.full(light.shape, np.median(sky), np.float32)
    full[:sky.shape[0], :sky.shape[1]] = sky
    seed = light - full > 12 * sigma
    return ndimage.distance_transform_edt(~seed) < reach


# ---- transients ----

def moffat(shape, x, y, fwhm):
    """Unit flux, sampled five times finer than the pixels."""
    alpha = 0.5 * fwhm / (2 ** (1 / BETA) - 1) ** 0.5
    fine = (np.arange(5) - 2) / 5
    yy = (np.arange(shape)[:, None] + fine).ravel() - y
    xx = (np.arange(shape)[:, None] + fine).ravel() - x
    u = 1 + (yy[:, None] ** 2 + xx[None, :] ** 2) / alpha ** 2
    psf = (u ** -BETA).reshape(shape, 5, shape, 5).mean((1, 3))
    return psf * (BETA - 1) / (np.pi * alpha ** 2)


def choose_places(rng, forbidden, count):
    """Places (x, y) in the light, off `forbidden`, APART from each other."""
    height, width = forbidden.shape
    tries = np.column_stack([rng.uniform(PAD, width - PAD, 12 * count),
                             rng.uniform(PAD, height - PAD, 12 * count)])
    tries = tries[~forbidden[np.rint(tries[:, 1]).astype(int), np.rint(tries[:, 0]).astype(int)]]
    near = cKDTree(tries).query_ball_point(tries, APART)
    taken, kept = set(), []
    for i, others in enumerate(near):
        if not any(j in taken for j in others):
            taken.add(i)
            kept.append(i)
        if len(kept) == count:
            break
    return tries[kept]


def inject(new, ref, out, fwhm, count, seed):
    """Puts point sources into the raw frame `new`: flux for a matched-filter S/N of 5 to 90 in
    the difference (evenly in its logarithm), photon noise, whole ADU. Returns the places in
    the cut frame."""
    rng = np.random.default_rng(seed)
    samples, header = read_samples(new)
    light, corner = cut(ref)
    sigma, gain = noise_of(light), gain_of(header)
    places = choose_places(rng, star_mask(light, sigma, 12) | make_mask(light, sigma), count)
    sharp = 1 / (moffat(41, 20, 20, fwhm) ** 2).sum()
    raw = samples.astype(np.float64)
    for x, y in places:
        flux = 2 ** 0.5 * sigma * sharp ** 0.5 * np.exp(rng.uniform(np.log(5), np.log(90)))
        i, j = int(round(x)) - 20, int(round(y)) - 20
        stamp = moffat(41, x - i, y - j, fwhm) * flux * gain
        i, j = i + corner[1], j + corner[0]
        y1, y2, x1, x2 = max(0, -j), min(41, raw.shape[0] - j), max(0, -i), min(41, raw.shape[1] - i)
        raw[j + y1:j + y2, i + x1:i + x2] += rng.poisson(stamp)[y1:y2, x1:x2] / gain
    write_samples(out, np.clip(np.rint(raw), 0, 65535).astype(np.uint16), header)
    return places


# ---- where raw ccds come from ----

def simulate(work, ccds, options):
    """Two exposures of one field with simcam, each ccd a plain FITS file; [(new, ref), ...]."""
    os.makedirs(f"{work}/sim", exist_ok=True)
    subprocess.run([SIMCAM, "--out", f"{work}/sim", "--ccds", str(ccds), "--count", "2", "--force",
                    "--format", "fits", "--quiet", *options], check=True)
    exposures = sorted(glob.glob(f"{work}/sim/*.fits"))
    pairs = []
    for n in range(1, ccds + 1):
        pairs.append(tuple(extract(path, n, f"{work}/ccd{n:02d}-{role}.fits")
                           for path, role in zip(exposures, ("ref", "new")))[::-1])
    for path in exposures:
        os.remove(path)
    return pairs


def extract(path, hdu, out):
    with fits.open(path, do_not_scale_image_data=True) as f:
        stored = f[hdu].data.astype(np.int32)
        write_samples(out, (stored + 32768).astype(np.uint16), f[hdu].header)
    return out


def sources_of(where):
    """The files that decide what comes of it: those listed, or the simulator."""
    if not where:
        return [SIMCAM]
    return [p for words in lines_of(where) for p in words]


def lines_of(where):
    if os.path.isdir(where):
        return [[p] for p in sorted(glob.glob(f"{where}/*.fits*"))]
    with open(where, encoding="utf-8") as f:
        return [words for words in (line.split("#")[0].split() for line in f) if words]


def listed(where, work):
    """Real frames: a directory of FITS files, or a list with a file a line, or 'NEW REF' for
    two aligned exposures of one field. Every 16-bit image HDU counts."""
    pairs = []
    for words in lines_of(where):
        with fits.open(words[0], do_not_scale_image_data=True) as f:
            hdus = [i for i, h in enumerate(f) if h.is_image and h.header["NAXIS"] == 2
                    and h.header["BITPIX"] == 16]
        for i in hdus:
            made = [extract(p, i, f"{work}/f{len(pairs):03d}-{role}.fits")
                    for p, role in zip(words, ("new", "ref"))]
            pairs.append((made[0], made[1] if len(made) > 1 else None))
    return pairs
