/* Parsing and comparing networks. */
#include "worker/whitelist.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_TEXT = INET6_ADDRSTRLEN + 4 };

struct network {
    int family;
    uint8_t bytes[16];
    unsigned prefix;
};

static unsigned address_bits(const struct network *network) {
    return network->family == AF_INET ? 32 : 128;
}

/* The first bits of both are the same. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits) {
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

static bool contains(const struct network *outer, const struct network *inner) {
    return outer->family == inner->family && outer->prefix <= inner->prefix &&
           same_bits(outer->bytes, inner->bytes, outer->prefix);
}

static bool same(const struct network *a, const struct network *b) {
    return a->prefix == b->prefix && contains(a, b);
}

/* ---- what may not be in a whitelist ---- */

static const struct network refused[] = {
    {AF_INET, {0}, 32},                         /* unspecified */
    {AF_INET, {127}, 8},                        /* loopback, RFC 1122 */
    {AF_INET, {224}, 4},                        /* multicast, RFC 5771 */
    {AF_INET6, {0}, 128},                       /* unspecified, RFC 4291 */
    {AF_INET6, {[15] = 1}, 128},                /* loopback */
    {AF_INET6, {0xFF}, 8},                      /* multicast */
    {AF_INET6, {[10] = 0xFF, [11] = 0xFF}, 96}, /* IPv4-mapped */
};

static bool is_allowed(const struct network *network) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (contains(&refused[i], network) || contains(network, &refused[i]))
            return false;
    }
    return true;
}

/* ---- text ---- */

/* Digits without a leading zero, up to max. */
static bool parse_prefix(const char *text, unsigned max, unsigned *ret) {
    unsigned value = 0;
    if (!*text || (text[0] == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = 10 * value + (unsigned)(*text - '0');
        if (value > max)
            return false;
    }
    *ret = value;
    return true;
}

static bool parse_network(struct slice item, struct network *ret) {
    char text[MAX_TEXT + 1];
    if (item.size == 0 || item.size > MAX_TEXT || memchr(item.data, '\0', item.size))
        return false;
    memcpy(text, item.data, item.size);
    text[item.size] = '\0';
    char *slash = strchr(text, '/');
    if (slash)
        *slash = '\0';
    *ret = (struct network){.family = strchr(text, ':') ? AF_INET6 : AF_INET};
    if (inet_pton(ret->family, text, ret->bytes) != 1)
        return false;
    ret->prefix = address_bits(ret);
    return !slash || parse_prefix(slash + 1, address_bits(ret), &ret->prefix);
}

static void clear_host_bits(struct network *network) {
    for (unsigned bit = network->prefix; bit < address_bits(network); bit++)
        network->bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

static bool has_host_bits(const struct network *network) {
    struct network cleared = *network;
    clear_host_bits(&cleared);
    return memcmp(cleared.bytes, network->bytes, sizeof cleared.bytes) != 0;
}

static void format_network(const struct network *network, char text[MAX_TEXT + 1]) {
    inet_ntop(network->family, network->bytes, text, MAX_TEXT);
    if (network->prefix < address_bits(network)) {
        size_t size = strlen(text);
        snprintf(text + size, MAX_TEXT + 1 - size, "/%u", network->prefix);
    }
}

/* ---- items ---- */

/* Format, prefix 0, host bits, not allowed: the first that applies. */
static enum reason check_item(struct slice item, struct arena *arena, struct network *ret,
                              struct slice *ret_message) {
    *ret_message = SLICE_NONE;
    if (!parse_network(item, ret))
        return REASON_IP_FORMAT;
    if (ret->prefix == 0)
        return REASON_IP_NOT_ALLOWED;
    if (has_host_bits(ret)) {
        char text[MAX_TEXT + 1];
        struct network cleared = *ret;
        clear_host_bits(&cleared);
        format_network(&cleared, text);
        *ret_message = arena_printf(
            arena, "The address has bits set beyond its prefix; the network is %s", text);
        return REASON_CIDR_HOST_BITS;
    }
    return is_allowed(ret) ? REASON_NONE : REASON_IP_NOT_ALLOWED;
}

static struct slice trimmed(struct slice item) {
    while (item.size > 0 && item.data[0] == ' ')
        item = (struct slice){.data = item.data + 1, .size = item.size - 1};
    while (item.size > 0 && item.data[item.size - 1] == ' ')
        item.size--;
    return item;
}

/* Cuts the first item off *rest; false when nothing is left. */
static bool next_item(struct slice *rest, struct slice *ret) {
    if (!rest->data)
        return false;
    const char *end = rest->size ? memchr(rest->data, ';', rest->size) : NULL;
    size_t size = end ? (size_t)(end - rest->data) : rest->size;
    *ret = trimmed((struct slice){.data = rest->data, .size = size});
    *rest = end ? (struct slice){.data = end + 1, .size = rest->size - size - 1} : SLICE_NONE;
    return true;
}

static size_t count_items(struct slice text) {
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++)
        count += text.data[i] == ';';
    return count;
}

/* ---- the whole ---- */

static bool is_known(const struct network *networks, size_t count, const struct network *network) {
    for (size_t i = 0; i < count; i++) {
        if (same(&networks[i], network))
            return true;
    }
    return false;
}

static void look_at(struct whitelist *list, const struct network *networks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        list->broad |= networks[i].prefix < (networks[i].family == AF_INET ? 16u : 32u);
        for (size_t k = 0; k < count; k++)
            list->overlap |= k != i && contains(&networks[k], &networks[i]);
    }
}

static bool join(struct whitelist *list, struct arena *arena, const struct network *networks,
                 size_t count) {
    char *text = arena_alloc(arena, count * (MAX_TEXT + 2));
    size_t size = 0;
    if (!text)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            text[size++] = ';';
        format_network(&networks[i], text + size);
        size += strlen(text + size);
    }
    list->canonical = (struct slice){.data = text, .size = size};
    return true;
}

bool whitelist_parse(struct slice text, struct arena *arena, struct whitelist *ret) {
    struct network networks[WHITELIST_MAX_ENTRIES];
    size_t count = 0, index = 0;
    struct slice item, rest = text;
    *ret = (struct whitelist){0};
    if (text.size == 0)
        return true;
    ret->too_many = count_items(text) > WHITELIST_MAX_ENTRIES;
    if (ret->too_many)
        return true;
    for (; next_item(&rest, &item); index++) {
        struct network network;
        struct slice message;
        enum reason reason = check_item(item, arena, &network, &message);
        if (reason != REASON_NONE)
            ret->problems[ret->problem_count++] =
                (struct whitelist_problem){.index = index, .reason = reason, .message = message};
        else if (is_known(networks, count, &network))
            ret->duplicates = true;
        else
            networks[count++] = network;
    }
    if (ret->problem_count > 0)
        return true;
    look_at(ret, networks, count);
    return join(ret, arena, networks, count);
}
