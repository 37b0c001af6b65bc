#!/bin/bash
# Jobs by Slurm, a real one: an array an exposure, its tasks' states, nodes, exit statuses and
# times in the catalogue; nothing lost and nothing run twice when tasks are put back into the
# queue, slurmctld is away, the daemon is killed again and again around sbatch, the catalogue is
# made anew while tasks run, and sbatch hangs, fails or takes the job and dies.
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
Long) [ "$(wc -l <runs)" -gt 1 ] || exec sleep 600 ;;
Gone) exec sleep 601 ;;
Keep) until [ -e "${0%/*}/go" ]; do sleep 0.1; done ;;
Some) until [ -e "${0%/*}/some" ]; do sleep 0.1; done ;;
esac
jq -c '{ccds: [.ccds[] | {ccd, noise: 2.5}]}' "$SKYFERRY_JOB" >"$SKYFERRY_RESULT"
JOB
chmod +x "$WORK/job"
# slurm_conf [SECTION.KEY=VALUE...]: runner = slurm, asked every second.
slurm_conf() {
    write_pull jobs.runner=slurm jobs.command="$WORK/job" jobs.ccds_per_job=2 jobs.retries=0 \
        jobs.slurm_memory=10M jobs.slurm_query_seconds=1 jobs.slurm_call_seconds=6 \
        jobs.timeout_seconds=600 "$@"
}
slurm_conf
start_sshd
write_push codec.lossless=yes
start_pull
start_push
number=320001
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
# once OBJECT: each of its two jobs ran exactly once.
once() { same "$1: each job ran once" "$(cat "$(folder_of "$1")"/q[12]/runs | wc -l)" 2; }
# submissions OBJECT: how many arrays of it Slurm knows.
submissions() { squeue -h --me -t all -r -o '%F|%j' | grep -F "|$(name_of "$1")." | cut -d'|' -f1 | sort -u | wc -l; }
array_of() { jobs_of "$1" .batch | jq -r '.[0] | sub("_.*"; "")'; }

expose Fine Fail Gone Long
eventually "jobs run by Slurm are done" 60 has_jobs Fine .state '["done","done"]'
once Fine
same "as tasks of one array" "$(jobs_of Fine '.batch | sub("_.*"; "")' | jq 'unique | length')" 1
same "their names, states, statuses and node are known" \
    "$(jobs_of Fine '[(.batch | sub(".*_"; "")), .batch_state, .exit_status, .node]')" \
    "$(jq -nc --arg n "$(hostname -s)" '["1","2"] | map([., "COMPLETED", 0, $n])')"
same "their figures are in the catalogue" \
    "$(pull status --json "$(name_of Fine)" | jq -c '[.exposures[0].ccd_list[].noise] | unique')" '[2.5]'
pull status "$(name_of Fine)" >"$WORK/detail"
says "status shows where it ran" "$WORK/detail" "Slurm [0-9]+_1 COMPLETED on $(hostname -s)"
pull check >"$WORK/detail"
says "check says what Slurm is asked for" "$WORK/detail" "^ok +slurm: partition by default"
folder=$(folder_of Fine)
same "their output is kept" "$(cat "$folder/q2/out")" "out of 2"
check "the script's too" test -f "$folder/q2/slurm.out"
says "the script has a stable name and its resources" "$folder/$(name_of Fine)_q1.sbatch" '^#SBATCH --mem=10M$'
eventually "a failed task is a failed job" 30 has_jobs Fail .state '["failed","failed"]'
same "with its exit status" "$(jobs_of Fail .exit_status)" '[3,3]'
same "and its last words" "$(jobs_of Fail .reason)" '["exit status 3: no flat","exit status 3: no flat"]'

# ---- ended, and put back into the queue, behind our back ----
begun() { [ "$(cat "$(folder_of "$1")"/q[12]/runs | wc -l)" -eq 2 ]; }
runs() {
    eventually "tasks that run are seen to: $1" 30 has_jobs "$1" '[.state, .batch_state]' '[["running","RUNNING"],["running","RUNNING"]]'
    wait_for 30 begun "$1" || fail "$1: their programs have begun"
}
runs Gone
runs Long
batch=$(jobs_of Long .batch)
scontrol requeue "$(jq -r '.[0]' <<<"$batch")"
sbatch --partition=urgent --cpus-per-task=16 --output=/dev/null --wrap true >/dev/null # preempts all others
eventually "a requeued task and a preempted one wait again" 30 has_jobs Long .batch_state '["PENDING","PENDING"]'
scancel "$(array_of Gone)"
expose Keep
# Slurm begins them again after two minutes. Not at once: until its second has passed, what slurmd
# ended counts as revoked, and a task begun again under that number fails ("credential revoked").
sleep 2
for task in $(jq -r '.[]' <<<"$batch"); do wait_for 10 scontrol update JobId="$task" StartTime=now; done
eventually "cancelled behind our back: failed, in words" 30 has_jobs Gone '.state, .batch_state' '["failed","CANCELLED","failed","CANCELLED"]'
jobs_of Gone .reason >"$WORK/reason"
says "that name the job" "$WORK/reason" "Slurm's job [0-9]+_1: CANCELLED"
eventually "both are done under the same names" 60 has_jobs Long '[.state, .batch]' "$(jq -c 'map(["done", .])' <<<"$batch")"
same "in the first submission" "$(submissions Long)" 1

# ---- slurmctld away ----
runs Keep
"$TOP/tests/slurm/daemons" "$SLURM" stop-controller
expose Away
eventually "without slurmctld jobs wait" 30 eval '[ "$(pull status --json "$(name_of Away)" | jq -r ".exposures[0].job_list[0].reason")" != "" ]'
eventually "and it is said" 30 grep -q "squeue does not answer, jobs wait" "$FAR/pull.log"
touch "$WORK/go"
eventually "what runs is followed by its files, and done" 30 has_jobs Keep .state '["done","done"]'
"$TOP/tests/slurm/daemons" "$SLURM" start-controller
eventually "it is back: what waited is done" 60 has_jobs Away .state '["done","done"]'
once Away
once Keep

# ---- the daemon dies, again and again ----

died() { ! running pull || [ "$(ps -o state= -p "${PID[pull]}")" = Z ]; }
# The first kill leaves q1 begun and q2 not, so that they are two submissions; the next are in the
# middle of taking up what the one before left.
stop pull
for point in pull:jobstarted slurm:before slurm:submitted pull:jobended; do
    SKYFERRY_CRASH_AT=$point start_pull
    [ $point != pull:jobstarted ] || expose Chain
    wait_for 40 died || fail "$point: the daemon passes there"
    wait "${PID[pull]}" 2>/dev/null
    same "it was killed at $point" $? 137
    unset "PID[pull]"
done
start_pull
eventually "killed at four points, each time in the middle of things: done after a restart" 60 has_jobs Chain .state '["done","done"]'
once Chain
same "Slurm has each job once" "$(submissions Chain)" 2

# A daemon that ends leaves the queue alone, and takes it up again; so it does with a catalogue
# that was made anew meanwhile.
expose Some
eventually "jobs run" 30 has_jobs Some .batch_state '["RUNNING","RUNNING"]'
stop pull
touch "$WORK/some"
rm "$STORE"/state/catalogue.db*
check "the catalogue is made anew" pull rebuild
write_pull
exits "another runner does not begin what Slurm has" 1 timeout -k 5 60 "$BIN/skyferry-pull" -c "$FAR/pull.conf" run
says "and says what to do" "$WORK/out" "in Slurm's queue .*start with \[jobs\] runner = slurm"
# An sbatch in front of the real one: its first call for an exposure does what OBJECT says.
mkdir "$WORK/bin"
cat >"$WORK/bin/sbatch" <<FAKE
#!/bin/bash
real=$(command -v sbatch)
FAKE
cat >>"$WORK/bin/sbatch" <<'FAKE'
script=${!#}
object=$(jq -r .exposure.object "${script%/*}/q1/job.json")
echo x >>"${0%/*}/calls.$object"
[ "$(wc -l <"${0%/*}/calls.$object")" -eq 1 ] || exec "$real" "$@"
case $object in
Taken) "$real" "$@" >/dev/null; kill -KILL $$ ;;
Hung) "$real" "$@" >/dev/null; sleep 300 ;;
Refused) echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1 ;;
Words) "$real" "$@" >/dev/null; echo "Submitted. Have a nice day" ;;
Late) (until [ -e "${0%/*}/heard" ]; do sleep 0.1; done; exec "$real" "$@") >/dev/null 2>&1 & exit 1 ;;
*) exec "$real" "$@" ;;
esac
FAKE
chmod +x "$WORK/bin/sbatch"
slurm_conf
PATH=$WORK/bin:$PATH start_pull
expose Taken Hung Refused Words Late
eventually "what ran while the daemon was away is done" 30 has_jobs Some .state '["done","done"]'
once Some
same "in one submission" "$(submissions Some)" 1
# misbehaved OBJECT SENTENCE
misbehaved() {
    eventually "sbatch $2: the jobs are done" 60 has_jobs "$1" .state '["done","done"]'
    once "$1"
    [ "$1" = Late ] || same "sbatch $2: one submission" "$(submissions "$1")" 1
}
misbehaved Taken "takes them and dies"
same "and is not called again" "$(wc -l <"$WORK/bin/calls.Taken")" 1
misbehaved Hung "takes them and hangs"
misbehaved Refused "fails"
says "what it complained of is said" "$FAR/pull.log" "sbatch did not confirm its jobs.*Socket timed out"
misbehaved Words "answers with other words"
misbehaved Late "is heard too late"
touch "$WORK/bin/heard" # the call that was lost arrives after the second one
eventually "sbatch is heard too late: both came" 20 eval '[ "$(submissions Late)" = 2 ]'
wait_for 20 eval '[ -z "$(squeue -h --me)" ]'
once Late

# ---- a dry run, and templates that cannot be used ----
stop pull
slurm_conf jobs.dry_run=yes jobs.slurm_partition=night
start_pull
before=$(squeue -h --me -t all -r | wc -l)
expose Dry
eventually "a dry run comes to an end" 20 has_jobs Dry .state '["dry","dry"]'
script=$(folder_of Dry)/$(name_of Dry)_q1.sbatch
says "its script is written" "$script" '^#SBATCH --partition=night$'
check "sbatch would take it" sbatch --test-only --array=1-2 "$script"
same "and nothing is submitted" "$(squeue -h --me -t all -r | wc -l)" "$before"
sed 's/{partition}/{queue}/' "$TOP/etc/jobs/slurm.sbatch" >"$WORK/bad.sbatch"
slurm_conf jobs.slurm_template="$WORK/bad.sbatch"
exits "an unknown placeholder is an error at start" 2 pull run
says "that names it, its line and what there is" "$WORK/out" "bad.sbatch:[0-9]+: '\{queue\}' is no placeholder; there are .*\{partition\}"
slurm_conf jobs.slurm_template="$WORK/none.sbatch"
exits "a template that is not there, too" 2 pull run
says "with its path" "$WORK/out" "none.sbatch"
finish
