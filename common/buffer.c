/* Growth by doubling. What the bytes mean is left to others. */
#include "common/buffer.h"

#include <stdint.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 256 };

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer) {
    buffer->size = 0;
    buffer->failed = false;
}

static size_t next_capacity(size_t capacity, size_t wanted) {
    size_t doubled = capacity ? 2 * capacity : FIRST_CAPACITY;
    return doubled > wanted ? doubled : wanted;
}

char *buffer_reserve(struct buffer *buffer, size_t size) {
    if (buffer->failed || size > SIZE_MAX / 4 - buffer->size) {
        buffer->failed = true;
        return NULL;
    }
    size_t wanted = buffer->size + size;
    if (!buffer->data || wanted > buffer->capacity) {
        size_t capacity = next_capacity(buffer->capacity, wanted);
        char *bigger = realloc(buffer->data, capacity);
        if (!bigger) {
            buffer->failed = true;
            return NULL;
        }
        buffer->data = bigger;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size) {
    char *end = buffer_reserve(buffer, size);
    if (!end)
        return;
    if (size)
        memcpy(end, data, size);
    buffer->size += size;
}

void buffer_add_text(struct buffer *buffer, const char *text) {
    buffer_add(buffer, text, strlen(text));
}

struct slice buffer_slice(const struct buffer *buffer) {
    return (struct slice){.data = buffer->data ? buffer->data : "", .size = buffer->size};
}
