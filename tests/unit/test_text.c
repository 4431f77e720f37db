/* Texts, numbers and ids as they come from strangers. */
#include "common/digest.h"
#include "common/e164.h"
#include "common/text.h"
#include "common/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void accepts_the_numbers_of_the_guide(void **state) {
    (void)state;
    static const struct {
        const char *sent, *canonical;
    } rows[] = {
        {"+31500000000", "+31500000000"},
        {"+4921100000000", "+4921100000000"},
        {"+17864087525", "+17864087525"},
        {"004921141873130", "+4921141873130"},
        {"+12", "+12"},
        {"+123456789012345", "+123456789012345"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct e164 number;
        assert_null(e164_parse(slice_of(rows[i].sent), &number));
        assert_string_equal(number.text, rows[i].canonical);
        assert_int_equal(number.size, strlen(rows[i].canonical));
        assert_int_equal(number.converted_from_00, rows[i].sent[0] == '0');
    }
}

static void refuses_what_is_no_number(void **state) {
    (void)state;
    static const char *const rows[] = {
        "",      "+",     "00",   "+1",  "31500000000", " 31500000000",      "+0123456789",
        "000",   "+31 5", "+31-", "++1", "+3150,+3151", "+4930123456789012", "+\xd9\xa1\xd9\xa2",
        "0031a",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct e164 number = {.size = 99};
        assert_non_null(e164_parse(slice_of(rows[i]), &number));
        assert_int_equal(number.size, 99);
    }
}

static void tells_clean_text_from_the_rest(void **state) {
    (void)state;
    static const char *const clean[] = {
        "", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x93\x9e", "\xc2\xa0"};
    static const char *const dirty[] = {"\x01",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xc2\x9f",
                                        "\xc0\x80",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xe2\x82",
                                        "\x80",
                                        "\xff",
                                        "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof clean / sizeof clean[0]; i++)
        assert_true(text_is_clean(slice_of(clean[i])));
    for (size_t i = 0; i < sizeof dirty / sizeof dirty[0]; i++)
        assert_false(text_is_clean(slice_of(dirty[i])));
    assert_false(text_is_clean((struct slice){.data = "a\0b", .size = 3}));
}

static void cuts_only_between_code_points(void **state) {
    (void)state;
    struct slice text = slice_of("a\xe2\x82\xac"
                                 "b");
    assert_int_equal(text_length(text), 3);
    assert_int_equal(text_cut(text, 3).size, 1);
    assert_int_equal(text_cut(text, 4).size, 4);
    assert_int_equal(text_cut(text, 9).size, 5);
}

static void reads_ids_in_any_case_and_prints_lower_case(void **state) {
    (void)state;
    struct uuid uuid;
    char text[UUID_TEXT_SIZE + 1];
    assert_true(uuid_parse(slice_of("013DC5C1-FF09-4ece-ad3a-7f8f60949407"), &uuid));
    uuid_format(&uuid, text);
    assert_string_equal(text, "013dc5c1-ff09-4ece-ad3a-7f8f60949407");
    static const char *const bad[] = {
        "", "013dc5c1ff094ecead3a7f8f60949407", "{013dc5c1-ff09-4ece-ad3a-7f8f60949407}",
        "013dc5c1-ff09-4ece-ad3a-7f8f6094940g", "013dc5c1-ff09-4ece-ad3a7-f8f60949407"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(uuid_parse(slice_of(bad[i]), &uuid));
}

/* Python: uuid.uuid5(uuid.NAMESPACE_URL, "http://example.com/"); hashlib and hmac for the digests.
 */
static void names_and_digests_agree_with_another_implementation(void **state) {
    (void)state;
    struct error err = {0};
    struct digests *digests = digests_new(&err);
    assert_non_null(digests);
    char text[UUID_TEXT_SIZE + 1];
    struct uuid uuid = uuid_v5(digests, &uuid_namespace_url, slice_of("http://example.com/"));
    uuid_format(&uuid, text);
    assert_string_equal(text, "0a300ee9-f9e4-5697-a51a-efc7fafaba67");
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
    uint8_t sha256[SHA256_SIZE], mac[MAC_SIZE];
    digest_sha256(digests, slice_of("a"), slice_of("bc"), sha256);
    assert_memory_equal(sha256, abc, sizeof abc);
    /* RFC 4231, test case 2 */
    static const uint8_t jefe[4] = {0x5b, 0xdc, 0xc1, 0x46};
    assert_true(digests_add_mac_key(digests, "now", slice_of("Jefe"), &err));
    assert_true(digests_add_mac_key(digests, "once", slice_of("another"), &err));
    assert_true(slice_is(digests_mac_key_id(digests), "now"));
    struct slice data = SLICE_LITERAL("what do ya want for nothing?");
    for (int i = 0; i < 2; i++) {
        assert_true(digest_mac(digests, slice_of("now"), data, mac));
        assert_memory_equal(mac, jefe, sizeof jefe);
        assert_true(digest_mac(digests, slice_of("once"), data, mac));
        assert_memory_not_equal(mac, jefe, sizeof jefe);
    }
    assert_false(digest_mac(digests, slice_of("never"), data, mac));
    digests_forget_mac_keys(digests);
    assert_false(digest_mac(digests, slice_of("now"), data, mac));
    digests_free(digests);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_numbers_of_the_guide),
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(tells_clean_text_from_the_rest),
        cmocka_unit_test(cuts_only_between_code_points),
        cmocka_unit_test(reads_ids_in_any_case_and_prints_lower_case),
        cmocka_unit_test(names_and_digests_agree_with_another_implementation),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
