/* Places where a test build can be made to die or to stand still, and bugs that it can be made to
 * have. Nothing of it is in a production build (option SIPTRUNK_FAILPOINTS). */
#ifndef SIPTRUNK_COMMON_FAILPOINT_H
#define SIPTRUNK_COMMON_FAILPOINT_H

#ifdef SIPTRUNK_FAILPOINTS

#include <stdbool.h>
#include <stdint.h>

/* SIPTRUNK_FAILPOINT=name:n ends the process with SIGKILL when the place is passed for the n-th
 * time; with SIPTRUNK_FAILPOINT_SIGNAL=number it gets that signal instead. Of several,
 * name:n,name:n, each waits for the one before. */
void failpoint(const char *name);

enum planted_bug {
#define PLANTED(symbol, name, text) BUG_##symbol,
#include "common/planted.def"
#undef PLANTED
    PLANTED_BUG_COUNT
};

/* Whether it is named in SIPTRUNK_FAILPOINT_BUG, a comma-separated list. A name that does not exist
 * ends the process. */
bool planted_bug(enum planted_bug bug);

/* The variable SIPTRUNK_FAILPOINT_<name>, as a number; otherwise when it is not set. */
int64_t failpoint_number(const char *name, int64_t otherwise);

#define FAILPOINT(name) failpoint(name)

#else

#define FAILPOINT(name)                   ((void)0)
#define planted_bug(bug)                  (false)
#define failpoint_number(name, otherwise) (otherwise)

#endif

#endif
