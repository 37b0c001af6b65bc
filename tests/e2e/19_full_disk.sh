#!/bin/bash
# Full disks: a spool at its quota, a spool on a full disk, a store that must keep room, a store
# on a full disk. Shipping pauses with a reason, nothing is lost or parked, and it goes on by
# itself when there is room.
. "$(dirname "$0")/lib.sh"
reason() { push status --json | jq -r --arg n "$1" '.exposures[] | select(.name == $n) | .reason'; }
reason_says() { reason "$1" | grep -qE "$2"; }
is() { push_states | grep -q "^$1 $2\$"; }
arrived() { ls "$STORE"/bundles/*/"$1".receipt; }

# ---- the spool's quota ----
CAMERA=generic
write_pull
start_sshd
write_push spool.quota_gib=0.001 codec.method=original
start_push
SIZE=128x128 camera --object Small --expnum 100001 --format fits --quiet >/dev/null
CCDS=4 SIZE=512x512 camera --object Large --expnum 100002 --format fits --quiet >/dev/null
SIZE=128x128 camera --object Small --expnum 100003 --format fits --quiet >/dev/null
eventually "an exposure larger than the quota waits" 15 reason_says DECam_00100002 'spool is full.*quota_gib'
eventually "smaller ones, also later ones, are delivered" 20 push_has 2 done
same "it is not parked" "$(push_count parked)" 0
push status >"$WORK/table"
says "the table tells it too" "$WORK/table" 'spool is full'
write_push spool.quota_gib=1 codec.method=original
kill -HUP "${PID[push]}"
eventually "with a larger quota and HUP it goes on" 30 is DECam_00100002 done

# ---- the store must keep more free than the disk has ----
write_pull store.min_free_gib=900000
cut_line # lanes read the setting when they begin
CCDS=2 SIZE=256x256 camera --object NoRoom --expnum 100004 --format fits --quiet >/dev/null
eventually "a store that must keep more room: push waits with the far end's words" 20 \
    reason_says DECam_00100004 'the store is full: .* MiB must stay free'
same "it is not parked either" "$(push_count parked)" 0
write_pull
cut_line
stop push
start_push
eventually "with room it goes on" 30 is DECam_00100004 done
stop push
same "four whole bundles" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" 4

# ---- really full disks, which only root can make ----
disk() { mount -t tmpfs -o "size=$2" skyferry-test "$1"; }
grow() { mount -o "remount,size=$2" "$1"; }
unmount() {
    stop push
    stop pull
    kill_sshd
    umount "$SPOOL" 2>/dev/null || umount -l "$SPOOL" 2>/dev/null
    umount "$STORE" 2>/dev/null || umount -l "$STORE" 2>/dev/null
}
if [ "$(id -u)" -ne 0 ] || ! disk "$SPOOL" 66m 2>/dev/null; then
    echo "# not root, or no mount here: really full disks are skipped"
    finish
fi
trap 'unmount; clean_up' EXIT
rm -rf "${WATCH:?}"/*

# The spool's disk: 64 MiB stay reserved for the journal, so 66 have room for 2.
write_push codec.method=original spool.quota_gib=1
start_push
CCDS=4 SIZE=1024x512 camera --object Big --expnum 100011 --format fits --quiet >/dev/null
SIZE=128x128 camera --object Small --expnum 100012 --format fits --quiet >/dev/null
eventually "a full spool disk is said" 20 reason_says DECam_00100011 'disk of the spool .* is full'
eventually "what fits is delivered" 20 is DECam_00100012 done
grow "$SPOOL" 200m
eventually "with room the other follows" 30 is DECam_00100011 done

# The disk fills to the last byte while a bundle is being written and the journal with it.
write_push codec.method=jp2 codec.qstep=0.000001 codec.threads=1 spool.quota_gib=1
stop push
start_push
CCDS=8 SIZE=1024x512 camera --object Filled --expnum 100013 --format fits --quiet >/dev/null
wait_for 10 eval 'ls "$SPOOL"/*-DECam_00100013.tar'
fallocate -l 300m "$SPOOL/filler" 2>/dev/null || dd if=/dev/zero of="$SPOOL/filler" bs=1M 2>/dev/null
SIZE=128x128 camera --object Small --expnum 100014 --format fits --quiet >/dev/null
eventually "a disk that fills under a growing bundle is said" 20 grep -qiE 'no space left|is full' "$NEAR/push.log"
sleep 1
check "the agent is still there" running push
rm "$SPOOL/filler"
eventually "with room that exposure goes on" 60 is DECam_00100013 done
eventually "and the one that came meanwhile" 30 is DECam_00100014 done
same "nothing is left in the spool" "$(find "$SPOOL" -name '*.tar*' | wc -l)" 0
stop push

# The store's disk: first too small for the bundle, then for the FITS files.
kill_sshd
rm -rf "${STORE:?}"/* "${WATCH:?}"/*
disk "$STORE" 3m
start_sshd
write_push codec.method=original
start_pull
start_push
CCDS=4 SIZE=1024x512 camera --object Deep --expnum 100021 --format fits --quiet >/dev/null
eventually "a full store: push waits with the far end's words" 30 reason_says DECam_00100021 'store is full|No space left'
same "nothing has a final name" "$(find "$STORE/bundles" -name '*.tar' 2>/dev/null | wc -l)" 0
grow "$STORE" 6m
stop push
start_push
eventually "with room for the bundle it is stored" 40 is DECam_00100021 done
eventually "the daemon has no room for the FITS files and says so" 20 \
    grep -qiE 'full|no space left' "$FAR/pull.log"
check "the daemon is still there" running pull
grow "$STORE" 60m
eventually "with room they are placed" 60 pull_has 1 done
same "each once" "$(placed_count)" 4
check "and the tree agrees with the catalogue" pull verify
same "without drafts" "$(find "$STORE" -name '.*.part' | wc -l)" 0
finish
