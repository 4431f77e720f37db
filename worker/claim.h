/* Taking partitions over in the database: raises their epochs, reads D, compares it with K, and
 * says where to begin reading. Also what a connection is checked for before it is used. */
#ifndef SIPTRUNK_WORKER_CLAIM_H
#define SIPTRUNK_WORKER_CLAIM_H

#include "common/postgres.h"
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
 * belong to another cluster, or when it is marked as diverged. */
bool claim_installation(struct pg *pg, const char *cluster_id, struct installation *ret,
                        struct error *err) MUST_CHECK;

struct claim_options {
    const char *group;
    const char *instance;
};

/* Claims every position (sorted by topic and partition), whose committed_offset holds K, or -1;
 * sets epoch, next_offset and, where Kafka has no K, the last one known. starts[i] gets where to
 * read from. Waits for a frozen owner's locks are ended by ending its session. FAULT_STATE
 * "diverged" when K > D: the installation is marked and nothing is claimed. */
bool claim_partitions(struct pg *pg, const struct claim_options *options, struct arena *arena,
                      struct position *positions, size_t count, int64_t *starts,
                      struct error *err) MUST_CHECK;

/* Tells the database the K of every position that is still ours, for the day on which Kafka has
 * forgotten it: store does so only with the next batch. */
bool claim_note_committed(struct pg *pg, struct arena *arena, const struct position *positions,
                          size_t count, struct error *err) MUST_CHECK;

#endif
