#!/bin/bash
# The line in a box (tests/wan) is what it says: its rate to 1 %, its round trip, its queue, its
# losses, and a cut that drops what is under way, each seen by tools that know nothing of it.
# An exposure travels through it from agent to agent.
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/wan/box.sh"
box_possible || skip_all "$BOX_WHY_NOT"

# within WHAT VALUE LOW HIGH
within() {
    if awk -v v="$2" -v a="$3" -v b="$4" 'BEGIN {exit !(v != "" && v + 0 >= a && v + 0 <= b)}'; then
        pass "$1"
    else
        fail "$1"
        echo "#   got '$2', wanted $3 to $4"
    fi
}
count() { box_count | jq "$1"; }
ping_once() { box_near ping -q -c 1 -W "$1" "$BOX_FAR_IP"; }

# ---- 100 Mbit/s, 40 ms ----
check "a box opens" box_up 100 40
within "the round trip is that asked for, ms" \
    "$(box_near ping -q -i 0.05 -c 5 "$BOX_FAR_IP" | sed -n 's|^rtt [^=]*= \([0-9.]*\)/.*|\1|p')" 40 42
# Again, up to three times, where the machine stood still meanwhile.
for _ in 1 2 3; do
    rm -f "$WORK/iperf.log"
    start iperf "$WORK/iperf.log" "${FAR_RUN[@]}" iperf3 -s -1 --forceflush
    wait_for 5 grep -q listening "$WORK/iperf.log"
    box_near iperf3 -J -c "$BOX_FAR_IP" -P 4 -t 3 -O 1 >"$WORK/iperf.json"
    stop iperf
    got=$(jq '.end.sum_received.bits_per_second / 1e6' "$WORK/iperf.json")
    awk -v got="$got" 'BEGIN { exit !(got >= 80) }' && break
done
# A second in which the line never idled.
jq -cs '[range(1; length) as $i | [.[$i - 1], .[$i]] | select(all(.near_to_far.queue_bytes > 50000)
         and .[1].near_to_far.busy_s - .[0].near_to_far.busy_s > 0.9999 * (.[1].mono - .[0].mono))][0]' \
    "$BOX_LOG" >"$WORK/second.json"
within "a full line carries its rate to 1 %, Mbit/s" \
    "$(jq '(.[1].near_to_far.out_bytes - .[0].near_to_far.out_bytes) * 8e-6 / (.[1].mono - .[0].mono)' "$WORK/second.json")" 99 101
# Within its three seconds fall also what was queued, and what waited for a hole to be filled.
within "iperf3 gets what headers leave of it" "$got" 80 100
same "box_used tells that the line was busy" "$(box_used "$(jq '.[0]' "$WORK/second.json")" "$(jq '.[1]' "$WORK/second.json")")" 1
within "the queue filled and no more, bytes" "$(jq -s 'map(.near_to_far.queue_bytes) | max' "$BOX_LOG")" 100000 500000
within "a full queue drops" "$(count .near_to_far.queue_drops)" 1 1e9
same "nothing was dropped in front of the relay" \
    "$(ip -n "$BOX_NEAR" -s -j link show line | jq '.[0].stats64.tx.dropped')" 0

# ---- losses ----
check "a box with 5 % loss opens" box_up 100 1 - 5
lost=$(box_near ping -q -f -c 1000 -W 1 "$BOX_FAR_IP" | sed -n 's/.* \([0-9]*\) received.*/\1/p')
lost=$((1000 - lost))
within "of 1000 pings a tenth is lost, there or back" "$lost" 60 140
same "the counters know of each" "$(count '.near_to_far.loss_drops + .far_to_near.loss_drops')" "$lost"

# ---- cuts ----
check "a box of 600 ms opens" box_up 10 600
check "it answers" ping_once 5
under_way() { [ "$(count .near_to_far.in_packets)" -gt "$sent" ]; }
for _ in 1 2 3; do # again, where the machine stood still while it was under way
    rm -f "$WORK/ping.out"
    sent=$(count .near_to_far.in_packets) out=$(count .near_to_far.out_packets) cut=$(count .near_to_far.cut_drops)
    start ping "$WORK/ping.out" "${NEAR_RUN[@]}" ping -q -c 1 -W 1 "$BOX_FAR_IP"
    wait_for 5 under_way
    box_cut
    box_restore
    wait "${PID[ping]}"
    got="$(($(count .near_to_far.cut_drops) - cut)) $(($(count .near_to_far.out_packets) - out))"
    [ "$got" = "1 0" ] && break
done
same "what is under way when the line is cut never arrives" "$got" "1 0"
says "nor does its answer" "$WORK/ping.out" ' 0 received'
box_cut
exits "nothing passes a cut line" 1 ping_once 1
box_restore
check "restored, it answers again" ping_once 5

# ---- an exposure from agent to agent ----
check "a box of 50 Mbit/s and 60 ms opens" box_up 50 60
start_all
camera --object Field --expnum 900001 --seed 1 --quiet >/dev/null
eventually "an exposure crosses it" 20 push_has 1 done
within "by the line, bytes" "$(count .near_to_far.out_bytes)" 10000 1e7
box_down
same "nothing is left of it" "$(ip netns | grep -cE "^($BOX_NEAR|$BOX_FAR)\b")" 0
finish
