/* One round trip to PostgreSQL after deciding: changed numbers, ledger rows with the encoded
 * results, account tails, the partitions' positions, COMMIT. Finishes the transaction that load
 * opened. */
#ifndef SIPTRUNK_WORKER_STORE_H
#define SIPTRUNK_WORKER_STORE_H

#include "common/vault.h"
#include "worker/load.h"

/* Moves the positions of the batch to their batch_end in the database; the caller moves its own
 * copy after success. mac_key_id: of the key that the commands' MACs were made with.
 * FAULT_STATEMENT when the data is refused; FAULT_RETRY when another worker stored one of the ids
 * first. An error after COMMIT was sent leaves the outcome open: the batch is to be loaded anew. */
bool store_batch(struct pg *pg, const struct position *positions, size_t position_count,
                 const struct working_set *set, struct slice mac_key_id, struct vault *vault,
                 struct error *err) MUST_CHECK;

/* The same without positions and without COMMIT, for a caller who began the transaction itself and
 * used load_rows. On failure the transaction is rolled back. */
bool store_rows(struct pg *pg, const struct working_set *set, struct slice mac_key_id,
                struct vault *vault, struct error *err) MUST_CHECK;

extern const struct pg_statement store_statements[];
extern const size_t store_statement_count;

#endif
