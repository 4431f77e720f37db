/* A window of one second. */
#include "common/log_limit.h"

enum { SECOND_MS = 1000 };

static bool second_is_over(const struct log_limit *limit, int64_t now_ms) {
    return limit->second_began_ms == 0 || now_ms - limit->second_began_ms >= SECOND_MS;
}

bool log_limit_pass(struct log_limit *limit, int64_t now_ms) {
    if (second_is_over(limit, now_ms)) {
        limit->second_began_ms = now_ms;
        limit->lines = 0;
    }
    bool pass = limit->lines < LOG_LIMIT_LINES;
    if (pass)
        limit->lines++;
    else
        limit->left_out++;
    return pass;
}

int64_t log_limit_left_out(struct log_limit *limit, int64_t now_ms) {
    if (!second_is_over(limit, now_ms))
        return 0;
    int64_t left_out = limit->left_out;
    limit->left_out = 0;
    return left_out;
}
