/* The one error value of both programs: what went wrong, and what the caller should do about it.
 * It lives on the caller's stack, holds no secrets and no payload, and is logged once, at the top.
 */
#ifndef SIPTRUNK_COMMON_ERROR_H
#define SIPTRUNK_COMMON_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define MUST_CHECK           __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, va) __attribute__((format(printf, fmt, va)))

/* What the one who called should do next. */
enum fault {
    FAULT_NONE,
    FAULT_INPUT,   /* the input is bad: refuse it, its neighbours are fine */
    FAULT_CONFIG,  /* configuration is invalid: exit 3 */
    FAULT_AUTH,    /* credentials are refused: exit 4 for a command that ends; a worker waits */
    FAULT_RETRY,   /* transient trouble of infrastructure: try the same work again */
    FAULT_REBUILD, /* the handle is no longer usable: build a new one, then try again */
    FAULT_FENCED,  /* another worker owns what we thought was ours: drop the work, claim anew */
    FAULT_STATE,   /* the world is not as it must be (no schema, diverged, twin): exit 7 or wait */
    FAULT_STATEMENT, /* the store refuses this batch for a reason of its data (SQLSTATE class 22,
                        23) */
    FAULT_STOP,      /* told to stop */
    FAULT_BUG,       /* our own mistake: exit 70 */
};

struct error {
    enum fault fault;
    char id[48];      /* stable, kebab-case: what happened, for machines, e.g. "postgres-connect" */
    char sqlstate[6]; /* five characters, or empty */
    char message[512]; /* one line, for people */
};

/* Fills *err (which may be NULL) and returns false, so that a function can end with it. */
bool error_set(struct error *err, enum fault fault, const char *id, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Puts "prefix: " before the message that *err already holds; returns false. */
bool error_prefix(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* "retry", "config", ... for logs. */
const char *fault_name(enum fault fault);

/* The exit code of the contract for a command that ends with this fault. */
int fault_exit_code(enum fault fault);

#endif
