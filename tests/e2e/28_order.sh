#!/bin/bash
# More comes than a thin line carries: the newest goes first all the same, adaptive mode says when
# it changes its mind, both ways, nothing is dropped and nothing starves. Science goes before
# calibrations or behind them, as [ship] priority says, also when it is changed on the running
# agent. A full spool does not keep the newest waiting.
. "$(dirname "$0")/lib.sh"
FEEDER=$TOP/tests/wan/overload.py
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
thin_line() { FORCED="/usr/bin/python3 $WORK/slow.py $1 $BIN/skyferry-pull -c $FAR/pull.conf receive" start_sshd; }
narrow() {
    write_push codec.lossless=yes watch.settle_seconds=0.2 ship.lanes=1 ship.chunk_kib=16 ship.lane_window_kib=64 "$@"
}
shot() { camera --expnum "$1" --seed "$1" --date-obs "2024-04-05T03:${1: -2}:00" --style rename --quiet "${@:2}" >/dev/null; }
by() { push status --json | jq -c "[.exposures | sort_by(.$1)[] | select(.$1) | .expnum % 100]"; }
waiting() { [ "$(push_states | grep -cE ' (ready|sending)$')" -eq "$1" ]; }
reloaded() { [ "$(grep -c 'configuration reloaded' "$NEAR/push.log")" -eq "$1" ]; }

# ---- priorities ----
write_pull
start_sshd
kill_sshd # its port is known now, and nobody answers there
narrow ship.mode=serial
shot 280003 --type bias; shot 280002; shot 280004; shot 280005 --type flat; shot 280001
start_push
eventually "five wait for the far end" 20 waiting 5
push status --json >"$WORK/json"
same "status has the place of each: science, the newest first, then calibrations" \
    "$(jq -c '[.exposures | sort_by(.place)[] | .expnum % 100]' "$WORK/json")" "[4,2,1,5,3]"
same "and what it is" "$(jq -c '[.exposures | sort_by(.place)[] | .kind] | unique' "$WORK/json")" '["calibration","science"]'
push status DECam_00280001 >"$WORK/table"
says "in words, too" "$WORK/table" 'order +3 of the 5 .*science'
narrow ship.mode=serial ship.priority="science calibration"
kill -HUP "${PID[push]}"
eventually "a priority that lacks a kind is refused" 5 grep -q "priority = 'science calibration'" "$NEAR/push.log"
narrow ship.mode=serial ship.priority="calibration science backfill"
kill -HUP "${PID[push]}"
eventually "another one is taken over by the running agent" 5 reloaded 1
start_sshd
eventually "all are delivered" 40 push_has 5 done
same "calibrations first now" "$(by first_ns)" "[5,3,4,2,1]"
stop push
kill_sshd
rm -rf "$STORE" "$SPOOL" "$WATCH" && mkdir -p "$STORE" "$SPOOL" "$WATCH"

# ---- twice what the line carries ----
mkdir "$WORK/feed"
OUT=$WORK/feed SIZE=512x512 camera --expnum 1 --no-checksum --quiet
feed() { debian_python "$FEEDER" feed "$WORK"/feed/*.fz "$WATCH" "$WORK/$1.log" "$2" "$3" "${5:-0}" "$4"; }
thin_line 700000
narrow # adaptive is the default
start_push
feed alone 100 1.5 4
eventually "three come alone" 20 push_has 3 done
push status >"$WORK/table"
says "and status says that there is time in hand" "$WORK/table" '^order: +time in hand'
same "having said nothing in the log" "$(grep -c 'INFO .*order: ' "$NEAR/push.log")" 0
feed load 1000 0.4 8 0.2
push status --json >"$WORK/json"
push status >"$WORK/table"
says "falling behind, the log says so, with figures" "$NEAR/push.log" \
    'INFO .*order: falling behind: [0-9]+ exposures, [0-9.]+ s of line, a new one every [01]?\.[0-9]* s; newest first'
says "status too" "$WORK/table" '^order: +falling behind'
check "and as JSON" jq -e '.agent.order | .behind and .exposures > 3 and .line_s > 2 and .cadence_s < 1' "$WORK/json"
says "what waits has its place there" "$WORK/table" ' ready .* #[0-9]+$'
exits "another mode in the middle of it" 0 push mode parallel
exits "and back" 0 push mode adaptive
eventually "when no more comes the backlog drains" 60 push_has "$((3 + $(wc -l <"$WORK/load.log")))" done
eventually "and there is time in hand again" 10 grep -q 'time in hand: ' "$NEAR/push.log"
check "it has changed its mind a few times at most" test "$(grep -cE 'order: (falling|time)' "$NEAR/push.log")" -le 5
push status --json >"$WORK/json"
debian_python "$FEEDER" judge "$WORK/json" "$WORK/load.log" "$WORK/alone.log" 1 >"$WORK/judged"
sed 's/^/# /' "$WORK/judged"
says "nothing is dropped, nothing comes twice" "$WORK/judged" '^pass nothing dropped'
check "the newest is about as prompt as alone" \
    awk '/^unloaded/ { a = $5 + 0 } /^newest/ { exit !($6 + 0 < 1.5 * a) }' "$WORK/judged"
check "and many were the newest" awk '/^newest/ { exit !($11 >= 5) }' "$WORK/judged"
stop push
kill_sshd

# ---- a small spool ----
rm -rf "$STORE" "$SPOOL" "$WATCH" && mkdir -p "$STORE" "$SPOOL" "$WATCH"
: >"$NEAR/push.log"
thin_line 900000
narrow ship.mode=serial spool.quota_gib=0.002 # three of them
start_push
rm -f "$WORK"/*.log
feed small 2000 0.4 6
eventually "with a small spool they are all delivered" 60 push_has "$(wc -l <"$WORK/small.log")" done
same "nothing is left in it" "$(find "$SPOOL" -name '*.tar' | wc -l)" 0
newest=$(by stored_ns | jq -c '[range(1; length) as $i | select(.[$i] > ([.[:$i][]] | max))] | length')
says "for the newest a bundle of those that wait is given up" "$NEAR/push.log" 'its bundle makes room for the newest'
check "the newest went first all the same" test "$newest" -ge 2
finish
