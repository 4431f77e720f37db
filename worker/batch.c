/* Memory of a batch. What happens to it is in the stages. */
#include "worker/batch.h"

#include <stdlib.h>
#include <string.h>

/* Rows, arrays and results take a multiple of the records' own bytes. */
enum { ARENA_FLOOR = 16 * 1024 * 1024, ARENA_PER_BYTE = 6 };

bool batch_init(struct batch *batch, size_t max_count, size_t max_bytes, struct error *err) {
    *batch = (struct batch){.max_count = max_count, .max_bytes = max_bytes};
    batch->arena = arena_new(ARENA_FLOOR + ARENA_PER_BYTE * max_bytes);
    batch->messages = calloc(max_count, sizeof(rd_kafka_message_t *));
    batch->commands = calloc(max_count, sizeof *batch->commands);
    if (batch->arena && batch->messages && batch->commands)
        return true;
    batch_release(batch);
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a batch");
}

/* A record that holds a password is wiped where librdkafka keeps it, before it is given back. */
static void wipe_secrets(struct batch *batch) {
    for (size_t i = 0; i < batch->decoded; i++) {
        const struct record *record = &batch->commands[i].record;
        if (batch->commands[i].holds_secret)
            explicit_bzero((void *)(uintptr_t)record->value.data, record->value.size);
    }
    batch->decoded = 0;
}

void batch_clear(struct batch *batch) {
    wipe_secrets(batch);
    for (size_t i = 0; i < batch->count; i++)
        rd_kafka_message_destroy(batch->messages[i]);
    batch->count = 0;
    batch->bytes = 0;
    batch->careful = false;
    if (batch->group)
        rd_kafka_consumer_group_metadata_destroy(batch->group);
    batch->group = NULL;
    if (batch->arena)
        arena_reset(batch->arena);
}

void batch_forget(struct batch *batch) {
    batch_clear(batch);
    if (batch->held)
        rd_kafka_message_destroy(batch->held);
    batch->held = NULL;
}

void batch_release(struct batch *batch) {
    batch_forget(batch);
    arena_free(batch->arena);
    free((void *)batch->messages);
    free(batch->commands);
    *batch = (struct batch){0};
}
