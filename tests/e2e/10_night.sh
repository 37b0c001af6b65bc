#!/bin/bash
# The main job: a short night of biases, flats and two science fields goes through real ssh;
# every ccd becomes a verified FITS file under the name its header asks for, every job runs,
# nothing is left in the spool, and the camera's own files are as they were.
. "$(dirname "$0")/lib.sh"
start_all
camera --night "bias:1,flat:g:1,object:FieldA:g:2,object:FieldB:r:1" --expnum 500001 \
    --date-obs 2016-08-31T23:10:00 --style rename --quiet >/dev/null
before=$(sha256sum "$WATCH"/* | sha256sum)

eventually "five exposures are shipped" 60 push_has 5 done
eventually "five exposures are placed and measured" 60 pull_has 5 done
same "every ccd is a FITS file" "$(placed_count)" 20

night=ut160901 # local noon at CTIO begins the night
raw=$STORE/rawdata/$night
ls -R "$STORE/rawdata" >"$WORK/tree"
for ccd in 1 2 3 4; do
    check "ccd $ccd: bias under its name" test -f "$raw/$ccd/bias.$night.500001_$ccd.fits"
    check "ccd $ccd: flat under its name" test -f "$raw/$ccd/domeflat.g.$night.500002_$ccd.fits"
    check "ccd $ccd: science under its name" test -f "$raw/$ccd/FieldA.g.$night.500003_$ccd.fits"
    check "ccd $ccd: the second field's" test -f "$raw/$ccd/FieldB.r.$night.500005_$ccd.fits"
done
for file in $(placed | head -n 6); do
    check "fitsverify is content with ${file##*/}" fitsverify -q "$file"
done
same "no draft is left among them" "$(find "$STORE" -name '.*.part' | wc -l)" 0
same "nothing is left of the transfers" "$(find "$STORE/incoming" -type f -not -name .lock | wc -l)" 0
same "nothing is left in the spool" "$(find "$SPOOL" -name '*.tar*' | wc -l)" 0
same "the camera's files are untouched" "$(sha256sum "$WATCH"/* | sha256sum)" "$before"

pull status --json >"$WORK/status.json"
same "all ccds are counted" "$(jq '[.exposures[].ccds_placed] | add' "$WORK/status.json")" 20
same "every exposure has its jobs done" \
    "$(jq '[.exposures[] | select(.jobs > 0 and .jobs_done == .jobs and .faults == 0)] | length' "$WORK/status.json")" 5
same "the eight stamps are in order" \
    "$(jq '[.exposures[] | [.closed_ns,.noticed_ns,.encoded_ns,.stored_ns,.indexed_ns,.placed_ns,.done_ns] |
        select(. == sort and .[0] > 0)] | length' "$WORK/status.json")" 5
pull status DECam_00500003 >"$WORK/one.txt"
says "status shows the figures of a ccd" "$WORK/one.txt" 'noise'
bundle=$(find "$STORE/bundles" -name '*500003*.tar')
check "GNU tar lists the bundle" tar -tf "$bundle"
same "and says nothing about it" "$(tar -tf "$bundle" 2>&1 >/dev/null)" ""
check "verify finds the tree and the catalogue in agreement" pull verify
check "the push agent ends on TERM" stop push
check "the pull agent ends on TERM" stop pull
finish
