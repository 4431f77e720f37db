/* Secrets at rest. */
#include "common/vault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char key_a[] = "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
static const char key_b[] = "b:fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0\n";

static struct vault *vault_with(const char *first, const char *second, struct error *err) {
    char path[] = "/tmp/siptrunk-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "# keys\n\n%s%s", first, second) > 0);
    close(fd);
    struct vault *vault = vault_new(path, false, err);
    unlink(path);
    return vault;
}

static void opens_what_it_sealed_and_nothing_else(void **state) {
    (void)state;
    struct error err = {0};
    struct vault *vault = vault_with(key_a, "", &err);
    assert_non_null(vault);
    assert_true(vault_is_open(vault));
    char room[64], again[64], out[64];
    struct sealed sealed, second;
    struct slice secret = SLICE_LITERAL("strongpassword"), opened;
    assert_int_equal(vault_sealed_size(secret.size), 14 + 12 + 16);
    assert_true(vault_seal(vault, SLICE_LITERAL("account/1"), secret, room, &sealed, &err));
    assert_true(vault_seal(vault, SLICE_LITERAL("account/1"), secret, again, &second, &err));
    assert_false(slice_equal(sealed.ciphertext, second.ciphertext));
    assert_null(memmem(room, sizeof room, "strong", 6));
    assert_true(vault_open(vault, SLICE_LITERAL("account/1"), &sealed, out, &opened, &err));
    assert_true(slice_equal(opened, secret));
    assert_false(vault_open(vault, SLICE_LITERAL("account/2"), &sealed, out, &opened, &err));
    assert_int_equal(err.fault, FAULT_STATE);
    for (size_t i = 0; i < vault_sealed_size(secret.size); i++) {
        room[i] ^= 1;
        assert_false(vault_open(vault, SLICE_LITERAL("account/1"), &sealed, out, &opened, &err));
        room[i] ^= 1;
    }
    vault_free(vault);
}

static void seals_with_the_first_key_and_opens_with_all(void **state) {
    (void)state;
    struct error err = {0};
    struct vault *old = vault_with(key_a, "", &err), *new = vault_with(key_b, key_a, &err);
    struct vault *other = vault_with(key_b, "", &err);
    char room[64], out[64];
    struct sealed sealed;
    struct slice opened;
    assert_true(vault_seal(old, SLICE_LITERAL("x"), SLICE_LITERAL("secret"), room, &sealed, &err));
    assert_true(slice_is(sealed.key_id, "a"));
    assert_true(vault_open(new, SLICE_LITERAL("x"), &sealed, out, &opened, &err));
    assert_false(vault_open(other, SLICE_LITERAL("x"), &sealed, out, &opened, &err));
    assert_non_null(strstr(err.message, "key a"));
    assert_true(vault_seal(new, SLICE_LITERAL("x"), SLICE_LITERAL("secret"), room, &sealed, &err));
    assert_true(slice_is(sealed.key_id, "b"));
    vault_free(old);
    vault_free(new);
    vault_free(other);
}

static void refuses_bad_key_files_without_showing_a_key(void **state) {
    (void)state;
    static const char *const bad[] = {
        "nokey\n", ":00\n", "a:0001\n",
        "plaintext:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        "a:zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        assert_null(vault_with(bad[i], "", &err));
        assert_int_equal(err.fault, FAULT_CONFIG);
        assert_non_null(strstr(err.message, ":3: "));
        assert_null(strstr(err.message, "0102"));
    }
    struct error err = {0};
    assert_null(vault_with(key_a, key_a, &err));
    assert_null(vault_with("", "", &err));
    assert_null(vault_new("/nonexistent/keys", false, &err));
    assert_non_null(strstr(err.message, "/nonexistent/keys"));
}

static void keeps_plain_text_only_when_told_to(void **state) {
    (void)state;
    struct error err = {0};
    struct vault *closed = vault_new("", false, &err), *plain = vault_new("", true, &err);
    char room[64], out[64];
    struct sealed sealed;
    struct slice opened;
    assert_false(vault_is_open(closed));
    assert_true(vault_is_open(plain));
    assert_true(
        vault_seal(plain, SLICE_LITERAL("x"), SLICE_LITERAL("secret"), room, &sealed, &err));
    assert_true(slice_is(sealed.ciphertext, "secret"));
    assert_int_equal(sealed.nonce.size, 0);
    assert_true(vault_open(closed, SLICE_LITERAL("x"), &sealed, out, &opened, &err));
    assert_true(slice_is(opened, "secret"));
    vault_free(closed);
    vault_free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_sealed_and_nothing_else),
        cmocka_unit_test(seals_with_the_first_key_and_opens_with_all),
        cmocka_unit_test(refuses_bad_key_files_without_showing_a_key),
        cmocka_unit_test(keeps_plain_text_only_when_told_to),
    };
    return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
