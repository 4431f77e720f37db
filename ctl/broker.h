/* The first contact of a command that ends: whether a broker answers, and if not, why. */
#ifndef SIPTRUNK_CTL_BROKER_H
#define SIPTRUNK_CTL_BROKER_H

#include "common/kafka.h"

/* How long a request to a broker that answers may take. */
enum { BROKER_TIMEOUT_MS = 10000 };

/* With a client of its own, so that the reason of a failure is known, which a client tells to
 * callbacks alone. FAULT_AUTH as soon as credentials are refused, FAULT_RETRY when nobody answers
 * for five seconds. */
bool broker_reach(const struct config *config, struct error *err) MUST_CHECK;

/* How kafka.group.id and the names of logs and metrics tell the two lanes apart. */
enum { BROKER_LANES = 2 };
struct broker_lane {
    const char *name, *group_suffix;
    enum config_key topics;
};
extern const struct broker_lane broker_lanes[BROKER_LANES];

/* A client of a lane's group, which never joins it: for asking where the group stands, and for
 * questions to the broker. NULL with err set. */
rd_kafka_t *broker_group_client(const struct config *config, const struct broker_lane *lane,
                                struct error *err);

#endif
