/* Decides lost commands again, with the stages of the worker, and holds what comes out against what
 * was published: the results must be the same to the byte. All within one transaction, which is the
 * caller's to begin and to end. */
#ifndef SIPTRUNK_CTL_REPAIR_REDO_H
#define SIPTRUNK_CTL_REPAIR_REDO_H

#include "common/postgres.h"
#include "common/vault.h"
#include "ctl/repair/lost.h"
#include "worker/claim.h"
#include "worker/decide.h"
#include "worker/decode.h"

struct redo {
    struct pg *pg;
    const struct config *config;
    struct digests *digests;
    struct vault *vault;
    struct schema_set *commands; /* what records are decoded with */
    struct result_encoder *encoder;
    struct arena *arena;
    const char *cluster_id;
    size_t restored, accounts; /* commands stored again; accounts that they belong to */
    size_t resends;            /* records that ask for a result once more */
};

/* installation: for the MAC keys. On failure redo_release gives back what there is. */
bool redo_init(struct redo *redo, struct pg *pg, const struct config *config,
               const char *cluster_id, const struct installation *installation,
               struct error *err) MUST_CHECK;
void redo_release(struct redo *redo);

/* Each account's commands in the order of their published sequence numbers. FAULT_STATE "mismatch"
 * at the first one that comes out otherwise, or that has no answer; the transaction is then rolled
 * back. */
bool redo_run(struct redo *redo, struct lost *lost, struct progress *progress,
              struct error *err) MUST_CHECK;

#endif
