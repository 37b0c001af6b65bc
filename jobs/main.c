/* skyferry-measure: the job that ships as default. Reads the job file that skyferry-pull
 * wrote (SKYFERRY_JOB or first operand), measures every ccd it names from the placed FITS
 * files and writes the figures as JSON (SKYFERRY_RESULT or second operand). A ccd that
 * cannot be measured gets an "error" and does not hold the others; the exit status is 1
 * when none could be measured. Formats: skyferry-measure(1). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "jobs/detect.h"
#include "jobs/frame.h"

#define MAX_JOB ((size_t)16 << 20)

static const char usage[] =
    "usage: skyferry-measure [JOB.json [RESULT.json]]\n"
    "Measures the ccds of one job: background, noise, saturated fraction, and with\n"
    "source-extractor star count and FWHM. skyferry-pull names both files in the\n"
    "environment (SKYFERRY_JOB, SKYFERRY_RESULT). See skyferry-measure(1).\n";

/* JSON has no NaN: a figure that does not exist is null. */
static void set_real(json_t *to, const char *key, double value)
{
    json_object_set_new(to, key, isfinite(value) ? json_real(value) : json_null());
}

static enum status measure(const char *path, bool count_stars, const char *scratch, json_t *to,
                           struct fault *why)
{
    struct frame f;
    char program[4096];
    enum status st = frame_load(path, &f, why);
    if (st != ST_OK)
        return st;
    double level, noise, stated;
    frame_sky(&f, &level, &noise);
    /* A lossy codec smooths the sky and makes it no deeper: the raw frame's noise holds. */
    if (fits_header_real(&f.header, "SFNOISE", &stated) && stated > 0)
        noise = stated;
    set_real(to, "bias", f.bias);
    set_real(to, "background", level);
    set_real(to, "noise", noise);
    set_real(to, "saturated", f.saturated);
    if (count_stars && noise > 0 && detect_find(program, sizeof program)) {
        struct stars s;
        st = detect_stars(program, &f, noise, scratch, &s, why);
        if (st == ST_OK) {
            json_object_set_new(to, "stars", json_integer(s.count));
            set_real(to, "fwhm", s.fwhm);
        }
    }
    frame_free(&f);
    return st;
}

/* One ccd's entry; true when it was measured. */
static bool one_ccd(const json_t *ccd, bool count_stars, const char *scratch, json_t *results)
{
    struct fault why = {0};
    const char *path = json_string_value(json_object_get(ccd, "fits"));
    json_t *one = json_object();
    json_object_set(one, "ccd", json_object_get(ccd, "ccd"));
    enum status st = path ? measure(path, count_stars, scratch, one, &why)
                          : fault(&why, ST_REJECT, "the job file names no fits path for this ccd");
    if (st != ST_OK) {
        json_object_set_new(one, "error", json_string(why.text));
        fprintf(stderr, "ccd %lld: %s\n",
                (long long)json_integer_value(json_object_get(ccd, "ccd")), why.text);
    }
    json_array_append_new(results, one);
    return st == ST_OK;
}

static int run(const char *job_path, const char *result_path)
{
    struct fault why = {0};
    struct buf text = {0};
    json_t *job = NULL, *result = json_object(), *results = json_array();
    char *out = NULL, scratch[4096];
    size_t good = 0, i;
    int code = 1;
    if (fs_read_file(job_path, MAX_JOB, &text, &why) != ST_OK)
        goto out;
    json_error_t error;
    job = json_loadb((const char *)text.data, text.len, 0, &error);
    const json_t *ccds = json_object_get(job, "ccds"), *ccd;
    if (!json_is_array(ccds)) {
        fault(&why, ST_REJECT, "%s is no job file: %s", job_path, job ? "no \"ccds\"" : error.text);
        goto out;
    }
    const char *slash = strrchr(result_path, '/');
    snprintf(scratch, sizeof scratch, "%.*s", slash ? (int)(slash - result_path) : 1,
             slash ? result_path : ".");
    const char *type = json_string_value(json_object_get(job, "type"));
    bool count_stars = !type || strcmp(type, "science") == 0;
    json_array_foreach(ccds, i, ccd)
        good += one_ccd(ccd, count_stars, scratch, results);
    json_object_set(result, "ccds", results);
    out = json_dumps(result, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
    if (out && fs_write_file(result_path, out, strlen(out), false, &why) == ST_OK)
        code = good > 0 || json_array_size(ccds) == 0 ? 0 : 1;
out:
    if (code && why.text[0])
        fprintf(stderr, "skyferry-measure: %s\n", why.text);
    free(out);
    json_decref(results);
    json_decref(result);
    json_decref(job);
    buf_free(&text);
    return code;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts("skyferry-measure " SKYFERRY_VERSION);
        return EXIT_DONE;
    }
    const char *job = argc > 1 ? argv[1] : getenv("SKYFERRY_JOB");
    const char *result = argc > 2 ? argv[2] : getenv("SKYFERRY_RESULT");
    if (!job || !result || argc > 3 || job[0] == '-') {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    return run(job, result);
}
