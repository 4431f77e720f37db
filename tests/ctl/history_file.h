/* A history as a test has written it down (tests/support/history_dump.py), before anything is made
 * of its bytes: records and rows that a mutation can drop, copy, swap or edit, and the judgement of
 * what is then left. */
#ifndef SIPTRUNK_TESTS_HISTORY_FILE_H
#define SIPTRUNK_TESTS_HISTORY_FILE_H

#include "ctl/verify/judge.h"

#include <jansson.h>

enum { MAX_PARTS = 64, MAX_RAW = 1024 };

struct raw_header {
    const char *name;
    struct slice value;
};

/* committed: of results. Bytes belong to the world that was loaded, or to a mutation. */
struct raw {
    uint16_t part;
    int64_t offset, timestamp_ms;
    struct slice key, value;
    struct raw_header headers[24];
    size_t header_count;
    bool committed;
    bool second_only, first_only; /* one of the two readings of results does not show it */
};

struct raw_list {
    struct raw items[MAX_RAW];
    size_t count;
};

struct raw_tail {
    struct uuid account;
    int64_t sequence;
    uint8_t chain[SHA256_SIZE];
};

struct world {
    char cluster[64];
    struct part parts[MAX_PARTS];
    size_t part_count;
    struct raw_list commands, results, letters;
    struct ledger_view ledger[MAX_RAW];
    size_t ledger_count;
    struct raw_tail tails[MAX_RAW];
    size_t tail_count;
    json_t *lines; /* what the bytes belong to */
};

/* Ends the program when the file cannot be used. */
void world_load(struct world *world, const char *path);
void world_free(struct world *world);

#define NAME_BIT(name) (UINT64_C(1) << FINDING_##name)

/* The names found, a bit each. */
uint64_t world_judge(struct records *records, const struct world *world, bool complete);

/* Of the loaded history, settled: for choosing what to expect. The caller frees it. */
void world_build(struct records *records, const struct world *world, struct history *history);

#endif
