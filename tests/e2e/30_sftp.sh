#!/bin/bash
# A far end that allows SFTP and nothing else (transport = sftp): exposures are dropped into a
# folder, skyferry-pull takes them, and its receipt comes back as a file. A cut, a killed agent on
# either side, a missing skyferry-pull, a server without OpenSSH's extensions and a damaged drop
# cost a wait or a repeat, never an exposure; what nobody answers is not called delivered.
. "$(dirname "$0")/lib.sh"
DROPS=$FAR/skyferry-drops
FORCED="internal-sftp -d $FAR"
sftp_server=/usr/lib/openssh/sftp-server
number=910001
serve() { start_sshd "Subsystem sftp internal-sftp" "$@"; }
shot() { # a small exposure; its name in $name
    camera --object Field --expnum $number --seed $number --quiet >/dev/null
    name=$(printf 'DECam_%08d' $number)
    number=$((number + 1))
}
big() { # 12 MB that do not shrink, all at once: a pause between two ccds would end the exposure
    CCDS=3 SIZE=1024x2048 camera --object Big --expnum $number --format fits --style rename --quiet >/dev/null
    name=$(printf 'DECam_%08d' $number)
    number=$((number + 1))
}
delivered() { push_states | grep -q "^$1 done\$"; }
arrived() { ls "$STORE"/bundles/*/"$1".receipt; }
whole() {
    local tar
    tar=$(ls "$STORE"/bundles/*/"$1".tar)
    same "$1 arrived whole" "$(sha256sum "$tar" | cut -d' ' -f1)" "$(jq -r .sha256 "${tar%.tar}.receipt")"
}
died() { ! running "$1" || [ "$(ps -o state= -p "${PID[$1]}")" = Z ]; }
again() { kill -HUP "${PID[push]}"; } # what waits is tried at once
# What lies there beside receipts, which push removes when they have served.
leftovers() { find "$DROPS" -type f -not -name far-end.json -not -name '*.receipt' | wc -l; }

# ---- nobody is there yet ----
write_pull store.drops="$DROPS" store.rescan_seconds=1
serve
write_push ship.transport=sftp
exits "check: no drop folder" 4 push check
says "with the remedy" "$WORK/out" "drop folder 'skyferry-drops' is"
mkdir "$DROPS"
exits "check: the folder is there, skyferry-pull is not" 0 push check
says "it is a warning" "$WORK/out" 'warn  drops .*skyferry-pull does not run'
says "with its remedy" "$WORK/out" 'Start\b'
start_push
shot
first=$name
eventually "a drop lands all the same" 15 eval 'ls "$DROPS"/$first.*.tar'
eventually "it waits and says for whom" 10 grep -q "waits:.*skyferry-pull does *not run there" "$NEAR/push.log"
says "status says it too" <(push status) 'skyferry-pull does'
exits "sweep does not guess what is held" 4 push sweep
says "and says why" "$WORK/out" 'skyferry-pull does not run there'
same "not delivered without a receipt" "$(push_count done)" 0
start_pull
eventually "skyferry-pull takes what lies there" 10 arrived "$first"
eventually "the receipt is fetched as soon as it shows signs of life" 5 delivered "$first"
whole "$first"
shot
eventually "with both there: delivered" 10 delivered "$name"
exits "check: all is well" 0 push check
says "at the far end check prints the key's line" <(pull check) 'restrict,command="internal-sftp"'
says "with the extensions named" "$WORK/out" 'posix-rename'
exits "sweep: all is held" 0 push sweep
says "by the answer of skyferry-pull" "$WORK/out" 'held 2, missing 0'
rm "$STORE"/bundles/*/"$name".tar
exits "sweep sends what was lost there" 0 push sweep
says "one of two" "$WORK/out" 'sent 1 of 1, missing 0 of 2'
whole "$name"
stop push

# ---- a thin line, cut and with an agent killed ----
start thin "$WORK/thin.log" debian_python tests/e2e/thin_line.py "$WORK/thin.port" "$PORT" 4e6 "$WORK/count"
wait_for 10 test -s "$WORK/thin.port" || fail "the thin line is there"
THIN=$(cat "$WORK/thin.port")
sed "s/:$PORT/:$THIN/" "$NEAR/known_hosts" >"$NEAR/thin_hosts"
carried() { cat "$WORK/count"; }
map() { # the named exposure's map tells of so many times 128 KiB
    [ "$(cat "$DROPS"/."$name".*.map 2>/dev/null | awk '{ n += $2 } END { print int(n / 131072) }')" -ge "$1" ]
}
thin() {
    write_push ship.transport=sftp ship.port="$THIN" ship.known_hosts="$NEAR/thin_hosts" \
        codec.method=original ship.lane_window_kib=512 ship.chunk_kib=128 "$@"
}
thin
start_push
big
eventually "a third is there, in one hidden file" 10 map 32
says "by two lanes" <(push status) '2 connections up'
same "no more than one" "$(find "$DROPS" -name '.*.bytes' | wc -l)" 1
same "no visible name yet" "$(find "$DROPS" -name "$name*" | wc -l)" 0
before=$(carried)
kill_sshd
serve
eventually "sshd killed and started again: delivered" 20 delivered "$name"
whole "$name"
rest=$(($(carried) - before))
same "only what was missing came again ($((rest / 1024)) KiB)" \
    "$([ $rest -lt $((12600000 - 32 * 131072 + 1200000)) ] && echo yes)" yes
big
eventually "half of another is there" 10 map 48
before=$(carried)
stop push KILL
start_push
eventually "push killed and started again: delivered" 20 delivered "$name"
whole "$name"
rest=$(($(carried) - before))
same "only what was missing came again ($((rest / 1024)) KiB)" \
    "$([ $rest -lt $((12600000 - 48 * 131072 + 1200000)) ] && echo yes)" yes
says "it says that it goes on" "$NEAR/push.log" "goes on where it stopped"

# ---- a drop that is damaged before it is named ----
big
eventually "a part of a third is there" 10 map 8
at=$(head -1 "$DROPS"/."$name".*.map | cut -d' ' -f1)
printf 'XXXX' | dd of="$(echo "$DROPS"/."$name".*.bytes)" bs=1 seek=$((at + 100)) conv=notrunc status=none
eventually "the damage is found" 10 grep -q "$name.*SHA-256 differs" "$FAR/pull.log"
eventually "push is told, sends it again, and it is delivered" 25 delivered "$name"
whole "$name"
says "it was said" "$NEAR/push.log" "$name.*SHA-256 differs"
stop push
stop thin

# ---- skyferry-pull killed at every step of taking one ----
write_push ship.transport=sftp
start_push
for point in drop-moved drop-stored drop-receipt drop-cleared; do
    stop pull
    SKYFERRY_CRASH_AT=$point start_pull
    shot
    wait_for 10 died pull || fail "$point: skyferry-pull passes there"
    wait "${PID[pull]}" 2>/dev/null
    unset "PID[pull]"
    start_pull
    # Was nobody there when push looked, it looks again after half a minute.
    eventually "killed at $point: delivered after a restart" 45 delivered "$name"
done
same "every bundle once" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" $((number - 910001))

# ---- a server that knows no extension ----
if [ -x $sftp_server ]; then
    kill_sshd
    FORCED="$sftp_server -P posix-rename,fsync,statvfs,limits -d $FAR" serve
    shot
    eventually "without posix-rename and fsync: delivered" 20 delivered "$name"
    whole "$name"
    # The names are taken already, by an earlier try of another connection.
    stop pull
    shot
    eventually "another lies there" 10 eval 'ls "$DROPS"/$name.*.tar'
    side=$(echo "$DROPS"/"$name".*.commit)
    eventually "it waits for skyferry-pull" 15 grep -q "$name: waits" "$NEAR/push.log"
    mv "${side%.commit}.tar" "$DROPS/.$(basename "${side%.commit}").bytes"
    start_pull
    again
    eventually "a side-car in the way is replaced" 20 delivered "$name"
    whole "$name"
fi
eventually "nothing is left in the folder" 5 eval '[ $(leftovers) -eq 0 ]'
eventually "every ccd has its file" 10 eval '[ $(pull_count done) -eq $((number - 910001)) ]'
check "tree and catalogue agree" pull verify
stop pull
same "a daemon that ended says so" "$(find "$DROPS" -name far-end.json | wc -l)" 0
finish
