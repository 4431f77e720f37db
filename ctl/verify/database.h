/* What PostgreSQL holds, for the judge: ledger, ends of chains, positions, all of one moment. Only
 * reads. One thread. */
#ifndef SIPTRUNK_CTL_VERIFY_DATABASE_H
#define SIPTRUNK_CTL_VERIFY_DATABASE_H

#include "common/config.h"
#include "ctl/verify/progress.h"
#include "ctl/verify/record.h"

#include <libpq-fe.h>

/* Connects, and looks whether the schema is this release's. NULL with err set. */
PGconn *database_open(const struct config *config, struct error *err);

/* K as the database knows it now, into answered_before of the partitions. */
bool database_read_noted(PGconn *conn, struct history *history, struct error *err) MUST_CHECK;

/* Begins the snapshot, which holds vacuum back until database_read has read it. FAULT_STATE when
 * the database belongs to another Kafka cluster. */
bool database_begin(PGconn *conn, struct history *history, struct error *err) MUST_CHECK;
bool database_read(PGconn *conn, struct records *records, struct history *history,
                   struct progress *progress, struct error *err) MUST_CHECK;

#endif
