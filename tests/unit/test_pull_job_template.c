/* Batch scripts from templates: what is filled in, what is the shell's, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "pull/job_template.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct pull_settings s;
static const struct script_values values = {"it's", "/jobs/a b", "00ff", "/bin/skyferry-pull", 3};

static enum status fill(const char *text, struct buf *out, struct fault *why)
{
    scratch_path(&dir, "site.sbatch", s.slurm.script);
    assert_int_equal(fs_write_file(s.slurm.script, text, strlen(text), false, why), ST_OK);
    return template_fill(&s, &values, out, why);
}

static void becomes(const char *text, const char *wanted)
{
    struct buf out = {0};
    struct fault why;
    if (fill(text, &out, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_true(buf_append(&out, "", 1));
    assert_string_equal((char *)out.data, wanted);
    buf_free(&out);
}

static void refused(const char *text, const char *words)
{
    struct buf out = {0};
    struct fault why;
    assert_int_equal(fill(text, &out, &why), ST_REJECT);
    if (!strstr(why.text, words))
        fail_msg("%s", why.text);
    buf_free(&out);
}

static void values_stand_where_they_are_named(void **state)
{
    (void)state;
    snprintf(s.slurm.partition, sizeof s.slurm.partition, "night");
    s.timeout_seconds = 300;
    s.slurm.cores = 4;
    s.slurm.tasks_per_node = 3;
    becomes("#!/bin/sh\n#SBATCH -p {partition} -t {walltime} -c {cores} {processors}\n",
            "#!/bin/sh\n#SBATCH -p night -t 00:07:00 -c 4 12\n");
    snprintf(s.slurm.walltime, sizeof s.slurm.walltime, "01:00:00");
    becomes("#!/bin/sh\n#SBATCH -t {walltime}", "#!/bin/sh\n#SBATCH -t 01:00:00\n");
    becomes("#!/bin/sh\n{program} task {folder}/q1 {key} {name}\n",
            "#!/bin/sh\n'/bin/skyferry-pull' task '/jobs/a b'/q1 '00ff' 'it'\\''s'\n");
}

static void each_runner_has_its_own_template(void **state)
{
    (void)state;
    char path[PULL_PATH];
    struct fault why;
    struct pull_settings t = {.runner = "pbs"};
    scratch_path(&dir, "pull.conf", t.config);
    snprintf(path, sizeof path, "%.500s/jobs", dir.dir);
    assert_int_equal(fs_mkdirs(path, &why), ST_OK);
    snprintf(t.pbs.script, sizeof t.pbs.script, "pbs");
    snprintf(t.slurm.script, sizeof t.slurm.script, "slurm");
    assert_int_equal(template_find(&t, path, &why), ST_OK);
    assert_non_null(strstr(path, "/jobs/pbs.qsub"));
    snprintf(t.runner, sizeof t.runner, "slurm");
    assert_int_equal(template_find(&t, path, &why), ST_OK);
    assert_non_null(strstr(path, "/jobs/slurm.sbatch"));
    snprintf(s.slurm.partition, sizeof s.slurm.partition, "night");
    snprintf(s.slurm.reservation, sizeof s.slurm.reservation, "R12");
    becomes("#!/bin/sh\n#PBS -q {partition}\n", "#!/bin/sh\n#PBS -q night\n");
    snprintf(s.runner, sizeof s.runner, "pbs");
    scratch_path(&dir, "site.sbatch", s.pbs.script);
    becomes("#!/bin/sh\n#PBS -q {partition}\n", "#!/bin/sh\n#PBS -q R12\n");
    s.runner[0] = s.slurm.reservation[0] = '\0';
    becomes("#!/bin/sh\n[ -n \"$t\" ] || t={first}\n", "#!/bin/sh\n[ -n \"$t\" ] || t='3'\n");
}

static void a_line_without_its_value_is_left_out(void **state)
{
    (void)state;
    s.slurm.account[0] = '\0';
    becomes("#!/bin/sh\n#SBATCH -A {account}\ndate\n", "#!/bin/sh\ndate\n");
    becomes("#!/bin/sh\necho {account}\n", "#!/bin/sh\necho ''\n");
}

static void the_shells_braces_are_its_own(void **state)
{
    (void)state;
    const char *text = "#!/bin/sh\nf() { echo ${name} ${x:-1} {1..3} {A}; }\n";
    becomes(text, text);
}

static void what_cannot_be_used_is_said(void **state)
{
    (void)state;
    refused("#!/bin/sh\n\n#SBATCH -p {queue}\n", "site.sbatch:3: '{queue}' is no placeholder; there are {name}");
    refused("echo hello\n", "begins with #!");
    struct config_report r = {0};
    snprintf(s.slurm.script, sizeof s.slurm.script, "%s/none.sbatch", dir.dir);
    template_check(&s, &r);
    assert_int_equal(r.count, 1);
    buf_free(&r.text);
}

static int setup(void **state)
{
    (void)state;
    scratch_make(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_stand_where_they_are_named),
        cmocka_unit_test(each_runner_has_its_own_template),
        cmocka_unit_test(a_line_without_its_value_is_left_out),
        cmocka_unit_test(the_shells_braces_are_its_own),
        cmocka_unit_test(what_cannot_be_used_is_said),
    };
    return cmocka_run_group_tests_name("pull job template", tests, setup, teardown);
}
