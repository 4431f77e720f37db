/* Partitions that an operator holds (siptrunkctl partitions hold): they stay ours, but nothing of
 * them is read. Who holds and who releases, the mark in the database says; that nothing is stored
 * once it stands there, load's fence sees to. */
#ifndef SIPTRUNK_WORKER_HOLD_H
#define SIPTRUNK_WORKER_HOLD_H

#include "worker/load.h"

extern const struct pg_statement hold_statements[];
extern const size_t hold_statement_count;

/* Sets held_reason of each position as the database has it, and logs which were found held or
 * released. *ret_changed: some were, so that reading is to begin anew. */
bool hold_look(struct pg *pg, struct arena *arena, const char *worker, struct position *positions,
               size_t count, bool *ret_changed, struct error *err) MUST_CHECK;

#endif
