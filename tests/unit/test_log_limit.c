/* How many lines of one event a second has room for, and what becomes of the others. */
#include "common/log_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int pass_times(struct log_limit *limit, int times, int64_t now_ms) {
    int passed = 0;
    for (int i = 0; i < times; i++)
        passed += log_limit_pass(limit, now_ms);
    return passed;
}

static void lets_some_lines_a_second_pass(void **state) {
    (void)state;
    struct log_limit limit = {0};
    assert_int_equal(pass_times(&limit, 100, 5000), LOG_LIMIT_LINES);
    assert_int_equal(pass_times(&limit, 100, 5999), 0);
    assert_int_equal(pass_times(&limit, 100, 6000), LOG_LIMIT_LINES);
}

static void tells_what_was_left_out_once_the_second_is_over(void **state) {
    (void)state;
    struct log_limit limit = {0};
    pass_times(&limit, LOG_LIMIT_LINES + 7, 5000);
    assert_int_equal(log_limit_left_out(&limit, 5999), 0);
    assert_int_equal(log_limit_left_out(&limit, 6000), 7);
    assert_int_equal(log_limit_left_out(&limit, 6001), 0);
}

static void forgets_nothing_in_a_flood_of_several_seconds(void **state) {
    (void)state;
    struct log_limit limit = {0};
    int64_t passed = 0, told = 0;
    for (int64_t now_ms = 1000; now_ms < 9000; now_ms += 10) {
        told += log_limit_left_out(&limit, now_ms);
        passed += pass_times(&limit, 3, now_ms);
    }
    told += log_limit_left_out(&limit, 20000);
    assert_int_equal(passed, 8 * LOG_LIMIT_LINES);
    assert_int_equal(passed + told, 3 * 800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_some_lines_a_second_pass),
        cmocka_unit_test(tells_what_was_left_out_once_the_second_is_over),
        cmocka_unit_test(forgets_nothing_in_a_flood_of_several_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
