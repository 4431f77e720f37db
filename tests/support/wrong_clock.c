/* To be preloaded: the wall clock is wrong by the seconds that stand in the file WRONG_CLOCK_FILE,
 * which may change at any time. As with a real clock that is wrong, intervals are right: the
 * monotonic clock is not touched, and who waits until a wrong time waits as long as he meant to. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { MONOTONIC_BELOW_S = 200000000 }; /* no wall clock of ours is that low, no uptime that high */

static time_t wrong_by(void) {
    char text[32] = "";
    int file = open(getenv("WRONG_CLOCK_FILE"), O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    return size > 0 ? (time_t)atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *ret) {
    int status = (int)syscall(SYS_clock_gettime, clock, ret);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        ret->tv_sec += wrong_by();
    return status;
}

int timespec_get(struct timespec *ret, int base) {
    return clock_gettime(CLOCK_REALTIME, ret) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static struct timespec right(const struct timespec *wrong) {
    struct timespec until = *wrong;
    if (until.tv_sec > MONOTONIC_BELOW_S)
        until.tv_sec -= wrong_by();
    return until;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict wrong) {
    int (*next)(cnd_t *, mtx_t *, const struct timespec *);
    *(void **)&next = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec until = right(wrong);
    return next(condition, mutex, &until);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict wrong) {
    int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec until = right(wrong);
    return next(condition, mutex, &until);
}
