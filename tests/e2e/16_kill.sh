#!/bin/bash
# Kill -9 at every stage boundary of either agent, then start it again: each exposure arrives
# once, whole, with one row a ccd and one run of results, and nothing is left half done.
. "$(dirname "$0")/lib.sh"
write_pull jobs.ccds_per_job=2
start_sshd
write_push
number=600001

# One exposure through a pair of which AGENT dies at POINT.
dies_at() {
    local agent=$1 point=$2 name
    name=$(printf 'DECam_%08d' $number)
    camera --object Field --expnum $number --seed $number --quiet >/dev/null
    number=$((number + 1))
    SKYFERRY_CRASH_AT=$point "start_$agent"
    [ "$agent" = push ] && start_pull || start_push
    if ! wait_for 30 died "$agent"; then
        fail "$point: the $agent agent passes there"
        kill -KILL "${PID[$agent]}"
    fi
    wait "${PID[$agent]}" 2>/dev/null
    unset "PID[$agent]"
    "start_$agent"
    eventually "$point: delivered after a restart" 60 arrived "$name"
    stop push
    stop pull
}
died() { ! running "$1" || [ "$(ps -o state= -p "${PID[$1]}")" = Z ]; }
arrived() {
    push_states | grep -q "^$1 done\$" && pull_states | grep -q "^$1 done\$"
}

# gathered: only with one file a ccd (33_hsc)
points=${POINTS:-$(grep -hoE 'crash_point\("[a-z:]+"\)|"(push|pull):[a-z]+"' "$TOP"/push/*.c "$TOP"/pull/*.c |
    grep -oE '(push|pull):[a-z]+' | sort -u | grep -vE "parked|receive|exact|early|gathered")}
echo "# points: $(echo $points)"
for point in $points; do dies_at "${point%%:*}" "$point"; done

total=$((number - 600001))
same "there were points to die at" "$([ $total -ge 10 ] && echo yes)" yes
same "every ccd is there once" "$(placed_count)" $((4 * total))
pull status --json >"$WORK/status.json"
same "one catalogue row an exposure" "$(jq '.exposures | length' "$WORK/status.json")" $total
same "two jobs an exposure, each done" "$(jq '[.exposures[] | select(.jobs == 2 and .jobs_done == 2)] | length' "$WORK/status.json")" $total
same "one bundle an exposure" "$(find "$STORE/bundles" -name '*.tar' | wc -l)" $total
same "no drafts" "$(find "$STORE" "$SPOOL" -name '.*.part' | wc -l)" 0
same "an empty spool" "$(find "$SPOOL" -name '*.tar*' | wc -l)" 0
check "tree and catalogue agree" pull verify
finish
