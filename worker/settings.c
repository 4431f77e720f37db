/* The tables that worker/settings.def spells out. */
#include "worker/settings.h"

const struct setting_info settings[SETTING_COUNT] = {
#define SETTING(symbol, name, reader, rule, json_pointer, sql_column, read, write)                 \
    [SETTING_##symbol] = {.pointer = json_pointer, .column = sql_column, .slot = EDIT_##symbol},
#define SETTINGS_OF_ALL
#include "worker/settings.def"
};

const struct setting_alias setting_aliases[] = {
#define ALIAS(symbol, name, reader, rule, json_pointer, of)                                        \
    {.slot = EDIT_##symbol, .pointer = json_pointer, .setting = SETTING_##of},
#define SETTINGS_OF_ALL
#include "worker/settings.def"
};
const size_t setting_alias_count = sizeof setting_aliases / sizeof setting_aliases[0];
