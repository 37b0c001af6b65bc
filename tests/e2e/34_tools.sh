#!/bin/bash
# The observer's tools: TAN-SIP headers made TPV, judged by astropy; what is reprocessed chosen by
# list, visit, night, field and verdict; jobs, seeing and inventory; one night's calibrations for another.
. "$(dirname "$0")/lib.sh"

# ---- convert-wcs ----
mkdir "$WORK/wcs"
cat >"$WORK/wcs.py" <<'PY'
import sys, warnings
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
warnings.simplefilter("ignore")
def make(path):
    h = fits.Header()
    h["CTYPE1"], h["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    h["CRVAL1"], h["CRVAL2"], h["CRPIX1"], h["CRPIX2"] = 210.1, -28.7, 1024.5, 2176.5
    h["CD1_1"], h["CD1_2"], h["CD2_1"], h["CD2_2"] = 4.6e-5, 1.1e-6, -1.3e-6, 4.6e-5
    h["A_ORDER"], h["B_ORDER"] = 4, 3
    for key, value in (("A_2_0", 2.2e-7), ("A_1_1", -4e-7), ("A_0_4", 3e-14), ("A_2_1", 1e-11), ("B_0_2", 3e-7),
                       ("B_3_0", -2e-11), ("B_1_1", 1e-7)):
        h[key] = value
    rng = np.random.default_rng(1)
    image = lambda name: fits.ImageHDU(rng.integers(0, 60000, (96, 64)).astype("u2"), h, name)
    hdus = fits.HDUList([fits.PrimaryHDU(), image("N1"), fits.ImageHDU(np.zeros((4, 4), "f4"), name="MAP"), image("N2")])
    hdus.writeto(path, checksum=True)
def compare(old, new):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        a, b = fits.open(old), fits.open(new, checksum=True)
        pixels = [hdu.data for hdu in b]
    assert not [w for w in said if "verification failed" in str(w.message)], said[0].message
    worst = 0.0
    x, y = np.meshgrid(np.linspace(0.5, 2048.5, 30), np.linspace(0.5, 4352.5, 30))
    for i in range(len(a)):
        if a[i].data is None:
            continue
        assert (a[i].data == b[i].data).all() and a[i].data.dtype == b[i].data.dtype
        if "A_ORDER" not in a[i].header:
            assert a[i].header.tostring() == b[i].header.tostring()
            continue
        assert not [k for k in b[i].header if k.startswith(("A_", "B_"))]
        s, t = [np.radians(WCS(f[i].header).all_pix2world(x, y, 1)) for f in (a, b)]
        apart = np.hypot((s[0] - t[0]) * np.cos(s[1]), s[1] - t[1])
        worst = max(worst, np.degrees(apart.max()) * 3600e3)
    print("worst %.6f mas" % worst)
    assert 0 <= worst < 1
{"make": make, "compare": compare}[sys.argv[1]](*sys.argv[2:])
PY
tool() { "$BIN/skyferry-pull" "$@"; }
sip=$WORK/wcs/a.fits
check "a file with SIP headers, sums included" debian_python "$WORK/wcs.py" make "$sip"
cp "$sip" "$WORK/wcs/b.fits"
exits "convert-wcs writes a new file" 0 tool convert-wcs "$sip"
says "says what it did" "$WORK/out" 'a\.tpv\.fits: TAN-SIP to TPV in 2 of 4 HDUs'
check "astropy: the same pixels, the same sky within 1 mas, right sums" debian_python "$WORK/wcs.py" compare "$sip" "$WORK/wcs/a.tpv.fits"
check "fitsverify is content" fitsverify -q "$WORK/wcs/a.tpv.fits"
check "the old file is as it was" cmp "$sip" "$WORK/wcs/b.fits"
exits "a file of that name is kept" 1 tool convert-wcs "$sip"
says "and named" "$WORK/out" 'a\.tpv\.fits.*--force'
check "tile-compressed" fpack -g -q 0 "$sip"
check "as funpack gives it back" funpack -O "$WORK/wcs/old.fits" "$sip.fz"
exits "convert-wcs takes the .fz, too" 0 tool convert-wcs "$sip.fz"
check "whose new one funpack unpacks" funpack -O "$WORK/wcs/new.fits" "$WORK/wcs/a.tpv.fits.fz"
check "to the same pixels, the same sky, and right sums" debian_python "$WORK/wcs.py" compare "$WORK/wcs/old.fits" "$WORK/wcs/new.fits"
chmod 640 "$WORK/wcs/b.fits"
exits "--in-place, and a bad file does not hold the others" 3 tool convert-wcs --in-place "$WORK/wcs/none.fits" "$WORK/wcs/b.fits"
check "gives the same file" cmp "$WORK/wcs/b.fits" "$WORK/wcs/a.tpv.fits"
same "of the same mode" "$(stat -c %a "$WORK/wcs/b.fits")" 640
exits "a second time there is nothing to convert" 1 tool convert-wcs --in-place "$WORK/wcs/b.fits"
says "which is said" "$WORK/out" 'nothing to convert'
head -c 20000 "$sip" >"$WORK/wcs/cut.fits"
exits "a cut file is refused" 1 tool convert-wcs --to "$WORK/new" "$WORK/wcs/cut.fits"
sed 's/A_ORDER =/A_ORDXX =/' "$sip" >"$WORK/wcs/part.fits"
exits "a partial header is refused" 1 tool convert-wcs --to "$WORK/new" "$WORK/wcs/part.fits"
says "by its card" "$WORK/out" 'HDU 1 \(N1\): A_ORDER is missing'
same "nothing is left of them" "$(ls -A "$WORK/new")" ""
exits "which files?" 2 tool convert-wcs

# ---- reprocess: which ones ----
write_pull jobs.ccds_per_job=4
start_sshd
write_push
camera --night "bias:1,flat:g:1,object:Alpha:g:2,object:Beta:r:1" --expnum 340001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null
SIZE=512x512 camera --object Alpha --expnum 340011 --seed 5 --date-obs 2024-04-07T03:00:00 --quiet >/dev/null
start_pull
exits "six exposures of two nights are delivered" 0 push sweep
eventually "and done" 40 pull_has 6 done
stop pull
chosen() { grep -oE '^DECam_00[0-9]+: ' "$WORK/out" | sed 's/^DECam_00//; s/: //' | sort | paste -sd' '; }
exits "--visit" 0 pull reprocess --visit 340005
same "takes that one" "$(chosen)" 340005
exits "--field, in any case" 0 pull reprocess --field alpha
same "takes all of the field" "$(chosen)" "340003 340004 340011"
exits "--field with --night" 0 pull reprocess --field Alpha --night ut240405
same "takes what both choose" "$(chosen)" "340003 340004"
exits "--verdict parked when none is" 0 pull reprocess --verdict parked
says "has nothing to do" "$WORK/out" 'nothing to do'
exits "a visit that is not there" 3 pull reprocess --visit 999999
says "is said" "$WORK/out" 'no such exposure of visit 999999'
exits "nor a night" 3 pull reprocess --night ut230101
says "is said" "$WORK/out" 'no such exposure of night ut230101'
exits "nor a field of a night" 3 pull reprocess --night ut240405 --field Gamma --verdict faulty
says "is said" "$WORK/out" 'no such exposure of field Gamma of night ut240405'
exits "a night in which nothing failed" 0 pull retry --night ut240405
exits "a night that is not there" 3 pull retry --night ut230101
exits "no number" 2 pull reprocess --visit 34x
exits "no verdict" 2 pull reprocess --verdict good
printf 'DECam_00340003\n\nDECam_00340003.tar\nDECam_00777777\nDECam_00340005\n' >"$WORK/list"
exits "a list with a double and a missing name" 3 pull reprocess "$WORK/list"
same "the rest is done, once each" "$(chosen)" "340003 340005"
says "the double is said" "$WORK/out" "'DECam_00340003.tar' is asked for more than once"
says "the missing one is said" "$WORK/out" "no exposure 'DECam_00777777'"
write_pull jobs.ccds_per_job=4 jobs.command=/bin/false jobs.retries=0
start follow "$WORK/followed" "$BIN/skyferry-pull" -c "$FAR/pull.conf" status jobs --follow
eventually "status jobs --follow says what is" 10 grep -q ' jobs: 6 done' "$WORK/followed"
pull reprocess --visit 340005 >/dev/null 2>&1
exits "status jobs" 0 pull status jobs
says "names what failed" "$WORK/out" '^failed +DECam_00340005 +q1 +1 '
says "and why" "$WORK/out" '^ +exit(ed with)? status 1'
eventually "--follow adds it" 10 grep -q '^failed  *DECam_00340005' "$WORK/followed"
stop follow INT
same "and nothing twice" "$(sort "$WORK/followed" | uniq -d)" ""
write_pull jobs.ccds_per_job=4
exits "--verdict faulty" 0 pull reprocess --verdict faulty
same "takes the one whose jobs failed" "$(chosen)" 340005

# ---- seeing and inventory ----
exits "status seeing" 0 pull status seeing
says "shows a science exposure's figures" "$WORK/out" 'DECam_00340011 +Alpha +g +[0-9.]+ '
fwhm() { pull status --json DECam_00340011 | jq '[.exposures[0].ccd_list[].fwhm | select(.)] | sort | (.[(length-1)/2|floor] + .[length/2|floor]) / 2 * 1e6 | round'; }
same "the median over its ccds" "$(pull status seeing --json | jq '.exposures[] | select(.name == "DECam_00340011") | .fwhm_pixels * 1e6 | round')" "$(fwhm)"
CAMERA=decam write_pull jobs.ccds_per_job=4
same "in arcseconds by the profile" "$(pull status seeing --json | jq '.exposures[] | select(.name == "DECam_00340011") | (.seeing_arcsec / .fwhm_pixels * 1000 | round)')" 263
write_pull jobs.ccds_per_job=4
exits "status inventory" 0 pull status inventory
says "counts a night's exposures and ccds" "$WORK/out" '^ut240405 all +5 +20 +0 +0 '
says "and names what it lacks" "$WORK/out" '^ut240405 bias 1; flats g 1, r MISSING'
says "and what another lacks" "$WORK/out" '^ut240407 bias MISSING; flats g MISSING'

# ---- copycals ----
raw=$STORE/rawdata
exits "a dry run" 0 pull copycals -i ut240405 -o ut240407 --dry-run
same "copies nothing" "$(find "$raw/ut240407" -name 'bias*' -o -name 'domeflat*')" ""
echo stranger >"$raw/ut240407/2/bias.ut240407.340001_2.fits"
exits "copycals, and a file that is there" 3 pull copycals -i ut240405 -o ut240407
says "is kept and said" "$WORK/out" "ccd 2: 'rawdata/ut240407/2/bias.ut240407.340001_2.fits' is there already"
same "the rest is copied" "$(find "$raw/ut240407" -name 'bias*' -size +1 -o -name 'domeflat*' | wc -l)" 7
same "byte for byte" "$(cmp "$raw/ut240405/1/domeflat.g.ut240405.340002_1.fits" "$raw/ut240407/1/domeflat.g.ut240407.340002_1.fits" 2>&1)" ""
exits "verify knows them, and the stranger" 3 pull verify
says "by name" "$WORK/out" 'bias.ut240407.340001_2.fits: is not in the catalogue'
says "and nothing else" "$WORK/out" '7 copied calibrations, 1 problem$'
rm "$raw/ut240407/2/bias.ut240407.340001_2.fits"
exits "again" 0 pull copycals -i ut240405 -o ut240407
says "what is missing is done" "$WORK/out" '1 file copied.*, 7 there already'
exits "rebuild" 0 pull rebuild
says "finds them" "$WORK/out" '^8 copied calibrations'
exits "and all is well" 0 pull verify
exits "the inventory has them" 0 pull status inventory --night ut240407
says "as copies" "$WORK/out" '^ut240407 bias 1 copied; flats g 1 copied$'
# The night's own bias, by chance of the same number.
camera --night "bias:1" --expnum 340001 --prefix own_ --seed 2 --date-obs 2024-04-07T02:00:00 --quiet >/dev/null
start_pull
exits "its own bias comes" 0 push sweep
eventually "and is done" 20 pull_has 7 done
exits "copycals beside the daemon" 0 pull copycals -i ut240405 -o ut240407
says "leaves it alone" "$WORK/out" '0 files copied, 4 there already, 4 of that night.s own, 0 refused'
stop pull
exits "the copies gave way" 0 pull verify
says "to it" "$WORK/out" '28 placed files and 7 bundles checked, 4 copied calibrations, 0 problems'
exits "a night without any" 1 pull copycals -i ut240101 -o ut240407
says "is said" "$WORK/out" 'no exposure of ut240101'
exits "no night" 2 pull copycals -i ut240405
finish
