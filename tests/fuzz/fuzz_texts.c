/* Small texts with a grammar of their own: the first byte chooses between UUIDs, numbers,
 * whitelists, framing, key files and characters. What is accepted has a canonical form, which is
 * accepted too, and is its own canonical form. */
#include "common/e164.h"
#include "common/framing.h"
#include "common/text.h"
#include "common/uuid.h"
#include "common/vault.h"
#include "tests/fuzz/fuzz.h"
#include "worker/whitelist.h"

#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

static void try_uuid(struct slice text) {
    struct uuid uuid, again;
    char form[UUID_TEXT_SIZE + 1];
    if (!uuid_parse(text, &uuid))
        return;
    uuid_format(&uuid, form);
    REQUIRE(text.size == UUID_TEXT_SIZE && strncasecmp(text.data, form, UUID_TEXT_SIZE) == 0);
    REQUIRE(uuid_parse(slice_of(form), &again) && uuid_equal(&uuid, &again));
}

static void try_number(struct slice text) {
    struct e164 number, again;
    const char *why = e164_parse(text, &number);
    if (why) {
        REQUIRE(why[0]);
        return;
    }
    REQUIRE(number.size >= 3 && number.size <= E164_MAX_SIZE && number.text[0] == '+');
    REQUIRE(number.text[number.size] == '\0' &&
            strspn(number.text + 1, "0123456789") == number.size - 1);
    REQUIRE(!e164_parse((struct slice){.data = number.text, .size = number.size}, &again));
    REQUIRE(!again.converted_from_00 && strcmp(again.text, number.text) == 0);
}

static void try_whitelist(struct slice text) {
    static struct arena *arena;
    struct whitelist list, again;
    if (!arena)
        arena = arena_new(1 << 20);
    REQUIRE(arena);
    arena_reset(arena);
    REQUIRE(whitelist_parse(text, arena, &list));
    REQUIRE(list.problem_count <= WHITELIST_MAX_ENTRIES);
    for (size_t i = 0; i < list.problem_count; i++)
        REQUIRE(list.problems[i].reason != REASON_NONE &&
                list.problems[i].index < WHITELIST_MAX_ENTRIES);
    if (list.too_many || list.problem_count > 0) {
        REQUIRE(!list.canonical.data);
        return;
    }
    REQUIRE(!list.canonical.data == (text.size == 0));
    bool several = text.size > 0 && memchr(list.canonical.data, ';', list.canonical.size);
    REQUIRE(several || !list.overlap);
    REQUIRE(whitelist_parse(list.canonical, arena, &again));
    REQUIRE(!again.too_many && again.problem_count == 0 && !again.duplicates);
    REQUIRE(slice_equal(list.canonical, again.canonical));
    REQUIRE(list.broad == again.broad && list.overlap == again.overlap);
}

static void try_framing(struct slice message) {
    uint64_t fingerprint;
    struct slice body;
    char form[FRAMING_SIZE];
    if (!framing_parse(message, &fingerprint, &body, NULL))
        return;
    framing_write(fingerprint, form);
    REQUIRE(memcmp(form, message.data, FRAMING_SIZE) == 0);
    REQUIRE(body.data == message.data + FRAMING_SIZE && body.size + FRAMING_SIZE == message.size);
}

/* What the first key seals, the file opens again. */
static void check_vault(struct vault *vault) {
    struct error err;
    struct sealed sealed;
    struct slice opened, secret = SLICE_LITERAL("secret"), place = SLICE_LITERAL("place");
    char room[64], clear[64];
    REQUIRE(vault_is_open(vault) && vault_key_id(vault)[0]);
    REQUIRE(vault_sealed_size(secret.size) <= sizeof room);
    REQUIRE(vault_seal(vault, place, secret, room, &sealed, &err));
    REQUIRE(!memmem(sealed.ciphertext.data, sealed.ciphertext.size, secret.data, secret.size));
    REQUIRE(vault_open(vault, place, &sealed, clear, &opened, &err));
    REQUIRE(slice_equal(opened, secret));
    REQUIRE(!vault_open(vault, secret, &sealed, clear, &opened, &err) && err.fault == FAULT_STATE);
}

static void try_key_file(struct slice text) {
    struct error err;
    char path[64];
    int fd = memfd_create("keys", 0);
    REQUIRE(fd >= 0 && write(fd, text.data, text.size) == (ssize_t)text.size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct vault *vault = vault_new(path, false, &err);
    if (vault)
        check_vault(vault);
    else
        REQUIRE(err.fault == FAULT_CONFIG);
    vault_free(vault);
    close(fd);
}

static void try_characters(struct slice text) {
    size_t max = fuzz_byte(&text);
    bool clean = text_is_clean(text);
    struct slice cut = text_cut(text, max);
    REQUIRE(cut.data == text.data && cut.size <= text.size && cut.size <= max);
    REQUIRE(text_length(text) <= text.size);
    if (!clean)
        return;
    REQUIRE(text_is_clean(cut) && (text.size <= max || cut.size + 4 > max));
    REQUIRE(text.size <= 4 * text_length(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const tries[])(struct slice text) = {try_uuid,    try_number,   try_whitelist,
                                                       try_framing, try_key_file, try_characters};
    struct slice rest = {.data = (const char *)data, .size = size};
    if (size > 0)
        tries[fuzz_byte(&rest) % 6](rest);
    return 0;
}
