/* Inside of validation: a field being checked, and the rules of settings, which live in a file of
 * their own. For worker/validate.c and worker/setting_rules.c only. */
#ifndef SIPTRUNK_WORKER_FIELD_H
#define SIPTRUNK_WORKER_FIELD_H

#include "worker/command.h"

enum { MAX_CHANNEL_NAME = 64 };

struct field {
    struct command *command;
    struct arena *arena;
    const struct value *value;
    const char *pointer;
    struct canonical *canonical; /* of a setting: its rule fills it */
};

/* Every function and rule here is false only when the arena is exhausted. */

/* Adds a problem of the field; the message may be absent. */
bool field_refuse(struct field *field, enum reason reason, struct slice message) MUST_CHECK;

bool field_missing(const struct value *value);

/* What every text field shares: type, size, encoding. *ret_usable says whether its own rule may
 * look at it. */
bool field_text(struct field *field, bool *ret_usable) MUST_CHECK;

bool rule_record(struct field *field) MUST_CHECK;
bool rule_new_name(struct field *field) MUST_CHECK;
bool rule_password(struct field *field) MUST_CHECK;
bool rule_caller_id(struct field *field) MUST_CHECK;
bool rule_area_code(struct field *field) MUST_CHECK;
bool rule_flag(struct field *field) MUST_CHECK;
bool rule_flag_or_text(struct field *field) MUST_CHECK;
bool rule_call_barrings(struct field *field) MUST_CHECK;
bool rule_uuid(struct field *field) MUST_CHECK;
bool rule_opaque(struct field *field) MUST_CHECK;
bool rule_whitelist(struct field *field) MUST_CHECK;
bool rule_ping(struct field *field) MUST_CHECK;
bool rule_ringing_timeout(struct field *field) MUST_CHECK;
bool rule_dtmf(struct field *field) MUST_CHECK;
bool rule_rtp_timeout(struct field *field) MUST_CHECK;
bool rule_clip_method(struct field *field) MUST_CHECK;
bool rule_dial_string(struct field *field) MUST_CHECK;
bool rule_tenant_id(struct field *field) MUST_CHECK;

#endif
