/* Secrets at rest: AES-256-GCM under keys from a file, bound to where they are stored. Keys live in
 * memory that is wiped on release. One vault per thread (its cipher context is reused). */
#ifndef SIPTRUNK_COMMON_VAULT_H
#define SIPTRUNK_COMMON_VAULT_H

#include "common/error.h"
#include "common/slice.h"
#include "common/uuid.h"

#include <stdint.h>

enum { VAULT_NONCE_SIZE = 12, VAULT_TAG_SIZE = 16, VAULT_KEY_ID_MAX = 64 };

struct vault;

/* key_file: lines keyid:64 hex digits, # begins a comment; the first key encrypts, all decrypt. ""
 * for none: then secrets are refused, or with allow_plaintext kept as they are under the key id
 * "plaintext" with an empty nonce. FAULT_CONFIG names file and line, never a key. */
struct vault *vault_new(const char *key_file, bool allow_plaintext, struct error *err);
void vault_free(struct vault *vault); /* accepts NULL */

/* Whether secrets can be kept at all. */
bool vault_is_open(const struct vault *vault);

/* What a SIP password is bound to: account and channel. */
enum { VAULT_PLACE_SIZE = 24 };
struct slice vault_channel(const struct uuid *account_id, int64_t channel_id,
                           char room[VAULT_PLACE_SIZE]);

/* The id of the key that seals; "" when there is none. */
const char *vault_key_id(const struct vault *vault);

/* From each key of the file another one is derived, for the MACs of commands: index 0, 1, ... in
 * the file's order. The id is the file's, in the vault's memory; NULL beyond the last one. ret is
 * the caller's to wipe. */
enum { VAULT_MAC_KEY_SIZE = 32 };
const char *vault_mac_key(const struct vault *vault, size_t index, uint8_t ret[VAULT_MAC_KEY_SIZE]);

struct sealed {
    struct slice key_id, nonce, ciphertext; /* ciphertext with the tag behind it */
};

/* Room that vault_seal needs for a secret of size bytes. */
size_t vault_sealed_size(size_t size);

/* bound_to: authenticated, not stored. room holds nonce and ciphertext, which *ret points into; the
 * key id is the vault's. FAULT_RETRY when the system gives no randomness. */
bool vault_seal(struct vault *vault, struct slice bound_to, struct slice secret, char *room,
                struct sealed *ret, struct error *err) MUST_CHECK;

/* room: of the ciphertext's size; *ret points into it, and is the caller's to wipe. FAULT_STATE
 * when the key is not there, or what is stored was not sealed by it for bound_to. */
bool vault_open(struct vault *vault, struct slice bound_to, const struct sealed *sealed, char *room,
                struct slice *ret, struct error *err) MUST_CHECK;

#endif
