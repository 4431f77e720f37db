/* Checks each field of a decoded command by its rule, without any knowledge of stored data, and
 * collects every problem in the order of the record's fields. Sets the parsed ids and the canonical
 * number. */
#ifndef SIPTRUNK_WORKER_VALIDATE_H
#define SIPTRUNK_WORKER_VALIDATE_H

#include "worker/command.h"

/* When one of the two ids is malformed nothing else is looked at. False when the arena is
 * exhausted. */
bool validate_command(struct command *command, struct arena *arena) MUST_CHECK;

#endif
