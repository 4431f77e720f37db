"""Whether the way to servers that are further away (stage.delayed) is as long as it is meant to be, and as wide as without."""
import argparse
import contextlib
import socket
import statistics
import threading
import time
import uuid

import psycopg
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

import stage

CHUNK = bytes(1 << 20)


def times(count, act):
    """Milliseconds of each of so many calls."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def show(what, taken, beside=None):
    added = f", added to the median: {statistics.median(taken) - statistics.median(beside):.3f} ms" if beside else ""
    stage.say(f"  {what:<34} p50 {statistics.median(taken):.3f} ms, p99 {stage.quantile(taken, 0.99):.3f} ms{added}")
    return taken


def select_one(conninfo, count):
    with psycopg.connect(conninfo, autocommit=True) as db:
        cursor = db.cursor()
        times(20, lambda: cursor.execute("select 1", prepare=True))
        return times(count, lambda: cursor.execute("select 1", prepare=True))


def ask_broker(bootstrap, topic, count):
    """A round trip each: where a partition ends."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "delay"})
    part = TopicPartition(topic, 0)
    times(300, lambda: reader.get_watermark_offsets(part, timeout=30))  # a broker that has just started is slow
    taken = times(count, lambda: reader.get_watermark_offsets(part, timeout=10))
    reader.close()
    return taken


def sink(server):
    connection, _ = server.accept()
    with connection:
        buffer = bytearray(len(CHUNK))
        while connection.recv_into(buffer):
            pass


def megabytes_per_second(megabytes, us=None):
    """From one end to the other, until the last byte has been read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reader = threading.Thread(target=sink, args=(server,))
        reader.start()
        with contextlib.ExitStack() as stack:
            if us is not None:
                port = stack.enter_context(stage.delayed(port, us))
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port)) as out:
                for _ in range(megabytes):
                    out.sendall(CHUNK)
            reader.join()
            return megabytes / (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--us", type=int, default=1000, help="added round trip in microseconds (default 1000)")
    parser.add_argument("--count", type=int, default=1000, help="round trips to PostgreSQL (default 1000)")
    parser.add_argument("--megabytes", type=int, default=1000, help="to be sent at once (default 1000)")
    args = parser.parse_args()
    topic = stage.Topics(AdminClient({"bootstrap.servers": stage.BOOTSTRAP}), f"delay-{uuid.uuid4().hex[:6]}").bulk
    stage.say("select 1")
    direct = show("directly", select_one(stage.CONNINFO, args.count))
    for us in (0, args.us):
        with stage.delayed_postgres(us) as far:
            show(f"through a delay of {us} us", select_one(stage.CONNINFO + far, args.count), direct)
    stage.say("the end of a partition")
    direct = show("directly", ask_broker(stage.BOOTSTRAP, topic, args.count // 5))
    for us in (0, args.us):
        with stage.delayed_kafka(us) as far:
            show(f"through a delay of {us} us", ask_broker(far, topic, args.count // 5), direct)
    stage.say(f"{args.megabytes} MB over one connection")
    stage.say(f"  directly {megabytes_per_second(args.megabytes):,.0f} MB/s, through a delay of {args.us} us"
              f" {megabytes_per_second(args.megabytes, args.us):,.0f} MB/s")


if __name__ == "__main__":
    main()
