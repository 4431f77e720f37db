/* Why a command is refused, and what is worth a warning: the catalogue of schemas/errors.json in C.
 * Texts that vary with the command are left to those who refuse it. */
#ifndef SIPTRUNK_COMMON_REASONS_H
#define SIPTRUNK_COMMON_REASONS_H

#include <stddef.h>

enum reason {
    REASON_NONE,
#define REASON_ROW(symbol, kind, name, message) REASON_##symbol,
#include "common/reasons.def"
#undef REASON_ROW
    REASON_COUNT
};

struct reason_info {
    const char *name;       /* "proxy-not-found" */
    const char *identifier; /* "urn:error:sip-trunk:operator" */
    const char *urn;        /* identifier, ":" and name */
    const char *message;    /* the same for every command */
    int status_code;        /* of the guide's HTTP interface */
};

/* Never NULL for a reason; NULL for REASON_NONE. */
const struct reason_info *reason_info(enum reason reason);

/* REASON_NONE when the catalogue has no such name. */
enum reason reason_by_name(const char *name);

enum warning_code {
#define WARNING_ROW(symbol, name, message) WARNING_##symbol,
#include "common/reasons.def"
#undef WARNING_ROW
    WARNING_COUNT
};

struct warning_info {
    const char *name; /* "alias-used" */
    const char *message;
};

const struct warning_info *warning_info(enum warning_code code);

#endif
