/* One round trip to PostgreSQL before anything is decided: fence, lock the accounts, then read the
 * ledger and every row that the batch names, and the database's clock. Leaves the transaction open
 * for store. */
#ifndef SIPTRUNK_WORKER_LOAD_H
#define SIPTRUNK_WORKER_LOAD_H

#include "common/postgres.h"
#include "worker/working_set.h"

/* A partition as this worker claimed it. */
struct position {
    struct slice topic; /* owned by the worker's assignment */
    int32_t partition;
    int64_t epoch;
    int64_t next_offset;      /* D: what the database has */
    int64_t committed_offset; /* K: what Kafka has, as far as is known; -1: nothing */
    bool k_forgotten;         /* Kafka had no K when it was last asked */
    int64_t read_next;        /* least offset that the consumer may give next */
    int64_t batch_end;        /* offset after the part's last record; -1: not in the part */
    int64_t lag;              /* records from K to the partition's end when it was last seen; -1 */
    bool at_end;              /* when last looked, there was nothing more to read */
    int64_t careful_until; /* offsets from D up to it are taken one by one: see claim_partitions */
    char held_reason[201]; /* of an operator, who holds the partition: it is not read; else "" */
};

/* FAULT_FENCED when a position is not as this worker left it; FAULT_STATE when the installation is
 * diverged; FAULT_RETRY "held" when an operator holds a partition of the part. On failure the
 * transaction is rolled back. */
bool load_batch(struct pg *pg, const struct position *positions, size_t position_count,
                struct working_set *set, int64_t *ret_now_us, struct error *err) MUST_CHECK;

/* The same within the caller's transaction and without a fence: only what the batch names, and the
 * clock. On failure the transaction is rolled back. */
bool load_rows(struct pg *pg, struct working_set *set, int64_t *ret_now_us,
               struct error *err) MUST_CHECK;

/* The statements that load needs, for pg_connect. */
extern const struct pg_statement load_statements[];
extern const size_t load_statement_count;

#endif
