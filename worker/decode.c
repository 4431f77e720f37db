/* Framing -> schema -> values -> checks -> MAC. */
#include "worker/decode.h"

#include "common/failpoint.h"
#include "common/framing.h"
#include "worker/command_mac.h"
#include "worker/validate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct uuid derived_id(const struct decoder *decoder, const struct source *source) {
    char name[512];
    int size = snprintf(name, sizeof name,
                        "siptrunk:" SLICE_FMT ":" SLICE_FMT ":%" PRId32 ":%" PRId64 ":%" PRId64,
                        SLICE_ARG(decoder->cluster_id), SLICE_ARG(source->topic), source->partition,
                        source->offset, source->timestamp_ms);
    return uuid_v5(decoder->digests, &uuid_namespace_url,
                   (struct slice){.data = name, .size = (size_t)size});
}

static bool make_dead_letter(struct command *command, struct arena *arena, enum reason reason,
                             const char *message, struct error *err) {
    command->handling = HANDLE_DEAD_LETTER;
    command->dead_reason = reason;
    command->dead_stage = "decode";
    command->dead_message = arena_copy(arena, slice_of(message));
    return command->dead_message.data || arena_exhausted(err);
}

/* ---- the stage ---- */

bool decode_give_up(const struct record *record, struct arena *arena, struct command *ret,
                    struct error *err) {
    *ret = (struct command){.record = *record};
    bool ok = make_dead_letter(ret, arena, REASON_BUG,
                               "the worker died of this record again and again", err);
    ret->dead_stage = "intake";
    return ok;
}

bool decode_record(const struct decoder *decoder, const struct record *record, struct arena *arena,
                   struct command *ret, struct error *err) {
    *ret = (struct command){.record = *record, .handling = HANDLE_COMMAND};
    ret->derived_id = derived_id(decoder, &record->source);
    if (planted_bug(BUG_DIE_OF_RECORD) && record->value.data &&
        memmem(record->value.data, record->value.size, "die of this", 11))
        abort();
    if (!record->value.data) {
        ret->handling = HANDLE_TOMBSTONE;
        return true;
    }
    uint64_t fingerprint;
    struct slice body;
    struct error why = {0};
    if (!framing_parse(record->value, &fingerprint, &body, &why))
        return make_dead_letter(ret, arena, REASON_SCHEMA, why.message, err);
    const struct avro_plan *plan = schema_set_find(decoder->schemas, fingerprint);
    if (!plan) {
        snprintf(why.message, sizeof why.message,
                 "no schema with fingerprint %016" PRIx64
                 " is known; put its .avsc into schema.dir",
                 fingerprint);
        return make_dead_letter(ret, arena, REASON_SCHEMA, why.message, err);
    }
    struct avro_decoded decoded;
    if (!avro_plan_run(plan, body, arena, &decoded, &why)) {
        if (why.fault != FAULT_INPUT)
            return arena_exhausted(err);
        return make_dead_letter(ret, arena, reason_by_name(why.id), why.message, err);
    }
    ret->type = command_type_of(decoded.record);
    ret->values = decoded.values;
    if (!validate_command(ret, arena) || arena_failed(arena))
        return arena_exhausted(err);
    return command_mac(ret, decoder->digests, digests_mac_key_id(decoder->digests), arena, ret->mac,
                       err);
}
