#!/bin/bash
# Decoding while the bundle still grows: over a slow line the first FITS file stands long before the
# receipt; what is wrong at the end, or given up, is withdrawn whole; a killed daemon goes on; and
# it all ends with the same files as without.
. "$(dirname "$0")/lib.sh"
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
slow_line() { FORCED="/usr/bin/python3 $WORK/slow.py $1 $BIN/skyferry-pull -c $FAR/pull.conf receive" start_sshd; }
CCDS=6 SIZE=512x512
shot() { camera --object Field --expnum "$1" --seed "$1" --date-obs "2024-04-05T03:${1: -2}:00" --style rename --quiet >/dev/null; }
one() { pull status --json "DECam_00$1" | jq -r ".exposures[0].$2"; }
state_is() { [ "$(one "$1" state)" = "$2" ]; }
files() { find "$STORE/rawdata" -name "*.$1_*.fits" -not -name '.*' 2>/dev/null; }
count() { files "$1" | wc -l; }
at_least() { [ "$(count "$1")" -ge "$2" ]; }
gone() { ! pull status --json | jq -e ".exposures[] | select(.name == \"DECam_00$1\")"; }
no_files() { [ "$(count "$1")" -eq 0 ]; }
drafts() { find "$STORE/rawdata" -name '.*.part' | wc -l; }
receipts() { find "$STORE/bundles" -name '*.receipt' 2>/dev/null | wc -l; }
part_of() { ls "$STORE/incoming" | grep "^DECam_00$1\..*\.part\$"; }

# ends_well NUMBER: delivered, whole, with two jobs, nothing left behind.
ends_well() {
    eventually "$1: it ends as any other" 30 state_is "$1" "done"
    same "$1: with all files" "$(count "$1")" $CCDS
    same "$1: two jobs" "$(one "$1" jobs_done)" 2
    same "$1: one row" "$(pull_states | grep -c "^DECam_00$1")" 1
    same "$1: no drafts" "$(drafts)" 0
}
died() { ! running pull || [ "$(ps -o state= -p "${PID[pull]}")" = Z ]; }
sums() { (cd "$STORE" && find rawdata -name "*.$1_*.fits" | sort | xargs sha256sum); }

# spoil NUMBER: one byte of its part that no member holds, between records and header of the first.
spoil() {
debian_python - "$STORE/incoming/$(part_of $1)" <<'PY'
import sys
with open(sys.argv[1], 'r+b') as f:
    size = int(f.read(512)[124:135], 8)
    assert size % 512
    f.seek(512 + size)
    assert f.read(1) == b'\0'
    f.seek(512 + size)
    f.write(b'x')
PY
}

# ---- over a slow line ----
write_pull jobs.ccds_per_job=3 store.rescan_seconds=1
make_keys
slow_line 140000
write_push codec.qstep=0.00003 ship.lanes=2 ship.chunk_kib=16 ship.lane_window_kib=64
start_pull
start_push
shot 280001
eventually "a ccd is a FITS file" 30 at_least 280001 1
same "before there is a receipt" "$(receipts)" 0
same "its exposure is coming" "$(one 280001 state)" coming
pull status >"$WORK/table"
says "and shown so" "$WORK/table" 'DECam_00280001 .* coming'
exits "reprocess waits for the whole" 3 pull reprocess --name DECam_00280001
says "and says so" "$WORK/out" 'still arriving'
ends_well 280001
check "280001: the files are sound" debian_python -c "
import sys
from astropy.io import fits
import warnings
warnings.simplefilter('error')
for name in sys.argv[1:]:
    with fits.open(name, checksum=True) as f:
        assert f[0].header['SFPROOF'] is True and f[0].data.shape == (512, 512)
" $(files 280001)
says "and none of it was decoded twice" "$FAR/pull.log" 'DECam_00280001: .*; 6 ccds were placed while it came'
before=$(sums 280001)

# ---- what came is wrong: one byte that no member holds ----
shot 280002
eventually "280002: two ccds are placed" 30 at_least 280002 2
spoil 280002
mine=$(files 280002 | head -1)
echo changed >>"$mine"
withdrawn() { [ "$(count 280002)" -eq 1 ] && gone 280002; }
eventually "280002: all that was placed is withdrawn" 30 withdrawn
check "280002: but not what somebody changed" grep -q changed "$mine"
eventually "280002: and that is said" 10 grep -qE 'DECam_00280002: [2-6] ccds that were placed early are withdrawn: what had come' "$FAR/pull.log"
rm "$mine"
ends_well 280002
same "280002: sent again it waited for the whole" \
    "$(grep -c 'DECam_00280002: .* were placed while it came' "$FAR/pull.log")" 0

# The same, and the daemon dies while it withdraws.
stop pull
SKYFERRY_CRASH_AT=pull:earlyremoved start_pull
shot 280004
eventually "280004: two ccds are placed" 30 at_least 280004 2
spoil 280004
eventually "280004: the daemon dies while it withdraws" 30 died
wait "${PID[pull]}" 2>/dev/null
unset "PID[pull]"
start_pull
ends_well 280004

# ---- given up, with and without a daemon to see it ----
shot 280003
eventually "280003: a ccd is placed" 30 at_least 280003 1
stop push KILL
cut_line
rm "$STORE/incoming/$(part_of 280003)" "$STORE/incoming/$(part_of 280003 | sed 's/part$/map/')"
eventually "280003: given up, all of it is withdrawn" 10 gone 280003
same "280003: files, too" "$(count 280003)" 0
start_push
eventually "280003: sent again a ccd is placed" 30 at_least 280003 2
stop push KILL
cut_line
stop pull KILL
touch -d '20 days ago' "$STORE/incoming"/DECam_00280003.*
start_pull
eventually "280003: expired, all of it is withdrawn" 10 gone 280003
same "280003: files, too" "$(count 280003)" 0
start_push
ends_well 280003

# ---- killed at each step ----
CCDS=4
number=280010
for point in pull:earlybegun pull:earlylisted:2 pull:placing:2 pull:noticed pull:earlyconfirmed; do
    stop pull
    SKYFERRY_CRASH_AT=$point start_pull
    shot $number
    eventually "$point: the daemon passes there" 30 died
    wait "${PID[pull]}" 2>/dev/null
    unset "PID[pull]"
    start_pull
    ends_well $number
    number=$((number + 1))
done
check "tree and catalogue agree" pull verify

# ---- the same files as without ----
rm -r "$STORE/rawdata"
check "made again from the whole bundle" pull reprocess --name DECam_00280001
same "they are the same" "$(sums 280001)" "$before"
finish
