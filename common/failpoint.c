/* Failpoints and planted bugs of a test build, read from the environment. */
#include "common/failpoint.h"

#ifdef SIPTRUNK_FAILPOINTS

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The place that is next, as often as it still has to be passed; a list of name:n, one after the
 * other. */
static bool is_due(const char *name) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const char *next;
    static int passed;
    pthread_mutex_lock(&lock);
    if (!next)
        next = getenv("SIPTRUNK_FAILPOINT");
    if (!next)
        next = "";
    size_t size = strlen(name);
    bool due =
        strncmp(next, name, size) == 0 && next[size] == ':' && ++passed == atoi(next + size + 1);
    if (due) {
        next = strchrnul(next, ',');
        next += *next == ',';
        passed = 0;
    }
    pthread_mutex_unlock(&lock);
    return due;
}

void failpoint(const char *name) {
    if (!is_due(name))
        return;
    const char *given = getenv("SIPTRUNK_FAILPOINT_SIGNAL");
    int number = given ? atoi(given) : SIGKILL;
    /* The place is not left when it kills or stops. Others are for the thread that waits for them.
     */
    if (number == SIGKILL || number == SIGSTOP)
        raise(number);
    else
        kill(getpid(), number);
}

static const char *const bug_names[PLANTED_BUG_COUNT] = {
#define PLANTED(symbol, name, text) [BUG_##symbol] = (name),
#include "common/planted.def"
#undef PLANTED
};
static bool planted[PLANTED_BUG_COUNT];

static void plant(const char *name, size_t size) {
    for (size_t i = 0; i < PLANTED_BUG_COUNT; i++) {
        if (strlen(bug_names[i]) == size && memcmp(bug_names[i], name, size) == 0) {
            planted[i] = true;
            return;
        }
    }
    fprintf(stderr, "SIPTRUNK_FAILPOINT_BUG: there is no bug %.*s\n", (int)size, name);
    abort();
}

static void read_list(void) {
    const char *at = getenv("SIPTRUNK_FAILPOINT_BUG");
    while (at && *at) {
        const char *end = strchrnul(at, ',');
        plant(at, (size_t)(end - at));
        at = *end ? end + 1 : end;
    }
}

bool planted_bug(enum planted_bug bug) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_list);
    return planted[bug];
}

int64_t failpoint_number(const char *name, int64_t otherwise) {
    char variable[64];
    snprintf(variable, sizeof variable, "SIPTRUNK_FAILPOINT_%s", name);
    const char *value = getenv(variable);
    return value ? atoll(value) : otherwise;
}

#else

/* A translation unit must not be empty. */
typedef int failpoints_are_not_compiled_in;

#endif
