#!/bin/bash
# method = auto over a fast line, a thin one and a fast one again: what it chooses, what it says
# about why, that it remembers over a restart, and that it does not flap.
. "$(dirname "$0")/lib.sh"
shot() { camera --expnum "$1" --seed "$1" --date-obs "2024-04-05T03:${1: -2}:00" --style rename --quiet "${@:2}" >/dev/null; }
came() { push_states | grep -qE "^DECam_00$1 (stored|done)\$"; }
# deliver N: a larger exposure; small N: one that is on a thin line for two seconds.
deliver() { shot "$1" --size 2048x1024; wait_for 60 came "$1" || fail "exposure $1 is delivered"; }
small() { shot "$1" --size 512x512; wait_for 60 came "$1" || fail "exposure $1 is delivered"; }
# until_exact FIRST LAST [TIMES]: delivers until nothing needs to be lost, so many times running
# (1); N is the last one sent so. On a machine with other work a measured rate may fall for a while.
until_exact() {
    local row=0
    for ((N = $1; N < $2; N++)); do
        deliver "$N"
        if [ "$(chosen "$N")" = original ]; then row=$((row + 1)); else row=0; fi
        [ $row -eq "${3:-1}" ] && return
    done
    fail "within $(($2 - $1)) exposures nothing needs to be lost"
}
# chosen N: method and ratio for this exposure, by the log. told: the INFO lines since `mark`.
chosen() { sed -n "s/.*exposure=DECam_00$1: auto: \([a-z0-9]*\( [0-9.]*:1\)\?\): .*/\1/p" "$NEAR/push.log" | tail -1; }
told() { tail -n "+$MARK" "$NEAR/push.log" | grep -c ' INFO .*: auto: '; }
mark() { MARK=$(($(wc -l <"$NEAR/push.log") + 1)); }
auto() { push status --json | jq -r ".agent.auto.$1"; }

# ---- settings ----
write_pull
start_sshd
write_push codec.method=auto codec.ratio=8 codec.threads=999
exits "auto with a ratio is a contradiction" 2 push check
says "which is said" "$WORK/out" 'method = auto chooses the loss by itself: remove ratio'
says "beside the other problems" "$WORK/out" 'threads'

# ---- a fast line ----
write_push codec.method=auto
start_pull
start_push
deliver 260001
same "not knowing the line it takes 10:1" "$(chosen 260001)" "htj2k 10:1"
says "and says so" "$NEAR/push.log" 'INFO .*auto: htj2k 10:1: .*line not known yet'
until_exact 260101 260108
same "on a fast line nothing needs to be lost" "$(chosen $N)" original
says "and why" "$NEAR/push.log" 'auto: original: [0-9.]+ s \(encode [0-9.]+, line [0-9.]+, decode [0-9.]+\); .* would take [0-9.]+ s; line (at least )?[0-9.e+]+ Mbit/s'
exact() { pull status --json "$1" | jq -e '.exposures[0] | .exact and .state == "done"'; }
eventually "the far end holds it exactly" 30 exact "DECam_00$N"
check "the far end's daemon says what decoding costs" jq -e '.threads > 0 and (.by[] | select(.codec == "htj2k") | .ns > 0 and .ratio > 5)' "$STORE/state/decoding.json"
echo "# line $(auto line_mbit_s) Mbit/s, near $(auto near); $(cat "$STORE/state/decoding.json")"

# ---- a restart ----
stop push
start_push
deliver 260004
says "after a restart it knows the line at once" "$NEAR/push.log" 'exposure=DECam_00260004: auto: .*; line (at least )?[0-9.e+]+ Mbit/s'
until_exact 260109 260116
same "and needs to lose nothing, again" "$(chosen $N)" original
check "and from WELCOME the far end's figures" test "$(auto far)" != 0
same "threads too" "$(auto far_threads)" "$(nproc)"
push status >"$WORK/table"
says "status shows the choice" "$WORK/table" '^auto: +original: '
same "and as JSON" "$(auto method)" original
echo "# far $(auto far)"

# ---- a choice is kept when the agent dies in the middle ----
stop push
SKYFERRY_CRASH_AT=push:encoding:2 start_push
shot 260005 --size 1024x1024
died() { ! running push || [ "$(ps -o state= -p "${PID[push]}")" = Z ]; }
eventually "the agent dies while it encodes" 30 died
wait "${PID[push]}" 2>/dev/null
unset "PID[push]"
id_of() { debian_python -c "
import sqlite3, sys
print(*sqlite3.connect(f'file:{sys.argv[1]}/journal.db?mode=ro', uri=True).execute(
    'SELECT bundle_id, method FROM exposures WHERE name = ?', (sys.argv[2],)).fetchone())" "$SPOOL" "$1"; }
before=$(id_of DECam_00260005)
start_push
eventually "and delivers it after its restart" 30 came 260005
same "as the same bytes of the same method" "$(id_of DECam_00260005)" "$before"
stop push

# ---- a thin line ----
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
narrow() { write_push codec.method=auto ship.lanes=1 ship.chunk_kib=32 ship.lane_window_kib=256 "$@"; }
narrow
mark
start_push
small 260011
small 260012
small 260013
same "within three exposures it takes all that is allowed" "$(chosen 260013)" "htj2k 10:1"
says "saying what else would take longer" "$NEAR/push.log" 'auto: htj2k 10:1: .*; (original|rice|jxl) would take [0-9.]+ s; line (at least )?[0-9.]+ Mbit/s'
for n in {260014..260023}; do small "$n"; done
same "ten more of them, all alike" "$(for n in {260014..260023}; do chosen "$n"; done | sort | uniq -c | xargs)" "10 htj2k 10:1"
echo "# line $(auto line_mbit_s) Mbit/s of 2"
rate=$(auto line_mbit_s)
check "the line's rate is about what it is" awk -v r="$rate" 'BEGIN { exit !(r > 1.2 && r < 4) }'
check "and the choice was told of once or twice" test "$(told)" -le 2
says "with this method it was sent" "$NEAR/push.log" 'exposure=DECam_00260023: .* with htj2k in'

# ---- the error that is allowed is the limit, or none at all is ----
narrow codec.noise=0.4
push_reload() { kill -HUP "${PID[push]}"; wait_for 10 grep -q "$1" "$NEAR/push.log"; }
push_reload 'in force now: codec.noise'
small 260024
echo "# noise 0.4: $(chosen 260024)"
check "an error in place of a ratio" awk -v c="$(chosen 260024)" 'BEGIN { split(c, p, /[ :]/); exit !(p[1] == "htj2k" && p[2] > 5 && p[2] < 7) }'
narrow codec.lossless=yes
push_reload 'in force now: .*codec.lossless'
small 260025
same "lossless: the smallest exact form" "$(chosen 260025)" jxl
narrow codec.method=rice
push_reload 'in force now: .*codec.method'
same "another method: nothing is chosen any more" "$(auto method)" null
stop push

# ---- fast again ----
kill_sshd
start_sshd
write_push codec.method=auto
start_push
until_exact 260031 260039
same "after some exposures nothing needs to be lost again" "$(chosen $N)" original
exits "all is delivered" 0 push sweep
stop push

# ---- a long line that is faster than the encoder ----
# While codestreams trickle in nothing of it shows: more is tried, until it does.
cat >"$WORK/late.py" <<'PY'
# SECONDS COMMAND...: what goes to it and what comes from it, so much later
import os, queue, subprocess, sys, threading, time
late = float(sys.argv[1])
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def write(due, out):
    while True:
        when, data = due.get()
        time.sleep(max(0, when - time.monotonic()))
        if not data:
            return os.close(out)
        while data:
            data = data[os.write(out, data):]
def carry(source, out):
    due = queue.Queue()
    threading.Thread(target=write, args=(due, out)).start()
    data = b' '
    while data:
        data = os.read(source, 65536)
        due.put((time.monotonic() + late, data))
threading.Thread(target=carry, args=(p.stdout.fileno(), os.dup(1))).start()
os.close(1)
carry(0, os.dup(p.stdin.fileno()))
p.stdin.close()
sys.exit(p.wait())
PY
kill_sshd
FORCED="/usr/bin/python3 $WORK/late.py 0.1 $BIN/skyferry-pull -c $FAR/pull.conf receive" start_sshd
rm -r "$SPOOL"
mkdir "$SPOOL"
mark
start_push
until_exact 260041 260050
same "not knowing the line it takes 10:1 again" "$(chosen 260041)" "htj2k 10:1"
same "a line with room to spare is tried until nothing needs to be lost" "$(chosen $N)" original
says "it says what it saw and what it tries" "$NEAR/push.log" 'auto: original: .*; line at least [0-9.]+ Mbit/s, [0-9.]+ is tried'
until_exact 260051 260058 3
same "and it stays so" "$(chosen $N)" original
check "with few changes of mind" test "$(told)" -le 6
exits "all is delivered, still" 0 push sweep
finish
