#!/bin/bash
# Bad input at the telescope: each broken file gets its own clear reason, none stops the agent,
# and a good exposure that comes after all of them still arrives.
. "$(dirname "$0")/lib.sh"
OUT=$WORK camera --object Good --expnum 700001 --quiet >/dev/null          # the seed of all below
OUT=$WORK camera --object Plain --expnum 700002 --format fits --quiet >/dev/null
good=$WORK/DECam_00700001.fits.fz plain=$WORK/DECam_00700002.fits

# bytes FILE OFFSET TEXT: overwrite in place
bytes() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
# edit FILE OUT SED: change header cards (sed keeps their length or the file is useless)
edit() { LC_ALL=C sed "$3" "$1" >"$2"; }

head -c 100000 "$plain" >"$WATCH/truncated.fits"
: >"$WATCH/empty.fits"
echo "these are my observing notes, not FITS" >"$WATCH/notes.fits"
cp "$plain" "$WATCH/wrongsum.fits"
bytes "$WATCH/wrongsum.fits" $(($(stat -c %s "$plain") - 60000)) 'XXXXXXXX'
# The last compressed tile, without any checksum that would have told first.
OUT=$WORK camera --object NoSum --expnum 700003 --no-checksum --quiet >/dev/null
cp "$WORK/DECam_00700003.fits.fz" "$WATCH/brokentile.fits.fz"
debian_python - "$WATCH/brokentile.fits.fz" <<'PY'
import sys
path = sys.argv[1]
data = bytearray(open(path, 'rb').read())
at = data.find(b'XTENSION')
head = at
while data[head:head + 80].rstrip() != b'END':
    head += 80
start = at + ((head + 80 - at + 2879) // 2880) * 2880
data[start:start + 2048] = b'\x7f' * 2048        # descriptors that point nowhere
open(path, 'wb').write(data)
PY
OUT=$WORK camera --object '../../x;rm' --expnum 700004 --quiet >/dev/null
cp "$WORK/DECam_00700004.fits.fz" "$WATCH/"
OUT=$WORK camera --object NoKeys --expnum 700005 --no-checksum --format fits --quiet >/dev/null
edit "$WORK/DECam_00700005.fits" "$WATCH/nokeys_700005.fits" 's/^\(SIMPLE.*\)$/\1/; s/EXPNUM  =/XXPNUM  =/g; s/DATE-OBS=/XATE-OBS=/g'
cp "$plain" "$WATCH/unreadable.fits"
chmod 000 "$WATCH/unreadable.fits"
mkdir "$WATCH/a" "$WATCH/b"
OUT=$WATCH/a camera --object Twin --expnum 700006 --quiet >/dev/null
OUT=$WATCH/b camera --object Twin --expnum 700006 --seed 9 --quiet >/dev/null
# shellcheck disable=SC1003
cp "$good" "$WATCH/"'sp ace;$(touch x)`y`'"'"'.fits.fz'

write_pull
start_sshd
write_push watch.recursive=yes
start_pull
start_push
OUT=$WATCH camera --object Last --expnum 700099 --quiet >/dev/null

state() { push_states | grep -F "$1 "; }
reason() { push status --json | jq -r --arg n "$1" '.exposures[] | select(.name == $n) | .reason'; }
is() { [ "$(state "$1")" = "$1 $2" ]; }
parked() { # parked NAME WHAT PATTERN
    eventually "$2 is parked" 40 is "$1" parked
    reason "$1" >"$WORK/reason"
    says "  and the reason says so" "$WORK/reason" "$3"
}
parked truncated "a truncated file" 'missing|short|ends'
parked empty "an empty file" 'empty|0 bytes'
parked notes "a text file" 'not.*FITS'
parked wrongsum "a wrong checksum" 'CHECKSUM|DATASUM'
parked brokentile "a broken tile-compressed HDU" 'HDU 1|ccd 1|tile|decompress'
if [ "$(id -u)" -ne 0 ]; then # root may read everything
    parked unreadable "an unreadable file" 'permission|read'
fi
for name in DECam_00700001 DECam_00700004 nokeys_700005 DECam_00700099; do
    [ "$name" = DECam_00700001 ] && continue
    eventually "$name is delivered" 40 is "$name" done
done
eventually "both files of one name are delivered" 40 sh -c \
    "[ \$('$BIN/skyferry-push' -c '$NEAR/push.conf' status --json | jq '[.exposures[] | select(.name == \"DECam_00700006\" and .state == \"done\")] | length') -eq 2 ]"
eventually "both bundles are kept" 20 sh -c "[ \$(find '$STORE/bundles' -name 'DECam_00700006*.tar' | wc -l) -eq 2 ]"
eventually "the placed ones are not overwritten: the second waits with a reason" 40 sh -c \
    "'$BIN/skyferry-pull' -c '$FAR/pull.conf' status --json | jq -e '[.exposures[] | select((.name | startswith(\"DECam_00700006\")) and .faults > 0)] | length == 1'"

eventually "OBJECT = ../../x;rm stays below its ccd's folder" 30 sh -c "find '$STORE/rawdata' -name '*700004_1.fits' | grep -q '/rawdata/ut[0-9]*/1/[^/]*x_rm'"
same "nothing was written beside the store" "$(find "$FAR" -maxdepth 1 -name '*x*' | grep -v -e exp | wc -l)" 0
eventually "without EXPNUM the file's digits are taken" 30 sh -c "find '$STORE/rawdata' -name '*700005_1.fits' | grep -q ."
eventually "a name with blanks, quotes and \$() is carried" 30 sh -c "find '$STORE/bundles' -name 'sp_ace*.tar' | grep -q ."
same "and nothing ran" "$(find "$WATCH" "$TOP" -maxdepth 1 -name x | wc -l)" 0
check "the pushing agent is still there" running push
check "so is the pulling one" running pull

# A parked file that becomes whole is taken up by itself.
cp "$plain" "$WORK/whole.fits"
cp "$WORK/whole.fits" "$WATCH/truncated.fits"
eventually "a truncated file that is written again is delivered" 40 is truncated done
# The directory vanishes and comes back.
mv "$WATCH" "$WATCH.gone"
sleep 3
mkdir "$WATCH"
OUT=$WATCH camera --object Back --expnum 700100 --quiet >/dev/null
eventually "a directory that vanished and came back is watched again" 30 is DECam_00700100 done
says "and it was said" "$NEAR/push.log" "(gone|vanish|not there|missing|no such).*"
chmod 644 "$WATCH.gone/unreadable.fits"
finish
