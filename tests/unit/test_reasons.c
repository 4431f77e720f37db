/* The catalogue in C and the one in JSON say the same, both ways. */
#include "common/reasons.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static json_t *catalogue;

static int load_catalogue(void **state) {
    (void)state;
    json_error_t why;
    catalogue = json_load_file(SOURCE_DIR "/schemas/errors.json", JSON_REJECT_DUPLICATES, &why);
    return catalogue ? 0 : -1;
}

static int free_catalogue(void **state) {
    (void)state;
    json_decref(catalogue);
    return 0;
}

static const char *text(const json_t *row, const char *member) {
    const char *value = json_string_value(json_object_get(row, member));
    assert_non_null(value);
    return value;
}

static void holds_every_error_of_the_catalogue_in_its_order(void **state) {
    (void)state;
    const json_t *rows = json_object_get(catalogue, "errors");
    assert_int_equal(json_array_size(rows), REASON_COUNT - 1);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const struct reason_info *info = reason_info((enum reason)(i + 1));
        assert_string_equal(info->name, text(row, "reason"));
        assert_string_equal(info->identifier, text(row, "identifier"));
        assert_string_equal(info->urn, text(row, "urn"));
        assert_string_equal(info->message, text(row, "message"));
        assert_int_equal(info->status_code,
                         json_integer_value(json_object_get(row, "status_code")));
    }
}

static void holds_every_warning_of_the_catalogue_in_its_order(void **state) {
    (void)state;
    const json_t *rows = json_object_get(catalogue, "warnings");
    assert_int_equal(json_array_size(rows), WARNING_COUNT);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const struct warning_info *info = warning_info((enum warning_code)i);
        assert_string_equal(info->name, text(row, "code"));
        assert_string_equal(info->message, text(row, "message"));
    }
}

static bool one_of(const char *value, const char *const *choices) {
    for (; *choices; choices++) {
        if (!strcmp(value, *choices))
            return true;
    }
    return false;
}

static void classifies_every_error(void **state) {
    (void)state;
    static const char *const retries[] = {"N", "C", "T", NULL};
    static const char *const producers[] = {"worker", "ctl", "reserved", NULL};
    const json_t *rows = json_object_get(catalogue, "errors");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        assert_true(one_of(text(row, "retry"), retries));
        assert_true(one_of(text(row, "produced_by"), producers));
        assert_true(strlen(text(row, "when")) > 0);
        assert_int_equal(json_object_size(row), 8);
    }
}

static void makes_each_urn_of_identifier_and_name(void **state) {
    (void)state;
    for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        const struct reason_info *info = reason_info((enum reason)reason);
        size_t prefix = strlen(info->identifier);
        assert_memory_equal(info->urn, info->identifier, prefix);
        assert_int_equal(info->urn[prefix], ':');
        assert_string_equal(info->urn + prefix + 1, info->name);
    }
}

static void finds_each_reason_by_its_name(void **state) {
    (void)state;
    for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
        assert_int_equal(reason_by_name(reason_info((enum reason)reason)->name), reason);
    assert_int_equal(reason_by_name("no-such-reason"), REASON_NONE);
    assert_int_equal(reason_by_name(""), REASON_NONE);
    assert_null(reason_info(REASON_NONE));
}

static void keeps_the_four_pairs_of_the_guide_byte_for_byte(void **state) {
    (void)state;
    static const struct {
        enum reason reason;
        const char *identifier, *message;
    } pairs[] = {
        {REASON_PROXY_NOT_FOUND, "urn:error:sip-trunk:operator", "Proxy not found"},
        {REASON_PROXY_NOT_GRANTED, "urn:error:sip-trunk:insufficient-rights", "Proxy not found"},
        {REASON_CHANNEL_NOT_FOUND, "urn:error:sip-trunk:operator", "Channel name does not exist"},
        {REASON_NUMBER_TYPE_NOT_SET, "urn:error:sip-trunk:operator",
         "Channel Number selected does not have Number type"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_string_equal(reason_info(pairs[i].reason)->identifier, pairs[i].identifier);
        assert_string_equal(reason_info(pairs[i].reason)->message, pairs[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_every_error_of_the_catalogue_in_its_order),
        cmocka_unit_test(holds_every_warning_of_the_catalogue_in_its_order),
        cmocka_unit_test(classifies_every_error),
        cmocka_unit_test(makes_each_urn_of_identifier_and_name),
        cmocka_unit_test(finds_each_reason_by_its_name),
        cmocka_unit_test(keeps_the_four_pairs_of_the_guide_byte_for_byte),
    };
    return cmocka_run_group_tests_name("reasons", tests, load_catalogue, free_catalogue);
}
