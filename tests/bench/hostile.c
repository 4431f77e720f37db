/* How long hostile bodies take the decoder, in time of the processor: the one in the middle of many
 * goes, and the slowest. Prints a table. No test. */
#include "tests/support/hostile_avro.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { GOES = 1000 };

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void measure(const struct hostile_body *body, struct arena *arena) {
    static const struct reader_record *const records[] = {&hostile_reader};
    struct error err;
    struct avro_decoded decoded;
    double took_us[GOES];
    struct buffer bytes = {0};
    struct avro_plan *plan =
        avro_plan_compile(slice_of(hostile_schemas[body->schema]), records, 1, &err);
    if (!plan)
        exit(1);
    hostile_body_write(body, &bytes);
    for (size_t i = 0; i < GOES; i++) {
        double began = now_us();
        arena_reset(arena);
        if (avro_plan_run(plan, buffer_slice(&bytes), arena, &decoded, &err) != !body->id)
            exit(1);
        took_us[i] = now_us() - began;
    }
    qsort(took_us, GOES, sizeof took_us[0], compare);
    printf("%9zu bytes %9.2f us median %9.2f us slowest %6zu bytes of arena  %s\n", bytes.size,
           took_us[GOES / 2], took_us[GOES - 1], arena_used(arena), body->name);
    avro_plan_free(plan);
    buffer_free(&bytes);
}

int main(void) {
    struct arena *arena = arena_new(1 << 20);
    if (!arena)
        return 1;
    for (size_t i = 0; i < hostile_body_count; i++)
        measure(&hostile_bodies[i], arena);
    arena_free(arena);
    return 0;
}
