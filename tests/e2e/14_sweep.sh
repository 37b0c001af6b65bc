#!/bin/bash
# The end of the night: sweep compares by digest with what the far end holds, sends what is
# missing, and its exit status can be trusted. An unreachable far end is never "nothing to send".
. "$(dirname "$0")/lib.sh"
write_pull
start_sshd
write_push
camera --night "bias:1,object:A:g:2,object:B:g:1" --expnum 200001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null

exits "dry run: something is missing" 3 push sweep --dry-run
says "and it says what" "$WORK/out" 'missing 4|4 missing'
same "a dry run sends nothing" "$(find "$STORE/bundles" -name '*.tar' 2>/dev/null | wc -l)" 0
exits "--exp-min sends what has a larger number and is content" 0 push sweep --exp-min 200003
same "one bundle" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" 1
exits "a night without exposures does not pass for a complete one" 1 push sweep --night ut160831
says "and is named" "$WORK/out" 'no exposure of night ut160831'
exits "a malformed night is a usage error" 2 push sweep --night 160831
exits "the rest is sent" 0 push sweep --night ut240405
says "with its counts" "$WORK/out" 'missing|sent'
same "four bundles" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" 4
exits "a second sweep finds nothing missing" 0 push sweep
says "and sent nothing" "$WORK/out" 'missing 0|0 missing|nothing'

# What the far end lost is found missing again, whatever our journal believes.
bundle=$(find "$STORE/bundles" -name '*200002.tar')
rm "$bundle"
exits "a bundle that vanished at the far end is sent again" 0 push sweep
check "it is there" test -f "$bundle"
head -c 5000 "$bundle" >"$bundle.cut" && mv "$bundle.cut" "$bundle"
exits "a truncated bundle at the far end counts as missing" 0 push sweep
# A damaged file is not written over: the whole one may stand beside it as NAME~2.
whole() {
    local one
    for one in "${bundle%.tar}"*.tar; do
        [ "$(jq -r .sha256 "${one%.tar}.receipt")" = "$(sha256sum "$one" | cut -d' ' -f1)" ] && return
    done
    return 1
}
check "and is there whole again" whole

head -c 50000 "$WATCH/DECam_00200001.fits.fz" >"$WATCH/broken.fits.fz"
exits "a truncated local file: not everything is delivered" 3 push sweep
exits "of whatever night: its own cannot be known" 3 push sweep --night ut240405
says "and it is named" "$WORK/out" 'broken'
check "on a terminal of 80 columns, but for paths" test -z "$(awk '!/^20/ && length > 79 && NF > 4' "$WORK/out")"
check "as its usage is" test -z "$(push sweep --help | awk 'length > 79')"
rm "$WATCH/broken.fits.fz"
OUT=$NEAR camera --object Elsewhere --expnum 200049 --quiet >/dev/null
mv "$NEAR/DECam_00200049.fits.fz" "$WATCH/"$'line\nbreak.fits.fz'
exits "a name that the far end takes from nobody" 3 push sweep
says "is said, with what to do" "$WORK/out" 'rename it'
rm "$WATCH/"$'line\nbreak.fits.fz'
exits "retry all when nothing is parked any more" 0 push retry all
exits "and once more" 0 push retry all
says "is no failure" "$WORK/out" 'nothing is parked'

kill_sshd
exits "an unreachable far end is exit 4" 4 push sweep --timeout 3
says "and not called complete" "$WORK/out" 'unreachable|cannot be reached|not known'
exits "send too" 4 push send --timeout 3 "$WATCH"/DECam_00200001.fits.fz
start_sshd

# With a running agent the same commands go through its queue.
start_pull
start_push
OUT=$NEAR camera --object Elsewhere --expnum 200050 --quiet >/dev/null
exits "send FILE from outside the watched directory, through the running agent" 0 push send "$NEAR/DECam_00200050.fits.fz"
OUT=$NEAR camera --object Elsewhere --expnum 200051 --count 2 --quiet >/dev/null
printf '%s\n' "$NEAR/DECam_00200051.fits.fz" "" "$NEAR/DECam_00200052.fits.fz" >"$WORK/list"
exits "send --list" 0 push send --list "$WORK/list"
same "both arrived" "$(find "$STORE/bundles" -name 'DECam_0020005[12].tar' | wc -l)" 2
exits "sweep beside the running agent" 0 push sweep
echo "$NEAR/no-such-file.fits" >"$WORK/list"
exits "a list with a missing file: not everything delivered" 3 push send --list "$WORK/list"
says "which is named" "$WORK/out" 'no-such-file'
finish
