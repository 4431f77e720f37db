/* Log lines: built in one bounded buffer on the stack, written by one write(2), so that lines of
 * several threads and processes never mix. Nobody waits for standard error: what it does not take
 * is left out, and counted. Rotation and shipping are left to whoever reads standard error. */
#include "common/log.h"

#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 4096, /* PIPE_BUF on Linux: a write of so much to a pipe is atomic */
    TAIL_BYTES = 24,       /* kept free for the mark of a cut line and the end of the object */
    VALUE_MAX_BYTES = 1024,
    MESSAGE_MAX_BYTES = 2048,
};

static struct {
    enum log_level level;
    enum log_format format;
} setup = {.level = LOG_INFO, .format = LOG_FORMAT_JSON};

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARN] = "warn",
    [LOG_ERROR] = "error",
};

struct line {
    char bytes[LINE_MAX_BYTES];
    size_t size;
    bool cut; /* something did not fit and was left out */
};

void log_setup(enum log_level level, enum log_format format) {
    setup.level = level;
    setup.format = format;
}

bool log_enabled(enum log_level level) {
    return level >= setup.level;
}

/* ---- the buffer ---- */

static void put(struct line *line, const char *bytes, size_t size) {
    if (line->size + size > sizeof line->bytes - TAIL_BYTES) {
        line->cut = true;
        return;
    }
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
}

static void put_text(struct line *line, const char *text) {
    put(line, text, strlen(text));
}

/* Bytes of the printable code point at text[at], or 0: a control character or no UTF-8. */
static size_t printable_size(struct slice text, size_t at) {
    for (size_t size = 1; size <= 4 && at + size <= text.size; size++) {
        if (text_is_clean((struct slice){.data = text.data + at, .size = size}))
            return size;
    }
    return 0;
}

static void put_escape(struct line *line, unsigned char byte) {
    static const struct {
        unsigned char byte;
        const char *escape;
    } shorts[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"}, {'\r', "\\r"}, {'\t', "\\t"}};
    for (size_t i = 0; i < sizeof shorts / sizeof shorts[0]; i++) {
        if (shorts[i].byte == byte) {
            put_text(line, shorts[i].escape);
            return;
        }
    }
    char escape[8];
    /* What is no UTF-8 becomes the replacement character. */
    snprintf(escape, sizeof escape, "\\u%04x", byte < 0x80 ? byte : 0xFFFDU);
    put_text(line, escape);
}

/* Text in quotes. A text longer than max_bytes, or than the line, ends in an ellipsis. */
static void put_quoted(struct line *line, const char *text, size_t max_bytes) {
    struct slice whole = slice_of(text), part = text_cut(whole, max_bytes);
    put_text(line, "\"");
    for (size_t i = 0; i < part.size && !line->cut;) {
        unsigned char byte = (unsigned char)part.data[i];
        size_t size = byte == '"' || byte == '\\' ? 0 : printable_size(part, i);
        if (size)
            put(line, part.data + i, size);
        else
            put_escape(line, byte);
        i += size ? size : 1;
    }
    if (part.size < whole.size)
        put_text(line, "…");
    put_text(line, "\"");
}

static void put_integer(struct line *line, int64_t integer) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)integer);
    put_text(line, digits);
}

/* RFC 3339, milliseconds, UTC. */
static void put_time(struct line *line) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char seconds[32], whole[48];
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(whole, sizeof whole, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
    put_text(line, whole);
}

/* Forgets a value that did not fit as a whole, so that the line stays well-formed. */
static void keep_if_whole(struct line *line, size_t size_before) {
    if (line->cut)
        line->size = size_before;
}

/* ---- the two formats ---- */

static void put_json_field(struct line *line, const struct log_field *field) {
    size_t before = line->size;
    put_text(line, ",\"");
    put_text(line, field->key);
    put_text(line, "\":");
    if (field->text)
        put_quoted(line, field->text, VALUE_MAX_BYTES);
    else
        put_integer(line, field->integer);
    keep_if_whole(line, before);
}

static void put_json(struct line *line, enum log_level level, const char *event,
                     const struct log_field *fields, size_t field_count, const char *message) {
    put_text(line, "{\"time\":\"");
    put_time(line);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    put_text(line, "\",\"event\":");
    put_quoted(line, event, VALUE_MAX_BYTES);
    size_t before = line->size;
    put_text(line, ",\"msg\":");
    put_quoted(line, message, MESSAGE_MAX_BYTES);
    keep_if_whole(line, before);
    for (size_t i = 0; i < field_count && !line->cut; i++)
        put_json_field(line, &fields[i]);
}

static bool needs_quotes(const char *text) {
    return *text == '\0' || !text_is_printable_ascii(slice_of(text)) || strpbrk(text, "\"\\=");
}

static void put_text_field(struct line *line, const struct log_field *field) {
    size_t before = line->size;
    put_text(line, " ");
    put_text(line, field->key);
    put_text(line, "=");
    if (!field->text)
        put_integer(line, field->integer);
    else if (needs_quotes(field->text))
        put_quoted(line, field->text, VALUE_MAX_BYTES);
    else
        put_text(line, field->text);
    keep_if_whole(line, before);
}

/* The message without its quotes, its control characters still escaped: no line moves a terminal's
 * cursor. */
static void put_bare(struct line *line, const char *text, size_t max_bytes) {
    struct line quoted = {.size = 0};
    put_quoted(&quoted, text, max_bytes);
    if (quoted.size >= 2)
        put(line, quoted.bytes + 1, quoted.size - 2);
}

static void put_plain(struct line *line, enum log_level level, const char *event,
                      const struct log_field *fields, size_t field_count, const char *message) {
    char head[128];
    put_time(line);
    snprintf(head, sizeof head, " %-5s %-18s ", level_names[level], event);
    put_text(line, head);
    put_bare(line, message, MESSAGE_MAX_BYTES);
    for (size_t i = 0; i < field_count && !line->cut; i++)
        put_text_field(line, &fields[i]);
}

static const struct {
    void (*put)(struct line *line, enum log_level level, const char *event,
                const struct log_field *fields, size_t field_count, const char *message);
    const char *cut_mark, *end; /* together at most TAIL_BYTES */
} formats[] = {
    [LOG_FORMAT_JSON] = {put_json, ",\"truncated\":true", "}\n"},
    [LOG_FORMAT_TEXT] = {put_plain, " (truncated)", "\n"},
};

static void put_end(struct line *line, const char *text) {
    size_t size = strlen(text);
    memcpy(line->bytes + line->size, text, size);
    line->size += size;
}

/* ---- standard error, which may be full, or a pipe that nobody reads ---- */

enum { PATIENCE_MS = 100 };

static struct {
    pthread_mutex_t lock;
    bool stuck;       /* it was waited for in vain: no line waits until one passes again */
    bool torn;        /* the last line is there in part */
    int64_t left_out; /* lines, since the last one that passed */
} output = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A pipe that shows as writable takes a line without blocking: none is longer than PIPE_BUF. */
static bool takes_a_line(void) {
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    output.stuck = poll(&fd, 1, output.stuck ? 0 : PATIENCE_MS) == 0;
    return !output.stuck;
}

static bool write_bytes(const char *bytes, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(STDERR_FILENO, bytes + done, size - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break; /* nobody to tell */
        done += (size_t)written;
    }
    output.torn = done > 0 && done < size;
    return done == size;
}

static void end_line(struct line *line) {
    if (line->cut)
        put_end(line, formats[setup.format].cut_mark);
    put_end(line, formats[setup.format].end);
}

/* Before the first line that passes again. */
static bool tell_what_is_left_out(void) {
    const struct log_field count = LOG_INT("left_out", output.left_out);
    struct line line = {.size = 0, .cut = false};
    if (output.torn && !write_bytes("\n", 1))
        return false;
    formats[setup.format].put(&line, LOG_WARN, "log-left-out", &count, 1,
                              "standard error took no lines for a while: these are missing");
    end_line(&line);
    return write_bytes(line.bytes, line.size);
}

static void write_line(const struct line *line) {
    pthread_mutex_lock(&output.lock);
    bool told = takes_a_line() && (output.left_out == 0 || tell_what_is_left_out());
    if (told)
        output.left_out = 0;
    /* Anew: the other line may have been the last that fitted. */
    if (!told || !takes_a_line() || !write_bytes(line->bytes, line->size))
        output.left_out++;
    pthread_mutex_unlock(&output.lock);
}

static void log_message(enum log_level level, const char *event, const struct log_field *fields,
                        size_t field_count, const char *message) {
    int saved_errno = errno;
    struct line line;
    line.size = 0;
    line.cut = false;
    formats[setup.format].put(&line, level, event, fields, field_count, message);
    end_line(&line);
    write_line(&line);
    errno = saved_errno;
}

/* ---- what callers see ---- */

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count, const char *format, ...) {
    if (!log_enabled(level))
        return;
    char message[MESSAGE_MAX_BYTES + 8];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_message(level, event, fields, field_count, message);
}

void log_error(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count, const struct error *err) {
    enum { MAX_FIELDS = 16 };
    if (!log_enabled(level))
        return;
    struct log_field all[MAX_FIELDS];
    size_t count = 0;
    all[count++] = LOG_TEXT("error_id", err->id);
    all[count++] = LOG_TEXT("fault", fault_name(err->fault));
    if (err->sqlstate[0])
        all[count++] = LOG_TEXT("sqlstate", err->sqlstate);
    for (size_t i = 0; i < field_count && count < MAX_FIELDS; i++)
        all[count++] = fields[i];
    log_message(level, event, all, count, err->message);
}
