/* Whether the database has lost work that was acknowledged: after a failover to a server that
 * lagged behind, after an old backup came back. Going on would give the sequence numbers of
 * published results to other commands, so the installation is marked as diverged and held. */
#ifndef SIPTRUNK_WORKER_DIVERGENCE_H
#define SIPTRUNK_WORKER_DIVERGENCE_H

#include "worker/worker_internal.h"

/* Compares K and D of all partitions of both lanes, whoever owns them: an account may have commands
 * on any. Once for each connection to the database. FAULT_STATE "diverged" when
 * the installation was marked. */
bool divergence_look_everywhere(struct worker *worker, struct error *err) MUST_CHECK;

/* Of the partitions claimed: the log must reach up to D. Looked for where Kafka has forgotten K or
 * D is ahead of it; that is where a topic that was made anew shows. */
bool divergence_look_at_logs(struct worker *worker, struct error *err) MUST_CHECK;

/* Of a part that was decided: a command below D has been stored once, so the ledger must have it.
 */
bool divergence_look_at_ledger(struct worker *worker, const struct command *commands, size_t count,
                               struct error *err) MUST_CHECK;

#endif
