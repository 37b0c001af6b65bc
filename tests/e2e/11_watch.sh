#!/bin/bash
# Noticing exposures: files present at start, slow writers, writers that close and reopen,
# rename into place, sub-directories made later, folders that are links to another disk. Each is shipped once, and only when whole.
. "$(dirname "$0")/lib.sh"
sed 's/^ccds *=.*/ccds = 4/' "$TOP/etc/cameras/decam.conf" >"$WORK/four.conf"
camera --object Before --expnum 100001 --quiet >/dev/null
write_pull
start_sshd
write_push camera.profile="$WORK/four.conf" watch.settle_seconds=2 watch.give_up_seconds=30
start_pull
start_push
eventually "a file present at start is delivered" 30 push_has 1 done

camera --object Slow --expnum 100002 --style slow --write-seconds 4 --format fits --quiet >/dev/null &
slow=$!
camera --object Split --expnum 100003 --style split --write-seconds 4 --format fits --quiet >/dev/null &
split=$!
camera --object Moved --expnum 100004 --style rename --quiet >/dev/null
camera --object Sub --expnum 100005 --subdir later/deeper --quiet >/dev/null
wait $slow $split
eventually "slow, split, renamed and in a new sub-directory: all delivered" 40 push_has 5 done
eventually "and all placed" 40 pull_has 5 done
same "every ccd once" "$(placed_count)" 20
same "one bundle each" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" 5
for name in 100002 100003; do
    want=$(sha256sum "$WATCH/DECam_00$name.fits" | cut -d' ' -f1)
    got=$(cat "$STORE"/bundles/*/DECam_00$name.receipt | jq -r .source_sha256)
    same "what was shipped of $name is the finished file" "$got" "$want"
done
night=$(ls "$STORE/bundles")
mkdir "$WORK/disk2"
ln -s "$WORK/disk2" "$WATCH/linked"
ln -s .. "$WATCH/later/loop"
mv "$STORE/bundles/$night" "$WORK/disk3"
ln -s "$WORK/disk3" "$STORE/bundles/$night"
OUT=$WORK/disk2 camera --object Linked --expnum 100006 --quiet >/dev/null
eventually "one from a linked folder is delivered, into another" 40 pull_has 6 done
# From close to notice, over 10 exposures one after another.
for i in {0..9}; do
    camera --object Notice --expnum $((100010 + i)) --style rename --quiet >/dev/null
done
eventually "ten more are delivered" 40 push_has 16 done
eventually "and placed" 20 pull_has 16 done
slowest=$(pull status --json --all | jq '[.exposures[] | select(.name >= "DECam_00100010") | (.noticed_ns - .closed_ns) / 1e6] | sort | .[4] | round')
[ "$slowest" -lt 200 ]
same "half of them were noticed within 200 ms of their last byte ($slowest ms)" $? 0
check "verify finds what lies behind the link" pull verify
finish
