/* siptrunkctl health: asks the worker of this configuration whether it is ready, for containers and
 * scripts that have no other HTTP client. */
#include "common/buffer.h"
#include "ctl/command.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

static const char name[] = "health";

enum {
    TIMEOUT_MS = 4000, /* shorter than what a container's check is usually given */
    MAX_ANSWER = 256 * 1024,
    STATUS_READY = 200,
    STATUS_NOT_READY = 503,
};

/* A worker that listens everywhere is asked on this machine. */
static void format_url(const char *listen, char *url, size_t size) {
    static const struct {
        const char *everywhere, *here;
    } hosts[] = {{"0.0.0.0:", "127.0.0.1:"}, {"[::]:", "[::1]:"}};
    const char *host = "", *rest = listen;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        size_t length = strlen(hosts[i].everywhere);
        if (strncmp(listen, hosts[i].everywhere, length) == 0) {
            host = hosts[i].here;
            rest = listen + length;
        }
    }
    snprintf(url, size, "http://%s%s/readyz", host, rest);
}

static size_t take_answer(char *data, size_t size, size_t count, void *opaque) {
    struct buffer *answer = opaque;
    if (answer->size + size * count > MAX_ANSWER)
        return 0;
    buffer_add(answer, data, size * count);
    return answer->failed ? 0 : count;
}

/* *ret_status: of HTTP. FAULT_RETRY when there is no answer. */
static bool ask(const char *url, struct buffer *answer, long *ret_status, struct error *err) {
    char why[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (!curl)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a request");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    curl_easy_cleanup(curl);
    return code == CURLE_OK || error_set(err, FAULT_RETRY, "http", "no worker answers at %s: %s",
                                         url, *why ? why : curl_easy_strerror(code));
}

static int report(const char *url, long status, const struct buffer *answer) {
    if (status != STATUS_READY && status != STATUS_NOT_READY) {
        fprintf(stderr, "siptrunkctl health: %s answers with %ld: this is not a worker\n", url,
                status);
        return EXIT_STATE;
    }
    fwrite(answer->data, 1, answer->size, stdout);
    return status == STATUS_READY ? EXIT_DONE : EXIT_STATE;
}

int command_health(const struct config *config, int argc, char **argv) {
    static const struct option longs[] = {{0}};
    struct error err = {0};
    struct buffer answer = {0};
    char url[300];
    long status = 0;
    if (command_option(name, argc, argv, ":", longs) != -1)
        return EXIT_USAGE;
    if (optind < argc)
        return command_usage(name, "what is %s?", argv[optind]);
    const char *listen = config_text(config, CONFIG_HTTP_LISTEN);
    if (!*listen) {
        error_set(&err, FAULT_CONFIG, "http-listen",
                  "http.listen is empty: the worker does not say how it is");
        return command_fail(name, &err);
    }
    format_url(listen, url, sizeof url);
    int code =
        ask(url, &answer, &status, &err) ? report(url, status, &answer) : command_fail(name, &err);
    buffer_free(&answer);
    return code;
}
