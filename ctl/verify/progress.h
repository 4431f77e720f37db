/* A line on a terminal that says how far a long reading is. Nothing when standard error is none. */
#ifndef SIPTRUNK_CTL_VERIFY_PROGRESS_H
#define SIPTRUNK_CTL_VERIFY_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown; /* at all */
    const char *what;
    int64_t done, total; /* total 0: not known */
    int64_t told_ms;
    bool open; /* a line stands there */
};

/* what: a static text. */
void progress_begin(struct progress *progress, const char *what, int64_t total);
void progress_step(struct progress *progress, int64_t count);

/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
