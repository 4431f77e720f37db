/* The rows of common/reasons.def as tables. */
#include "common/reasons.h"

#include <string.h>

#define IDENTIFIER_OPERATOR   "urn:error:sip-trunk:operator"
#define IDENTIFIER_RIGHTS     "urn:error:sip-trunk:insufficient-rights"
#define IDENTIFIER_VALIDATION "urn:error:sip-trunk:validation"
#define IDENTIFIER_INTERNAL   "urn:error:sip-trunk:internal"

enum { STATUS_VALIDATION = 400, STATUS_RIGHTS = 403, STATUS_OPERATOR = 422, STATUS_INTERNAL = 500 };

static const struct reason_info reasons[REASON_COUNT] = {
#define REASON_ROW(symbol, kind, text, sentence)                                                   \
    [REASON_##symbol] = {.name = text,                                                             \
                         .identifier = IDENTIFIER_##kind,                                          \
                         .urn = IDENTIFIER_##kind ":" text,                                        \
                         .message = sentence,                                                      \
                         .status_code = STATUS_##kind},
#include "common/reasons.def"
#undef REASON_ROW
};

static const struct warning_info warnings[WARNING_COUNT] = {
#define WARNING_ROW(symbol, text, sentence)                                                        \
    [WARNING_##symbol] = {.name = text, .message = sentence},
#include "common/reasons.def"
#undef WARNING_ROW
};

const struct reason_info *reason_info(enum reason reason) {
    return reason == REASON_NONE ? NULL : &reasons[reason];
}

enum reason reason_by_name(const char *name) {
    for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        if (!strcmp(reasons[reason].name, name))
            return (enum reason)reason;
    }
    return REASON_NONE;
}

const struct warning_info *warning_info(enum warning_code code) {
    return &warnings[code];
}
