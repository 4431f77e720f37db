/* Single-object framing, taken off and put on. */
#include "common/framing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct slice bytes(const char *data, size_t size) {
    return (struct slice){.data = data, .size = size};
}

static void reads_the_fingerprint_little_endian_and_points_at_the_body(void **state) {
    (void)state;
    static const char message[] = "\xc3\x01\x08\x07\x06\x05\x04\x03\x02\x81"
                                  "body";
    uint64_t fingerprint;
    struct slice body;
    assert_true(framing_parse(bytes(message, 14), &fingerprint, &body, NULL));
    assert_true(fingerprint == 0x8102030405060708);
    assert_ptr_equal(body.data, message + 10);
    assert_int_equal(body.size, 4);
}

static void takes_a_message_with_an_empty_body(void **state) {
    (void)state;
    uint64_t fingerprint;
    struct slice body;
    assert_true(framing_parse(bytes("\xc3\x01\0\0\0\0\0\0\0\0", 10), &fingerprint, &body, NULL));
    assert_true(fingerprint == 0);
    assert_non_null(body.data);
    assert_int_equal(body.size, 0);
}

static void refuses_every_message_that_is_too_short(void **state) {
    (void)state;
    static const char message[] = "\xc3\x01\x08\x07\x06\x05\x04\x03\x02";
    for (size_t size = 0; size < FRAMING_SIZE; size++) {
        struct error err = {0};
        uint64_t fingerprint = 1;
        struct slice body = SLICE_NONE;
        assert_false(framing_parse(bytes(size ? message : NULL, size), &fingerprint, &body, &err));
        assert_int_equal(err.fault, FAULT_INPUT);
        assert_string_equal(err.id, "schema");
        assert_true(fingerprint == 1);
    }
}

static void refuses_another_marker(void **state) {
    (void)state;
    static const char *const messages[] = {"\x00\x00\x00\x00\x07xxxxxxxx", "\xc3\x02xxxxxxxxxx",
                                           "\x01\xc3xxxxxxxxxx", "{\"type\":\"x\"}"};
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        struct error err = {0};
        uint64_t fingerprint;
        struct slice body;
        assert_false(framing_parse(bytes(messages[i], 12), &fingerprint, &body, &err));
        assert_string_equal(err.id, "schema");
    }
}

static void writes_what_it_reads(void **state) {
    (void)state;
    static const uint64_t fingerprints[] = {0, 1, 0x8102030405060708, UINT64_MAX};
    for (size_t i = 0; i < sizeof fingerprints / sizeof fingerprints[0]; i++) {
        char head[FRAMING_SIZE];
        uint64_t fingerprint;
        struct slice body;
        framing_write(fingerprints[i], head);
        assert_true(framing_parse(bytes(head, sizeof head), &fingerprint, &body, NULL));
        assert_true(fingerprint == fingerprints[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_fingerprint_little_endian_and_points_at_the_body),
        cmocka_unit_test(takes_a_message_with_an_empty_body),
        cmocka_unit_test(refuses_every_message_that_is_too_short),
        cmocka_unit_test(refuses_another_marker),
        cmocka_unit_test(writes_what_it_reads),
    };
    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}
