/* The primitive types of Avro's binary encoding, read from untrusted bytes (Avro specification,
 * "Binary Encoding"): every length is checked against what is left before memory is touched, and
 * nothing is copied. What the values mean is left to avro_plan and avro_json. Inlined, since it
 * runs once per field. */
#ifndef SIPTRUNK_COMMON_AVRO_BYTES_H
#define SIPTRUNK_COMMON_AVRO_BYTES_H

#include "common/error.h"
#include "common/slice.h"

#include <stdint.h>

/* Limits of the contract, on whatever schema. */
enum {
    AVRO_MAX_MESSAGE = 256 * 1024, /* bytes of one body */
    AVRO_MAX_TEXT = 4 * 1024,      /* bytes of one text that we take */
    AVRO_MAX_ITEMS = 1024,         /* items of one array or map, over all its blocks */
    AVRO_MAX_DEPTH = 16,           /* records, arrays and maps inside each other */
};

/* Why reading stopped. */
enum avro_fail {
    AVRO_OK,
    AVRO_FAIL_SHORT,   /* the bytes end inside a value */
    AVRO_FAIL_VARINT,  /* a number is longer or larger than its type */
    AVRO_FAIL_BOOLEAN, /* neither 0 nor 1 */
    AVRO_FAIL_LENGTH,  /* negative, or more than is left */
    AVRO_FAIL_SYMBOL,  /* an enum's or a union's index past the end */
    AVRO_FAIL_BLOCK,   /* a block has another size than it says */
    AVRO_FAIL_REST,    /* bytes are left over */
    AVRO_FAIL_KEY,     /* a map's key is not UTF-8; for those who need it */
    AVRO_FAIL_ITEMS,   /* over AVRO_MAX_ITEMS */
    AVRO_FAIL_DEPTH,   /* over AVRO_MAX_DEPTH; for those who recurse */
    AVRO_FAIL_MESSAGE, /* over AVRO_MAX_MESSAGE */
    AVRO_FAIL_RECORD,  /* a record that nobody here reads */
    AVRO_FAIL_MEMORY,  /* no room for what was read */
    AVRO_FAIL_COUNT
};

struct avro_bytes {
    const char *at;
    const char *end;
};

static inline struct avro_bytes avro_bytes_of(struct slice body) {
    /* Not NULL, so that an empty text in an empty body is still a present one. */
    const char *data = body.data ? body.data : "";
    return (struct avro_bytes){.at = data, .end = data + body.size};
}

static inline size_t avro_bytes_left(const struct avro_bytes *bytes) {
    return (size_t)(bytes->end - bytes->at);
}

/* A zigzag number of at most max_size bytes whose last byte, when the size is reached, is at most
 * max_last. */
static inline enum avro_fail avro_read_varint(struct avro_bytes *bytes, unsigned max_size,
                                              unsigned char max_last, int64_t *ret) {
    uint64_t zigzag = 0;
    for (unsigned i = 0; i < max_size; i++) {
        if (bytes->at == bytes->end)
            return AVRO_FAIL_SHORT;
        unsigned char byte = (unsigned char)*bytes->at++;
        if (i == max_size - 1 && byte > max_last)
            return AVRO_FAIL_VARINT;
        zigzag |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80))
            break;
    }
    *ret = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
    return AVRO_OK;
}

/* 64 bits: ten bytes, the last one holding one bit. */
static inline enum avro_fail avro_read_long(struct avro_bytes *bytes, int64_t *ret) {
    return avro_read_varint(bytes, 10, 0x01, ret);
}

/* 32 bits: five bytes, the last one holding four bits. */
static inline enum avro_fail avro_read_int(struct avro_bytes *bytes, int64_t *ret) {
    return avro_read_varint(bytes, 5, 0x0f, ret);
}

static inline enum avro_fail avro_read_boolean(struct avro_bytes *bytes, bool *ret) {
    if (bytes->at == bytes->end)
        return AVRO_FAIL_SHORT;
    unsigned char byte = (unsigned char)*bytes->at;
    if (byte > 1)
        return AVRO_FAIL_BOOLEAN;
    bytes->at++;
    *ret = byte;
    return AVRO_OK;
}

/* size bytes as they stand: fixed, float (4), double (8). The slice points into the message. */
static inline enum avro_fail avro_read_fixed(struct avro_bytes *bytes, size_t size,
                                             struct slice *ret) {
    if (size > avro_bytes_left(bytes))
        return AVRO_FAIL_SHORT;
    *ret = (struct slice){.data = bytes->at, .size = size};
    bytes->at += size;
    return AVRO_OK;
}

/* A string or bytes. The slice points into the message and is not checked for UTF-8. */
static inline enum avro_fail avro_read_text(struct avro_bytes *bytes, struct slice *ret) {
    int64_t size;
    enum avro_fail fail = avro_read_long(bytes, &size);
    if (fail)
        return fail;
    if (size < 0 || (uint64_t)size > avro_bytes_left(bytes))
        return AVRO_FAIL_LENGTH;
    return avro_read_fixed(bytes, (size_t)size, ret);
}

/* The index of an enum's symbol (an int) below count. */
static inline enum avro_fail avro_read_symbol(struct avro_bytes *bytes, uint32_t count,
                                              uint32_t *ret) {
    int64_t index;
    enum avro_fail fail = avro_read_int(bytes, &index);
    if (fail)
        return fail;
    if (index < 0 || index >= (int64_t)count)
        return AVRO_FAIL_SYMBOL;
    *ret = (uint32_t)index;
    return AVRO_OK;
}

/* The index of a union's branch (a long) below count. */
static inline enum avro_fail avro_read_branch(struct avro_bytes *bytes, uint32_t count,
                                              uint32_t *ret) {
    int64_t index;
    enum avro_fail fail = avro_read_long(bytes, &index);
    if (fail)
        return fail;
    if (index < 0 || index >= (int64_t)count)
        return AVRO_FAIL_SYMBOL;
    *ret = (uint32_t)index;
    return AVRO_OK;
}

/* An array or map being read: blocks of items, the last one empty. */
struct avro_blocks {
    const char *block_end; /* where the block says that it ends; NULL when it does not say */
    uint32_t left;         /* items of this block still to come */
    uint32_t total;        /* items of all blocks so far, this one included */
};

/* Ends the block before (if any) and begins the next one; left is 0 when there is none. */
static inline enum avro_fail avro_next_block(struct avro_bytes *bytes, struct avro_blocks *blocks) {
    if (blocks->block_end && blocks->block_end != bytes->at)
        return AVRO_FAIL_BLOCK;
    blocks->block_end = NULL;
    int64_t count;
    enum avro_fail fail = avro_read_long(bytes, &count);
    if (fail)
        return fail;
    /* Unsigned, since the least of all numbers has no positive counterpart. */
    uint64_t items = count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    if (items > AVRO_MAX_ITEMS - blocks->total)
        return AVRO_FAIL_ITEMS;
    blocks->left = (uint32_t)items;
    blocks->total += (uint32_t)items;
    if (count >= 0)
        return AVRO_OK;
    int64_t size;
    fail = avro_read_long(bytes, &size);
    if (fail)
        return fail;
    if (size < 0 || (uint64_t)size > avro_bytes_left(bytes))
        return AVRO_FAIL_LENGTH;
    blocks->block_end = bytes->at + size;
    return AVRO_OK;
}

/* As an error value, with the place: FAULT_INPUT and a reason's name ("schema", "too-long",
 * "unknown-command"), or FAULT_RETRY "out-of-memory". Returns false. */
bool avro_fail_error(enum avro_fail fail, const struct avro_bytes *bytes, struct slice body,
                     struct error *err);

#endif
