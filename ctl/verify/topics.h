/* What Kafka holds, for the judge: partitions with their bounds and positions, and their records.
 * Only reads; joins no group. One thread. */
#ifndef SIPTRUNK_CTL_VERIFY_TOPICS_H
#define SIPTRUNK_CTL_VERIFY_TOPICS_H

#include "common/config.h"
#include "ctl/verify/progress.h"
#include "ctl/verify/record.h"

struct topics;

/* NULL with err set. */
struct topics *topics_new(const struct config *config, struct error *err);
void topics_free(struct topics *topics); /* accepts NULL */

/* The partitions of all configured topics, and the cluster's id. FAULT_STATE when a topic is not
 * there. */
bool topics_list(struct topics *topics, struct history *history, struct error *err) MUST_CHECK;

/* Raises answered_before to K, as it is now. Before topics_take_ends. */
bool topics_take_answered(struct topics *topics, struct history *history,
                          struct error *err) MUST_CHECK;

/* How far to read: results and dead letters first, waiting up to half a minute for transactions
 * that are open; then commands, so that no result is read whose command is not. */
bool topics_take_ends(struct topics *topics, struct history *history, struct progress *progress,
                      struct error *err) MUST_CHECK;

/* K and the ends of the logs once more, after the database's snapshot has begun. */
bool topics_take_positions(struct topics *topics, struct history *history,
                           struct error *err) MUST_CHECK;

/* All committed records, then all records of results; retention may take some meanwhile, which
 * topics_read_results notes. */
bool topics_read_committed(struct topics *topics, struct records *records, struct history *history,
                           struct progress *progress, struct error *err) MUST_CHECK;
bool topics_read_results(struct topics *topics, struct records *records, struct history *history,
                         struct progress *progress, struct error *err) MUST_CHECK;

#endif
