/* Stores a block of inventory lines in one transaction: staged by COPY, merged by statements over
 * whole sets. Locks what the worker locks, in the worker's order. */
#ifndef SIPTRUNK_CTL_INVENTORY_STORE_H
#define SIPTRUNK_CTL_INVENTORY_STORE_H

#include "ctl/inventory_line.h"

#include <libpq-fe.h>

/* Once for a connection: session settings and staging tables. */
bool inventory_store_prepare(PGconn *conn, struct error *err) MUST_CHECK;

/* All of the block or nothing. FAULT_INPUT names line and pointer of the first line that does not
 * fit what is stored. A deadlock, a wait that took too long or a twin who stored the same is tried
 * again a few times. */
bool inventory_store_block(PGconn *conn, const struct inventory_block *block,
                           struct error *err) MUST_CHECK;

#endif
