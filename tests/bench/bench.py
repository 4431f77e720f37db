"""Throughput, cost and latency of the worker, each figure beside something that ran on the same machine in the same run.

Ratios count, not absolute figures: machines differ, and one machine differs from hour to hour.
"""
import argparse
import glob
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid

import fastavro
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, "build", "release", "bin")
BOOTSTRAP = os.environ["SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS"]
CONNINFO = os.environ["SIPTRUNK_POSTGRES_CONNINFO"]
ACCOUNTS, CHANNELS_EACH, NUMBERS, PARTITIONS = 1000, 2, 100_000, 6
TICK = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, flush=True)


# ---- processes: CPU and memory from /proc ----

def cpu_seconds(pids):
    """CPU used by the processes, and by children of theirs that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
        except OSError:
            pass
    return total / TICK


def children(pid):
    found = [pid]
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            name, rest = open(path).read().rsplit(")", 1)
            if int(rest.split()[1]) == pid:
                found.append(int(name.split()[0]))
        except OSError:
            pass
    return found


def rollup(pid, key):
    try:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def peak_rss(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def server_pids():
    broker = int(open(os.environ["SIPTRUNK_DEV_KAFKA_PID_FILE"]).read().split()[0])
    postmaster = int(open(os.environ["SIPTRUNK_DEV_PG_PID_FILE"]).read().split()[0])
    return broker, postmaster


# ---- commands ----

def load_schema(path):
    schema = json.load(open(os.path.join(ROOT, path)))
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    return fastavro.parse_schema(schema), b"\xc3\x01" + fingerprint


SCHEMAS = {name: load_schema(f"schemas/commands/{name}.avsc")
           for name in ("ConnectNumber", "DisconnectNumber", "EditChannel", "SetOperatorConnectNumberType")}


def account_id(index):
    return str(uuid.UUID(int=index + 1))


def number_of(index):
    return "+315" + str(index + 1).rjust(8, "0")


def command(name, account, **fields):
    """Key and value of a record."""
    schema, prefix = SCHEMAS[name]
    out = io.BytesIO()
    out.write(prefix)
    fastavro.schemaless_writer(out, schema, {"command_id": str(uuid.uuid4()), "account_id": account, **fields})
    return account, out.getvalue()


def connect(index):
    """A connect of number index % NUMBERS to a channel of its account."""
    n = index % NUMBERS
    return command("ConnectNumber", account_id(n % ACCOUNTS), channel_name=f"trunk-{(n + 1) % CHANNELS_EACH}", number=number_of(n))


def edit(index):
    """An edit of ten settings, whose values change with each round over the channels."""
    a, round_ = index % ACCOUNTS, index // ACCOUNTS
    odd = bool(round_ % 2)
    return command("EditChannel", account_id(a), channel_name=f"trunk-{round_ % CHANNELS_EACH}", area_code=str(100 + round_ % 800),
                   block_caller_id=odd, full_e164=odd,
                   sip_trunk={"forward_clip": odd, "t38_codec": not odd, "destination_filter": f"filter {round_}",
                              "ip_whitelist": f"10.0.{round_ % 250}.1;10.1.0.0/16", "ping": 1 + round_ % 3, "ringing_timeout": 60 + round_ % 100},
                   failover={"forward_to": f"1234{round_}"})


def mixed(index):
    """70% connect and disconnect, 20% edit of ten settings, 10% operator-connect."""
    kind, n = index % 10, index * 7919 % NUMBERS
    account = account_id(n % ACCOUNTS)
    if kind < 4:
        return command("ConnectNumber", account, channel_name=f"trunk-{n % CHANNELS_EACH}", number=number_of(n))
    if kind < 7:
        return command("DisconnectNumber", account, number=number_of(n))
    if kind < 9:
        return edit(index)
    n = n // 100 * 100 + 99  # on the account's Operator-Connect channel, and of no other kind of command
    return command("SetOperatorConnectNumberType", account_id(n % ACCOUNTS), channel_name="operator-connect", number=number_of(n),
                   number_type=("User", "Resource Account", "")[index // 10 % 3])


# ---- database and topics of a run ----

def fresh_database(name):
    with psycopg.connect(CONNINFO, autocommit=True) as admin:
        admin.execute(f"drop database if exists {name} with (force)")
        admin.execute(f"create database {name}")
    conninfo = f"{CONNINFO} dbname={name}"
    subprocess.run([os.path.join(BIN, "siptrunkctl"), "-X", f"postgres.conninfo={conninfo}", "migrate", "up"], check=True,
                   stdout=subprocess.DEVNULL)
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute("insert into siptrunk.account select lpad(to_hex(i), 32, '0')::uuid, 'account ' || i"
                   f" from generate_series(1, {ACCOUNTS}) i")
        db.execute("insert into siptrunk.subscription select account_id, 'sip_trunk' from siptrunk.account")
        db.execute("insert into siptrunk.channel (account_id, name, subscription)"
                   f" select account_id, 'trunk-' || k, 'sip_trunk' from siptrunk.account, generate_series(0, {CHANNELS_EACH - 1}) k")
        db.execute("insert into siptrunk.subscription select account_id, 'operator_connect' from siptrunk.account")
        db.execute("insert into siptrunk.channel (account_id, name, subscription)"
                   " select account_id, 'operator-connect', 'operator_connect' from siptrunk.account")
        db.execute("insert into siptrunk.number (e164, account_id, kind, state)"
                   f" select '+315' || lpad(i::text, 8, '0'), lpad(to_hex((i - 1) % {ACCOUNTS} + 1), 32, '0')::uuid, 'fixed', 'available'"
                   f" from generate_series(1, {NUMBERS}) i")
        db.execute("update siptrunk.number n set channel_id = c.channel_id from siptrunk.channel c"
                   " where c.account_id = n.account_id and c.name = 'operator-connect' and n.e164 like '%00'")
        db.execute("vacuum analyze")
        db.execute("checkpoint")
    return conninfo


class Topics:
    def __init__(self, admin, tag):
        self.commands, self.bulk, self.results = (f"bench.{tag}.{kind}" for kind in ("commands", "bulk", "results"))
        names = [self.commands, self.bulk, self.results, self.commands + "-dlt", self.bulk + "-dlt"]
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
            future.result()


def produce(topic, messages):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random", "linger.ms": 20,
                         "queue.buffering.max.messages": 1_000_000})
    for key, value in messages:
        producer.produce(topic, value, key)
        producer.poll(0)
    producer.flush()


# ---- running a program over a backlog ----

def wait_drained(group, topic, total, process, timeout):
    """Until the group's committed offsets reach the ends; returns when that was seen."""
    watcher = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "enable.auto.commit": False})
    ends = {p: watcher.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(PARTITIONS)}
    deadline = time.monotonic() + timeout
    first = None
    while time.monotonic() < deadline:
        committed = watcher.committed([TopicPartition(topic, p) for p in ends], timeout=10)
        done = sum(max(0, c.offset) for c in committed)
        now = time.monotonic()
        if done and first is None:
            first = (now, done)
        if done >= sum(ends.values()):
            watcher.close()
            return now, first
        if process.poll() is not None:
            sys.exit(f"the program ended with {process.returncode} before the backlog was done")
        time.sleep(0.02)
    sys.exit(f"only {done} of {total} commands were done within {timeout} s")


def options(topics, conninfo, group, extra=()):
    pairs = [f"topics.commands={topics.commands}", f"topics.bulk={topics.bulk}", f"topics.results={topics.results}",
             f"kafka.group.id={group}", f"instance.id={group}", f"postgres.conninfo={conninfo}", *extra]
    return [word for pair in pairs for word in ("-X", pair)]


def start(program, words, log):
    return subprocess.Popen([os.path.join(BIN, program), *words], stderr=open(log, "wb"), stdin=subprocess.DEVNULL)


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(20)


def drain(program, words, group, topic, total, log, timeout=180):
    """Runs program over the backlog of topic: rate, CPU and memory by process."""
    broker, postmaster = server_pids()
    before = {"broker": cpu_seconds([broker]), "postgres": cpu_seconds(children(postmaster))}
    begin = time.monotonic()
    process = start(program, words, log)
    end, first = wait_drained(group, topic, total, process, timeout)
    figures = {
        "rate": total / (end - begin),
        "steady": (total - first[1]) / (end - first[0]) if end > first[0] else 0,
        "seconds": end - begin,
        "cpu_worker": cpu_seconds([process.pid]),
        "cpu_broker": cpu_seconds([broker]) - before["broker"],
        "cpu_postgres": cpu_seconds(children(postmaster)) - before["postgres"],
        "mib_worker": peak_rss(process.pid),
        "mib_broker": peak_rss(broker),
        "mib_postgres": sum(rollup(pid, "Pss") for pid in children(postmaster)),
    }
    stop(process)
    return figures


# ---- the parts ----

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


def count_results(topic):
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "isolation.level": "read_committed",
                       "enable.partition.eof": True, "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    count, ended = 0, set()
    while len(ended) < PARTITIONS:
        for message in reader.consume(10000, 1.0):
            if message.error():
                ended.add(message.partition())
            else:
                count += 1
    reader.close()
    return count


def latency(send_topic, results, messages, per_second):
    """Milliseconds from send to a read_committed reader, matched by key order within one account each."""
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "isolation.level": "read_committed",
                       "enable.auto.commit": False, "fetch.wait.max.ms": 100})
    parts = [TopicPartition(results, p) for p in range(PARTITIONS)]
    for part in parts:
        part.offset = reader.get_watermark_offsets(part, timeout=10)[1]
    reader.assign(parts)
    reader.poll(0.5)
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random", "linger.ms": 0})
    waiting, times = {}, []
    next_send = time.monotonic()
    queue = iter(messages)
    left = len(messages)
    deadline = time.monotonic() + len(messages) / per_second + 20
    while len(times) < len(messages) and time.monotonic() < deadline:
        now = time.monotonic()
        if left and now >= next_send:
            key, value = next(queue)
            left -= 1
            waiting[key] = time.monotonic()
            producer.produce(send_topic, value, key)
            producer.poll(0)
            next_send += 1 / per_second
        message = reader.poll(max(0.0, min(0.005, next_send - time.monotonic())) if left else 0.05)
        if message is not None and not message.error():
            sent = waiting.pop(message.key().decode(), None)
            if sent is not None:
                times.append((time.monotonic() - sent) * 1000)
    reader.close()
    if len(times) < len(messages):
        say(f"  only {len(times)} of {len(messages)} answers came")
    return times


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def idle_latency(admin, args, logs):
    out = {}
    for program in ("bench-echo", "siptrunk-worker"):
        tag = f"idle-{program}-{uuid.uuid4().hex[:6]}"
        topics = Topics(admin, tag)
        conninfo = fresh_database("bench_idle")
        extra = ["threads.interactive=0", "threads.bulk=1"]
        process = start(program, options(topics, conninfo, tag, extra), os.path.join(logs, f"{tag}.log"))
        # one account a message, so that a key names one message at a time
        warm = [connect(i) for i in range(100)]
        latency(topics.bulk, topics.results, warm, 50)
        times = latency(topics.bulk, topics.results, [connect(100 + i) for i in range(args.idle)], 50)
        out[program] = times
        stop(process)
    return out


# A mistake of ours, as far as the worker can tell: the store refuses one number in a thousand.
REFUSE = ("alter table siptrunk.number add constraint refused"
          " check (channel_id is null or e164 not like '%999') not valid")


def run_worker(admin, args, tag, extra, messages, logs, prepare=None):
    """The worker over a backlog of these messages, in a fresh database; each must be answered once."""
    topics = Topics(admin, tag)
    produce(topics.bulk, messages)
    conninfo = fresh_database("bench")
    if prepare:
        with psycopg.connect(conninfo, autocommit=True) as db:
            db.execute(prepare)
    figures = drain("siptrunk-worker", options(topics, conninfo, tag, extra), tag + "-bulk", topics.bulk,
                    len(messages), os.path.join(logs, f"{tag}-worker.log"))
    answered = count_results(topics.results)
    if answered != len(messages):
        sys.exit(f"{answered} committed results for {len(messages)} commands")
    return figures


def row(name, figures, total):
    per = 1000 * 1000 / total
    say(f"  {name:<9} {figures['rate']:>9,.0f}/s whole  {figures['steady']:>9,.0f}/s steady   CPU ms per 1,000:"
        f" worker {figures['cpu_worker'] * per:.1f}, broker {figures['cpu_broker'] * per:.1f}, PostgreSQL {figures['cpu_postgres'] * per:.1f}"
        f"   peak MiB: {figures['mib_worker']:.0f}, {figures['mib_broker']:.0f}, {figures['mib_postgres']:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000, help="size of the backlog (default 200000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of the backlog; the median counts (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the bulk lane (default 2)")
    parser.add_argument("--batch", type=int, default=500, help="batch.max.commands.bulk (default 500, the worker's own)")
    parser.add_argument("--pgbench-seconds", type=int, default=5, help="per number of clients (default 5)")
    parser.add_argument("--idle", type=int, default=500, help="commands of the idle measurement, at 50/s (default 500)")
    parser.add_argument("--skip", action="append", default=[], choices=["pgbench", "echo", "idle", "mixed", "refused"])
    args = parser.parse_args()
    logs = os.path.join(ROOT, ".dev", "bench-logs")
    os.makedirs(logs, exist_ok=True)
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    say(f"backlog of {args.commands:,} connects: {NUMBERS:,} numbers, {ACCOUNTS:,} accounts, {ACCOUNTS * CHANNELS_EACH:,} channels,"
        f" {PARTITIONS} partitions, {os.cpu_count()} cores shared with broker and database")
    messages = [connect(i) for i in range(args.commands)]
    best, ratios, echo_rates, shares = None, [], [], {"mixed": [], "edits": [], "refused": []}
    for run in range(args.runs):
        say(f"run {run + 1}")
        tag = f"r{run}-{uuid.uuid4().hex[:6]}"
        if "pgbench" not in args.skip:
            rates = pgbench(fresh_database("bench_pgbench"), args.pgbench_seconds)
            best = max(rates.values())
            say("  pgbench   " + ", ".join(f"{c} clients {r:,.0f}/s" for c, r in rates.items()))
        extra = ["threads.interactive=0", f"threads.bulk={args.threads}", f"batch.max.commands.bulk={args.batch}"]
        worker = run_worker(admin, args, tag, extra, messages, logs)
        row("worker", worker, args.commands)
        if "mixed" not in args.skip:
            for name, make in (("mixed", mixed), ("edits", edit)):
                figures = run_worker(admin, args, f"{tag}-{name}", extra, [make(i) for i in range(args.commands)], logs)
                row(name, figures, args.commands)
                shares[name].append(figures["rate"] / worker["rate"])
        if "refused" not in args.skip:
            figures = run_worker(admin, args, f"{tag}-refused", extra, messages, logs, REFUSE)
            row("refused", figures, args.commands)
            shares["refused"].append(figures["rate"] / worker["rate"])
        if "echo" not in args.skip:
            echo_topics = Topics(admin, tag + "-echo")
            produce(echo_topics.bulk, messages)
            echo = drain("bench-echo", options(echo_topics, CONNINFO, tag + "-echo", extra), tag + "-echo", echo_topics.bulk,
                         args.commands, os.path.join(logs, f"{tag}-echo.log"))
            row("echo", echo, args.commands)
            echo_rates.append(worker["rate"] / echo["rate"])
        if best:
            ratios.append(worker["rate"] / best)
            say(f"  worker / best pgbench = {ratios[-1]:.2f}")
    for name, values in shares.items():
        if values:
            say(f"{name} / connects, median of {len(values)}: {statistics.median(values):.2f}")
    if ratios:
        say(f"worker / best per-command transaction, median of {len(ratios)}: {statistics.median(ratios):.2f}")
    if echo_rates:
        say(f"worker / bare echo (one thread), median of {len(echo_rates)}: {statistics.median(echo_rates):.2f}")
    if "idle" not in args.skip:
        times = idle_latency(admin, args, logs)
        for program, values in times.items():
            say(f"idle, 50/s: {program:<16} p50 {quantile(values, 0.5):.1f} ms, p99 {quantile(values, 0.99):.1f} ms")
        say(f"idle p50, worker / echo: {quantile(times['siptrunk-worker'], 0.5) / quantile(times['bench-echo'], 0.5):.2f}")


if __name__ == "__main__":
    main()
