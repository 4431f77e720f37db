/* Avro bytes and schemas by hand, for the tests of what reads them. */
#ifndef SIPTRUNK_TESTS_AVRO_BUILD_H
#define SIPTRUNK_TESTS_AVRO_BUILD_H

#include "common/buffer.h"

#include <stdint.h>

/* An int or a long. */
static inline void put_number(struct buffer *out, int64_t value) {
    uint64_t zigzag = ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
    do {
        char byte = (char)((zigzag & 0x7f) | (zigzag > 0x7f ? 0x80 : 0));
        buffer_add(out, &byte, 1);
        zigzag >>= 7;
    } while (zigzag);
}

static inline void put_byte(struct buffer *out, int byte) {
    char one = (char)byte;
    buffer_add(out, &one, 1);
}

static inline void put_string(struct buffer *out, const char *text) {
    put_number(out, (int64_t)strlen(text));
    buffer_add_text(out, text);
}

/* A text of that many letters. */
static inline void put_letters(struct buffer *out, size_t size) {
    put_number(out, (int64_t)size);
    char *room = buffer_reserve(out, size);
    if (room) {
        memset(room, 'x', size);
        out->size += size;
    }
}

#endif
