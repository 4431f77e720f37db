/* How many commands the next batch has room for, by how long the last ones held their locks. */
#include "worker/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MOST = 500, AIM_US = 40000 };

static struct batch batch_of(int64_t aim_us) {
    return (struct batch){.max_part = MOST, .limit = MOST, .aim_us = aim_us};
}

/* Full batches, of which each command takes so long. */
static size_t settle(struct batch *batch, int64_t each_us, int64_t fixed_us) {
    for (int i = 0; i < 50; i++)
        batch_fit(batch, batch->limit, fixed_us + (int64_t)batch->limit * each_us);
    return batch->limit;
}

static void is_as_large_as_the_aim_allows(void **state) {
    (void)state;
    struct batch batch = batch_of(AIM_US);
    assert_int_equal(settle(&batch, 10, 0), MOST);
    size_t slow = settle(&batch, 200, 0);
    assert_in_range(slow, AIM_US / 200 - 4, AIM_US / 200 + 4);
    assert_in_range(settle(&batch, 10, 0), MOST - 4, MOST);
}

static void never_gets_so_small_that_nothing_is_done(void **state) {
    (void)state;
    struct batch batch = batch_of(AIM_US);
    size_t least = settle(&batch, 1, 10 * AIM_US);
    assert_int_equal(least, 100);
    batch.max_part = batch.limit = 7;
    assert_int_equal(settle(&batch, 1, 10 * AIM_US), 7);
}

static void takes_what_a_few_commands_took_for_no_promise(void **state) {
    (void)state;
    struct batch batch = batch_of(AIM_US);
    size_t slow = settle(&batch, 200, 0);
    batch_fit(&batch, 3, 60);
    assert_int_equal(batch.limit, slow);
    batch_fit(&batch, 3, AIM_US * 2);
    assert_true(batch.limit < slow);
}

static void takes_any_time_where_nobody_waits(void **state) {
    (void)state;
    struct batch batch = batch_of(0);
    assert_int_equal(settle(&batch, 1000, AIM_US), MOST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_as_large_as_the_aim_allows),
        cmocka_unit_test(never_gets_so_small_that_nothing_is_done),
        cmocka_unit_test(takes_what_a_few_commands_took_for_no_promise),
        cmocka_unit_test(takes_any_time_where_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
