/* A hash table from UUIDs to small numbers, for what a tool remembers while it reads. One thread.
 */
#ifndef SIPTRUNK_CTL_UUID_MAP_H
#define SIPTRUNK_CTL_UUID_MAP_H

#include "common/uuid.h"

#include <stdint.h>

struct uuid_slot {
    struct uuid key;
    uint32_t value;
    bool used;
};

/* Starts as {0}. */
struct uuid_map {
    struct uuid_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void uuid_map_free(struct uuid_map *map);

/* The value of the key, or NULL when it is not there. Valid until the next uuid_map_put. */
uint32_t *uuid_map_find(const struct uuid_map *map, const struct uuid *key);

/* The value of the key, which is put in with 0 when it is new; *ret_new (may be NULL) says so.
 * Valid until the next call. NULL when memory is out. */
uint32_t *uuid_map_put(struct uuid_map *map, const struct uuid *key, bool *ret_new);

#endif
