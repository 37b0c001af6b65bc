#!/bin/bash
# What holds work back, and nothing lost by it: ceilings on the queue, on running tasks and on
# submissions a minute (an sbatch and squeue that only keep a list stand in for Slurm), and the
# pause token, which a running daemon follows within a second and which outlives it.
. "$(dirname "$0")/lib.sh"
mkdir "$WORK/bin" "$WORK/queue"
export QUEUE=$WORK/queue
# sbatch: one line a task into $QUEUE/tasks; a task runs when the test says so (run_tasks). In this
# order, as the test looks on: what the array is, that there was a call, its tasks.
cat >"$WORK/bin/sbatch" <<'SBATCH'
#!/bin/bash
exec 9>>"$QUEUE/lock"
flock 9
id=$((1001 + $(cat "$QUEUE/calls" 2>/dev/null | wc -l)))
for option in "$@"; do
    case $option in
    --array=*) list=${option#--array=} ;;
    --job-name=*) name=${option#--job-name=} ;;
    --comment=*) comment=${option#--comment=} ;;
    esac
done
echo "$list" >>"$QUEUE/arrays"
date +%s%N >>"$QUEUE/calls"
list=${list%%\%*}
for task in ${list//,/ }; do
    echo "$id $task ${!#}" >>"$QUEUE/scripts"
    echo "$id|$task|PENDING||$name|$comment" >>"$QUEUE/tasks"
done
echo $id
SBATCH
cat >"$WORK/bin/squeue" <<'SQUEUE'
#!/bin/bash
exec 9>>"$QUEUE/lock"
flock 9
cat "$QUEUE/tasks" 2>/dev/null
exit 0
SQUEUE
printf '#!/bin/bash\necho "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1\n' >"$WORK/bin/scontrol"
printf '#!/bin/bash\nexit 1\n' | tee "$WORK/bin/sacct" >"$WORK/bin/scancel"
chmod +x "$WORK"/bin/*
PATH=$WORK/bin:$PATH
# run_tasks N: the first N of the queue run, one after the other, and leave it.
run_tasks() {
    local id task script
    for _ in $(seq "$1"); do
        exec 8>>"$QUEUE/lock"
        flock 8
        read -r id task script < <(head -n1 "$QUEUE/scripts")
        sed -i 1d "$QUEUE/scripts"
        exec 8>&-
        SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$id SLURM_RESTART_COUNT=0 \
            bash "$script" >/dev/null 2>&1
        exec 8>>"$QUEUE/lock"
        flock 8
        sed -i "/^$id|$task|/d" "$QUEUE/tasks"
        exec 8>&-
    done
}
queued() { wc -l <"$QUEUE/tasks"; }
calls() { cat "$QUEUE/calls" 2>/dev/null | wc -l; }
is() { [ "$($1)" -eq "$2" ]; }
cat >"$WORK/job" <<'JOB'
#!/bin/bash
echo "$1" >>"$QUEUE/ran"
JOB
chmod +x "$WORK/job"
conf() {
    write_pull jobs.command="$WORK/job {exposure}" jobs.ccds_per_job=1 jobs.runner=slurm \
        jobs.slurm_query_seconds=1 jobs.slurm_memory=1M "$@"
}
# Six bundles of 4 ccds, made by the telescope's side once.
conf
start_sshd
write_push codec.lossless=yes ship.mode=serial
start_pull
pull pause --reason "before the night" >"$WORK/out"
says "pause says who and why" "$WORK/out" "ingest is paused since .* by $(id -un)@.*: before the night"
eventually "the daemon says so, too" 5 grep -q "jobs: paused since .*before the night" "$FAR/pull.log"
start_push
for i in 1 2 3 4 5 6; do
    camera --object "T$i" --expnum $((360000 + i)) --seed $i --quiet >/dev/null
    wait_for 20 push_has $i done
done
eventually "while ingest is paused bundles are received" 20 pull_has 6 stored
stop push
same "and none is unpacked" "$(placed_count)" 0
pull status >"$WORK/out"
says "status says what waits and why" "$WORK/out" "ingest PAUSED since .*"
same "as JSON, too" "$(pull status --json | jq -c '.held.ingest | [.waiting, .paused.reason]')" '[6,"before the night"]'
pull check >"$WORK/out"
says "check reminds of it" "$WORK/out" "ingest: paused since"
stop pull KILL
conf jobs.submits_per_minute=2 ingest.max_at_once=1
start_pull
eventually "killed and started again it is still paused" 10 eval 'grep -c "ingest: paused" "$FAR/pull.log" | grep -qx 2'
check "resume" pull resume ingest
eventually "then all are unpacked" 30 pull_has 6 working
order=$(grep -oE 'placed exposure=[^:]*' "$FAR/pull.log" | head -n 2 | grep -oE '36000[0-9]' | sort -r | tr '\n' ' ')
same "the newest first" "$order" "360006 360005 "
same "jobs are still paused: none is submitted" "$(calls)" 0

# waits SENTENCE: status says so.
waits() { pull status | tr -s '\n ' ' ' | grep -qF "$1"; }

# ---- submissions a minute ----
check "resume the rest" pull resume
eventually "two exposures go, as two arrays" 10 is queued 8
eventually "the others wait, and status says why" 5 waits \
    "4 exposures wait for their jobs: 2 of 2 submissions of this minute are made ([jobs] submits_per_minute)"
same "they are the newest" "$(cut -d'|' -f5 "$QUEUE/tasks" | grep -oE '36000[0-9]' | sort -u | tr '\n' ' ')" "360005 360006 "
stop pull
start_pull
wait_for 10 eval 'pull status --json | jq -e ".daemon > 0"'
sleep 0.5
first=$(head -n1 "$QUEUE/calls")
now=$(date +%s%N)
check "a restart does not begin the minute anew" [ $((now - first)) -gt 59000000000 -o "$(calls)" -eq 2 ]

# ---- the queue's ceiling, changed on the running daemon ----
conf jobs.max_queued=9
kill -HUP "${PID[pull]}"
eventually "settings are read again" 5 grep -q "settings read again: in force" "$FAR/pull.log"
eventually "there is no room for four more under max_queued = 9" 5 waits \
    "4 exposures wait for their jobs: 8 of 9 tasks are in the queue ([jobs] max_queued)"
run_tasks 3
eventually "when there is, the next one goes, whole" 10 is queued 9
same "three calls of sbatch" "$(calls)" 3
pull pause jobs --reason "queue drained for maintenance" >/dev/null
run_tasks 9
eventually "paused, what is in the queue ends" 10 eval 'pull status --json | jq -e "[.exposures[].jobs_done] | add == 12"'
same "and nothing follows" "$(calls) $(queued)" "3 0"

# ---- tasks that run ----
conf jobs.max_running=3
kill -HUP "${PID[pull]}"
pull resume >/dev/null
eventually "an array of four tasks goes" 10 is calls 4
same "of which three run at once" "$(tail -n1 "$QUEUE/arrays")" "1,2,3,4%3"
eventually "the others wait for it" 5 waits "2 exposures wait for their jobs: 3 of 3 tasks run or may run at any moment"
conf
kill -HUP "${PID[pull]}"
eventually "without a ceiling all go" 10 is calls 6
run_tasks 12
eventually "and every exposure is done" 20 pull_has 6 done
same "each job ran once" "$(sort "$QUEUE/ran" | uniq -c | awk '{print $1}' | sort -u) $(wc -l <"$QUEUE/ran")" "4 24"
exits "resume when nothing is paused" 0 pull resume
says "says so" "$WORK/out" "nothing was paused"
finish
