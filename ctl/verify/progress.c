/* Four times a second at most; the clock is asked once in a thousand steps. */
#include "ctl/verify/progress.h"

#include "common/stop.h"

#include <inttypes.h>
#include <stdio.h>

enum { EVERY_MS = 250, EVERY_STEPS = 1024 };

static void tell(struct progress *progress) {
    if (progress->total > 0)
        fprintf(stderr, "\r\033[K%s: %" PRId64 " of %" PRId64 " (%d %%)", progress->what,
                progress->done, progress->total, (int)(100 * progress->done / progress->total));
    else
        fprintf(stderr, "\r\033[K%s: %" PRId64, progress->what, progress->done);
    fflush(stderr);
    progress->open = true;
}

void progress_begin(struct progress *progress, const char *what, int64_t total) {
    progress->what = what;
    progress->total = total;
    progress->done = 0;
    progress->told_ms = monotonic_ms();
    if (progress->shown)
        tell(progress);
}

void progress_step(struct progress *progress, int64_t count) {
    bool due = progress->done / EVERY_STEPS != (progress->done + count) / EVERY_STEPS;
    progress->done += count;
    if (!progress->shown || !due)
        return;
    int64_t now = monotonic_ms();
    if (now - progress->told_ms >= EVERY_MS) {
        progress->told_ms = now;
        tell(progress);
    }
}

void progress_end(struct progress *progress) {
    if (progress->open)
        fputs("\r\033[K", stderr);
    progress->open = false;
}
