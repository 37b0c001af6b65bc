"""Codecs as whole commands, ours and the rivals': each turns a raw ccd (a FITS file whose
primary HDU holds 16-bit pixels) into bytes and back. Used by codec and science.

CPU seconds of rivals are user + system of the whole process, its start included; format
conversions (FITS to PGX and the like) are outside. Ours are the codec call's own."""
import json
import os
import resource
import shlex
import subprocess

import numpy as np
from astropy.io import fits

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.environ.get("CODEC_BENCH", os.path.join(TOP, "build/gcc/codec-bench"))


def run(words):
    """Runs one command; its standard output and CPU seconds. Its words on failure."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{words[0]} failed ({done.returncode}): {said[:300]}")
    return done.stdout.decode(), (after.ru_utime + after.ru_stime) - (before.ru_utime
                                                                      + before.ru_stime)


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


# ---- one function a codec: (raw FITS, decoded FITS, wanted ratio, scratch) -> figures ----
# Ratio None is lossless. `repeat`: the best time of so many.

def figures(samples, member, encode_s, decode_s, **more):
    size = os.path.getsize(member)
    return dict(bytes=size, ratio=2.0 * samples.size / size, encode_s=encode_s,
                decode_s=decode_s, **more)


def fresh(words, made):
    """Runs a command that must not find its output already there; its CPU seconds."""
    if os.path.exists(made):
        os.remove(made)
    return run(words)[1]


def best(words, made, repeat):
    """The least CPU seconds of some runs of a command that writes the file `made`."""
    return min(fresh(words, made) for _ in range(repeat))


def find_step(encode, size_of, wanted, low, high, within=0.01):
    """The step between low and high whose size is `wanted` bytes, as near as it gets."""
    for _ in range(30):
        step = (low * high) ** 0.5
        encode(step)
        if abs(size_of() / wanted - 1) < 0.005 or high / low < 1.00001:
            break
        low, high = (step, high) if size_of() > wanted else (low, step)
    if abs(size_of() / wanted - 1) > within:
        raise RuntimeError(f"no step gives {wanted:.0f} bytes; the last gave {size_of()}")
    return step


def opj(raw, out, ratio, tmp, repeat=1, extra=()):
    """opj_compress -r: OpenJPEG's own rate control."""
    samples, header = read_samples(raw)
    pgx, jp2, back = (f"{tmp}/opj{s}" for s in (".pgx", ".jp2", "-out_0.pgx"))
    write_pgx(pgx, samples)
    rate = ["-r", f"{ratio:g}"] if ratio else []
    encode_s = best(["opj_compress", "-i", pgx, "-o", jp2, *rate, *extra], jp2, repeat)
    # It adds _0 to the name, for the first component.
    decompress = ["opj_decompress", "-i", jp2, "-o", back.replace("_0", "")]
    for attempt in range(3):  # now and then it says that it cannot open its output
        try:
            decode_s = best(decompress, back, repeat)
            break
        except RuntimeError:
            if attempt == 2:
                raise
    write_samples(out, read_raster(back, samples.shape), header)
    return figures(samples, jp2, encode_s, decode_s)


def opj97(raw, out, ratio, tmp, repeat=1):
    """The same with the irreversible 9/7 wavelet."""
    return opj(raw, out, ratio, tmp, repeat, ("-I",))


def ojph(raw, out, ratio, tmp, repeat=1):
    """ojph_compress: the step is searched for the ratio."""
    samples, header = read_samples(raw)
    pgm, j2c, back = (f"{tmp}/ojph{s}" for s in (".pgm", ".j2c", "-out.pgm"))
    write_pgm(pgm, samples)
    command = ["ojph_compress", "-i", pgm, "-o", j2c]
    how, step = ["-reversible", "true"], None
    if ratio:
        step = find_step(lambda q: run([*command, "-qstep", f"{q:.7g}"]),
                         lambda: os.path.getsize(j2c), 2 * samples.size / ratio, 1e-5, 0.1)
        how = ["-qstep", f"{step:.7g}"]
    encode_s = best([*command, *how], j2c, repeat)
    decode_s = best(["ojph_expand", "-i", j2c, "-o", back], back, repeat)
    write_samples(out, read_raster(back, samples.shape), header)
    return figures(samples, j2c, encode_s, decode_s, step=step)


def fpack(raw, out, ratio, tmp, repeat=1, how="-r"):
    """fpack as it is; with a ratio, how is -h and the scale (in ADU) is searched."""
    samples, header = read_samples(raw)
    packed, back = f"{tmp}/packed.fz", f"{tmp}/unpacked.fits"

    def words(scale=None):
        lossy = ["-s", f"-{scale:.5g}"] if scale else []
        return ["fpack", how, *lossy, "-Y", "-O", packed, raw]
    step = None
    if ratio:
        step = find_step(lambda scale: fresh(words(scale), packed),
                         lambda: os.path.getsize(packed), 2 * samples.size / ratio, 0.3, 3000,
                         0.5)   # its scale is a whole number of quanta: not every size exists
    encode_s = best(words(step), packed, repeat)
    decode_s = best(["funpack", "-O", back, packed], back, repeat)
    write_samples(out, read_samples(back)[0], header)
    return figures(samples, packed, encode_s, decode_s, step=step)


def hcompress(raw, out, ratio, tmp, repeat=1):
    """fpack -h, with -s (ADU) when lossy."""
    return fpack(raw, out, ratio, tmp, repeat, "-h")


def zstd(raw, out, ratio, tmp, repeat=1):
    """zstd -3 of the FITS file as it is: lossless whatever the ratio."""
    samples, header = read_samples(raw)
    packed, back = f"{tmp}/raw.zst", f"{tmp}/raw.back"
    encode_s = best(["zstd", "-q", "-f", "-3", "--single-thread", raw, "-o", packed], packed,
                    repeat)
    decode_s = best(["zstd", "-q", "-f", "-d", packed, "-o", back], back, repeat)
    write_samples(out, read_samples(back)[0], header)
    return figures(samples, packed, encode_s, decode_s)


def cjxl(effort):
    """cjxl -d 0: libjxl, lossless. (Its lossy modes are for eyes: at 17:1 the sky came back
    2 ADU off with an error of 12.6 ADU rms, six times the step that other codecs need.)"""
    def trip(raw, out, ratio, tmp, repeat=1):
        samples, header = read_samples(raw)
        pgm, jxl, back = (f"{tmp}/jxl{s}" for s in (".pgm", ".jxl", "-out.pgm"))
        write_pgm(pgm, samples)
        encode_s = best(["cjxl", "-d", "0", "-e", str(effort), "--num_threads=0", pgm, jxl], jxl,
                        repeat)
        decode_s = best(["djxl", "--num_threads=0", jxl, back], back, repeat)
        write_samples(out, read_raster(back, samples.shape), header)
        return figures(samples, jxl, encode_s, decode_s)
    return trip


def ours(spec):
    """METHOD,key=value,...,search=KEY+KEY: through common/codec.h, codec time only."""
    method, *pairs = spec.split(",")
    options = []
    for pair in pairs:
        options += ["--search", pair[7:].replace("+", ",")] if pair.startswith("search=") else \
            ["--set", pair]

    def trip(raw, out, ratio, tmp, repeat=1):
        wanted = ["--ratio", f"{ratio:g}"] if ratio else []
        text, _ = run([BENCH, "--method", method, *options, *wanted, "--repeat", str(repeat),
                       "--decoded", out, raw])
        return json.loads(text)
    return trip


def command(words):
    """Any command with {in}, {out} and {ratio}: writes the decoded FITS. A last line of JSON
    with "bytes" on its standard output tells the true size."""
    def trip(raw, out, ratio, tmp, repeat=1):
        parts = [w.replace("{in}", raw).replace("{out}", out).replace("{ratio}", f"{ratio:g}")
                 .replace("{tmp}", tmp) for w in shlex.split(words)]
        text, cpu = run(parts)
        said = {"cpu_s": cpu}
        try:
            said.update(json.loads(text.strip().splitlines()[-1]))
        except (IndexError, ValueError):
            pass
        if "bytes" in said:
            samples, _ = read_samples(raw)
            said["ratio"] = 2.0 * samples.size / said["bytes"]
        return said
    return trip


def white(rms):
    """No codec but a control: white noise of so many ADU rms, the same at every ratio. It shows
    what any error of that size does to source-extractor's figures."""
    def trip(raw, out, ratio, tmp, repeat=1):
        samples, header = read_samples(raw)
        error = np.random.default_rng(int(samples[:8].sum())).normal(0, float(rms), samples.shape)
        write_samples(out, np.clip(np.rint(samples + error), 0, 65535).astype(np.uint16), header)
        return {}
    return trip


LOSSY = {"opj": opj, "opj97": opj97, "ojph": ojph, "hcompress": hcompress}
LOSSLESS = {"fpack -r": fpack, "fpack -h": hcompress, "zstd -3": zstd, "opj_compress": opj,
            "ojph_compress": ojph, "cjxl -e 1": cjxl(1), "cjxl -e 2": cjxl(2),
            "cjxl -e 3": cjxl(3)}


def find(name):
    """A lossy codec by name: one of LOSSY, ours:METHOD[,key=value...], or white:RMS."""
    if name.startswith("ours:"):
        return ours(name[5:])
    if name.startswith("white:"):
        return white(name[6:])
    if name not in LOSSY:
        raise SystemExit(f"no codec is called {name}: {', '.join(LOSSY)}, ours:METHOD")
    return LOSSY[name]


def our_methods():
    """Rows of the codec table: [(name, can it be lossy), ...]."""
    words = [line.split() for line in run([BENCH, "--list"])[0].splitlines()]
    return [(name, how == "lossy") for name, how in words]
