/* Configuration of both programs: one table of keys, four sources, later wins (defaults, file,
 * environment, -X). Reads and checks values; connects to nothing. Immutable once loaded, so any
 * thread may read. */
#ifndef SIPTRUNK_COMMON_CONFIG_H
#define SIPTRUNK_COMMON_CONFIG_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* The keys: one row each in common/config.def, which has also type, default, limits and the help
 * line. */
enum config_key {
#define CONFIG_ROW(symbol, name, type, default_value, min, max, help) CONFIG_##symbol,
#include "common/config.def"
#undef CONFIG_ROW
    CONFIG_KEY_COUNT
};

struct config;

struct config *config_new(void);
void config_free(struct config *config); /* accepts NULL */

/* Once for each object. file may be NULL (then none is read); overrides are "key=value" texts of
 * -X. On failure err names the source, the line, the key and, for an unknown key, the nearest one;
 * the object is then good for config_free alone. A file has lines of key=value; blanks around both
 * are dropped, lines of # and empty ones passed over. Environment: SIPTRUNK_ and the key in upper
 * case, "." as "_"; with _FILE behind it, the value is what the file of that name holds, less the
 * line ends behind it. SIPTRUNK_DEV_* and SIPTRUNK_FAILPOINT* are not ours and passed over; any
 * other unknown SIPTRUNK_* is an error. */
bool config_load(struct config *config, const char *file, const char *const *overrides,
                 size_t override_count, struct error *err) MUST_CHECK;

/* Never NULL: "" when unset. Owned by config. */
const char *config_text(const struct config *config, enum config_key key);

/* Of an INTEGER or BYTES; of log.level and log.format the value of enum log_level and log_format.
 */
int64_t config_int(const struct config *config, enum config_key key);
bool config_bool(const struct config *config, enum config_key key);

/* A comma-separated list, trimmed: item i, or NULL past the end. */
const char *config_item(const struct config *config, enum config_key key, size_t index);
size_t config_item_count(const struct config *config, enum config_key key);

/* The kafka.* keys given, without the prefix, in order; false past the end. bootstrap.servers and
 * group.id are not among them: they have keys of their own. */
bool config_kafka_property(const struct config *config, size_t index, const char **ret_name,
                           const char **ret_value);

/* "default", "file siptrunk.conf:3", "environment SIPTRUNK_X", "-X". */
const char *config_source(const struct config *config, enum config_key key);

/* The key's name, and its value as it may be shown: passwords in it are stars. */
const char *config_name(enum config_key key);
const char *config_shown(const struct config *config, enum config_key key);

/* Whether the value of a kafka.* key (name without the prefix) must not be shown. */
bool config_kafka_is_secret(const char *name);

/* The table of keys with defaults, as text for --help. */
const char *config_help(void);

#endif
