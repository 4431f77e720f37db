/* The schema's migrations, which travel inside the programs. File format and bookkeeping (table
 * public.schema_migrations) are those of dbmate, so that either tool may go on where the other left
 * off; dbmate looks for its table in the first schema of search_path unless told
 * --migrations-table public.schema_migrations, and a role called siptrunk has another one first.
 * Uses plain blocking connections; the worker only checks and never migrates. */
#ifndef SIPTRUNK_COMMON_MIGRATE_H
#define SIPTRUNK_COMMON_MIGRATE_H

#include "common/error.h"

#include <libpq-fe.h>
#include <stddef.h>

enum { MIGRATE_MAX_VERSION = 128 };

enum migration_state {
    MIGRATION_APPLIED,
    MIGRATION_PENDING,
    MIGRATION_NEWER, /* applied by a later release: this program does not know it */
};

struct migration {
    const char *name; /* file name without .sql; of a NEWER one the version alone. Lives as long as
                         the call */
    enum migration_state state;
};

/* Called for each migration, in order of versions. */
typedef void (*migrate_visit)(const struct migration *migration, void *context);

/* Whether the schema is the one that this program was built for; else FAULT_STATE and what to do.
 */
bool migrate_check(PGconn *conn, struct error *err) MUST_CHECK;

/* All migrations that are known or applied. Changes nothing. */
bool migrate_status(PGconn *conn, migrate_visit visit, void *context, struct error *err) MUST_CHECK;

/* Applies what is pending, each migration in a transaction of its own, and visits each one done.
 * Two runners at the same time: the second waits for the first, at most a minute. FAULT_STATE when
 * the database is newer than this program. On failure the migrations before the failed one stay. */
bool migrate_up(PGconn *conn, migrate_visit visit, void *context, struct error *err) MUST_CHECK;

/* Takes the latest applied migration back, and visits it. FAULT_STATE when there is none, or a
 * newer one. */
bool migrate_down(PGconn *conn, migrate_visit visit, void *context, struct error *err) MUST_CHECK;

#endif
