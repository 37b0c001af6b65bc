#!/bin/bash
# A far end that is not as it should be: wrong host key, wrong login, wrong program, another
# release, tight servers, cut lines, damaged books. Nothing is sent where it must not go,
# everything queues, each message names its remedy, and once the cause is mended the queue
# drains by itself, sending only the bytes that are missing.
. "$(dirname "$0")/lib.sh"
number=800001

# ---- six agents of six observers, each with another trouble, side by side ----
# What each of them may run stands beside its key, so one sshd serves all.
garbage=$WORK/garbage.sh prophet=$WORK/prophet.sh
printf '#!/bin/sh\necho "Welcome to the cluster! Maintenance on Monday."\nexec cat >/dev/null\n' >"$garbage"
printf '#!/bin/sh\nexec /usr/bin/python3 "%s.py"\n' "$prophet" >"$prophet"
cat >"$prophet.py" <<'PY'
# A `receive` of a later release: takes HELLO, answers WELCOME with protocol 99.
import json, struct, sys
def frame(kind, body):
    return struct.pack('>IBBH', len(body), kind, 0, 0) + body
head = sys.stdin.buffer.read(8)
sys.stdin.buffer.read(struct.unpack('>I', head[:4])[0])
body = json.dumps({'protocol': 99, 'software': 'skyferry 9.9', 'agent': 'later', 'free_bytes': 10**12}).encode()
sys.stdout.buffer.write(frame(2, body))
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
PY
chmod +x "$garbage" "$prophet"

# of WHO COMMAND...: the command with that observer's folders.
of() {
    local who=$1
    shift
    NEAR=$WORK/$who WATCH=$WORK/$who/data SPOOL=$WORK/$who/spool "$@"
}
observers="unknown changed refused garbage prophet bare"
mine=$NEAR
authorize() { # authorize WHO COMMAND
    printf 'restrict,command="%s" %s\n' "$2" "$(cat "$WORK/$1/user_key.pub")" >>"$FAR/observers"
}
serve() { start_sshd "AuthorizedKeysFile $FAR/authorized_keys $FAR/observers" "$@"; }
: >"$FAR/observers"
write_pull
serve
for who in $observers; do
    mkdir -p "$WORK/$who/data" "$WORK/$who/spool"
    ssh-keygen -q -t ed25519 -N '' -f "$WORK/$who/user_key" -C "$who"
    cp "$mine/known_hosts" "$WORK/$who/"
    of "$who" write_push
    of "$who" eval 'camera --object $who --expnum $number --seed $number --quiet' >/dev/null
    number=$((number + 1))
done
: >"$WORK/unknown/known_hosts"
printf '[127.0.0.1]:%s %s\n' "$PORT" "$(cut -d' ' -f1,2 "$WORK/refused/user_key.pub")" >"$WORK/changed/known_hosts"
receive="$BIN/skyferry-pull -c $FAR/pull.conf receive"
authorize unknown "$receive"
authorize changed "$receive"
authorize garbage "$garbage"
authorize prophet "$prophet"
# A key without a forced command gets a shell, in whose PATH there is no skyferry-pull.
printf 'restrict %s\n' "$(cat "$WORK/bare/user_key.pub")" >>"$FAR/observers"
for who in $observers; do
    start "$who" "$WORK/$who/push.log" "$BIN/skyferry-push" -c "$WORK/$who/push.conf" run
done
trouble_is() { of "$1" push status --json | jq -r .agent.trouble | grep -qE "$2"; }
troubled() { # troubled WHO WHAT PATTERN
    eventually "$2: said" 15 grep -qE "$3" "$WORK/$1/push.log"
    eventually "$2: status shows it too" 5 trouble_is "$1" "$3"
    same "$2: the exposure is kept, not parked" "$(of "$1" push_states | grep -cE ' (seen|ready|sending)$')" 1
}
fingerprint=$(ssh-keygen -lf "$FAR/host_key.pub" | cut -d' ' -f2 | sed 's/+/[+]/g')
troubled unknown "an unknown host key" "not known: $fingerprint.*ssh-keyscan -p $PORT 127.0.0.1 >> .*known_hosts"
troubled changed "a changed host key" "HAS CHANGED: it is now $fingerprint.*ssh-keygen -f .*known_hosts -R"
troubled refused "a refused login" "login as '$(id -un)' was refused.*authorized_keys"
troubled garbage "a wrong program at the far end" 'Welcome to the cluster.*authorized_keys'
troubled prophet "a far end of another release" 'protocol 99.*same release'
if command -v skyferry-pull >/dev/null; then
    echo "# skyferry-pull is installed here: a key without forced command is skipped"
else
    troubled bare "a key without a forced command" 'did not start.*command=.*authorized_keys'
fi
same "nothing was sent anywhere" "$(find "$STORE" -type f | wc -l)" 0
exits "check tells an unknown host key: something here must be mended" 1 of unknown push check
says "with the remedy" "$WORK/out" 'ssh-keyscan'
exits "sweep too is exit 4" 4 of refused push sweep --timeout 3

# Each is mended while its agent runs. They try again within a minute: seen to below.
cp "$mine/known_hosts" "$WORK/unknown/known_hosts"
cp "$mine/known_hosts" "$WORK/changed/known_hosts"
: >"$FAR/observers"
for who in $observers; do authorize "$who" "$receive"; done
mended=$SECONDS

# ---- a thin line of 4 MB/s that counts what push sends ----
start thin "$WORK/thin.log" debian_python tests/e2e/thin_line.py "$WORK/thin.port" "$PORT" 4e6 "$WORK/count"
wait_for 10 test -s "$WORK/thin.port" || fail "the thin line is there"
THIN=$(cat "$WORK/thin.port")
sed "s/:$PORT/:$THIN/" "$mine/known_hosts" >"$mine/thin_hosts"
carried() { cat "$WORK/count"; }
map() { find "$STORE/incoming" -name "*.map" -size +300c; }
big() { # an exposure of 12 MB that does not shrink
    CCDS=3 SIZE=1024x2048 camera --object Big --expnum $number --format fits --quiet >/dev/null
    name=$(printf 'DECam_%08d' $number)
    number=$((number + 1))
}
arrived() { ls "$STORE"/bundles/*/"$1".receipt; }
bundle_is_whole() {
    local tar
    tar=$(ls "$STORE"/bundles/*/"$1".tar)
    same "$1 arrived whole" "$(sha256sum "$tar" | cut -d' ' -f1)" "$(jq -r .sha256 "${tar%.tar}.receipt")"
    same "$1 is the file that was sent" "$(jq -r .source_sha256 "${tar%.tar}.receipt")" \
        "$(sha256sum "$WATCH/$1.fits" | cut -d' ' -f1)"
}
write_push ship.port="$THIN" ship.known_hosts="$mine/thin_hosts" codec.method=original ship.lane_window_kib=512 ship.chunk_kib=128
start_push
big
eventually "a sixth of it is there" 20 eval '[ $(carried) -gt 2000000 ]'
kill_sshd
held=$(carried)
sleep 0.5
serve
eventually "sshd killed in mid-transfer and started again: delivered" 40 arrived "$name"
bundle_is_whole "$name"
size=$(jq -r .size "$STORE"/bundles/*/"$name".receipt)
same "the cut came in the middle" "$([ "$held" -lt $((size - 2000000)) ] && echo yes)" yes
again=$(($(carried) - size))
same "what was sent twice is at most 3 MiB ($((again / 1024)) KiB, handshakes included)" \
    "$([ $again -lt 3145728 ] && echo yes)" yes
says "it says that it goes on" "$NEAR/push.log" "goes on where it stopped"

before=$(carried)
big
eventually "another is on its way" 20 eval '[ $(carried) -gt $((before + 3000000)) ]'
cut_line
sleep 1
cut_line
eventually "the line cut twice, sshd still there: delivered" 40 arrived "$name"
bundle_is_whole "$name"
again=$(($(carried) - before - size))
same "little was sent twice ($((again / 1024)) KiB)" "$([ $again -lt 4194304 ] && echo yes)" yes

# ---- damaged books: the map's middle, its head, its end; and a byte of what had come ----
damage() { # damage WHAT COMMAND...: cut off, do that to the map ($1) and part ($2), go on
    local what=$1 at
    shift
    at=$(carried)
    big
    wait_for 20 eval "[ \$(carried) -gt $((at + 2500000)) ]"
    kill_sshd
    check "$what: there is a map to damage" test -s "$(map)"
    "$@" "$(map)" "$(map | sed 's/map$/part/')"
    serve
    eventually "$what: delivered" 60 arrived "$name"
    bundle_is_whole "$name"
}
middle() { printf 'XXXXXXXXXXXX' | dd of="$1" bs=1 seek=$((96 + 3 * 32 + 10)) conv=notrunc status=none; }
head_and_tail() {
    printf 'NOT A MAP' | dd of="$1" bs=1 conv=notrunc status=none
    truncate -s -7 "$1"
}
flipped() { printf 'XXXXXXXX' | dd of="$2" bs=1 seek=70000 conv=notrunc status=none; }
damage "a map with a damaged record" middle
damage "a map without its head" head_and_tail
damage "a part with a flipped byte" flipped
says "whose digest was found wrong" "$NEAR/push.log" 'SHA-256 differs'
eventually "nothing is left in incoming" 30 eval '[ -z "$(find "$STORE/incoming" -name "*.part" -o -name "*.map")" ]'
stop push
stop thin

# ---- no sshd at all for a while: a closed door is knocked at every second or so ----
write_push codec.method=original
kill_sshd
start_push
big
eventually "a closed port is said" 10 grep -q "onnection refused" "$NEAR/push.log"
sleep 8
serve
back=$(date +%s)
eventually "delivered when sshd is there" 30 arrived "$name"
again=$(($(date -d "$(grep 'connected to' "$NEAR/push.log" | tail -1 | cut -d' ' -f1)" +%s) - back))
check "after a knock $again s later" test "$again" -le 6
stop push

# ---- tight servers ----
tight() { # tight WHAT LINE...
    local what=$1
    shift
    kill_sshd
    serve "$@"
    start_push
    big
    eventually "$what: delivered" 90 arrived "$name"
    bundle_is_whole "$name"
    stop push
}
write_push codec.method=original ship.lanes=6
tight "MaxSessions 1" "MaxSessions 1"
tight "MaxStartups 2:100:2" "MaxStartups 2:100:2"
tight "RekeyLimit 1M" "RekeyLimit 1M"

# ---- and the six observers? ----
left=$((mended + 150 - SECONDS))
for who in $observers; do
    eventually "$who: mended, it drained without a restart" $((left > 5 ? left : 5)) of "$who" push_has 1 done
done
for who in $observers; do
    same "$who: its agent is the one that was started" "$(of "$who" push status --json | jq .agent.pid)" "${PID[$who]}"
done

# ---- receive needs no daemon ----
same "nothing was placed all the while" "$(placed_count)" 0
total=$(find "$STORE/bundles" -name '*.tar' | wc -l)
start_pull
eventually "the daemon, started later, takes up all of them" 60 pull_has "$total" done
finish
