/* Bump allocation over a list of chunks that survives a reset. Knows nothing of what is stored. To
 * the address sanitizer, what is not handed out is memory that nobody may touch. */
#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(SANITIZED)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size)   ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

enum { CHUNK_BYTES = 256 * 1024, ALIGNMENT = 16 };

struct chunk {
    struct chunk *next;
    size_t size;
    size_t used;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

struct arena {
    struct chunk *first;
    struct chunk *current;
    size_t max_bytes;
    size_t capacity;
    size_t used;
    bool failed;
};

struct arena *arena_new(size_t max_bytes) {
    struct arena *arena = calloc(1, sizeof *arena);
    if (arena)
        arena->max_bytes = max_bytes;
    return arena;
}

void arena_free(struct arena *arena) {
    if (!arena)
        return;
    for (struct chunk *chunk = arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        ASAN_UNPOISON_MEMORY_REGION(chunk->bytes, chunk->size);
        free(chunk);
    }
    free(arena);
}

void arena_reset(struct arena *arena) {
    for (struct chunk *chunk = arena->first; chunk; chunk = chunk->next) {
        ASAN_POISON_MEMORY_REGION(chunk->bytes, chunk->used);
        chunk->used = 0;
    }
    arena->current = arena->first;
    arena->used = 0;
    arena->failed = false;
}

/* The next chunk with room for size bytes: one that is kept, else a new one, else NULL. */
static struct chunk *chunk_with_room(struct arena *arena, size_t size) {
    struct chunk *last = NULL;
    for (struct chunk *chunk = arena->current; chunk; last = chunk, chunk = chunk->next) {
        if (chunk->size - chunk->used >= size)
            return chunk;
    }
    size_t chunk_size = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    if (arena->max_bytes - arena->capacity < chunk_size)
        return NULL;
    struct chunk *chunk = malloc(sizeof *chunk + chunk_size);
    if (!chunk)
        return NULL;
    *chunk = (struct chunk){.size = chunk_size};
    ASAN_POISON_MEMORY_REGION(chunk->bytes, chunk_size);
    if (last)
        last->next = chunk;
    else
        arena->first = chunk;
    arena->capacity += chunk_size;
    return chunk;
}

static void *fail(struct arena *arena) {
    arena->failed = true;
    return NULL;
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size > arena->max_bytes)
        return fail(arena);
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded == 0)
        rounded = ALIGNMENT;
    struct chunk *chunk = chunk_with_room(arena, rounded);
    if (!chunk)
        return fail(arena);
    arena->current = chunk;
    void *memory = chunk->bytes + chunk->used;
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
    chunk->used += rounded;
    arena->used += rounded;
    return memset(memory, 0, size);
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return fail(arena);
    return arena_alloc(arena, bytes);
}

struct slice arena_copy(struct arena *arena, struct slice text) {
    char *copy = arena_alloc(arena, text.size + 1);
    if (!copy)
        return SLICE_NONE;
    if (text.size)
        memcpy(copy, text.data, text.size);
    return (struct slice){.data = copy, .size = text.size};
}

struct slice arena_printf(struct arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = size < 0 ? NULL : arena_alloc(arena, (size_t)size + 1);
    if (text)
        vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return text ? (struct slice){.data = text, .size = (size_t)size} : SLICE_NONE;
}

bool arena_failed(const struct arena *arena) {
    return arena->failed;
}

bool arena_exhausted(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "the batch's memory is exhausted");
}

size_t arena_capacity(const struct arena *arena) {
    return arena->capacity;
}

size_t arena_used(const struct arena *arena) {
    return arena->used;
}
