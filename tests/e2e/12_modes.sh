#!/bin/bash
# The modes change order and concurrency, and nothing else: exposures queued while the far end
# is down leave newest first one at a time (serial), the newest N together (batch) or the newest
# and beside it the others in order of arrival (parallel). The mode of a running agent can be switched, the forerunner's spellings
# still work, a restart forgets nothing, and there is one agent a spool.
. "$(dirname "$0")/lib.sh"
write_pull
start_sshd
kill_sshd # its port is known now, and nobody answers there

# shot NUMBER MINUTE: one exposure taken at that minute of the night.
shot() {
    camera --object Field --expnum "$1" --seed "$1" --date-obs "2024-04-05T03:$2:00" --style rename \
        --size 128x128 --quiet >/dev/null
}
anew() {
    stop push
    kill_sshd
    rm -rf "$STORE" "$SPOOL" "$WATCH" && mkdir -p "$STORE" "$SPOOL" "$WATCH"
    : >"$NEAR/push.log"
}
watching() { grep -q 'watching ' "$NEAR/push.log"; }
by() { push status --json | jq -c "[.exposures | sort_by(.$1)[] | .expnum % 100]"; }
waiting() { [ "$(push_states | grep -cE ' (ready|sending)$')" -eq "$1" ]; }
mode_is() { push status --json | jq -e --arg m "$1" '.agent.mode == $m'; }

# ---- serial ----
write_push ship.mode=serial ship.lanes=1
# Files that have been quiet for settle_seconds are whole at once: so all have come before the
# first is chosen.
shot 900001 03; shot 900002 01; shot 900003 05; shot 900004 02; shot 900005 04
sleep 1.2
start_push
eventually "serial: five wait for the far end" 20 waiting 5
eventually "serial: one of them is under way, and the next is made ready" 5 push_has 2 sending
start_sshd
eventually "serial: all are delivered" 40 push_has 5 done
same "serial: newest first, one after the other on the line" "$(by first_ns)" "[3,5,1,4,2]"
# A COMMIT goes before the answer to the one before it, so neighbours may be stored in either order.
same "the receipts tell the same order, but for neighbours" \
    "$(jq -s -c '[sort_by(.stored_ns)[] | .name[-2:] | tonumber] |
        [range(5) as $i | . as $got | [3,5,1,4,2][$i] as $want | ($got | index($want)) - $i | fabs <= 1] | all' \
        "$STORE"/bundles/*/*.receipt)" true

# ---- batch, by the forerunner's options, over a configuration that says serial ----
anew
shot 900011 03; shot 900012 01; shot 900013 05; shot 900014 02; shot 900015 04
sleep 1.2
start_push --method=b --nbundle 2
eventually "--method=b: five wait for the far end" 20 waiting 5
eventually "--nbundle 2: two of them are under way" 20 push_has 2 sending
same "and no more" "$(push_count ready)" 3
start_sshd
eventually "batch: all are delivered" 40 push_has 5 done
same "batch: rounds of two, newest first" "$(push status --json |
    jq -c '[.exposures | sort_by(.stored_ns)[] | .expnum % 100] | [.[0:2], .[2:4], .[4:5]] | map(sort)')" \
    "[[13,15],[11,14],[12]]"
same "batch: a round begins when the one before is done" "$(push status --json |
    jq '.exposures | sort_by(.stored_ns) | .[1].stored_ns <= .[2].encode_ns and .[1].stored_ns <= .[3].encode_ns and
        .[3].stored_ns <= .[4].encode_ns')" true

# ---- parallel, and switching while running ----
anew
write_push ship.mode=parallel ship.window=2
start_push
wait_for 10 watching
for number in 900023 900021 900026 900022 900025 900024; do
    shot $number $((number - 900015))
done
eventually "parallel: six wait for the far end" 20 waiting 6
eventually "parallel: the newest and two others are under way" 5 push_has 3 sending
same "and no more" "$(push_count ready)" 3
start_sshd
eventually "parallel: all are delivered" 40 push_has 6 done
same "parallel: the newest and two others first, then in order of arrival" \
    "$(by encode_ns | jq -c '[(.[0:3] | sort), .[3:]]')" "[[21,23,26],[22,25,24]]"
same "parallel: but the newest goes first" "$(by first_ns | jq '.[0]')" 26

kill_sshd
for number in 900033 900031 900036 900032 900035 900034; do
    shot $number $((number - 900015))
done
eventually "six more wait" 20 waiting 6
wait_for 20 push_has 3 sending
exits "an unknown mode is a usage error" 2 push mode zigzag
says "that names the valid ones" "$WORK/out" 'parallel.*serial.*batch'
exits "mode serial" 0 push mode serial
eventually "the running agent is in serial mode" 5 mode_is serial
start_sshd
eventually "all are delivered" 60 push_has 12 done
same "the three begun ones first, then newest first" \
    "$(by encode_ns | jq -c '[.[] | select(. > 30)] | [(.[0:3] | sort), .[3:]]')" "[[31,33,36],[35,34,32]]"
for word in p:parallel s:serial b:batch P:parallel bundle:batch parallel:parallel; do
    exits "mode ${word%%:*}" 0 push mode "${word%%:*}"
    eventually "means ${word##*:}" 5 mode_is "${word##*:}"
done
write_push ship.mode=batch ship.window=2
kill -HUP "${PID[push]}"
eventually "an edited file and HUP switch it too" 5 mode_is batch
write_push ship.mode=sideways
kill -HUP "${PID[push]}"
eventually "a broken file is said" 5 grep -q 'sideways' "$NEAR/push.log"
check "and leaves the old mode in force" mode_is batch
write_push ship.mode=batch

# ---- a restart forgets nothing ----
kill_sshd
shot 900041 50; shot 900042 51; shot 900043 52
eventually "three wait" 20 waiting 3
exits "a second agent on this spool is refused" 1 timeout 10 "$BIN/skyferry-push" -c "$NEAR/push.conf" run
says "with the pid of the first" "$WORK/out" "${PID[push]}"
exits "the first one ends on TERM" 0 stop push
same "the queue is on disk" "$(push_states | grep -cE '90004[123] (ready|sending)')" 3
start_push
eventually "after a restart they wait" 20 waiting 3
stop push KILL
rm -f "$WATCH"/*900041* # what was encoded already needs no source any more; the others do
start_push
start_sshd
eventually "after kill -9 the two whose files are there are delivered" 40 \
    sh -c "ls '$STORE'/bundles/*/*900042.tar '$STORE'/bundles/*/*900043.tar"
eventually "and nothing is under way" 40 waiting 0
same "one bundle each" "$(find "$STORE/bundles" -name '*90004[23]*.tar' | wc -l)" 2
reported() { push_states | grep -qE '900041 (parked|done)'; }
eventually "the vanished one is reported, not forgotten" 40 reported

# ---- silence ----
anew
write_push watch.silence_seconds=2
start_push
wait_for 10 watching
warned() { [ "$(grep -c 'no new exposure for' "$NEAR/push.log")" -ge 3 ]; }
eventually "silence is warned of again and again" 30 warned
stop push
same "once an interval at most" "$(grep -oE 'no new exposure for [0-9]+' "$NEAR/push.log" |
    awk 'NR > 1 && $5 - last < 2 { n++ } { last = $5 } END { print n + 0 }')" 0
anew
write_push watch.silence_seconds=0
start_push
sleep 1
stop push
same "and never, when it is switched off" "$(grep -c 'no new exposure' "$NEAR/push.log")" 0

# ---- the forerunner's spellings ----
start_sshd
OTHER=$NEAR/other
mkdir "$OTHER"
size_of() { jq -r .size "$STORE"/bundles/*/*"$1".receipt; }
codec_of() { tar -xOf "$STORE"/bundles/*/*"$1".tar manifest.json | jq -r "[.members[] | select(.role == \"image\") | .$2] | unique | @csv"; }
far() { [ -n "$(find "$STORE/bundles" -name "*$1.receipt" 2>/dev/null)" ]; }
OUT=$OTHER camera --object Q --expnum 900050 --seed 5 --quiet >/dev/null
start_push --data_dir "$OTHER/" --Qs=0.0005
eventually "--data_dir watches another directory" 20 far 900050
same "--Qs=0.0005 is the step that is used" "$(codec_of 900050 qstep)" 0.0005
stop push
OUT=$OTHER camera --object Q --expnum 900051 --seed 5 --quiet >/dev/null
DATA_DIR=$OTHER QS=0.00002 start_push
eventually "so does DATA_DIR" 20 far 900051
same "QS=0.00002 is the step that is used" "$(codec_of 900051 qstep)" 2e-05
same "a larger step makes a smaller bundle" "$([ "$(size_of 900050)" -lt "$(size_of 900051)" ] && echo yes)" yes
stop push
OUT=$OTHER camera --object Q --expnum 900052 --quiet >/dev/null
DATA_DIR=$WATCH start_push --data-dir "$OTHER" --no-compress
eventually "--data-dir wins over DATA_DIR" 20 far 900052
same "--no-compress ships the file as it is" "$(codec_of 900052 codec)" '"original"'
exits "and it is rebuilt byte for byte" 0 "$BIN/skyferry-pull" unpack --rebuild "$STORE"/bundles/*/*900052.tar --to "$WORK/rebuilt"
check "truly" cmp "$OTHER/DECam_00900052.fits.fz" "$WORK/rebuilt/DECam_00900052.fits.fz"
stop push
printf '%s\n' "$OTHER/DECam_00900050.fits.fz" "" >"$WORK/list"
exits "--method=l FILE sends a list" 0 push --method=l "$WORK/list"
shot 900060 10
exits "--method=e is the sweep" 0 push --method=e --exp_min 900000
check "which sent what was missing" far 900060
finish
