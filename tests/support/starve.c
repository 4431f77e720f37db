/* To be preloaded into a program, sanitized or not: allocations fail where a test wants it, which
 * says so in a file that both have mapped ($STARVE_FILE), and may change it while the
 * program runs. Which allocations count is told by who called: the program itself, libpq,
 * librdkafka, or any other library. Without the file nothing fails. tests/support/starve.py is the
 * other side. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum mode { NEVER, ONCE, FROM_THERE_ON, RANDOM };

enum caller { PROGRAM = 1, LIBPQ = 2, LIBRDKAFKA = 4, OTHERS = 8 };

/* As starve.py packs it; all but the last three are the test's to write. */
struct control {
    _Atomic uint64_t mode;
    _Atomic uint64_t number;  /* ONCE, FROM_THERE_ON: of the allocation that fails, from 1 */
    _Atomic uint64_t callers; /* whose allocations count */
    _Atomic uint64_t per_million, seed; /* RANDOM */
    _Atomic uint64_t counted, failed;
    _Atomic uint64_t last; /* of the program's own that failed last: where, from its beginning */
};

struct range {
    uintptr_t begin, end;
};

static struct control *control;
static struct range program, libpq, librdkafka;

static int find_range(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size, (void)unused;
    static bool first_seen;
    struct range *range = !first_seen                                ? &program
                          : strstr(info->dlpi_name, "libpq.so")      ? &libpq
                          : strstr(info->dlpi_name, "librdkafka.so") ? &librdkafka
                                                                     : NULL;
    first_seen = true;
    for (int i = 0; range && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t end = info->dlpi_addr + header->p_vaddr + header->p_memsz;
        if (header->p_type == PT_LOAD && end > range->end)
            range->end = end;
    }
    if (range)
        range->begin = info->dlpi_addr;
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STARVE_FILE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    dl_iterate_phdr(find_range, NULL);
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static bool is_in(const struct range *range, uintptr_t address) {
    return address >= range->begin && address < range->end;
}

/* A number that looks drawn, always the same for the same place in the sequence. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static bool is_chosen(uint64_t number) {
    switch ((enum mode)control->mode) {
    case NEVER:
        return false;
    case ONCE:
        return number == control->number;
    case FROM_THERE_ON:
        return number >= control->number;
    case RANDOM:
        return mix(control->seed + number) % 1000000 < control->per_million;
    }
    return false;
}

static bool fails(const void *called_from) {
    uintptr_t from = (uintptr_t)called_from;
    if (!control || control->mode == NEVER)
        return false;
    enum caller caller = is_in(&program, from)      ? PROGRAM
                         : is_in(&libpq, from)      ? LIBPQ
                         : is_in(&librdkafka, from) ? LIBRDKAFKA
                                                    : OTHERS;
    if (!(control->callers & caller) || !is_chosen(atomic_fetch_add(&control->counted, 1) + 1))
        return false;
    control->failed++;
    if (caller == PROGRAM)
        control->last = from - program.begin;
    errno = ENOMEM;
    return true;
}

/* ---- what is replaced: all that the program calls to get memory ---- */

#define CALLED_FROM __builtin_return_address(0)

/* The function of that name behind this library: the sanitizer's, or the C library's. */
static void *next(_Atomic(void *) *found, const char *name) {
    if (!*found)
        *found = dlsym(RTLD_NEXT, name);
    return *found;
}

void *malloc(size_t size) {
    static _Atomic(void *) found;
    void *(*real)(size_t) = next(&found, "malloc");
    return fails(CALLED_FROM) ? NULL : real(size);
}

void *calloc(size_t count, size_t size) {
    static _Atomic(void *) found;
    void *(*real)(size_t, size_t) = next(&found, "calloc");
    return fails(CALLED_FROM) ? NULL : real(count, size);
}

void *realloc(void *memory, size_t size) {
    static _Atomic(void *) found;
    void *(*real)(void *, size_t) = next(&found, "realloc");
    return fails(CALLED_FROM) ? NULL : real(memory, size);
}

char *strdup(const char *text) {
    static _Atomic(void *) found;
    char *(*real)(const char *) = next(&found, "strdup");
    return fails(CALLED_FROM) ? NULL : real(text);
}

char *strndup(const char *text, size_t size) {
    static _Atomic(void *) found;
    char *(*real)(const char *, size_t) = next(&found, "strndup");
    return fails(CALLED_FROM) ? NULL : real(text, size);
}

int asprintf(char **ret, const char *format, ...) {
    va_list arguments;
    if (fails(CALLED_FROM))
        return -1;
    va_start(arguments, format);
    int size = vasprintf(ret, format, arguments);
    va_end(arguments);
    return size;
}

FILE *fopen(const char *path, const char *mode) {
    static _Atomic(void *) found;
    FILE *(*real)(const char *, const char *) = next(&found, "fopen");
    return fails(CALLED_FROM) ? NULL : real(path, mode);
}

FILE *open_memstream(char **text, size_t *size) {
    static _Atomic(void *) found;
    FILE *(*real)(char **, size_t *) = next(&found, "open_memstream");
    return fails(CALLED_FROM) ? NULL : real(text, size);
}

ssize_t getline(char **line, size_t *size, FILE *file) {
    static _Atomic(void *) found;
    ssize_t (*real)(char **, size_t *, FILE *) = next(&found, "getline");
    return fails(CALLED_FROM) ? -1 : real(line, size, file);
}
