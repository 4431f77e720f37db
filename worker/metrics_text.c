/* One family after the other, as the rows of worker/metrics.def stand. */
#include "worker/metrics_text.h"

#include "worker/reply.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_RECOVERIES = 256 };

struct writer {
    const struct metrics_registry *registry;
    int64_t now_ms;
    struct buffer *text;
    const char *name; /* of the family */
    struct shown_position *positions;
    size_t position_count;
};

PRINTF_LIKE(2, 3) static void put(struct writer *writer, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buffer_add_text(writer->text, line);
}

/* ---- labels ---- */

static const char *const outcome_labels[METRIC_OUTCOMES] = {
    [OUTCOME_APPLIED] = "applied",          [OUTCOME_NO_CHANGE] = "no_change",
    [OUTCOME_REJECTED] = "rejected",        [OUTCOME_WOULD_APPLY] = "would_apply",
    [METRIC_OUTCOME_REPLAYED] = "replayed",
};

static const char *const stage_labels[STAGE_COUNT] = {
    [STAGE_DECODE] = "decode", [STAGE_LOAD] = "load",   [STAGE_DECIDE] = "decide",
    [STAGE_STORE] = "store",   [STAGE_REPLY] = "reply",
};

/* Those of a cell behind the lane's, with a comma before each. False when it stands for nothing. */
static bool format_labels(enum metric_dimension dimension, size_t cell, char *text, size_t size) {
    text[0] = '\0';
    switch (dimension) {
    case BY_NOTHING:
        return true;
    case BY_TYPE_AND_OUTCOME:
        snprintf(text, size, ",type=\"%s\",outcome=\"%s\"",
                 command_types[cell / METRIC_OUTCOMES]->name,
                 outcome_labels[cell % METRIC_OUTCOMES]);
        return true;
    case BY_REASON:
        if (cell != REASON_NONE)
            snprintf(text, size, ",reason=\"%s\"", reason_info((enum reason)cell)->name);
        return cell != REASON_NONE;
    case BY_REPLY_PROBLEM:
        snprintf(text, size, ",problem=\"%s\"", reply_problem_name((enum reply_problem)cell));
        return cell != REPLY_SENT;
    case BY_STAGE:
        snprintf(text, size, ",stage=\"%s\"", stage_labels[cell]);
        return true;
    }
    return false;
}

/* A label's value that does not come from a table of ours. */
static const char *escape(const char *value, char *room, size_t size) {
    size_t at = 0;
    for (; *value && at + 3 < size; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            room[at++] = '\\';
        room[at++] = *value == '\n' ? 'n' : *value;
    }
    room[at] = '\0';
    return room;
}

/* ---- what is recorded ---- */

static void write_histogram(struct writer *writer, enum lane lane, enum metric metric, size_t cell,
                            const char *labels) {
    enum metric_kind kind = metric_infos[metric].kind;
    double unit = kind == METRIC_SECONDS ? 1e-6 : 1;
    const char *name = lane_name(lane);
    size_t count;
    const uint64_t *bounds = metric_bounds(kind, &count);
    uint64_t below = 0;
    for (size_t i = 0; i < count; i++) {
        below += metrics_sum(writer->registry, lane, metric, cell, i);
        put(writer, "%s_bucket{lane=\"%s\"%s,le=\"%g\"} %" PRIu64 "\n", writer->name, name, labels,
            (double)bounds[i] * unit, below);
    }
    below += metrics_sum(writer->registry, lane, metric, cell, count);
    uint64_t sum = metrics_sum(writer->registry, lane, metric, cell, count + 1);
    put(writer, "%s_bucket{lane=\"%s\"%s,le=\"+Inf\"} %" PRIu64 "\n", writer->name, name, labels,
        below);
    put(writer, "%s_sum{lane=\"%s\"%s} %.*f\n", writer->name, name, labels,
        kind == METRIC_SECONDS ? 6 : 0, (double)sum * unit);
    put(writer, "%s_count{lane=\"%s\"%s} %" PRIu64 "\n", writer->name, name, labels, below);
}

static size_t threads_of(const struct writer *writer, enum lane lane, bool ready_only) {
    size_t count = 0;
    for (size_t i = 0; i < metrics_thread_count(writer->registry); i++) {
        struct thread_view view = metrics_view(writer->registry, i, writer->now_ms);
        count += view.lane == lane && (!ready_only || (view.ready && view.broker));
    }
    return count;
}

static void write_lane(struct writer *writer, enum metric metric, enum lane lane) {
    char labels[160];
    for (size_t cell = 0; cell < metric_cells(metric); cell++) {
        if (!format_labels(metric_infos[metric].dimension, cell, labels, sizeof labels))
            continue;
        if (metric_infos[metric].kind != METRIC_COUNTER)
            write_histogram(writer, lane, metric, cell, labels);
        else
            put(writer, "%s{lane=\"%s\"%s} %" PRIu64 "\n", writer->name, lane_name(lane), labels,
                metrics_sum(writer->registry, lane, metric, cell, 0));
    }
}

static void begin_family(struct writer *writer, const char *name, const char *help,
                         const char *type) {
    writer->name = name;
    put(writer, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Every cell of the lanes that this process serves, also those that are 0: an alert sees only what
 * was there before it rose. */
static void write_recorded(struct writer *writer, enum metric metric) {
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_SECONDS] = "histogram", [METRIC_SIZE] = "histogram"};
    const struct metric_info *info = &metric_infos[metric];
    begin_family(writer, info->name, info->help, types[info->kind]);
    for (enum lane lane = 0; lane < LANE_COUNT; lane++) {
        if (threads_of(writer, lane, false) > 0)
            write_lane(writer, metric, lane);
    }
}

/* ---- what is computed ---- */

static void write_recoveries(struct writer *writer) {
    struct recovery recoveries[MAX_RECOVERIES];
    char escaped[2 * sizeof recoveries[0].error_id];
    size_t count = metrics_recoveries(writer->registry, recoveries, MAX_RECOVERIES);
    for (size_t i = 0; i < count; i++)
        put(writer, "%s{lane=\"%s\",error_id=\"%s\"} %" PRIu64 "\n", writer->name,
            lane_name(recoveries[i].lane), escape(recoveries[i].error_id, escaped, sizeof escaped),
            recoveries[i].count);
}

static void write_thread_counts(struct writer *writer, bool ready_only) {
    for (enum lane lane = 0; lane < LANE_COUNT; lane++)
        put(writer, "%s{lane=\"%s\"} %zu\n", writer->name, lane_name(lane),
            threads_of(writer, lane, ready_only));
}

static void write_threads(struct writer *writer) {
    write_thread_counts(writer, false);
}

static void write_threads_ready(struct writer *writer) {
    write_thread_counts(writer, true);
}

static void write_database_up(struct writer *writer) {
    size_t count = metrics_thread_count(writer->registry);
    bool up = count > 0;
    for (size_t i = 0; i < count; i++)
        up &= metrics_view(writer->registry, i, writer->now_ms).database;
    put(writer, "%s %d\n", writer->name, up);
}

static void write_broker_up(struct writer *writer) {
    size_t count = metrics_thread_count(writer->registry);
    bool up = count > 0;
    for (size_t i = 0; i < count; i++)
        up &= metrics_view(writer->registry, i, writer->now_ms).broker;
    put(writer, "%s %d\n", writer->name, up);
}

/* What is not known (-1) is not written. */
static void write_positions(struct writer *writer,
                            int64_t (*value)(const struct shown_position *position)) {
    char topic[2 * sizeof(((struct shown_position *)NULL)->topic)];
    for (size_t i = 0; i < writer->position_count; i++) {
        const struct shown_position *position = &writer->positions[i];
        if (value(position) >= 0)
            put(writer, "%s{topic=\"%s\",partition=\"%" PRId32 "\"} %" PRId64 "\n", writer->name,
                escape(position->topic, topic, sizeof topic), position->partition, value(position));
    }
}

static int64_t lag_of(const struct shown_position *position) {
    return position->lag;
}

static int64_t committed_offset_of(const struct shown_position *position) {
    return position->committed_offset;
}

static int64_t stored_offset_of(const struct shown_position *position) {
    return position->next_offset;
}

static void write_lag(struct writer *writer) {
    write_positions(writer, lag_of);
}

static void write_committed_offset(struct writer *writer) {
    write_positions(writer, committed_offset_of);
}

static void write_stored_offset(struct writer *writer) {
    write_positions(writer, stored_offset_of);
}

static void write_partitions_held(struct writer *writer) {
    size_t held[LANE_COUNT] = {0};
    for (size_t i = 0; i < writer->position_count; i++)
        held[writer->positions[i].lane] += writer->positions[i].held;
    for (enum lane lane = 0; lane < LANE_COUNT; lane++) {
        if (threads_of(writer, lane, false) > 0)
            put(writer, "%s{lane=\"%s\"} %zu\n", writer->name, lane_name(lane), held[lane]);
    }
}

static void write_build_info(struct writer *writer) {
    int libpq = PQlibVersion();
    put(writer, "%s{version=\"%s\",librdkafka=\"%s\",libpq=\"%d.%d\",libmicrohttpd=\"%s\"} 1\n",
        writer->name, SIPTRUNK_VERSION, rd_kafka_version_str(), libpq / 10000, libpq % 10000,
        MHD_get_version());
}

/* ---- the whole ---- */

void metrics_text(const struct metrics_registry *registry, int64_t now_ms, struct buffer *text) {
    struct writer writer = {.registry = registry, .now_ms = now_ms, .text = text};
    writer.positions = metrics_positions(registry, &writer.position_count);
#define RECORDED(symbol, kind, name, dimension, help) write_recorded(&writer, METRIC_##symbol);
#define COMPUTED(function, type, name, help)                                                       \
    begin_family(&writer, name, help, type);                                                       \
    write_##function(&writer);
#include "worker/metrics.def"
#undef RECORDED
#undef COMPUTED
    free(writer.positions);
}
