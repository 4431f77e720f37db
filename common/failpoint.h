/* Places where a test build can be made to die, and bugs that it can be made to have. Nothing of it
 * is in a production build (option SIPTRUNK_FAILPOINTS). */
#ifndef SIPTRUNK_COMMON_FAILPOINT_H
#define SIPTRUNK_COMMON_FAILPOINT_H

#ifdef SIPTRUNK_FAILPOINTS

#include <stdbool.h>

/* SIPTRUNK_FAILPOINT=name:n kills the process with SIGKILL when the place is passed for the n-th
 * time. */
void failpoint(const char *name);

/* Named in SIPTRUNK_FAILPOINT_BUG, a comma-separated list. */
bool planted_bug(const char *name);

#define FAILPOINT(name) failpoint(name)

#else

#define FAILPOINT(name)   ((void)0)
#define planted_bug(name) (false)

#endif

#endif
