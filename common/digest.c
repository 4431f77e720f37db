/* Reused libcrypto contexts. */
#include "common/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

struct mac_key {
    char id[MAC_KEY_ID_MAX + 1];
    EVP_MAC_CTX *context; /* keyed once */
};

struct digests {
    EVP_MD *sha1;
    EVP_MD *sha256;
    EVP_MD_CTX *context;
    EVP_MAC *hmac;
    struct mac_key mac_keys[MAC_KEYS_MAX];
    size_t mac_key_count;
};

struct digests *digests_new(struct error *err) {
    struct digests *digests = calloc(1, sizeof *digests);
    if (!digests) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for digests");
        return NULL;
    }
    digests->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    digests->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    digests->context = EVP_MD_CTX_new();
    digests->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (digests->sha1 && digests->sha256 && digests->context && digests->hmac)
        return digests;
    digests_free(digests);
    error_set(err, FAULT_STATE, "libcrypto", "libcrypto does not offer SHA-1, SHA-256 and HMAC");
    return NULL;
}

void digests_free(struct digests *digests) {
    if (!digests)
        return;
    EVP_MD_free(digests->sha1);
    EVP_MD_free(digests->sha256);
    EVP_MD_CTX_free(digests->context);
    digests_forget_mac_keys(digests);
    EVP_MAC_free(digests->hmac);
    free(digests);
}

void digests_forget_mac_keys(struct digests *digests) {
    for (size_t i = 0; i < digests->mac_key_count; i++)
        EVP_MAC_CTX_free(digests->mac_keys[i].context);
    digests->mac_key_count = 0;
}

bool digests_add_mac_key(struct digests *digests, const char *id, struct slice key,
                         struct error *err) {
    char name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                           OSSL_PARAM_construct_end()};
    if (digests->mac_key_count == MAC_KEYS_MAX || strlen(id) > MAC_KEY_ID_MAX)
        return error_set(err, FAULT_CONFIG, "mac-key", "MAC key %s: too many keys, or a long id",
                         id);
    struct mac_key *added = &digests->mac_keys[digests->mac_key_count];
    added->context = EVP_MAC_CTX_new(digests->hmac);
    if (!added->context ||
        EVP_MAC_init(added->context, (const unsigned char *)key.data, key.size, params) != 1) {
        EVP_MAC_CTX_free(added->context);
        return error_set(err, FAULT_CONFIG, "mac-key", "MAC key %s is not usable (%zu bytes)", id,
                         key.size);
    }
    strcpy(added->id, id);
    digests->mac_key_count++;
    return true;
}

struct slice digests_mac_key_id(const struct digests *digests) {
    return digests->mac_key_count > 0 ? slice_of(digests->mac_keys[0].id) : SLICE_NONE;
}

static void digest(struct digests *digests, const EVP_MD *md, struct slice a, struct slice b,
                   uint8_t *ret) {
    bool done = EVP_DigestInit_ex2(digests->context, md, NULL) == 1 &&
                EVP_DigestUpdate(digests->context, a.data, a.size) == 1 &&
                EVP_DigestUpdate(digests->context, b.data, b.size) == 1 &&
                EVP_DigestFinal_ex(digests->context, ret, NULL) == 1;
    if (!done)
        abort();
}

void digest_sha1(struct digests *digests, struct slice a, struct slice b, uint8_t ret[20]) {
    digest(digests, digests->sha1, a, b, ret);
}

void digest_sha256(struct digests *digests, struct slice a, struct slice b,
                   uint8_t ret[SHA256_SIZE]) {
    digest(digests, digests->sha256, a, b, ret);
}

static EVP_MAC_CTX *find_mac_key(struct digests *digests, struct slice id) {
    for (size_t i = 0; i < digests->mac_key_count; i++) {
        if (slice_is(id, digests->mac_keys[i].id))
            return digests->mac_keys[i].context;
    }
    return NULL;
}

bool digest_mac(struct digests *digests, struct slice key_id, struct slice data,
                uint8_t ret[MAC_SIZE]) {
    EVP_MAC_CTX *context = find_mac_key(digests, key_id);
    if (!context)
        return false;
    uint8_t whole[EVP_MAX_MD_SIZE];
    size_t size = 0;
    bool done = EVP_MAC_init(context, NULL, 0, NULL) == 1 &&
                EVP_MAC_update(context, (const unsigned char *)data.data, data.size) == 1 &&
                EVP_MAC_final(context, whole, &size, sizeof whole) == 1 && size >= MAC_SIZE;
    if (!done)
        abort();
    memcpy(ret, whole, MAC_SIZE);
    return true;
}
