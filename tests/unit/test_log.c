/* What a log line looks like, read back from a pipe in place of standard error. */
#include "common/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char captured[65536];

struct capture {
    int saved, read_end;
};

static struct capture capture_begin(enum log_level level, enum log_format format) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct capture capture = {.saved = dup(STDERR_FILENO), .read_end = ends[0]};
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_setup(level, format);
    return capture;
}

static const char *capture_end(struct capture capture) {
    dup2(capture.saved, STDERR_FILENO);
    close(capture.saved);
    size_t size = 0;
    ssize_t got;
    while ((got = read(capture.read_end, captured + size, sizeof captured - 1 - size)) > 0)
        size += (size_t)got;
    close(capture.read_end);
    captured[size] = '\0';
    return captured;
}

static json_t *parse_line(const char *line) {
    size_t size = strlen(line);
    assert_true(size > 0 && line[size - 1] == '\n');
    assert_ptr_equal(strchr(line, '\n'), line + size - 1);
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s in %s", error.text, line);
    return object;
}

static void assert_text(const json_t *object, const char *key, const char *expected) {
    assert_string_equal(json_string_value(json_object_get(object, key)), expected);
}

static void writes_one_json_object_per_line(void **state) {
    (void)state;
    struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
    log_write(LOG_INFO, "batch-done", LOG_WITH(LOG_INT("commands", 12), LOG_TEXT("lane", "bulk")),
              "applied %d commands", 12);
    json_t *object = parse_line(capture_end(capture));
    assert_text(object, "level", "info");
    assert_text(object, "event", "batch-done");
    assert_text(object, "msg", "applied 12 commands");
    assert_text(object, "lane", "bulk");
    assert_int_equal(json_integer_value(json_object_get(object, "commands")), 12);
    assert_int_equal(json_object_size(object), 6);
    json_decref(object);
}

static void time_is_rfc3339_in_milliseconds(void **state) {
    (void)state;
    struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
    log_write(LOG_WARN, "e", LOG_PLAIN, "m");
    json_t *object = parse_line(capture_end(capture));
    const char *time = json_string_value(json_object_get(object, "time"));
    int year, month, day, hour, minute, second, ms, end = 0;
    assert_int_equal(sscanf(time, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &end),
                     7);
    assert_int_equal(end, 24);
    assert_int_equal(strlen(time), 24);
    json_decref(object);
}

static void escapes_what_json_and_terminals_cannot_take(void **state) {
    (void)state;
    static const struct {
        const char *sent, *expected;
    } rows[] = {
        {"quote \" and \\ back", "quote \" and \\ back"},
        {"two\nlines\r\tand a tab", "two\nlines\r\tand a tab"},
        {"bell \a escape \x1b[31m", "bell \a escape \x1b[31m"},
        {"Zürich € 😀", "Zürich € 😀"},
        {"delete \x7f", "delete \x7f"},
        {"not utf-8 \xff\xc3(", "not utf-8 \xef\xbf\xbd\xef\xbf\xbd("},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"c1 control \xc2\x85", "c1 control \xef\xbf\xbd\xef\xbf\xbd"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
        log_write(LOG_INFO, "e", LOG_WITH(LOG_TEXT("field", rows[i].sent)), "%s", rows[i].sent);
        const char *line = capture_end(capture);
        for (const char *p = line; p[1]; p++)
            assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
        json_t *object = parse_line(line);
        assert_text(object, "msg", rows[i].expected);
        assert_text(object, "field", rows[i].expected);
        json_decref(object);
    }
}

static void a_long_message_is_cut_and_marked(void **state) {
    (void)state;
    char text[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
    log_write(LOG_INFO, "e", LOG_WITH(LOG_TEXT("field", text)), "%s", text);
    const char *line = capture_end(capture);
    assert_true(strlen(line) <= 4096);
    json_t *object = parse_line(line);
    const char *message = json_string_value(json_object_get(object, "msg"));
    assert_memory_equal(message, "xxxx", 4);
    assert_string_equal(message + strlen(message) - 3, "…");
    json_decref(object);
}

static void a_line_stays_below_pipe_buf_and_well_formed(void **state) {
    (void)state;
    char quotes[1025]; /* each becomes two bytes */
    memset(quotes, '"', sizeof quotes - 1);
    quotes[sizeof quotes - 1] = '\0';
    for (size_t shorter = 0; shorter < 64; shorter++) {
        struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
        log_write(LOG_INFO, "e",
                  LOG_WITH(LOG_TEXT("a", quotes + shorter), LOG_TEXT("b", quotes + shorter / 2),
                           LOG_TEXT("c", quotes), LOG_INT("d", 1)),
                  "%s", "short");
        const char *line = capture_end(capture);
        assert_true(strlen(line) <= 4096);
        json_t *object = parse_line(line);
        assert_text(object, "msg", "short");
        assert_true(json_is_true(json_object_get(object, "truncated")));
        assert_null(json_object_get(object, "c"));
        json_decref(object);
    }
}

static void text_format_is_readable_and_one_line(void **state) {
    (void)state;
    struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_TEXT);
    log_write(LOG_ERROR, "some-event",
              LOG_WITH(LOG_INT("n", -5), LOG_TEXT("plain", "abc"), LOG_TEXT("odd", "a b\n")),
              "Zürich\nsecond");
    const char *line = capture_end(capture);
    assert_int_equal(line[23], 'Z');
    assert_string_equal(
        line + 24, " error some-event         Zürich\\nsecond n=-5 plain=abc odd=\"a b\\n\"\n");
}

static void levels_below_the_set_one_are_silent(void **state) {
    (void)state;
    struct capture capture = capture_begin(LOG_WARN, LOG_FORMAT_TEXT);
    log_write(LOG_INFO, "quiet", LOG_PLAIN, "not seen");
    log_write(LOG_DEBUG, "quiet", LOG_PLAIN, "not seen");
    assert_false(log_enabled(LOG_INFO));
    assert_true(log_enabled(LOG_WARN));
    assert_string_equal(capture_end(capture), "");
}

static void an_error_value_becomes_fields(void **state) {
    (void)state;
    struct error err;
    error_set(&err, FAULT_RETRY, "postgres-connect", "no route to %s", "host");
    memcpy(err.sqlstate, "08006", sizeof err.sqlstate);
    struct capture capture = capture_begin(LOG_INFO, LOG_FORMAT_JSON);
    log_error(LOG_WARN, "store-failed", LOG_WITH(LOG_INT("attempt", 3)), &err);
    json_t *object = parse_line(capture_end(capture));
    assert_text(object, "event", "store-failed");
    assert_text(object, "error_id", "postgres-connect");
    assert_text(object, "fault", "retry");
    assert_text(object, "sqlstate", "08006");
    assert_text(object, "msg", "no route to host");
    assert_int_equal(json_integer_value(json_object_get(object, "attempt")), 3);
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_one_json_object_per_line),
        cmocka_unit_test(time_is_rfc3339_in_milliseconds),
        cmocka_unit_test(escapes_what_json_and_terminals_cannot_take),
        cmocka_unit_test(a_long_message_is_cut_and_marked),
        cmocka_unit_test(a_line_stays_below_pipe_buf_and_well_formed),
        cmocka_unit_test(text_format_is_readable_and_one_line),
        cmocka_unit_test(levels_below_the_set_one_are_silent),
        cmocka_unit_test(an_error_value_becomes_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
