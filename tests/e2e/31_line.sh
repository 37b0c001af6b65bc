#!/bin/bash
# Servers that stall, hang half-way or greet and then fail, and a line that is cut and restored:
# everything arrives, nothing is sent in a storm, and after a cut it flows again at once.
. "$(dirname "$0")/lib.sh"
. tests/wan/box.sh
number=310001
big() { # an exposure of 25 MB that does not shrink
    CCDS=6 SIZE=1024x2048 camera --object Big --expnum $number --format fits --quiet >/dev/null
    name=$(printf 'DECam_%08d' $number)
    number=$((number + 1))
}
arrived() { ls "$STORE"/bundles/*/"$1".receipt; }
whole() {
    local tar
    tar=$(ls "$STORE"/bundles/*/"$1".tar) || { fail "$1 arrived"; return; }
    same "$1 arrived whole" "$(sha256sum "$tar" | cut -d' ' -f1)" "$(jq -r .sha256 "${tar%.tar}.receipt")"
}
came_in() { grep -c '^Accepted publickey' "$FAR/sshd.log"; }

# ---- a far end that greets and then fails ----
write_pull
make_keys
/usr/bin/python3 - >"$WORK/welcome" <<'PY'
import struct, sys
body = b'{"protocol":1,"software":"skyferry 0.1.0","agent":"store","free_bytes":1000000000}'
sys.stdout.buffer.write(struct.pack('>IBBH', len(body), 2, 0, 0) + body)
PY
printf '#!/bin/sh\ncat %s\nexit 1\n' "$WORK/welcome" >"$WORK/greets" # WELCOME, then the end
chmod +x "$WORK/greets"
FORCED=$WORK/greets start_sshd
write_push codec.method=original ship.lanes=auto
start_push
big
wait_for 10 eval '[ "$(came_in)" -ge 2 ]'
first=$(came_in)
sleep 6
tries=$(($(came_in) - first))
same "a far end that greets and fails is tried ever more seldom ($tries more times in 6 s)" "$([ $tries -le 12 ] && echo yes)" yes
eventually "and tried again" 20 eval '[ "$(came_in)" -gt "$first" ]'
kill_sshd
start_sshd
eventually "when it works, the exposure is delivered" 40 arrived "$name"
whole "$name"

# ---- nothing to do ----
ticks() { awk '{print $14 + $15}' "/proc/${PID[push]}/stat"; }
sleep 1
before=$(ticks)
sleep 2
same "an agent that has nothing to do rests ($(($(ticks) - before)) hundredths of a second in 2 s)" \
    "$([ $(($(ticks) - before)) -lt 20 ] && echo yes)" yes

# ---- a server that stands still for three seconds ----
big
sleep 0.2
stopped=$(descendants "${PID[sshd]}")
kill -STOP "${PID[sshd]}" $stopped
sleep 3
kill -CONT "${PID[sshd]}" $stopped
eventually "a server that stalls for 3 s only slows" 30 arrived "$name"
whole "$name"
stop push

# ---- one that hangs half-way through the handshake, every second time ----
cat >"$WORK/hang.py" <<'PY'
# PORT TO: every odd connection gets the server's first line and then nothing
import socket, sys, threading
def pump(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', int(sys.argv[1]))); listener.listen(50)
held, n = [], 0
print('ready', flush=True)
while True:
    near, _ = listener.accept(); n += 1
    if n % 2:
        near.sendall(b'SSH-2.0-OpenSSH_9.2p1\r\n'); held.append(near); continue
    far = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
PY
HALF=$((PORT + 1))
start hang "$WORK/hang.log" /usr/bin/python3 "$WORK/hang.py" "$HALF" "$PORT"
wait_for 5 grep -q ready "$WORK/hang.log"
sed "s/:$PORT/:$HALF/" "$NEAR/known_hosts" >"$NEAR/half_hosts"
write_push codec.method=original ship.lanes=auto ship.port="$HALF" ship.known_hosts="$NEAR/half_hosts" ship.connect_timeout_seconds=5
start_push
big
eventually "connections that hang in the handshake do not stop the others" 40 arrived "$name"
whole "$name"
stop push
stop hang
kill_sshd

# ---- a line that is cut ----
if box_possible; then
    BOX_EVERY_MS=100 box_up 100 160 || fail "the line stands"
    PORT=
    start_sshd
    write_push codec.method=original ship.lanes=auto
    start_push
    big
    arrives() { wait_for 40 arrived "$name" && pass "$1" || fail "$1"; }
    arrives "over a long line"
    flows() { [ $(($(box_count | jq .near_to_far.out_bytes) - sent)) -gt 300000 ]; }
    cut_line() { # in the middle of an exposure, for 6 s
        CCDS=12 SIZE=1024x2048 camera --object Big --expnum $number --format fits --quiet >/dev/null
        name=$(printf 'DECam_%08d' $number)
        number=$((number + 1))
        sleep 2
        box_cut
        sleep 6
        sent=$(box_count | jq .near_to_far.out_bytes)
        box_restore
        start_ns=$(date +%s%N)
        wait_for 10 flows
        took=$((($(date +%s%N) - start_ns) / 1000000))
    }
    # A busy machine may hide how soon the line is used again: the best of three cuts counts.
    for cuts in 1 2 3; do
        cut_line
        arrives "an exposure arrives over a line that is cut"
        whole "$name"
        [ $took -ge 2400 ] || break
    done
    same "after a cut of 6 s it flows again within 2 round trips and 2 s ($took ms)" "$([ $took -lt 2400 ] && echo yes)" yes
    total=$(box_count | jq .near_to_far.out_bytes)
    size=$(stat -c %s "$STORE"/bundles/*/DECam_*.tar | tail -$((cuts + 1)) | awk '{s += $1} END {print s}')
    same "at most 4 MiB a cut were sent twice (all bytes $total, of bundles $size)" \
        "$([ $((total - size * 105 / 100)) -lt $((cuts * 4194304)) ] && echo yes)" yes
    says "the log tells of it" "$NEAR/push.log" 'the line to .* (is back|moves again) after'
    stop push
    box_down
else
    pass "# skipped: $BOX_WHY_NOT"
fi
finish
