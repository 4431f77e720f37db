/* Memory of one batch: bump allocation in chunks, bounded, given back all at once. Chunks stay with
 * the arena over a reset, so a steady state allocates nothing. Not thread-safe: one arena, one
 * thread. */
#ifndef SIPTRUNK_COMMON_ARENA_H
#define SIPTRUNK_COMMON_ARENA_H

#include "common/error.h"
#include "common/slice.h"

#include <stdint.h>

struct arena;

/* max_bytes bounds the sum of all chunks. NULL when memory is out. */
struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena *arena);

/* Forgets everything allocated; keeps the memory. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned for any type; size 0 gives a valid pointer. NULL when the bound or malloc is
 * exhausted. */
void *arena_alloc(struct arena *arena, size_t size) MUST_CHECK;
void *arena_array(struct arena *arena, size_t count, size_t size) MUST_CHECK;

/* Copies of text; .data is NULL when memory is out. The copy is NUL-terminated (not counted). */
struct slice arena_copy(struct arena *arena, struct slice text) MUST_CHECK;
struct slice arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/* Whether any of these has failed since the last reset or rewinding: for who lets a text be absent
 * where none could be made, and asks once, at the end. */
bool arena_failed(const struct arena *arena);

/* Says in *err that the memory of a batch is out, to be tried again (FAULT_RETRY); returns false.
 */
bool arena_exhausted(struct error *err);

/* Bytes held in chunks now, and handed out since the last reset. */
size_t arena_capacity(const struct arena *arena);
size_t arena_used(const struct arena *arena);

#endif
