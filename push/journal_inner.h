/* What the files of the journal share among themselves. Not for others. */
#ifndef SKYFERRY_JOURNAL_INNER_H
#define SKYFERRY_JOURNAL_INNER_H

#include "push/journal.h"

struct journal {
    struct db *db;
};

/* No row of the flow table makes an exposure wait longer than this. */
#define JOURNAL_WAIT_NS (3600 * NS_PER_S)

/* Of `FROM exposures`, in the order that journal_read takes. */
#define JOURNAL_COLUMNS                                                                           \
    "id, path, name, size, mtime_ns, inode, closed, changed_ns, origin, request, state, "         \
    "attempts, due_ns, reason, expnum, object, filter, obstype, propid, date_obs, date_ns, "      \
    "exptime, ccds, source_sha256, bundle_id, bundle_size, bundle_sha256, stored_as, "            \
    "sent_bytes, noticed_ns, settled_ns, encode_ns, encoded_ns, first_ns, last_ns, stored_ns, "   \
    "done_ns, exact, fidelity, "                                                                  \
    "(SELECT state FROM exposures AS x WHERE x.path = exposures.path"                             \
    " AND x.size = exposures.size AND x.mtime_ns = exposures.mtime_ns"                            \
    " AND x.inode = exposures.inode AND x.exact = 1), "                                           \
    "image_bytes, tiled, method, ratio, pace, grp, group_ccd, group_coming"
#define JOURNAL_COLUMN_COUNT 48 /* what is selected behind them comes in this column */
void journal_read(struct exposure *e, const struct db_row *row);

#endif
