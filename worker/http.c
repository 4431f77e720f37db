/* libmicrohttpd on a socket of ours, so that what is wrong with an address can be said. */
#include "worker/http.h"

#include "common/log.h"
#include "common/stop.h"
#include "worker/health.h"
#include "worker/metrics_text.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 32,
    SILENCE_LIMIT_S = 5,
    CONNECTION_BYTES = 8192, /* of a request, and of the head of its answer */
    BACKLOG = 16,
};

struct http {
    struct MHD_Daemon *daemon;
    struct metrics_registry *registry;
};

/* ---- what is served ---- */

static bool serve_livez(struct metrics_registry *registry, int64_t now_ms, struct buffer *text) {
    return health_alive(registry, now_ms, text);
}

static bool serve_metrics(struct metrics_registry *registry, int64_t now_ms, struct buffer *text) {
    metrics_text(registry, now_ms, text);
    return true;
}

static const struct page {
    const char *path;
    const char *type;
    /* False: 503. */
    bool (*serve)(struct metrics_registry *registry, int64_t now_ms, struct buffer *text);
} pages[] = {
    {"/livez", "text/plain; charset=utf-8", serve_livez},
    {"/readyz", "text/plain; charset=utf-8", health_ready},
    {"/metrics", METRICS_TEXT_TYPE, serve_metrics},
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct buffer *text) {
    if (text->failed) {
        buffer_free(text);
        return MHD_NO; /* closes the connection */
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text->size, text->data, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        buffer_free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *sentence) {
    struct buffer text = {0};
    buffer_add_text(&text, sentence);
    return answer(connection, status, "text/plain; charset=utf-8", &text);
}

static enum MHD_Result on_request(void *opaque, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request) {
    (void)version, (void)upload, (void)upload_size, (void)request;
    const struct http *http = opaque;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(path, pages[i].path) != 0)
            continue;
        struct buffer text = {0};
        bool ok = pages[i].serve(http->registry, monotonic_ms(), &text);
        return answer(connection, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, pages[i].type,
                      &text);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "there are /livez, /readyz and /metrics\n");
}

/* ---- listening ---- */

/* Host and port of "host:port" or "[host]:port", checked by the configuration. */
static bool look_up(const char *address, struct addrinfo **ret, struct error *err) {
    char host[256];
    const char *colon = strrchr(address, ':');
    bool bracketed = address[0] == '[';
    snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * bracketed,
             address + bracketed);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    int code = getaddrinfo(host, colon + 1, &hints, ret);
    return code == 0 || error_set(err, FAULT_CONFIG, "http-listen", "http.listen: %s: %s", address,
                                  gai_strerror(code));
}

/* A listening socket, or -1 with errno. */
static int listen_at(const struct addrinfo *where) {
    int on = 1;
    int listener = socket(where->ai_family, where->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          where->ai_protocol);
    if (listener < 0)
        return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, where->ai_addr, where->ai_addrlen) == 0 && listen(listener, BACKLOG) == 0)
        return listener;
    int saved = errno;
    close(listener);
    errno = saved;
    return -1;
}

static bool open_listener(const char *address, int *ret, struct error *err) {
    struct addrinfo *where;
    if (!look_up(address, &where, err))
        return false;
    *ret = listen_at(where);
    int why = errno;
    freeaddrinfo(where);
    return *ret >= 0 ||
           error_set(err, FAULT_CONFIG, "http-listen",
                     "http.listen: cannot listen at %s: %s; give another address, or an empty one "
                     "to do without",
                     address, strerror(why));
}

/* Where it listens indeed; tells the port when 0 was asked for. */
static void log_address(int listener, const char *address) {
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char port[16] = "";
    if (getsockname(listener, (struct sockaddr *)&bound, &size) == 0)
        getnameinfo((struct sockaddr *)&bound, size, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    log_write(LOG_INFO, "http",
              LOG_WITH(LOG_TEXT("listen", address), LOG_INT("port", strtol(port, NULL, 10))),
              "serving /livez, /readyz and /metrics");
}

static struct http *start_daemon(int listener, struct metrics_registry *registry) {
    struct http *http = calloc(1, sizeof *http);
    if (!http)
        return NULL;
    http->registry = registry;
    http->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, on_request, http,
        MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_LIMIT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (http->daemon)
        return http;
    free(http);
    return NULL;
}

bool http_start(const struct config *config, struct metrics_registry *registry, struct http **ret,
                struct error *err) {
    const char *address = config_text(config, CONFIG_HTTP_LISTEN);
    int listener;
    *ret = NULL;
    if (!*address)
        return true;
    if (!open_listener(address, &listener, err)) {
        if (strcmp(config_source(config, CONFIG_HTTP_LISTEN), "default") != 0)
            return false;
        log_error(LOG_WARN, "http-off", LOG_PLAIN, err);
        return true;
    }
    *ret = start_daemon(listener, registry);
    if (!*ret) {
        close(listener);
        return error_set(err, FAULT_RETRY, "http", "cannot start the HTTP server");
    }
    log_address(listener, address);
    return true;
}

void http_stop(struct http *http) {
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}
