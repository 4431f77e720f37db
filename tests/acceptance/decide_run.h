/* Runs command records through decode and decide as the worker does, in batches of any size, with
 * rows in memory. Knows nothing of what is expected. One at a time; a mistake of the caller fails
 * the test. */
#ifndef SIPTRUNK_TESTS_ACCEPTANCE_DECIDE_RUN_H
#define SIPTRUNK_TESTS_ACCEPTANCE_DECIDE_RUN_H

#include "common/buffer.h"
#include "tests/support/memory_load.h"
#include "worker/decide.h"
#include "worker/decode.h"

struct decide_run;

/* Records may be made by the schemas of all writers that were named before the first one. */
struct decide_run *decide_run_new(void);
void decide_run_free(struct decide_run *run);

/* The writer of a step: our schema of its command, with the differences that it states. */
void decide_run_add_writer(struct decide_run *run, const json_t *step);

/* No writer comes after this. */
void decide_run_begin(struct decide_run *run);

/* Keys of the MAC that tells a resend from a reused id: the current one, and one that is only
 * compared with, or NULL. */
void decide_run_set_mac_keys(struct decide_run *run, const char *current, const char *earlier);

/* Whether passwords can be kept; they can until this says otherwise. */
void decide_run_keep_secrets(struct decide_run *run, bool can_keep_secrets);

/* What the stages are run with, for those who call them themselves. */
struct decoder decide_run_decoder(const struct decide_run *run);
struct decider decide_run_decider(const struct decide_run *run);

extern const char decide_run_topic[];
extern const int64_t decide_run_now_us;

struct sent {
    struct buffer value;
    struct record record;
};

/* The record of a step that sends a command, or has bytes of its own; at the given offset. */
void decide_run_make(struct decide_run *run, const json_t *step, int64_t offset, struct sent *ret);

struct answer {
    enum handling handling;
    enum reason dead_reason;
    bool replayed;
    struct buffer body;
    struct uuid derived_id;
    char subject[512]; /* of an answer that is no copy from the ledger */
};

/* Every record is answered, in batches of batch_size, from each of which the clock goes back by
 * back_us. The caller frees the answers. */
struct answer *decide_run_all(struct decide_run *run, struct memory *memory,
                              const struct sent *sent, size_t count, size_t batch_size,
                              int64_t back_us);
void answers_free(struct answer *answers, size_t count);

/* Whether both are the same answer: the bytes, and whether it is a copy for a resend. */
bool answers_equal(const struct answer *a, const struct answer *b);

/* The decoded result of an answer: the caller's to release. */
json_t *decide_run_result(struct decide_run *run, const struct answer *answer);

/* The id of an event under a natural key. */
struct uuid decide_run_event_id(struct decide_run *run, const struct uuid *account_id,
                                const struct uuid *command_id);

#endif
