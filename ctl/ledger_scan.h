/* Goes through the ledger in the order of its pages, some at a time, each in a short transaction of
 * its own: counts rows by the partition that their commands came from, and deletes those that are
 * due. Which partitions there are and what is due by them is told by the caller. One thread. */
#ifndef SIPTRUNK_CTL_LEDGER_SCAN_H
#define SIPTRUNK_CTL_LEDGER_SCAN_H

#include "common/error.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Texts of SQL parameters. A row is due when it is older than before_ms (of both the command's and
 * the result's time), and its offset is less than that of its partition in below, or its topic is
 * among gone. */
struct ledger_rule {
    const char *topics, *partitions, *below; /* arrays, side by side */
    const char *before_ms;
    const char *gone; /* array of topics */
};

struct ledger_count {
    char topic[256];
    int32_t partition;
    int64_t rows, due, deleted;
};

struct ledger_counts {
    struct ledger_count *all; /* sorted by topic and partition when the scan is over */
    size_t count;
    struct ledger_count sum; /* of all; its topic is empty */
};

void ledger_counts_free(struct ledger_counts *counts);

/* False with FAULT_STOP when a stop was asked for; what was done so far is in the counts, also on
 * failure. */
bool ledger_scan(PGconn *conn, const struct ledger_rule *rule, bool purge, bool show_progress,
                 struct ledger_counts *counts, struct error *err) MUST_CHECK;

#endif
