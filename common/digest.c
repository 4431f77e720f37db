/* Reused libcrypto contexts. */
#include "common/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

struct digests {
    EVP_MD *sha1;
    EVP_MD *sha256;
    EVP_MD_CTX *context;
    EVP_MAC_CTX *mac;
};

struct digests *digests_new(struct error *err) {
    struct digests *digests = calloc(1, sizeof *digests);
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (digests) {
        digests->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
        digests->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        digests->context = EVP_MD_CTX_new();
        digests->mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    }
    EVP_MAC_free(hmac);
    if (digests && digests->sha1 && digests->sha256 && digests->context && digests->mac)
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
    EVP_MAC_CTX_free(digests->mac);
    free(digests);
}

bool digests_set_mac_key(struct digests *digests, struct slice key, struct error *err) {
    char name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                           OSSL_PARAM_construct_end()};
    if (EVP_MAC_init(digests->mac, (const unsigned char *)key.data, key.size, params) != 1)
        return error_set(err, FAULT_CONFIG, "mac-key", "the MAC key is not usable (%zu bytes)",
                         key.size);
    return true;
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

void digest_mac(struct digests *digests, struct slice data, uint8_t ret[MAC_SIZE]) {
    uint8_t whole[EVP_MAX_MD_SIZE];
    size_t size = 0;
    bool done = EVP_MAC_init(digests->mac, NULL, 0, NULL) == 1 &&
                EVP_MAC_update(digests->mac, (const unsigned char *)data.data, data.size) == 1 &&
                EVP_MAC_final(digests->mac, whole, &size, sizeof whole) == 1 && size >= MAC_SIZE;
    if (!done)
        abort();
    memcpy(ret, whole, MAC_SIZE);
}
