/* SHA-1 (for UUIDs), SHA-256 (for chains) and HMAC-SHA-256 (for comparing commands), over OpenSSL's
 * libcrypto with contexts that are made once, so that a digest allocates nothing. One per thread.
 */
#ifndef SIPTRUNK_COMMON_DIGEST_H
#define SIPTRUNK_COMMON_DIGEST_H

#include "common/error.h"
#include "common/slice.h"

#include <stdint.h>

enum { MAC_SIZE = 16, SHA256_SIZE = 32, MAC_KEYS_MAX = 33, MAC_KEY_ID_MAX = 64 };

struct digests;

/* NULL when libcrypto refuses (out of memory, provider without the algorithm). */
struct digests *digests_new(struct error *err);
void digests_free(struct digests *digests);

/* Keys of digest_mac, by id; the first one added is the current one. Copied. FAULT_CONFIG when
 * there are more than MAC_KEYS_MAX. */
bool digests_add_mac_key(struct digests *digests, const char *id, struct slice key,
                         struct error *err) MUST_CHECK;
void digests_forget_mac_keys(struct digests *digests);
struct slice digests_mac_key_id(const struct digests *digests); /* of the current one */

/* Digest of a followed by b. A failure of libcrypto here is out of memory at best: the process
 * aborts, since a wrong digest must not get out. */
void digest_sha1(struct digests *digests, struct slice a, struct slice b, uint8_t ret[20]);
void digest_sha256(struct digests *digests, struct slice a, struct slice b,
                   uint8_t ret[SHA256_SIZE]);

/* The first 128 bits of HMAC-SHA-256 under the key of that id; false when there is none. */
bool digest_mac(struct digests *digests, struct slice key_id, struct slice data,
                uint8_t ret[MAC_SIZE]) MUST_CHECK;

#endif
