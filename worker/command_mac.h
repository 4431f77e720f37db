/* The MAC by which a resend is told from another command under the same id. */
#ifndef SIPTRUNK_WORKER_COMMAND_MAC_H
#define SIPTRUNK_WORKER_COMMAND_MAC_H

#include "worker/command.h"

/* Of a decoded command, under the digests' key of that id. FAULT_STATE when the key is not there,
 * FAULT_RETRY when the arena is exhausted. */
bool command_mac(const struct command *command, struct digests *digests, struct slice key_id,
                 struct arena *arena, uint8_t ret[MAC_SIZE], struct error *err) MUST_CHECK;

#endif
