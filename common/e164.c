/* Canonical E.164 numbers; ITU-T E.164 (11/2010), section 6: at most 15 digits. */
#include "common/e164.h"

enum { MIN_DIGITS = 2, MAX_DIGITS = 15 };

static bool all_digits(struct slice text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    }
    return true;
}

static bool starts_with(struct slice text, const char *prefix) {
    size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static struct slice without(struct slice text, size_t prefix_size) {
    return (struct slice){.data = text.data + prefix_size, .size = text.size - prefix_size};
}

const char *e164_parse(struct slice text, struct e164 *ret) {
    bool from_00 = starts_with(text, "00");
    struct slice digits = without(text, from_00 ? 2 : starts_with(text, "+") ? 1 : 0);
    if (starts_with(text, " ") && all_digits(without(text, 1)))
        return "it begins with a space where a + is expected; a + was probably lost in URL "
               "decoding";
    if (!all_digits(digits))
        return "only + and the digits 0 to 9 are allowed";
    if (digits.size == text.size)
        return "it must begin with + or 00 and the country code";
    if (digits.size < MIN_DIGITS || digits.size > MAX_DIGITS)
        return "it must have 2 to 15 digits";
    if (digits.data[0] == '0')
        return "a country code does not begin with 0";
    struct e164 number = {.size = digits.size + 1, .converted_from_00 = from_00};
    number.text[0] = '+';
    memcpy(number.text + 1, digits.data, digits.size);
    *ret = number;
    return NULL;
}
