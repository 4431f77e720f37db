"""The worker beside Debezium's JDBC sink in Kafka Connect, which upserts the same numbers into a plain table: no rules, no ledger,
no answer, at least once. A mark for how fast rows get from Kafka into PostgreSQL by the usual means.

The sink's records are JSON with their schema, which is what Connect reads without a registry. By turns in the same run.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import uuid

import psycopg
from confluent_kafka.admin import AdminClient

import jvm
from stage import BOOTSTRAP, CONNINFO, LOGS, PARTITIONS, Topics, drain, produce, say
from traffic import ACCOUNTS, CHANNELS_EACH, account_id, number_of
from versus import MOST, by_turns, run_worker, say_ratios, say_what_each_does
from warm import warm_up

WHAT_EACH_DOES = [
    ("", "worker", "sink"),
    ("a row for each record", "yes", "yes"),
    ("effects", "exactly once", "at least once, upserts"),
    ("rules of the guide, rows locked before they are judged", "yes", "no"),
    ("a result for each record, with offsets by one transaction", "yes", "no"),
    ("ledger, sequence, chain", "yes", "no"),
    ("rows written for a connect", "3: number, ledger, tail", "1"),
    ("foreign keys, checks and indexes", "those of the schema", "a primary key"),
    ("records", "Avro", "JSON with schema"),
]

FIELDS = ("number", "account_id", "channel_name", "command_id")
SCHEMA = {"type": "struct", "optional": False, "fields": [{"field": name, "type": "string", "optional": False} for name in FIELDS]}


def record(index, count):
    """What the connect of this index in the worker's backlog says."""
    n = index % (count // 2)
    account = account_id(n % ACCOUNTS)
    row = {"number": number_of(n), "account_id": account, "channel_name": f"trunk-{(n + 1) % CHANNELS_EACH}", "command_id": str(uuid.uuid4())}
    return account, json.dumps({"schema": SCHEMA, "payload": row}, separators=(",", ":"))


def fresh_table():
    """The table of the same shape as siptrunk.number, as far as an upsert by these records can fill it."""
    with psycopg.connect(CONNINFO, autocommit=True) as admin:
        admin.execute("drop database if exists bench_sink with (force)")
        admin.execute("create database bench_sink")
    conninfo = f"{CONNINFO} dbname=bench_sink"
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute("create table number (number text collate \"C\" primary key, account_id text not null, channel_name text not null,"
                   " command_id text not null) with (fillfactor = 50)")
        db.execute("checkpoint")
    return conninfo


def write_properties(path, properties):
    with open(path, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())
    return path


def connect_properties(home, batch):
    """Kafka Connect in one process. Offsets are committed often, since the end of the backlog is seen by them."""
    return write_properties(os.path.join(home, "connect.properties"), {
        "bootstrap.servers": BOOTSTRAP,
        "listeners": "http://127.0.0.1:0",
        "plugin.path": jvm.home("sink"),
        "plugin.discovery": "service_load",
        "offset.storage.file.filename": os.path.join(home, "offsets"),
        "offset.flush.interval.ms": 200,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "consumer.max.poll.records": batch,
        "consumer.isolation.level": "read_committed",
        "consumer.auto.offset.reset": "earliest",
    })


def sink_properties(home, tag, topic, conninfo, args):
    return write_properties(os.path.join(home, "sink.properties"), {
        "name": tag,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": args.tasks,
        "topics": topic,
        "connection.url": jvm.jdbc_url(conninfo) + "&reWriteBatchedInserts=true",
        "connection.username": "siptrunk",
        "connection.password": "",
        "collection.name.format": "number",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "number",
        "schema.evolution": "none",
        "batch.size": args.batch,
        "use.reduction.buffer": "true",
        "dialect.postgres.unnest.insert.enabled": "true" if args.unnest else "false",
    })


def run_sink(admin, args):
    tag = f"sink-{uuid.uuid4().hex[:6]}"
    topics = Topics(admin, tag)
    produce(topics.bulk, (record(i, args.commands) for i in range(args.commands)))
    conninfo = fresh_table()
    home = tempfile.mkdtemp(prefix="bench-sink-")
    try:
        words = [*args.jvm.split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                 "-cp", os.path.join(os.environ["SIPTRUNK_DEV_KAFKA_LIBS"], "*"), "org.apache.kafka.connect.cli.ConnectStandalone",
                 connect_properties(home, args.batch), sink_properties(home, tag, topics.bulk, conninfo, args)]
        figures = drain(jvm.java(), words, f"connect-{tag}", topics.bulk, args.commands, os.path.join(LOGS, f"{tag}.log"))
    finally:
        shutil.rmtree(home)
    with psycopg.connect(conninfo) as db:
        rows = db.execute("select count(*) from number").fetchone()[0]
    if rows != args.commands // 2:
        sys.exit(f"sink: {rows} rows instead of {args.commands // 2}")
    return figures


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000, help="the backlog of each (default 200000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of both; medians count (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the worker's bulk lane (default 2)")
    parser.add_argument("--tasks", type=int, default=2, help="tasks of the sink (default 2)")
    parser.add_argument("--batch", type=int, default=2000, help="the sink's batch.size and max.poll.records (default 2000)")
    parser.add_argument("--no-unnest", dest="unnest", action="store_false", help="the sink's batches as rewritten inserts")
    parser.add_argument("--jvm", default="-Xmx256m -XX:+UseSerialGC",
                        help="the sink's Java flags (default: the fastest that was tried)")
    args = parser.parse_args()
    if args.commands > MOST:
        sys.exit(f"at most {MOST} commands")
    return args


def main():
    args = arguments()
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    warm_up(admin)
    say(f"{args.commands:,} connects for the worker with {args.threads} threads, as many upserts for the sink with {args.tasks} tasks"
        f" ({jvm.version()}, {args.jvm}); {PARTITIONS} partitions, {os.cpu_count()} cores shared with broker and database")
    runs = by_turns(args.runs, {"worker": lambda: run_worker(admin, args.commands, args.threads), "sink": lambda: run_sink(admin, args)})
    say_ratios(runs, "sink")
    say_what_each_does(WHAT_EACH_DOES)


if __name__ == "__main__":
    main()
