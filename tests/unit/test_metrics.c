/* The text of the metrics, line by line, and what counts as alive and as ready. No thread, no
 * server, but for the one test of writing while somebody reads. */
#include "common/stop.h"
#include "worker/health.h"
#include "worker/metrics_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct scene {
    struct metrics_registry *registry;
    struct metrics *interactive, *bulk;
    struct buffer text;
};

static int set_up(void **state) {
    static struct scene scene;
    struct error err;
    scene = (struct scene){.registry = metrics_registry_new(3, &err)};
    if (!scene.registry)
        return -1;
    scene.interactive = metrics_thread(scene.registry, LANE_INTERACTIVE, "i-0", &err);
    scene.bulk = metrics_thread(scene.registry, LANE_BULK, "b-0", &err);
    *state = &scene;
    return scene.interactive && scene.bulk ? 0 : -1;
}

static int tear_down(void **state) {
    struct scene *scene = *state;
    metrics_registry_free(scene->registry);
    buffer_free(&scene->text);
    return 0;
}

/* The text of now, NUL-terminated. */
static const char *scrape(struct scene *scene) {
    buffer_clear(&scene->text);
    metrics_text(scene->registry, monotonic_ms(), &scene->text);
    buffer_add(&scene->text, "", 1);
    assert_false(scene->text.failed);
    return scene->text.data;
}

static void assert_has(const char *text, const char *line) {
    char whole[512];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(text, whole))
        fail_msg("no line %s in\n%s", line, text);
}

static void assert_lacks(const char *text, const char *part) {
    if (strstr(text, part))
        fail_msg("there is %s in\n%s", part, text);
}

/* ---- the text ---- */

static void begins_each_family_with_help_and_type(void **state) {
    const char *text = scrape(*state);
    assert_memory_equal(text, "# HELP siptrunk_commands_total Commands answered,", 49);
    assert_has(text, "# TYPE siptrunk_commands_total counter");
    assert_has(text, "# TYPE siptrunk_stage_duration_seconds histogram");
    assert_has(text, "# TYPE siptrunk_consumer_lag_messages gauge");
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void has_every_reason_at_zero_before_anything_happens(void **state) {
    const char *text = scrape(*state);
    for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        char line[200];
        snprintf(line, sizeof line, "siptrunk_errors_total{lane=\"bulk\",reason=\"%s\"} 0",
                 reason_info((enum reason)reason)->name);
        assert_has(text, line);
    }
    assert_has(text, "siptrunk_dead_letters_total{lane=\"interactive\",reason=\"schema\"} 0");
    assert_has(text, "siptrunk_replies_left_out_total{lane=\"bulk\",problem=\"too-large\"} 0");
    assert_lacks(text, "reason=\"\"");
    assert_lacks(text, "problem=\"\"");
}

static void sums_the_threads_of_a_lane(void **state) {
    struct scene *scene = *state;
    struct error err;
    struct metrics *second = metrics_thread(scene->registry, LANE_BULK, "b-1", &err);
    assert_non_null(second);
    metrics_add(scene->bulk, METRIC_TOMBSTONES, 0, 3);
    metrics_add(second, METRIC_TOMBSTONES, 0, 4);
    metrics_add(scene->interactive, METRIC_TOMBSTONES, 0, 50);
    const char *text = scrape(scene);
    assert_has(text, "siptrunk_tombstones_total{lane=\"bulk\"} 7");
    assert_has(text, "siptrunk_tombstones_total{lane=\"interactive\"} 50");
    assert_has(text, "siptrunk_threads{lane=\"bulk\"} 2");
    assert_null(metrics_thread(scene->registry, LANE_BULK, "b-2", &err));
    assert_string_equal(err.id, "out-of-memory");
}

static void a_lane_that_is_not_served_has_no_numbers(void **state) {
    (void)state;
    struct error err;
    struct scene scene = {.registry = metrics_registry_new(1, &err)};
    metrics_thread(scene.registry, LANE_BULK, "b-0", &err);
    const char *text = scrape(&scene);
    assert_has(text, "siptrunk_tombstones_total{lane=\"bulk\"} 0");
    assert_lacks(text, "siptrunk_tombstones_total{lane=\"interactive\"}");
    assert_has(text, "siptrunk_threads{lane=\"interactive\"} 0");
    metrics_registry_free(scene.registry);
    buffer_free(&scene.text);
}

static void buckets_hold_what_is_at_most_their_bound(void **state) {
    struct scene *scene = *state;
    metrics_observe(scene->bulk, METRIC_STAGE_DURATION, STAGE_LOAD, 100);
    metrics_observe(scene->bulk, METRIC_STAGE_DURATION, STAGE_LOAD, 101);
    metrics_observe(scene->bulk, METRIC_STAGE_DURATION, STAGE_LOAD, 20000000);
    metrics_observe(scene->bulk, METRIC_BATCH_SIZE, 0, 500);
    const char *text = scrape(scene);
#define LOAD  "siptrunk_stage_duration_seconds_"
#define WHOSE "lane=\"bulk\",stage=\"load\""
    assert_has(text, LOAD "bucket{" WHOSE ",le=\"0.0001\"} 1");
    assert_has(text, LOAD "bucket{" WHOSE ",le=\"0.00025\"} 2");
    assert_has(text, LOAD "bucket{" WHOSE ",le=\"10\"} 2");
    assert_has(text, LOAD "bucket{" WHOSE ",le=\"+Inf\"} 3");
    assert_has(text, LOAD "sum{" WHOSE "} 20.000201");
    assert_has(text, LOAD "count{" WHOSE "} 3");
    assert_has(text, LOAD "count{lane=\"interactive\",stage=\"load\"} 0");
    assert_has(text, "siptrunk_batch_size_messages_bucket{lane=\"bulk\",le=\"200\"} 0");
    assert_has(text, "siptrunk_batch_size_messages_bucket{lane=\"bulk\",le=\"500\"} 1");
    assert_has(text, "siptrunk_batch_size_messages_sum{lane=\"bulk\"} 500");
}

static void counts_a_batch_by_what_became_of_its_records(void **state) {
    struct scene *scene = *state;
    struct ledger_entry applied = {.outcome = OUTCOME_APPLIED};
    struct ledger_entry rejected = {.outcome = OUTCOME_REJECTED,
                                    .error_reason =
                                        slice_of(reason_info(REASON_NUMBER_NOT_OWNED)->urn)};
    struct command commands[] = {
        {.type = &disconnect_number_type, .answer = &applied},
        {.type = &disconnect_number_type, .answer = &applied, .reply_problem = REPLY_NO_PARTITION},
        {.type = &list_call_barrings_type, .answer = &rejected},
        {.type = &list_call_barrings_type, .answer = &rejected, .replayed = true},
        {.handling = HANDLE_DEAD_LETTER, .dead_reason = REASON_UNKNOWN_COMMAND},
        {.handling = HANDLE_TOMBSTONE},
    };
    const struct batch batch = {.commands = commands,
                                .part_count = sizeof commands / sizeof commands[0]};
    metrics_answered(scene->interactive, &batch);
    const char *text = scrape(scene);
#define COMMANDS "siptrunk_commands_total{lane=\"interactive\",type="
    assert_has(text, COMMANDS "\"DisconnectNumber\",outcome=\"applied\"} 2");
    assert_has(text, COMMANDS "\"ListCallBarrings\",outcome=\"rejected\"} 1");
    assert_has(text, COMMANDS "\"ListCallBarrings\",outcome=\"replayed\"} 1");
    assert_has(text, COMMANDS "\"ConnectNumber\",outcome=\"applied\"} 0");
#define OF_LANE(name, label) "siptrunk_" name "_total{lane=\"interactive\"" label "} 1"
    assert_has(text, OF_LANE("errors", ",reason=\"number-not-owned\""));
    assert_has(text, OF_LANE("dead_letters", ",reason=\"unknown-command\""));
    assert_has(text, OF_LANE("replies_left_out", ",problem=\"no-partition\""));
    assert_has(text, OF_LANE("tombstones", ""));
    assert_has(text, "siptrunk_batch_size_messages_sum{lane=\"interactive\"} 6");
}

static void shows_the_positions_that_are_claimed(void **state) {
    struct scene *scene = *state;
    const struct position positions[] = {
        {.topic = slice_of("odd\"\\topic"),
         .partition = 3,
         .epoch = 1,
         .next_offset = 12,
         .committed_offset = 10,
         .lag = 5},
        {.topic = slice_of("fresh"), .epoch = 1, .committed_offset = -1, .lag = -1},
        {.topic = slice_of("unclaimed"), .epoch = 0, .next_offset = 7, .lag = 1},
    };
    metrics_show_positions(scene->bulk, positions, 3);
    const char *text = scrape(scene);
#define ODD "{topic=\"odd\\\"\\\\topic\",partition=\"3\"} "
    assert_has(text, "siptrunk_consumer_lag_messages" ODD "5");
    assert_has(text, "siptrunk_committed_offset" ODD "10");
    assert_has(text, "siptrunk_stored_offset" ODD "12");
    assert_has(text, "siptrunk_stored_offset{topic=\"fresh\",partition=\"0\"} 0");
    assert_lacks(text, "siptrunk_consumer_lag_messages{topic=\"fresh\"");
    assert_lacks(text, "siptrunk_committed_offset{topic=\"fresh\"");
    assert_lacks(text, "unclaimed");
    metrics_show_positions(scene->bulk, NULL, 0);
    assert_lacks(scrape(scene), "fresh");
}

/* The one that has lost it shows it until it looks again; a series that is there twice would void
 * the whole scrape. */
static void shows_a_partition_that_moves_as_of_its_latest_claim(void **state) {
    struct scene *scene = *state;
    const struct position former = {
        .topic = slice_of("t"), .epoch = 7, .next_offset = 90, .held_reason = "x"};
    const struct position latter = {.topic = slice_of("t"), .epoch = 8, .next_offset = 20};
    for (int turn = 0; turn < 2; turn++) {
        metrics_show_positions(turn ? scene->bulk : scene->interactive, &former, 1);
        metrics_show_positions(turn ? scene->interactive : scene->bulk, &latter, 1);
        const char *text = scrape(scene);
        assert_has(text, "siptrunk_stored_offset{topic=\"t\",partition=\"0\"} 20");
        assert_lacks(text, "siptrunk_stored_offset{topic=\"t\",partition=\"0\"} 90");
        assert_has(text, "siptrunk_partitions_held{lane=\"interactive\"} 0");
        assert_has(text, "siptrunk_partitions_held{lane=\"bulk\"} 0");
    }
}

static void counts_recoveries_by_error(void **state) {
    struct scene *scene = *state;
    struct error err;
    error_set(&err, FAULT_FENCED, "rebalance", "changed");
    metrics_trouble(scene->bulk, &err);
    error_set(&err, FAULT_FENCED, "fenced", "lost");
    metrics_trouble(scene->bulk, &err);
    metrics_trouble(scene->bulk, &err);
    metrics_trouble(metrics_thread(scene->registry, LANE_BULK, "b-1", &err), &err);
    const char *text = scrape(scene);
    assert_has(text, "siptrunk_recoveries_total{lane=\"bulk\",error_id=\"rebalance\"} 1");
    assert_has(text, "siptrunk_recoveries_total{lane=\"bulk\",error_id=\"fenced\"} 3");
    assert_has(text, "siptrunk_epochs_lost_total{lane=\"bulk\"} 3");
}

static void more_kinds_of_errors_than_it_has_room_for_count_with_the_last(void **state) {
    struct scene *scene = *state;
    struct error err;
    uint64_t sum = 0;
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "error-%d", i);
        error_set(&err, FAULT_RETRY, id, "again");
        metrics_trouble(scene->bulk, &err);
    }
    struct recovery recoveries[100];
    size_t count = metrics_recoveries(scene->registry, recoveries, 100);
    for (size_t i = 0; i < count; i++)
        sum += recoveries[i].count;
    assert_true(count < 100);
    assert_int_equal(sum, 100);
}

/* ---- health ---- */

static const char *said(struct scene *scene) {
    buffer_add(&scene->text, "", 1);
    return scene->text.data;
}

static bool alive(struct scene *scene, int64_t now_ms) {
    buffer_clear(&scene->text);
    return health_alive(scene->registry, now_ms, &scene->text);
}

static bool ready(struct scene *scene, int64_t now_ms) {
    buffer_clear(&scene->text);
    return health_ready(scene->registry, now_ms, &scene->text);
}

static void a_thread_whose_loop_stands_still_is_named(void **state) {
    struct scene *scene = *state;
    int64_t now_ms = monotonic_ms();
    metrics_turn(scene->interactive, true, true);
    metrics_turn(scene->bulk, false, false);
    assert_true(alive(scene, now_ms));
    assert_string_equal(said(scene), "alive\n");
    assert_true(alive(scene, now_ms + HEALTH_HANGS_AFTER_MS - 1000));
    assert_false(alive(scene, now_ms + HEALTH_HANGS_AFTER_MS + 1000));
    assert_non_null(strstr(said(scene), "i-0: hangs: at turn for 12"));
    assert_non_null(strstr(said(scene), "b-0: hangs"));
    /* While no broker answers, a wait for one may be as long as it takes. */
    progress_at(metrics_progress(scene->interactive), STEP_OFFSETS);
    progress_at(metrics_progress(scene->bulk), STEP_STORE);
    assert_false(alive(scene, now_ms + HEALTH_HANGS_AFTER_MS + 1000));
    assert_null(strstr(said(scene), "i-0"));
    assert_non_null(strstr(said(scene), "b-0: hangs: at store"));
}

static void is_ready_when_all_threads_are_and_hear_from_a_broker(void **state) {
    struct scene *scene = *state;
    int64_t now_ms = monotonic_ms();
    assert_false(ready(scene, now_ms));
    assert_string_equal(said(scene), "i-0: starting\nb-0: starting\n");
    metrics_turn(scene->interactive, true, true);
    metrics_turn(scene->bulk, true, true);
    metrics_broker_answered(scene->interactive);
    metrics_broker_answered(scene->bulk);
    assert_true(ready(scene, now_ms));
    assert_string_equal(said(scene), "ready\n");
    assert_false(ready(scene, now_ms + 60000));
    assert_non_null(strstr(said(scene), "b-0: kafka-silent: no broker has answered for "));
    metrics_brokers_down(scene->interactive);
    assert_false(ready(scene, now_ms));
    assert_memory_equal(said(scene), "i-0: kafka-silent: ", 19);
}

static void says_the_last_trouble_in_one_line(void **state) {
    struct scene *scene = *state;
    struct error err;
    metrics_turn(scene->interactive, true, true);
    metrics_turn(scene->bulk, true, true);
    metrics_broker_answered(scene->interactive);
    metrics_broker_answered(scene->bulk);
    error_set(&err, FAULT_REBUILD, "postgres-connect", "refused\nby \x1b[31mthe server");
    metrics_trouble(scene->bulk, &err);
    assert_false(ready(scene, monotonic_ms()));
    assert_string_equal(said(scene), "b-0: postgres-connect: refused by  [31mthe server\n");
    metrics_turn(scene->bulk, true, true);
    assert_true(ready(scene, monotonic_ms()));
}

static void a_group_that_waits_for_a_silent_broker_is_not_called_a_rebalance(void **state) {
    struct scene *scene = *state;
    struct error err;
    metrics_turn(scene->interactive, true, true);
    metrics_broker_answered(scene->interactive);
    metrics_broker_answered(scene->bulk);
    error_set(&err, FAULT_FENCED, "rebalance", "changed");
    metrics_trouble(scene->bulk, &err);
    assert_false(ready(scene, monotonic_ms()));
    assert_string_equal(said(scene), "b-0: rebalance: changed\n");
    metrics_brokers_down(scene->bulk);
    assert_false(ready(scene, monotonic_ms()));
    assert_memory_equal(said(scene), "b-0: kafka-silent: ", 19);
    error_set(&err, FAULT_REBUILD, "postgres-connect", "refused");
    metrics_trouble(scene->bulk, &err);
    assert_false(ready(scene, monotonic_ms()));
    assert_string_equal(said(scene), "b-0: postgres-connect: refused\n");
}

static void says_what_the_start_waits_for(void **state) {
    (void)state;
    struct error err;
    struct scene scene = {.registry = metrics_registry_new(1, &err)};
    assert_false(ready(&scene, monotonic_ms()));
    assert_string_equal(said(&scene), "siptrunk-worker: starting\n");
    error_set(&err, FAULT_RETRY, "kafka-unreachable", "no broker answers");
    metrics_waiting(scene.registry, &err);
    assert_false(ready(&scene, monotonic_ms()));
    assert_string_equal(said(&scene), "siptrunk-worker: kafka-unreachable: no broker answers\n");
    assert_true(alive(&scene, monotonic_ms()));
    metrics_registry_free(scene.registry);
    buffer_free(&scene.text);
}

/* ---- while others write ---- */

enum { ROUNDS = 20000 };

static void *count_and_show(void *argument) {
    struct metrics *metrics = argument;
    struct error err;
    const struct position positions[] = {
        {.topic = slice_of("a"), .epoch = 1, .next_offset = 4, .committed_offset = 4},
        {.topic = slice_of("b"), .epoch = 1, .next_offset = 4, .committed_offset = 4}};
    error_set(&err, FAULT_RETRY, "kafka", "away");
    for (size_t i = 0; i < ROUNDS; i++) {
        metrics_add(metrics, METRIC_TOMBSTONES, 0, 1);
        metrics_turn(metrics, true, true);
        metrics_show_positions(metrics, positions, i % 3);
        metrics_trouble(metrics, &err);
        metrics_broker_answered(metrics);
    }
    return NULL;
}

static void may_be_read_while_a_thread_writes(void **state) {
    struct scene *scene = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_and_show, scene->bulk), 0);
    uint64_t before = 0, now;
    do {
        now = metrics_sum(scene->registry, LANE_BULK, METRIC_TOMBSTONES, 0, 0);
        assert_true(now >= before);
        before = now;
        scrape(scene);
        ready(scene, monotonic_ms());
    } while (now < ROUNDS);
    pthread_join(thread, NULL);
}

#define SCENE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE_TEST(begins_each_family_with_help_and_type),
        SCENE_TEST(has_every_reason_at_zero_before_anything_happens),
        SCENE_TEST(sums_the_threads_of_a_lane),
        cmocka_unit_test(a_lane_that_is_not_served_has_no_numbers),
        SCENE_TEST(buckets_hold_what_is_at_most_their_bound),
        SCENE_TEST(counts_a_batch_by_what_became_of_its_records),
        SCENE_TEST(shows_the_positions_that_are_claimed),
        SCENE_TEST(shows_a_partition_that_moves_as_of_its_latest_claim),
        SCENE_TEST(counts_recoveries_by_error),
        SCENE_TEST(more_kinds_of_errors_than_it_has_room_for_count_with_the_last),
        SCENE_TEST(a_thread_whose_loop_stands_still_is_named),
        SCENE_TEST(is_ready_when_all_threads_are_and_hear_from_a_broker),
        SCENE_TEST(says_the_last_trouble_in_one_line),
        SCENE_TEST(a_group_that_waits_for_a_silent_broker_is_not_called_a_rebalance),
        cmocka_unit_test(says_what_the_start_waits_for),
        SCENE_TEST(may_be_read_while_a_thread_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
