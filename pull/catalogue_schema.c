/* The catalogue's tables, version by version. */
#include "pull/catalogue_inner.h"

/* AUTOINCREMENT: an id is never given twice, so a late answer about a forgotten job or
 * exposure can never be taken for another's. */
static const char schema_1[] =
    "CREATE TABLE exposures ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, bundle TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
    " night TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, due_ns INTEGER NOT NULL,"
    " reason TEXT NOT NULL, force INTEGER NOT NULL,"
    " closed_ns INTEGER NOT NULL, noticed_ns INTEGER NOT NULL, encoded_ns INTEGER NOT NULL,"
    " first_ns INTEGER NOT NULL, stored_ns INTEGER NOT NULL, indexed_ns INTEGER NOT NULL,"
    " placed_ns INTEGER NOT NULL, done_ns INTEGER NOT NULL,"
    " source_name TEXT NOT NULL, source_sha256 TEXT NOT NULL, source_size INTEGER NOT NULL,"
    " raw_size INTEGER NOT NULL,"
    " bundle_sha256 TEXT NOT NULL, bundle_size INTEGER NOT NULL, bundle_mtime_ns INTEGER NOT NULL,"
    " object TEXT NOT NULL, filter TEXT NOT NULL, obstype TEXT NOT NULL, propid TEXT NOT NULL,"
    " date_obs TEXT NOT NULL, expnum INTEGER NOT NULL, date_ns INTEGER NOT NULL, exptime REAL,"
    " ccds INTEGER NOT NULL DEFAULT 0, placed INTEGER NOT NULL DEFAULT 0,"
    " jobs INTEGER NOT NULL DEFAULT 0, jobs_done INTEGER NOT NULL DEFAULT 0,"
    " faults INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX exposures_state ON exposures (state, due_ns);"
    "CREATE INDEX exposures_name ON exposures (name);"
    "CREATE INDEX exposures_night ON exposures (night);"
    "CREATE INDEX exposures_source ON exposures (source_sha256);"
    "CREATE TABLE jobs ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposures (id),"
    " number INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,"
    " due_ns INTEGER NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,"
    " folder TEXT NOT NULL, handle TEXT NOT NULL, reason TEXT NOT NULL,"
    " UNIQUE (exposure, number));"
    "CREATE INDEX jobs_state ON jobs (state, due_ns);"
    "CREATE TABLE ccds ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposures (id),"
    " job INTEGER REFERENCES jobs (id), ccd INTEGER NOT NULL, hdu INTEGER NOT NULL,"
    " extname TEXT NOT NULL, member TEXT NOT NULL, codec TEXT NOT NULL, qstep REAL,"
    " state TEXT NOT NULL, reason TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL,"
    " placed_ns INTEGER NOT NULL, datasum TEXT NOT NULL, checksum TEXT NOT NULL,"
    " background REAL, noise REAL, saturated REAL, stars REAL, fwhm REAL,"
    " error TEXT NOT NULL DEFAULT '', UNIQUE (exposure, hdu));"
    "CREATE INDEX ccds_job ON ccds (job);"
    "CREATE INDEX ccds_path ON ccds (path) WHERE state = 'placed';"
    "CREATE TABLE requests ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposures (id),"
    " verb INTEGER NOT NULL, force INTEGER NOT NULL);";

/* The exact data that follow lossy ones. What was placed before without any loss is exact. */
static const char schema_2[] =
    "ALTER TABLE exposures ADD COLUMN exact INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN renewed_ns INTEGER NOT NULL DEFAULT 0;"
    "UPDATE exposures SET exact = 2 WHERE EXISTS (SELECT 1 FROM ccds WHERE exposure = exposures.id)"
    " AND NOT EXISTS (SELECT 1 FROM ccds WHERE exposure = exposures.id AND qstep > 0);"
    "CREATE TABLE bundles ("
    " path TEXT PRIMARY KEY, exposure INTEGER NOT NULL REFERENCES exposures (id),"
    " role TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,"
    " stored_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX bundles_role ON bundles (role, stored_ns);";

/* ccds placed while their bundle is still coming. */
static const char schema_3[] = "ALTER TABLE ccds ADD COLUMN made_from TEXT NOT NULL DEFAULT '';";

/* What a batch system says of a job. */
static const char schema_4[] =
    "ALTER TABLE jobs ADD COLUMN batch TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN batch_state TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN node TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN exit_status INTEGER NOT NULL DEFAULT -1;";

/* For a season of 100,000 exposures: what waits is walked in order of arrival without a sort, and a
 * row that goes finds the rows that name it. */
static const char schema_5[] =
    "CREATE INDEX exposures_waiting ON exposures (state);"
    "CREATE INDEX jobs_waiting ON jobs (state);"
    "CREATE INDEX bundles_exposure ON bundles (exposure);"
    "CREATE INDEX requests_exposure ON requests (exposure);";

/* Visits of cameras that write one file a ccd. */
static const char schema_6[] =
    "ALTER TABLE exposures ADD COLUMN visit INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN visit_ccd INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN visit_ccds INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN visit_coming INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX exposures_visit ON exposures (visit) WHERE visit > 0;";

/* What the inventory sums up of an exposure's ccds; calibrations copied to other nights. */
static const char schema_7[] =
    "ALTER TABLE exposures ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN fits_size INTEGER NOT NULL DEFAULT 0;"
    "UPDATE exposures SET (parked, fits_size) ="
    " (SELECT count(*) FILTER (WHERE state = 'parked'),"
    " coalesce(sum(size) FILTER (WHERE state = 'placed'), 0) FROM ccds"
    " WHERE exposure = exposures.id);"
    "CREATE TABLE copies ("
    " path TEXT PRIMARY KEY, night TEXT NOT NULL, origin TEXT NOT NULL, kind TEXT NOT NULL,"
    " filter TEXT NOT NULL, ccd INTEGER NOT NULL, source_sha256 TEXT NOT NULL,"
    " size INTEGER NOT NULL, datasum TEXT NOT NULL, checksum TEXT NOT NULL,"
    " copied_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX copies_night ON copies (night);";

/* What tells a store's own catalogue from another node's. */
static const char schema_8[] =
    "CREATE TABLE identity (id TEXT NOT NULL, term INTEGER NOT NULL);"
    "INSERT INTO identity VALUES (lower(hex(randomblob(16))), 0);";

/* Names that waiting ccds are about to get. */
static const char schema_9[] =
    "CREATE INDEX ccds_awaited ON ccds (path) WHERE state = 'waiting';";

/* What is held back waits here, the newest first: by the time at which push noticed the exposure,
 * for after a cut line they arrive the other way round. What was begun in the last minute. */
static const char schema_10[] =
    "CREATE INDEX exposures_newest ON exposures (state, " CATALOGUE_AGE ");"
    "CREATE TABLE begun (what INTEGER NOT NULL, at_ns INTEGER NOT NULL);"
    "CREATE INDEX begun_at ON begun (what, at_ns);";

const char *const catalogue_schemas[] = {schema_1, schema_2, schema_3, schema_4, schema_5,
                                         schema_6, schema_7, schema_8, schema_9, schema_10, NULL};
