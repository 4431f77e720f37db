/* Ten bytes: taken off and put on. */
#include "common/framing.h"

static const unsigned char marker[2] = {0xc3, 0x01};

static bool refuse_marker(struct slice message, struct error *err) {
    const unsigned char *bytes = (const unsigned char *)message.data;
    return error_set(err, FAULT_INPUT, "schema",
                     "the message begins with %02x %02x and not with c3 01, so it is not in Avro's "
                     "single-object encoding",
                     bytes[0], bytes[1]);
}

bool framing_parse(struct slice message, uint64_t *ret_fingerprint, struct slice *ret_body,
                   struct error *err) {
    if (message.size < FRAMING_SIZE)
        return error_set(err, FAULT_INPUT, "schema",
                         "the message has %zu bytes, too few for Avro's single-object encoding",
                         message.size);
    if (memcmp(message.data, marker, sizeof marker))
        return refuse_marker(message, err);
    uint64_t fingerprint = 0;
    for (int i = FRAMING_SIZE - 1; i >= (int)sizeof marker; i--)
        fingerprint = fingerprint << 8 | (unsigned char)message.data[i];
    *ret_fingerprint = fingerprint;
    *ret_body =
        (struct slice){.data = message.data + FRAMING_SIZE, .size = message.size - FRAMING_SIZE};
    return true;
}

void framing_write(uint64_t fingerprint, char ret[FRAMING_SIZE]) {
    memcpy(ret, marker, sizeof marker);
    for (size_t i = sizeof marker; i < FRAMING_SIZE; i++, fingerprint >>= 8)
        ret[i] = (char)(fingerprint & 0xff);
}
