#!/bin/bash
# How lossy, over the whole road: a ratio is met by every exposure and closer by the next ones of
# its filter, an error relative to the noise is the same on every ccd, the manifest says what
# arrives, contradictions are refused at the start, and SIGHUP changes the ratio of later exposures.
. "$(dirname "$0")/lib.sh"
CCDS=16 SIZE=1024x1024
raw=$((CCDS * 1024 * 1024 * 2))

# ---- settings that contradict one another ----

write_push codec.ratio=10 codec.noise=0.3 codec.qstep=0.0001 codec.max_error=lots codec.exact=stars
exits "ratio, noise and qstep at once are refused" 2 push run
says "they are named" "$WORK/out" 'ratio, noise and qstep exclude'
says "so is the bound" "$WORK/out" "max_error = 'lots'"
says "and what is to be exact" "$WORK/out" "exact = 'stars'"
write_push codec.ratio=2 codec.max_error=-3
exits "a ratio below 3 is refused" 2 push run
says "by its number" "$WORK/out" 'ratio = 2 '
says "with the bound below 0" "$WORK/out" "max_error = '-3'"

# ---- what the bundles say ----

bundle_of() { find "$STORE/bundles" -name "$1*.tar" 2>/dev/null; }
# manifest NAME FILTER: jq over its manifest.
manifest() { tar -xOf "$(bundle_of "$1")" manifest.json | jq -r "$2"; }
# near WHAT VALUE WANTED PART: within this part of it.
near() {
    if awk -v v="$2" -v w="$3" -v p="$4" 'BEGIN { exit !(v > w * (1 - p) && v < w * (1 + p)) }'; then
        pass "$1"
    else
        fail "$1"
        echo "#   $2 where $3 was wanted, within $4 of it"
    fi
}
ratio_of() { awk -v raw=$raw -v size="$(stat -c %s "$(bundle_of "$1")")" 'BEGIN { print raw / size }'; }
# take EXPNUM FILTER: an exposure in $WORK/taken, its path printed.
take() { OUT=$WORK/taken camera --format fits --quiet --expnum "$1" --filter "$2" && echo "$WORK/taken/DECam_00$1.fits"; }
fresh() {
    stop push
    stop pull
    rm -rf "$STORE" "$SPOOL" && mkdir -p "$STORE" "$SPOOL"
    start_pull
}
mkdir -p "$WORK/taken"
for n in 200001 200002 200003; do take $n g >/dev/null; done
take 200004 z >/dev/null

write_pull jobs.dry_run=yes
start_sshd
for method in htj2k jp2; do
    fresh
    write_push codec.method=$method codec.ratio=10
    for n in 200001 200002 200003; do
        exits "$method, ratio 10: $n is delivered" 0 push send "$WORK/taken/DECam_00$n.fits"
    done
    first=0.1
    [ $method = jp2 ] && first=0.15
    near "$method: the first exposure has a ratio of 10" "$(ratio_of DECam_00200001)" 10 $first
    near "$method: the second" "$(ratio_of DECam_00200002)" 10 0.03
    near "$method: the third" "$(ratio_of DECam_00200003)" 10 0.03
done
eventually "all placed" 30 pull_has 3 done

# ---- an error relative to the noise ----

fresh
write_push codec.noise=0.3
for n in 200001 200004; do # a dark sky, a bright one
    exits "noise 0.3: $n is delivered" 0 push send "$WORK/taken/DECam_00$n.fits"
    lossy='.members[] | select(.role == "image")'
    same "all its ccds are lossy" "$(manifest DECam_00$n "[$lossy | select(.qstep > 0)] | length")" $CCDS
    off=$(manifest DECam_00$n "[$lossy | (.measured | .rms_error / .noise) | select(. < 0.285 or . > 0.315)] | length")
    same "and each errs by 0.3 of its noise, within 5 %" "$off" 0
    [ "$off" = 0 ] || manifest DECam_00$n "$lossy | \"#   \\(.measured.noise) \\(.measured | .rms_error / .noise)\""
done
eventually "both are placed" 30 pull_has 2 done
cat >"$WORK/errors.py" <<'PY'
# errors.py SOURCE MANIFEST FILE...: every delivered ccd errs as its manifest says
import json, sys
import numpy as np
from astropy.io import fits
members = {m['ccd']: m for m in json.load(open(sys.argv[2]))['members'] if m['role'] == 'image'}
with fits.open(sys.argv[1]) as source:
    for path in sys.argv[3:]:
        ccd = int(path.rsplit('_', 1)[1].split('.')[0])
        m = members.pop(ccd)
        said = m['measured']
        off = fits.getdata(path).astype(float) - source[m['hdu']].data.astype(float)
        rms, most = np.sqrt((off ** 2).mean()), np.abs(off).max()
        assert abs(rms - said['rms_error']) < 1e-3 * rms and most == said['max_error'], (path, rms, most, said)
        assert fits.getheader(path)['DATASUM'] == str(said['datasum']), path
assert not members, members.keys()
PY
manifest DECam_00200001 . >"$WORK/manifest.json"
check "astropy finds the errors that the manifest says" debian_python "$WORK/errors.py" \
    "$WORK/taken/DECam_00200001.fits" "$WORK/manifest.json" $(placed | grep 200001_)

# ---- a bound, and pixels that travel exactly ----

cat >"$WORK/bound.py" <<'PY'
# bound.py SOURCE BOUND SATURATED FILE...: no pixel differs by more, none from SATURATED on at all
import sys
import numpy as np
from astropy.io import fits
bound, saturated, found = float(sys.argv[2]), float(sys.argv[3]), 0
with fits.open(sys.argv[1]) as source:
    ccds = {h.header['CCDNUM']: h for h in source[1:]}
    for path in sys.argv[4:]:
        with fits.open(path, checksum=True) as got:
            raw = ccds.pop(got[0].header['CCDNUM']).data.astype(float)
            off = np.abs(got[0].data.astype(float) - raw)
        assert off.max() <= bound, (path, off.max())
        assert not off[raw >= saturated].any(), path
        found += (raw >= saturated).sum()
assert not ccds, ccds.keys()
assert found > 0, 'nothing was saturated'
PY
# Saturated stars, one of them with a trail, on every ccd.
stars=$WORK/taken/stars_200005.fits
debian_python - "$WORK/taken/DECam_00200001.fits" "$stars" <<'PY'
import sys
from astropy.io import fits
with fits.open(sys.argv[1], do_not_scale_image_data=False) as f:
    f[0].header['EXPNUM'] = 200005
    for n, h in enumerate(f[1:]):
        h.data[100 + n:120 + n, 300:318] = 65535
        h.data[400:700, 500 + n] = 60000
    f.writeto(sys.argv[2], checksum=True)
PY
images='.members[] | select(.role == "image")'
for bound in 9 3; do
    fresh
    write_push codec.ratio=20 codec.max_error=$bound codec.exact=saturated
    exits "max_error $bound: an exposure is delivered" 0 push send "$stars"
    same "and the bound is promised of every ccd" \
        "$(manifest stars_200005 "[$images | select(.measured.bound <= $bound)] | length")" $CCDS
    same "where a ccd is lossy, pixels of it travel exactly" \
        "$(manifest stars_200005 "[$images | select(.qstep > 0)] | length")" \
        "$(manifest stars_200005 '[.members[] | select(.role == "exact")] | length')"
    eventually "it is placed" 30 pull_has 1 done
    check "astropy: no pixel is off by more, no saturated one at all" debian_python "$WORK/bound.py" \
        "$stars" $bound 50000 $(placed)
    [ $bound = 3 ] || same "and all of them are lossy" \
        "$(manifest stars_200005 "[$images | select(.qstep > 0)] | length")" $CCDS
done

# ---- live ----

fresh
write_push codec.ratio=6
start_push
cp "$WORK/taken/DECam_00200001.fits" "$WATCH"
eventually "ratio 6: an exposure is done" 30 push_has 1 done
near "and has it" "$(ratio_of DECam_00200001)" 6 0.1
write_push codec.ratio=15
kill -HUP "${PID[push]}"
eventually "the agent says that the ratio changed" 10 grep -q 'codec.ratio' "$NEAR/push.log"
cp "$WORK/taken/DECam_00200002.fits" "$WATCH"
eventually "ratio 15 by SIGHUP: the next is done" 30 push_has 2 done
near "and has it" "$(ratio_of DECam_00200002)" 15 0.1
finish
