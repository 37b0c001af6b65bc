"""Codecs as whole commands, ours and the rivals': each turns a raw ccd (a FITS file whose
primary HDU holds 16-bit pixels) into bytes and back. Used by codec and science.

CPU seconds of rivals are user + system of the whole process, its start included; format
conversions (FITS to PGX and the like) are outside. Ours are the codec call's own."""
import json
import os
import shlex
import subprocess

import numpy as np
from astropy.io import fits

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.environ.get("CODEC_BENCH", os.path.join(TOP, "build/gcc/codec-bench"))


def run(command):
    """Runs one command; its standard output and CPU seconds. Its words on failure."""
    before = os.times()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after = os.times()
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {words[-300:]}")
    cpu = after.children_user + after.children_system
    return done.stdout.decode(), cpu - before.children_user - before.children_system


# ---- pixels in and out ----

def read_samples(path):
    """Pixels as unsigned 16-bit: what is stored plus 32768, as BZERO has it."""
    with fits.open(path, do_not_scale_image_data=True) as f:
        hdu = next(h for h in f if h.data is not None and h.data.ndim == 2)
        if hdu.header["BITPIX"] != 16:
            raise RuntimeError(f"{path}: not 16-bit pixels")
        return (hdu.data.astype(np.int32) + 32768).astype(np.uint16), hdu.header


def write_samples(path, samples, header):
    stored = (samples.astype(np.int32) - 32768).astype(">i2")
    hdu = fits.PrimaryHDU(stored)
    for card in header.cards:
        if card.keyword not in hdu.header and card.keyword not in (
                "XTENSION", "PCOUNT", "GCOUNT", "CHECKSUM", "DATASUM", "BZERO", "BSCALE"):
            hdu.header.append(card)
    for key in ("BZERO", "BSCALE"):
        if key in header:
            hdu.header[key] = header[key]
    hdu.writeto(path, overwrite=True)


def write_pgx(path, samples):
    with open(path, "wb") as f:
        f.write(b"PG ML + 16 %d %d\n" % (samples.shape[1], samples.shape[0]))
        f.write(samples.astype(">u2").tobytes())


def write_pgm(path, samples):
    with open(path, "wb") as f:
        f.write(b"P5\n%d %d\n65535\n" % (samples.shape[1], samples.shape[0]))
        f.write(samples.astype(">u2").tobytes())


def read_raster(path, shape):
    """The pixels of a PGX or PGM file: its tail, whatever the header says of itself."""
    with open(path, "rb") as f:
        head = f.readline()
        little = head.startswith(b"PG LM")
        f.seek(-2 * shape[0] * shape[1], os.SEEK_END)
        return np.frombuffer(f.read(), "<u2" if little else ">u2").reshape(shape)


# ---- one function a codec: (raw FITS, wanted ratio, scratch) -> what came of it ----

def result(samples, member, encode_s, decode_s, **more):
    size = os.path.getsize(member)
    return dict(bytes=size, ratio=2.0 * samples.size / size, encode_s=encode_s,
                decode_s=decode_s, **more)


def opj(raw, out, ratio, tmp, extra=()):
    """opj_compress -r: OpenJPEG's own rate control; ratio None is lossless."""
    samples, header = read_samples(raw)
    pgx, jp2, back = (f"{tmp}/opj{s}" for s in (".pgx", ".jp2", "-out.pgx"))
    write_pgx(pgx, samples)
    rate = ["-r", f"{ratio:g}"] if ratio else []
    _, encode_s = run(["opj_compress", "-i", pgx, "-o", jp2, *rate, *extra])
    _, decode_s = run(["opj_decompress", "-i", jp2, "-o", back])
    # It writes NAME_0.pgx for the first component in some releases.
    back = back if os.path.exists(back) else f"{tmp}/opj-out_0.pgx"
    write_samples(out, read_raster(back, samples.shape), header)
    return result(samples, jp2, encode_s, decode_s)


def opj97(raw, out, ratio, tmp):
    """The same with the irreversible 9/7 wavelet."""
    return opj(raw, out, ratio, tmp, ("-I",))


def ojph(raw, out, ratio, tmp, qstep=None):
    """ojph_compress: the step is searched for the ratio; ratio None and no step: lossless."""
    samples, header = read_samples(raw)
    pgm, j2c, back = (f"{tmp}/ojph{s}" for s in (".pgm", ".j2c", "-out.pgm"))
    write_pgm(pgm, samples)

    def encode(step):
        how = ["-qstep", f"{step:.7g}"] if step else ["-reversible", "true"]
        return run(["ojph_compress", "-i", pgm, "-o", j2c, *how])[1]

    if ratio and not qstep:
        low, high = 1e-5, 0.1
        for _ in range(24):
            qstep = (low * high) ** 0.5
            encode_s = encode(qstep)
            got = 2.0 * samples.size / os.path.getsize(j2c)
            if abs(got / ratio - 1) < 0.005:
                break
            low, high = (qstep, high) if got < ratio else (low, qstep)
    else:
        encode_s = encode(qstep)
    _, decode_s = run(["ojph_expand", "-i", j2c, "-o", back])
    write_samples(out, read_raster(back, samples.shape), header)
    return result(samples, j2c, encode_s, decode_s, step=qstep)


def ours(spec):
    """ours:METHOD,key=value,...: through common/codec.h; search=KEY names the step."""
    method, *pairs = spec.split(",")
    options = []
    for pair in pairs:
        options += ["--search", pair[7:]] if pair.startswith("search=") else ["--set", pair]

    def trip(raw, out, ratio, tmp, repeat=1):
        wanted = ["--ratio", f"{ratio:g}"] if ratio else []
        text, _ = run([BENCH, "--method", method, *options, *wanted, "--repeat", str(repeat),
                       "--decoded", out, raw])
        return json.loads(text)
    return trip


def command(words):
    """Any command with {in}, {out} and {ratio}: writes the decoded FITS. A last line of JSON
    with "bytes" on its standard output tells the true size."""
    def trip(raw, out, ratio, tmp):
        parts = [w.replace("{in}", raw).replace("{out}", out).replace("{ratio}", f"{ratio:g}")
                 .replace("{tmp}", tmp) for w in shlex.split(words)]
        text, cpu = run(parts)
        said = {"cpu_s": cpu}
        try:
            said.update(json.loads(text.strip().splitlines()[-1]))
        except (IndexError, ValueError):
            pass
        if "bytes" in said:
            with fits.open(raw) as f:
                said["ratio"] = 2.0 * f[0].header["NAXIS1"] * f[0].header["NAXIS2"] / said["bytes"]
        return said
    return trip


def find(name):
    """A lossy codec by name: opj, opj97, ojph, ours:METHOD[,key=value...]."""
    if name.startswith("ours:"):
        return ours(name[5:])
    return {"opj": opj, "opj97": opj97, "ojph": ojph}[name]
