/* Keeps an event that a flood of input may cause from filling the disk: some lines a second, and a
 * count of those left out. The lines themselves are the caller's. One thread an object. */
#ifndef SIPTRUNK_COMMON_LOG_LIMIT_H
#define SIPTRUNK_COMMON_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LIMIT_LINES = 5 /* a second */ };

/* Starts as {0}. */
struct log_limit {
    int64_t second_began_ms; /* 0: no line yet */
    int lines;               /* in this second */
    int64_t left_out;        /* not yet told */
};

/* Whether the event may be logged now; else it is counted as left out. now_ms: of a clock that does
 * not step. */
bool log_limit_pass(struct log_limit *limit, int64_t now_ms);

/* How many were left out since they were last asked for, once their second is over; else 0. */
int64_t log_limit_left_out(struct log_limit *limit, int64_t now_ms);

#endif
