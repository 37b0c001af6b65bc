#!/bin/bash
# [decode] where = job: each job decodes its own ccds in its node's scratch and places them as the
# daemon would, with either runner, a real Slurm among them; killed tasks, a full scratch, a bundle
# that is missing and a node that is lost cost an attempt and leave nothing behind.
. "$(dirname "$0")/lib.sh"
LOCAL=$WORK/local
mkdir "$LOCAL"
export SLURM_TMPDIR=$LOCAL

number=350001
# expose OBJECT...: an exposure each, of 4 ccds, one job.
expose() {
    local object
    for object in "$@"; do
        camera --object "$object" --expnum $number --seed $number --quiet >/dev/null
        number=$((number + 1))
    done
}
name_of() { pull status --json | jq -r --arg o "$1" '.exposures[] | select(.object == $o) | .name'; }
ask() { pull status --json "$(name_of "$1")" | jq -c ".exposures[0] | $2"; }
is() { [ "$(ask "$1" "$2")" = "$3" ]; }
folder_of() { echo "$STORE/$(ask "$1" '.job_list[0].folder' | jq -r .)"; }
empty() { [ -z "$(ls -A "$LOCAL")" ]; }
finished() { is "$1" '[.state, .ccds_placed, .faults]' '["done",4,0]'; }

# ---- the local runner, and the command that is the default ----
write_pull decode.where=job jobs.ccds_per_job=4
start_sshd
write_push codec.lossless=yes
start_pull
start_push
expose Fine
eventually "jobs of this machine decode and place their ccds" 30 finished Fine
same "each is measured" "$(ask Fine '[.ccd_list[] | .noise > 0] | unique')" '[true]'
check "the scratch is empty" empty
pull unpack --to "$WORK/plain" "$STORE/$(ask Fine .bundle | jq -r .)" >/dev/null
same "the files are those of unpack" "$(placed | xargs sha256sum | cut -d' ' -f1 | sort)" \
    "$(sha256sum "$WORK"/plain/*_[0-9].fits | cut -d' ' -f1 | sort)"
exits "verify finds the tree right" 0 pull verify
stop pull
[ "$(id -u)" -eq 0 ] || { echo "ok - # skipped: full disks and Slurm's daemons need root"; finish; }

# ---- a store without room for all of it ----
start pull "$FAR/pull.log" unshare --mount bash -c 'mount -t tmpfs -o size=300k none "$1" && shift && exec "$@"' - \
    "$STORE/rawdata" "$BIN/skyferry-pull" -c "$FAR/pull.conf" run
expose Room
eventually "with a full store a job waits" 30 grep -q "exposure=.*: q1 waits, again in 30 s: .*No space left" "$FAR/pull.log"
nsenter --mount --target "${PID[pull]}" mount -o remount,size=10m "$STORE/rawdata"
kill -HUP "${PID[pull]}"
eventually "with room it places all" 30 finished Room
same "in its first attempt" "$(ask Room '.job_list[0].attempts')" 1
check "the scratch is empty again" empty
stop pull

# ---- Slurm ----
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged sbatch; do
    command -v $program >/dev/null || { echo "ok - # skipped: no $program (packages slurm-wlm munge)"; finish; }
done
chmod 755 "$WORK"
SLURM=$WORK/slurm
mkdir "$SLURM"
trap '"$TOP/tests/slurm/stop" "$SLURM"; clean_up' EXIT
check "Slurm starts" "$TOP/tests/slurm/start" "$SLURM"
export SLURM_CONF=$SLURM/slurm.conf

cat >"$WORK/job" <<'JOB'
#!/bin/bash
# What to do is the exposure's OBJECT, the first time.
[ "$1" = "$SKYFERRY_JOB" ] && [ -s "$(jq -r '.ccds[0].fits' "$1")" ] || exit 9
jq -r '.ccds[0].fits' "$1" >fits
first=$(cat "$2/ran" 2>/dev/null)
date >"$2/ran"
case $first$(jq -r .exposure.object "$1") in
Killed) kill -KILL $PPID; sleep 20 ;;
Lost) touch "$2/stays"; exec sleep 60 ;;
esac
jq -c '{ccds: [.ccds[] | {ccd, noise: 2.5}]}' "$1" >"$SKYFERRY_RESULT"
JOB
chmod +x "$WORK/job"
# A node that is lost takes its task with it for Slurm; a scratch of 64 KiB where a job's folder says so.
awk '/^exec / { print "#SBATCH --no-requeue"
    print "[ ! -e {folder}/small ] || exec unshare --mount bash -c \x27mount -t tmpfs -o size=64k none \"$SLURM_TMPDIR\" && exec \"$@\"\x27 - {program} task {folder}/q\"$SLURM_ARRAY_TASK_ID\" {key}" }
    { print }' "$TOP/etc/jobs/slurm.sbatch" | awk '/^#SBATCH --no-requeue/ { next } { print }
    /^#SBATCH --tmp/ { print "#SBATCH --no-requeue" }' >"$WORK/node.sbatch"
write_pull decode.where=job jobs.ccds_per_job=4 jobs.runner=slurm jobs.slurm_template="$WORK/node.sbatch" \
    jobs.slurm_memory=10M jobs.slurm_query_seconds=1 jobs.slurm_call_seconds=5 jobs.retries=3 \
    jobs.command="$WORK/job {job} $WORK/ran.{exposure}"
start_pull
partition() { scontrol update PartitionName=day State="$1"; }
node() { scontrol update NodeName="$(hostname -s)" State="$@"; }

# All that goes wrong goes wrong at once.
partition DOWN
troubled="Killed Full Missing Lost"
expose Sound $troubled
all_wait() { for o in Sound $troubled; do is "$o" '[.state, .ccds_placed]' '["working",0]' || return 1; done; }
eventually "while they are in the queue, nothing is decoded" 30 all_wait
for o in Sound $troubled; do mkdir -p "$WORK/ran.$(name_of "$o")"; done
touch "$(dirname "$(folder_of Full)")/small"
bundle=$STORE/$(ask Missing .bundle | jq -r .)
mv "$bundle" "$WORK/away.tar"
partition UP
eventually "a job decodes and places its ccds on a node" 30 finished Sound
same "and is measured there" "$(ask Sound '[.ccd_list[].noise] | unique')" '[2.5]'
says "from the scratch, and what it left is in its folder" "$(folder_of Sound)/fits" "^$LOCAL/skyferry-.*_[0-9]+.fits"
says "the log tells by whom" "$FAR/pull.log" "exposure=$(name_of Sound): 4 ccds of q1 placed by its job on node $(hostname -s)"

# The first attempts' ends.
failed_once() { grep -q "exposure=$(name_of "$1"): q1 failed, attempt 1 of 4.*$2" "$FAR/pull.log"; }
eventually "a full scratch: exposure, ccds and node are named" 30 failed_once Full \
    "exposure $(name_of Full), ccds 1, 2, 3, 4: no room in the scratch of node $(hostname -s): .*No space left"
rm "$(dirname "$(folder_of Full)")/small"
eventually "a missing bundle, too" 20 failed_once Missing \
    "exposure $(name_of Missing), ccds 1, 2, 3, 4: on node $(hostname -s): cannot open the bundle .*No such file"
mv "$WORK/away.tar" "$bundle"
eventually "a killed task: its ccds are named" 30 failed_once Killed "not placed: ccds 1, 2, 3, 4"
eventually "a job runs on a node" 30 test -e "$WORK/ran.$(name_of Lost)/stays"
check "whose scratch it uses" eval '! empty'
node DOWN Reason=stolen
eventually "that is lost: said, and no attempt is counted" 30 grep -q \
    "exposure=$(name_of Lost): q1 was lost with node $(hostname -s) (Slurm's job [0-9_]*: NODE_FAIL" "$FAR/pull.log"
node RESUME
# What waits for its second attempt begins now; the tasks that find no other node, soon.
kill -HUP "${PID[pull]}"
for o in $troubled; do eventually "$o: tried again all is placed" 40 finished "$o"; done
says "elsewhere if there were another node" "$FAR/pull.log" \
    "exposure=$(name_of Full): q1 finds no other node than $(hostname -s): it is run there again"
eventually "the scratch is empty in the end" 40 empty

# ---- the other commands ----
exits "reprocess runs them again" 0 pull reprocess --name "$(name_of Sound)"
check "all is placed" finished Sound
stop pull
rm "$(placed | head -n 1)"
exits "rebuild without one of the files" 0 pull rebuild
start_pull
all_placed() { [ "$(pull status --json | jq -c '[.exposures[] | select(.state == "done") | .ccds_placed] | add')" = 28 ]; }
eventually "it is placed again by a job" 30 all_placed
exits "verify finds the tree right in the end" 0 pull verify
finish
