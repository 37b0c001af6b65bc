#!/bin/bash
# Wrong configurations: every problem is told at once with file, line and remedy, exit 2.
. "$(dirname "$0")/lib.sh"
cat >"$NEAR/push.conf" <<CONF
[watch]
directroy = $WATCH
[codec]
method = gif
qstep = tiny
[ship]
lanes = 900
CONF
exits "push: a broken configuration is exit 2" 2 push run
says "push: a misspelt key is answered with the right one" "$WORK/out" 'push.conf:2: .*directroy.*directory'
says "push: an unknown method names the valid ones" "$WORK/out" 'push.conf:4: .*gif.*htj2k'
says "push: a word where a number belongs" "$WORK/out" 'push.conf:5: .*tiny'
says "push: a number out of its range" "$WORK/out" 'push.conf:7: .*900'
cat >"$FAR/pull.conf" <<CONF
[place]
science = {nihgt}/{expnum}_{ccd}.fits
on_conflict = shrug
[site]
night_rollover = 25:00
CONF
exits "pull: a broken configuration is exit 2" 2 pull run
says "pull: an unknown placeholder" "$WORK/out" 'nihgt'
says "pull: a bad choice names the valid ones" "$WORK/out" 'shrug.*park'
says "pull: no such time" "$WORK/out" '25:00'
says "pull: no store" "$WORK/out" 'root'
exits "push: a missing file is exit 2" 2 "$BIN/skyferry-push" -c "$NEAR/none.conf" status
says "and names the file" "$WORK/out" 'none\.conf'
exits "push: an unknown command is exit 2" 2 "$BIN/skyferry-push" fly
says "and lists the commands" "$WORK/out" 'sweep'
write_push
exits "push: an unknown mode is exit 2" 2 push run --mode=zigzag
says "and lists the valid ones" "$WORK/out" 'serial'
exits "push: two wrong options, one exit" 2 push run --mode=zigzag --Qs=lots
says "the first" "$WORK/out" 'zigzag'
says "and the second" "$WORK/out" 'lots'
write_push watch.directory="$WORK/nowhere"
exits "push: check names a missing directory" 1 push check
says "by its path" "$WORK/out" "$WORK/nowhere"
write_pull
exits "pull: a malformed --run-date is exit 2" 2 pull run --run-date 20160831
for agent in push pull; do
    exits "$agent: --help" 0 "$BIN/skyferry-$agent" --help
    exits "$agent: --version" 0 "$BIN/skyferry-$agent" --version
done
finish
