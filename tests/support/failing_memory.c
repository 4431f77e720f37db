/* The wrappers. What the linker calls __real_NAME is NAME as it was. */
#include "tests/support/failing_memory.h"

#include "common/arena.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>

static size_t counted, failing_number;
static bool counting, fails_for_ever, failed, only_avro;

void failing_memory_begin(size_t number, bool for_ever) {
    counted = 0;
    failing_number = number;
    fails_for_ever = for_ever;
    failed = false;
    counting = true;
}

size_t failing_memory_end(void) {
    counting = false;
    return counted;
}

bool failing_memory_has_failed(void) {
    return failed;
}

void failing_memory_pause(void) {
    counting = false;
}

void failing_memory_resume(void) {
    counting = true;
}

void failing_memory_only_avro(bool only) {
    only_avro = only;
}

static bool fails_here(bool from_avro) {
    if (!counting || (only_avro && !from_avro))
        return false;
    counted++;
    bool now = failing_number > 0 &&
               (counted == failing_number || (fails_for_ever && counted > failing_number));
    failed |= now;
    return now;
}

static bool fails(void) {
    return fails_here(false);
}

/* ---- the C library ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

/* ---- the arena, which remembers that it failed: it is asked for more than it can ever have ----
 */

void *__real_arena_alloc(struct arena *arena, size_t size) MUST_CHECK;
void *__real_arena_array(struct arena *arena, size_t count, size_t size) MUST_CHECK;
struct slice __real_arena_copy(struct arena *arena, struct slice text) MUST_CHECK;
void *__wrap_arena_alloc(struct arena *arena, size_t size);
void *__wrap_arena_array(struct arena *arena, size_t count, size_t size);
struct slice __wrap_arena_copy(struct arena *arena, struct slice text);
struct slice __wrap_arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

static struct slice none(struct arena *arena) {
    void *memory = __real_arena_alloc(arena, SIZE_MAX);
    return (struct slice){.data = memory};
}

void *__wrap_arena_alloc(struct arena *arena, size_t size) {
    return __real_arena_alloc(arena, fails() ? SIZE_MAX : size);
}

void *__wrap_arena_array(struct arena *arena, size_t count, size_t size) {
    return __real_arena_array(arena, fails() ? SIZE_MAX : count, size);
}

struct slice __wrap_arena_copy(struct arena *arena, struct slice text) {
    return fails() ? none(arena) : __real_arena_copy(arena, text);
}

struct slice __wrap_arena_printf(struct arena *arena, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int size = fails() ? -1 : vasprintf(&text, format, args);
    va_end(args);
    if (size < 0)
        return none(arena);
    struct slice copy =
        __real_arena_copy(arena, (struct slice){.data = text, .size = (size_t)size});
    free(text);
    return copy;
}

/* ---- avro-c ---- */

/* As avro-c's own; size 0 frees. */
static void *allocate_for_avro(void *context, void *memory, size_t old_size, size_t new_size) {
    (void)context;
    (void)old_size;
    if (new_size == 0) {
        free(memory);
        return NULL;
    }
    return fails_here(true) ? NULL : __real_realloc(memory, new_size);
}

/* What avro-c could not finish it cannot free, so that it is given up. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void) {
    return "leak:allocate_for_avro\n";
}

void failing_memory_watch_avro(void) {
    avro_set_allocator(allocate_for_avro, NULL);
}
