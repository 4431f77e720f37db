"""Makes a broker load the classes that this project needs of it, so that they land in its class-data archive.

Covers topics, a consumer group and transactions. The broker is thrown away afterwards: nothing is tidied up here.
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

DEADLINE_S = 30
TOPIC = "warm-up"


def create_topic(servers):
    admin = AdminClient({"bootstrap.servers": servers})
    for created in admin.create_topics([NewTopic(TOPIC, 2, 1)]).values():
        created.result(DEADLINE_S)


def transactional_producer(servers):
    producer = Producer({"bootstrap.servers": servers, "transactional.id": "warm-up", "log_level": 3})
    producer.init_transactions(DEADLINE_S)
    return producer


def group_member(servers):
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "warm-up",
            "group.instance.id": "warm-up",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )


def main(servers):
    create_topic(servers)
    producer = transactional_producer(servers)
    producer.begin_transaction()
    producer.produce(TOPIC, key=b"key", value=b"value")
    producer.commit_transaction(DEADLINE_S)

    consumer = group_member(servers)
    consumer.subscribe([TOPIC])
    message = consumer.poll(DEADLINE_S)
    if message is None or message.error():
        raise SystemExit(f"no message came back: {message and message.error()}")

    producer.begin_transaction()
    producer.send_offsets_to_transaction(
        [TopicPartition(TOPIC, message.partition(), message.offset() + 1)], consumer.consumer_group_metadata()
    )
    producer.abort_transaction(DEADLINE_S)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1])
