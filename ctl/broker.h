/* The first contact of a command that ends: whether a broker answers, and if not, why. */
#ifndef SIPTRUNK_CTL_BROKER_H
#define SIPTRUNK_CTL_BROKER_H

#include "common/config.h"

/* How long a request to a broker that answers may take. */
enum { BROKER_TIMEOUT_MS = 10000 };

/* With a client of its own, so that the reason of a failure is known, which a client tells to
 * callbacks alone. FAULT_AUTH as soon as credentials are refused, FAULT_RETRY when nobody answers
 * for five seconds. */
bool broker_reach(const struct config *config, struct error *err) MUST_CHECK;

#endif
