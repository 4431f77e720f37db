/* Memory runs out at each allocation of the path of a command, once, and from there on for ever:
 * every acceptance case in one batch from decoding to the statements of store and the records of
 * reply, then the same records sent anew, which are answered from the ledger. Either the stages say
 * that memory is out, or what they tell database and broker is what they tell otherwise; and the
 * next batch is as if nothing had been. Database and broker are replaced by ears; what is loaded
 * comes from rows in memory, which do not run out. */
#include "tests/acceptance/case_run.h"
#include "tests/support/failing_memory.h"
#include "worker/decide.h"
#include "worker/decode.h"
#include "worker/reply.h"
#include "worker/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_STEPS = 256, RESENT_LATER = 1000, NEW_ENCODERS = 10 };

static const char letters[] = "letters", results[] = "results";

static struct decide_run *world;
static struct vault *vault;
static struct arena *arena;
static struct avro_plan *result_plan;
static uint64_t result_schema;
static struct slice result_schema_json;

/* ---- what database and broker hear ---- */

struct heard {
    struct buffer statements, records;
    bool stored; /* all statements were sent */
};

static struct heard *ears;

static void hear(struct buffer *buffer, const void *data, size_t size) {
    failing_memory_pause();
    buffer_add(buffer, &size, sizeof size);
    buffer_add(buffer, data, data ? size : 0);
    failing_memory_resume();
}

static void hear_slice(struct buffer *buffer, struct slice slice) {
    hear(buffer, slice.data, slice.size);
}

bool __wrap_pg_queue(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_param *params, size_t param_count, struct error *err);
bool __wrap_pg_sync(struct pg *pg, struct error *err);
bool __wrap_pg_rollback(struct pg *pg);
bool __wrap_producer_begin(struct producer *producer, struct error *err);
bool __wrap_producer_send(struct producer *producer, const char *topic, int32_t partition,
                          struct slice key, struct slice value, rd_kafka_headers_t *headers,
                          struct error *err);
bool __wrap_producer_commit(struct producer *producer,
                            const rd_kafka_topic_partition_list_t *offsets,
                            const rd_kafka_consumer_group_metadata_t *group, struct error *err);
ssize_t __wrap_getrandom(void *room, size_t size, unsigned flags);

bool __wrap_pg_queue(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_param *params, size_t param_count, struct error *err) {
    (void)pg;
    (void)err;
    hear_slice(&ears->statements, slice_of(statement->name));
    for (size_t i = 0; i < param_count; i++)
        hear(&ears->statements, params[i].data, params[i].size);
    return true;
}

/* Ends the stage: what the database would answer is another test's. */
bool __wrap_pg_sync(struct pg *pg, struct error *err) {
    (void)pg;
    ears->stored = true;
    return error_set(err, FAULT_RETRY, "all-heard", "all statements are there");
}

bool __wrap_pg_rollback(struct pg *pg) {
    (void)pg;
    return true;
}

bool __wrap_producer_begin(struct producer *producer, struct error *err) {
    (void)producer;
    (void)err;
    return true;
}

bool __wrap_producer_send(struct producer *producer, const char *topic, int32_t partition,
                          struct slice key, struct slice value, rd_kafka_headers_t *headers,
                          struct error *err) {
    (void)producer;
    (void)err;
    const char *name;
    const void *header;
    size_t size;
    hear_slice(&ears->records, slice_of(topic));
    hear(&ears->records, &partition, sizeof partition);
    hear_slice(&ears->records, key);
    hear_slice(&ears->records, value);
    for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &header, &size); i++) {
        hear_slice(&ears->records, slice_of(name));
        hear(&ears->records, header, size);
    }
    rd_kafka_headers_destroy(headers);
    return true;
}

bool __wrap_producer_commit(struct producer *producer,
                            const rd_kafka_topic_partition_list_t *offsets,
                            const rd_kafka_consumer_group_metadata_t *group, struct error *err) {
    (void)producer;
    (void)offsets;
    (void)group;
    (void)err;
    return true;
}

/* So that a password is sealed alike each time. */
ssize_t __wrap_getrandom(void *room, size_t size, unsigned flags) {
    (void)flags;
    memset(room, 7, size);
    return (ssize_t)size;
}

static void heard_free(struct heard *heard) {
    buffer_free(&heard->statements);
    buffer_free(&heard->records);
}

/* ---- the stages ---- */

struct trial {
    struct memory *memory;
    struct batch batch;
    struct sent *sent;
    size_t count;
    bool new_encoder; /* each time: its arrays have yet to grow */
};

static bool decode_all(struct trial *trial, struct error *err) {
    struct decoder decoder = decide_run_decoder(world);
    for (size_t i = 0; i < trial->count; i++) {
        if (!decode_record(&decoder, &trial->sent[i].record, arena, &trial->batch.commands[i], err))
            return false;
    }
    return true;
}

static bool decide_with(const struct decider *decider, struct trial *trial, struct error *err) {
    struct working_set *set = &trial->batch.set;
    if (!working_set_init(set, arena, trial->count))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a working set");
    if (!decide_want(set, trial->batch.commands, trial->count, err))
        return false;
    failing_memory_pause();
    memory_load(trial->memory, set);
    failing_memory_resume();
    return decide_batch(decider, set, trial->batch.commands, trial->count, decide_run_now_us, err);
}

static bool decide_all(struct trial *trial, struct error *err) {
    struct decider decider = decide_run_decider(world);
    if (!trial->new_encoder)
        return decide_with(&decider, trial, err);
    failing_memory_pause();
    decider.encoder = result_encoder_new(result_schema_json, decider.digests, err);
    assert_non_null(decider.encoder);
    failing_memory_resume();
    bool ok = decide_with(&decider, trial, err);
    result_encoder_free(decider.encoder);
    return ok;
}

/* Ends with all-heard when all went well. */
static bool store_all(struct trial *trial, struct error *err) {
    const struct position position = {.topic = slice_of(decide_run_topic),
                                      .partition = 3,
                                      .batch_end = 100 + (int64_t)trial->count};
    struct decider decider = decide_run_decider(world);
    return store_batch(NULL, &position, 1, &trial->batch.set, digests_mac_key_id(decider.digests),
                       vault, err) ||
           strcmp(err->id, "all-heard") == 0;
}

static bool reply_all(struct trial *trial, struct error *err) {
    struct dead_letter_topic topic = {
        .commands = decide_run_topic, .name = letters, .max_message_bytes = 1 << 20};
    const struct outputs outputs = {.results = results,
                                    .dead_letters = &topic,
                                    .dead_letter_count = 1,
                                    .source = SLICE_LITERAL("urn:siptrunk:cluster"),
                                    .result_plan = result_plan,
                                    .result_schema = result_schema};
    return reply_batch(NULL, &outputs, &trial->batch, NULL, 0, err);
}

static bool run(struct trial *trial, struct heard *heard, struct error *err) {
    *err = (struct error){0};
    arena_reset(arena);
    buffer_clear(&heard->statements);
    buffer_clear(&heard->records);
    heard->stored = false;
    ears = heard;
    return decode_all(trial, err) && decide_all(trial, err) && store_all(trial, err) &&
           reply_all(trial, err);
}

/* ---- the comparison ---- */

static bool begins_with(const struct buffer *whole, const struct buffer *part) {
    return part->size <= whole->size &&
           (part->size == 0 || memcmp(whole->data, part->data, part->size) == 0);
}

static bool same(const struct buffer *a, const struct buffer *b) {
    return a->size == b->size && begins_with(a, b);
}

/* What was told before memory was out is no contradiction to what is told the next time. */
static const char *wrong(const struct heard *expected, const struct heard *heard, bool worked,
                         const struct error *err) {
    if (!worked && (err->fault != FAULT_RETRY || strcmp(err->id, "out-of-memory") != 0))
        return "another error than out-of-memory";
    if (!failing_memory_has_failed() && !worked)
        return "an error without a cause";
    if (heard->stored && !same(&expected->statements, &heard->statements))
        return "other rows";
    if (!begins_with(&expected->records, &heard->records))
        return "other records";
    if (worked && !(heard->stored && same(&expected->records, &heard->records)))
        return "less than all";
    return NULL;
}

static void try_one(struct trial *trial, const struct heard *expected, size_t number,
                    bool for_ever) {
    struct error err;
    struct heard heard = {0};
    failing_memory_begin(number, for_ever);
    bool worked = run(trial, &heard, &err);
    failing_memory_end();
    const char *what = wrong(expected, &heard, worked, &err);
    heard_free(&heard);
    if (what)
        fail_msg("allocation %zu fails %s: %s: %s", number, for_ever ? "for ever" : "once", what,
                 worked ? "no error" : err.message);
}

static size_t tried;

static void try_all(struct trial *trial) {
    struct error err;
    struct heard expected = {0};
    failing_memory_begin(0, false);
    bool worked = run(trial, &expected, &err);
    size_t count = failing_memory_end();
    if (!worked)
        fail_msg("with memory enough: %s", err.message);
    for (size_t number = 1; number <= count; number++, tried += 2) {
        try_one(trial, &expected, number, false);
        try_one(trial, &expected, number, true);
    }
    try_one(trial, &expected, 0, false);
    heard_free(&expected);
}

/* Of the address sanitizer, where it is. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* In steady state avro-c allocates little. What it cannot finish is given up, and no leak of ours.
 */
static void try_new_encoders(struct trial *trial) {
    if (__lsan_disable)
        __lsan_disable();
    trial->new_encoder = true;
    failing_memory_only_avro(true);
    try_all(trial);
    failing_memory_only_avro(false);
    trial->new_encoder = false;
}

/* ---- one case ---- */

static void run_case(void **state) {
    const struct acceptance_case *one = *state;
    struct sent sent[MAX_STEPS] = {0};
    struct trial trial = {.memory = case_run_memory(one), .sent = sent};
    trial.count = json_array_size(one->steps);
    assert_in_range(trial.count, 1, MAX_STEPS);
    trial.batch = (struct batch){.arena = arena, .count = trial.count, .part_count = trial.count};
    trial.batch.commands = calloc(trial.count, sizeof *trial.batch.commands);
    assert_non_null(trial.batch.commands);
    case_run_records(world, one, sent);
    decide_run_keep_secrets(world, !one->without_secrets);
    try_all(&trial);
    static size_t cases;
    if (cases++ % NEW_ENCODERS == 0)
        try_new_encoders(&trial);
    memory_store(trial.memory, &trial.batch.set);
    for (size_t i = 0; i < trial.count; i++)
        sent[i].record.source.offset += RESENT_LATER;
    try_all(&trial);
    for (size_t i = 0; i < trial.count; i++)
        buffer_free(&sent[i].value);
    memory_free(trial.memory);
    free(trial.batch.commands);
}

/* ---- the whole ---- */

static struct vault *new_vault(void) {
    static const char key[] =
        "k:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
    char path[64];
    struct error err;
    int fd = memfd_create("keys", 0);
    assert_true(fd >= 0 && write(fd, key, sizeof key - 1) == (ssize_t)sizeof key - 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct vault *made = vault_new(path, false, &err);
    close(fd);
    return made;
}

static struct avro_plan *new_result_plan(void) {
    static const struct reader_record *const readers[] = {&reply_result_reader};
    struct error err;
    struct decider decider = decide_run_decider(world);
    struct decoder decoder = decide_run_decoder(world);
    result_schema = result_encoder_fingerprint(decider.encoder);
    result_schema_json = schema_set_text(decoder.schemas, result_schema);
    return avro_plan_compile(result_schema_json, readers, 1, &err);
}

int main(void) {
    failing_memory_watch_avro();
    struct case_list *list = case_list_load();
    struct CMUnitTest *tests = calloc(list->count, sizeof *tests);
    world = case_run_new(list);
    vault = new_vault();
    arena = arena_new((size_t)64 << 20);
    result_plan = new_result_plan();
    if (!tests || !vault || !arena || !result_plan)
        return 1;
    for (size_t i = 0; i < list->count; i++)
        tests[i] = (struct CMUnitTest){
            .name = list->cases[i].name, .test_func = run_case, .initial_state = &list->cases[i]};
    int failed = _cmocka_run_group_tests("memory", tests, list->count, NULL, NULL);
    printf("%zu failures of memory tried in %zu cases\n", tried, list->count);
    avro_plan_free(result_plan);
    arena_free(arena);
    vault_free(vault);
    decide_run_free(world);
    free(tests);
    case_list_free(list);
    return failed;
}
