/* The bounded decoder: what it takes from which writer, what it refuses, and that no bytes whatever
 * make it read past the end. Schemas are written with ' for ", which a test turns back. */
#include "common/avro_plan.h"

#include "common/avro_bytes.h"
#include "tests/unit/avro_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- what is read ---- */

enum {
    SLOT_FLAG,
    SLOT_COUNT_INT,
    SLOT_TOTAL,
    SLOT_NAME,
    SLOT_MIXED,
    SLOT_TAGS,
    SLOT_TIMEOUT,
    SLOT_SUB,
    SLOT_PING,
    SLOT_NOTE,
    SLOT_INNER,
    SLOT_DEEP,
    SLOTS
};

static const char *const name_aliases[] = {"label", "title", NULL};
static const char *const note_aliases[] = {"ping", "remark", NULL};
static const char *const record_aliases[] = {"old.Sample", "Bare", NULL};

static const struct reader_field inner_fields[] = {
    {.name = "deep", .kind = READER_STRING, .slot = SLOT_DEEP},
};
static const struct reader_record inner_record = {.fields = inner_fields, .field_count = 1};

static const struct reader_field sub_fields[] = {
    {.name = "ping", .kind = READER_INT, .slot = SLOT_PING},
    {.name = "note", .aliases = note_aliases, .kind = READER_STRING, .slot = SLOT_NOTE},
    {.name = "inner", .kind = READER_RECORD, .slot = SLOT_INNER, .record = &inner_record},
};
static const struct reader_record sub_record = {.fields = sub_fields, .field_count = 3};

static const struct reader_field fields[] = {
    {.name = "flag", .kind = READER_BOOL, .slot = SLOT_FLAG},
    {.name = "count", .kind = READER_INT, .slot = SLOT_COUNT_INT},
    {.name = "total", .kind = READER_LONG, .slot = SLOT_TOTAL},
    {.name = "name", .aliases = name_aliases, .kind = READER_STRING, .slot = SLOT_NAME},
    {.name = "mixed", .kind = READER_BOOL_OR_STRING, .slot = SLOT_MIXED},
    {.name = "tags", .kind = READER_STRING_ARRAY, .slot = SLOT_TAGS},
    {.name = "timeout", .kind = READER_NULLABLE_STRING, .slot = SLOT_TIMEOUT},
    {.name = "sub", .kind = READER_RECORD, .slot = SLOT_SUB, .record = &sub_record},
};
static const struct reader_record sample = {.full_name = "t.Sample",
                                            .aliases = record_aliases,
                                            .fields = fields,
                                            .field_count = sizeof fields / sizeof fields[0],
                                            .slot_count = SLOTS};

static const struct reader_field other_fields[] = {
    {.name = "name", .kind = READER_STRING, .slot = 0},
};
static const struct reader_record other = {
    .full_name = "t.Other", .fields = other_fields, .field_count = 1, .slot_count = 1};

static const struct reader_record *const records[] = {&sample, &other};

/* ---- the means ---- */

static struct arena *arena;
static struct buffer body;
static struct avro_plan *plan;
static struct avro_decoded decoded;
static struct error err;

static struct avro_plan *try_compile(const char *schema) {
    char *json = strdup(schema);
    for (char *quote = json; (quote = strchr(quote, '\''));)
        *quote = '"';
    struct avro_plan *compiled = avro_plan_compile(slice_of(json), records, 2, &err);
    free(json);
    return compiled;
}

static void writer(const char *schema) {
    avro_plan_free(plan);
    plan = try_compile(schema);
    if (!plan)
        fail_msg("%s: %s", schema, err.message);
    buffer_clear(&body);
}

/* A record t.Sample with these fields. */
static void writer_fields(const char *inner) {
    struct buffer schema = {0};
    buffer_add_text(&schema, "{'type':'record','name':'t.Sample','fields':[");
    buffer_add_text(&schema, inner);
    buffer_add(&schema, "]}", 3);
    writer(schema.data);
    buffer_free(&schema);
}

static void writer_field(const char *name, const char *type) {
    char text[2048];
    snprintf(text, sizeof text, "{'name':'%s','type':%s}", name, type);
    writer_fields(text);
}

/* Runs over a copy of exactly the body's size, so that the address sanitizer sees a byte read past
 * it. */
static char *copy;

static bool run(void) {
    free(copy);
    copy = malloc(body.size ? body.size : 1);
    assert_non_null(copy);
    memcpy(copy, buffer_slice(&body).data, body.size);
    arena_reset(arena);
    decoded = (struct avro_decoded){0};
    err = (struct error){0};
    return avro_plan_run(plan, (struct slice){.data = copy, .size = body.size}, arena, &decoded,
                         &err);
}

static const struct value *value(int slot) {
    return &decoded.values[slot];
}

static void accept(void) {
    if (!run())
        fail_msg("refused: %s", err.message);
}

static void expect_fault(const char *id, enum fault fault) {
    assert_false(run());
    assert_string_equal(err.id, id);
    assert_int_equal(err.fault, fault);
    assert_null(decoded.values);
}

static void refuse(const char *id) {
    expect_fault(id, FAULT_INPUT);
}

static void refuse_schema(const char *schema, const char *id) {
    err = (struct error){0};
    assert_null(try_compile(schema));
    assert_int_equal(err.fault, FAULT_CONFIG);
    assert_string_equal(err.id, id);
}

static void expect_text(const struct value *actual, const char *text) {
    assert_int_equal(actual->state, VALUE_SET);
    assert_int_equal(actual->kind, VALUE_KIND_TEXT);
    assert_true(slice_is(actual->text, text));
}

static void expect_integer(const struct value *actual, int64_t integer) {
    assert_int_equal(actual->state, VALUE_SET);
    assert_int_equal(actual->kind, VALUE_KIND_INTEGER);
    assert_true(actual->integer == integer);
}

static void expect_bool(const struct value *actual, bool boolean) {
    assert_int_equal(actual->state, VALUE_SET);
    assert_int_equal(actual->kind, VALUE_KIND_BOOL);
    assert_int_equal(actual->boolean, boolean);
}

static void expect_state(int slot, enum value_state state) {
    assert_int_equal(value(slot)->state, state);
}

static int set_up(void **state) {
    (void)state;
    arena = arena_new(1 << 20);
    return arena ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    avro_plan_free(plan);
    buffer_free(&body);
    free(copy);
    return 0;
}

/* ---- a record with everything ---- */

static const char everything[] =
    "{'name':'flag','type':'boolean'},{'name':'count','type':['null','int']},"
    "{'name':'total','type':'long'},{'name':'name','type':'string'},"
    "{'name':'mixed','type':['null','boolean','string']},"
    "{'name':'tags','type':['null',{'type':'array','items':'string'}]},"
    "{'name':'timeout','type':['null',{'type':'record','name':'NullableString','fields':["
    "{'name':'value','type':['null','string']}]}]},"
    "{'name':'extra','type':{'type':'map','values':['null',{'type':'array','items':'double'},"
    "{'type':'enum','name':'E','symbols':['A','B']},{'type':'fixed','name':'F','size':3}]}},"
    "{'name':'sub','type':['null',{'type':'record','name':'Sub','fields':["
    "{'name':'ping','type':['null','int']},{'name':'note','type':['null','string']}]}]}";

static void put_everything(void) {
    writer_fields(everything);
    put_byte(&body, 1);
    put_number(&body, 1), put_number(&body, -7);
    put_number(&body, INT64_MIN);
    put_string(&body, "the name");
    put_number(&body, 2), put_string(&body, "true");
    put_number(&body, 1);
    put_number(&body, 2), put_string(&body, "one"), put_string(&body, "");
    put_number(&body, -1), put_number(&body, 4), put_string(&body, "two"), put_number(&body, 0);
    put_number(&body, 1), put_number(&body, 1), put_string(&body, "1800");
    put_number(&body, 3);
    put_string(&body, "a"), put_number(&body, 1);
    put_number(&body, 1), buffer_add(&body, "12345678", 8), put_number(&body, 0);
    put_string(&body, "b"), put_number(&body, 2), put_number(&body, 1);
    put_string(&body, "c"), put_number(&body, 3), buffer_add(&body, "abc", 3);
    put_number(&body, 0);
    put_number(&body, 1), put_number(&body, 1), put_number(&body, 3), put_number(&body, 1);
    put_string(&body, "a note");
}

static void takes_every_kind_of_field(void **state) {
    (void)state;
    put_everything();
    accept();
    assert_ptr_equal(decoded.record, &sample);
    expect_bool(value(SLOT_FLAG), true);
    expect_integer(value(SLOT_COUNT_INT), -7);
    expect_integer(value(SLOT_TOTAL), INT64_MIN);
    expect_text(value(SLOT_NAME), "the name");
    expect_text(value(SLOT_MIXED), "true");
    expect_text(value(SLOT_TIMEOUT), "1800");
    expect_state(SLOT_SUB, VALUE_SET);
    expect_integer(value(SLOT_PING), 3);
    expect_text(value(SLOT_NOTE), "a note");
    expect_state(SLOT_INNER, VALUE_ABSENT);
    expect_state(SLOT_DEEP, VALUE_ABSENT);
    assert_int_equal(value(SLOT_TAGS)->state, VALUE_SET);
    assert_int_equal(value(SLOT_TAGS)->kind, VALUE_KIND_LIST);
    assert_int_equal(value(SLOT_TAGS)->list.count, 3);
    assert_true(slice_is(value(SLOT_TAGS)->list.items[0], "one"));
    assert_true(slice_is(value(SLOT_TAGS)->list.items[1], ""));
    assert_true(slice_is(value(SLOT_TAGS)->list.items[2], "two"));
}

static void refuses_a_record_cut_at_any_byte(void **state) {
    (void)state;
    put_everything();
    size_t whole = body.size;
    for (size_t size = 0; size < whole; size++) {
        body.size = size;
        refuse("schema");
    }
    body.size = whole;
    accept();
}

static void survives_every_mutation_of_every_byte(void **state) {
    (void)state;
    put_everything();
    for (size_t i = 0; i < body.size; i++) {
        char kept = body.data[i];
        for (int byte = 0; byte < 256; byte++) {
            body.data[i] = (char)byte;
            if (!run())
                assert_int_equal(err.fault, FAULT_INPUT);
        }
        body.data[i] = kept;
    }
    accept();
}

static void survives_random_bytes(void **state) {
    (void)state;
    put_everything();
    uint64_t random = 88172645463325252;
    for (int round = 0; round < 20000; round++) {
        buffer_clear(&body);
        for (size_t i = 0; i < 64; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            put_byte(&body, (int)(random >> 32 & (random & 1 ? 0xff : 0x07)));
        }
        if (!run())
            assert_int_equal(err.fault, FAULT_INPUT);
    }
}

static void points_into_the_message_instead_of_copying(void **state) {
    (void)state;
    writer_field("name", "'string'");
    char message[] = "\x06"
                     "abc";
    struct slice bytes = {.data = message, .size = 4};
    assert_true(avro_plan_run(plan, bytes, arena, &decoded, &err));
    assert_ptr_equal(value(SLOT_NAME)->text.data, message + 1);
}

static void gives_empty_texts_a_pointer(void **state) {
    (void)state;
    writer_field("name", "'string'");
    put_string(&body, "");
    accept();
    expect_text(value(SLOT_NAME), "");
    assert_non_null(value(SLOT_NAME)->text.data);
}

/* ---- older and newer writers ---- */

static void takes_fields_by_name_in_whatever_order(void **state) {
    (void)state;
    writer_fields("{'name':'name','type':'string'},{'name':'flag','type':'boolean'}");
    put_string(&body, "x"), put_byte(&body, 0);
    accept();
    expect_text(value(SLOT_NAME), "x");
    expect_bool(value(SLOT_FLAG), false);
}

static void leaves_fields_absent_that_the_writer_lacks(void **state) {
    (void)state;
    writer_fields("");
    accept();
    for (int slot = 0; slot < SLOTS; slot++)
        expect_state(slot, VALUE_ABSENT);
}

static void skips_fields_that_only_the_writer_has(void **state) {
    (void)state;
    writer_fields(
        "{'name':'a','type':'int'},{'name':'b','type':'float'},{'name':'c','type':'bytes'},"
        "{'name':'d','type':{'type':'record','name':'D','fields':["
        "{'name':'name','type':'string'},{'name':'n','type':'null'}]}},"
        "{'name':'e','type':['D','null']},{'name':'name','type':'string'},"
        "{'name':'f','type':{'type':'map','values':'D'}}");
    put_number(&body, 5), buffer_add(&body, "1234", 4), put_string(&body, "bytes");
    put_string(&body, "not this"), put_number(&body, 0), put_string(&body, "nor this");
    put_string(&body, "this"), put_number(&body, 1), put_string(&body, "k");
    put_string(&body, "nor that"), put_number(&body, 0);
    accept();
    expect_text(value(SLOT_NAME), "this");
}

static void takes_a_field_by_its_alias(void **state) {
    (void)state;
    writer_field("title", "'string'");
    put_string(&body, "x");
    accept();
    expect_text(value(SLOT_NAME), "x");
}

static void prefers_the_name_to_an_alias_and_the_first_alias_to_the_next(void **state) {
    (void)state;
    writer_fields("{'name':'title','type':'string'},{'name':'name','type':'string'},"
                  "{'name':'label','type':'string'}");
    put_string(&body, "title"), put_string(&body, "name"), put_string(&body, "label");
    accept();
    expect_text(value(SLOT_NAME), "name");
    writer_fields("{'name':'title','type':'string'},{'name':'label','type':'string'}");
    put_string(&body, "title"), put_string(&body, "label");
    accept();
    expect_text(value(SLOT_NAME), "label");
}

static void does_not_take_by_alias_what_another_field_takes_by_name(void **state) {
    (void)state;
    writer_field("sub", "{'type':'record','name':'Sub','fields':[{'name':'ping','type':'int'}]}");
    put_number(&body, 3);
    accept();
    expect_integer(value(SLOT_PING), 3);
    expect_state(SLOT_NOTE, VALUE_ABSENT);
}

static void knows_the_record_by_its_aliases(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{'type':'record','name':'Sample','namespace':'old','fields':[]}",
        "{'type':'record','name':'old.Sample','fields':[]}",
        "{'type':'record','name':'Bare','fields':[]}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        writer(schemas[i]);
        accept();
        assert_ptr_equal(decoded.record, &sample);
    }
}

static void takes_sub_records_of_any_name(void **state) {
    (void)state;
    writer_field("sub", "{'type':'record','name':'elsewhere.Renamed','fields':["
                        "{'name':'inner','type':{'type':'record','name':'Q','fields':["
                        "{'name':'deep','type':'string'}]}},{'name':'remark','type':'string'}]}");
    put_string(&body, "deep down"), put_string(&body, "remark");
    accept();
    expect_state(SLOT_INNER, VALUE_SET);
    expect_text(value(SLOT_DEEP), "deep down");
    expect_text(value(SLOT_NOTE), "remark");
}

static void opens_unions_of_any_shape(void **state) {
    (void)state;
    static const char *const types[] = {"['string']", "['string','null']", "['null','string']",
                                        "['int','string','boolean']", "['null','bytes']"};
    static const int branches[] = {0, 0, 1, 1, 1};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        writer_field("name", types[i]);
        put_number(&body, branches[i]), put_string(&body, "x");
        accept();
        expect_text(value(SLOT_NAME), "x");
    }
}

static void tells_null_from_absent(void **state) {
    (void)state;
    writer_fields("{'name':'name','type':['null','string']},{'name':'count','type':'null'},"
                  "{'name':'sub','type':['null',{'type':'record','name':'S','fields':[]}]},"
                  "{'name':'tags','type':['null',{'type':'array','items':'string'}]}");
    put_number(&body, 0), put_number(&body, 0), put_number(&body, 0);
    accept();
    expect_state(SLOT_NAME, VALUE_NULL);
    expect_state(SLOT_COUNT_INT, VALUE_NULL);
    expect_state(SLOT_SUB, VALUE_NULL);
    expect_state(SLOT_TAGS, VALUE_NULL);
    expect_state(SLOT_PING, VALUE_ABSENT);
    expect_state(SLOT_FLAG, VALUE_ABSENT);
}

static void tells_the_three_states_of_a_nullable_text(void **state) {
    (void)state;
    static const char type[] = "['null',{'type':'record','name':'N','fields':["
                               "{'name':'value','type':['null','string']}]}]";
    writer_field("timeout", type);
    put_number(&body, 0);
    accept();
    expect_state(SLOT_TIMEOUT, VALUE_ABSENT);
    writer_field("timeout", type);
    put_number(&body, 1), put_number(&body, 0);
    accept();
    expect_state(SLOT_TIMEOUT, VALUE_NULL);
    writer_field("timeout", type);
    put_number(&body, 1), put_number(&body, 1), put_string(&body, "1800");
    accept();
    expect_text(value(SLOT_TIMEOUT), "1800");
}

static void takes_a_nullable_text_with_more_fields_and_other_unions(void **state) {
    (void)state;
    writer_field("timeout", "{'type':'record','name':'N','fields':[{'name':'unit','type':'string'},"
                            "{'name':'value','type':'bytes'},{'name':'z','type':'int'}]}");
    put_string(&body, "s"), put_string(&body, "60"), put_number(&body, 4);
    accept();
    expect_text(value(SLOT_TIMEOUT), "60");
}

static void does_not_guess_a_nullable_text_without_its_value(void **state) {
    (void)state;
    writer_fields("{'name':'timeout','type':{'type':'record','name':'N','fields':["
                  "{'name':'other','type':'string'}]}},{'name':'name','type':'string'}");
    put_string(&body, "60"), put_string(&body, "x");
    accept();
    expect_state(SLOT_TIMEOUT, VALUE_BAD_TYPE);
    expect_text(value(SLOT_NAME), "x");
}

/* ---- promotions, and types that do not fit ---- */

static void promotes_int_to_long_and_bytes_to_string(void **state) {
    (void)state;
    writer_fields("{'name':'total','type':'int'},{'name':'name','type':'bytes'},"
                  "{'name':'mixed','type':'bytes'},"
                  "{'name':'tags','type':{'type':'array','items':'bytes'}}");
    put_number(&body, INT32_MIN), put_string(&body, "x"), put_string(&body, "y");
    put_number(&body, 1), put_string(&body, "z"), put_number(&body, 0);
    accept();
    expect_integer(value(SLOT_TOTAL), INT32_MIN);
    expect_text(value(SLOT_NAME), "x");
    expect_text(value(SLOT_MIXED), "y");
    assert_true(slice_is(value(SLOT_TAGS)->list.items[0], "z"));
}

/* Puts one value of the i-th of these types. */
static const char *const types_of_all_sorts[] = {
    "'boolean'",
    "'int'",
    "'long'",
    "'float'",
    "'double'",
    "'string'",
    "'bytes'",
    "{'type':'enum','name':'E','symbols':['A']}",
    "{'type':'fixed','name':'F','size':2}",
    "{'type':'array','items':'int'}",
    "{'type':'array','items':'string'}",
    "{'type':'map','values':'string'}",
    "{'type':'record','name':'R','fields':[{'name':'x','type':'int'}]}",
};

static void put_some(size_t type) {
    static const struct {
        const char *bytes;
        size_t size;
    } some[] = {{"\1", 1},      {"\4", 1},         {"\4", 1}, {"1234", 4}, {"12345678", 8},
                {"\2x", 2},     {"\2x", 2},        {"\0", 1}, {"xy", 2},   {"\2\2\0", 3},
                {"\2\2x\0", 4}, {"\2\2k\2v\0", 6}, {"\2", 1}};
    buffer_add(&body, some[type].bytes, some[type].size);
}

static void marks_types_that_do_not_fit_and_reads_their_neighbours(void **state) {
    (void)state;
    enum { TYPES = sizeof types_of_all_sorts / sizeof types_of_all_sorts[0] };
    static const struct {
        const char *name;
        int slot;
        const char *fits; /* one letter a type */
    } cases[] = {
        {"flag", SLOT_FLAG, "y............"},   {"count", SLOT_COUNT_INT, ".y..........."},
        {"total", SLOT_TOTAL, ".yy.........."}, {"name", SLOT_NAME, ".....yy......"},
        {"mixed", SLOT_MIXED, "y....yy......"}, {"tags", SLOT_TAGS, "..........y.."},
        {"sub", SLOT_SUB, "............y"},     {"timeout", SLOT_TIMEOUT, "............."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t type = 0; type < TYPES; type++) {
            char text[512];
            snprintf(text, sizeof text,
                     "{'name':'first','type':'string'},{'name':'%s','type':['null',%s]},"
                     "{'name':'title','type':'string'}",
                     cases[i].name, types_of_all_sorts[type]);
            writer_fields(text);
            put_string(&body, "before"), put_number(&body, 1), put_some(type);
            put_string(&body, "behind");
            accept();
            expect_state(cases[i].slot, cases[i].fits[type] == 'y' ? VALUE_SET : VALUE_BAD_TYPE);
            if (cases[i].slot != SLOT_NAME)
                expect_text(value(SLOT_NAME), "behind");
        }
    }
}

static void judges_a_union_by_the_branch_that_was_sent(void **state) {
    (void)state;
    writer_fields(
        "{'name':'count','type':['string','int','null']},{'name':'name','type':'string'}");
    for (int branch = 0; branch < 3; branch++) {
        buffer_clear(&body);
        put_number(&body, branch);
        if (branch == 0)
            put_string(&body, "3");
        if (branch == 1)
            put_number(&body, 3);
        put_string(&body, "x");
        accept();
        static const enum value_state expected[] = {VALUE_BAD_TYPE, VALUE_SET, VALUE_NULL};
        expect_state(SLOT_COUNT_INT, expected[branch]);
        expect_text(value(SLOT_NAME), "x");
    }
}

static void marks_a_list_with_an_item_of_another_type(void **state) {
    (void)state;
    writer_fields("{'name':'tags','type':{'type':'array','items':['null','string','int']}},"
                  "{'name':'name','type':'string'}");
    put_number(&body, 3), put_number(&body, 1), put_string(&body, "a");
    put_number(&body, 2), put_number(&body, 7), put_number(&body, 1), put_string(&body, "b");
    put_number(&body, 0), put_string(&body, "x");
    accept();
    expect_state(SLOT_TAGS, VALUE_BAD_TYPE);
    expect_text(value(SLOT_NAME), "x");
    buffer_clear(&body);
    put_number(&body, 1), put_number(&body, 0), put_number(&body, 0), put_string(&body, "x");
    accept();
    expect_state(SLOT_TAGS, VALUE_BAD_TYPE);
}

/* ---- which record ---- */

static void opens_a_union_at_the_top_by_the_full_name(void **state) {
    (void)state;
    writer("['null',{'type':'record','name':'t.Other','fields':[{'name':'name','type':'string'}]},"
           "{'type':'record','name':'t.Sample','fields':[{'name':'name','type':'t.Other'},"
           "{'name':'title','type':'string'}]},"
           "{'type':'record','name':'x.Sample','fields':[]}]");
    put_number(&body, 1), put_string(&body, "other");
    accept();
    assert_ptr_equal(decoded.record, &other);
    expect_text(&decoded.values[0], "other");
    buffer_clear(&body);
    put_number(&body, 2), put_string(&body, "passed over"), put_string(&body, "and this too");
    accept();
    assert_ptr_equal(decoded.record, &sample);
    expect_state(SLOT_NAME, VALUE_BAD_TYPE);
    for (int branch = 0; branch < 4; branch += 3) {
        buffer_clear(&body);
        put_number(&body, branch);
        refuse("unknown-command");
    }
    buffer_clear(&body);
    put_number(&body, 4);
    refuse("schema");
}

static void refuses_records_that_nobody_reads(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{'type':'record','name':'Sample','fields':[]}",
        "{'type':'record','name':'T.Sample','fields':[]}",
        "{'type':'record','name':'t.sample','fields':[]}",
        "{'type':'enum','name':'t.Sample','symbols':['A']}",
        "'string'",
        "{'type':'array','items':'int'}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        writer(schemas[i]);
        put_number(&body, 0);
        refuse("unknown-command");
    }
}

/* ---- schemas that are refused ---- */

static void refuses_schemas_that_contain_themselves(void **state) {
    (void)state;
    refuse_schema("{'type':'record','name':'t.Sample','fields':["
                  "{'name':'next','type':['null','t.Sample']}]}",
                  "schema");
    refuse_schema("{'type':'record','name':'t.Sample','fields':[{'name':'a','type':"
                  "{'type':'record','name':'B','fields':[{'name':'c','type':"
                  "{'type':'array','items':'B'}}]}}]}",
                  "schema");
    refuse_schema("{'type':'record','name':'t.Sample','fields':[{'name':'sub','type':"
                  "{'type':'record','name':'B','fields':[{'name':'inner','type':['null','B']}]}}]}",
                  "schema");
}

static char *nested_arrays(int depth) {
    struct buffer text = {0};
    buffer_add_text(&text, "{'type':'record','name':'t.Sample','fields':[{'name':'a','type':");
    for (int i = 0; i < depth; i++)
        buffer_add_text(&text, "{'type':'array','items':");
    buffer_add_text(&text, "'int'");
    for (int i = 0; i < depth; i++)
        buffer_add_text(&text, "}");
    buffer_add(&text, "}]}", 4);
    return text.data;
}

static void takes_sixteen_levels_and_refuses_seventeen(void **state) {
    (void)state;
    char *schema = nested_arrays(AVRO_MAX_DEPTH - 1);
    writer(schema);
    free(schema);
    for (int i = 0; i < AVRO_MAX_DEPTH - 1; i++)
        put_number(&body, 1);
    put_number(&body, 42);
    for (int i = 0; i < AVRO_MAX_DEPTH - 1; i++)
        put_number(&body, 0);
    accept();
    schema = nested_arrays(AVRO_MAX_DEPTH);
    refuse_schema(schema, "too-long");
    free(schema);
}

/* Fourteen records, each with four fields of the one before, the first one as given. */
static void refuse_growing_schema(const char *first) {
    struct buffer text = {0};
    char level[512];
    buffer_add_text(&text, "{'type':'record','name':'t.Sample','fields':[{'name':'a','type':");
    buffer_add_text(&text, first);
    for (int i = 1; i < 14; i++) {
        snprintf(level, sizeof level,
                 "},{'name':'f%d','type':{'type':'record','name':'R%d','fields':["
                 "{'name':'a','type':'R%d'},{'name':'b','type':'R%d'},{'name':'c','type':'R%d'},"
                 "{'name':'d','type':'R%d'}]}",
                 i, i, i - 1, i - 1, i - 1, i - 1);
        buffer_add_text(&text, level);
    }
    buffer_add(&text, "}]}", 4);
    refuse_schema(text.data, "schema");
    buffer_free(&text);
}

static void refuses_schemas_that_grow_without_end(void **state) {
    (void)state;
    refuse_growing_schema("{'type':'record','name':'R0','fields':[{'name':'x','type':'int'}]}");
    refuse_growing_schema("{'type':'record','name':'R0','fields':[]}");
}

static void refuses_what_is_no_schema(void **state) {
    (void)state;
    refuse_schema("", "schema");
    refuse_schema("{'type':'record','name':'t.Sample'}", "schema");
    refuse_schema("{'type':'record','name':'t.Sample','fields':[{'name':'a','type':'Unknown'}]}",
                  "schema");
    refuse_schema("{'type':'record','name':'t.Sample','fields':[{'name':'a','type':"
                  "[['null','int'],'string']}]}",
                  "schema");
    refuse_schema("[['null','int'],'string']", "schema");
}

/* ---- limits ---- */

static void keeps_a_text_over_its_limit_and_says_so(void **state) {
    (void)state;
    writer_fields("{'name':'name','type':'string'},{'name':'flag','type':'boolean'}");
    put_letters(&body, AVRO_MAX_TEXT), put_byte(&body, 1);
    accept();
    expect_state(SLOT_NAME, VALUE_SET);
    buffer_clear(&body);
    put_letters(&body, AVRO_MAX_TEXT + 1), put_byte(&body, 1);
    accept();
    expect_state(SLOT_NAME, VALUE_TOO_LONG);
    assert_int_equal(value(SLOT_NAME)->text.size, AVRO_MAX_TEXT + 1);
    expect_bool(value(SLOT_FLAG), true);
}

static void says_so_of_a_list_with_a_text_over_its_limit(void **state) {
    (void)state;
    writer_field("tags", "{'type':'array','items':'string'}");
    put_number(&body, 2), put_letters(&body, AVRO_MAX_TEXT + 1), put_string(&body, "x");
    put_number(&body, 0);
    accept();
    expect_state(SLOT_TAGS, VALUE_TOO_LONG);
    assert_int_equal(value(SLOT_TAGS)->list.count, 2);
}

static void skips_long_texts_that_nobody_takes(void **state) {
    (void)state;
    writer_fields("{'name':'blob','type':'bytes'},{'name':'name','type':'string'}");
    put_letters(&body, 100000), put_string(&body, "x");
    accept();
    expect_text(value(SLOT_NAME), "x");
}

static void refuses_a_message_over_its_limit(void **state) {
    (void)state;
    writer_field("blob", "'bytes'");
    put_letters(&body, AVRO_MAX_MESSAGE - 3);
    assert_int_equal(body.size, AVRO_MAX_MESSAGE);
    accept();
    buffer_clear(&body);
    put_letters(&body, AVRO_MAX_MESSAGE - 2);
    refuse("too-long");
}

/* count items of the block, each with the same bytes. */
static void put_items(int64_t count, const char *item, size_t size) {
    for (int64_t i = 0; i < count; i++)
        buffer_add(&body, item, size);
}

static void takes_1024_items_and_refuses_one_more(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        writer_field("tags", "{'type':'array','items':'string'}");
        put_number(&body, AVRO_MAX_ITEMS + over), put_items(AVRO_MAX_ITEMS + over, "\2x", 2);
        put_number(&body, 0);
        if (over)
            refuse("too-long");
        else
            accept();
    }
    writer_field("extra", "{'type':'map','values':'int'}");
    put_number(&body, AVRO_MAX_ITEMS + 1), put_items(AVRO_MAX_ITEMS + 1, "\2k\2", 3);
    put_number(&body, 0);
    refuse("too-long");
}

static void counts_items_over_all_blocks(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        writer_field("tags", "{'type':'array','items':'string'}");
        for (int i = 0; i < AVRO_MAX_ITEMS + over; i++)
            put_number(&body, i % 2 ? 1 : -1), buffer_add(&body, "\4\2x", i % 2 ? 0 : 1),
                put_string(&body, "x");
        put_number(&body, 0);
        if (over) {
            refuse("too-long");
        } else {
            accept();
            assert_int_equal(value(SLOT_TAGS)->list.count, AVRO_MAX_ITEMS);
            assert_true(arena_used(arena) < 64 * 1024);
        }
    }
}

static void bounds_items_that_have_no_bytes(void **state) {
    (void)state;
    writer_field("a", "{'type':'array','items':{'type':'record','name':'R','fields':["
                      "{'name':'n','type':'null'}]}}");
    put_number(&body, 600), put_number(&body, -424), put_number(&body, 0), put_number(&body, 0);
    accept();
    buffer_clear(&body);
    put_number(&body, 600), put_number(&body, 425), put_number(&body, 0);
    refuse("too-long");
    buffer_clear(&body);
    put_number(&body, INT64_C(1) << 40), put_number(&body, 0);
    refuse("too-long");
}

static void refuses_a_list_when_the_arena_is_full(void **state) {
    (void)state;
    writer_field("tags", "{'type':'array','items':'string'}");
    put_number(&body, 1000), put_items(1000, "\2x", 2), put_number(&body, 0);
    struct arena *tiny = arena_new(100);
    struct slice bytes = buffer_slice(&body);
    assert_false(avro_plan_run(plan, bytes, tiny, &decoded, &err));
    assert_int_equal(err.fault, FAULT_RETRY);
    assert_string_equal(err.id, "out-of-memory");
    arena_free(tiny);
    tiny = arena_new(256 * 1024);
    while (arena_alloc(tiny, 4096))
        continue;
    while (arena_alloc(tiny, 16) && arena_used(tiny) < 256 * 1024 - 512)
        continue;
    assert_false(avro_plan_run(plan, bytes, tiny, &decoded, &err));
    assert_string_equal(err.id, "out-of-memory");
    arena_free(tiny);
}

/* ---- bytes that lie ---- */

static void refuses_bytes_left_over(void **state) {
    (void)state;
    writer_field("count", "'int'");
    put_number(&body, 1), put_byte(&body, 0);
    refuse("schema");
}

static void refuses_booleans_other_than_0_and_1(void **state) {
    (void)state;
    static const char *const names[] = {"flag", "extra"};
    for (size_t i = 0; i < 2; i++) {
        for (int byte = 2; byte < 256; byte++) {
            writer_field(names[i], "'boolean'");
            put_byte(&body, byte);
            refuse("schema");
        }
    }
}

static void refuses_an_enum_index_out_of_range(void **state) {
    (void)state;
    writer_field("extra", "{'type':'enum','name':'E','symbols':['A','B']}");
    static const int64_t indexes[] = {0, 1, 2, -1, INT32_MIN, INT32_MAX, INT64_C(1) << 32};
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        buffer_clear(&body);
        put_number(&body, indexes[i]);
        if (i < 2)
            accept();
        else
            refuse("schema");
    }
}

static void refuses_a_branch_out_of_range(void **state) {
    (void)state;
    static const int64_t branches[] = {2, -1, INT64_MIN, INT64_MAX, INT64_C(1) << 32};
    for (size_t i = 0; i < sizeof branches / sizeof branches[0]; i++) {
        writer_field("name", "['null','string']");
        put_number(&body, branches[i]), put_string(&body, "x");
        refuse("schema");
    }
}

static void refuses_lengths_that_lie(void **state) {
    (void)state;
    static const int64_t sizes[] = {2, 4, 1 << 30, -1, -2, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    static const char *const types[] = {"'string'", "'bytes'", "{'type':'map','values':'int'}"};
    for (size_t type = 0; type < 3; type++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            writer_field(type ? "extra" : "name", types[type]);
            if (type == 2)
                put_number(&body, 1);
            put_number(&body, sizes[i]), put_byte(&body, 'x');
            refuse("schema");
        }
    }
    writer_field("extra", "{'type':'fixed','name':'F','size':4294967297}");
    put_byte(&body, 'x');
    refuse("schema");
}

static void takes_int_limits_and_refuses_what_is_beyond(void **state) {
    (void)state;
    static const int64_t numbers[] = {
        INT32_MAX, INT32_MIN, INT64_C(2147483648), INT64_C(-2147483649), INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        writer_field("count", "'int'");
        put_number(&body, numbers[i]);
        if (i < 2) {
            accept();
            expect_integer(value(SLOT_COUNT_INT), numbers[i]);
        } else {
            refuse("schema");
        }
        writer_field("total", "'long'");
        put_number(&body, numbers[i]);
        accept();
        expect_integer(value(SLOT_TOTAL), numbers[i]);
    }
}

static void bounds_the_bytes_of_a_number(void **state) {
    (void)state;
    static const struct {
        const char *type, *bytes;
        size_t size;
        bool fits;
    } cases[] = {
        {"'int'", "\x82\x80\x80\x80\x00", 5, true},
        {"'int'", "\xff\xff\xff\xff\x0f", 5, true},
        {"'int'", "\xff\xff\xff\xff\x1f", 5, false},
        {"'int'", "\x82\x80\x80\x80\x80\x00", 6, false},
        {"'long'", "\x82\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, true},
        {"'long'", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, true},
        {"'long'", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x03", 10, false},
        {"'long'", "\x82\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        writer_field("total", cases[i].type);
        buffer_add(&body, cases[i].bytes, cases[i].size);
        if (cases[i].fits)
            accept();
        else
            refuse("schema");
    }
}

static void checks_the_size_that_a_block_says(void **state) {
    (void)state;
    static const int64_t sizes[] = {4, 3, 5, 0, -1, 100, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        writer_fields("{'name':'extra','type':{'type':'array','items':'string'}},"
                      "{'name':'name','type':'string'}");
        put_number(&body, -2), put_number(&body, sizes[i]);
        put_string(&body, "a"), put_string(&body, "b"), put_number(&body, 0);
        put_string(&body, "x");
        if (i == 0)
            accept();
        else
            refuse("schema");
    }
}

static void refuses_the_least_of_all_counts(void **state) {
    (void)state;
    writer_field("tags", "{'type':'array','items':'string'}");
    put_number(&body, INT64_MIN), put_number(&body, 2), put_string(&body, "x");
    put_number(&body, 0);
    refuse("too-long");
}

static void says_where_it_stopped(void **state) {
    (void)state;
    writer_fields("{'name':'name','type':'string'},{'name':'flag','type':'boolean'}");
    put_string(&body, "abc"), put_byte(&body, 7);
    refuse("schema");
    assert_non_null(strstr(err.message, "at byte 4 of 5: a boolean"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_kind_of_field),
        cmocka_unit_test(refuses_a_record_cut_at_any_byte),
        cmocka_unit_test(survives_every_mutation_of_every_byte),
        cmocka_unit_test(survives_random_bytes),
        cmocka_unit_test(points_into_the_message_instead_of_copying),
        cmocka_unit_test(gives_empty_texts_a_pointer),
        cmocka_unit_test(takes_fields_by_name_in_whatever_order),
        cmocka_unit_test(leaves_fields_absent_that_the_writer_lacks),
        cmocka_unit_test(skips_fields_that_only_the_writer_has),
        cmocka_unit_test(takes_a_field_by_its_alias),
        cmocka_unit_test(prefers_the_name_to_an_alias_and_the_first_alias_to_the_next),
        cmocka_unit_test(does_not_take_by_alias_what_another_field_takes_by_name),
        cmocka_unit_test(knows_the_record_by_its_aliases),
        cmocka_unit_test(takes_sub_records_of_any_name),
        cmocka_unit_test(opens_unions_of_any_shape),
        cmocka_unit_test(tells_null_from_absent),
        cmocka_unit_test(tells_the_three_states_of_a_nullable_text),
        cmocka_unit_test(takes_a_nullable_text_with_more_fields_and_other_unions),
        cmocka_unit_test(does_not_guess_a_nullable_text_without_its_value),
        cmocka_unit_test(promotes_int_to_long_and_bytes_to_string),
        cmocka_unit_test(marks_types_that_do_not_fit_and_reads_their_neighbours),
        cmocka_unit_test(judges_a_union_by_the_branch_that_was_sent),
        cmocka_unit_test(marks_a_list_with_an_item_of_another_type),
        cmocka_unit_test(opens_a_union_at_the_top_by_the_full_name),
        cmocka_unit_test(refuses_records_that_nobody_reads),
        cmocka_unit_test(refuses_schemas_that_contain_themselves),
        cmocka_unit_test(takes_sixteen_levels_and_refuses_seventeen),
        cmocka_unit_test(refuses_schemas_that_grow_without_end),
        cmocka_unit_test(refuses_what_is_no_schema),
        cmocka_unit_test(keeps_a_text_over_its_limit_and_says_so),
        cmocka_unit_test(says_so_of_a_list_with_a_text_over_its_limit),
        cmocka_unit_test(skips_long_texts_that_nobody_takes),
        cmocka_unit_test(refuses_a_message_over_its_limit),
        cmocka_unit_test(takes_1024_items_and_refuses_one_more),
        cmocka_unit_test(counts_items_over_all_blocks),
        cmocka_unit_test(bounds_items_that_have_no_bytes),
        cmocka_unit_test(refuses_a_list_when_the_arena_is_full),
        cmocka_unit_test(refuses_bytes_left_over),
        cmocka_unit_test(refuses_booleans_other_than_0_and_1),
        cmocka_unit_test(refuses_an_enum_index_out_of_range),
        cmocka_unit_test(refuses_a_branch_out_of_range),
        cmocka_unit_test(refuses_lengths_that_lie),
        cmocka_unit_test(takes_int_limits_and_refuses_what_is_beyond),
        cmocka_unit_test(bounds_the_bytes_of_a_number),
        cmocka_unit_test(checks_the_size_that_a_block_says),
        cmocka_unit_test(refuses_the_least_of_all_counts),
        cmocka_unit_test(says_where_it_stopped),
    };
    return cmocka_run_group_tests_name("avro_plan", tests, set_up, tear_down);
}
