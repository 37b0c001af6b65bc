#!/bin/bash
# A denoised sky is not a deep one: what was measured of the raw frame reaches every delivered
# header and the weight map, source-extractor told so finds no more than in the raw frame, pixels
# that travel exactly keep the bound, and what does not decode as proven is never shown as such.
# astropy is the judge throughout.
. "$(dirname "$0")/lib.sh"
write_pull jobs.dry_run=yes
start_sshd
write_push codec.method=htj2k codec.lossless=no codec.qstep=0.00007
CCDS=2 SIZE=1024x1024 camera --format fits --expnum 250001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null
source=$WATCH/DECam_00250001.fits
exits "a lossy exposure is sent" 0 push send "$source"
cp "$STORE/bundles/ut240405/DECam_00250001.tar" "$WORK/sent.tar"
unpack() { "$BIN/skyferry-pull" unpack "$@"; }
exits "and unpacked" 0 unpack "$WORK/sent.tar" --to "$WORK/sent"

cat >"$WORK/forge.py" <<'PY'
# forge.py SENT SOURCE UNPACKED FOLDER: the same bundle with other words about its pixels.
import copy, hashlib, io, json, os, struct, sys, tarfile
import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
sent, source, unpacked, folder = sys.argv[1:]
KEY = 'SCHILY.xattr.user.skyferry.sha256'
BOUND = 3
with tarfile.open(sent) as t:
    members = {m.name: t.extractfile(m).read() for m in t}
manifest = json.loads(members.pop('manifest.json'))

def write(name, parts, words):
    for one in words['members']:
        one['size'], one['sha256'] = len(parts[one['name']]), hashlib.sha256(parts[one['name']]).hexdigest()
    with tarfile.open(os.path.join(folder, name + '.tar'), 'w', format=tarfile.PAX_FORMAT) as t:
        for member, data in list(parts.items()) + [('manifest.json', json.dumps(words).encode())]:
            i = tarfile.TarInfo(member)
            i.size, i.mode, i.pax_headers = len(data), 0o644, {KEY: hashlib.sha256(data).hexdigest()}
            t.addfile(i, io.BytesIO(data))

def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])

def zstd(data):
    """A frame of stored blocks."""
    out, step = struct.pack('<IBQ', 0xFD2FB528, 0xE0, len(data)), 1 << 17
    for at in range(0, len(data), step):
        part = data[at:at + step]
        out += struct.pack('<I', len(part) << 3 | (at + step >= len(data)))[:3] + part
    return out

def exact(pixels, where):
    """Pixels (stored, big-endian) of these indices, a run each."""
    runs, last = b'', 0
    for i in where:
        runs, last = runs + varint(int(i) - last) + varint(1), int(i) + 1
    values = pixels[where].astype('>i2').tobytes()
    return b'SFEXACT1' + struct.pack('>QQ', 2, len(runs)) + runs + values[0::2] + values[1::2]

def datasum(stored):
    data = stored.astype('>i2').tobytes()
    data += bytes(-len(data) % 2880)
    return int(sum(np.frombuffer(data, '>u4').tolist()) % 0xffffffff)

measured, bounded, parts = copy.deepcopy(manifest), copy.deepcopy(manifest), dict(members)
for one, strict in zip(measured['members'][:], bounded['members'][:]):
    if one['role'] != 'image':
        continue
    stored = lambda p, n: fits.open(p, do_not_scale_image_data=True)[n].data
    raw = stored(source, one['hdu'])
    got = stored('%s/DECam_00250001_%d.fits' % (unpacked, one['ccd']), 0)
    sky = raw[200:800, 100:480].astype(float) + 32768
    error = got.astype(float) - raw
    said = one.setdefault('measured', {})
    for key, value in (('sky', np.median(sky)), ('noise', mad_std(np.diff(sky)) / 2**.5), ('read_noise', 1.75),
                       ('gain', 4.05), ('rms_error', error.std()), ('max_error', abs(error).max()),
                       ('datasum', datasum(got))):
        said.setdefault(key, float(value) if key != 'datasum' else value)
    where = np.flatnonzero(abs(error) > BOUND)
    patched = got.ravel().copy()
    patched[where] = raw.ravel()[where]
    left = patched.astype(float) - raw.ravel()
    strict['measured'] = dict(said, bound=BOUND, exact_pixels=len(where), rms_error=left.std(),
                              max_error=abs(left).max(), datasum=datasum(patched))
    plain = exact(raw.ravel(), where)
    name = one['name'].rsplit('.', 1)[0] + '.exact.zst'
    parts[name] = zstd(plain)
    bounded['members'].append(dict(strict, name=name, role='exact', codec='zstd', qstep=0, raw_size=len(plain)))
    del bounded['members'][-1]['measured']
write('measured', members, measured)
write('bounded', parts, bounded)
first = next(m for m in bounded['members'] if m['role'] == 'exact')
wrong = dict(parts)
wrong[first['name']] = parts[first['name']][:-1] + bytes([parts[first['name']][-1] ^ 1])
write('wrong', wrong, bounded)
missing, words = dict(parts), copy.deepcopy(bounded)
words['members'] = [m for m in words['members'] if m['name'] != first['name']]
del missing[first['name']]
write('missing', missing, words)
other = copy.deepcopy(measured)
for one in other['members']:
    if 'measured' in one:
        one['measured']['datasum'] ^= 1
write('other', members, other)
for one in other['members']:
    one.pop('measured', None)
write('unmeasured', members, other)
PY
mkdir "$WORK/forged"
check "bundles with other words about the same pixels" debian_python "$WORK/forge.py" "$WORK/sent.tar" "$source" "$WORK/sent" "$WORK/forged"
ccd() { echo "$WORK/$1/DECam_00250001_$2.fits"; }
weight() { echo "$WORK/$1/DECam_00250001_$2.weight.fits"; }
card() { fold -w 80 "$1" 2>/dev/null | awk -v key="$2" '/^END /{exit} index($0, sprintf("%-8s=", key)) == 1 {print $3; exit}'; }

# ---- what was measured arrives ----
exits "unpack with weight maps" 0 unpack --weights "$WORK/forged/measured.tar" --to "$WORK/measured"
for n in 1 2; do
    check "ccd $n: fitsverify is content with it" fitsverify -q "$(ccd measured $n)"
    check "ccd $n: and with its weight map" fitsverify -q "$(weight measured $n)"
    check "ccd $n: the header says what was measured, and it is true" debian_python - "$source" "$(ccd measured $n)" <<'PY'
import sys
import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
with fits.open(sys.argv[2], checksum=True) as d:
    h, got = d[0].header, d[0].data.astype(float)
    raw = fits.getdata(sys.argv[1], h['SFHDU']).astype(float)
    sky = raw[200:800, 100:480]
    def sigma(x): # of integers, a median of differences would be a whole number
        d = np.diff(x).ravel()
        for _ in range(8):
            d = d[abs(d) < 3.5 * d.std()]
        return d.std() / 2**.5
    assert abs(h['SFNOISE'] / sigma(sky) - 1) < 0.1, (h['SFNOISE'], sigma(sky))
    assert h['SFMAXERR'] == abs(got - raw).max(), h['SFMAXERR']
    assert abs(h['SFRMS'] / np.sqrt(((got - raw)**2).mean()) - 1) < 1e-3, h['SFRMS']
    assert h['SFPROOF'] is True and 'SFBOUND' not in h and h['SFGAIN'] > 3 and h['SFRDN'] > 1 and h['SFSKY'] > 1000
    assert sigma(got[200:800, 100:480]) < 0.9 * h['SFNOISE'], 'the codec took no noise away'
    for key in ('SFRMS', 'SFNOISE', 'SFRDN', 'SFGAIN', 'SFSKY'):
        assert len(str(h[key])) <= 8, (key, h[key])
PY
    check "ccd $n: the weight map is the raw sky's, on the same sky" debian_python - "$(ccd measured $n)" "$(weight measured $n)" <<'PY'
import sys, re
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
with fits.open(sys.argv[1]) as d, fits.open(sys.argv[2], checksum=True) as w:
    h, m = d[0].header, w[0]
    assert m.data.dtype == np.dtype('>f4') and m.data.shape == d[0].data.shape and m.header['SFWEIGHT'] is True
    x1, x2, y1, y2 = map(int, re.findall(r'\d+', h['DATASEC']))
    inside = np.zeros(m.data.shape, bool)
    inside[y1 - 1:y2, x1 - 1:x2] = True
    full = d[0].data >= min(h['SATURATA'], h['SATURATB']) - h['SFMAXERR']
    assert (m.data[~inside | full] == 0).all() and (m.data[inside & ~full] > 0).all()
    sigma = m.data[inside & ~full] ** -0.5
    assert abs(np.median(sigma) / h['SFNOISE'] - 1) < 0.01, np.median(sigma)
    assert sigma.min() >= 0.99 * h['SFRDN'] and np.percentile(sigma, 95) < 1.1 * h['SFNOISE']
    a, b = (WCS(k).all_pix2world([[1, 1], [900, 700]], 1) for k in (h, m.header))
    assert np.allclose(a, b, atol=1e-9), (a, b)
PY
done
exits "without measured noise there is no map" 3 unpack --weights "$WORK/forged/unmeasured.tar" --to "$WORK/unmeasured"
says "which is said" "$WORK/out" 'ccd 1 .*no weight map: the noise of its raw sky was not measured'
same "but the ccds" "$(cd "$WORK/unmeasured" && echo *)" "DECam_00250001_1.fits DECam_00250001_2.fits"

# ---- the bound, and what breaks it ----
exits "pixels that travelled exactly" 0 unpack "$WORK/forged/bounded.tar" --to "$WORK/bounded"
for n in 1 2; do
    check "ccd $n: fitsverify is content with it" fitsverify -q "$(ccd bounded $n)"
    check "ccd $n: no pixel is further off than promised" debian_python - "$source" "$(ccd bounded $n)" <<'PY'
import sys
from astropy.io import fits
with fits.open(sys.argv[2], checksum=True) as d:
    h = d[0].header
    off = abs(d[0].data.astype(float) - fits.getdata(sys.argv[1], h['SFHDU']))
    assert 0 < off.max() <= h['SFBOUND'] == 3, off.max()
    assert h['SFMAXERR'] == off.max() and h['SFEXACT'] > 100 and h['SFPROOF'] is True
PY
    check "ccd $n: they are counted as bytes on the wire" awk -v a="$(card "$(ccd bounded $n)" SFRATIO)" \
        -v b="$(card "$(ccd measured $n)" SFRATIO)" 'BEGIN { exit !(a > 1 && a < b) }'
done
exits "an exact pixel that is another: that ccd is refused" 3 unpack "$WORK/forged/wrong.tar" --to "$WORK/wrong"
says "and named" "$WORK/out" 'FAILED: exposure DECam_00250001, ccd 1: .*other pixels than the sender proved'
same "the other one is there" "$(cd "$WORK/wrong" && echo *)" "DECam_00250001_2.fits"
exits "exact pixels that are missing: likewise" 3 unpack "$WORK/forged/missing.tar" --to "$WORK/missing"
says "and named" "$WORK/out" 'FAILED: exposure DECam_00250001, ccd 1: the bundle lacks the [0-9]+ pixels'
exits "lossy pixels other than proven are delivered" 0 unpack "$WORK/forged/other.tar" --to "$WORK/other"
says "with a warning" "$WORK/out" '2 ccds decode to other pixels'
check "and state no errors" debian_python -c "
from astropy.io import fits
h = fits.getheader('$(ccd other 1)')
assert h['SFPROOF'] is False and 'SFRMS' not in h and 'SFMAXERR' not in h and 'SFNOISE' in h"
check "fitsverify is content with it" fitsverify -q "$(ccd other 1)"
# The daemon likewise.
rm -rf "$STORE" && mkdir -p "$STORE"
start_pull
cp "$WORK/forged/wrong.tar" "$STORE/DECam_00250001.tar"
eventually "the daemon places the good ccd of the wrong bundle" 30 eval '[ "$(placed_count)" -eq 1 ]'
eventually "parks the other" 10 grep -q 'ccd=1: parked: .*other pixels than the sender proved' "$FAR/pull.log"
stop pull
rm -rf "$STORE" && mkdir -p "$STORE"
start_pull
cp "$WORK/forged/other.tar" "$STORE/DECam_00250001.tar"
eventually "the daemon places lossy ccds other than proven" 30 eval '[ "$(placed_count)" -eq 2 ]'
eventually "and warns" 10 grep -q 'WARN .*2 ccds decode to other pixels' "$FAR/pull.log"
same "once" "$(grep -c 'decode to other pixels' "$FAR/pull.log")" 1
stop pull

# ---- the two settings of the manual, against the trap ----
debian_python -c "
from astropy.io import fits
fits.PrimaryHDU(fits.getdata('$source', 1), fits.getheader('$source', 1)).writeto('$WORK/raw.fits')"
echo NUMBER >"$WORK/one.param"
# detect IMAGE [OPTION...]: how many sources
detect() {
    (cd /usr/share/source-extractor && source-extractor "$@" -PARAMETERS_NAME "$WORK/one.param" \
        -CATALOG_NAME "$WORK/cat" -CATALOG_TYPE ASCII -VERBOSE_TYPE QUIET) && wc -l <"$WORK/cat"
}
lossy=$(ccd measured 1)
threshold=$(fold -w 80 "$lossy" 2>/dev/null | awk '/^SFNOISE /{print 1.5 * $3; exit}')
absolute=(-THRESH_TYPE ABSOLUTE -DETECT_THRESH "$threshold" -ANALYSIS_THRESH "$threshold")
map=(-WEIGHT_TYPE MAP_WEIGHT -WEIGHT_IMAGE "$(weight measured 1)" -RESCALE_WEIGHTS N)
raw=$(detect "$WORK/raw.fits") raw_a=$(detect "$WORK/raw.fits" "${absolute[@]}") raw_b=$(detect "$WORK/raw.fits" "${map[@]}")
naive=$(detect "$lossy") a=$(detect "$lossy" "${absolute[@]}") b=$(detect "$lossy" "${map[@]}")
echo "# sources, raw frame: $raw; threshold $raw_a; map $raw_b. Lossy: naive $naive; threshold $a; map $b"
check "the trap is there: the lossy frame, taken for itself, shows more" test "$naive" -gt $((raw * 5 / 4))
check "with the true noise as threshold it shows no more" test "$a" -le "$raw_a" -a "$a" -gt $((raw_a / 3))
check "nor with the weight map" test "$b" -le "$raw_b" -a "$b" -gt $((raw_b / 3))
jq -n --arg fits "$lossy" '{type: "science", ccds: [{ccd: 1, fits: $fits}]}' >"$WORK/job.json"
exits "our own job measures the lossy ccd" 0 "$BIN/skyferry-measure" "$WORK/job.json" "$WORK/result.json"
same "by the raw sky's noise" "$(jq '.ccds[0].noise' "$WORK/result.json")" "$(card "$lossy" SFNOISE)"
check "the map alone is no help: rescaled to the denoised sky it is the trap again" \
    test "$(detect "$lossy" "${map[@]}" -RESCALE_WEIGHTS Y)" -gt $((b * 5 / 4))
finish
