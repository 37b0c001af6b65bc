#!/bin/bash
# Jobs by Slurm, a real one: an array an exposure, its tasks' states, nodes, exit statuses and
# times in the catalogue; nothing lost and nothing run twice when the daemon is killed around
# sbatch, sbatch hangs, fails or takes the job and dies, or slurmctld is away.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || skip_all "Slurm's daemons need root"
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged sbatch; do
    command -v $program >/dev/null || skip_all "no $program (packages slurm-wlm munge)"
done
chmod 755 "$WORK"
SLURM=$WORK/slurm
mkdir "$SLURM"
trap '"$TOP/tests/slurm/stop" "$SLURM"; clean_up' EXIT
check "Slurm starts" "$TOP/tests/slurm/start" "$SLURM"
export SLURM_CONF=$SLURM/slurm.conf

cat >"$WORK/job" <<'JOB'
#!/bin/bash
# What to do is the exposure's OBJECT.
date +%s%N >>runs
echo "out of $SLURM_ARRAY_TASK_ID"
case $(jq -r .exposure.object "$SKYFERRY_JOB") in
Fail*) echo "no flat" >&2; exit 3 ;;
Long) sleep 600 ;;
Some) sleep 1 ;;
esac
jq -c '{ccds: [.ccds[] | {ccd, noise: 2.5}]}' "$SKYFERRY_JOB" >"$SKYFERRY_RESULT"
JOB
chmod +x "$WORK/job"
# slurm_conf [SECTION.KEY=VALUE...]: runner = slurm, asked every second.
slurm_conf() {
    write_pull jobs.runner=slurm jobs.command="$WORK/job" jobs.ccds_per_job=2 jobs.retries=0 \
        jobs.slurm_memory=10M jobs.slurm_query_seconds=1 jobs.slurm_call_seconds=5 \
        jobs.timeout_seconds=60 "$@"
}
slurm_conf
start_sshd
write_push codec.lossless=yes
start_pull
start_push
number=320001
# expose OBJECT: an exposure of 4 ccds, two jobs.
expose() {
    camera --object "$1" --expnum $number --seed $number --quiet >/dev/null
    number=$((number + 1))
}
name_of() { pull status --json | jq -r --arg o "$1" '.exposures[] | select(.object == $o) | .name'; }
jobs_of() { pull status --json "$(name_of "$1")" | jq -c ".exposures[0].job_list | map($2)"; }
has_jobs() { [ "$(jobs_of "$1" "$2")" = "$3" ]; }
folder_of() { echo "$STORE/$(pull status --json "$(name_of "$1")" | jq -r ".exposures[0].job_list[0].folder" | xargs dirname)"; }
# once OBJECT: each of its two jobs ran exactly once.
once() { same "$1: each job ran once" "$(cat "$(folder_of "$1")"/q[12]/runs | wc -l)" 2; }

expose Fine
eventually "jobs run by Slurm are done" 30 has_jobs Fine .state '["done","done"]'
once Fine
same "as tasks of one array" "$(jobs_of Fine '.batch | sub("_.*"; "")' | jq 'unique | length')" 1
same "their names, states, statuses and node are known" \
    "$(jobs_of Fine '[(.batch | sub(".*_"; "")), .batch_state, .exit_status, .node]')" \
    "$(jq -nc --arg n "$(hostname -s)" '["1","2"] | map([., "COMPLETED", 0, $n])')"
same "their figures are in the catalogue" \
    "$(pull status --json "$(name_of Fine)" | jq -c '[.exposures[0].ccd_list[].noise] | unique')" '[2.5]'
folder=$(folder_of Fine)
same "their output is kept" "$(cat "$folder/q2/out")" "out of 2"
check "the script's too" test -f "$folder/q2/slurm.out"
says "the script has a stable name and its resources" "$folder/$(name_of Fine)_q1.sbatch" '^#SBATCH --mem=10M$'

expose Fail
eventually "a failed task is a failed job" 30 has_jobs Fail .state '["failed","failed"]'
same "with its exit status" "$(jobs_of Fail .exit_status)" '[3,3]'
same "and its last words" "$(jobs_of Fail .reason)" '["exit status 3: no flat","exit status 3: no flat"]'

expose Long
eventually "tasks that run are seen to" 30 has_jobs Long '[.state, .batch_state]' '[["running","RUNNING"],["running","RUNNING"]]'
scancel --me
eventually "cancelled behind our back: failed, in words" 30 has_jobs Long '.state, .batch_state' '["failed","CANCELLED","failed","CANCELLED"]'
jobs_of Long .reason >"$WORK/reason"
says "that name the job" "$WORK/reason" "Slurm's job [0-9]+_1: CANCELLED"
finish
