/* The pure heart: walks the commands of a batch in order over the loaded rows, validates, changes
 * the rows in memory, writes the verdict, numbers and chains it, and encodes the result. No I/O, no
 * clock, no allocation outside the arena but the encoder's own buffer. */
#ifndef SIPTRUNK_WORKER_DECIDE_H
#define SIPTRUNK_WORKER_DECIDE_H

#include "worker/command.h"
#include "worker/result.h"
#include "worker/working_set.h"

struct decider {
    struct digests *digests;
    struct result_encoder *encoder;
    bool can_keep_secrets; /* passwords may be set */
};

/* One command being decided. */
struct decision {
    struct arena *arena;
    struct working_set *set;
    struct command *command;
    struct account *account; /* NULL when unknown */
    bool can_keep_secrets;
    struct result result;
};

/* Names to the working set what the batch needs: accounts, ledger entries, and each type's rows. */
bool decide_want(struct working_set *set, struct command *commands, size_t count,
                 struct error *err) MUST_CHECK;

/* now_us: the database's clock, read after the locks. On success every command has an answer. */
bool decide_batch(const struct decider *decider, struct working_set *set, struct command *commands,
                  size_t count, int64_t now_us, struct error *err) MUST_CHECK;

/* ---- for worker/commands: each returns false only when the arena is exhausted, so that a decide
 * function may end with it ---- */

/* Rejects: the first problem is the result's own. message may be absent, or formatted in the arena.
 */
bool decision_reject(struct decision *decision, enum reason reason, const char *pointer,
                     struct slice message) MUST_CHECK;
bool decision_rejected(const struct decision *decision);

/* The named channel of the account: NULL after a rejection. */
bool decision_find_channel(struct decision *decision, struct slice name,
                           struct channel **ret) MUST_CHECK;

/* Rejects when expected_version is given and differs. */
bool decision_check_version(struct decision *decision, const struct channel *channel) MUST_CHECK;

/* The command's number, existing and owned by the account: NULL after a rejection. */
bool decision_find_number(struct decision *decision, struct number **ret) MUST_CHECK;

bool decision_warn(struct decision *decision, enum warning_code code, const char *pointer,
                   struct slice message) MUST_CHECK;
bool decision_change(struct decision *decision, const char *pointer, struct slice before,
                     struct slice after) MUST_CHECK;

/* Sets the outcome from the changes made and says whether rows may be changed (not in a dry run).
 */
bool decision_applies(struct decision *decision);

/* Echoes the channel that the command concerned, with its version. */
void decision_concerns(struct decision *decision, const struct channel *channel);

#endif
