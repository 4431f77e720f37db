/* The stop flag: set by a signal, seen by every loop that may wait. The one global beside the
 * logger. */
#ifndef SIPTRUNK_COMMON_STOP_H
#define SIPTRUNK_COMMON_STOP_H

#include <stdbool.h>
#include <stdint.h>

/* Async-signal-safe. */
void stop_request(void);
bool stop_requested(void);

/* Stop because of a failure; the first one's exit code counts. 0: there was none. */
void stop_failed(int exit_code);
int stop_exit_code(void);

/* True once a stop was asked for more than grace_ms ago: whoever still waits gives up. */
bool stop_overdue(int64_t grace_ms);

/* Milliseconds of a clock that never steps. */
int64_t monotonic_ms(void);
int64_t monotonic_us(void);

/* Microseconds of processor time that the calling thread has used. */
int64_t thread_cpu_us(void);

#endif
