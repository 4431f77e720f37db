/* The pure half of the worker: any records become dead letters, tombstones or results, and results
 * can always be encoded and read back. An input is a list of records: the schema (or none: the
 * bytes as they are), the size in two bytes, the bytes. They are decided over a small inventory, in
 * batches, and delivered a second time, as after a crash: with the same answers. */
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"
#include "tests/acceptance/decide_run.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_RECORDS = 12, MAX_SCHEMAS = 32 };

static const char inventory[] =
    "[{'type':'proxy','id':'00000000-0000-4000-8000-0000000000a1','name':'1'},"
    " {'type':'template','id':'00000000-0000-4000-8000-0000000000a1','name':'1'},"
    " {'type':'call_barring','code':'INT','name':''},"
    " {'type':'account','id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'proxies':['00000000-0000-4000-8000-0000000000a1'],"
    "  'templates':['00000000-0000-4000-8000-0000000000a1'],'call_barrings':['INT'],"
    "  'caller_ids':['+31500000000']},"
    " {'type':'channel','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407','name':'alpha',"
    "  'subscription':'sip_trunk'},"
    " {'type':'channel','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407','name':'beta',"
    "  'subscription':'operator_connect'},"
    " {'type':'number','number':'+31500000000','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'kind':'fixed','state':'available'},"
    " {'type':'number','number':'+31500000001','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'kind':'fixed','state':'available','channel':'beta'}]";

static struct decide_run *run;
static json_t *lines;
static char framings[MAX_SCHEMAS][FRAMING_SIZE];
static size_t schema_count;

static void clean_up(void) {
    decide_run_free(run);
    json_decref(lines);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failed assertion is a finding */
    char *text = strdup(inventory);
    REQUIRE(text);
    for (char *quote = text; (quote = strchr(quote, '\''));)
        *quote = '"';
    lines = json_loads(text, 0, NULL);
    free(text);
    run = decide_run_new();
    REQUIRE(lines && run);
    atexit(clean_up); /* also the directory that it keeps */
    decide_run_begin(run);
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        uint64_t fingerprint;
        REQUIRE(avro_fingerprint(slice_of(file->text), &fingerprint, NULL));
        REQUIRE(schema_count < MAX_SCHEMAS);
        framing_write(fingerprint, framings[schema_count++]);
    }
    return 0;
}

static struct memory *new_memory(void) {
    struct memory *memory = memory_new();
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line) {
        memory_add(memory, line);
    }
    return memory;
}

static void read_record(struct slice *rest, struct sent *sent, size_t index) {
    unsigned schema = fuzz_byte(rest) % (unsigned)(schema_count + 2);
    size_t size = fuzz_byte(rest);
    struct slice bytes = fuzz_take(rest, size << 8 | fuzz_byte(rest));
    if (schema < schema_count)
        buffer_add(&sent->value, framings[schema], FRAMING_SIZE);
    buffer_add(&sent->value, bytes.data, bytes.size);
    bool tombstone = schema == schema_count + 1;
    sent->record = (struct record){
        .source = {.topic = slice_of(decide_run_topic),
                   .offset = (int64_t)index,
                   .timestamp_ms = 1700000000000},
        .value = tombstone ? SLICE_NONE : buffer_slice(&sent->value),
    };
}

/* What every result is, whatever was asked. Bytes that are no text would show as objects. */
static void check_result(const json_t *result, bool list, json_int_t *last_sequence) {
    bool rejected = !strcmp(json_string_value(json_object_get(result, "outcome")), "REJECTED");
    json_int_t code = json_integer_value(json_object_get(result, "status_code"));
    json_int_t sequence = json_integer_value(json_object_get(result, "account_sequence"));
    REQUIRE(rejected == (json_array_size(json_object_get(result, "errors")) > 0));
    REQUIRE(rejected == json_is_string(json_object_get(result, "error_reason")));
    REQUIRE(rejected ? code >= 400 : code >= 200 && code < 300);
    REQUIRE(!rejected || json_array_size(json_object_get(result, "changes")) == 0);
    REQUIRE(json_string_length(json_object_get(result, "event_id")) == UUID_TEXT_SIZE);
    REQUIRE(sequence == 0 || (!list && sequence == ++*last_sequence));
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)result, name, value) {
        REQUIRE(!json_is_object(value));
    }
}

/* The same records once more have the same answers; lists are answered afresh. */
static void check_answers(const struct answer *first, const struct answer *second,
                          json_int_t *last_sequence) {
    REQUIRE(first->handling == second->handling);
    if (first->handling == HANDLE_DEAD_LETTER)
        REQUIRE(first->dead_reason == second->dead_reason && first->dead_reason != REASON_NONE);
    if (first->handling != HANDLE_COMMAND)
        return;
    json_t *result = decide_run_result(run, first);
    bool list = !strncmp(json_string_value(json_object_get(result, "command_type")), "List", 4);
    if (!first->replayed)
        check_result(result, list, last_sequence);
    json_decref(result);
    if (!list)
        REQUIRE(slice_equal(buffer_slice(&first->body), buffer_slice(&second->body)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice rest = {.data = (const char *)data, .size = size};
    struct sent sent[MAX_RECORDS] = {0};
    size_t count = 0, batch_size = 1 + fuzz_byte(&rest) % MAX_RECORDS;
    for (; rest.size > 0 && count < MAX_RECORDS; count++)
        read_record(&rest, &sent[count], count);
    if (count > 0) {
        struct memory *memory = new_memory();
        struct answer *first = decide_run_all(run, memory, sent, count, batch_size, 0);
        struct answer *second = decide_run_all(run, memory, sent, count, count, 1000);
        json_int_t last_sequence = 0; /* of the one account that is known */
        for (size_t i = 0; i < count; i++)
            check_answers(&first[i], &second[i], &last_sequence);
        answers_free(first, count);
        answers_free(second, count);
        memory_free(memory);
    }
    for (size_t i = 0; i < count; i++)
        buffer_free(&sent[i].value);
    return 0;
}
