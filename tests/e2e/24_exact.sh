#!/bin/bash
# Lossless later: what was delivered lossy at night is followed by its exact data, in the sweep
# or on an idle line, behind every new exposure; at the far end each FITS file becomes exact
# under its name, bit for bit as astropy sees it. Whatever dies in the middle, each file is
# whole lossy or whole exact, and in the end exact. What somebody changed is kept.
. "$(dirname "$0")/lib.sh"
cat >"$WORK/exact.py" <<'PY'
# exact.py DATA RAW EXPNUM...: do the placed files of these exposures hold the source's pixels?
import glob, os, sys
import numpy as np
from astropy.io import fits
bad = 0
for n in sys.argv[3:]:
    source = glob.glob(f'{sys.argv[1]}/*{n}.fits.fz')[0]
    with fits.open(source) as s:
        images = {h.header['CCDNUM']: h.data for h in s if h.data is not None and 'CCDNUM' in h.header}
    files = glob.glob(f'{sys.argv[2]}/*/*/*.{int(n)}_*.fits')
    assert images and len(files) == len(images), (n, len(images), files)
    for f in files:
        with fits.open(f, checksum=True) as d:
            want = images[int(f.rsplit('_', 1)[1][:-5])]
            same = d[0].data.dtype == want.dtype and np.array_equal(d[0].data, want)
            if not same or d[0].header['SFQSTEP'] != 0:
                bad += 1
                print('lossy', os.path.basename(f))
sys.exit(bad > 0)
PY
exact() { debian_python "$WORK/exact.py" "$WATCH" "$STORE/rawdata" "$@"; }
all_exact() { pull status --json --all | jq -e --argjson n "$1" '[.exposures[] | select(.exact and .state == "done")] | length == $n'; }
inside() { pull status --json "$@" | jq -S '[.exposures[] | {name, night, state, exact, bundle, bytes, raw_bytes,
    bundle_sha256, source_sha256, ccds_placed, jobs_done, faults, stored_ns, expnum,
    ccds: [.ccd_list[] | {ccd, hdu, state, path, bytes, codec, qstep, datasum, checksum, background, noise, stars, fwhm}],
    jobs: [.job_list[] | {job, state, folder}]}]'; }
shot() { camera --object Field --expnum "$1" --seed "$1" --date-obs "2024-04-05T03:${1: -2}:00" --style rename --quiet "${@:2}" >/dev/null; }
begun() { grep -c 'q[0-9]* begun' "$FAR/pull.log"; }

# ---- the sweep ----
write_pull jobs.ccds_per_job=2
start_sshd
write_push
start_pull
shot 240001; shot 240002; shot 240003
names="DECam_00240001 DECam_00240002 DECam_00240003"
exits "a night is delivered lossy" 0 push sweep
eventually "and placed" 30 pull_has 3 done
exits "its pixels are not the camera's" 1 exact 00240001 00240002 00240003
placed | sort >"$WORK/paths"
inside $names | jq '[.[].ccds[] | {ccd, background, noise, stars}]' >"$WORK/quality"
jobs_before=$(begun)
write_push sweep.lossless=yes sweep.lossless_when=sweep
exits "dry run: the exact data are missing" 3 push sweep --dry-run
says "and counted" "$WORK/out" 'exact: 0 of 3, to send 3'
exits "the sweep sends them" 0 push sweep --night ut240405
says "and counts them" "$WORK/out" 'exact data sent: 3 of 3, exact 3 of 3'
eventually "every exposure is exact" 30 all_exact 3
check "bit for bit, by astropy" exact 00240001 00240002 00240003
if command -v fitsverify >/dev/null; then
    same "fitsverify finds no fault" "$(placed | xargs fitsverify -q | grep -cv 'OK:')" 0
fi
same "no path has changed" "$(placed | sort)" "$(cat "$WORK/paths")"
same "the figures of the lossy files are kept" "$(inside $names | jq '[.[].ccds[] | {ccd, background, noise, stars}]')" "$(cat "$WORK/quality")"
same "no job ran again" "$(begun)" "$jobs_before"
same "the lossy bundles are gone" "$(find "$STORE/bundles" -name '*.tar' | grep -cv '\.exact\.tar$')" 0
same "their receipts are not" "$(find "$STORE/bundles" -name '*.receipt' | wc -l)" 6
exits "tree and catalogue agree" 0 pull verify
exits "another sweep finds nothing to send" 0 push sweep
says "which it says" "$WORK/out" 'exact: 3 of 3, to send 0'
push status >"$WORK/table"
says "status tells how far it is" "$WORK/table" 'Exact at the far end: 3 of 3'
same "and says so to programs" "$(push status --json | jq -c '[.exact.delivered, .exact.exact, (.exposures | map(.exact) | unique)]')" '[3,3,["exact"]]'
sent=$(grep -c 'stored ut' "$FAR/sshd.log")
rm -rf "$SPOOL"
exits "with a lost journal, too" 0 push sweep
same "and nothing is sent twice" "$(grep -c 'stored ut' "$FAR/sshd.log")" "$sent"
exits "reprocess decodes the exact bundle" 0 pull reprocess --night ut240405
check "which gives the same files" exact 00240001 00240002 00240003
inside $names >"$WORK/before"
stop pull
exits "rebuild" 0 pull rebuild
start_pull
eventually "the same exposures are there" 20 all_exact 3
inside $names >"$WORK/after"
check "from the tree alone the catalogue is the same" diff "$WORK/before" "$WORK/after"
exits "and verify is content" 0 pull verify

# ---- a far end that does not know the word ----
cat >"$WORK/older.py" <<'PY'
# skyferry-pull receive as a release before this one greets: no "exact" in WELCOME
import os, subprocess, sys
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
head = p.stdout.read(8)
body = p.stdout.read(int.from_bytes(head[:4], 'big')).replace(b',"exact":true', b'')
os.write(1, len(body).to_bytes(4, 'big') + head[4:] + body)
while data := os.read(p.stdout.fileno(), 65536):
    os.write(1, data)
sys.exit(p.wait())
PY
shot 240004
exits "one more, lossy" 0 push send "$WATCH/DECam_00240004.fits.fz"
kill_sshd
FORCED="/usr/bin/python3 $WORK/older.py $BIN/skyferry-pull -c $FAR/pull.conf receive" start_sshd
exits "an older far end: what can be delivered is, the rest is missing" 3 push sweep
says "and the reason is said" "$WORK/out" 'does not know them; .* needs a newer skyferry-pull'
same "nothing was sent to it" "$(find "$STORE" -name 'DECam_00240004*exact*' | wc -l)" 0
kill_sshd
start_sshd
exits "with a newer one it follows" 0 push sweep
eventually "and is placed" 20 all_exact 4

# ---- what somebody changed ----
shot 240005
write_push
exits "another one, lossy" 0 push sweep
eventually "placed" 20 pull_has 5 done
edited=$(placed | grep '240005_2\.fits')
debian_python -c "
from astropy.io import fits; import sys
with fits.open(sys.argv[1], mode='update') as f: f[0].data[5, 5] = 4242" "$edited"
mine=$(sha256sum <"$edited")
write_push sweep.lossless=yes
exits "its exact data are sent" 0 push sweep
faulty() { pull status --json DECam_00240005 | jq -e '.exposures[0] | .state == "done" and .faults == 1'; }
eventually "one ccd cannot be replaced" 20 faulty
same "the changed file is as it was" "$(sha256sum <"$edited")" "$mine"
same "the others are exact" "$(exact 00240005)" "lossy ${edited##*/}"
same "the lossy bundle stays for now" "$(find "$STORE/bundles" -name 'DECam_00240005.tar' | wc -l)" 1
exits "who wants the exact one says so" 0 pull reprocess --force --name DECam_00240005
check "and has it" exact 00240005
eventually "then the lossy bundle goes" 20 test ! -e "$STORE/bundles/ut240405/DECam_00240005.tar"
stop pull

# ---- jobs again, when asked for ----
write_pull jobs.ccds_per_job=2 jobs.rerun_on_exact=yes store.keep_lossy=yes
start_pull
shot 240006
write_push
exits "one for which the jobs shall run again" 0 push sweep
eventually "placed and measured" 30 pull_has 6 done
jobs_before=$(begun)
write_push sweep.lossless=yes
exits "its exact data come" 0 push sweep
eventually "exact" 30 all_exact 6
same "both jobs ran again" "$(begun)" $((jobs_before + 2))
same "and are two still" "$(pull status --json DECam_00240006 | jq -c '.exposures[0] | [.jobs, .jobs_done]')" '[2,2]'
same "keep_lossy keeps the lossy bundle" "$(find "$STORE/bundles" -name 'DECam_00240006*.tar' | wc -l)" 2
exits "verify knows both" 0 pull verify
stop pull
write_pull jobs.ccds_per_job=2

# ---- an idle line, and what comes in the middle ----
cat >"$WORK/slow.py" <<'PY'
# RATE COMMAND...: what push sends, at so many bytes a second
import os, subprocess, sys, time
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
while data := os.read(0, 8192):
    time.sleep(len(data) / float(sys.argv[1]))
    os.write(p.stdin.fileno(), data)
p.stdin.close()
sys.exit(p.wait())
PY
kill_sshd
FORCED="/usr/bin/python3 $WORK/slow.py 250000 $BIN/skyferry-pull -c $FAR/pull.conf receive" start_sshd
idle() { write_push sweep.lossless=yes sweep.lossless_method=original ship.lanes=1 ship.chunk_kib=32 ship.lane_window_kib=256 "$@"; }
idle
start_pull
start_push
shot 240007 --size 1024x1024
state_of() { push status --json "$1" | jq -r '.exposures[0].exact'; }
is() { [ "$(state_of "$1")" = "$2" ]; }
eventually "while the agent runs the exact data begin to follow by themselves" 60 is DECam_00240007 sending
part() { find "$STORE/incoming" -name 'DECam_00240007*.part' -size +200k | grep -q .; }
eventually "and are on the line" 20 part
shot 240008
came() { push_states | grep -q '^DECam_00240008 done$'; }
eventually "a new exposure comes in the middle and is delivered" 20 came
same "before the exact data are" "$(state_of DECam_00240007)" sending
echo "# $(push status --json DECam_00240008 | jq '.exposures[0].seconds') s after it was noticed"
push status >"$WORK/table"
says "status shows them on their way" "$WORK/table" 'on their way: 1'
stop push KILL
start_push
eventually "after kill -9 of push they go on" 60 is DECam_00240007 exact
says "where they stopped" "$NEAR/push.log" 'DECam_00240007: goes on where it stopped'
eventually "one after the other, newest first" 60 is DECam_00240008 exact
eventually "and are placed" 30 all_exact 8
check "bit for bit" exact 00240007 00240008
stop push
kill_sshd
start_sshd

# ---- only in the sweep, through the agent that runs ----
idle sweep.lossless_when=sweep
start_push
shot 240009
eventually "one more while the agent runs" 20 is DECam_00240009 lossy
sleep 4
same "which is left lossy on an idle line" "$(state_of DECam_00240009)" lossy
exits "until the sweep asks for the exact data" 0 push sweep
same "and has the agent send them" "$(state_of DECam_00240009)" exact
eventually "all are exact" 20 all_exact 9
stop push

# ---- kill -9 of either side in the middle ----
idle
number=240010
died() { ! running "$1" || [ "$(ps -o state= -p "${PID[$1]}")" = Z ]; }
for point in push:exactowed push:exactstored push:exacttidied \
    pull:exactnoticed pull:exacttaken pull:exactplacing:2 pull:exactremoved; do
    agent=${point%%:*}
    shot $number
    [ "$agent" = pull ] || SKYFERRY_CRASH_AT=$point start_push
    [ "$agent" = push ] || { stop pull; SKYFERRY_CRASH_AT=$point start_pull; start_push; }
    wait_for 30 died "$agent" || fail "$point: the $agent agent passes there"
    wait "${PID[$agent]}" 2>/dev/null
    unset "PID[$agent]"
    "start_$agent"
    eventually "$point: exact after a restart" 40 all_exact $((number - 240000))
    wait_for 20 eval '[ -z "$(find "$SPOOL" -name "*.tar*")" ]' # push tidies after its receipt
    stop push
    number=$((number + 1))
done
check "all of them bit for bit" exact $(seq -f '%08.0f' 240001 $((number - 1)))
same "one row an exposure" "$(pull status --json --all | jq '.exposures | length')" $((number - 240001))
same "no drafts" "$(find "$STORE" "$SPOOL" -name '.*.part' | wc -l)" 0
same "an empty spool" "$(find "$SPOOL" -name '*.tar*' | wc -l)" 0
exits "tree and catalogue agree" 0 pull verify

# ---- a file that is gone ----
stop push
write_push
shot $number
exits "a last one, lossy" 0 push sweep
rm "$WATCH/DECam_00$number.fits.fz"
idle
start_push
eventually "whose file is gone stays lossy, and is said to" 30 is "DECam_00$number" gone
finish
