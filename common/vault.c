/* The key file, and AES-256-GCM by libcrypto. NIST SP 800-38D: random nonces of 96 bits. */
#include "common/vault.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { KEY_SIZE = 32, MAX_KEYS = 32, MAX_LINE = 256 };

static const char plaintext_id[] = "plaintext";
static const char installation_id[] = "installation"; /* of the MAC key in the database */

struct key {
    char id[VAULT_KEY_ID_MAX + 1];
    uint8_t bytes[KEY_SIZE];
};

struct vault {
    struct key keys[MAX_KEYS];
    size_t key_count;
    bool allow_plaintext;
    EVP_CIPHER_CTX *context;
};

/* ---- the key file ---- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_key(const char *hex, struct key *key) {
    if (strlen(hex) != 2 * KEY_SIZE)
        return false;
    for (size_t i = 0; i < KEY_SIZE; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static const struct key *find_key(const struct vault *vault, struct slice id) {
    for (size_t i = 0; i < vault->key_count; i++) {
        if (slice_is(id, vault->keys[i].id))
            return &vault->keys[i];
    }
    return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *take_line(struct vault *vault, char *line) {
    line[strcspn(line, "#\r\n")] = '\0';
    line += strspn(line, " \t");
    for (size_t size = strlen(line); size > 0 && strchr(" \t", line[size - 1]);)
        line[--size] = '\0';
    if (!*line)
        return NULL;
    char *colon = strchr(line, ':');
    if (!colon || colon == line || colon - line > VAULT_KEY_ID_MAX)
        return "expected keyid:64 hex digits";
    *colon = '\0';
    if (find_key(vault, slice_of(line)) || strcmp(line, plaintext_id) == 0 ||
        strcmp(line, installation_id) == 0)
        return "the key id is taken";
    if (vault->key_count == MAX_KEYS)
        return "there are too many keys";
    struct key *key = &vault->keys[vault->key_count];
    if (!parse_key(colon + 1, key))
        return "the key is not 64 hex digits";
    memcpy(key->id, line, (size_t)(colon - line) + 1);
    vault->key_count++;
    return NULL;
}

static bool read_keys(struct vault *vault, const char *path, struct error *err) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, FAULT_CONFIG, "secrets-key-file", "secrets.key_file: %s: %s", path,
                         strerror(errno));
    char line[MAX_LINE];
    const char *wrong = NULL;
    size_t number = 0;
    setvbuf(file, NULL, _IONBF, 0); /* no copy of the keys stays in a buffer of the library */
    while (!wrong && fgets(line, sizeof line, file)) {
        number++;
        wrong = take_line(vault, line);
    }
    explicit_bzero(line, sizeof line);
    fclose(file);
    if (wrong)
        return error_set(err, FAULT_CONFIG, "secrets-key-file", "secrets.key_file: %s:%zu: %s",
                         path, number, wrong);
    return vault->key_count > 0 || error_set(err, FAULT_CONFIG, "secrets-key-file",
                                             "secrets.key_file: %s holds no key", path);
}

struct vault *vault_new(const char *key_file, bool allow_plaintext, struct error *err) {
    struct vault *vault = calloc(1, sizeof *vault);
    if (vault)
        vault->context = EVP_CIPHER_CTX_new();
    if (!vault || !vault->context) {
        vault_free(vault);
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the secrets' keys");
        return NULL;
    }
    vault->allow_plaintext = allow_plaintext;
    if (!*key_file || read_keys(vault, key_file, err))
        return vault;
    vault_free(vault);
    return NULL;
}

void vault_free(struct vault *vault) {
    if (!vault)
        return;
    EVP_CIPHER_CTX_free(vault->context);
    explicit_bzero(vault, sizeof *vault);
    free(vault);
}

bool vault_is_open(const struct vault *vault) {
    return vault->key_count > 0 || vault->allow_plaintext;
}

const char *vault_key_id(const struct vault *vault) {
    return vault->key_count > 0 ? vault->keys[0].id : "";
}

const char *vault_mac_key(const struct vault *vault, size_t index,
                          uint8_t ret[VAULT_MAC_KEY_SIZE]) {
    static const char purpose[] = "siptrunk: MAC of a command";
    if (index >= vault->key_count)
        return NULL;
    if (!HMAC(EVP_sha256(), vault->keys[index].bytes, KEY_SIZE, (const unsigned char *)purpose,
              sizeof purpose - 1, ret, NULL))
        abort();
    return vault->keys[index].id;
}

struct slice vault_channel(const struct uuid *account_id, int64_t channel_id,
                           char room[VAULT_PLACE_SIZE]) {
    uint64_t id = htobe64((uint64_t)channel_id);
    memcpy(room, account_id->bytes, sizeof account_id->bytes);
    memcpy(room + sizeof account_id->bytes, &id, sizeof id);
    return (struct slice){.data = room, .size = VAULT_PLACE_SIZE};
}

/* ---- sealing ---- */

size_t vault_sealed_size(size_t size) {
    return VAULT_NONCE_SIZE + size + VAULT_TAG_SIZE;
}

static struct slice seal_nothing(struct slice secret, char *room) {
    memcpy(room, secret.data, secret.size);
    return (struct slice){.data = room, .size = secret.size};
}

static bool encrypt(struct vault *vault, const struct key *key, struct slice bound_to,
                    struct slice secret, uint8_t *nonce, uint8_t *out) {
    EVP_CIPHER_CTX *context = vault->context;
    int size;
    return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->bytes, nonce) == 1 &&
           EVP_EncryptUpdate(context, NULL, &size, (const uint8_t *)bound_to.data,
                             (int)bound_to.size) == 1 &&
           EVP_EncryptUpdate(context, out, &size, (const uint8_t *)secret.data, (int)secret.size) ==
               1 &&
           EVP_EncryptFinal_ex(context, out + size, &size) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, VAULT_TAG_SIZE, out + secret.size) ==
               1;
}

bool vault_seal(struct vault *vault, struct slice bound_to, struct slice secret, char *room,
                struct sealed *ret, struct error *err) {
    if (vault->key_count == 0) {
        *ret = (struct sealed){.key_id = slice_of(plaintext_id),
                               .nonce = SLICE_LITERAL(""),
                               .ciphertext = seal_nothing(secret, room)};
        return true;
    }
    const struct key *key = &vault->keys[0];
    uint8_t *nonce = (uint8_t *)room, *out = nonce + VAULT_NONCE_SIZE;
    bool ok = getrandom(nonce, VAULT_NONCE_SIZE, 0) == VAULT_NONCE_SIZE &&
              encrypt(vault, key, bound_to, secret, nonce, out);
    EVP_CIPHER_CTX_reset(vault->context);
    if (!ok)
        return error_set(err, FAULT_RETRY, "secrets-seal", "a secret could not be encrypted");
    *ret = (struct sealed){
        .key_id = slice_of(key->id),
        .nonce = {.data = room, .size = VAULT_NONCE_SIZE},
        .ciphertext = {.data = room + VAULT_NONCE_SIZE, .size = secret.size + VAULT_TAG_SIZE}};
    return true;
}

/* ---- opening ---- */

static bool decrypt(struct vault *vault, const struct key *key, struct slice bound_to,
                    const struct sealed *sealed, uint8_t *out, size_t size) {
    EVP_CIPHER_CTX *context = vault->context;
    const uint8_t *ciphertext = (const uint8_t *)sealed->ciphertext.data;
    uint8_t tag[VAULT_TAG_SIZE];
    int done;
    memcpy(tag, ciphertext + size, sizeof tag);
    return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->bytes,
                              (const uint8_t *)sealed->nonce.data) == 1 &&
           EVP_DecryptUpdate(context, NULL, &done, (const uint8_t *)bound_to.data,
                             (int)bound_to.size) == 1 &&
           EVP_DecryptUpdate(context, out, &done, ciphertext, (int)size) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, sizeof tag, tag) == 1 &&
           EVP_DecryptFinal_ex(context, out + done, &done) == 1;
}

bool vault_open(struct vault *vault, struct slice bound_to, const struct sealed *sealed, char *room,
                struct slice *ret, struct error *err) {
    if (slice_is(sealed->key_id, plaintext_id) && sealed->nonce.size == 0) {
        *ret = seal_nothing(sealed->ciphertext, room);
        return true;
    }
    const struct key *key = find_key(vault, sealed->key_id);
    if (!key)
        return error_set(err, FAULT_STATE, "secrets-key",
                         "a secret was encrypted with key " SLICE_FMT
                         ", which secrets.key_file does not hold",
                         SLICE_ARG(sealed->key_id));
    bool whole =
        sealed->nonce.size == VAULT_NONCE_SIZE && sealed->ciphertext.size >= VAULT_TAG_SIZE;
    size_t size = whole ? sealed->ciphertext.size - VAULT_TAG_SIZE : 0;
    bool ok = whole && decrypt(vault, key, bound_to, sealed, (uint8_t *)room, size);
    EVP_CIPHER_CTX_reset(vault->context);
    if (!ok) {
        explicit_bzero(room, size);
        return error_set(err, FAULT_STATE, "secrets-open",
                         "a secret was altered, or belongs to another place");
    }
    *ret = (struct slice){.data = room, .size = size};
    return true;
}
