#!/bin/bash
# Jobs that misbehave: each one's end is told in words, retried as often as configured, and holds
# no other job. Nothing that a job started survives it. Parameters reach it by file and
# environment only. And the job that ships as default measures what the simulated camera made.
. "$(dirname "$0")/lib.sh"
write_pull
start_sshd
write_push codec.lossless=yes

cat >"$WORK/job" <<'JOB'
#!/bin/bash
# What to do is the exposure's OBJECT.
what=$(jq -r .exposure.object "$SKYFERRY_JOB")
ccds() { jq -c '{ccds: [.ccds[] | {ccd, background: 41.5, noise: 2.5, stars: 7, fwhm: 3.5}]}' "$SKYFERRY_JOB"; }
echo "run of $what"
date +%s%N >>runs
case $what in
Fail) echo "first line" >&2; echo "no flat for this filter" >&2; exit 3 ;;
Signal) kill -SEGV $$ ;;
Late) trap '' TERM; sleep 1001 & setsid sleep 1002 & (trap '' TERM; sleep 1003) & wait; sleep 1004 ;;
Broken) echo '{"ccds": [{"ccd": 1, "noise": ' >"$SKYFERRY_RESULT" ;;
Huge) { printf '{"ccds": [], "x": "'; head -c 6000000 /dev/zero | tr '\0' x; printf '"}'; } >"$SKYFERRY_RESULT" ;;
Stranger) echo '{"ccds": [{"ccd": 77, "noise": 1}]}' >"$SKYFERRY_RESULT" ;;
Words) echo '{"ccds": [{"ccd": 1, "noise": "low"}]}' >"$SKYFERRY_RESULT" ;;
Flood) yes no end in sight ;;
Second) [ "$(wc -l <runs)" -ge 2 ] || exit 1; ccds >"$SKYFERRY_RESULT" ;;
Leaver) ccds >"$SKYFERRY_RESULT"; setsid sleep 1005 & sleep 1006 & disown -a; exit 0 ;;
Silent) exit 0 ;;
*) printf '%s\n' "$#" "$@" >arguments
   env >environment
   readlink /proc/$$/fd/* >descriptors
   pwd >folder
   ccds >"$SKYFERRY_RESULT" ;;
esac
JOB
chmod +x "$WORK/job"
write_pull jobs.command="$WORK/job --from {job} {exposure}" jobs.timeout_seconds=8 jobs.retries=1 \
    jobs.max_running=6 jobs.output_mib=1
start_pull
start_push
cases="Fail Signal Late Broken Huge Stranger Words Flood Second Leaver Silent Fine"
number=110000
for what in $cases; do
    CCDS=2 SIZE=128x128 camera --object "$what" --expnum $number --seed $number --quiet >/dev/null
    number=$((number + 1))
done
name_of() { pull status --json | jq -r --arg o "$1" '.exposures[] | select(.object == $o) | .name'; }
detail() { pull status --json "$(name_of "$1")"; }
job_of() { detail "$1" | jq -r ".exposures[0].job_list[0].$2"; }
eventually "twelve exposures, whatever their jobs do, come to an end" 90 pull_has 12 done

verdict() { # verdict CASE STATE ATTEMPTS PATTERN
    same "$1: the job is $2" "$(job_of "$1" state)" "$2"
    same "$1: after $3 attempts" "$(job_of "$1" attempts)" "$3"
    job_of "$1" reason >"$WORK/reason"
    says "$1: its reason" "$WORK/reason" "$4"
}
verdict Fail failed 2 '^exit status 3: no flat for this filter$'
verdict Signal failed 2 'signal 11 \(SIGSEGV\)'
verdict Late failed 2 'time limit'
verdict Broken failed 2 'result.json.*line 2'
verdict Huge failed 2 'result.json'
verdict Stranger failed 2 'ccd 77 is none of this job'
verdict Words failed 2 'ccd 1.*noise.*no number'
verdict Flood failed 2 'standard output|writes|wrote|MiB'
verdict Second done 2 '^$'
verdict Leaver done 1 '^$'
verdict Silent done 1 '^$'
verdict Fine done 1 '^$'
folder_of() { echo "$STORE/$(job_of "$1" folder)"; }
same "a failed job ran as often as its attempts say" "$(wc -l <"$(folder_of Fail)/runs")" 2
check "no process of any job is left" sh -c "! grep -lz '^SKYFERRY_JOB=$STORE' /proc/[0-9]*/environ 2>/dev/null | grep ."
same "its output is kept" "$(cat "$(folder_of Fail)/out")" "run of Fail"
same "and its errors" "$(tail -n 1 "$(folder_of Fail)/err")" "no flat for this filter"
same "a flooding job's output is bounded" "$([ "$(stat -c %s "$(folder_of Flood)/out")" -le $((4 << 20)) ] && echo yes)" yes
same "a failed job counts as one fault" "$(detail Fail | jq '.exposures[0].faults')" 1
same "its ccds are placed all the same" "$(detail Fail | jq '.exposures[0].ccds_placed')" 2
same "a good job's figures are in the catalogue" \
    "$(detail Fine | jq -c '[.exposures[0].ccd_list[] | [.background, .noise, .stars, .fwhm]] | unique')" "[[41.5,2.5,7,3.5]]"
same "those of a failed one are not" "$(detail Words | jq -c '[.exposures[0].ccd_list[].noise] | unique')" "[null]"
fine=$(folder_of Fine)
same "arguments reach the job as they are configured" "$(paste -sd' ' "$fine/arguments")" \
    "3 --from $fine/job.json $(name_of Fine)"
same "the job file and the result file by environment" \
    "$(grep -cxE "SKYFERRY_JOB=$fine/job.json|SKYFERRY_RESULT=$fine/result.json" "$fine/environment")" 2
same "its working folder is its own" "$(cat "$fine/folder")" "$fine"
same "it inherits no descriptor of the daemon's" "$(grep -cE 'catalogue|/lock$|socket:|eventfd|inotify' "$fine/descriptors")" 0
pull status "$(name_of Fail)" >"$WORK/detail"
says "status names the folder of the failed job" "$WORK/detail" 'no flat for this filter'

# Mended: only what failed runs again.
sed -i 's/^Fail) .*/Fail) ccds >"$SKYFERRY_RESULT" ;;/' "$WORK/job"
exits "retry of an exposure whose job failed" 0 pull retry "$(name_of Fail)"
same "it is done now" "$(job_of Fail state)" done

# ---- a command that does not exist, and a dry run ----
write_pull jobs.command="$WORK/nowhere/job" jobs.timeout_seconds=60
reload_pull
CCDS=2 SIZE=128x128 camera --object Absent --expnum 110050 --quiet >/dev/null
eventually "a program that does not exist is said" 20 grep -q "nowhere/job.*\[jobs\] command" "$FAR/pull.log"
same "the job waits, no attempt counted" "$(job_of Absent state) $(job_of Absent attempts)" "waiting 0"
write_pull jobs.dry_run=yes jobs.ccds_per_job=1
reload_pull
CCDS=3 SIZE=128x128 camera --object Dry --expnum 110051 --quiet >/dev/null
eventually "a dry run comes to an end" 20 eval '[ "$(detail Dry | jq -r ".exposures[0].state")" = done ]'
same "its three job files are written" "$(find "$STORE/jobs" -path '*110051/q[123]/job.json' | wc -l)" 3
same "and none was started" "$(find "$STORE/jobs" -path '*110051/*' -name out | wc -l)" 0
same "each job says so" "$(detail Dry | jq -c '[.exposures[0].job_list[].state] | unique')" '["dry"]'
write_pull
reload_pull
exits "retry runs what a dry run left" 0 pull retry "$(name_of Dry)"

# ---- what skyferry-measure measures ----
CCDS=2 SIZE=1200x1024 camera --object Sky --expnum 110060 --sky 40 --seeing 1.1 --quiet >/dev/null
eventually "a frame of known sky and seeing is measured" 40 eval '[ "$(detail Sky | jq -r ".exposures[0].state")" = done ]'
detail Sky >"$WORK/sky.json"
cat >"$WORK/judge.py" <<'PY'
# The figures against sky (ADU), gain and read noise as the camera's own headers give them.
import glob, json, math, sys
from astropy.io import fits
ccds = json.load(open(sys.argv[1]))['exposures'][0]['ccd_list']
store, what = sys.argv[2], sys.argv[3]
assert len(ccds) == 2
for c in ccds:
    h = fits.getheader(store + '/' + c['path'])
    wanted = sum(math.sqrt(40 / h['GAIN' + a] + (h['RDNOISE' + a] / h['GAIN' + a]) ** 2) for a in 'AB') / 2
    if what == 'background':
        assert abs(c['background'] - 40) < 4, c['background']
    if what == 'noise':
        assert abs(c['noise'] / wanted - 1) < 0.1, (c['noise'], wanted)
    if what == 'fwhm':
        assert abs(c['fwhm'] * 0.263 / 1.1 - 1) < 0.2, c['fwhm']
    if what == 'stars':
        assert c['stars'] >= 3, c['stars']
    if what == 'saturated':
        assert 0 <= c['saturated'] < 0.05, c['saturated']
    if what == 'none':
        assert c['stars'] is None and c['fwhm'] is None, c
PY
for figure in background noise saturated; do
    check "its $figure is right" debian_python "$WORK/judge.py" "$WORK/sky.json" "$STORE" $figure
done
if command -v source-extractor >/dev/null; then
    check "its stars are counted" debian_python "$WORK/judge.py" "$WORK/sky.json" "$STORE" stars
    check "its FWHM is the seeing" debian_python "$WORK/judge.py" "$WORK/sky.json" "$STORE" fwhm
else
    echo "# no source-extractor: stars and FWHM skipped"
fi
same "no scratch file is left beside the job" "$(find "$STORE/jobs" -name 'measure.*' | wc -l)" 0
eventually "with the right command the job that waited runs" 45 eval '[ "$(job_of Absent state)" = done ]'
stop pull
mkdir "$WORK/bin"
PATH=$WORK/bin start_pull # nothing in it: no source-extractor there
wait_for 10 eval 'pull status --json | jq -e ".daemon > 0"'
printf '%s\n' "$(name_of Sky)" >"$WORK/list"
exits "without source-extractor it is measured all the same" 0 pull reprocess "$WORK/list"
detail Sky >"$WORK/sky.json"
check "the noise is right" debian_python "$WORK/judge.py" "$WORK/sky.json" "$STORE" noise
check "stars and FWHM are left out" debian_python "$WORK/judge.py" "$WORK/sky.json" "$STORE" none
finish
