/* How batch systems are called and what their answers mean: real-looking answers of squeue,
 * scontrol, sacct, sbatch, qstat, qselect and qsub, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "pull/job_dialect.h"

#define KEY "0123456789abcdef"

static struct batch_said list[64];
static int count;

static void keep(void *ctx, const struct batch_said *said)
{
    (void)ctx;
    if (count < 64)
        list[count] = *said;
    count++;
}

static void read_all(const struct batch_dialect *d, const char *answer)
{
    char *text = strdup(answer);
    assert_non_null(text);
    count = 0;
    d->read_states(text, keep, NULL);
    free(text);
}

static char joined[8192];

static const char *words(struct command *c)
{
    joined[0] = '\0';
    for (int i = 0; i < c->argc; i++) {
        size_t at = strlen(joined);
        snprintf(joined + at, sizeof joined - at, "%s%s", i ? " " : "", c->argv[i]);
    }
    command_free(c);
    return joined;
}

static const int some[] = {2, 3, 5};
static const struct batch_submission three = {"exp_1", KEY, "/s/jobs/n/exp_1", "/s/x", some, 3};
static const struct batch_submission one = {"_exp", KEY, "/s/jobs/n/_exp", "/s/x", some, 1};

/* ---- Slurm ---- */

static void sbatch_is_told_everything_on_its_line(void **state)
{
    (void)state;
    struct command c;
    struct fault why;
    struct pull_settings s = {.max_running = 3};
    assert_true(dialect_slurm.submit(&s, &three, &c, &why));
    assert_string_equal(words(&c), "sbatch --parsable --job-name=exp_1." KEY
                        " --comment=skyferry " KEY " --array=2,3,5"
                        " --output=/s/jobs/n/exp_1/q%a/slurm.out /s/x");
    struct batch_submission elsewhere = one;
    elsewhere.avoid = "n1,n[3-4]";
    assert_true(dialect_slurm.submit(&s, &elsewhere, &c, &why));
    assert_non_null(strstr(words(&c), "/slurm.out --exclude=n1,n[3-4] /s/x"));
    s.max_running = 2;
    assert_true(dialect_slurm.submit(&s, &three, &c, &why));
    assert_non_null(strstr(words(&c), " --array=2,3,5%2 "));
}

static void sbatchs_answer_is_an_id_or_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *out, *id;
    } rows[] = {{"1234\n", "1234"}, {"1234;ozstar\n", "1234"}, {"1234", "1234"},
                {"sbatch: lua: welcome\n77\n", "77"}, {"", NULL}, {"\n", NULL},
                {"Submitted batch job 12\n", NULL}, {"12 13\n", NULL}, {"-5\n", NULL},
                {"99999999999999999999999\n", NULL}, {"12\nsbatch: error: x\n", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char id[BATCH_ID] = "";
        assert_int_equal(dialect_slurm.read_id(rows[i].out, id), rows[i].id != NULL);
        if (rows[i].id)
            assert_string_equal(id, rows[i].id);
    }
}

static void squeues_lines_are_tasks(void **state)
{
    (void)state;
    read_all(&dialect_slurm,
             "2653325|1|RUNNING|node053|None|exp_1." KEY "|skyferry " KEY "\n"
             "2653325|2|PENDING||Priority|exp_1." KEY "|skyferry " KEY "\n"
             "2653325|3|COMPLETING|node[001-002]|None|exp_1." KEY "|(null)\n"
             "2653325|4|CANCELLED|(null)|None|exp_1." KEY "|skyferry " KEY "\n"
             "2653400|N/A|RUNNING|node1|None|interactive|(null)\n"
             "2653325|5|PENDING||launch failed requeued held|exp_1." KEY "|skyferry " KEY "\n");
    assert_int_equal(count, 6);
    assert_string_equal(list[0].reason, "");
    assert_true(list[1].turn);
    assert_false(list[1].held);
    assert_true(list[5].held);
    assert_string_equal(list[5].reason, "launch failed requeued held");
    assert_non_null(strstr(list[5].sign, KEY));
    assert_string_equal(list[0].array, "2653325");
    assert_int_equal(list[0].task, 1);
    assert_string_equal(list[0].state, "RUNNING");
    assert_string_equal(list[0].node, "node053");
    assert_non_null(strstr(list[0].sign, KEY));
    assert_false(list[0].over);
    assert_string_equal(list[1].node, "");
    assert_false(list[2].over);
    assert_non_null(strstr(list[2].sign, KEY));
    assert_true(list[3].over);
    assert_string_equal(list[3].node, "");
    assert_int_equal(list[4].task, 0); /* nobody's */
}

static void hostile_lines_of_squeue_are_passed_by(void **state)
{
    (void)state;
    char *big = malloc(100000);
    memset(big, 'x', 99999);
    big[99999] = '\0';
    read_all(&dialect_slurm, "\n||||\n|||||\n12\n12|1|RUNNING\nslurm_load_jobs error: x|y|z|a|b|c\n"
             "-1|1|RUNNING|n|r|a|b\n12x|1|RUNNING|n|r|a|b\n99999999999999999999|1|RUNNING|n|r|a|b\n"
             "12|1||n|r|a|b\n12|1|RUNNING|n|r\n");
    assert_int_equal(count, 0);
    read_all(&dialect_slurm, "12|99999999999999999999|RUNNING|n|r|a|b\n12|-3|RUNNING|n|r|a|b\n"
             "12|1-4%2|PENDING|n|r|a|b|c|d|" KEY);
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(list[i].task, 0);
    assert_non_null(strstr(list[2].sign, KEY));
    read_all(&dialect_slurm, big);
    assert_int_equal(count, 0);
    memcpy(big, "12|1|", 5);
    big[9000] = big[9001] = big[9002] = big[50000] = '|';
    read_all(&dialect_slurm, big);
    assert_int_equal(count, 1);
    assert_int_equal(strlen(list[0].state), sizeof list[0].state - 1);
    free(big);
}

static enum batch_answer scontrol(int status, const char *out, const char *err)
{
    return dialect_slurm.probes[0].read(status, out, err, &list[0]);
}

static void scontrols_line_is_read_by_its_keys(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    static const char line[] =
        "JobId=2653326 ArrayJobId=2653325 ArrayTaskId=1 JobName=exp_1." KEY " UserId=o(1) "
        "JobState=TIMEOUT Reason=TimeLimit Dependency=(null) Requeue=1 ExitCode=0:15 "
        "RunTime=00:07:01 StartTime=2026-11-21T16:00:00 EndTime=2026-11-21T16:07:01 "
        "ReqNodeList=(null) ExcNodeList=(null) NodeList=node7 BatchHost=node7\n";
    assert_int_equal(scontrol(0, line, ""), BATCH_SAID);
    assert_true(list[0].over);
    assert_string_equal(list[0].state, "TIMEOUT");
    assert_string_equal(list[0].node, "node7");
    assert_string_equal(list[0].reason, "TimeLimit");
    assert_int_equal(list[0].exit_status, 128 + 15);
    assert_int_equal(list[0].ended_ns - list[0].started_ns, 421 * NS_PER_S);
    assert_int_equal(scontrol(0, "JobId=1 JobState=RUNNING Reason=None ExitCode=0:0 "
                              "EndTime=2027-01-01T00:00:00 NodeList=(null)\n", ""), BATCH_SAID);
    assert_false(list[0].over);
    assert_string_equal(list[0].node, "");
    assert_string_equal(list[0].reason, "");
    assert_int_equal(list[0].ended_ns, 0); /* foreseen, not known */
}

static void scontrol_may_not_know_or_not_answer(void **state)
{
    (void)state;
    assert_int_equal(scontrol(1, "", "slurm_load_jobs error: Invalid job id specified"),
                     BATCH_UNKNOWN);
    assert_int_equal(scontrol(1, "Job 12_3 not found\n", ""), BATCH_UNKNOWN);
    assert_int_equal(scontrol(1, "", "slurm_load_jobs error: Unable to contact slurm controller "
                              "(connect failure)"), BATCH_DEAF);
    assert_int_equal(scontrol(0, "", ""), BATCH_DEAF);
    assert_int_equal(scontrol(0, "JobState= ExitCode=", ""), BATCH_DEAF);
    assert_int_equal(scontrol(0, "JobState=FAILED ExitCode=junk StartTime=Unknown", ""), BATCH_SAID);
    assert_int_equal(list[0].exit_status, -1);
    assert_int_equal(list[0].started_ns, 0);
    assert_int_equal(scontrol(0, "JobState=FAILED ExitCode=99999:99999", ""), BATCH_SAID);
    assert_int_equal(list[0].exit_status, -1);
}

static enum batch_answer sacct(int status, const char *out)
{
    return dialect_slurm.probes[1].read(status, out, "", &list[0]);
}

static void sacct_tells_exit_codes_nodes_and_times(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    struct command c;
    dialect_slurm.probes[1].call("12_3", &c);
    assert_string_equal(words(&c), "sacct --noheader --parsable2 --allocations --jobs=12_3 "
                        "--format=State,ExitCode,NodeList,Start,End");
    assert_int_equal(sacct(0, "CANCELLED by 1000|0:9|node1|2026-11-21T16:00:00|"
                           "2026-11-21T16:00:30\n"), BATCH_SAID);
    assert_string_equal(list[0].state, "CANCELLED");
    assert_int_equal(list[0].exit_status, 137);
    assert_string_equal(list[0].node, "node1");
    assert_int_equal(list[0].started_ns, 1795276800 * NS_PER_S);
    assert_int_equal(list[0].ended_ns, 1795276830 * NS_PER_S);
    assert_int_equal(sacct(0, "PENDING|0:0|None assigned|Unknown|Unknown\n"), BATCH_SAID);
    assert_false(list[0].over);
    assert_string_equal(list[0].node, "");
    assert_int_equal(sacct(0, ""), BATCH_UNKNOWN);
    assert_int_equal(sacct(0, "||||\n"), BATCH_UNKNOWN);
    assert_int_equal(sacct(0, "COMPLETED|0:0|node1\n"), BATCH_UNKNOWN);
    assert_int_equal(sacct(1, "COMPLETED|0:0|n|Unknown|Unknown\n"), BATCH_UNKNOWN);
    assert_null(dialect_slurm.probes[2].call);
}

/* ---- PBS ---- */

static const struct pull_settings pbs = {
    .runner = "pbs",
    .pbs = {.submit = "qsub -N {name} -J{range} -j oe -o {output} {script}",
            .find = "qselect -x -N {name}", .query = "qstat -x -t -f {jobs}",
            .cancel = "qdel {job}"}};

static void qsub_gets_a_range_when_there_are_two(void **state)
{
    (void)state;
    struct command c;
    struct fault why;
    assert_true(dialect_pbs.submit(&pbs, &three, &c, &why));
    assert_string_equal(words(&c), "qsub -N exp_1." KEY " -J2-5 -j oe"
                        " -o /s/jobs/n/exp_1/q^array_index^/pbs.out /s/x");
    assert_true(dialect_pbs.submit(&pbs, &one, &c, &why));
    assert_string_equal(words(&c), "qsub -N x_exp." KEY " -j oe -o /s/jobs/n/_exp/q2/pbs.out /s/x");
    assert_true(dialect_pbs.find(&pbs, &one, &c, &why));
    assert_string_equal(words(&c), "qselect -x -N x_exp." KEY);
    const char *ids[] = {"12[]", "13"};
    assert_true(dialect_pbs.states(&pbs, ids, 2, &c, &why));
    assert_string_equal(words(&c), "qstat -x -t -f 12[] 13");
    assert_true(dialect_pbs.cancel(&pbs, "12[3]", &c, &why));
    assert_string_equal(words(&c), "qdel 12[3]");
}

static void a_bad_command_is_named(void **state)
{
    (void)state;
    struct pull_settings s = pbs;
    struct config_report r = {0};
    dialect_check(&s, &r);
    assert_int_equal(r.count, 0);
    snprintf(s.pbs.cancel, sizeof s.pbs.cancel, "qdel {jobs}");
    s.pbs.query[0] = '\0';
    dialect_check(&s, &r);
    assert_int_equal(r.count, 2);
    assert_true(buf_append(&r.text, "", 1));
    assert_non_null(strstr((char *)r.text.data, "[jobs] pbs_query names no program"));
    assert_non_null(strstr((char *)r.text.data, "[jobs] pbs_cancel: '{jobs}' is no placeholder; "
                           "there are {job}"));
    s = pbs;
    snprintf(s.pbs.query, sizeof s.pbs.query, "qstat -f @{jobs}");
    dialect_check(&s, &r);
    assert_int_equal(r.count, 3);
    snprintf(s.pbs.find, sizeof s.pbs.find, "qselect -x");
    snprintf(s.pbs.query, sizeof s.pbs.query, "qstat -f");
    snprintf(s.pbs.submit, sizeof s.pbs.submit, "qsub -N {name}");
    dialect_check(&s, &r);
    assert_int_equal(r.count, 6);
    snprintf(s.runner, sizeof s.runner, "slurm");
    r.count = 0;
    dialect_check(&s, &r);
    assert_int_equal(r.count, 0);
    buf_free(&r.text);
}

static void names_are_pbs_own(void **state)
{
    (void)state;
    static const struct {
        const char *out, *id;
    } rows[] = {{"1234[].pbs-server.site.org\n", "1234[]"}, {"1234.pbs\n", "1234"},
                {"qsub: note\n12[].p\n", "12[]"}, {"12[].p@other\n", "12[]"}, {"", NULL},
                {"12[3].p\n", NULL}, {"pbs.12\n", NULL}, {"12 13\n", NULL}, {"12[\n", NULL},
                {"12[99999999999999999999].p\n", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char id[BATCH_ID] = "";
        assert_int_equal(dialect_pbs.read_id(rows[i].out, id), rows[i].id != NULL);
        if (rows[i].id)
            assert_string_equal(id, rows[i].id);
    }
    char name[BATCH_ID];
    dialect_pbs.task_name("12[]", 3, name);
    assert_string_equal(name, "12[3]");
    dialect_pbs.array_name("12[3]", name);
    assert_string_equal(name, "12[]");
    dialect_pbs.task_name("12", 3, name);
    assert_string_equal(name, "12");
    dialect_pbs.array_name("12", name);
    assert_string_equal(name, "12");
}

static void qstats_long_form_is_read(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    read_all(&dialect_pbs,
             "Job Id: 12[].pbs\n    Job_Name = exp_1." KEY "\n    job_state = B\n"
             "    array = True\n\n"
             "Job Id: 12[1].pbs\n    Job_Name = exp_1.01234567\n\t89abcdef\n"
             "    Job_Owner = o@login\n    job_state = R\n    exec_host = node7/0*4+node8/1\n"
             "    mtime = Sat Nov 21 16:00:00 2026\n    stime = Sat Nov 21 16:00:00 2026\n"
             "    Variable_List = PBS_O_HOME=/home/o,A=x\n    job_state = F\n\n"
             "Job Id: 12[2].pbs\n    job_state = X\n    exec_host = node9/0\n"
             "    mtime = Sat Nov  7 16:00:30 2026\n    comment = Job run at Sat and finished\n"
             "    Exit_status = 271\n\n"
             "Job Id: 12[3].pbs\n    job_state = Q\n    comment = Not Running: no room\n"
             "Job Id: 13.pbs\n    job_state = F\n    Exit_status = -1\n");
    assert_int_equal(count, 5);
    assert_int_equal(list[0].task, 0);
    assert_string_equal(list[0].state, "BEGUN");
    assert_int_equal(list[1].task, 1);
    assert_string_equal(list[1].array, "12[]");
    assert_string_equal(list[1].state, "RUNNING");
    assert_string_equal(list[1].node, "node7");
    assert_string_equal(list[1].sign, "exp_1." KEY);
    assert_int_equal(list[1].started_ns, 1795276800 * NS_PER_S);
    assert_int_equal(list[1].ended_ns, 0);
    assert_true(list[2].over);
    assert_int_equal(list[2].exit_status, 128 + 15);
    assert_string_equal(list[2].reason, "Job run at Sat and finished");
    assert_true(list[2].ended_ns > 0);
    assert_string_equal(list[3].state, "QUEUED");
    assert_int_equal(list[4].task, BATCH_ONLY);
    assert_int_equal(list[4].exit_status, -1);
}

static void hostile_answers_of_qstat_are_passed_by(void **state)
{
    (void)state;
    read_all(&dialect_pbs, "qstat: Unknown Job Id 12[].pbs\n\t\n\tx\n    job_state = R\n"
             "Job Id: \n    job_state = R\nJob Id: x[1]\n    job_state = R\n"
             "Job Id: 12[\n    job_state = R\nJob Id: 12[1].p\n    job_state R\n    = \n"
             "Job Id: 12[1].p");
    assert_int_equal(count, 0);
    read_all(&dialect_pbs, "Job Id: 7.p\n    job_state = \x01\n    Exit_status = 1e9\n"
             "    stime = never\n\t");
    assert_int_equal(count, 1);
    assert_string_equal(list[0].state, "STATE_?");
    assert_int_equal(list[0].started_ns, 0);
    assert_true(dialect_pbs.heard(153, "qstat: Unknown Job Id 12[].pbs"));
    assert_false(dialect_pbs.heard(111, "qstat: cannot connect to server pbs (errno=111)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sbatch_is_told_everything_on_its_line),
        cmocka_unit_test(sbatchs_answer_is_an_id_or_nothing),
        cmocka_unit_test(squeues_lines_are_tasks),
        cmocka_unit_test(hostile_lines_of_squeue_are_passed_by),
        cmocka_unit_test(scontrols_line_is_read_by_its_keys),
        cmocka_unit_test(scontrol_may_not_know_or_not_answer),
        cmocka_unit_test(sacct_tells_exit_codes_nodes_and_times),
        cmocka_unit_test(qsub_gets_a_range_when_there_are_two),
        cmocka_unit_test(a_bad_command_is_named),
        cmocka_unit_test(names_are_pbs_own),
        cmocka_unit_test(qstats_long_form_is_read),
        cmocka_unit_test(hostile_answers_of_qstat_are_passed_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
