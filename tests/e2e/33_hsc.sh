#!/bin/bash
# A camera that writes one file a ccd (Hyper Suprime-Cam): nothing of a visit is shipped before
# all its ccds are there, under either of its two numbers, whatever is killed meanwhile; what
# stays incomplete is reported, other proposals' visits are left alone, late files follow. At the
# cluster a visit is one exposure with one round of jobs. Then a camera made up in the manual page.
. "$(dirname "$0")/lib.sh"
CAMERA=hsc
# profile NAME SED: the shipped profile, changed.
profile() { sed -E "$2" "$TOP/etc/cameras/hsc.conf" >"$WORK/$1.conf"; }
four='s/^ccds = 104/ccds = 4/; s/^ccds = 1-104/ccds = 1-5/; s/^bad_ccds =.*/bad_ccds = 5/'
profile four "$four; s/^ccds = 4/ccds = 5/; s/^wait_seconds.*/wait_seconds = 3/"
profile ship "$four; s/^ccds = 4/ccds = 5/; s/^wait_seconds.*/wait_seconds = 3/; s/^partial.*/partial = ship/"
profile far "$four; s/^ccds = 4/ccds = 5/; s/^partial.*/partial = ship/"
mkdir "$WORK/cam"
# visit NUMBER CCDS [OPTION...]: into $WORK/cam.
visit() { OUT=$WORK/cam SIZE=64x64 CCDS=$2 camera --layout hsc --expnum "$1" --quiet "${@:3}"; }
bundles() { find "$STORE/bundles" -name '*.tar' | wc -l; }
again() { stop push; write_push "$@"; start_push; }
jobs_of() { find "$STORE/jobs" -path "*/$1/q*/job.json" | wc -l; }
said_of() { pull status "$1" --json | jq -c "$2"; }
is_done() { pull_states | grep -q "^$1 done\$"; }

write_pull jobs.command=true jobs.ccds_per_job=15
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
missing_is() { push status --json | grep -q "missing: $1"; }
eventually "status says which one is missing" 10 missing_is 104
stop push KILL
start_push
eventually "a restart forgets none of them" 20 push_has 103 partial
same "each file says whose it is" "$(push status --json | jq -r '.exposures[].group' | sort -u)" HSCA1234
same "nothing of the visit was shipped" "$(bundles)" 0
stop push
SKYFERRY_CRASH_AT=push:gathered start_push
mv "$WORK/$last" "$WATCH/"
died() { ! running push || [ "$(ps -o state= -p "${PID[push]}")" = Z ]; }
eventually "the agent dies just when it has given them free" 30 died
wait "${PID[push]}" 2>/dev/null
unset "PID[push]"
start_push
eventually "with the last file all of them go" 60 push_has 104 done
same "each file has a bundle of its own" "$(bundles)" 104
find "$STORE/bundles" -name '*.receipt' -exec jq -r .source_sha256 {} + | sort >"$WORK/held"
check "and a receipt with its own digest" cmp "$WORK/held" "$WORK/sources"
eventually "the visit is done at the cluster" 60 is_done HSCA1234
same "all 104 ccds are placed" "$(placed_count)" 104
same "under one visit's number, 52 files of each of its two" \
    "$(placed | sed -E 's/.*\.([0-9]+)_([0-9]+)\.fits/\1/' | sort | uniq -c | xargs)" "104 1234"
same "its jobs are made once, for groups of all its ccds" "$(find "$STORE/jobs" -name job.json | wc -l) $(jobs_of HSCA1234)" "7 7"
same "status shows one row" "$(pull status | grep -cE '^HSC')" 1
check "with all its ccds" grep -qE '^HSCA1234 .* 104/104 .* 7/7 ' <(pull status)
same "and what it knows of the visit" "$(said_of HSCA1234 '.exposures[0].visit')" \
    '{"ccds":104,"coming":104,"placed":104,"files":104,"missing":[]}'
wait_for 10 grep -q 'HSCA1234.*7 of 7 jobs done' "$FAR/pull.log"
says "the visit is summed up" "$FAR/pull.log" \
    'HSCA1234.*104 of 104 ccds placed, 7 of 7 jobs done.*noticed .*encoded .*first byte .*stored .*placed .*done '
check "tree and catalogue agree" pull verify
pull status --json | jq -S '.exposures[] | [.name, .state, .ccds_placed, .jobs_done]' >"$WORK/was"
stop pull
check "the catalogue is made again from the tree" pull rebuild
check "with the visit as it was" cmp "$WORK/was" \
    <(pull status --json | jq -S '.exposures[] | [.name, .state, .ccds_placed, .jobs_done]')

# Both agents die at the point where the visit is complete.
write_pull jobs.command=true jobs.ccds_per_job=15 camera.profile="$WORK/far.conf"
SKYFERRY_CRASH_AT=pull:gathered start_pull
stop push
write_push camera.profile="$WORK/four.conf" watch.proposals="o15100, 2024a-0000"
SKYFERRY_CRASH_AT=push:gathered start_push
gone() { ! running "$1" || [ "$(ps -o state= -p "${PID[$1]}")" = Z ]; }
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
eventually "killed when it is complete" 20 gone push
wait "${PID[push]}" 2>/dev/null
start_push
eventually "it goes all the same" 30 push_has 108 done
eventually "killed when all of it is placed" 20 gone pull
wait "${PID[pull]}" 2>/dev/null
same "no job was made" "$(jobs_of HSCA1300)" 0
start_pull
eventually "its jobs are made when the agent is back" 20 is_done HSCA1300
same "once" "$(jobs_of HSCA1300)" 1
same "nothing is parked any more" "$(push_count parked)" 0

sed -i 's/^bad_ccds = 5/bad_ccds = 4-5/' "$WORK/four.conf"
kill -HUP "${PID[push]}"
eventually "a profile's lists hold at a reload" 10 grep -q 'in force now: group.bad_ccds ' "$NEAR/push.log"

again camera.profile="$WORK/ship.conf" watch.proposals="2024A-0000,o15999" watch.last_exposure=1550
eventually "a proposal that is wanted now is shipped" 30 push_has 112 done
visit 1500 5
visit 1600 5
mv "$WORK/cam/HSCA00150003.fits" "$WORK/"
mv "$WORK"/cam/*.fits "$WATCH/"
eventually "with partial = ship what is there goes after its time" 30 push_has 115 done
says "and that is said" "$NEAR/push.log" 'HSCA1500.*shipped in part: 3 of 4 ccds .missing: 4.'
eventually "its jobs wait for no more than come" 20 is_done HSCA1500
check "and status says what is missing" grep -q 'HSCA1500: 3 of 4 ccds (missing: 4)' <(pull status)
mv "$WORK/HSCA00150003.fits" "$WATCH/"
eventually "a file that comes late follows" 30 push_has 116 done
late() { [ "$(jobs_of HSCA1500)" -eq 2 ] && is_done HSCA1500; }
eventually "and gets a job of its own" 20 late
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

# The camera of the manual page, as somebody would make its profile from that page.
awk '/^Its profile is a copy/ { on = 1 } on && /^\.Ed/ { exit } on && (/^\[/ || / =/)' \
    "$TOP/man/skyferry-push.1.in" >"$WORK/changes"
awk 'NR == FNR { if (/^\[/) part = $1; else if (match($0, / =/)) new[part substr($0, 1, RSTART - 1)] = $0; next }
    /^\[/ { part = $1 } match($0, / =/) && part substr($0, 1, RSTART - 1) in new { print new[part substr($0, 1, RSTART - 1)]; next }
    { print }' "$WORK/changes" "$TOP/etc/cameras/generic.conf" >"$WORK/trio.conf"
same "the manual's example changes 15 lines" "$(diff "$TOP/etc/cameras/generic.conf" "$WORK/trio.conf" | grep -c '^>')" 15
write_push camera.profile="$WORK/trio.conf"
write_pull jobs.runner=slurm jobs.dry_run=yes jobs.ccds_per_job=1 camera.profile="$WORK/trio.conf"
check "one program takes it" push --dump-config
check "and the other" pull --dump-config
debian_python - "$WATCH" <<'PYTHON'
import sys
import numpy as np
from astropy.io import fits
for chip in range(3):
    hdu = fits.PrimaryHDU(np.random.default_rng(chip).normal(1000, 5, (64, 64)).astype(np.int16))
    hdu.header.update(SHOT="T00123", CHIP=chip, TARGET="NGC 253", BAND="r", IMAGETYP="light",
                      DAY="2026-11-21", CLOCK="03:04:05.6", ITIME=30.0, PROGRAM="P7")
    hdu.writeto(f"{sys.argv[1]}/T00123_{chip + 1}.fits")
PYTHON
start_pull
start_push
eventually "a made-up camera's exposure arrives" 30 is_done T123
same "as the manual says" "$(pull status T123 --json | jq -c '.exposures[0] | [.object, .filter, .obstype, .expnum, .exptime, .propid, .ccds_placed, .jobs]')" \
    '["NGC 253","r","light",123,30,"P7",3,3]'
same "its jobs would be one array of Slurm's" "$(find "$STORE/jobs" -path "*T123*" -name "*.sbatch" | wc -l)" 1
finish
