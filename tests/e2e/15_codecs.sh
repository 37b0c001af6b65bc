#!/bin/bash
# Every codec over the whole road, judged by astropy as the independent reader: lossless means
# equal pixels, lossy stays within its step, header cards survive in order, the original file
# comes back byte for byte, and floats, integers, tables and masks are never degraded.
. "$(dirname "$0")/lib.sh"
mixed=$WORK/mixed_300100.fits
debian_python - "$mixed" <<'PY'
import sys
import numpy as np
from astropy.io import fits
rng = np.random.default_rng(1)
def cards(h, n):
    h['EXTNAME'] = n
    h['HISTORY'] = 'first line'
    h['OBJNAME'] = ("it's", 'quote')
    h['HISTORY'] = 'second line'
    h['LONGSTRN'] = 'OGIP 1.0'
    h['LONGTEXT'] = 'x' * 150
    h['HIERARCH ESO DET ID'] = 'verbatim'
    return h
p = fits.PrimaryHDU()
p.header['OBJECT'] = 'Mixed'
p.header['FILTER'] = 'g DECam SDSS c0001'
p.header['EXPNUM'] = 300100
p.header['DATE-OBS'] = '2024-04-05T03:00:00'
p.header['OBSTYPE'] = 'object'
p.header['EXPTIME'] = 20.0
u16 = rng.normal(1800, 3, (200, 300)).astype(np.uint16)
f32 = rng.normal(0, 1, (120, 130)).astype(np.float32)
f32[3, 4] = np.nan
f32[5, 6] = np.inf
hdus = [p,
        fits.ImageHDU(u16, cards(fits.Header(), 'U16')),
        fits.ImageHDU((u16.astype(np.int32) - 1800).astype(np.int16), cards(fits.Header(), 'I16')),
        fits.ImageHDU(rng.integers(-2**31, 2**31, (90, 80)).astype(np.int32), cards(fits.Header(), 'I32')),
        fits.ImageHDU(f32, cards(fits.Header(), 'F32')),
        fits.ImageHDU(np.where(np.isinf(f32), 0, f32).astype(np.float64), cards(fits.Header(), 'F64')),
        fits.ImageHDU(rng.integers(0, 255, (50, 60)).astype(np.uint8), cards(fits.Header(), 'U8')),
        fits.ImageHDU(rng.integers(-2**62, 2**62, (20, 30)), cards(fits.Header(), 'I64')),
        fits.CompImageHDU(u16, cards(fits.Header(), 'Z16'), compression_type='RICE_1'),
        fits.BinTableHDU.from_columns([fits.Column('a', 'J', array=np.arange(50)),
                                       fits.Column('b', '8A', array=np.array(['row%d' % i for i in range(50)]))], name='TAB')]
fits.HDUList(hdus).writeto(sys.argv[1], checksum=True)
PY
cat >"$WORK/compare.py" <<'PY'
# compare.py SOURCE CCD FILE [LARGEST]: the placed ccd against the source's HDU
import sys
import numpy as np
from astropy.io import fits
source, ccd, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
largest = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
with fits.open(source) as s, fits.open(path, checksum=True) as d:
    want, got = s[ccd], d[0]
    assert len(d) == 1, 'one HDU'
    assert got.data.dtype.kind == want.data.dtype.kind, (got.data.dtype, want.data.dtype)
    a, b = np.asarray(want.data), np.asarray(got.data)
    assert a.shape == b.shape, (a.shape, b.shape)
    if largest == 0:
        assert a.tobytes() == b.astype(a.dtype).tobytes() or np.array_equal(a, b, equal_nan=a.dtype.kind == 'f'), 'pixels differ'
    else:
        assert np.array_equal(np.isnan(a), np.isnan(b)), 'undefined pixels differ'
        diff = np.abs(a.astype(float) - b.astype(float))[~np.isnan(a)]
        assert diff.max() <= largest, diff.max()
        assert diff.max() > 0 or largest == 255, 'nothing was lossy'
    skip = {'XTENSION', 'SIMPLE', 'BITPIX', 'NAXIS', 'NAXIS1', 'NAXIS2', 'PCOUNT', 'GCOUNT', 'EXTEND', 'CHECKSUM',
            'DATASUM', ''}
    def keys(h):
        return [(c.keyword, str(c.value)) for c in h.cards if c.keyword not in skip]
    mine, theirs = keys(want.header), keys(got.header)
    at = 0
    for card in mine:                      # all of them, in this order
        while at < len(theirs) and theirs[at] != card:
            at += 1
        assert at < len(theirs), 'card lost or out of order: %r' % (card,)
        at += 1
    for card in keys(s[0].header):         # the inherited ones
        if card[0] not in {c[0] for c in mine}:
            assert card in theirs, 'primary card lost: %r' % (card,)
PY
compare() { debian_python "$WORK/compare.py" "$@"; }
find_ccd() { placed | grep "_$1.fits\$" | head -n 1; }
names=(- U16 I16 I32 F32 F64 U8 I64 Z16)

write_pull jobs.dry_run=yes
start_sshd
for method in htj2k jp2 jxl rice quantized original; do
    for lossless in yes no; do
        case $method-$lossless in jxl-yes | rice-yes | quantized-yes | original-yes) continue ;; esac
        label="$method$([ "$lossless" = yes ] && echo ' lossless')"
        rm -rf "$STORE" "$SPOOL" && mkdir -p "$STORE" "$SPOOL"
        write_push codec.method=$method codec.lossless=$lossless codec.qstep=0.0001
        start_pull
        exits "$label: a mixed file is delivered" 0 push send "$mixed"
        eventually "$label: and placed" 30 pull_has 1 done
        for ccd in 1 2 3 4 5 6 7 8; do
            largest=
            case $method-$lossless-$ccd in htj2k-no-[128] | jp2-no-[128]) largest=60 ;; htj2k-no-6 | jp2-no-6) largest=255 ;;
            quantized-no-[128]) largest=3 ;; quantized-no-5) largest=1 ;; esac
            check "$label: ${names[$ccd]} is what was sent" compare "$mixed" $ccd "$(find_ccd $ccd)" $largest
        done
        same "$label: fitsverify finds no error" "$(for f in $(placed); do fitsverify -q "$f"; done | grep -vc 'verification OK')" 0
        bundle=$(find "$STORE/bundles" -name '*.tar')
        exits "$label: unpack as a stand-alone tool" 0 "$BIN/skyferry-pull" unpack "$bundle" --to "$WORK/unpacked-$method-$lossless"
        check "$label: the table arrives whole" debian_python -c "
from astropy.io import fits; import glob, sys
f = fits.open(glob.glob('$WORK/unpacked-$method-$lossless/*hdu9*')[0])
assert list(f['TAB'].data['a']) == list(range(50)) and f['TAB'].data['b'][7] == 'row7'"
        if [ "$method" = jxl ]; then
            same "jxl: all of 8 and 16 bits travel so" "$(tar -tf "$bundle" | grep -c '\.jxl$')" 4
        fi
        if [ "$method" = quantized ]; then
            mkdir "$WORK/members" && tar -xf "$bundle" -C "$WORK/members" 2>/dev/null
            member=$WORK/members/${mixed##*/} member=${member%.fits}_1.fits.fz
            says "$label: the manifest has the step, of a noise of 3" <(jq '.members[] | select(.ccd == 1 and .role == "image").qstep * 65536' "$WORK/members/manifest.json") '^(2\.[6-9]|3\.[0-4])'
            check "$label: funpack opens the member" funpack -O "$WORK/funpacked.fits" "$member"
            check "$label: fitsverify finds no error in it" fitsverify -q "$member"
            check "$label: astropy reads the same pixels in it" debian_python -c "
import numpy as np; from astropy.io import fits
a, b, c = fits.open('$member', checksum=True)[1], fits.open('$WORK/funpacked.fits')[1], fits.getdata('$(find_ccd 1)')
assert np.array_equal(a.data, b.data) and a.data.dtype.kind == 'f' and a.header['LONGTEXT'] == 'x' * 150
assert np.abs(a.data - c.astype(float)).max() <= 0.501, 'not what was placed'"
        fi
        if [ "$method" = original ]; then
            exits "original: rebuilt" 0 "$BIN/skyferry-pull" unpack --rebuild "$bundle" --to "$WORK/rebuilt"
            check "original: byte for byte" cmp "$mixed" "$WORK/rebuilt/${mixed##*/}"
        else
            exits "$label: a rebuild is refused" 1 "$BIN/skyferry-pull" unpack --rebuild "$bundle" --to "$WORK/rebuilt-$method"
            says "$label: with the reason" "$WORK/out" 'original'
        fi
        stop pull
    done
done

# Real DECam frames: float and tile-compressed calibrated images, an integer mask.
if [ -d ../shared/data ]; then
    for frame in ../shared/data/*.fits; do
        rm -rf "$STORE" "$SPOOL" && mkdir -p "$STORE" "$SPOOL"
        write_push codec.method=htj2k
        start_pull
        exits "real frame ${frame##*/} is delivered" 0 push send "$frame"
        eventually "and placed" 30 pull_has 1 done
        check "with every pixel as it was" debian_python -c "
import sys; from astropy.io import fits; import numpy as np
a = [h for h in fits.open('$frame') if h.data is not None][0].data
b = fits.getdata('$(placed | head -n 1)')
assert np.array_equal(a, b, equal_nan=a.dtype.kind == 'f'), 'pixels differ'"
        stop pull
    done
else
    echo "# no ../shared/data: real frames skipped"
fi
finish
