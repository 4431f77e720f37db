/* Configuration: the first byte says whether the rest is a file or -X overrides, a line each. */
#include "common/config.h"
#include "common/log.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

enum { MAX_OVERRIDES = 64, PATH_BYTES = 64 };

/* What was taken is within the limits of its row, and what may be shown is there. */
static void check_values(const struct config *config) {
    static const struct {
        int64_t min, max;
        bool number;
    } rows[] = {
#define CONFIG_ROW(symbol, name, type, default_value, min, max, help) {min, max, max > 0},
#include "common/config.def"
#undef CONFIG_ROW
    };
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        enum config_key which = (enum config_key)key;
        REQUIRE(config_text(config, which) && config_shown(config, which) &&
                config_source(config, which));
        if (rows[key].number && config_text(config, which)[0])
            REQUIRE(config_int(config, which) >= rows[key].min &&
                    config_int(config, which) <= rows[key].max);
        for (size_t i = 0; i < config_item_count(config, which); i++)
            REQUIRE(config_item(config, which, i)[0]);
    }
    const char *name, *value;
    for (size_t i = 0; config_kafka_property(config, i, &name, &value); i++)
        REQUIRE(name[0] && value && strcmp(name, "transactional.id") != 0);
}

static void load(const char *file, const char *const *overrides, size_t count) {
    struct error err;
    struct config *config = config_new();
    REQUIRE(config);
    if (config_load(config, file, overrides, count, &err))
        check_values(config);
    else
        REQUIRE(err.fault == FAULT_CONFIG && err.message[0]);
    config_free(config);
}

static void load_file(struct slice text) {
    char path[PATH_BYTES];
    int fd = memfd_create("siptrunk.conf", 0);
    REQUIRE(fd >= 0 && write(fd, text.data, text.size) == (ssize_t)text.size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    load(path, NULL, 0);
    close(fd);
}

static void load_overrides(struct slice text) {
    char *lines = strndup(text.data, text.size), *rest = lines;
    const char *overrides[MAX_OVERRIDES];
    size_t count = 0;
    REQUIRE(lines);
    while (rest && count < MAX_OVERRIDES)
        overrides[count++] = strsep(&rest, "\n");
    load(NULL, overrides, count);
    free(lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice rest = {.data = (const char *)data, .size = size};
    bool file = fuzz_byte(&rest) % 2 == 0;
    (file ? load_file : load_overrides)(rest);
    return 0;
}
