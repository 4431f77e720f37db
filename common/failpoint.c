/* Failpoints of a test build, read from the environment. */
#include "common/failpoint.h"

#ifdef SIPTRUNK_FAILPOINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void failpoint(const char *name) {
    static atomic_int passed;
    const char *wanted = getenv("SIPTRUNK_FAILPOINT");
    if (!wanted)
        return;
    size_t size = strlen(name);
    if (strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return;
    if (atomic_fetch_add(&passed, 1) + 1 == atoi(wanted + size + 1))
        raise(SIGKILL);
}

bool planted_bug(const char *name) {
    const char *list = getenv("SIPTRUNK_FAILPOINT_BUG");
    size_t size = strlen(name);
    for (const char *at = list; at && *at;) {
        const char *end = strchrnul(at, ',');
        if ((size_t)(end - at) == size && memcmp(at, name, size) == 0)
            return true;
        at = *end ? end + 1 : end;
    }
    return false;
}

#else

/* A translation unit must not be empty. */
typedef int failpoints_are_not_compiled_in;

#endif
