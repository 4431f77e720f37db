/* Canonical forms and fingerprints: the Avro project's own cases, our schemas by another
 * implementation, and the corners between. */
#include "common/avro_schema.h"

#include "common/embedded.h"

#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect_form(const char *input, const char *canonical) {
    struct buffer form = {0};
    struct error err;
    assert_true(avro_canonical_form(slice_of(input), &form, &err));
    assert_int_equal(form.size, strlen(canonical));
    assert_memory_equal(form.data, canonical, form.size);
    buffer_free(&form);
}

static void expect_refused(const char *input) {
    struct buffer form = {0};
    struct error err = {0};
    assert_false(avro_canonical_form(slice_of(input), &form, &err));
    assert_int_equal(err.fault, FAULT_CONFIG);
    assert_string_equal(err.id, "schema");
    buffer_free(&form);
}

static void agrees_with_the_published_cases(void **state) {
    (void)state;
    json_t *file = json_load_file(SOURCE_DIR "/tests/unit/data/avro-canonical-forms.json", 0, NULL);
    const json_t *cases = json_object_get(file, "cases");
    assert_int_equal(json_array_size(cases), 34);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *row = json_array_get(cases, i);
        const char *input = json_string_value(json_object_get(row, "input"));
        const json_t *expected = json_object_get(row, "fingerprint");
        expect_form(input, json_string_value(json_object_get(row, "canonical")));
        uint64_t fingerprint;
        assert_true(avro_fingerprint(slice_of(input), &fingerprint, NULL));
        if (!json_is_null(expected))
            assert_true((int64_t)fingerprint == json_integer_value(expected));
    }
    json_decref(file);
}

static uint64_t embedded_fingerprint(const char *name) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        uint64_t fingerprint;
        if (strcmp(file->name, name))
            continue;
        assert_true(avro_fingerprint(slice_of(file->text), &fingerprint, NULL));
        return fingerprint;
    }
    fail_msg("no embedded schema is called %s", name);
    return 0;
}

static void agrees_with_fastavro_on_every_schema_of_ours(void **state) {
    (void)state;
    FILE *file = fopen(SOURCE_DIR "/tests/unit/data/our-fingerprints.txt", "r");
    assert_non_null(file);
    char line[256];
    size_t count = 0;
    while (fgets(line, sizeof line, file)) {
        char name[128];
        uint64_t expected;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%127s %" SCNx64, name, &expected), 2);
        assert_true(embedded_fingerprint(name) == expected);
        count++;
    }
    fclose(file);
    assert_int_equal(count, embedded_schemas_count);
}

static void computes_the_published_crc_of_nothing(void **state) {
    (void)state;
    assert_true(avro_crc64(SLICE_LITERAL("")) == 0xc15d213aa4d7a795);
}

static void gives_names_the_namespace_around_them(void **state) {
    (void)state;
    expect_form(
        "{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"x\",\"fields\":["
        "{\"name\":\"b\",\"type\":{\"type\":\"enum\",\"name\":\"B\",\"symbols\":[\"S\"]}},"
        "{\"name\":\"c\",\"type\":[\"null\",\"B\"]}]}",
        "{\"name\":\"x.A\",\"type\":\"record\",\"fields\":["
        "{\"name\":\"b\",\"type\":{\"name\":\"x.B\",\"type\":\"enum\",\"symbols\":[\"S\"]}},"
        "{\"name\":\"c\",\"type\":[\"null\",\"x.B\"]}]}");
}

static void takes_the_namespace_from_a_full_name_before_its_own_member(void **state) {
    (void)state;
    expect_form("{\"type\":\"record\",\"name\":\"p.q.A\",\"namespace\":\"x\",\"fields\":["
                "{\"name\":\"b\",\"type\":{\"type\":\"fixed\",\"name\":\"B\",\"size\":1}}]}",
                "{\"name\":\"p.q.A\",\"type\":\"record\",\"fields\":["
                "{\"name\":\"b\",\"type\":{\"name\":\"p.q.B\",\"type\":\"fixed\",\"size\":1}}]}");
}

static void leaves_names_alone_in_the_empty_namespace(void **state) {
    (void)state;
    expect_form("{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"\",\"fields\":["
                "{\"name\":\"b\",\"type\":[\"null\",\"A\"]}]}",
                "{\"name\":\"A\",\"type\":\"record\",\"fields\":["
                "{\"name\":\"b\",\"type\":[\"null\",\"A\"]}]}");
}

static void drops_everything_that_does_not_change_the_bytes(void **state) {
    (void)state;
    expect_form("{\"type\":\"record\",\"name\":\"A\",\"doc\":\"d\",\"aliases\":[\"Z\"],\"extra\":1,"
                "\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"long\",\"logicalType\":"
                "\"timestamp-micros\"},\"default\":0,\"order\":\"ignore\"}]}",
                "{\"name\":\"A\",\"type\":\"record\",\"fields\":["
                "{\"name\":\"a\",\"type\":\"long\"}]}");
}

static void unwraps_a_type_that_stands_in_a_needless_object(void **state) {
    (void)state;
    expect_form("{\"type\":{\"type\":[\"null\",{\"type\":{\"type\":\"int\"}}]}}",
                "[\"null\",\"int\"]");
}

static void reads_a_quoted_size_with_leading_zeros(void **state) {
    (void)state;
    expect_form("{\"type\":\"fixed\",\"name\":\"F\",\"size\":\"015\"}",
                "{\"name\":\"F\",\"type\":\"fixed\",\"size\":15}");
}

static void writes_strings_without_needless_escapes(void **state) {
    (void)state;
    expect_form(
        "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"\\u00e4\",\"\\/\",\"\\\"\",\"\\n\"]}",
        "{\"name\":\"E\",\"type\":\"enum\",\"symbols\":"
        "[\"\xc3\xa4\",\"/\",\"\\\"\",\"\\u000a\"]}");
}

static void refuses_what_is_no_schema(void **state) {
    (void)state;
    static const char *const refused[] = {
        "",
        "{",
        "1",
        "null",
        "[1]",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"record\",\"name\":\"A\"}",
        "{\"type\":\"record\",\"fields\":[]}",
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[1]}",
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"a\"}]}",
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"type\":\"int\"}]}",
        "{\"type\":\"enum\",\"name\":\"A\"}",
        "{\"type\":\"enum\",\"name\":\"A\",\"symbols\":[1]}",
        "{\"type\":\"fixed\",\"name\":\"A\"}",
        "{\"type\":\"fixed\",\"name\":\"A\",\"size\":-1}",
        "{\"type\":\"fixed\",\"name\":\"A\",\"size\":\"1x\"}",
        "{\"type\":\"fixed\",\"name\":\"A\",\"size\":\"\"}",
        "{\"type\":\"array\"}",
        "{\"type\":\"map\"}",
        "\"int\" \"int\"",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        expect_refused(refused[i]);
}

static void refuses_a_schema_nested_without_end(void **state) {
    (void)state;
    struct buffer text = {0};
    for (int i = 0; i < 1000; i++)
        buffer_add_text(&text, "{\"type\":\"array\",\"items\":");
    buffer_add_text(&text, "\"int\"");
    for (int i = 0; i < 1000; i++)
        buffer_add_text(&text, "}");
    buffer_add(&text, "", 1);
    expect_refused(text.data);
    buffer_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_published_cases),
        cmocka_unit_test(agrees_with_fastavro_on_every_schema_of_ours),
        cmocka_unit_test(computes_the_published_crc_of_nothing),
        cmocka_unit_test(gives_names_the_namespace_around_them),
        cmocka_unit_test(takes_the_namespace_from_a_full_name_before_its_own_member),
        cmocka_unit_test(leaves_names_alone_in_the_empty_namespace),
        cmocka_unit_test(drops_everything_that_does_not_change_the_bytes),
        cmocka_unit_test(unwraps_a_type_that_stands_in_a_needless_object),
        cmocka_unit_test(reads_a_quoted_size_with_leading_zeros),
        cmocka_unit_test(writes_strings_without_needless_escapes),
        cmocka_unit_test(refuses_what_is_no_schema),
        cmocka_unit_test(refuses_a_schema_nested_without_end),
    };
    return cmocka_run_group_tests_name("avro_schema", tests, NULL, NULL);
}
