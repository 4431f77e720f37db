/* A history in memory: what was asked, answered, buried and stored, as rows of fixed size in
 * arrays, for the judge. Ids of events and accounts are kept once and named by their number. Where
 * the rows come from is left to topics.c and database.c, what bytes mean to record.c. One thread.
 */
#ifndef SIPTRUNK_CTL_VERIFY_HISTORY_H
#define SIPTRUNK_CTL_VERIFY_HISTORY_H

#include "common/error.h"
#include "common/uuid.h"
#include "ctl/uuid_map.h"

#include <stdint.h>

#define NO_ROW  UINT32_MAX
#define NO_PART UINT16_MAX

enum part_role { PART_COMMANDS, PART_RESULTS, PART_DEAD_LETTERS };

/* A partition. Offsets are -1 where there is none. */
struct part {
    char *topic;
    int32_t id;
    enum part_role role;
    unsigned lanes;     /* of commands and results: a bit for each lane that it serves */
    uint16_t number;    /* of a command topic; its dead letter topic has the same */
    int64_t low;        /* the first record that is still there */
    int64_t end;        /* the first offset that is not looked at */
    int64_t stable_end; /* of results and dead letters: records from here up to end belong to
                           transactions that are still open; else end */
    /* of commands */
    int64_t answered_before; /* K, as it was before the ends of the results were taken */
    int64_t answered_after;  /* K, as it was after the snapshot of the database */
    int64_t log_end;         /* the end of the log after the snapshot */
    int64_t next_offset;     /* D */
    int64_t noted_offset;    /* K, as the database knows it */
};

enum command_kind { COMMAND_TOMBSTONE, COMMAND_UNREADABLE, COMMAND_LIST, COMMAND_OTHER };

struct command_row {
    int64_t offset;
    uint64_t digest; /* of key and value */
    struct uuid derived_id;
    struct uuid command_id; /* when natural */
    uint32_t account;       /* NO_ROW when its id is malformed */
    uint32_t token;         /* hash of the correlation headers, 0 when there are none */
    uint32_t echo;          /* hash of what its result repeats; 0 when that cannot be told */
    uint32_t stamp;         /* the low half of its timestamp in milliseconds */
    uint32_t event, next;   /* the event that answers it, the next record with that event */
    uint16_t part;
    uint8_t kind;    /* enum command_kind */
    uint8_t type;    /* number of its record's type */
    uint8_t letters; /* dead letters of it, at most 255 */
    bool natural;    /* both ids are well-formed */
    bool large;      /* perhaps too large for a dead letter with its value */
};

enum result_flag {
    RESULT_COMMITTED = 1,
    RESULT_PENDING = 2, /* its transaction is still open; without both it is an aborted copy */
    RESULT_REPLAYED = 4,
    RESULT_LIST = 8,
    RESULT_WRONG_KEY = 16,
    RESULT_WRONG_HEADERS = 32,
    RESULT_INTERNAL = 64, /* rejected for trouble of ours */
    RESULT_UNREADABLE = 128,
    RESULT_CHANGED = 256, /* the second reading of the same place showed other bytes */
    RESULT_CHAIN_HOLDS = 512,
    RESULT_CHAIN_BROKEN = 1024,
    RESULT_SEEN_AGAIN = 2048, /* by the second reading */
};

struct result_row {
    int64_t offset;
    int64_t sequence;
    int64_t source_offset;
    uint64_t digest; /* of the body */
    uint8_t chain[SHA256_SIZE];
    uint32_t event, next; /* NO_ROW when unreadable */
    uint32_t account;     /* NO_ROW when its id is malformed */
    uint32_t token, echo, stamp;
    uint16_t part;
    uint16_t source_part; /* NO_PART when the topic is none of ours */
    uint16_t flags;       /* enum result_flag */
};

enum ledger_flag {
    LEDGER_WRONG_COLUMNS = 1, /* they do not say what the body says */
    LEDGER_UNREADABLE = 2,
};

struct ledger_row {
    int64_t sequence;
    int64_t source_offset;
    uint64_t digest;
    uint8_t chain[SHA256_SIZE];
    struct uuid command_id;
    uint32_t event, account;
    uint32_t stamp;
    uint16_t source_part;
    uint16_t flags; /* enum ledger_flag */
};

struct letter_row {
    int64_t offset;
    int64_t source_offset;
    uint64_t digest;
    uint16_t part;
    uint16_t source_part; /* NO_PART when its headers name no topic of ours */
    bool without_value;
    bool internal; /* its reason is that the record killed the worker */
};

struct event {
    struct uuid id;
    uint32_t commands, results; /* the first of each */
    uint32_t ledger;
};

struct account {
    struct uuid id;
    bool has_tail;
    int64_t tail_sequence;
    uint8_t tail_chain[SHA256_SIZE];
};

struct history {
    char cluster_id[64];
    char diverged[256]; /* why the installation is marked so; empty: it is not */
    struct part *parts;
    struct command_row *commands;
    struct result_row *results; /* first the committed ones, then the others */
    struct ledger_row *ledger;
    struct letter_row *letters;
    struct event *events;
    struct account *accounts;
    uint32_t part_count, command_count, result_count, ledger_count, letter_count, event_count,
        account_count;
    uint32_t part_capacity, command_capacity, result_capacity, ledger_capacity, letter_capacity,
        event_capacity, account_capacity;
    uint32_t committed_count; /* of results */
    struct uuid_map event_numbers, account_numbers;
};

/* Starts as {0}. */
void history_free(struct history *history);

/* Rows of zeros at the end of each array; NULL when memory is out. Valid until the next one. */
struct part *history_new_part(struct history *history, const char *topic, int32_t id,
                              enum part_role role);
struct command_row *history_new_command(struct history *history);
struct result_row *history_new_result(struct history *history);
struct ledger_row *history_new_ledger(struct history *history);
struct letter_row *history_new_letter(struct history *history);

/* The number of the partition, NO_PART when it is none of ours. */
uint16_t history_part(const struct history *history, struct slice topic, int64_t id,
                      enum part_role role);

/* The number of an id, which is added when it is new; NO_ROW when memory is out. */
uint32_t history_event(struct history *history, const struct uuid *id);
uint32_t history_account(struct history *history, const struct uuid *id);

/* NO_ROW when there is no such event. */
uint32_t history_find_event(const struct history *history, const struct uuid *id);

/* Rows by group, in the order in which they stand: those of group g are
 * rows[starts[g]] .. rows[starts[g + 1] - 1]. */
struct grouping {
    uint32_t *rows;
    uint32_t *starts; /* group_count + 1 */
};

/* group_of: NO_ROW leaves the row out. False when memory is out. */
bool grouping_make(struct grouping *grouping, uint32_t row_count, uint32_t group_count,
                   uint32_t (*group_of)(const struct history *history, uint32_t row),
                   const struct history *history) MUST_CHECK;
void grouping_free(struct grouping *grouping);

/* Results (committed) and ledger rows of accounts, by sequence number; those without are left out.
 */
bool grouping_of_results(struct grouping *grouping, const struct history *history) MUST_CHECK;
bool grouping_of_ledger(struct grouping *grouping, const struct history *history) MUST_CHECK;

#endif
