/* Stop flag and monotonic time. */
#include "common/stop.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t requested_at_ms;
static atomic_int exit_code;

static int64_t microseconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t monotonic_us(void) {
    return microseconds_of(CLOCK_MONOTONIC);
}

int64_t thread_cpu_us(void) {
    return microseconds_of(CLOCK_THREAD_CPUTIME_ID);
}

int64_t monotonic_ms(void) {
    return monotonic_us() / 1000;
}

void stop_request(void) {
    int64_t never = 0;
    atomic_compare_exchange_strong(&requested_at_ms, &never, monotonic_ms());
}

void stop_failed(int code) {
    int none = 0;
    atomic_compare_exchange_strong(&exit_code, &none, code);
    stop_request();
}

int stop_exit_code(void) {
    return atomic_load(&exit_code);
}

bool stop_requested(void) {
    return atomic_load_explicit(&requested_at_ms, memory_order_relaxed) != 0;
}

bool stop_overdue(int64_t grace_ms) {
    int64_t since = atomic_load_explicit(&requested_at_ms, memory_order_relaxed);
    return since != 0 && monotonic_ms() - since >= grace_ms;
}
