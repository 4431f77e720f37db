/* What hostile bodies cost the decoder: bytes of its arena, nothing on the heap beside it, and one
 * message for each that says why it is refused. How long they take is measured by bench-hostile. */
#include "common/avro_bytes.h"
#include "tests/support/hostile_avro.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_BYTES = 64 * 1024 };

static const struct reader_record *const records[] = {&hostile_reader};
static struct arena *arena;

static struct avro_plan *plan_of(const char *schema) {
    struct error err;
    struct avro_plan *plan = avro_plan_compile(slice_of(schema), records, 1, &err);
    if (!plan)
        fail_msg("%s", err.message);
    return plan;
}

/* A copy of exactly its size, so that the address sanitizer sees a byte read past it. */
static struct slice exact_copy(const struct buffer *body) {
    char *copy = malloc(body->size ? body->size : 1);
    assert_non_null(copy);
    if (body->size)
        memcpy(copy, body->data, body->size);
    return (struct slice){.data = copy, .size = body->size};
}

static bool judge(const struct hostile_body *body, bool taken, const struct error *err) {
    bool as_expected = taken ? !body->id : body->id && strcmp(err->id, body->id) == 0;
    if (!as_expected)
        print_error("%s: %s\n", body->name, taken ? "taken" : err->message);
    if (arena_used(arena) > MAX_BYTES)
        print_error("%s: %zu bytes\n", body->name, arena_used(arena));
    return as_expected && arena_used(arena) <= MAX_BYTES;
}

static bool check_body(const struct hostile_body *body) {
    struct error err = {0};
    struct avro_decoded decoded;
    struct buffer bytes = {0};
    hostile_body_write(body, &bytes);
    struct slice message = exact_copy(&bytes);
    struct avro_plan *plan = plan_of(hostile_schemas[body->schema]);
    arena_reset(arena);
    bool ok = judge(body, avro_plan_run(plan, message, arena, &decoded, &err), &err);
    avro_plan_free(plan);
    free((void *)(uintptr_t)message.data);
    buffer_free(&bytes);
    return ok;
}

static void hostile_bodies_cost_less_than_64_kib(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < hostile_body_count; i++)
        wrong += !check_body(&hostile_bodies[i]);
    assert_int_equal(wrong, 0);
}

/* Whatever the first bytes of a body are, so that a count of any kind is met with any size. */
static void the_beginnings_of_all_bodies_cost_no_more(void **state) {
    (void)state;
    for (size_t schema = 0; hostile_schemas[schema]; schema++) {
        struct avro_plan *plan = plan_of(hostile_schemas[schema]);
        for (unsigned start = 0; start < 1u << 16; start++) {
            struct error err = {0};
            struct avro_decoded decoded;
            char body[16] = {(char)start, (char)(start >> 8)};
            arena_reset(arena);
            bool taken = avro_plan_run(plan, (struct slice){.data = body, .size = sizeof body},
                                       arena, &decoded, &err);
            assert_true(taken || err.fault == FAULT_INPUT);
            assert_true(arena_used(arena) <= MAX_BYTES);
        }
        avro_plan_free(plan);
    }
}

static void every_schema_is_met_by_a_body(void **state) {
    (void)state;
    for (size_t schema = 0; hostile_schemas[schema]; schema++) {
        size_t met = 0;
        for (size_t i = 0; i < hostile_body_count; i++)
            met += hostile_bodies[i].schema == schema;
        assert_true(met > 0);
    }
}

static int make_arena(void **state) {
    (void)state;
    arena = arena_new(1 << 20);
    return arena ? 0 : -1;
}

static int drop_arena(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_bodies_cost_less_than_64_kib),
        cmocka_unit_test(the_beginnings_of_all_bodies_cost_no_more),
        cmocka_unit_test(every_schema_is_met_by_a_body),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}
