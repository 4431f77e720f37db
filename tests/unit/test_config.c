/* Configuration: where values come from, which are refused, and what the refusal says. */
#include "common/config.h"

#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Each test starts with an environment free of our variables. */
static int clear_environment(void **state) {
    (void)state;
    for (char **entry = environ; *entry;) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
        if (strncmp(name, "SIPTRUNK_", 9) != 0) {
            entry++;
            continue;
        }
        unsetenv(name);
        entry = environ;
    }
    return 0;
}

static struct config *load(const char *file, const char *const *overrides, size_t count) {
    struct config *config = config_new();
    struct error err = {0};
    if (!config_load(config, file, overrides, count, &err))
        fail_msg("%s", err.message);
    return config;
}

static void assert_refused(const char *file, const char *override, const char *id,
                           const char *message) {
    struct config *config = config_new();
    struct error err = {0};
    assert_false(config_load(config, file, &override, override ? 1 : 0, &err));
    assert_int_equal(err.fault, FAULT_CONFIG);
    if (!strstr(err.message, message))
        fail_msg("expected \"%s\" in \"%s\"", message, err.message);
    assert_string_equal(err.id, id);
    config_free(config);
}

struct temporary {
    char path[64];
};

static struct temporary write_file(const char *text, size_t size) {
    struct temporary file = {.path = "/tmp/siptrunk-config-XXXXXX"};
    int fd = mkstemp(file.path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
    return file;
}

static struct temporary write_text(const char *text) {
    return write_file(text, strlen(text));
}

static void defaults_are_those_of_the_contract(void **state) {
    (void)state;
    static const struct {
        enum config_key key;
        const char *text;
    } rows[] = {
        {CONFIG_KAFKA_BOOTSTRAP_SERVERS, "127.0.0.1:9092"},
        {CONFIG_KAFKA_GROUP_ID, "siptrunk-worker"},
        {CONFIG_TOPICS_COMMANDS, "siptrunk.commands.v1"},
        {CONFIG_TOPICS_BULK, "siptrunk.commands.bulk.v1"},
        {CONFIG_TOPICS_RESULTS, "siptrunk.results.v1"},
        {CONFIG_TOPICS_RESULTS_BULK, "siptrunk.results.v1"},
        {CONFIG_TOPICS_DEAD_LETTER_SUFFIX, "-dlt"},
        {CONFIG_REPLIES_ALLOWED_TOPICS, ""},
        {CONFIG_POSTGRES_CONNINFO, ""},
        {CONFIG_SCHEMA_DIR, ""},
        {CONFIG_SCHEMA_REGISTRY_URL, ""},
        {CONFIG_HTTP_LISTEN, "127.0.0.1:9464"},
        {CONFIG_LOG_LEVEL, "info"},
        {CONFIG_SECRETS_KEY_FILE, ""},
    };
    struct config *config = load(NULL, NULL, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_string_equal(config_text(config, rows[i].key), rows[i].text);
        assert_string_equal(config_source(config, rows[i].key), "default");
    }
    assert_int_equal(config_int(config, CONFIG_BATCH_MAX_COMMANDS_INTERACTIVE), 1000);
    assert_int_equal(config_int(config, CONFIG_BATCH_MAX_COMMANDS_BULK), 500);
    assert_int_equal(config_int(config, CONFIG_BATCH_MAX_BYTES), 2 * 1024 * 1024);
    assert_int_equal(config_int(config, CONFIG_LOG_LEVEL), LOG_INFO);
    assert_false(config_bool(config, CONFIG_SECRETS_ALLOW_PLAINTEXT));
    char host[256];
    gethostname(host, sizeof host);
    assert_string_equal(config_text(config, CONFIG_INSTANCE_ID), host);
    assert_in_range(config_int(config, CONFIG_THREADS_INTERACTIVE), 1, 4);
    assert_in_range(config_int(config, CONFIG_THREADS_BULK), 1, 4);
    const char *name, *value;
    assert_false(config_kafka_property(config, 0, &name, &value));
    config_free(config);
}

static void a_later_source_wins(void **state) {
    (void)state;
    struct temporary file = write_text("# comment\n\n  kafka.group.id = from-file \r\n"
                                       "instance.id=from-file\nhttp.listen=\nthreads.bulk=3\n"
                                       "kafka.client.id=file=with=equals\nthreads.bulk=4");
    setenv("SIPTRUNK_INSTANCE_ID", "from-environment", 1);
    setenv("SIPTRUNK_TOPICS_DEAD_LETTER_SUFFIX", "-dead", 1);
    const char *overrides[] = {"topics.dead_letter.suffix=-x", "log.level=debug"};
    struct config *config = load(file.path, overrides, COUNT(overrides));
    char source[128];
    snprintf(source, sizeof source, "file %s:3", file.path);
    assert_string_equal(config_text(config, CONFIG_KAFKA_GROUP_ID), "from-file");
    assert_string_equal(config_source(config, CONFIG_KAFKA_GROUP_ID), source);
    assert_string_equal(config_text(config, CONFIG_INSTANCE_ID), "from-environment");
    assert_string_equal(config_source(config, CONFIG_INSTANCE_ID),
                        "environment SIPTRUNK_INSTANCE_ID");
    assert_string_equal(config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX), "-x");
    assert_string_equal(config_source(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX), "-X");
    assert_string_equal(config_text(config, CONFIG_HTTP_LISTEN), "");
    assert_int_equal(config_int(config, CONFIG_THREADS_BULK), 4);
    assert_int_equal(config_int(config, CONFIG_LOG_LEVEL), LOG_DEBUG);
    const char *name, *value;
    assert_true(config_kafka_property(config, 0, &name, &value));
    assert_string_equal(name, "client.id");
    assert_string_equal(value, "file=with=equals");
    config_free(config);
    unlink(file.path);
}

static void lists_are_trimmed_items(void **state) {
    (void)state;
    const char *override = "topics.commands=one , two,three\t";
    struct config *config = load(NULL, &override, 1);
    assert_int_equal(config_item_count(config, CONFIG_TOPICS_COMMANDS), 3);
    assert_string_equal(config_item(config, CONFIG_TOPICS_COMMANDS, 0), "one");
    assert_string_equal(config_item(config, CONFIG_TOPICS_COMMANDS, 1), "two");
    assert_string_equal(config_item(config, CONFIG_TOPICS_COMMANDS, 2), "three");
    assert_null(config_item(config, CONFIG_TOPICS_COMMANDS, 3));
    assert_int_equal(config_item_count(config, CONFIG_REPLIES_ALLOWED_TOPICS), 0);
    assert_null(config_item(config, CONFIG_REPLIES_ALLOWED_TOPICS, 0));
    config_free(config);
}

static void refuses_bad_values_and_says_why(void **state) {
    (void)state;
    static const struct {
        const char *override, *id, *message;
    } rows[] = {
        {"threads.bulk=65", "config-value", "-X: threads.bulk: 65 is out of range 0 to 64"},
        {"threads.bulk=-1", "config-value", "\"-1\" is not a whole number"},
        {"threads.bulk=2x", "config-value", "\"2x\" is not a whole number"},
        {"batch.max.commands.bulk=0", "config-value", "out of range 1 to 10000"},
        {"batch.max.commands.bulk=", "config-value", "must not be empty"},
        {"batch.max.commands.bulk=99999999999999999999", "config-value", "is not a whole number"},
        {"batch.max.bytes=2 GiB", "config-value", "is not a size such as"},
        {"batch.max.bytes=1KiB", "config-value", "out of range 262144 to 67108864"},
        {"batch.max.bytes=9000000000000000000 MiB", "config-value", "out of range"},
        {"log.level=trace", "config-value", "\"trace\" is none of debug, info, warn, error"},
        {"log.format=xml", "config-value", "\"xml\" is none of json, text"},
        {"secrets.allow_plaintext=yes", "config-value", "\"yes\" is none of false, true"},
        {"topics.results=a b", "config-value", "\"a b\" is not a topic name"},
        {"topics.results=", "config-value", "must not be empty"},
        {"topics.commands=a,,b", "config-value", "a topic name is empty"},
        {"topics.commands=..", "config-value", "\"..\" is not a topic name"},
        {"instance.id=two words", "config-value", "is not a name"},
        {"http.listen=9464", "config-value", "is not an address such as"},
        {"http.listen=::1:9464", "config-value", "is not an address such as"},
        {"http.listen=127.0.0.1:65536", "config-value", "is not an address such as"},
        {"schema.registry.url=registry:8081", "config-value", "not an http:// or https:// address"},
        {"postgres.conninfo=host=a secret", "config-value", "not a connection string"},
        {"instance.id=a\x01", "config-value", "control characters"},
        {"schema.dir=\xff", "config-value", "not UTF-8"},
        {"kafka.linger.ms=never", "config-value", "-X: kafka.linger.ms: Invalid value"},
        {"justakey", "config-syntax", "-X: expected key=value"},
        {"threads.interactiv=1", "config-unknown-key",
         "-X: threads.interactiv: there is no such key; did you mean threads.interactive?"},
        {"topic.commands=a", "config-unknown-key", "did you mean topics.commands?"},
        {"entirely-different=a", "config-unknown-key", "there is no such key"},
        {"kafka.sesion.timeout.ms=1", "config-unknown-key",
         "did you mean kafka.session.timeout.ms?"},
        {"kafka.=1", "config-unknown-key", "there is no such key"},
        {"kafka.lingr.ms=1", "config-unknown-key", "did you mean kafka.linger.ms?"},
        {"kafka.bootstrap.server=a", "config-unknown-key", "did you mean kafka.bootstrap.servers?"},
        {"kafka.group.ids=a", "config-unknown-key", "did you mean kafka.group.id?"},
        {"kafka.no.such.thing.at.all=1", "config-unknown-key", "knows no such property"},
        {"postgres.conninf=a", "config-unknown-key", "did you mean postgres.conninfo?"},
        {"LOG.LEVEL=info", "config-unknown-key", "there is no such key"},
        {"=info", "config-unknown-key", "there is no such key"},
        {"postgres.conninfo=postgresql://u:a/b@host/db", "config-value", "must be written %2F"},
        {"postgres.conninfo=postgres://u:1/b@host", "config-value", "must be written %2F"},
        {"postgres.conninfo=nonsense=1", "config-value", "not a connection string"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_refused(NULL, rows[i].override, rows[i].id, rows[i].message);
}

static void accepts_values_at_the_edges(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "threads.bulk=0",
        "threads.interactive=64",
        "batch.max.bytes=262144",
        "batch.max.bytes=64 MiB",
        "batch.max.bytes=512KiB",
        "http.listen=[::1]:0",
        "http.listen=localhost:1",
        "postgres.conninfo=",
        "replies.allowed_topics=",
        "topics.results.bulk=",
        "schema.registry.url=http://r",
        "kafka.ssl.ca.location=",
        "postgres.conninfo=postgresql:///db?host=/run/a@b",
        "postgres.conninfo=postgresql://u:a%2Fb@host/db",
        "postgres.conninfo=host=/run/a@b password=a/b@c",
    };
    for (size_t i = 0; i < COUNT(overrides); i++)
        config_free(load(NULL, &overrides[i], 1));
}

static void refuses_what_the_guarantees_rest_on(void **state) {
    (void)state;
    static const char *const refused[] = {
        "enable.auto.commit=true",
        "auto.commit.enable=true",
        "enable.auto.offset.store=true",
        "isolation.level=read_uncommitted",
        "enable.idempotence=false",
        "acks=1",
        "request.required.acks=0",
        "transactional.id=mine",
        "auto.offset.reset=latest",
        "group.instance.id=mine",
        "partition.assignment.strategy=cooperative-sticky",
        "partitioner=random",
        "metadata.broker.list=a:9092",
        "isolation.level=",
        "acks=al",
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        char override[128];
        snprintf(override, sizeof override, "kafka.%s", refused[i]);
        assert_refused(NULL, override, "config-refused", "this cannot be changed");
    }
    static const char *const same[] = {
        "kafka.enable.auto.commit=false",
        "kafka.isolation.level=read_committed",
        "kafka.acks=all",
        "kafka.acks=-1",
        "kafka.partitioner=murmur2_random",
        "kafka.enable.idempotence=true",
    };
    config_free(load(NULL, same, COUNT(same)));
}

static void the_environment_spells_kafka_properties(void **state) {
    (void)state;
    setenv("SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2", 1);
    setenv("SIPTRUNK_KAFKA_SASL_USERNAME", "worker", 1);
    setenv("SIPTRUNK_KAFKA_LINGER_MS", "3", 1);
    struct config *config = load(NULL, NULL, 0);
    assert_string_equal(config_text(config, CONFIG_KAFKA_BOOTSTRAP_SERVERS), "a:1,b:2");
    const char *name, *value;
    size_t seen = 0;
    for (size_t i = 0; config_kafka_property(config, i, &name, &value); i++) {
        seen += strcmp(name, "sasl.username") == 0 && strcmp(value, "worker") == 0;
        seen += strcmp(name, "linger.ms") == 0 && strcmp(value, "3") == 0;
    }
    assert_int_equal(seen, 2);
    config_free(config);
    setenv("SIPTRUNK_KAFKA_ACKS", "0", 1);
    assert_refused(NULL, NULL, "config-refused", "environment SIPTRUNK_KAFKA_ACKS: this cannot");
}

static void an_unknown_variable_names_the_nearest(void **state) {
    (void)state;
    setenv("SIPTRUNK_THREADS_INTERACTIV", "2", 1);
    assert_refused(NULL, NULL, "config-unknown-key",
                   "environment SIPTRUNK_THREADS_INTERACTIV: there is no such key; did you mean "
                   "SIPTRUNK_THREADS_INTERACTIVE?");
    unsetenv("SIPTRUNK_THREADS_INTERACTIV");
    setenv("SIPTRUNK_KAFKA_LINGR_MS", "2", 1);
    assert_refused(NULL, NULL, "config-unknown-key",
                   "environment SIPTRUNK_KAFKA_LINGR_MS: there is no such key; did you mean "
                   "SIPTRUNK_KAFKA_LINGER_MS?");
    unsetenv("SIPTRUNK_KAFKA_LINGR_MS");
    setenv("SIPTRUNK_TOPICS_DEADLETTER_SUFFIX", "-d", 1);
    assert_refused(NULL, NULL, "config-unknown-key",
                   "did you mean SIPTRUNK_TOPICS_DEAD_LETTER_SUFFIX?");
    unsetenv("SIPTRUNK_TOPICS_DEADLETTER_SUFFIX");
    setenv("SIPTRUNK_POSTGRES_CONNINFO_FIL", "x", 1);
    assert_refused(NULL, NULL, "config-unknown-key", "SIPTRUNK_POSTGRES_CONNINFO_FIL:");
    unsetenv("SIPTRUNK_POSTGRES_CONNINFO_FIL");
    setenv("SIPTRUNK_KAFKA_NO_SUCH_THING_AT_ALL", "2", 1);
    assert_refused(NULL, NULL, "config-unknown-key", "SIPTRUNK_KAFKA_NO_SUCH_THING_AT_ALL");
}

static void variables_of_scripts_and_tests_are_passed_over(void **state) {
    (void)state;
    setenv("SIPTRUNK_DEV_KAFKA_PORT", "1", 1);
    setenv("SIPTRUNK_FAILPOINT", "store:panic", 1);
    setenv("SIPTRUNK_FAILPOINTS", "x", 1);
    setenv("SIPTRUNK_DEV_", "", 1);
    config_free(load(NULL, NULL, 0));
    setenv("SIPTRUNK_DEVICE", "x", 1);
    assert_refused(NULL, NULL, "config-unknown-key", "SIPTRUNK_DEVICE");
}

static void kafka_properties_follow_the_same_order(void **state) {
    (void)state;
    struct temporary file = write_text("kafka.linger.ms=1\nkafka.client.id=file\n");
    setenv("SIPTRUNK_KAFKA_LINGER_MS", "2", 1);
    setenv("SIPTRUNK_KAFKA_GROUP_ID", "variable", 1);
    const char *override = "kafka.linger.ms=3";
    struct config *config = load(file.path, &override, 1);
    const char *name, *value;
    assert_true(config_kafka_property(config, 0, &name, &value));
    assert_string_equal(name, "linger.ms");
    assert_string_equal(value, "3");
    assert_true(config_kafka_property(config, 1, &name, &value));
    assert_string_equal(value, "file");
    assert_false(config_kafka_property(config, 2, &name, &value));
    assert_string_equal(config_text(config, CONFIG_KAFKA_GROUP_ID), "variable");
    config_free(config);
    config = load(file.path, NULL, 0);
    assert_true(config_kafka_property(config, 0, &name, &value));
    assert_string_equal(value, "2");
    config_free(config);
    unlink(file.path);
}

static void an_empty_value_takes_back_what_came_before(void **state) {
    (void)state;
    setenv("SIPTRUNK_INSTANCE_ID", "named", 1);
    setenv("SIPTRUNK_TOPICS_RESULTS_BULK", "apart", 1);
    const char *overrides[] = {"instance.id=", "topics.results.bulk=", "topics.results=r"};
    struct config *config = load(NULL, overrides, COUNT(overrides));
    char host[256];
    gethostname(host, sizeof host);
    assert_string_equal(config_text(config, CONFIG_INSTANCE_ID), host);
    assert_string_equal(config_text(config, CONFIG_TOPICS_RESULTS_BULK), "r");
    config_free(config);
}

static void a_value_may_come_from_a_file(void **state) {
    (void)state;
    struct temporary file = write_text("password=hidden host=db\n\n");
    struct temporary pem = write_text("-----BEGIN\nLINES\n-----END\n");
    setenv("SIPTRUNK_POSTGRES_CONNINFO_FILE", file.path, 1);
    setenv("SIPTRUNK_KAFKA_SASL_PASSWORD_FILE", pem.path, 1);
    setenv("SIPTRUNK_SECRETS_KEY_FILE", "/no/such/keys",
           1); /* a key of its own, read by nobody here */
    struct config *config = load(NULL, NULL, 0);
    assert_string_equal(config_text(config, CONFIG_POSTGRES_CONNINFO), "password=hidden host=db");
    assert_string_equal(config_source(config, CONFIG_POSTGRES_CONNINFO),
                        "environment SIPTRUNK_POSTGRES_CONNINFO_FILE");
    assert_string_equal(config_text(config, CONFIG_SECRETS_KEY_FILE), "/no/such/keys");
    const char *name, *value;
    assert_true(config_kafka_property(config, 0, &name, &value));
    assert_string_equal(value, "-----BEGIN\nLINES\n-----END");
    config_free(config);

    setenv("SIPTRUNK_POSTGRES_CONNINFO", "host=x", 1);
    assert_refused(NULL, NULL, "config-syntax", "SIPTRUNK_POSTGRES_CONNINFO is set as well");
    unsetenv("SIPTRUNK_POSTGRES_CONNINFO");
    setenv("SIPTRUNK_POSTGRES_CONNINFO_FILE", "/no/such/file", 1);
    assert_refused(NULL, NULL, "config-file", "cannot read the file /no/such/file");
    unlink(file.path);
    unlink(pem.path);
}

static void a_value_file_is_checked_like_any_value(void **state) {
    (void)state;
    static const struct {
        const char *variable, *text, *id, *message;
    } rows[] = {
        {"SIPTRUNK_LOG_LEVEL_FILE", "loud\n", "config-value",
         "environment SIPTRUNK_LOG_LEVEL_FILE: \"loud\" is none of"},
        {"SIPTRUNK_KAFKA_ACKS_FILE", "1", "config-refused",
         "SIPTRUNK_KAFKA_ACKS_FILE: this cannot"},
        {"SIPTRUNK_TOPICS_RESULTS_FILE", "a\nb\n", "config-value", "control characters"},
        {"SIPTRUNK_LOG_LEVL_FILE", "info", "config-unknown-key", "SIPTRUNK_LOG_LEVL_FILE:"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct temporary file = write_text(rows[i].text);
        setenv(rows[i].variable, file.path, 1);
        assert_refused(NULL, NULL, rows[i].id, rows[i].message);
        unsetenv(rows[i].variable);
        unlink(file.path);
    }
    struct temporary file = write_file("a\0b", 3);
    setenv("SIPTRUNK_LOG_LEVEL_FILE", file.path, 1);
    assert_refused(NULL, NULL, "config-file", "it holds a zero byte");
    setenv("SIPTRUNK_LOG_LEVEL_FILE", "/dev/zero", 1);
    assert_refused(NULL, NULL, "config-file", "it is longer than 64 KiB");
    setenv("SIPTRUNK_LOG_LEVEL_FILE", "/", 1);
    assert_refused(NULL, NULL, "config-file", "Is a directory");
    unlink(file.path);
    const char *override = "log.level=error";
    file = write_text("warn\r\n\n");
    setenv("SIPTRUNK_LOG_LEVEL_FILE", file.path, 1);
    struct config *config = load(NULL, NULL, 0);
    assert_int_equal(config_int(config, CONFIG_LOG_LEVEL), LOG_WARN);
    config_free(config);
    config = load(NULL, &override, 1);
    assert_int_equal(config_int(config, CONFIG_LOG_LEVEL), LOG_ERROR);
    config_free(config);
    unlink(file.path);
}

static void a_bad_file_is_named_with_its_line(void **state) {
    (void)state;
    assert_refused("/no/such/siptrunk.conf", NULL, "config-file", "/no/such/siptrunk.conf");
    assert_refused("/", NULL, "config-file", "cannot read the configuration file /");
    struct temporary file = write_text("\n# fine\nlog.level=info\nlog.levl=warn\n");
    assert_refused(file.path, NULL, "config-unknown-key",
                   ":4: log.levl: there is no such key; did you");
    unlink(file.path);
    file = write_text("log.level\n");
    assert_refused(file.path, NULL, "config-syntax", ":1: expected key=value");
    unlink(file.path);
    file = write_file("log.level=info\0x\n", 17);
    assert_refused(file.path, NULL, "config-syntax", ":1: a zero byte");
    unlink(file.path);
}

static void a_topic_has_one_role(void **state) {
    (void)state;
    static const struct {
        const char *override, *message;
    } rows[] = {
        {"topics.commands=x,siptrunk.commands.bulk.v1",
         "topic \"siptrunk.commands.bulk.v1\" is in both topics.commands and topics.bulk: it can "
         "belong "
         "to one lane only"},
        {"topics.results=siptrunk.commands.v1", "is in both topics.commands and topics.results"},
        {"topics.results.bulk=siptrunk.commands.bulk.v1", "topics.bulk and topics.results.bulk"},
        {"replies.allowed_topics=siptrunk.commands.v1",
         "topics.commands and replies.allowed_topics"},
        {"replies.allowed_topics=siptrunk.results.v1", "topics.results and replies.allowed_topics"},
        {"topics.results=siptrunk.commands.v1-dlt", "the dead letters of topics.commands"},
        {"topics.commands=a,a", "topic \"a\" stands twice in topics.commands"},
        {"topics.commands=a,a-dlt", "topic \"a-dlt\" is in both"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_refused(NULL, rows[i].override, "config-topics", rows[i].message);
    char longest[300] = "topics.commands=";
    memset(longest + 16, 'x', 249);
    assert_refused(NULL, longest, "config-topics", "is longer than 249");
}

static void a_process_serves_a_lane(void **state) {
    (void)state;
    const char *none[] = {"threads.interactive=0", "threads.bulk=0"};
    struct config *config = config_new();
    struct error err = {0};
    assert_false(config_load(config, NULL, none, COUNT(none), &err));
    assert_string_equal(err.id, "config-threads");
    config_free(config);
}

static void secrets_are_not_shown(void **state) {
    (void)state;
    static const struct {
        const char *override;
        enum config_key key;
        const char *shown;
    } rows[] = {
        {"postgres.conninfo=host=db password=hidden", CONFIG_POSTGRES_CONNINFO,
         "password=*** host=db"},
        {"postgres.conninfo=postgresql://u:hidden@db/x", CONFIG_POSTGRES_CONNINFO,
         "user=u password=*** dbname=x host=db"},
        {"schema.registry.url=https://u:hidden@host:8081", CONFIG_SCHEMA_REGISTRY_URL,
         "https://***@host:8081"},
        {"schema.registry.url=https://host:8081", CONFIG_SCHEMA_REGISTRY_URL, "https://host:8081"},
        {"schema.registry.url=https://u:hid@den@host", CONFIG_SCHEMA_REGISTRY_URL,
         "https://***@host"},
        {"postgres.conninfo=host=db sslpassword=hidden", CONFIG_POSTGRES_CONNINFO,
         "host=db sslpassword=***"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *config = load(NULL, &rows[i].override, 1);
        assert_string_equal(config_shown(config, rows[i].key), rows[i].shown);
        config_free(config);
    }
    assert_true(config_kafka_is_secret("sasl.password"));
    assert_true(config_kafka_is_secret("ssl.key.pem"));
    assert_false(config_kafka_is_secret("linger.ms"));

    struct error err = {0};
    static const char *const bad[] = {"postgres.conninfo=host=db hidden",
                                      "postgres.conninfo=postgresql://u:hidden/@db",
                                      "postgres.conninfo=postgresql://u:hidden%zz@db",
                                      "postgres.conninfo=postgresql://db?hidden",
                                      "postgres.conninfo=pasword=hidden",
                                      "schema.registry.url=ftp://u:hidden@host",
                                      "kafka.sasl.pasword=hidden",
                                      "hidden"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct config *config = config_new();
        assert_false(config_load(config, NULL, &bad[i], 1, &err));
        assert_null(strstr(err.message, "hidden"));
        config_free(config);
    }
}

static void help_names_every_key(void **state) {
    (void)state;
    for (int key = 0; key < CONFIG_KEY_COUNT; key++)
        assert_non_null(strstr(config_help(), config_name((enum config_key)key)));
}

#define TEST(name) cmocka_unit_test_setup(name, clear_environment)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_contract),
        TEST(a_later_source_wins),
        TEST(lists_are_trimmed_items),
        TEST(refuses_bad_values_and_says_why),
        TEST(accepts_values_at_the_edges),
        TEST(refuses_what_the_guarantees_rest_on),
        TEST(the_environment_spells_kafka_properties),
        TEST(an_unknown_variable_names_the_nearest),
        TEST(variables_of_scripts_and_tests_are_passed_over),
        TEST(kafka_properties_follow_the_same_order),
        TEST(an_empty_value_takes_back_what_came_before),
        TEST(a_value_may_come_from_a_file),
        TEST(a_value_file_is_checked_like_any_value),
        TEST(a_bad_file_is_named_with_its_line),
        TEST(a_topic_has_one_role),
        TEST(a_process_serves_a_lane),
        TEST(secrets_are_not_shown),
        TEST(help_names_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
