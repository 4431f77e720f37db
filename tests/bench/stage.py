"""Where the benchmarks run: processes and what they use, a database and topics of a run's own, backlogs and their drain."""
import collections
import contextlib
import glob
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from traffic import ACCOUNTS, CHANNELS_EACH, NUMBERS, ROOT

BIN = os.path.join(ROOT, "build", "release", "bin")
LOGS = os.path.join(ROOT, ".dev", "bench-logs")
BOOTSTRAP = os.environ["SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS"]
CONNINFO = os.environ["SIPTRUNK_POSTGRES_CONNINFO"]
PG_PORT = psycopg.conninfo.conninfo_to_dict(CONNINFO)["port"]
PARTITIONS = 6
CORRELATION = "kafka_correlationId"
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server_pids():
    broker = int(open(os.environ["SIPTRUNK_DEV_KAFKA_PID_FILE"]).read().split()[0])
    postmaster = int(open(os.environ["SIPTRUNK_DEV_PG_PID_FILE"]).read().split()[0])
    return broker, postmaster


# ---- database and topics of a run ----

OLD_COMMANDS = f"""
    insert into siptrunk.command_ledger (account_id, command_id, account_sequence, applied_at, source_offset, source_timestamp,
        result_schema, source_partition, source_topic, command_type, outcome, mac_key_id, mac, result)
    select lpad(to_hex(i %% {ACCOUNTS} + 1), 32, '0')::uuid, gen_random_uuid(), 0, 0, i, 0, 0, 0, 'gone', 'ConnectNumber', 'APPLIED',
        'k', decode(repeat('00', 32), 'hex'), decode(repeat(md5(i::text), 12), 'hex') from generate_series(0, %s - 1) i"""


def fresh_database(name, numbers=NUMBERS, ledger=0):
    """With so many numbers, and so many rows in the ledger, of commands that were done long ago. A large ledger is made once
    and copied from then on."""
    if ledger:
        model = f"{name}_{numbers}_{ledger}"
        with psycopg.connect(CONNINFO, autocommit=True) as admin:
            if not admin.execute("select 1 from pg_database where datname = %s", (model,)).fetchone():
                fill_database(model, numbers, ledger)
            create_database(admin, name, f"template {model} strategy file_copy")
        return f"{CONNINFO} dbname={name}"
    return fill_database(name, numbers, 0)


def create_database(admin, name, how=""):
    admin.execute(f"drop database if exists {name} with (force)")
    admin.execute(f"create database {name} {how}")


def fill_database(name, numbers, ledger):
    with psycopg.connect(CONNINFO, autocommit=True) as admin:
        create_database(admin, name)
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
                   f" from generate_series(1, {numbers}) i")
        db.execute("update siptrunk.number n set channel_id = c.channel_id from siptrunk.channel c"
                   " where c.account_id = n.account_id and c.name = 'operator-connect' and n.e164 like '%00'")
        if ledger:
            db.execute(OLD_COMMANDS, (ledger,))
        db.execute("vacuum analyze")
        db.execute("checkpoint")
    return conninfo


class Topics:
    def __init__(self, admin, tag, partitions=PARTITIONS):
        self.commands, self.bulk, self.results, self.results_bulk = (
            f"bench.{tag}.{kind}" for kind in ("commands", "bulk", "results", "results-bulk"))
        names = [self.commands, self.bulk, self.results, self.results_bulk, self.commands + "-dlt", self.bulk + "-dlt"]
        for future in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            future.result()


def produce(topic, messages):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random", "linger.ms": 20,
                         "queue.buffering.max.messages": 1_000_000})
    for key, value, *headers in messages:
        producer.produce(topic, value, key, headers=headers[0] if headers else None)
        producer.poll(0)
    producer.flush()


# ---- servers that are further away ----

@contextlib.contextmanager
def delayed(port, us, listen=0):
    """A port that leads to another one of this machine; a round trip takes so many microseconds longer."""
    program = subprocess.Popen([os.path.join(BIN, "bench-delay"), str(listen), str(port), str(us)], stdout=subprocess.PIPE)
    try:
        yield int(program.stdout.readline())
    finally:
        program.kill()
        program.wait()


@contextlib.contextmanager
def delayed_postgres(us):
    """What to append to a connection string, so that it leads to the same server from further away."""
    with delayed(PG_PORT, us) as port:
        yield f" port={port}"


LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{port},FAR://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},FAR://127.0.0.1:{far}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,FAR:PLAINTEXT
"""


@contextlib.contextmanager
def far_listener():
    """The broker's port for those who come from further away, and the port where they look for it: delayed leads from this to
    that. A client goes where the broker says that it is, so that it is restarted for this; and once more afterwards."""
    port = int(BOOTSTRAP.rsplit(":", 1)[1])
    directory = os.environ["SIPTRUNK_DEV_INSTANCE_DIR"]
    extra = os.path.join(directory, "kafka", "extra.properties")
    restart = [os.environ["SIPTRUNK_DEV_SERVERS"], "restart", "kafka", directory]
    own, far = free_port(), free_port()
    with open(extra, "w") as file:
        file.write(LISTENERS.format(port=port, own=own, controller=port + 1, far=far))
    try:
        subprocess.run(restart, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield own, far
    finally:
        os.remove(extra)
        subprocess.run(restart, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def delayed_kafka(us):
    """Bootstrap servers that lead to the same broker from further away."""
    with far_listener() as (own, far), delayed(own, us, far):
        yield f"127.0.0.1:{far}"


# ---- running a program over a backlog ----

def wait_drained(group, topic, total, process, timeout, partitions=PARTITIONS):
    """Until the group's committed offsets reach the ends, total behind where they began; returns when that was seen, and when it
    had first got on, and how far. As read_committed the watcher would be told to come again while a transaction is open, and most
    looks would come to nothing."""
    watcher = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "enable.auto.commit": False,
                        "isolation.level": "read_uncommitted"})
    ends = {p: watcher.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(partitions)}
    deadline = time.monotonic() + timeout
    first, before = None, sum(ends.values()) - total
    while time.monotonic() < deadline:
        committed = watcher.committed([TopicPartition(topic, p) for p in ends], timeout=10)
        done = sum(max(0, c.offset) for c in committed)
        now = time.monotonic()
        if done > before and first is None:
            first = (now, done - before)
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


def start(program, words, log, environment=None, before=()):
    """before: a program that runs it, and its options."""
    return subprocess.Popen([*before, os.path.join(BIN, program), *words], stderr=open(log, "wb"), stdin=subprocess.DEVNULL,
                            env={**os.environ, **(environment or {})})


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(20)


def drain(program, words, group, topic, total, log, timeout=180, partitions=PARTITIONS):
    """Runs program over the backlog of topic: rate, milliseconds of CPU for 1,000 commands, and memory, by process."""
    broker, postmaster = server_pids()
    before = {"broker": cpu_seconds([broker]), "postgres": cpu_seconds(children(postmaster))}
    begin = time.monotonic()
    process = start(program, words, log)
    end, first = wait_drained(group, topic, total, process, timeout, partitions)
    per = 1_000_000 / total
    figures = {
        "rate": total / (end - begin),
        "steady": (total - first[1]) / (end - first[0]) if end > first[0] else 0,
        "seconds": end - begin,
        "cpu_worker": cpu_seconds([process.pid]) * per,
        "cpu_broker": (cpu_seconds([broker]) - before["broker"]) * per,
        "cpu_postgres": (cpu_seconds(children(postmaster)) - before["postgres"]) * per,
        "mib_worker": peak_rss(process.pid),
        "mib_broker": peak_rss(broker),
        "mib_postgres": sum(rollup(pid, "Pss") for pid in children(postmaster)),
    }
    stop(process)
    return figures


def line(figures):
    """What drain has found, for people."""
    return (f"{figures['rate']:>9,.0f}/s whole {figures['steady']:>9,.0f}/s steady   CPU ms per 1,000: process {figures['cpu_worker']:.1f},"
            f" broker {figures['cpu_broker']:.1f}, PostgreSQL {figures['cpu_postgres']:.1f}"
            f"   peak MiB: process {figures['mib_worker']:.0f}, broker {figures['mib_broker']:.0f}, PostgreSQL {figures['mib_postgres']:.0f}")


def read_results(topic):
    """The committed messages of all partitions, to their ends of now."""
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "isolation.level": "read_committed",
                       "enable.partition.eof": True, "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    ended = set()
    while len(ended) < PARTITIONS:
        for message in reader.consume(10000, 1.0):
            if message.error():
                ended.add(message.partition())
            else:
                yield message
    reader.close()


def count_results(topic):
    return sum(1 for _ in read_results(topic))


# ---- latency ----

class Prober(threading.Thread):
    """Sends commands at so many a second, at random distances, whatever comes back; notes how long each takes from send to a
    read_committed reader, in milliseconds by kind. make(index) returns kind, key and value."""

    LATE_S = 30

    def __init__(self, topic, results, make, per_second, seed=1):
        super().__init__(daemon=True)
        self.topic, self.make, self.per_second, self.rng = topic, make, per_second, random.Random(seed)
        self.times, self.waiting, self.ending, self.since = collections.defaultdict(list), {}, threading.Event(), 0
        self.reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "isolation.level": "read_committed",
                                "enable.auto.commit": False, "fetch.wait.max.ms": 100})
        parts = [TopicPartition(results, p) for p in range(PARTITIONS)]
        for part in parts:
            part.offset = self.reader.get_watermark_offsets(part, timeout=10)[1]
        self.reader.assign(parts)
        self.reader.poll(0.5)
        self.producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random", "linger.ms": 0})
        self.producer.list_topics(topic, 10)

    def send(self, index):
        kind, key, value = self.make(index)
        self.waiting[str(index)] = kind, time.monotonic()
        self.producer.produce(self.topic, value, key, headers={CORRELATION: str(index)})
        self.producer.poll(0)

    def read(self, timeout_s):
        message = self.reader.poll(timeout_s)
        if message is None or message.error():
            return
        kind, sent = self.waiting.pop(dict(message.headers() or []).get(CORRELATION, b"").decode(), (None, None))
        if sent and sent >= self.since:
            self.times[kind].append((time.monotonic() - sent) * 1000)

    def run(self):
        index, next_send = 0, time.monotonic()
        while not self.ending.is_set():
            if time.monotonic() >= next_send:
                self.send(index)
                index += 1
                next_send += self.rng.expovariate(self.per_second)
            self.read(max(0.0, min(0.05, next_send - time.monotonic())))
        until = time.monotonic() + self.LATE_S
        while self.waiting and time.monotonic() < until:
            self.read(0.05)
        self.producer.flush(self.LATE_S)
        self.reader.close()

    def wait_begun(self):
        until = time.monotonic() + self.LATE_S
        while not self.times and time.monotonic() < until:
            time.sleep(0.05)

    def forget(self):
        """What was sent so far was to warm up."""
        self.since, self.times = time.monotonic(), collections.defaultdict(list)

    def stop(self):
        """Sends no more; fails when an answer does not come."""
        self.ending.set()
        self.join()
        if self.waiting:
            sys.exit(f"{len(self.waiting)} answers did not come within {self.LATE_S} s")
        return self.times


def metric(port, name, **labels):
    """Sum over what has these labels, of the worker whose http.listen ends in that port."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if re.match(rf"{name}[{{ ]", line) and all(label in line for label in wanted))


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]
