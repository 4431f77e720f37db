/* What the tool remembers while it reads: numbers of a sequence, ids in a table. Beside a model
 * that is too slow to be wrong. */
#include "ctl/sequences.h"
#include "ctl/uuid_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct uuid id_of(uint64_t high, uint64_t low) {
    struct uuid id;
    for (int i = 0; i < 8; i++) {
        id.bytes[i] = (uint8_t)(high >> (56 - 8 * i));
        id.bytes[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return id;
}

/* ---- sequences ---- */

struct told {
    char text[512];
};

static void tell(void *context, const struct uuid *account, int64_t from, int64_t to) {
    struct told *told = context;
    size_t size = strlen(told->text);
    snprintf(told->text + size, sizeof told->text - size, "%d:%lld-%lld ", account->bytes[15],
             (long long)from, (long long)to);
}

/* What is reported of gaps noticed at that time or before. */
static const char *report(struct sequences *sequences, int64_t noticed_ms, struct told *told) {
    told->text[0] = '\0';
    size_t count = sequences_report(sequences, noticed_ms, tell, told);
    size_t blanks = 0;
    for (const char *c = told->text; *c; c++)
        blanks += *c == ' ';
    assert_int_equal(count, blanks);
    return told->text;
}

static void see(struct sequences *sequences, uint64_t account, int64_t number, int64_t now_ms) {
    struct uuid id = id_of(0, account);
    assert_true(sequences_see(sequences, &id, number, now_ms));
}

static void tells_each_gap_once(void **state) {
    (void)state;
    static const struct {
        int64_t numbers[8]; /* in the order in which they come; 0 ends them */
        const char *told;
    } rows[] = {
        {{1, 2, 3}, ""},
        {{7, 8}, ""},
        {{1, 3}, "1:2-2 "},
        {{1, 9}, "1:2-8 "},
        {{9, 1}, "1:2-8 "},
        {{1, 1, 3, 3}, "1:2-2 "},
        {{1, 3, 2}, ""},
        {{3, 2, 1}, ""},
        {{1, 5, 3}, "1:2-2 1:4-4 "},
        {{1, 5, 4}, "1:2-3 "},
        {{1, 5, 2}, "1:3-4 "},
        {{5, 1, 3, 2, 4}, ""},
        {{2, 4, 6, 8, 1}, "1:3-3 1:5-5 1:7-7 "},
        {{2, 4, 6, 8, 5, 3}, "1:7-7 "},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sequences *sequences = sequences_new();
        struct told told;
        for (size_t k = 0; rows[i].numbers[k]; k++)
            see(sequences, 1, rows[i].numbers[k], 0);
        assert_string_equal(report(sequences, 0, &told), rows[i].told);
        assert_string_equal(report(sequences, 0, &told), "");
        sequences_free(sequences);
    }
}

static void the_greatest_number_is_one_like_others(void **state) {
    (void)state;
    struct sequences *sequences = sequences_new();
    struct told told;
    see(sequences, 1, INT64_MAX, 0);
    see(sequences, 1, 1, 0);
    see(sequences, 1, INT64_MAX - 1, 0);
    see(sequences, 1, INT64_MAX, 0);
    assert_string_equal(report(sequences, 0, &told), "1:2-9223372036854775805 ");
    sequences_free(sequences);
}

static void accounts_have_sequences_of_their_own(void **state) {
    (void)state;
    struct sequences *sequences = sequences_new();
    struct told told;
    see(sequences, 1, 1, 0);
    see(sequences, 2, 2, 0);
    see(sequences, 1, 3, 0);
    see(sequences, 2, 4, 0);
    assert_string_equal(report(sequences, 0, &told), "1:2-2 2:3-3 ");
    sequences_free(sequences);
}

static void a_gap_has_the_age_of_what_showed_it(void **state) {
    (void)state;
    struct sequences *sequences = sequences_new();
    struct told told;
    see(sequences, 1, 1, 100);
    see(sequences, 1, 10, 200);
    assert_string_equal(report(sequences, 199, &told), "");
    see(sequences, 1, 5, 300); /* splits it: both parts are as old */
    see(sequences, 1, 20, 400);
    assert_string_equal(report(sequences, 200, &told), "1:2-4 1:6-9 ");
    assert_string_equal(report(sequences, 399, &told), "");
    assert_string_equal(report(sequences, 400, &told), "1:11-19 ");
    see(sequences, 1, 15, 500); /* of a gap that was told, nothing is told again */
    assert_string_equal(report(sequences, 500, &told), "");
    sequences_free(sequences);
}

enum { NUMBERS = 60 };

/* All gaps between the first and the last number seen. */
static void expect(const bool *seen, struct told *told) {
    int64_t before = 0;
    struct uuid id = id_of(0, 1);
    told->text[0] = '\0';
    for (int64_t number = 1; number <= NUMBERS; number++) {
        if (!seen[number])
            continue;
        if (before && before + 1 < number)
            tell(told, &id, before + 1, number - 1);
        before = number;
    }
}

static void agrees_with_a_simple_model(void **state) {
    (void)state;
    srand(1);
    for (int round = 0; round < 2000; round++) {
        struct sequences *sequences = sequences_new();
        bool seen[NUMBERS + 1] = {false};
        struct told told, expected;
        for (int count = rand() % (2 * NUMBERS); count > 0; count--) {
            int number = 1 + rand() % NUMBERS;
            seen[number] = true;
            see(sequences, 1, number, count);
        }
        expect(seen, &expected);
        assert_string_equal(report(sequences, INT64_MAX, &told), expected.text);
        sequences_free(sequences);
    }
}

/* ---- the table of ids ---- */

static void finds_what_was_put_in(void **state) {
    (void)state;
    struct uuid_map map = {0};
    struct uuid none = id_of(7, 7);
    assert_null(uuid_map_find(&map, &none));
    for (uint64_t i = 0; i < 5000; i++) {
        bool is_new = false;
        struct uuid id = id_of(i % 7, i);
        uint32_t *value = uuid_map_put(&map, &id, &is_new);
        assert_true(is_new);
        assert_int_equal(*value, 0);
        *value = (uint32_t)i;
    }
    for (uint64_t i = 0; i < 5000; i++) {
        bool is_new = true;
        struct uuid id = id_of(i % 7, i);
        assert_int_equal(*uuid_map_find(&map, &id), i);
        assert_int_equal(*uuid_map_put(&map, &id, &is_new), i);
        assert_false(is_new);
    }
    struct uuid other = id_of(100, 1);
    assert_null(uuid_map_find(&map, &other));
    assert_int_equal(map.count, 5000);
    uuid_map_free(&map);
}

/* Ids that differ in few bits: with the bytes themselves as the hash each of these would be looked
 * for along a chain of all others, and this test would not end. */
static void ids_that_count_up_do_not_collide(void **state) {
    (void)state;
    for (int shift = 0; shift < 48; shift += 8) {
        struct uuid_map low = {0}, high = {0};
        for (uint64_t i = 0; i < 200000; i++) {
            struct uuid a = id_of(0x0123456789ab4cdeU, i << shift), b = id_of(i << shift, 1);
            assert_non_null(uuid_map_put(&low, &a, NULL));
            assert_non_null(uuid_map_put(&high, &b, NULL));
        }
        uuid_map_free(&low);
        uuid_map_free(&high);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_gap_once),
        cmocka_unit_test(the_greatest_number_is_one_like_others),
        cmocka_unit_test(accounts_have_sequences_of_their_own),
        cmocka_unit_test(a_gap_has_the_age_of_what_showed_it),
        cmocka_unit_test(agrees_with_a_simple_model),
        cmocka_unit_test(finds_what_was_put_in),
        cmocka_unit_test(ids_that_count_up_do_not_collide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
