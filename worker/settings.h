/* The settings of a channel as one table (worker/settings.def). In memory each one is its text, as
 * results show it: true and false, decimal integers, lower-case UUIDs, the call barrings as a JSON
 * array sorted by code, the whitelist in canonical form; absent: never set, or cleared. */
#ifndef SIPTRUNK_WORKER_SETTINGS_H
#define SIPTRUNK_WORKER_SETTINGS_H

#include "worker/command.h"

/* Slots of EditChannel's fields, in the order of the record. */
enum edit_slot {
    EDIT_BEFORE_FIRST = SLOT_OWN - 1,
#define FIELD(symbol, ...)   EDIT_##symbol,
#define SETTING(symbol, ...) EDIT_##symbol,
#define ALIAS(symbol, ...)   EDIT_##symbol,
#define RECORD(symbol, ...)  EDIT_##symbol,
#define SETTINGS_OF_ALL
#include "worker/settings.def"
    EDIT_SLOT_COUNT
};

/* The stored settings, in the order of the record. */
enum setting {
#define SETTING(symbol, ...) SETTING_##symbol,
#define SETTINGS_OF_ALL
#include "worker/settings.def"
    SETTING_COUNT
};

struct setting_info {
    const char *pointer;
    const char *column;
    int slot;
};

extern const struct setting_info settings[SETTING_COUNT];

struct setting_alias {
    int slot;
    const char *pointer;
    enum setting setting;
};

extern const struct setting_alias setting_aliases[];
extern const size_t setting_alias_count;

#endif
