/* Runs the acceptance cases through decode and decide, with rows in memory: in one batch, with a
 * batch for each command while the clock goes back, and all records delivered once more. What the
 * results share whatever the command (ids, sequence, chain, ledger row) is looked at for each of
 * them. */
#include "common/avro_json.h"
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"
#include "tests/acceptance/case_file.h"
#include "tests/support/avro_write.h"
#include "tests/support/memory_load.h"
#include "worker/decide.h"
#include "worker/decode.h"

#include <openssl/sha.h>

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_STEPS = 256 };

static const char topic[] = "siptrunk.commands.v1";
static const char cluster[] = "cluster";
static const int64_t now_us = 1700000001000000;

/* Made once: schemas of ours and of the cases' other writers, and all that the stages need. */
static struct {
    struct digests *digests;
    struct schema_set *schemas;
    struct result_encoder *encoder;
    struct avro_json_decoder *results;
    struct arena *arena;
    json_t *writers; /* of all schemas: name or differences -> {"schema", "fingerprint"} */
    char directory[64];
} world;

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

static void add_writer(const json_t *step) {
    char *key = writer_key(step);
    if (json_object_get(world.writers, key)) {
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
    snprintf(path, sizeof path, "%s/%zu.avsc", world.directory, json_object_size(world.writers));
    if (!json_is_true(json_object_get(differences, "unknown")))
        assert_int_equal(json_dump_file(schema, path, 0), 0);
    json_object_set_new(
        world.writers, key,
        json_pack("{so sI}", "schema", schema, "fingerprint", (json_int_t)fingerprint));
    free(text);
    free(key);
}

static void set_mac_key(const char *key) {
    assert_true(digests_set_mac_key(world.digests, slice_of(key), NULL));
}

static void make_world(const struct case_list *list) {
    struct error err = {0};
    snprintf(world.directory, sizeof world.directory, "/tmp/siptrunk-cases-XXXXXX");
    assert_non_null(mkdtemp(world.directory));
    world.writers = json_object();
    for (size_t i = 0; i < list->count; i++) {
        for (size_t k = 0; k < json_array_size(list->cases[i].steps); k++) {
            const json_t *step = json_array_get(list->cases[i].steps, k);
            if (json_object_get(step, "send"))
                add_writer(step);
        }
    }
    json_t *result_schema = our_schema("CommandResult");
    char *result_text = json_dumps(result_schema, 0);
    world.arena = arena_new((size_t)256 << 20);
    world.digests = digests_new(&err);
    set_mac_key("any key");
    world.schemas = schema_set_new(command_readers(), command_type_count, world.directory, &err);
    if (!world.schemas)
        fail_msg("%s", err.message);
    world.encoder = result_encoder_new(slice_of(result_text), world.digests, &err);
    world.results = avro_json_decoder_new(slice_of(result_text), &err);
    assert_true(world.arena && world.encoder && world.results);
    free(result_text);
    json_decref(result_schema);
}

static void free_world(void) {
    for (size_t i = 0; i < json_object_size(world.writers); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%zu.avsc", world.directory, i);
        unlink(path);
    }
    rmdir(world.directory);
    json_decref(world.writers);
    avro_json_decoder_free(world.results);
    result_encoder_free(world.encoder);
    schema_set_free(world.schemas);
    digests_free(world.digests);
    arena_free(world.arena);
}

/* ---- records ---- */

struct sent {
    struct buffer value;
    struct record record;
};

static void add_hex(struct buffer *buffer, const char *hex) {
    for (; hex && hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0};
        unsigned char byte = (unsigned char)strtoul(pair, NULL, 16);
        buffer_add(buffer, &byte, 1);
    }
}

static void make_value(const json_t *step, struct buffer *value) {
    char framing[FRAMING_SIZE], *key = writer_key(step);
    const json_t *writer = json_object_get(world.writers, key);
    free(key);
    assert_non_null(writer);
    framing_write((uint64_t)json_integer_value(json_object_get(writer, "fingerprint")), framing);
    buffer_add(value, framing, sizeof framing);
    write_avro(json_object_get(writer, "schema"), json_object_get(step, "send"), value);
    value->size -= (size_t)json_integer_value(json_object_get(step, "cut"));
    add_hex(value, json_string_value(json_object_get(step, "append")));
}

static void make_record(const json_t *steps, size_t index, struct sent *sent) {
    const json_t *step = json_array_get(steps, index);
    const json_t *again = json_object_get(step, "redeliver");
    if (again) {
        sent[index].record = sent[json_integer_value(again)].record;
        return;
    }
    const json_t *bytes = json_object_get(step, "bytes");
    struct buffer *value = &sent[index].value;
    if (bytes)
        add_hex(value, json_string_value(bytes));
    else
        make_value(step, value);
    sent[index].record = (struct record){
        .source = {.topic = slice_of(topic),
                   .partition = 3,
                   .offset = (int64_t)index + 100,
                   .timestamp_ms = 1700000000000 + (int64_t)index},
        .value = json_is_null(bytes)
                     ? SLICE_NONE
                     : (struct slice){.data = value->data ? value->data : "", .size = value->size},
    };
}

/* ---- running ---- */

struct answer {
    enum handling handling;
    enum reason dead_reason;
    bool replayed;
    struct buffer body;
    struct uuid derived_id;
    char subject[512];
};

static void free_answers(struct answer *answers) {
    for (size_t i = 0; i < MAX_STEPS; i++)
        buffer_free(&answers[i].body);
    free(answers);
}

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

static void run_batch(struct memory *memory, const struct sent *sent, struct answer *answers,
                      size_t count, int64_t clock_us) {
    struct error err = {0};
    struct working_set set;
    struct decoder decoder = {
        .schemas = world.schemas, .digests = world.digests, .cluster_id = slice_of(cluster)};
    struct decider decider = {.digests = world.digests, .encoder = world.encoder};
    struct command *commands = calloc(count, sizeof *commands);
    arena_reset(world.arena);
    assert_true(working_set_init(&set, world.arena, count));
    for (size_t i = 0; i < count; i++)
        assert_true(decode_record(&decoder, &sent[i].record, world.arena, &commands[i], &err));
    assert_true(decide_want(&set, commands, count, &err));
    memory_load(memory, &set);
    assert_true(decide_batch(&decider, &set, commands, count, clock_us, &err));
    for (size_t i = 0; i < count; i++)
        keep_answer(&commands[i], &answers[i]);
    memory_store(memory, &set);
    free(commands);
}

/* The clock goes back by back_us from batch to batch. */
static struct answer *run(struct memory *memory, const struct sent *sent, size_t count,
                          size_t batch_size, int64_t back_us) {
    struct answer *answers = calloc(MAX_STEPS, sizeof *answers);
    for (size_t first = 0; first < count; first += batch_size) {
        size_t size = count - first < batch_size ? count - first : batch_size;
        run_batch(memory, sent + first, answers + first, size,
                  now_us - back_us * (int64_t)(first / batch_size));
    }
    return answers;
}

static struct memory *new_memory(const struct acceptance_case *one) {
    struct memory *memory = memory_new();
    size_t i;
    json_t *line;
    json_array_foreach(one->inventory, i, line) {
        memory_add(memory, line);
    }
    json_array_foreach(one->edits, i, line) {
        memory_edit(memory, line);
    }
    return memory;
}

/* ---- comparing ---- */

static _Noreturn void fail_at(const struct acceptance_case *one, const char *place,
                              const json_t *expected, const json_t *actual) {
    char *wanted = json_dumps(expected, JSON_ENCODE_ANY),
         *got = json_dumps(actual, JSON_ENCODE_ANY);
    print_error("%s\n  %s\n  expected %s\n  got      %s\n", one->name, place,
                wanted ? wanted : "nothing", got ? got : "nothing");
    free(wanted);
    free(got);
    fail();
    abort();
}

static void compare_message(const struct acceptance_case *one, const char *place,
                            const json_t *piece, const json_t *message) {
    if (!strstr(json_string_value(message), json_string_value(piece)))
        fail_at(one, place, piece, message);
}

/* Objects may have more keys than expected; all else is equal. */
static void compare(const struct acceptance_case *one, const char *place, const json_t *expected,
                    const json_t *actual) {
    char inner[256];
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(expected) && json_is_object(actual)) {
        json_object_foreach((json_t *)(uintptr_t)expected, key, value) {
            snprintf(inner, sizeof inner, "%s/%s", place, key);
            if (!strcmp(key, "message_contains"))
                compare_message(one, inner, value, json_object_get(actual, "message"));
            else
                compare(one, inner, value, json_object_get(actual, key));
        }
    } else if (json_is_array(expected) && json_array_size(expected) == json_array_size(actual)) {
        json_array_foreach(expected, i, value) {
            snprintf(inner, sizeof inner, "%s/%zu", place, i);
            compare(one, inner, value, json_array_get(actual, i));
        }
    } else if (!json_equal(expected, actual)) {
        fail_at(one, place, expected, actual);
    }
}

static void expect_text(const struct acceptance_case *one, const char *place, const char *expected,
                        const char *actual) {
    if (strcmp(expected, actual) != 0) {
        json_t *wanted = json_string(expected), *got = json_string(actual);
        fail_at(one, place, wanted, got);
    }
}

static void expect_bytes(const struct acceptance_case *one, const char *place,
                         const struct buffer *expected, const struct buffer *actual) {
    if (expected->size != actual->size ||
        (expected->size && memcmp(expected->data, actual->data, expected->size) != 0))
        fail_at(one, place, json_string("the same bytes"), json_string("other ones"));
}

/* ---- what all results share ---- */

/* The events of an account so far. */
struct tail {
    struct uuid account_id;
    int64_t sequence;
    uint8_t chain[SHA256_SIZE];
};

struct checker {
    const struct acceptance_case *one;
    struct memory *memory;
    struct tail tails[16];
    size_t tail_count;
    json_t *ledger; /* what result_view is to show */
};

static struct tail *tail_of(struct checker *checker, const struct uuid *account_id) {
    for (size_t i = 0; i < checker->tail_count; i++) {
        if (uuid_equal(&checker->tails[i].account_id, account_id))
            return &checker->tails[i];
    }
    struct tail *tail = &checker->tails[checker->tail_count++];
    assert_true(checker->tail_count <= 16);
    *tail = (struct tail){.account_id = *account_id};
    return tail;
}

static bool id_of(const json_t *result, const char *key, struct uuid *ret) {
    return uuid_parse(slice_of(json_string_value(json_object_get(result, key))), ret);
}

static json_t *uuid_json(const struct uuid *uuid) {
    char text[UUID_TEXT_SIZE + 1];
    uuid_format(uuid, text);
    return json_string(text);
}

/* Sequence, place and chain: everything that makes the trail complete. */
static void check_trail(struct checker *checker, const char *place, const struct answer *answer,
                        const json_t *result, const struct uuid *account_id, bool known) {
    struct tail *tail = known ? tail_of(checker, account_id) : NULL;
    size_t chain_size = tail ? SHA256_SIZE + 1 : 1;
    char hex[2 * SHA256_SIZE + 1] = "";
    assert_true(answer->body.size > chain_size);
    if (tail) {
        uint8_t input[SHA256_SIZE + 128 * 1024];
        size_t size = answer->body.size - chain_size;
        assert_true(size <= sizeof input - SHA256_SIZE);
        memcpy(input, tail->chain, SHA256_SIZE);
        memcpy(input + SHA256_SIZE, answer->body.data, size);
        SHA256(input, SHA256_SIZE + size, tail->chain);
        tail->sequence++;
        for (size_t i = 0; i < SHA256_SIZE; i++)
            snprintf(hex + 2 * i, 3, "%02x", tail->chain[i]);
    }
    json_t *expected = json_pack("{sI ss}", "account_sequence",
                                 (json_int_t)(tail ? tail->sequence : 0), "chain", hex);
    compare(checker->one, place, expected, result);
    json_decref(expected);
}

/* Ids, coordinates, times; and the ledger row that belongs to the result. */
static void check_identity(struct checker *checker, const char *place, const struct answer *answer,
                           const struct source *source, const json_t *result) {
    static const struct uuid nil;
    struct uuid account_id = nil, command_id;
    bool has_account = id_of(result, "account_id", &account_id);
    bool natural = has_account && id_of(result, "command_id", &command_id);
    const char *reason = json_string_value(json_object_get(result, "error_reason"));
    if (!has_account)
        account_id = nil;
    if (reason && strstr(reason, ":command-id-reused"))
        natural = false;
    struct uuid event_id = answer->derived_id;
    if (natural) {
        char name[UUID_TEXT_SIZE + 1];
        uuid_format(&command_id, name);
        event_id = uuid_v5(world.digests, &account_id, slice_of(name));
    } else {
        command_id = answer->derived_id;
    }
    json_t *expected =
        json_pack("{so sI sI ss sI sI}", "event_id", uuid_json(&event_id), "received_at",
                  (json_int_t)source->timestamp_ms * 1000, "applied_at", (json_int_t)now_us,
                  "source_topic", topic, "source_partition", (json_int_t)source->partition,
                  "source_offset", (json_int_t)source->offset);
    compare(checker->one, place, expected, result);
    json_decref(expected);
    check_trail(checker, place, answer, result, &account_id,
                memory_knows(checker->memory, &account_id));
    static const char *const copied[] = {"account_sequence", "command_type", "outcome",
                                         "error_reason",     "batch_id",     "applied_at"};
    json_t *row = json_pack("{so so}", "account_id", uuid_json(&account_id), "command_id",
                            uuid_json(&command_id));
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++)
        json_object_set(row, copied[i], json_object_get(result, copied[i]));
    json_array_append_new(checker->ledger, row);
}

static void check_subject(struct checker *checker, const char *place, const struct answer *answer,
                          const json_t *result) {
    const char *channel = json_string_value(json_object_get(result, "channel_name"));
    const char *number = json_string_value(json_object_get(result, "number"));
    expect_text(checker->one, place,
                channel && *channel ? channel
                : number            ? number
                                    : "",
                answer->subject);
}

/* Nothing in a result goes unlooked at. */
static void check_fields(struct checker *checker, const char *place, const json_t *expected,
                         const json_t *result) {
    static const char *const others[] = {
        "event_id",     "account_sequence", "received_at",   "applied_at",
        "source_topic", "source_partition", "source_offset", "chain",
    };
    size_t looked_at = json_object_size(expected);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        looked_at += json_object_get(expected, others[i]) ? 0 : 1;
    if (looked_at != json_object_size(result))
        fail_at(checker->one, place, expected, result);
}

static void check_result(struct checker *checker, const char *place, const struct answer *answer,
                         const struct source *source, const json_t *expected) {
    json_t *result = NULL;
    struct error err = {0};
    if (!avro_json_decode(world.results, buffer_slice(&answer->body), &result, NULL, &err))
        fail_msg("%s: %s", place, err.message);
    compare(checker->one, place, expected, result);
    if (answer->replayed)
        fail_at(checker->one, place, json_string("a first answer"), json_string("a copy"));
    check_fields(checker, place, expected, result);
    check_identity(checker, place, answer, source, result);
    check_subject(checker, place, answer, result);
    json_decref(result);
}

/* For texts whose very bytes are promised. */
static void check_body(struct checker *checker, const char *place, const struct answer *answer,
                       const json_t *piece) {
    if (piece && !memmem(answer->body.data, answer->body.size, json_string_value(piece),
                         json_string_length(piece)))
        fail_at(checker->one, place, piece, json_string("other bytes"));
}

static void check_step(struct checker *checker, size_t index, const struct sent *sent,
                       const struct answer *answers) {
    const json_t *step = json_array_get(checker->one->steps, index);
    const struct answer *answer = &answers[index];
    const json_t *result = json_object_get(step, "result");
    const json_t *again = json_object_get(step, "redeliver");
    const json_t *same = again ? again : json_object_get(step, "same_as");
    const char *dead = json_string_value(json_object_get(step, "dead_letter"));
    char place[64];
    snprintf(place, sizeof place, "step %zu", index);
    enum handling handling = result || same ? HANDLE_COMMAND
                             : dead         ? HANDLE_DEAD_LETTER
                                            : HANDLE_TOMBSTONE;
    if (answer->handling == HANDLE_DEAD_LETTER && !dead)
        expect_text(checker->one, place, "an answer", reason_info(answer->dead_reason)->urn);
    assert_int_equal(answer->handling, handling);
    if (same) {
        const struct answer *first = &answers[json_integer_value(same)];
        expect_bytes(checker->one, place, &first->body, &answer->body);
        assert_int_equal(answer->replayed, again ? first->replayed : true);
    } else if (dead) {
        const char *urn = reason_info(answer->dead_reason)->urn;
        expect_text(checker->one, place, dead, strlen(urn) > 20 ? urn + 20 : urn);
    } else if (result) {
        check_result(checker, place, answer, &sent[index].record.source, result);
        check_body(checker, place, answer,
                   json_object_get(json_object_get(step, "expect"), "body_has"));
    }
}

/* ---- what is there afterwards ---- */

static void check_views(struct checker *checker, const char *place) {
    const struct acceptance_case *one = checker->one;
    struct memory *before = new_memory(one);
    json_t *expected = memory_number_view(before), *actual = memory_number_view(checker->memory);
    const char *number;
    json_t *row;
    json_object_foreach(one->after, number, row) {
        assert_int_equal(json_object_update(json_object_get(expected, number), row), 0);
    }
    compare(one, place, expected, actual);
    json_decref(expected);
    json_decref(actual);
    expected = memory_channel_view(before);
    actual = memory_channel_view(checker->memory);
    compare(one, place, expected, actual);
    json_decref(expected);
    json_decref(actual);
    actual = memory_result_view(checker->memory);
    compare(one, place, checker->ledger, actual);
    json_decref(actual);
    memory_free(before);
}

static void expect_same_answers(const struct acceptance_case *one, const char *place,
                                const struct answer *expected, const struct answer *actual,
                                size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(expected[i].handling, actual[i].handling);
        assert_int_equal(expected[i].replayed, actual[i].replayed);
        expect_bytes(one, place, &expected[i].body, &actual[i].body);
    }
}

/* ---- one case ---- */

/* A resend needs the key of the first time; a redelivery is known by its place alone. */
static bool resends_something(const struct acceptance_case *one) {
    size_t i;
    json_t *step;
    json_array_foreach(one->steps, i, step) {
        if (json_object_get(step, "same_as"))
            return true;
    }
    return false;
}

/* Of one account from the first record on: then a clock that goes back does not show, since no
 * event is older than the one before. */
static bool is_about_one_account(const struct checker *checker) {
    size_t i;
    json_t *row;
    if (!json_object_get(json_array_get(checker->one->steps, 0), "result"))
        return false;
    json_array_foreach(checker->ledger, i, row) {
        if (json_integer_value(json_object_get(row, "account_sequence")) == 0)
            return false;
    }
    return checker->tail_count == 1;
}

static void run_case(void **state) {
    const struct acceptance_case *one = *state;
    size_t count = json_array_size(one->steps);
    struct sent sent[MAX_STEPS] = {0};
    assert_in_range(count, 1, MAX_STEPS);
    for (size_t i = 0; i < count; i++)
        make_record(one->steps, i, sent);

    struct checker checker = {.one = one, .memory = new_memory(one), .ledger = json_array()};
    struct answer *together = run(checker.memory, sent, count, count, 0);
    for (size_t i = 0; i < count; i++)
        check_step(&checker, i, sent, together);
    check_views(&checker, "in one batch");
    set_mac_key(resends_something(one) ? "any key" : "the next key");
    struct answer *again = run(checker.memory, sent, count, count, 0);
    set_mac_key("any key");
    expect_same_answers(one, "delivered again", together, again, count);
    check_views(&checker, "after all were delivered again");
    memory_free(checker.memory);

    checker.memory = new_memory(one);
    struct answer *apart =
        run(checker.memory, sent, count, 1, is_about_one_account(&checker) ? 1000000 : 0);
    expect_same_answers(one, "in batches of one", together, apart, count);
    check_views(&checker, "in batches of one");
    memory_free(checker.memory);

    json_decref(checker.ledger);
    free_answers(together);
    free_answers(again);
    free_answers(apart);
    for (size_t i = 0; i < count; i++)
        buffer_free(&sent[i].value);
}

int main(void) {
    struct case_list *list = case_list_load();
    struct CMUnitTest *tests = calloc(list->count, sizeof *tests);
    make_world(list);
    for (size_t i = 0; i < list->count; i++)
        tests[i] = (struct CMUnitTest){
            .name = list->cases[i].name, .test_func = run_case, .initial_state = &list->cases[i]};
    int failed = _cmocka_run_group_tests("acceptance", tests, list->count, NULL, NULL);
    free(tests);
    free_world();
    case_list_free(list);
    return failed;
}
