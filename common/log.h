/* The log of both programs: one event a line on standard error, as JSON (for machines) or text (for
 * a terminal). May be called from any thread. Never pass a payload or a secret. */
#ifndef SIPTRUNK_COMMON_LOG_H
#define SIPTRUNK_COMMON_LOG_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

/* One structured field. Build with LOG_TEXT and LOG_INT. */
struct log_field {
    const char *key;
    const char *text; /* NULL: the integer counts */
    int64_t integer;
};

static inline struct log_field log_text(const char *key, const char *text) {
    return (struct log_field){.key = key, .text = text ? text : ""};
}

#define LOG_TEXT(k, v) log_text((k), (v))
#define LOG_INT(k, v)  ((struct log_field){.key = (k), .integer = (v)})
/* The fields of one line, as one argument: LOG_WITH(LOG_TEXT(..), LOG_INT(..)); LOG_PLAIN for none.
 */
#define LOG_WITH(...)                                                                              \
    (const struct log_field[]){__VA_ARGS__},                                                       \
        sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)
#define LOG_PLAIN (const struct log_field *)NULL, (size_t)0

/* Before any other thread runs. Default: info, JSON. */
void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* event: stable kebab-case name. The message is one sentence for people. Call through
 * log_write(LOG_INFO, "batch-done", LOG_WITH(LOG_INT("commands", 12)), "applied %d commands", 12).
 */
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count, const char *format, ...) PRINTF_LIKE(5, 6);

/* An error value as a line: its id, fault and SQLSTATE become fields. */
void log_error(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count, const struct error *err);

#endif
