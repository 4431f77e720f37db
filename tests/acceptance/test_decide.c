/* Runs the acceptance cases through decode and decide, with rows in memory: in one batch, with a
 * batch for each command while the clock goes back, and all records delivered once more. What the
 * results share whatever the command (ids, sequence, chain, ledger row) is looked at for each of
 * them. */
#include "tests/acceptance/case_run.h"

#include <openssl/sha.h>

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_STEPS = 256 };

static struct decide_run *world;

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

static bool is_list(const json_t *result) {
    return !strncmp(json_string_value(json_object_get(result, "command_type")), "List", 4);
}

/* Ids, coordinates, times; and the ledger row that belongs to the result. */
static void check_identity(struct checker *checker, const char *place, const struct answer *answer,
                           const struct source *source, const json_t *result) {
    static const struct uuid nil;
    struct uuid account_id = nil, command_id;
    bool has_account = id_of(result, "account_id", &account_id);
    bool list = is_list(result);
    bool natural = has_account && !list && id_of(result, "command_id", &command_id);
    const char *reason = json_string_value(json_object_get(result, "error_reason"));
    if (!has_account)
        account_id = nil;
    if (reason && strstr(reason, ":command-id-reused"))
        natural = false;
    struct uuid event_id = answer->derived_id;
    if (natural) {
        event_id = decide_run_event_id(world, &account_id, &command_id);
    } else {
        command_id = answer->derived_id;
    }
    json_t *expected = json_pack(
        "{so sI sI ss sI sI}", "event_id", uuid_json(&event_id), "received_at",
        (json_int_t)source->timestamp_ms * 1000, "applied_at", (json_int_t)decide_run_now_us,
        "source_topic", decide_run_topic, "source_partition", (json_int_t)source->partition,
        "source_offset", (json_int_t)source->offset);
    compare(checker->one, place, expected, result);
    json_decref(expected);
    check_trail(checker, place, answer, result, &account_id,
                !list && memory_knows(checker->memory, &account_id));
    if (list)
        return; /* it stands in no ledger */
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
    json_t *result = decide_run_result(world, answer);
    compare(checker->one, place, expected, result);
    if (answer->replayed)
        fail_at(checker->one, place, json_string("a first answer"), json_string("a copy"));
    check_fields(checker, place, expected, result);
    check_identity(checker, place, answer, source, result);
    check_subject(checker, place, answer, result);
    json_decref(result);
}

static bool occurs(const struct answer *answer, const json_t *piece) {
    return memmem(answer->body.data, answer->body.size, json_string_value(piece),
                  json_string_length(piece)) != NULL;
}

/* Texts whose very bytes are promised, and those that nobody may be told. */
static void check_body(struct checker *checker, const char *place, const struct answer *answer,
                       const json_t *step) {
    const json_t *expect = json_object_get(step, "expect");
    const json_t *piece = json_object_get(expect, "body_has");
    size_t i;
    if (piece && !occurs(answer, piece))
        fail_at(checker->one, place, piece, json_string("other bytes"));
    json_array_foreach(json_object_get(expect, "body_lacks"), i, piece) {
        if (occurs(answer, piece))
            fail_at(checker->one, place, json_string("a body without it"), piece);
    }
    piece = json_object_get(json_object_get(step, "send"), "password");
    if (json_string_length(piece) >= 8 && occurs(answer, piece))
        fail_at(checker->one, place, json_string("no password"), piece);
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
        check_body(checker, place, answer, step);
    }
}

/* ---- what is there afterwards ---- */

/* What the applied edits, as they are expected, make of the channels. */
static void apply_edits(const struct acceptance_case *one, struct memory *memory) {
    size_t i, k;
    json_t *step, *change;
    json_array_foreach(one->steps, i, step) {
        const json_t *result = json_object_get(step, "result");
        const json_t *sent = json_object_get(step, "send");
        const char *outcome = json_string_value(json_object_get(result, "outcome"));
        const char *type = json_string_value(json_object_get(sent, "type"));
        const char *name = json_string_value(json_object_get(sent, "channel_name"));
        struct uuid account_id;
        if (!outcome || strcmp(outcome, "APPLIED") != 0 || strcmp(type, "EditChannel") != 0)
            continue;
        assert_true(id_of(sent, "account_id", &account_id));
        memory_raise_version(memory, &account_id, name);
        json_array_foreach(json_object_get(result, "changes"), k, change) {
            memory_change(memory, &account_id, name, change,
                          json_string_value(json_object_get(sent, "password")));
            if (!strcmp(json_string_value(json_object_get(change, "pointer")), "/new_name"))
                name = json_string_value(json_object_get(change, "after"));
        }
    }
}

static const char *first_account(const struct acceptance_case *one) {
    size_t i;
    json_t *line;
    json_array_foreach(one->inventory, i, line) {
        if (!strcmp(json_string_value(json_object_get(line, "type")), "account"))
            return json_string_value(json_object_get(line, "id"));
    }
    return "";
}

/* Rows that the case names: of numbers, which begin with +, and of the first account's channels. */
static void check_named_rows(struct checker *checker, const char *place, json_t *numbers,
                             const json_t *channels) {
    const char *name;
    json_t *row;
    json_object_foreach(checker->one->after, name, row) {
        if (*name == '+') {
            assert_int_equal(json_object_update(json_object_get(numbers, name), row), 0);
            continue;
        }
        char key[256];
        snprintf(key, sizeof key, "%s %s", first_account(checker->one), name);
        compare(checker->one, place, row, json_object_get(channels, key));
    }
}

static void check_views(struct checker *checker, const char *place) {
    const struct acceptance_case *one = checker->one;
    struct memory *before = case_run_memory(one);
    json_t *numbers = memory_number_view(checker->memory);
    json_t *channels = memory_channel_view(checker->memory);
    json_t *results = memory_result_view(checker->memory);
    apply_edits(one, before);
    json_t *expected = memory_channel_view(before);
    compare(one, place, expected, channels);
    json_decref(expected);
    if (!memory_same_passwords(before, checker->memory))
        fail_msg("%s: a password is not the one that was sent last, %s", one->name, place);
    expected = memory_number_view(before);
    check_named_rows(checker, place, expected, channels);
    compare(one, place, expected, numbers);
    compare(one, place, checker->ledger, results);
    json_decref(expected);
    json_decref(numbers);
    json_decref(channels);
    json_decref(results);
    memory_free(before);
}

static void expect_same_answers(const struct acceptance_case *one, const char *place,
                                const struct answer *expected, const struct answer *actual,
                                size_t count) {
    for (size_t i = 0; i < count; i++) {
        expect_bytes(one, place, &expected[i].body, &actual[i].body);
        if (!answers_equal(&expected[i], &actual[i]))
            fail_msg("%s: step %zu is answered in another way %s", one->name, i, place);
    }
}

/* ---- one case ---- */

/* Of one account from the first record on: then a clock that goes back does not show, since no
 * event is older than the one before. */
static bool is_about_one_account(const struct checker *checker) {
    size_t i;
    json_t *row;
    const json_t *first = json_object_get(json_array_get(checker->one->steps, 0), "result");
    if (!first || is_list(first))
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
    case_run_records(world, one, sent);
    decide_run_keep_secrets(world, !one->without_secrets);

    struct checker checker = {.one = one, .memory = case_run_memory(one), .ledger = json_array()};
    struct answer *together = decide_run_all(world, checker.memory, sent, count, count, 0);
    for (size_t i = 0; i < count; i++)
        check_step(&checker, i, sent, together);
    check_views(&checker, "in one batch");
    /* What is kept under an earlier key is compared under that one. */
    decide_run_set_mac_keys(world, "the next key", "any key");
    struct answer *again = decide_run_all(world, checker.memory, sent, count, count, 0);
    decide_run_set_mac_keys(world, "any key", NULL);
    expect_same_answers(one, "delivered again", together, again, count);
    check_views(&checker, "after all were delivered again");
    memory_free(checker.memory);

    checker.memory = case_run_memory(one);
    struct answer *apart = decide_run_all(world, checker.memory, sent, count, 1,
                                          is_about_one_account(&checker) ? 1000000 : 0);
    expect_same_answers(one, "in batches of one", together, apart, count);
    check_views(&checker, "in batches of one");
    memory_free(checker.memory);

    json_decref(checker.ledger);
    answers_free(together, count);
    answers_free(again, count);
    answers_free(apart, count);
    for (size_t i = 0; i < count; i++)
        buffer_free(&sent[i].value);
}

int main(void) {
    struct case_list *list = case_list_load();
    struct CMUnitTest *tests = calloc(list->count, sizeof *tests);
    world = case_run_new(list);
    for (size_t i = 0; i < list->count; i++)
        tests[i] = (struct CMUnitTest){
            .name = list->cases[i].name, .test_func = run_case, .initial_state = &list->cases[i]};
    int failed = _cmocka_run_group_tests("acceptance", tests, list->count, NULL, NULL);
    free(tests);
    decide_run_free(world);
    case_list_free(list);
    return failed;
}
