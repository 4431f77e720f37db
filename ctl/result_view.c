/* A result goes through four hands: decoding, the look for copies and gaps, the filter, the print.
 */
#include "ctl/result_view.h"

#include "common/stop.h"
#include "ctl/command.h"
#include "ctl/sequences.h"
#include "ctl/table.h"
#include "ctl/uuid_map.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct result_view {
    enum result_format format;
    struct messages *messages;
    struct table *table;
    struct uuid_map seen; /* event ids */
    struct sequences *sequences;
    struct uuid account;
    bool one_account;
    int64_t flushed_ms;
    size_t shown, rejected, copies, unreadable, missing;
};

static const char *const heads[] = {"TIME",    ">SEQ",   "OUTCOME",    ">CODE", "COMMAND",
                                    "CHANNEL", "NUMBER", "COMMAND ID", "DETAIL"};
enum { COLUMNS = sizeof heads / sizeof heads[0], DETAIL_BYTES = 512, FLUSH_MS = 500 };

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the results");
}

struct result_view *result_view_new(enum result_format format, const char *schema_dir,
                                    struct error *err) {
    struct result_view *view = calloc(1, sizeof *view);
    if (!view) {
        out_of_memory(err);
        return NULL;
    }
    view->format = format;
    view->sequences = sequences_new();
    view->table = table_new(stdout, heads, COLUMNS);
    if (!view->sequences || !view->table)
        out_of_memory(err);
    else
        view->messages = messages_new(schema_dir, err);
    if (view->messages)
        return view;
    result_view_free(view);
    return NULL;
}

void result_view_free(struct result_view *view) {
    if (!view)
        return;
    messages_free(view->messages);
    table_free(view->table);
    sequences_free(view->sequences);
    uuid_map_free(&view->seen);
    free(view);
}

void result_view_only(struct result_view *view, const struct uuid *account) {
    view->account = *account;
    view->one_account = true;
}

/* ---- printing ---- */

static const char *text(const json_t *result, const char *name) {
    return json_string_value(json_object_get(result, name));
}

static json_int_t integer(const json_t *result, const char *name) {
    return json_integer_value(json_object_get(result, name));
}

static void format_time(json_int_t micros, char *out, size_t size) {
    time_t seconds = (time_t)(micros / 1000000);
    struct tm parts;
    char date[32];
    if (!gmtime_r(&seconds, &parts) || !strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts))
        date[0] = '\0';
    snprintf(out, size, "%s.%03dZ", date, (int)(micros / 1000 % 1000));
}

/* A rejection's errors, a success's warnings. */
static void format_detail(const json_t *result, char *out, size_t size) {
    const json_t *errors = json_object_get(result, "errors");
    bool rejected = json_array_size(errors) > 0;
    const json_t *list = rejected ? errors : json_object_get(result, "warnings");
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(list) && used < size; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *reason = text(entry, rejected ? "reason" : "code");
        const char *name = reason ? strrchr(reason, ':') : NULL;
        const char *pointer = text(entry, "pointer"), *message = text(entry, "message");
        int more = snprintf(out + used, size - used, "%s%s%s%s: %s", used ? "; " : "",
                            name     ? name + 1
                            : reason ? reason
                                     : "",
                            pointer && *pointer ? " " : "", pointer ? pointer : "",
                            message ? message : "");
        used += more > 0 ? (size_t)more : 0;
    }
    if (!out[0] && json_is_array(json_object_get(result, "items")))
        snprintf(out, size, "%zu items", json_array_size(json_object_get(result, "items")));
}

static bool print_row(struct result_view *view, const json_t *result) {
    char when[64], sequence[32], code[32], detail[DETAIL_BYTES];
    format_time(integer(result, "applied_at"), when, sizeof when);
    snprintf(sequence, sizeof sequence, "%" JSON_INTEGER_FORMAT,
             integer(result, "account_sequence"));
    snprintf(code, sizeof code, "%" JSON_INTEGER_FORMAT, integer(result, "status_code"));
    format_detail(result, detail, sizeof detail);
    const char *cells[COLUMNS] = {when,
                                  sequence,
                                  text(result, "outcome"),
                                  code,
                                  text(result, "command_type"),
                                  text(result, "channel_name"),
                                  text(result, "number"),
                                  text(result, "command_id"),
                                  detail};
    return table_row(view->table, cells);
}

static bool print_json(const json_t *result) {
    return !json_dumpf(result, stdout, JSON_COMPACT) && putchar('\n') != EOF;
}

static bool show(struct result_view *view, const json_t *result, struct error *err) {
    const char *outcome = text(result, "outcome");
    view->shown++;
    view->rejected += outcome && !strcmp(outcome, "REJECTED");
    if (view->format == RESULT_TABLE)
        return print_row(view, result) || out_of_memory(err);
    return print_json(result) ||
           error_set(err, FAULT_STATE, "output", "cannot write to standard output");
}

/* ---- copies and gaps ---- */

/* *ret_copy: a result with this event id was taken before. */
static bool look_for_copy(struct result_view *view, const json_t *result, bool *ret_copy) {
    struct uuid event;
    bool is_new = true;
    if (uuid_parse(slice_of(text(result, "event_id")), &event) &&
        !uuid_map_put(&view->seen, &event, &is_new))
        return false;
    *ret_copy = !is_new;
    return true;
}

/* Numbers begin with 1; 0 stands for results that have none. */
static bool note_sequence(struct result_view *view, const json_t *result,
                          const struct uuid *account, int64_t timestamp_ms) {
    json_int_t number = integer(result, "account_sequence");
    return number <= 0 || sequences_see(view->sequences, account, number, timestamp_ms);
}

static bool take(struct result_view *view, const json_t *result, int64_t timestamp_ms,
                 result_filter *filter, void *context, struct error *err) {
    struct uuid account;
    bool copy, known = uuid_parse(slice_of(text(result, "account_id")), &account);
    if (view->one_account && !(known && uuid_equal(&account, &view->account)))
        return true;
    if ((known && !note_sequence(view, result, &account, timestamp_ms)) ||
        !look_for_copy(view, result, &copy))
        return out_of_memory(err);
    view->copies += copy;
    if (copy || (filter && !filter(context, result)))
        return true;
    return show(view, result, err);
}

static void tell_unreadable(struct result_view *view, const rd_kafka_message_t *record,
                            const struct error *why) {
    view->unreadable++;
    fprintf(stderr, "%s-%" PRId32 " offset %" PRId64 " is no result: %s\n",
            rd_kafka_topic_name(record->rkt), record->partition, record->offset, why->message);
}

bool result_view_take(struct result_view *view, const rd_kafka_message_t *record,
                      result_filter *filter, void *context, struct error *err) {
    struct slice value = {.data = record->payload, .size = record->len};
    json_t *result;
    const char *type;
    struct error why;
    if (!message_decode(view->messages, value, &result, &type, &why)) {
        tell_unreadable(view, record, &why);
        return true;
    }
    bool ok = true;
    if (strcmp(type, "CommandResult") == 0) {
        rd_kafka_timestamp_type_t ignored;
        ok = take(view, result, rd_kafka_message_timestamp(record, &ignored), filter, context, err);
    } else {
        error_set(&why, FAULT_INPUT, "type", "it is a %s", type);
        tell_unreadable(view, record, &why);
    }
    json_decref(result);
    return ok;
}

void result_view_flush(struct result_view *view) {
    view->flushed_ms = monotonic_ms();
    if (view->format == RESULT_TABLE)
        table_flush(view->table);
    else
        fflush(stdout);
}

void result_view_flush_old(struct result_view *view) {
    if (monotonic_ms() - view->flushed_ms >= FLUSH_MS)
        result_view_flush(view);
}

static void tell_gap(const struct uuid *account, int64_t from, int64_t to, const char *what) {
    char id[UUID_TEXT_SIZE + 1];
    uuid_format(account, id);
    if (from == to)
        fprintf(stderr, "account %s: result number %" PRId64 " is %s\n", id, from, what);
    else
        fprintf(stderr, "account %s: result numbers %" PRId64 " to %" PRId64 " are %s\n", id, from,
                to, what);
}

static void tell_missing(void *context, const struct uuid *account, int64_t from, int64_t to) {
    struct result_view *view = context;
    view->missing += (size_t)(to - from + 1);
    tell_gap(account, from, to, "missing");
}

static void tell_late(void *context, const struct uuid *account, int64_t from, int64_t to) {
    (void)context;
    tell_gap(account, from, to, "not there yet");
}

void result_view_report_missing(struct result_view *view, int64_t noticed_ms) {
    sequences_report(view->sequences, noticed_ms, tell_missing, view);
}

void result_view_report_late(struct result_view *view) {
    sequences_report(view->sequences, INT64_MAX, tell_late, view);
}

void result_view_summary(const struct result_view *view) {
    fprintf(stderr, "%zu result%s, %zu rejected", view->shown, command_plural(view->shown),
            view->rejected);
    if (view->copies)
        fprintf(stderr, "; %zu repeated cop%s left out", view->copies,
                view->copies == 1 ? "y" : "ies");
    if (view->unreadable)
        fprintf(stderr, "; %zu unreadable record%s", view->unreadable,
                command_plural(view->unreadable));
    if (view->missing)
        fprintf(stderr, "; %zu number%s MISSING", view->missing, command_plural(view->missing));
    fprintf(stderr, "\n");
}

size_t result_view_rejected(const struct result_view *view) {
    return view->rejected;
}

size_t result_view_missing(const struct result_view *view) {
    return view->missing;
}
