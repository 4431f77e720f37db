/* An operator's mark on a partition, by which no worker takes anything of it. */
#ifndef SIPTRUNK_CTL_PARTITION_HOLD_H
#define SIPTRUNK_CTL_PARTITION_HOLD_H

#include "ctl/partition_list.h"

#include <libpq-fe.h>

/* Bytes of a reason at most, as the table has it. */
enum { HOLD_REASON_MAX = 200 };

/* Whether the process that owned the partition when the row p was read still has its session.
 * Sessions of other roles show their beginning only to those who may read all statistics. */
#define PARTITION_OWNER_ALIVE                                                                      \
    "EXISTS (SELECT FROM pg_stat_activity s WHERE s.pid = p.owner_pid"                             \
    " AND s.datname = current_database()"                                                          \
    " AND coalesce(s.backend_start, p.owner_started) = p.owner_started)"

/* Sets the mark, and waits until nothing of the partition is on its way any more: what was stored
 * is answered, or its owner has begun anew or is gone. Says on standard output what came of it.
 * Returns the exit code, EXIT_TIMED_OUT when the mark stands but answers may still come. */
int partition_hold(PGconn *conn, const struct partition_list *list,
                   struct command_partition *partition, const char *reason);

/* Takes the mark away. */
int partition_release(PGconn *conn, const struct command_partition *partition);

#endif
