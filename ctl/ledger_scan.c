/* A block of pages is one range of row places, which the server finds without any index. Rows of
 * the ledger are never changed, so that each stays where it is until it is deleted. */
#include "ctl/ledger_scan.h"

#include "common/sql.h"
#include "common/stop.h"
#include "ctl/verify/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_AT_ONCE = 256 /* some thousand rows */ };

#define ROWS_OF_BLOCK                                                                              \
    " FROM siptrunk.command_ledger l LEFT JOIN unnest($1::text[], $2::int4[], $3::int8[])"         \
    " AS b(topic, partition, below) ON b.topic = l.source_topic"                                   \
    " AND b.partition = l.source_partition WHERE l.ctid >= $6::tid AND l.ctid < $7::tid"
#define IS_DUE                                                                                     \
    "greatest(l.source_timestamp, l.applied_at / 1000) < $4::int8"                                 \
    " AND (coalesce(l.source_offset < b.below, false) OR l.source_topic = ANY ($5::text[]))"

static const char sql_count[] =
    "SELECT l.source_topic, l.source_partition, count(*),"
    " count(*) FILTER (WHERE " IS_DUE ")" ROWS_OF_BLOCK " GROUP BY 1, 2";

/* The rows' places are worked out first, so that no plan can go through the whole table for them.
 */
static const char sql_delete[] =
    "WITH gone AS (DELETE FROM siptrunk.command_ledger WHERE ctid = ANY (ARRAY("
    "SELECT l.ctid" ROWS_OF_BLOCK " AND " IS_DUE ")) RETURNING source_topic, source_partition)"
    " SELECT source_topic, source_partition, count(*) FROM gone GROUP BY 1, 2";

static const char sql_pages[] = "SELECT pg_relation_size('siptrunk.command_ledger')"
                                " / current_setting('block_size')::int8";

void ledger_counts_free(struct ledger_counts *counts) {
    free(counts->all);
}

/* ---- counting ---- */

/* NULL when memory is out. */
static struct ledger_count *count_of(struct ledger_counts *counts, const char *topic,
                                     int32_t partition) {
    for (size_t i = 0; i < counts->count; i++) {
        if (counts->all[i].partition == partition && strcmp(counts->all[i].topic, topic) == 0)
            return &counts->all[i];
    }
    struct ledger_count *all = realloc(counts->all, (counts->count + 1) * sizeof *all);
    if (!all)
        return NULL;
    counts->all = all;
    struct ledger_count *added = &all[counts->count++];
    *added = (struct ledger_count){.partition = partition};
    snprintf(added->topic, sizeof added->topic, "%s", topic);
    return added;
}

static int64_t number(const PGresult *rows, int row, int column) {
    return strtoll(PQgetvalue(rows, row, column), NULL, 10);
}

/* Rows of topic, partition, and numbers that are added to fields of these. */
static bool add_counts(struct ledger_counts *counts, const PGresult *rows, const size_t *fields,
                       struct error *err) {
    for (int row = 0; row < PQntuples(rows); row++) {
        struct ledger_count *count =
            count_of(counts, PQgetvalue(rows, row, 0), (int32_t)number(rows, row, 1));
        if (!count)
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for counts");
        for (int column = 2; column < PQnfields(rows); column++) {
            size_t field = fields[column - 2];
            *(int64_t *)((char *)count + field) += number(rows, row, column);
            *(int64_t *)((char *)&counts->sum + field) += number(rows, row, column);
        }
    }
    return true;
}

static int by_place(const void *left, const void *right) {
    const struct ledger_count *a = left, *b = right;
    int order = strcmp(a->topic, b->topic);
    return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

/* ---- blocks ---- */

static bool take_block(PGconn *conn, const struct ledger_rule *rule, int64_t page, bool purge,
                       struct ledger_counts *counts, struct error *err) {
    static const size_t counted[] = {offsetof(struct ledger_count, rows),
                                     offsetof(struct ledger_count, due)};
    static const size_t deleted[] = {offsetof(struct ledger_count, deleted)};
    char from[32], to[32];
    snprintf(from, sizeof from, "(%" PRId64 ",0)", page);
    snprintf(to, sizeof to, "(%" PRId64 ",0)", page + PAGES_AT_ONCE);
    const char *params[] = {
        rule->topics, rule->partitions, rule->below, rule->before_ms, rule->gone, from, to};
    int64_t due_before = counts->sum.due;
    SQL_RESULT rows = sql_query(conn, sql_count, 7, params, "counting rows of the ledger", err);
    if (!rows || !add_counts(counts, rows, counted, err))
        return false;
    if (!purge || counts->sum.due == due_before)
        return true;
    SQL_RESULT gone = sql_query(conn, sql_delete, 7, params, "deleting rows of the ledger", err);
    return gone && add_counts(counts, gone, deleted, err);
}

static bool count_pages(PGconn *conn, int64_t *ret, struct error *err) {
    SQL_RESULT rows = sql_query(conn, sql_pages, 0, NULL, "asking for the ledger's size", err);
    if (rows)
        *ret = number(rows, 0, 0);
    return rows != NULL;
}

bool ledger_scan(PGconn *conn, const struct ledger_rule *rule, bool purge, bool show_progress,
                 struct ledger_counts *counts, struct error *err) {
    struct progress progress = {.shown = show_progress};
    int64_t pages = 0;
    bool ok = count_pages(conn, &pages, err);
    progress_begin(&progress, purge ? "purging, pages of the ledger" : "pages of the ledger",
                   pages);
    for (int64_t page = 0; ok && page < pages; page += PAGES_AT_ONCE) {
        ok = stop_requested() ? error_set(err, FAULT_STOP, "stopped", "interrupted")
                              : take_block(conn, rule, page, purge, counts, err);
        progress_step(&progress, PAGES_AT_ONCE);
    }
    progress_end(&progress);
    if (counts->count > 0)
        qsort(counts->all, counts->count, sizeof *counts->all, by_place);
    return ok;
}
