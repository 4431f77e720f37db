/* UUID text form and name-based UUIDs. */
#include "common/uuid.h"

#include <sys/random.h>

const struct uuid uuid_namespace_url = {{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4,
                                         0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}};

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_dash_place(size_t i) {
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool uuid_parse(struct slice text, struct uuid *ret) {
    if (text.size != UUID_TEXT_SIZE)
        return false;
    struct uuid uuid = {{0}};
    size_t digit = 0;
    for (size_t i = 0; i < UUID_TEXT_SIZE; i++) {
        if (is_dash_place(i)) {
            if (text.data[i] != '-')
                return false;
            continue;
        }
        int value = hex_value(text.data[i]);
        if (value < 0)
            return false;
        uuid.bytes[digit / 2] = (uint8_t)(uuid.bytes[digit / 2] << 4 | value);
        digit++;
    }
    *ret = uuid;
    return true;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE + 1]) {
    static const char hex[] = "0123456789abcdef";
    size_t digit = 0;
    for (size_t i = 0; i < UUID_TEXT_SIZE; i++) {
        if (is_dash_place(i)) {
            text[i] = '-';
            continue;
        }
        uint8_t byte = uuid->bytes[digit / 2];
        text[i] = hex[digit % 2 ? byte & 15 : byte >> 4];
        digit++;
    }
    text[UUID_TEXT_SIZE] = '\0';
}

static void set_version(struct uuid *uuid, unsigned version) {
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0F) | version << 4);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3F) | 0x80);
}

struct uuid uuid_v5(struct digests *digests, const struct uuid *space, struct slice name) {
    uint8_t sha1[20];
    digest_sha1(digests,
                (struct slice){.data = (const char *)space->bytes, .size = sizeof space->bytes},
                name, sha1);
    struct uuid uuid;
    memcpy(uuid.bytes, sha1, sizeof uuid.bytes);
    set_version(&uuid, 5);
    return uuid;
}

bool uuid_v4(struct uuid *ret) {
    struct uuid uuid;
    if (getrandom(uuid.bytes, sizeof uuid.bytes, 0) != (ssize_t)sizeof uuid.bytes)
        return false;
    set_version(&uuid, 4);
    *ret = uuid;
    return true;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
