/* Telephone numbers in E.164 form: "+" and 2 to 15 digits, the first one not 0. The international
 * prefix "00" is converted; bare digits are refused, never guessed. */
#ifndef SIPTRUNK_COMMON_E164_H
#define SIPTRUNK_COMMON_E164_H

#include "common/slice.h"

enum { E164_MAX_SIZE = 16 };

struct e164 {
    char text[E164_MAX_SIZE + 1]; /* canonical, NUL-terminated */
    size_t size;
    bool converted_from_00;
};

/* NULL when text is a number (then *ret is set), else why not, as half a sentence for people. */
const char *e164_parse(struct slice text, struct e164 *ret);

#endif
