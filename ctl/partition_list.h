/* The partitions of both lanes' command topics as the broker has them: where they begin and end,
 * and where the lane's group stands (K). What the database knows of them is left to others. One
 * thread.
 */
#ifndef SIPTRUNK_CTL_PARTITION_LIST_H
#define SIPTRUNK_CTL_PARTITION_LIST_H

#include "ctl/broker.h"

struct command_partition {
    const char *topic; /* the configuration's */
    int32_t id;
    const struct broker_lane *lane;
    int64_t low, end; /* the first record that is still there, and the offset behind the last one */
    int64_t committed; /* K, -1 where there is none */
};

struct partition_list {
    rd_kafka_t *groups[BROKER_LANES];
    struct command_partition *all; /* lane by lane, topic by topic, in order */
    size_t count;
};

/* Starts as {0}, and is to be freed also when this fails. FAULT_STATE when a topic of the
 * configuration does not exist. */
bool partition_list_read(struct partition_list *list, const struct config *config,
                         struct error *err) MUST_CHECK;
void partition_list_free(struct partition_list *list);

/* NULL when the lanes have no such partition. */
struct command_partition *partition_list_find(const struct partition_list *list, struct slice topic,
                                              int64_t id);

/* Asks for the K of one partition anew, waiting for transactions that are open. */
bool partition_list_ask(const struct partition_list *list, struct command_partition *partition,
                        struct error *err) MUST_CHECK;

#endif
