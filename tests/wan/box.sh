# A line in a box: two network namespaces and tests/wan/relay.c between them, for scripts.
# Source it, after tests/e2e/lib.sh where that is used (or alone, from anywhere); then
#   box_possible || skip_all "$BOX_WHY_NOT"
#   box_up RATE_MBIT RTT_MS [QUEUE_KIB] [LOSS_PERCENT]    the queue: one bandwidth-delay product
#                                                         (256 KiB at least) by default or when -
#   box_near COMMAND...        runs it at the near end; box_far: at the far end
#   start NAME LOG "${NEAR_RUN[@]}" COMMAND...            in the background: the pid is the command's
#   box_cut; box_restore       as an anchor does to a cable; nothing of what was under way arrives
#   box_count                  the relay's counters now, one JSON object; $BOX_LOG has one a second
#   box_used BEFORE AFTER      of two such objects: the share of the time the line was busy (near to far)
#   box_iperf FLOWS SECONDS [CONGESTION]                  what iperf3 gets through, Mbit/s
#   box_capacity [SECONDS]                                the best of some such: C
#   box_down                   also done at exit
# Loss and rate hold in both directions, IP bytes count. lib.sh's start_sshd, push and start_push
# use the box from box_up on (FAR_IP, FAR_RUN, NEAR_RUN). The relay works wherever root does, so netem
# (which not every kernel has) is not used. BOX_SEED: other losses. BOX_EVERY_MS: $BOX_LOG's step.
BOX_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BOX_RELAY=$BOX_TOP/build/${FLAVOUR:-gcc}/wan-relay
BOX_NEAR=skyn$$ BOX_FAR=skyf$$
BOX_NEAR_IP=10.77.0.1 BOX_FAR_IP=10.77.0.2
BOX_PID= BOX_LOG= BOX_WHY_NOT=
NEAR_RUN=() FAR_RUN=()

if declare -F clean_up >/dev/null; then trap 'clean_up; box_down' EXIT; else trap box_down EXIT; fi

box_possible() {
    BOX_WHY_NOT=
    if [ "$(id -u)" -ne 0 ]; then
        BOX_WHY_NOT="a line in a box needs root"
    elif ! : 2>/dev/null <>/dev/net/tun; then
        BOX_WHY_NOT="a line in a box needs /dev/net/tun"
    elif ! command -v ip >/dev/null; then
        BOX_WHY_NOT="a line in a box needs ip (package iproute2)"
    elif ! ip netns add "$BOX_NEAR" 2>/dev/null || ! ip netns delete "$BOX_NEAR"; then
        BOX_WHY_NOT="a line in a box needs network namespaces, which this machine does not allow"
    elif [ ! -x "$BOX_RELAY" ]; then
        BOX_WHY_NOT="a line in a box needs $BOX_RELAY (make programs)"
    fi
    [ -z "$BOX_WHY_NOT" ]
}

box_up() {
    local rate=$1 rtt=$2 queue=${3:--} loss=${4:-0} ns
    box_down
    [ "$queue" != - ] || queue=$(awk -v r="$rate" -v t="$rtt" 'BEGIN {q = r * t * 125 / 1024; printf "%d", q < 256 ? 256 : q}')
    BOX_LOG=${WORK:-${TMPDIR:-/tmp}}/box.$$.json
    rm -f "$BOX_LOG"
    for ns in "$BOX_NEAR" "$BOX_FAR"; do
        ip netns add "$ns" && ip -n "$ns" link set lo up || return 1
    done
    "$BOX_RELAY" --near "$BOX_NEAR" --far "$BOX_FAR" --rate "$rate" \
        --delay "$(awk -v t="$rtt" 'BEGIN {print t / 2}')" --queue "$queue" --loss "$loss" \
        --seed "${BOX_SEED:-1}" --every "${BOX_EVERY_MS:-1000}" --counters "$BOX_LOG" </dev/null &
    BOX_PID=$!
    box_until 1 || { echo "# the relay did not start" >&2; box_down; return 1; }
    # What the ends send must wait in the relay's queue, not be dropped in front of it; and
    # nothing but what the test sends is to be counted.
    for ns in "$BOX_NEAR" "$BOX_FAR"; do
        ip -n "$ns" link set line mtu 1500 txqueuelen 50000 addrgenmode none &&
            ip -n "$ns" link set line up || return 1
    done
    ip -n "$BOX_NEAR" address add "$BOX_NEAR_IP" peer "$BOX_FAR_IP" dev line &&
        ip -n "$BOX_FAR" address add "$BOX_FAR_IP" peer "$BOX_NEAR_IP" dev line || return 1
    NEAR_RUN=(ip netns exec "$BOX_NEAR") FAR_RUN=(ip netns exec "$BOX_FAR")
    FAR_IP=$BOX_FAR_IP
}

# Whatever still runs in the namespaces is ours and ends with them.
box_down() {
    local ns pid
    for ns in "$BOX_NEAR" "$BOX_FAR"; do
        [ -e "/run/netns/$ns" ] || continue
        for pid in $(ip netns pids "$ns" 2>/dev/null); do
            [ "$pid" = "$BOX_PID" ] || kill -KILL "$pid" 2>/dev/null
        done
    done
    if [ -n "$BOX_PID" ]; then
        kill -TERM "$BOX_PID" 2>/dev/null
        wait "$BOX_PID" 2>/dev/null
        BOX_PID=
        [ -n "${WORK:-}" ] || rm -f "$BOX_LOG"
    fi
    for ns in "$BOX_NEAR" "$BOX_FAR"; do
        [ ! -e "/run/netns/$ns" ] || ip netns delete "$ns"
    done
    NEAR_RUN=() FAR_RUN=() FAR_IP=127.0.0.1
}

box_near() { ip netns exec "$BOX_NEAR" "$@"; }
box_far() { ip netns exec "$BOX_FAR" "$@"; }

# until the relay has written so many lines
box_until() {
    local i
    for i in {1..500}; do
        [ "$(wc -l 2>/dev/null <"$BOX_LOG" || echo 0)" -lt "$1" ] || return 0
        kill -0 "$BOX_PID" 2>/dev/null || return 1
        sleep 0.01
    done
    return 1
}
# A signal to the relay, until it has answered with this event.
box_tell() {
    local had
    had=$(grep -c "\"event\":\"$2\"" "$BOX_LOG")
    kill -"$1" "$BOX_PID" || return 1
    for _ in {1..500}; do
        [ "$(grep -c "\"event\":\"$2\"" "$BOX_LOG")" -eq "$had" ] || return 0
        sleep 0.01
    done
    return 1
}
box_cut() { box_tell USR1 cut; }
box_restore() { box_tell USR2 restore; }
box_count() { box_tell HUP asked && grep '"event":"asked"' "$BOX_LOG" | tail -n 1; }
box_used() {
    jq -n --argjson a "$1" --argjson b "$2" \
        '($b.near_to_far.busy_s - $a.near_to_far.busy_s) / ($b.mono - $a.mono) * 1000 | round / 1000'
}

# box_iperf FLOWS SECONDS [CONGESTION]: Mbit/s of payload that iperf3 carries from near to far,
# its first five seconds left out; nothing when it failed. Needs an opened box.
box_iperf() {
    local server got
    "${FAR_RUN[@]}" iperf3 -s -1 >/dev/null 2>&1 </dev/null &
    server=$!
    for _ in {1..500}; do
        [ -z "$(box_far ss -Hltn sport = :5201)" ] || break
        sleep 0.01
    done
    got=$(timeout "$(($2 + 60))" ip netns exec "$BOX_NEAR" iperf3 -J -c "$BOX_FAR_IP" -P "$1" -t "$2" -O 5 ${3:+-C "$3"} |
        jq -r '.end.sum_received.bits_per_second / 1e4 | round / 100 | select(. > 0)' 2>/dev/null)
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    echo "$got"
}
# box_capacity [SECONDS]: C, the best that iperf3 gets; many flows or few, cubic or bbr.
box_capacity() {
    local flows
    for flows in "8 cubic" "4 bbr"; do
        # shellcheck disable=SC2086
        set -- "${1:-15}" $flows
        box_iperf "$2" "$1" "$3"
    done | sort -g | tail -n 1
}
