/* One event for each way in which a record is out of the ordinary. */
#include "worker/record_log.h"

#include "common/log.h"
#include "common/stop.h"
#include "worker/reply.h"

#include <inttypes.h>
#include <stdio.h>

enum event { EVENT_DEAD_LETTER, EVENT_TOMBSTONE, EVENT_REPLY_LEFT_OUT, EVENT_NONE };

static const struct {
    const char *name;
    enum log_level level;
} events[RECORD_LOG_EVENTS] = {
    [EVENT_DEAD_LETTER] = {"dead-letter", LOG_WARN},
    [EVENT_TOMBSTONE] = {"tombstone", LOG_INFO},
    [EVENT_REPLY_LEFT_OUT] = {"reply-left-out", LOG_WARN},
};

static enum event event_of(const struct command *command) {
    switch (command->handling) {
    case HANDLE_COMMAND:
        return command->reply_problem == REPLY_SENT ? EVENT_NONE : EVENT_REPLY_LEFT_OUT;
    case HANDLE_DEAD_LETTER:
        return EVENT_DEAD_LETTER;
    case HANDLE_TOMBSTONE:
        return EVENT_TOMBSTONE;
    }
    return EVENT_NONE;
}

/* ---- one line ---- */

static void describe(const struct command *command, enum event event, const char **ret_reason,
                     char *text, size_t size) {
    *ret_reason = "";
    switch (event) {
    case EVENT_DEAD_LETTER:
        *ret_reason = reason_info(command->dead_reason)->urn;
        if (command->dead_message.data)
            snprintf(text, size, SLICE_FMT, SLICE_ARG(command->dead_message));
        else
            snprintf(text, size, "%s", reason_info(command->dead_reason)->message);
        break;
    case EVENT_TOMBSTONE:
        snprintf(text, size, "a record without a value was passed over");
        break;
    case EVENT_REPLY_LEFT_OUT:
        *ret_reason = reply_problem_name(command->reply_problem);
        snprintf(text, size, "the result went to the results topic only");
        break;
    case EVENT_NONE:
        break;
    }
}

static void write_line(const char *worker, const struct command *command, enum event event,
                       int64_t left_out) {
    const struct source *source = &command->record.source;
    char topic[256], id[UUID_TEXT_SIZE + 1], text[512];
    const char *reason;
    describe(command, event, &reason, text, sizeof text);
    snprintf(topic, sizeof topic, SLICE_FMT, SLICE_ARG(source->topic));
    struct log_field fields[8] = {LOG_TEXT("worker", worker), LOG_TEXT("topic", topic),
                                  LOG_INT("partition", source->partition),
                                  LOG_INT("offset", source->offset)};
    size_t count = 4;
    if (command->command_id_valid) {
        uuid_format(&command->command_id, id);
        fields[count++] = LOG_TEXT("command_id", id);
    }
    if (*reason)
        fields[count++] = LOG_TEXT("reason", reason);
    if (left_out > 0)
        fields[count++] = LOG_INT("left_out", left_out);
    log_write(events[event].level, events[event].name, fields, count, "%s", text);
}

/* ---- what is told ---- */

void record_log_batch(struct record_log *log, const char *worker, const struct batch *batch) {
    int64_t now_ms = monotonic_ms();
    const struct command *commands = &batch->commands[batch->part_first];
    for (size_t i = 0; i < batch->part_count; i++) {
        enum event event = event_of(&commands[i]);
        if (event == EVENT_NONE)
            continue;
        int64_t left_out = log_limit_left_out(&log->limits[event], now_ms);
        if (log_limit_pass(&log->limits[event], now_ms))
            write_line(worker, &commands[i], event, left_out);
    }
}

void record_log_idle(struct record_log *log, const char *worker) {
    int64_t now_ms = monotonic_ms();
    for (size_t event = 0; event < RECORD_LOG_EVENTS; event++) {
        int64_t left_out = log_limit_left_out(&log->limits[event], now_ms);
        if (left_out > 0)
            log_write(events[event].level, events[event].name,
                      LOG_WITH(LOG_TEXT("worker", worker), LOG_INT("left_out", left_out)),
                      "%" PRId64 " more of these were not logged", left_out);
    }
}
