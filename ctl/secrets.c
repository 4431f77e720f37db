/* siptrunkctl secrets: which keys protect the stored SIP passwords, and sealing them anew under the
 * first one. Takes the lock of an account, as the worker does, so that the two may run at the same
 * time. */
#include "common/migrate.h"
#include "common/sql.h"
#include "common/vault.h"
#include "ctl/command.h"

#include <inttypes.h>
#include <stdlib.h>

static const char name[] = "secrets";

enum { ACCOUNTS_AT_ONCE = 50, MAX_SECRET = 256 };

struct rotation {
    PGconn *conn;
    struct vault *vault;
    size_t done;
};

/* ---- values of results in text form ---- */

/* \x and hex digits, as bytea is shown. False when it does not fit. */
static bool from_hex(const char *text, char *room, size_t size, struct slice *ret) {
    size_t digits = strlen(text);
    if (strncmp(text, "\\x", 2) != 0 || digits % 2 || (digits - 2) / 2 > size)
        return false;
    for (size_t i = 0; 2 * i + 2 < digits; i++) {
        char pair[3] = {text[2 * i + 2], text[2 * i + 3], '\0'};
        room[i] = (char)strtoul(pair, NULL, 16);
    }
    *ret = (struct slice){.data = room, .size = (digits - 2) / 2};
    return true;
}

static void to_hex(struct slice bytes, char *text) {
    text += sprintf(text, "\\x");
    for (size_t i = 0; i < bytes.size; i++)
        text += sprintf(text, "%02x", (unsigned char)bytes.data[i]);
}

/* ---- one password ---- */

enum { ROW_ACCOUNT, ROW_CHANNEL, ROW_KEY, ROW_NONCE, ROW_CIPHERTEXT };

static bool store_sealed(struct rotation *rotation, const PGresult *rows, int row,
                         const struct sealed *sealed, struct error *err) {
    char key_id[VAULT_KEY_ID_MAX + 1], nonce[2 * VAULT_NONCE_SIZE + 3],
        ciphertext[2 * (MAX_SECRET + VAULT_TAG_SIZE) + 3];
    snprintf(key_id, sizeof key_id, SLICE_FMT, SLICE_ARG(sealed->key_id));
    to_hex(sealed->nonce, nonce);
    to_hex(sealed->ciphertext, ciphertext);
    const char *params[] = {PQgetvalue(rows, row, ROW_ACCOUNT), PQgetvalue(rows, row, ROW_CHANNEL),
                            key_id, nonce, ciphertext};
    SQL_RESULT result = sql_query(
        rotation->conn,
        "UPDATE siptrunk.channel SET password_key_id = $3, password_nonce = $4::bytea,"
        " password_ciphertext = $5::bytea WHERE account_id = $1::uuid AND channel_id = $2::int8",
        5, params, "storing a password", err);
    return result != NULL;
}

static bool seal_again(struct rotation *rotation, const PGresult *rows, int row,
                       struct error *err) {
    char nonce[VAULT_NONCE_SIZE], ciphertext[MAX_SECRET + VAULT_TAG_SIZE], plain[MAX_SECRET],
        room[MAX_SECRET + VAULT_NONCE_SIZE + VAULT_TAG_SIZE], place[VAULT_PLACE_SIZE];
    struct sealed old = {.key_id = slice_of(PQgetvalue(rows, row, ROW_KEY))}, new;
    struct uuid account;
    struct slice secret;
    int64_t channel = strtoll(PQgetvalue(rows, row, ROW_CHANNEL), NULL, 10);
    if (!uuid_parse(slice_of(PQgetvalue(rows, row, ROW_ACCOUNT)), &account) ||
        !from_hex(PQgetvalue(rows, row, ROW_NONCE), nonce, sizeof nonce, &old.nonce) ||
        !from_hex(PQgetvalue(rows, row, ROW_CIPHERTEXT), ciphertext, sizeof ciphertext,
                  &old.ciphertext))
        return error_set(err, FAULT_STATE, "secrets-open", "a stored password has another form");
    struct slice bound_to = vault_channel(&account, channel, place);
    bool ok = vault_open(rotation->vault, bound_to, &old, plain, &secret, err) &&
              vault_seal(rotation->vault, bound_to, secret, room, &new, err);
    explicit_bzero(plain, sizeof plain);
    if (ok)
        return store_sealed(rotation, rows, row, &new, err);
    return error_prefix(err, "channel %" PRId64 " of account %s", channel,
                        PQgetvalue(rows, row, ROW_ACCOUNT));
}

/* ---- all of them, some accounts in a transaction ---- */

static const char sql_accounts[] =
    "SELECT DISTINCT account_id FROM siptrunk.channel WHERE password_key_id <> $1"
    " ORDER BY account_id LIMIT $2::int4";
static const char sql_lock[] =
    "SELECT account_id FROM siptrunk.account_tail WHERE account_id = ANY ($1::uuid[])"
    " ORDER BY account_id FOR NO KEY UPDATE";
static const char sql_passwords[] =
    "SELECT account_id, channel_id, password_key_id, password_nonce, password_ciphertext"
    " FROM siptrunk.channel WHERE account_id = ANY ($1::uuid[]) AND password_key_id <> $2";

/* {uuid,uuid,...} */
static char *account_array(const PGresult *accounts) {
    size_t room = 3 + (size_t)PQntuples(accounts) * (UUID_TEXT_SIZE + 1);
    char *text = malloc(room);
    if (!text)
        return NULL;
    char *to = text;
    *to++ = '{';
    for (int i = 0; i < PQntuples(accounts); i++)
        to += sprintf(to, "%s%s", i ? "," : "", PQgetvalue(accounts, i, 0));
    strcpy(to, "}");
    return text;
}

static bool rotate_locked(struct rotation *rotation, const char *accounts, struct error *err) {
    const char *lock_params[] = {accounts};
    const char *params[] = {accounts, vault_key_id(rotation->vault)};
    SQL_RESULT locked =
        sql_query(rotation->conn, sql_lock, 1, lock_params, "locking accounts", err);
    SQL_RESULT rows =
        locked ? sql_query(rotation->conn, sql_passwords, 2, params, "reading passwords", err)
               : NULL;
    if (!rows)
        return false;
    for (int row = 0; row < PQntuples(rows); row++) {
        if (!seal_again(rotation, rows, row, err))
            return false;
        rotation->done++;
    }
    return true;
}

static bool rotate_some(struct rotation *rotation, const PGresult *accounts, struct error *err) {
    char *array = account_array(accounts);
    if (!array)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for accounts");
    bool ok = sql_run(rotation->conn, "BEGIN", "beginning", err) &&
              rotate_locked(rotation, array, err) && sql_commit(rotation->conn, err);
    if (!ok)
        sql_rollback(rotation->conn);
    free(array);
    return ok;
}

static bool rotate_all(struct rotation *rotation, struct error *err) {
    char limit[16];
    snprintf(limit, sizeof limit, "%d", ACCOUNTS_AT_ONCE);
    const char *params[] = {vault_key_id(rotation->vault), limit};
    for (;;) {
        SQL_RESULT accounts =
            sql_query(rotation->conn, sql_accounts, 2, params, "looking for passwords", err);
        if (!accounts)
            return false;
        if (PQntuples(accounts) == 0)
            return true;
        if (!rotate_some(rotation, accounts, err))
            return false;
    }
}

static int rotate(const struct config *config, PGconn *conn) {
    struct error err = {0};
    struct rotation rotation = {.conn = conn};
    rotation.vault = vault_new(config_text(config, CONFIG_SECRETS_KEY_FILE), false, &err);
    bool ok = rotation.vault != NULL;
    if (ok && !*vault_key_id(rotation.vault))
        ok = error_set(&err, FAULT_CONFIG, "secrets-key-file",
                       "secrets.key_file is not set: there is no key to seal with");
    ok = ok && rotate_all(&rotation, &err);
    if (rotation.done > 0 || ok)
        printf("%zu password%s sealed anew with key %s\n", rotation.done,
               command_plural(rotation.done), vault_key_id(rotation.vault));
    vault_free(rotation.vault);
    return ok ? EXIT_DONE : command_fail(name, &err);
}

/* A command is remembered under the key that it can be compared with when it is sent again. Reads
 * the whole ledger: no index is kept for this. */
static const char sql_uses[] =
    "SELECT key, sum(passwords), sum(commands) FROM (SELECT password_key_id AS key,"
    " count(*) AS passwords, 0 AS commands FROM siptrunk.channel"
    " WHERE password_key_id IS NOT NULL GROUP BY 1"
    " UNION ALL SELECT mac_key_id, 0, count(*) FROM siptrunk.command_ledger GROUP BY 1) uses"
    " GROUP BY key ORDER BY key";

static int status(PGconn *conn) {
    struct error err = {0};
    SQL_RESULT rows = sql_query(conn, sql_uses, 0, NULL, "counting what keys are needed for", &err);
    if (!rows)
        return command_fail(name, &err);
    for (int row = 0; row < PQntuples(rows); row++)
        printf("key %s: %s passwords, %s commands\n", PQgetvalue(rows, row, 0),
               PQgetvalue(rows, row, 1), PQgetvalue(rows, row, 2));
    if (PQntuples(rows) == 0)
        printf("no key is needed: there are neither passwords nor commands\n");
    return EXIT_DONE;
}

int command_secrets(const struct config *config, int argc, char **argv) {
    static const struct option longs[] = {{0}};
    struct error err = {0};
    if (command_option(name, argc, argv, ":", longs) != -1)
        return EXIT_USAGE;
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    bool rotating = strcmp(verb, "rotate") == 0;
    if (!rotating && strcmp(verb, "status") != 0)
        return command_usage(name, "say rotate or status");
    SQL_CONNECTION conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunkctl", 0, &err);
    if (!conn || !migrate_check(conn, &err))
        return command_fail(name, &err);
    return rotating ? rotate(config, conn) : status(conn);
}
