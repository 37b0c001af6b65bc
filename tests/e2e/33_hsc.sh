#!/bin/bash
# A camera that writes one file a ccd (Hyper Suprime-Cam): nothing of a visit is shipped before
# all its ccds are there, under either of its two numbers, whatever is killed meanwhile; what
# stays incomplete is reported, other proposals' visits are left alone, late files follow.
. "$(dirname "$0")/lib.sh"
CAMERA=hsc
# profile NAME SED: the shipped profile, changed.
profile() { sed -E "$2" "$TOP/etc/cameras/hsc.conf" >"$WORK/$1.conf"; }
four='s/^ccds = 104/ccds = 4/; s/^ccds = 1-104/ccds = 1-5/; s/^bad_ccds =.*/bad_ccds = 5/'
profile four "$four; s/^ccds = 4/ccds = 5/; s/^wait_seconds.*/wait_seconds = 3/"
profile ship "$four; s/^ccds = 4/ccds = 5/; s/^wait_seconds.*/wait_seconds = 3/; s/^partial.*/partial = ship/"
mkdir "$WORK/cam"
# visit NUMBER CCDS [OPTION...]: into $WORK/cam.
visit() { OUT=$WORK/cam SIZE=64x64 CCDS=$2 camera --layout hsc --expnum "$1" --quiet "${@:3}"; }
bundles() { find "$STORE/bundles" -name '*.tar' | wc -l; }
again() { stop push; write_push "$@"; start_push; }

write_pull jobs.dry_run=yes
start_sshd
write_push
start_pull
start_push
visit 1234 104
(cd "$WORK/cam" && sha256sum ./*.fits | sed 's/ .*//' | sort) >"$WORK/sources"
last=HSCA00123551.fits
mv "$WORK/cam/$last" "$WORK/"
mv "$WORK"/cam/*.fits "$WATCH/"
eventually "103 of 104 files are whole and wait for the last" 30 push_has 103 partial
check "status says which one is missing" grep -q 'missing: 104' <(push status --json)
stop push KILL
start_push
eventually "a restart forgets none of them" 20 push_has 103 partial
same "each file says whose it is" "$(push status --json | jq -r '.exposures[].group' | sort -u)" HSCA1234
same "nothing of the visit was shipped" "$(bundles)" 0
mv "$WORK/$last" "$WATCH/"
eventually "with the last file all of them go" 60 push_has 104 done
same "each file has a bundle of its own" "$(bundles)" 104
find "$STORE/bundles" -name '*.receipt' -exec jq -r .source_sha256 {} + | sort >"$WORK/held"
check "and a receipt with its own digest" cmp "$WORK/held" "$WORK/sources"
eventually "all 104 ccds are placed" 60 eval '[ "$(placed_count)" -eq 104 ]'
same "under one visit's number, 52 files of each of its two" \
    "$(placed | sed -E 's/.*\.([0-9]+)_([0-9]+)\.fits/\1/' | sort | uniq -c | xargs)" "104 1234"

again camera.profile="$WORK/four.conf" watch.proposals="o15100, 2024a-0000"
visit 1300 5
mv "$WORK/cam/HSCA00130002.fits" "$WORK/"
mv "$WORK"/cam/*.fits "$WATCH/"
visit 1400 5 --propid o15999
mv "$WORK"/cam/*.fits "$WATCH/"
eventually "another proposal's visit is left alone, as is a bad ccd" 20 push_has 6 skipped
eventually "a visit that stays incomplete is parked" 20 push_has 3 parked
check "with the reason" grep -q 'HSCA1300 has 3 of 4 ccds .missing: 3.' <(push status --json)
same "and not shipped" "$(bundles)" 104
mv "$WORK/HSCA00130002.fits" "$WATCH/"
eventually "when the rest comes it goes" 30 push_has 108 done
same "nothing is parked any more" "$(push_count parked)" 0

again camera.profile="$WORK/ship.conf" watch.proposals="2024A-0000,o15999" watch.last_exposure=1550
eventually "a proposal that is wanted now is shipped" 30 push_has 112 done
visit 1500 5
visit 1600 5
mv "$WORK/cam/HSCA00150003.fits" "$WORK/"
mv "$WORK"/cam/*.fits "$WATCH/"
eventually "with partial = ship what is there goes after its time" 30 push_has 115 done
says "and that is said" "$NEAR/push.log" 'HSCA1500.*shipped in part: 3 of 4 ccds .missing: 4.'
mv "$WORK/HSCA00150003.fits" "$WATCH/"
eventually "a file that comes late follows" 30 push_has 116 done
same "visits outside of the range are left alone" \
    "$(push_states | grep skipped | grep -c HSCA001600)" 5

# The journal is lost, and the far end has lost one file of a visit that is whole here.
stop push
stop pull
mv "$SPOOL" "$WORK/spool.before"
profile long "$four; s/^ccds = 4/ccds = 5/"
write_push camera.profile="$WORK/long.conf" watch.last_exposure=1350
find "$STORE/bundles" -name 'HSCA00130002*' -delete
exits "a sweep knows that the far end has the others" 0 timeout 60 "$BIN/skyferry-push" -c "$NEAR/push.conf" sweep
same "and sends the one that is missing" "$(find "$STORE/bundles" -name 'HSCA00130002.tar' | wc -l)" 1
finish
