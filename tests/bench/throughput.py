"""Throughput, cost and latency of the worker, each figure beside something that ran on the same machine in the same run.

Ratios count, not absolute figures: machines differ, and one machine differs from hour to hour.
"""
import argparse
import collections
import os
import statistics
import subprocess
import sys
import time
import uuid

import psycopg
from confluent_kafka.admin import AdminClient

from stage import (BIN, BOOTSTRAP, CONNINFO, LOGS, PARTITIONS, Prober, Topics, children, count_results, cpu_seconds, drain,
                   fresh_database, line, options, produce, quantile, say, server_pids, start, stop)
from traffic import ACCOUNTS, CHANNELS_EACH, NUMBERS, ROOT, connect, edit, hot, mixed
from warm import warm_up

WARM_UP_S = 3


def pgbench(conninfo, seconds):
    """The best of 1, 2, 4 and 8 clients, transactions a second."""
    rates = {}
    script = os.path.join(ROOT, "tests", "bench", "connect.pgbench")
    for clients in (1, 2, 4, 8):
        out = subprocess.run([os.path.join(os.environ["SIPTRUNK_DEV_PG_BIN"], "pgbench"), "-n", "-M", "prepared", "-f", script,
                              "-c", str(clients), "-j", "2", "-T", str(seconds), conninfo],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        rates[clients] = float(next(line.split()[2] for line in out.splitlines() if line.startswith("tps")))
    return rates


def idle_latency(admin, seconds):
    """Of each program alone, at 50 commands a second."""
    out = {}
    for program in ("bench-echo", "siptrunk-worker"):
        tag = f"idle-{program}-{uuid.uuid4().hex[:6]}"
        topics = Topics(admin, tag)
        extra = ["threads.interactive=0", "threads.bulk=1"]
        process = start(program, options(topics, fresh_database("bench_idle"), tag, extra), os.path.join(LOGS, f"{tag}.log"))
        prober = Prober(topics.bulk, topics.results, lambda index: ("idle", *connect(index)), 50)
        prober.start()
        time.sleep(WARM_UP_S)
        prober.forget()
        time.sleep(seconds)
        out[program] = prober.stop()["idle"]
        stop(process)
    return out


# ---- the worker over backlogs ----

# A mistake of ours, as far as the worker can tell: the store refuses one number in a thousand.
REFUSE = ("alter table siptrunk.number add constraint refused"
          " check (channel_id is null or e164 not like '%999') not valid")


def work(admin, conninfo, topics, tag, extra, messages):
    """The worker over a backlog of these messages; each must be answered once."""
    before = count_results(topics.results)
    produce(topics.bulk, messages)
    figures = drain("siptrunk-worker", options(topics, conninfo, tag, extra), tag + "-bulk", topics.bulk, len(messages),
                    os.path.join(LOGS, f"{tag}.log"))
    answered = count_results(topics.results) - before
    if answered != len(messages):
        sys.exit(f"{answered} committed results for {len(messages)} commands")
    with psycopg.connect(conninfo) as db:
        figures["result_bytes"], = db.execute("select avg(octet_length(result))::int from siptrunk.command_ledger").fetchone()
    return figures


def fresh(admin, tag, extra, messages, prepare=None):
    """In a database of its own."""
    conninfo = fresh_database("bench")
    if prepare:
        with psycopg.connect(conninfo, autocommit=True) as db:
            db.execute(prepare)
    return work(admin, conninfo, Topics(admin, tag), tag, extra, messages)


def first_and_again(admin, tag, extra, messages):
    """Connects, and what the resend of all of them takes, which the ledger answers."""
    conninfo, topics = fresh_database("bench"), Topics(admin, tag)
    first = work(admin, conninfo, topics, tag, extra, messages)
    return first, work(admin, conninfo, topics, tag, extra, messages)


def echo(admin, tag, extra, messages):
    topics = Topics(admin, tag)
    produce(topics.bulk, messages)
    return drain("bench-echo", options(topics, CONNINFO, tag, extra), tag, topics.bulk, len(messages), os.path.join(LOGS, f"{tag}.log"))


OTHERS = {
    "mixed": lambda count: [mixed(index) for index in range(count)],
    "edits": lambda count: [edit(index) for index in range(count)],
    "hot account": lambda count: list(hot(count, CHANNELS_EACH)),
    "hot channel": lambda count: list(hot(count, 1)),
}
PARTS = ["pgbench", "ceiling", "resends", "refused", *OTHERS, "echo", "idle"]


def ceiling(args, result_bytes):
    """What load and store alone reach on as many connections as the worker has threads, with all cores to themselves."""
    conninfo = fresh_database("bench_ceiling")
    _, postmaster = server_pids()
    before = cpu_seconds(children(postmaster))
    told = subprocess.run([os.path.join(BIN, "bench-ceiling"), conninfo, str(args.commands), str(args.batch), str(args.threads),
                           str(result_bytes)], stdout=subprocess.PIPE, text=True, check=True).stdout
    cpu = (cpu_seconds(children(postmaster)) - before) * 1000 * 1000 / args.commands
    say(f"  ceiling   {told.strip()}, PostgreSQL {cpu:.1f}")
    return float(told.split()[0])


def one_run(admin, args, parts, messages, shares):
    """Everything once; shares gets each figure as a part of that of the connects."""
    tag = f"r{uuid.uuid4().hex[:6]}"
    extra = ["threads.interactive=0", f"threads.bulk={args.threads}", f"batch.max.commands.bulk={args.batch}"]
    best = 0
    if "pgbench" in parts:
        rates = pgbench(fresh_database("bench_pgbench"), args.pgbench_seconds)
        best = max(rates.values())
        say("  pgbench     " + ", ".join(f"{c} clients {r:,.0f}/s" for c, r in rates.items()))
    found = {}
    if "resends" in parts:
        found["connects"], found["resends"] = first_and_again(admin, tag, extra, messages)
    else:
        found["connects"] = fresh(admin, tag, extra, messages)
    if "refused" in parts:
        found["refused"] = fresh(admin, tag + "-refused", extra, messages, REFUSE)
    for name in OTHERS:
        if name in parts:
            found[name] = fresh(admin, f"{tag}-{name.replace(' ', '-')}", extra, OTHERS[name](args.commands))
    if "echo" in parts:
        found["echo"] = echo(admin, tag + "-echo", extra, messages)
    for name, figures in found.items():
        say(f"  {name:<11} {line(figures)}")
        shares[name].append(figures["rate"] / found["connects"]["rate"])
    if "ceiling" in parts:
        shares["set-based ceiling"].append(ceiling(args, found["connects"]["result_bytes"]) / found["connects"]["rate"])
    if best:
        shares["the best per-command transaction"].append(best / found["connects"]["rate"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000, help="size of the backlog (default 200000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of the backlog; the median counts (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the bulk lane (default 2)")
    parser.add_argument("--batch", type=int, default=500, help="batch.max.commands.bulk (default 500, the worker's own)")
    parser.add_argument("--pgbench-seconds", type=int, default=5, help="per number of clients (default 5)")
    parser.add_argument("--idle", type=float, default=20, help="seconds of the idle measurement, at 50/s (default 20)")
    parser.add_argument("--only", default=",".join(PARTS), help="beside the connects (default: " + ",".join(PARTS) + ")")
    args = parser.parse_args()
    parts = args.only.split(",")
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    warm_up(admin)
    say(f"backlog of {args.commands:,} connects: {NUMBERS:,} numbers, {ACCOUNTS:,} accounts, {ACCOUNTS * CHANNELS_EACH:,} channels,"
        f" {PARTITIONS} partitions, {os.cpu_count()} cores shared with broker and database")
    messages, shares = [connect(index) for index in range(args.commands)], collections.defaultdict(list)
    for run in range(args.runs):
        say(f"run {run + 1}")
        one_run(admin, args, parts, messages, shares)
    for name, values in shares.items():
        if name != "connects":
            say(f"{name}: {statistics.median(values):.2f} of the connects, which are {1 / statistics.median(values):.2f} of it"
                f" (median of {len(values)}: " + ", ".join(f"{value:.2f}" for value in values) + ")")
    if "idle" in parts:
        times = idle_latency(admin, args.idle)
        for program, values in times.items():
            say(f"idle, 50/s: {program:<16} p50 {quantile(values, 0.5):.1f} ms, p99 {quantile(values, 0.99):.1f} ms")
        for q in (0.5, 0.99):
            say(f"idle p{q * 100:g}, worker / echo: {quantile(times['siptrunk-worker'], q) / quantile(times['bench-echo'], q):.2f}")


if __name__ == "__main__":
    main()
