/* Is a placed file still the one that was placed? What somebody changed is never replaced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fits.h"
#include "pull/place_file.h"

void place_sums(const struct buf *file, char datasum[24], char checksum[24])
{
    struct fits_header h = {0};
    struct fault why;
    datasum[0] = checksum[0] = '\0';
    if (fits_header_parse(file->data, file->len, &h, &why) == ST_OK) {
        fits_header_text(&h, "DATASUM", datasum, 24);
        fits_header_text(&h, "CHECKSUM", checksum, 24);
    }
    fits_header_free(&h);
}

static bool has_cards(const struct buf *file, const struct place_known *k)
{
    char datasum[24], checksum[24];
    place_sums(file, datasum, checksum);
    return checksum[0] && strcmp(datasum, k->datasum) == 0 && strcmp(checksum, k->checksum) == 0;
}

enum status place_is_known(const char *path, const struct place_known *k, bool *known,
                           struct fault *why)
{
    struct buf file = {0};
    struct stat st;
    enum status grade = ST_OK;
    *known = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR))
        return ST_OK;
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    if (fstat(fd, &st) != 0) {
        grade = fault_errno(why, ST_RETRY, "cannot look at '%s'", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size != k->size)
        goto out;
    if (!buf_reserve(&file, (size_t)k->size) ||
        fs_pread_all(fd, file.data, (size_t)k->size, 0) != 0) {
        grade = fault(why, ST_RETRY, "cannot read '%s'", path);
        goto out;
    }
    file.len = (size_t)k->size;
    *known = has_cards(&file, k) && fits_check_sums(file.data, file.len, NULL) == ST_OK;
out:
    buf_free(&file);
    close(fd);
    return grade;
}
