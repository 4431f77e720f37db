/* Memory of a batch. What happens to it is in the stages. */
#include "worker/batch.h"

#include <stdlib.h>
#include <string.h>

/* Rows, arrays and results take a multiple of the records' own bytes. */
enum { ARENA_FLOOR = 16 * 1024 * 1024, ARENA_PER_BYTE = 6 };

bool batch_init(struct batch *batch, size_t max_parts, size_t max_part, size_t max_bytes,
                struct error *err) {
    *batch = (struct batch){
        .max_parts = max_parts, .max_part = max_part, .max_bytes = max_bytes, .limit = max_part};
    batch->arena = arena_new(ARENA_FLOOR + ARENA_PER_BYTE * max_bytes);
    batch->part = arena_new(ARENA_FLOOR + ARENA_PER_BYTE * max_bytes);
    batch->messages = calloc(batch_capacity(batch), sizeof(rd_kafka_message_t *));
    batch->commands = calloc(batch_capacity(batch), sizeof *batch->commands);
    if (batch->arena && batch->part && batch->messages && batch->commands)
        return true;
    batch_release(batch);
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a batch");
}

size_t batch_capacity(const struct batch *batch) {
    return batch->max_parts * batch->max_part;
}

bool batch_is_full(const struct batch *batch) {
    return batch->count >= batch->max_parts * batch->limit || batch->bytes >= batch->max_bytes;
}

/* A database whose commits are slow must not make batches so small that nothing gets done. */
enum { LIMIT_FLOOR = 100, LIMIT_WEIGHT = 4 };

void batch_fit(struct batch *batch, size_t count, int64_t held_us) {
    if (batch->aim_us == 0 || count == 0 || held_us <= 0)
        return;
    size_t fitting = (size_t)((int64_t)count * batch->aim_us / held_us);
    if (fitting > batch->limit && count < batch->limit)
        return; /* a small batch does not tell how long a large one takes */
    size_t next = (batch->limit * (LIMIT_WEIGHT - 1) + fitting) / LIMIT_WEIGHT;
    size_t floor = batch->max_part < LIMIT_FLOOR ? batch->max_part : LIMIT_FLOOR;
    batch->limit = next < floor ? floor : next > batch->max_part ? batch->max_part : next;
}

/* Its other texts are of the program, or of nothing that a reply looks at. */
static struct ledger_entry *copy_answer(const struct ledger_entry *answer, struct arena *arena) {
    struct ledger_entry *copy = arena_alloc(arena, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *answer;
    copy->body = arena_copy(arena, answer->body);
    if (answer->subject.data)
        copy->subject = arena_copy(arena, answer->subject);
    copy->source.topic = copy->mac_key_id = copy->batch_id = SLICE_NONE;
    return copy;
}

bool batch_keep_answers(struct batch *batch, struct error *err) {
    for (size_t i = batch->part_first; i < batch->part_first + batch->part_count; i++) {
        struct command *command = &batch->commands[i];
        if (command->answer)
            command->answer = copy_answer(command->answer, batch->arena);
    }
    return !arena_failed(batch->arena) || arena_exhausted(err);
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
    if (batch->part)
        arena_reset(batch->part);
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
    arena_free(batch->part);
    free((void *)batch->messages);
    free(batch->commands);
    *batch = (struct batch){0};
}
