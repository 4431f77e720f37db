"""The worker beside one in Java, as a team would write it first: tests/bench/peer, a database transaction for each command.

Both get a backlog of connects of the same kind in the same database, by turns in the same run; the peer a shorter one, since it
takes longer. Half of the connects are new and half find it done, one in a hundred is refused. Ratios count, not absolute figures.
"""
import argparse
import os
import sys

from confluent_kafka.admin import AdminClient

import jvm
from stage import BOOTSTRAP, LOGS, PARTITIONS, drain, say
from throughput import pgbench
from traffic import ROOT
from versus import MOST, by_turns, database, run_commands, run_worker, say_ratios, say_what_each_does
from warm import warm_up

WHAT_EACH_DOES = [
    ("", "worker", "peer"),
    ("a command takes effect once", "yes", "yes"),
    ("its result is published once", "yes", "yes"),
    ("result in the ledger, by the same transaction", "yes", "yes"),
    ("results numbered without a gap, by account", "yes", "yes"),
    ("a repeated command is answered from the ledger", "yes", "yes"),
    ("results and offsets by one Kafka transaction", "two batches", "a poll"),
    ("rows locked before they are judged", "yes", "yes"),
    ("results in Avro, with CloudEvents headers", "yes", "yes"),
    ("database transactions", "a batch, up to 500", "each command"),
    ("round trips to the database", "3 a batch", "7 or 8 each"),
    ("commands of the guide", "all, and four lists", "connect, disconnect"),
    ("dry run, expected version, warnings, checks of texts", "yes", "no"),
    ("another command under a used id is noticed", "yes, by MAC", "no"),
    ("results chained, so that a loss can be proved", "yes", "no"),
    ("one that lost its partition can store nothing", "yes, fenced", "no"),
    ("database behind or ahead of Kafka is noticed", "yes", "no"),
    ("bounds on what a body may claim", "yes", "no"),
    ("dead letters, reply topics, trace context", "yes", "no"),
    ("metrics, health, holds, watchdog", "yes", "no"),
    ("after an error", "recovers", "ends, to be started again"),
]


def run_peer(admin, args):
    def run_program(topics, conninfo, tag):
        words = [*args.jvm.split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jvm.class_path("peer"), "peer.Peer",
                 f"bootstrap={BOOTSTRAP}", f"commands={topics.bulk}", f"results={topics.results}", f"group={tag}",
                 f"jdbc={jvm.jdbc_url(conninfo)}", f"schemas={os.path.join(ROOT, 'schemas')}", f"threads={args.peer_threads}"]
        return drain(jvm.java(), words, tag, topics.bulk, args.peer_commands, os.path.join(LOGS, f"{tag}.log"), timeout=600)
    return run_commands(admin, "peer", args.peer_commands, run_program)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000, help="the worker's backlog (default 200000)")
    parser.add_argument("--peer-commands", type=int, default=60_000, help="the peer's backlog (default 60000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of both; medians count (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the worker's bulk lane (default 2)")
    parser.add_argument("--peer-threads", type=int, default=2, help="threads of the peer, at most one a partition (default 2)")
    parser.add_argument("--jvm", default="-Xmx128m -XX:+UseSerialGC",
                        help="the peer's Java flags (default: a heap of 128 MiB and the collector that takes least)")
    parser.add_argument("--pgbench-seconds", type=int, default=3, help="of pgbench for each number of clients, once (default 3)")
    args = parser.parse_args()
    if max(args.commands, args.peer_commands) > MOST:
        sys.exit(f"at most {MOST} commands")
    return args


def main():
    args = arguments()
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    warm_up(admin)
    jvm.compile_classes("peer")
    say(f"connects: {args.commands:,} for the worker with {args.threads} threads, {args.peer_commands:,} for the peer with"
        f" {args.peer_threads} ({jvm.version()}, {args.jvm}); {PARTITIONS} partitions, {os.cpu_count()} cores shared with broker and"
        " database")
    rates = pgbench(database("bench_pgbench"), args.pgbench_seconds)
    say("pgbench, the same transaction for each command and no Kafka: " + ", ".join(f"{c} clients {r:,.0f}/s" for c, r in rates.items()))
    runs = by_turns(args.runs, {"worker": lambda: run_worker(admin, args.commands, args.threads), "peer": lambda: run_peer(admin, args)})
    say_ratios(runs, "peer")
    say_what_each_does(WHAT_EACH_DOES)


if __name__ == "__main__":
    main()
