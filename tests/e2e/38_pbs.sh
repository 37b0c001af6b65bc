#!/bin/bash
# Jobs by PBS, through the commands in the settings. The PBS is a small one of our own that keeps
# to OpenPBS's manual pages (tests/pbs): array jobs, PBS_ARRAY_INDEX, the states and the exit
# status of qstat's long form, a job alone that is no array, qdel and qrerun behind our back, a
# server that cannot be reached, a qsub that takes a job and dies, a daemon killed after qsub.
. "$(dirname "$0")/lib.sh"
export FAKE_PBS=$WORK/pbs
"$TOP/tests/pbs/pbs" start "$FAKE_PBS"
trap '"$TOP/tests/pbs/pbs" stop "$FAKE_PBS"; clean_up' EXIT
PATH=$FAKE_PBS/bin:$PATH

cat >"$WORK/job" <<'JOB'
#!/bin/bash
# What to do is the exposure's OBJECT.
date +%s%N >>runs
echo "out of ${PBS_ARRAY_INDEX:-one}"
case $(jq -r .exposure.object "$SKYFERRY_JOB") in
Fail*) echo "no flat" >&2; exit 3 ;;
Gone) sleep 600 ;;
Again) [ "$(wc -l <runs)" -gt 1 ] || sleep 601 ;;
esac
jq -c '{ccds: [.ccds[] | {ccd, noise: 2.5}]}' "$SKYFERRY_JOB" >"$SKYFERRY_RESULT"
JOB
chmod +x "$WORK/job"
# pbs_conf [SECTION.KEY=VALUE...]: runner = pbs, asked every second.
pbs_conf() {
    write_pull jobs.runner=pbs jobs.command="$WORK/job" jobs.ccds_per_job=2 jobs.retries=0 \
        jobs.slurm_query_seconds=1 jobs.slurm_call_seconds=5 jobs.timeout_seconds=300 "$@"
}
pbs_conf
start_sshd
write_push codec.lossless=yes
start_pull
start_push
number=350001
declare -A NAME=() # by OBJECT
# expose OBJECT...: an exposure each, of 4 ccds, two jobs.
expose() {
    local object
    for object in "$@"; do
        camera --object "$object" --expnum $number --seed $number --quiet >/dev/null
        NAME[$object]=$(printf 'DECam_%08d' $number)
        number=$((number + 1))
    done
}
name_of() { echo "${NAME[$1]}"; }
jobs_of() { pull status --json "$(name_of "$1")" | jq -c ".exposures[0].job_list | map($2)"; }
has_jobs() { [ "$(jobs_of "$1" "$2")" = "$3" ]; }
folder_of() { echo "$STORE"/jobs/*/"${NAME[$1]}"; }
ran() { cat "$(folder_of "$1")"/q[12]/runs | wc -l; }
# How many PBS jobs are called after it.
submissions() { grep -lF "\"name\": \"$(name_of "$1")." "$FAKE_PBS"/jobs/*/job | wc -l; }

pull check >"$WORK/detail"
says "check finds PBS's commands" "$WORK/detail" "^ok +pbs: queue by default"
says "and that they answer" "$WORK/detail" "^ok +pbs: qselect answers"
expose Fine Fail Gone Again
eventually "jobs run by PBS are done" 60 has_jobs Fine .state '["done","done"]'
same "each ran once" "$(ran Fine)" 2
same "as tasks of one array, with states and statuses" \
    "$(jobs_of Fine '[(.batch | sub("^[0-9]+"; "")), .batch_state, .exit_status]')" \
    '[["[1]","COMPLETED",0],["[2]","COMPLETED",0]]'
same "their figures are in the catalogue" \
    "$(pull status --json "$(name_of Fine)" | jq -c '[.exposures[0].ccd_list[].noise] | unique')" '[2.5]'
pull status "$(name_of Fine)" >"$WORK/detail"
says "status shows where it ran" "$WORK/detail" "PBS [0-9]+\[1\] COMPLETED on "
folder=$(folder_of Fine)
same "each task had its own index" "$(cat "$folder/q1/out" "$folder/q2/out")" $'out of 1\nout of 2'
eventually "the script's output is kept" 10 test -f "$folder/q2/pbs.out"
says "the script is a template's" "$folder/$(name_of Fine)_q1.qsub" '^#PBS -l select=1:ncpus=1:'
eventually "a failed task is a failed job, with status and last words" 60 \
    has_jobs Fail '[.exit_status, .reason]' '[[3,"exit status 3: no flat"],[3,"exit status 3: no flat"]]'
eventually "what runs is told" 30 has_jobs Gone .batch_state '["RUNNING","RUNNING"]'
qdel "$(jobs_of Gone .batch | jq -r '.[0] | sub("[[].*"; "[]")')"
eventually "deleted behind our back: failed, in words" 30 has_jobs Gone '[.state, .batch_state, .exit_status]' \
    '[["failed","FINISHED",143],["failed","FINISHED",143]]'
jobs_of Gone .reason >"$WORK/reason"
says "that name the job" "$WORK/reason" "PBS's job [0-9]+\[1\]: FINISHED, Job run"
eventually "two tasks run" 30 has_jobs Again .batch_state '["RUNNING","RUNNING"]'
began() { [ "$(ran Again)" -eq 2 ]; }
wait_for 20 began || fail "and their commands have begun"
names=$(jobs_of Again .batch)
jq -r '.[]' <<<"$names" | xargs qrerun
eventually "put back into the queue: done under the same names" 30 has_jobs Again '[.state, .batch]' \
    "$(jq -c 'map(["done", .])' <<<"$names")"
same "in one submission" "$(submissions Again)" 1

# ---- exactly once ----
touch "$FAKE_PBS/away"
expose Away
eventually "without a server jobs wait" 30 eval 'jobs_of Away .reason | grep -q "cannot connect to server"'
rm "$FAKE_PBS/away"
eventually "it is back: they are done" 30 has_jobs Away .state '["done","done"]'
touch "$FAKE_PBS/dies"
expose Taken
eventually "qsub takes them and dies: they are done" 30 has_jobs Taken .state '["done","done"]'
stop pull
SKYFERRY_CRASH_AT=slurm:submitted start_pull
expose Crash
died() { ! running pull || [ "$(ps -o state= -p "${PID[pull]}")" = Z ]; }
wait_for 20 died || fail "the daemon passes the point where it dies"
wait "${PID[pull]}" 2>/dev/null
same "it was killed there" $? 137
unset "PID[pull]"
pbs_conf jobs.per_task=auto
start_pull
eventually "killed when qsub had answered: done after a restart" 30 has_jobs Crash .state '["done","done"]'
for object in Away Taken Crash; do
    same "$object: one submission, each job ran once" "$(submissions $object) $(ran $object)" "1 2"
done

# ---- per_task = auto, and a job alone ----
expose Alone
eventually "auto gives one job four ccds; alone it is no array" 30 has_jobs Alone \
    '[.state, (.batch | test("^[0-9]+$"))]' '[["done",true]]'
same "and knows which job it is" "$(cat "$(folder_of Alone)/q1/out")" "out of one"
stop pull
pbs_conf jobs.pbs_query="qstat {all}" jobs.pbs_template="$WORK/none.qsub"
exits "commands and templates that cannot be used are errors at start" 2 pull run
says "that name the setting" "$WORK/out" "\[jobs\] pbs_query: '\{all\}' is no placeholder; there are \{jobs\}"
says "and the template" "$WORK/out" "\[jobs\] pbs_template = .*none.qsub"
finish
