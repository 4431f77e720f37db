/* The error value: set, prefixed, named. Logging it is left to the caller. */
#include "common/error.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_code;
} faults[] = {
    [FAULT_NONE] = {"none", 0},
    [FAULT_INPUT] = {"input", 3},
    [FAULT_CONFIG] = {"config", 3},
    [FAULT_AUTH] = {"auth", 4},
    [FAULT_RETRY] = {"retry", 5},
    [FAULT_REBUILD] = {"rebuild", 5},
    [FAULT_FENCED] = {"fenced", 7},
    [FAULT_STATE] = {"state", 7},
    [FAULT_STATEMENT] = {"statement", 70},
    [FAULT_STOP] = {"stop", 130},
    [FAULT_BUG] = {"bug", 70},
};

bool error_set(struct error *err, enum fault fault, const char *id, const char *format, ...) {
    if (!err)
        return false;
    err->fault = fault;
    err->sqlstate[0] = '\0';
    snprintf(err->id, sizeof err->id, "%s", id);
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return false;
}

bool error_prefix(struct error *err, const char *format, ...) {
    if (!err)
        return false;
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char whole[2 * sizeof err->message + 4];
    snprintf(whole, sizeof whole, "%s: %s", text, err->message);
    snprintf(err->message, sizeof err->message, "%.*s", (int)sizeof err->message - 1, whole);
    return false;
}

const char *fault_name(enum fault fault) {
    return faults[fault].name;
}

int fault_exit_code(enum fault fault) {
    return faults[fault].exit_code;
}
