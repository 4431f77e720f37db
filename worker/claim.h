/* Taking partitions over in the database: raises their epochs, reads D, compares it with K, and
 * says where to begin reading. Also what a connection is checked for before it is used. */
#ifndef SIPTRUNK_WORKER_CLAIM_H
#define SIPTRUNK_WORKER_CLAIM_H

#include "common/postgres.h"
#include "common/vault.h"
#include "worker/load.h"

/* Session settings of a worker's connection. */
extern const char claim_session_settings[];

extern const struct pg_statement claim_statements[];
extern const size_t claim_statement_count;

/* Refuses a server that may lose what it has acknowledged (FAULT_STATE). */
bool claim_check_durability(struct pg *pg, struct error *err) MUST_CHECK;

/* The session lock of a slot's name: *ret_taken says whether it is ours. */
bool claim_slot(struct pg *pg, const char *slot, bool *ret_taken, struct error *err) MUST_CHECK;

/* Ends a session of ours that is still in the server after its connection was lost. */
bool claim_end_session(struct pg *pg, int backend_pid, const char *slot,
                       struct error *err) MUST_CHECK;

struct installation {
    char mac_key_id[64];
    uint8_t mac_key[32];
};

/* Reads the installation's row and ties it to the Kafka cluster. FAULT_STATE when the positions
 * belong to another cluster, or when it is marked as diverged ("diverged"; *ret is filled then). */
bool claim_installation(struct pg *pg, const char *cluster_id, struct installation *ret,
                        struct error *err) MUST_CHECK;

/* Gives the digests all keys that commands' MACs may have been made with, the current one first. */
bool claim_mac_keys(const struct installation *installation, const struct vault *vault,
                    struct digests *digests, struct error *err) MUST_CHECK;

/* Marks the installation as diverged, whatever is open being rolled back: nothing is stored any
 * more until that is repaired. Always false: FAULT_STATE "diverged" with the reason, or why the
 * mark could not be made. */
bool claim_diverge(struct pg *pg, const char *reason, struct error *err) MUST_CHECK;

/* An offset that a group has committed. */
struct committed {
    const char *topic;
    int32_t partition;
    int64_t offset; /* K */
};

/* Compares K with D on any partitions, whoever owns them; D is 0 where the database knows none.
 * Marks the installation as claim_diverge does when K > D somewhere. K must have been read before:
 * D is then not behind it in a database that has lost nothing. */
bool claim_compare(struct pg *pg, struct arena *arena, const struct committed *committed,
                   size_t count, struct error *err) MUST_CHECK;

struct claim_options {
    const char *group;
    const char *instance;
    const char *process;  /* drawn at random by each process */
    int64_t careful_span; /* offsets that a batch of a process that died may have reached over */
};

/* Claims every position (sorted by topic and partition), whose committed_offset holds K, or -1;
 * sets epoch, next_offset and, where Kafka has no K, the last one known. starts[i] gets where to
 * read from. Waits for a frozen owner's locks are ended by ending its session. careful_until is set
 * where processes have died without getting anywhere: one of the records up to there may be why.
 * FAULT_STATE "diverged" when K > D: the installation is marked and nothing is claimed. */
bool claim_partitions(struct pg *pg, const struct claim_options *options, struct arena *arena,
                      struct position *positions, size_t count, int64_t *starts,
                      struct error *err) MUST_CHECK;

/* Tells the database the K of every position that is still ours, for the day on which Kafka has
 * forgotten it (store does so only with the next batch), and that we got on where everything was
 * read, or everywhere when leaving. */
bool claim_note(struct pg *pg, struct arena *arena, const struct position *positions, size_t count,
                bool leaving, struct error *err) MUST_CHECK;

/* Counts that a record is begun with nothing else beside it, and how often now: whoever dies of it
 * leaves the count behind. */
bool claim_attempt(struct pg *pg, const struct source *record, int *ret_attempts,
                   struct error *err) MUST_CHECK;

/* Takes the latest attempt back: the process has survived it. */
bool claim_forgive(struct pg *pg, const struct source *record, struct error *err) MUST_CHECK;

#endif
