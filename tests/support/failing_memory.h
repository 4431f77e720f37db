/* Memory that runs out where a test wants it to. The test program is linked with --wrap for the
 * allocators named in tests/acceptance.cmake: those of the C library where our own code calls them,
 * those of the arena, and that of avro-c. One thread. */
#ifndef SIPTRUNK_TESTS_SUPPORT_FAILING_MEMORY_H
#define SIPTRUNK_TESTS_SUPPORT_FAILING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Once, before avro-c is used. */
void failing_memory_watch_avro(void);

/* Whether only avro-c's allocations count from now on. */
void failing_memory_only_avro(bool only);

/* From here on allocations are counted, and the one of that number fails (the first is 1; 0: none),
 * with for_ever all behind it too. */
void failing_memory_begin(size_t number, bool for_ever);

/* The end of that; how many were asked for. */
size_t failing_memory_end(void);

/* Whether one has failed since the beginning. */
bool failing_memory_has_failed(void);

/* Between these nothing is counted, and nothing fails: for the test's own work. */
void failing_memory_pause(void);
void failing_memory_resume(void);

#endif
