/* Schemas, digests and the encoder are made once; each batch has a working set of its own. */
#include "tests/acceptance/decide_run.h"

#include "common/avro_json.h"
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"
#include "tests/support/avro_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

const char decide_run_topic[] = "siptrunk.commands.v1";
const int64_t decide_run_now_us = 1700000001000000;

struct decide_run {
    struct digests *digests;
    struct schema_set *schemas;
    struct result_encoder *encoder;
    struct avro_json_decoder *results;
    struct arena *arena;
    json_t *writers; /* of all schemas: name or differences -> {"schema", "fingerprint"} */
    char directory[64];
    bool can_keep_secrets;
};

/* ---- writers ---- */

/* What tells one writer from another. */
static char *writer_key(const json_t *step) {
    json_t *differences = json_object_get(step, "writer");
    const char *type = json_string_value(json_object_get(json_object_get(step, "send"), "type"));
    char *text = differences ? json_dumps(differences, JSON_COMPACT) : strdup("");
    char *key = NULL;
    assert_true(asprintf(&key, "%s%s", type, text) > 0);
    free(text);
    return key;
}

static json_t *our_schema(const char *name) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        size_t size = strlen(name);
        if (!strncmp(file->name, name, size) && !strcmp(file->name + size, ".avsc"))
            return json_loads(file->text, 0, NULL);
    }
    fail_msg("no schema %s", name);
    return NULL;
}

void decide_run_add_writer(struct decide_run *run, const json_t *step) {
    char *key = writer_key(step);
    if (json_object_get(run->writers, key)) {
        free(key);
        return;
    }
    json_t *differences = json_object_get(step, "writer");
    json_t *schema =
        our_schema(json_string_value(json_object_get(json_object_get(step, "send"), "type")));
    if (differences) {
        json_t *other = other_writer_schema(schema, differences);
        json_decref(schema);
        schema = other;
    }
    char path[128], *text = json_dumps(schema, 0);
    uint64_t fingerprint;
    assert_true(avro_fingerprint(slice_of(text), &fingerprint, NULL));
    snprintf(path, sizeof path, "%s/%zu.avsc", run->directory, json_object_size(run->writers));
    if (!json_is_true(json_object_get(differences, "unknown")))
        assert_int_equal(json_dump_file(schema, path, 0), 0);
    json_object_set_new(
        run->writers, key,
        json_pack("{so sI}", "schema", schema, "fingerprint", (json_int_t)fingerprint));
    free(text);
    free(key);
}

/* ---- life ---- */

struct decide_run *decide_run_new(void) {
    struct decide_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    snprintf(run->directory, sizeof run->directory, "/tmp/siptrunk-cases-XXXXXX");
    assert_non_null(mkdtemp(run->directory));
    run->writers = json_object();
    run->can_keep_secrets = true;
    return run;
}

void decide_run_begin(struct decide_run *run) {
    struct error err = {0};
    json_t *result_schema = our_schema("CommandResult");
    char *result_text = json_dumps(result_schema, 0);
    run->arena = arena_new((size_t)256 << 20);
    run->digests = digests_new(&err);
    decide_run_set_mac_keys(run, "any key", NULL);
    run->schemas = schema_set_new(command_readers(), command_type_count, run->directory, &err);
    if (!run->schemas)
        fail_msg("%s", err.message);
    run->encoder = result_encoder_new(slice_of(result_text), run->digests, &err);
    run->results = avro_json_decoder_new(slice_of(result_text), &err);
    assert_true(run->arena && run->encoder && run->results);
    free(result_text);
    json_decref(result_schema);
}

void decide_run_free(struct decide_run *run) {
    for (size_t i = 0; i < json_object_size(run->writers); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%zu.avsc", run->directory, i);
        unlink(path);
    }
    rmdir(run->directory);
    json_decref(run->writers);
    avro_json_decoder_free(run->results);
    result_encoder_free(run->encoder);
    schema_set_free(run->schemas);
    digests_free(run->digests);
    arena_free(run->arena);
    free(run);
}

void decide_run_set_mac_keys(struct decide_run *run, const char *current, const char *earlier) {
    digests_forget_mac_keys(run->digests);
    assert_true(digests_add_mac_key(run->digests, current, slice_of(current), NULL));
    assert_true(!earlier || digests_add_mac_key(run->digests, earlier, slice_of(earlier), NULL));
}

void decide_run_keep_secrets(struct decide_run *run, bool can_keep_secrets) {
    run->can_keep_secrets = can_keep_secrets;
}

/* ---- records ---- */

static void add_hex(struct buffer *buffer, const char *hex) {
    for (; hex && hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0};
        unsigned char byte = (unsigned char)strtoul(pair, NULL, 16);
        buffer_add(buffer, &byte, 1);
    }
}

static void make_value(const struct decide_run *run, const json_t *step, struct buffer *value) {
    char framing[FRAMING_SIZE], *key = writer_key(step);
    const json_t *writer = json_object_get(run->writers, key);
    free(key);
    assert_non_null(writer);
    framing_write((uint64_t)json_integer_value(json_object_get(writer, "fingerprint")), framing);
    buffer_add(value, framing, sizeof framing);
    write_avro(json_object_get(writer, "schema"), json_object_get(step, "send"), value);
    value->size -= (size_t)json_integer_value(json_object_get(step, "cut"));
    add_hex(value, json_string_value(json_object_get(step, "append")));
}

void decide_run_make(struct decide_run *run, const json_t *step, int64_t offset, struct sent *ret) {
    const json_t *bytes = json_object_get(step, "bytes");
    struct buffer *value = &ret->value;
    if (bytes)
        add_hex(value, json_string_value(bytes));
    else
        make_value(run, step, value);
    ret->record = (struct record){
        .source = {.topic = slice_of(decide_run_topic),
                   .partition = 3,
                   .offset = offset,
                   .timestamp_ms = 1700000000000 + offset},
        .value = json_is_null(bytes)
                     ? SLICE_NONE
                     : (struct slice){.data = value->data ? value->data : "", .size = value->size},
    };
}

/* ---- running ---- */

static void keep_answer(const struct command *command, struct answer *answer) {
    answer->handling = command->handling;
    answer->dead_reason = command->dead_reason;
    answer->replayed = command->replayed;
    answer->derived_id = command->derived_id;
    if (command->handling != HANDLE_COMMAND)
        return;
    assert_non_null(command->answer);
    buffer_add(&answer->body, command->answer->body.data, command->answer->body.size);
    struct slice subject = command->answer->subject;
    snprintf(answer->subject, sizeof answer->subject, SLICE_FMT, SLICE_ARG(subject));
}

struct decoder decide_run_decoder(const struct decide_run *run) {
    return (struct decoder){
        .schemas = run->schemas, .digests = run->digests, .cluster_id = slice_of("cluster")};
}

struct decider decide_run_decider(const struct decide_run *run) {
    return (struct decider){.digests = run->digests,
                            .encoder = run->encoder,
                            .can_keep_secrets = run->can_keep_secrets};
}

static void run_batch(struct decide_run *run, struct memory *memory, const struct sent *sent,
                      struct answer *answers, size_t count, int64_t clock_us) {
    struct error err = {0};
    struct working_set set;
    struct decoder decoder = decide_run_decoder(run);
    struct decider decider = decide_run_decider(run);
    struct command *commands = calloc(count, sizeof *commands);
    arena_reset(run->arena);
    assert_true(working_set_init(&set, run->arena, count));
    for (size_t i = 0; i < count; i++)
        assert_true(decode_record(&decoder, &sent[i].record, run->arena, &commands[i], &err));
    assert_true(decide_want(&set, commands, count, &err));
    memory_load(memory, &set);
    assert_true(decide_batch(&decider, &set, commands, count, clock_us, &err));
    for (size_t i = 0; i < count; i++)
        keep_answer(&commands[i], &answers[i]);
    memory_store(memory, &set);
    free(commands);
}

struct answer *decide_run_all(struct decide_run *run, struct memory *memory,
                              const struct sent *sent, size_t count, size_t batch_size,
                              int64_t back_us) {
    struct answer *answers = calloc(count, sizeof *answers);
    assert_non_null(answers);
    for (size_t first = 0; first < count; first += batch_size) {
        size_t size = count - first < batch_size ? count - first : batch_size;
        run_batch(run, memory, sent + first, answers + first, size,
                  decide_run_now_us - back_us * (int64_t)(first / batch_size));
    }
    return answers;
}

void answers_free(struct answer *answers, size_t count) {
    for (size_t i = 0; i < count; i++)
        buffer_free(&answers[i].body);
    free(answers);
}

bool answers_equal(const struct answer *a, const struct answer *b) {
    return a->handling == b->handling && a->dead_reason == b->dead_reason &&
           a->replayed == b->replayed &&
           slice_equal(buffer_slice(&a->body), buffer_slice(&b->body));
}

json_t *decide_run_result(struct decide_run *run, const struct answer *answer) {
    json_t *result = NULL;
    struct error err = {0};
    if (!avro_json_decode(run->results, buffer_slice(&answer->body), &result, NULL, &err))
        fail_msg("a result cannot be decoded: %s", err.message);
    return result;
}

struct uuid decide_run_event_id(struct decide_run *run, const struct uuid *account_id,
                                const struct uuid *command_id) {
    char name[UUID_TEXT_SIZE + 1];
    uuid_format(command_id, name);
    return uuid_v5(run->digests, account_id, slice_of(name));
}
