#!/bin/bash
# Two login nodes share one store (here: two state folders): one works, the other refuses and says
# why. One that stood still goes on when nobody had the store meanwhile, and ends when somebody
# had; nobody works with a catalogue that is not the store's.
. "$(dirname "$0")/lib.sh"
write_pull store.lease_seconds=3 store.state="$FAR/node1" jobs.ccds_per_job=2
sed "s|$FAR/node1|$FAR/node2|" "$FAR/pull.conf" >"$FAR/node2.conf"
node2() { "$BIN/skyferry-pull" -c "$FAR/node2.conf" "$@"; }
begun() { cat "$FAR/pull.log" "$FAR/node2.log" 2>/dev/null | grep -c 'q[0-9]* begun'; }
start_sshd
write_push
camera --night "object:Alpha:g:1" --expnum 215001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null
start_pull
exits "an exposure is delivered" 0 push send "$WATCH/DECam_00215001.fits.fz"
all_done() { [ "$(pull status --json | jq -r '.exposures[].state')" = done ]; }
eventually "and done" 30 all_done
once=$(begun)

exits "a daemon on the second node refuses" 1 node2 run
says "and says who works" "$WORK/out" "$(hostname).*works in this store"
exits "so does a rebuild there" 1 node2 rebuild
says "for the same reason" "$WORK/out" "$(hostname).*works in this store"

kill -STOP "${PID[pull]}"
sleep 3
kill -CONT "${PID[pull]}"
exits "one that stood still, alone, goes on" 0 pull reprocess --name DECam_00215001
twice=$(begun)
same "and does what it is asked" "$twice" "$((2 * once))"

kill -STOP "${PID[pull]}"
eventually "its lease expires: a rebuild on the second node takes it" 30 node2 rebuild
start node2 "$FAR/node2.log" "$BIN/skyferry-pull" -c "$FAR/node2.conf" run
eventually "a daemon works there" 20 grep -q 'ready: the store is' "$FAR/node2.log"
sleep 1
same "and does nothing again" "$(begun)" "$twice"
stop node2
kill -CONT "${PID[pull]}"
wait "${PID[pull]}"
same "the first one wakes up and ends" "$?" 1
unset "PID[pull]"
says "saying why" "$FAR/pull.log" 'another has taken it over'
same "having done nothing more" "$(begun)" "$twice"

exits "its catalogue is not the store's any more" 2 pull run
says "which is said with the remedy" "$WORK/out" "is not this store's.*node2/catalogue.db.*skyferry-pull rebuild"
exits "check says so, too" 1 pull check
tr -s ' \n' ' ' <"$WORK/out" >"$WORK/line"
says "as something to mend" "$WORK/line" "FAIL .*is not this store's"
exits "reprocess changes nothing" 2 pull reprocess --name DECam_00215001
exits "rebuild makes it the store's" 0 pull rebuild
exits "and it works again" 0 pull reprocess --name DECam_00215001
exits "the second node's does not" 2 node2 run
exits "verify is content" 0 pull verify
finish
