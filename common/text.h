/* Text as it comes from strangers: is it UTF-8, does it hold control characters, how long is it.
 * Limits of the contract count code points. Knows nothing of fields; see worker/validate.h. */
#ifndef SIPTRUNK_COMMON_TEXT_H
#define SIPTRUNK_COMMON_TEXT_H

#include "common/slice.h"

/* Valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF) and free of U+0000-001F, 007F
 * and 0080-009F. Absent and empty texts are clean. */
bool text_is_clean(struct slice text);

/* Code points of a valid UTF-8 text. */
size_t text_length(struct slice text);

/* The longest prefix of at most max_bytes that does not split a code point. */
struct slice text_cut(struct slice text, size_t max_bytes);

/* Every byte is printable ASCII: U+0021-007E. */
bool text_is_printable_ascii(struct slice text);

#endif
