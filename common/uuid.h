/* UUIDs: text form 8-4-4-4-12 in any case, stored as 16 bytes, printed in lower case; name-based
 * ones of version 5 (RFC 4122, section 4.3). */
#ifndef SIPTRUNK_COMMON_UUID_H
#define SIPTRUNK_COMMON_UUID_H

#include "common/digest.h"
#include "common/slice.h"

#include <stdint.h>

enum { UUID_TEXT_SIZE = 36 };

struct uuid {
    uint8_t bytes[16];
};

/* RFC 4122, appendix C. */
extern const struct uuid uuid_namespace_url;

/* False for anything but the 36 characters of the text form; *ret is set only on success. */
bool uuid_parse(struct slice text, struct uuid *ret);

/* Writes 36 characters and a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE + 1]);

struct uuid uuid_v5(struct digests *digests, const struct uuid *space, struct slice name);

/* A random one of version 4; false when the system gives no randomness. */
bool uuid_v4(struct uuid *ret);

bool uuid_equal(const struct uuid *a, const struct uuid *b);

#endif
