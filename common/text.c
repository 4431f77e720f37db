/* UTF-8 checks after RFC 3629, by one table of first bytes. */
#include "common/text.h"

#include <stdint.h>

/* Allowed first bytes: how many bytes follow, and the range of the first one that follows. */
static const struct {
    unsigned char first_low, first_high, follow, second_low, second_high;
} sequences[] = {
    {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF}, {0xE1, 0xEC, 2, 0x80, 0xBF},
    {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF}, {0xF0, 0xF0, 3, 0x90, 0xBF},
    {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

/* Bytes of the code point at the start of p (1..4), or 0 when it is invalid or a control character.
 */
static size_t clean_code_point(const unsigned char *p, size_t left) {
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7F;
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        if (p[0] < sequences[i].first_low || p[0] > sequences[i].first_high)
            continue;
        size_t follow = sequences[i].follow;
        if (left <= follow || p[1] < sequences[i].second_low || p[1] > sequences[i].second_high)
            return 0;
        for (size_t k = 2; k <= follow; k++) {
            if ((p[k] & 0xC0) != 0x80)
                return 0;
        }
        bool c1_control = p[0] == 0xC2 && p[1] < 0xA0;
        return c1_control ? 0 : follow + 1;
    }
    return 0;
}

bool text_is_clean(struct slice text) {
    const unsigned char *p = (const unsigned char *)text.data;
    for (size_t i = 0; i < text.size;) {
        size_t size = clean_code_point(p + i, text.size - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

static bool is_continuation(char byte) {
    return ((unsigned char)byte & 0xC0) == 0x80;
}

size_t text_length(struct slice text) {
    size_t length = 0;
    for (size_t i = 0; i < text.size; i++)
        length += !is_continuation(text.data[i]);
    return length;
}

struct slice text_cut(struct slice text, size_t max_bytes) {
    if (text.size <= max_bytes)
        return text;
    size_t size = max_bytes;
    while (size > 0 && is_continuation(text.data[size]))
        size--;
    return (struct slice){.data = text.data, .size = size};
}

bool text_is_printable_ascii(struct slice text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x21 || text.data[i] > 0x7E)
            return false;
    }
    return true;
}
