/* Open addressing. */
#include "ctl/uuid_map.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

void uuid_map_free(struct uuid_map *map) {
    free(map->slots);
    *map = (struct uuid_map){0};
}

/* Ids need not be random: clients may count them up in any of the bytes. */
static size_t hash(const struct uuid *key) {
    uint64_t halves[2];
    memcpy(halves, key->bytes, sizeof halves);
    uint64_t mixed = (halves[0] ^ (halves[1] * UINT64_C(0x9E3779B97F4A7C15)));
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return (size_t)(mixed ^ mixed >> 32);
}

/* The key's slot, or the free one where it would stand. The map has one. */
static struct uuid_slot *find_slot(const struct uuid_map *map, const struct uuid *key) {
    for (size_t i = hash(key) & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        struct uuid_slot *slot = &map->slots[i];
        if (!slot->used || uuid_equal(&slot->key, key))
            return slot;
    }
}

static bool grow(struct uuid_map *map) {
    struct uuid_map bigger = {.capacity = map->capacity ? 2 * map->capacity : FIRST_CAPACITY,
                              .count = map->count};
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].used)
            *find_slot(&bigger, &map->slots[i].key) = map->slots[i];
    }
    free(map->slots);
    *map = bigger;
    return true;
}

uint32_t *uuid_map_find(const struct uuid_map *map, const struct uuid *key) {
    struct uuid_slot *slot = map->capacity ? find_slot(map, key) : NULL;
    return slot && slot->used ? &slot->value : NULL;
}

uint32_t *uuid_map_put(struct uuid_map *map, const struct uuid *key, bool *ret_new) {
    if (4 * (map->count + 1) > 3 * map->capacity && !grow(map))
        return NULL;
    struct uuid_slot *slot = find_slot(map, key);
    if (ret_new)
        *ret_new = !slot->used;
    if (!slot->used) {
        *slot = (struct uuid_slot){.key = *key, .used = true};
        map->count++;
    }
    return &slot->value;
}
