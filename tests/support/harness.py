"""What the tests on real servers are made of: databases, topics, workers, commands in and results out.

Knows the worker only from outside: its programs, its log, its schemas. Judging a history is left to check.py.

    with harness.Stack(harness.Servers.shared()) as stack:
        stack.load_inventory(harness.GUIDE_INVENTORY)
        worker = stack.worker()
        sent = stack.send([harness.command("ConnectNumber", account_id=..., channel_name="name", number="+31500000000")])
        results = stack.read_results(count=len(sent))
"""

import contextlib
import copy
import dataclasses
import io
import itertools
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import uuid

import fastavro
import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from fastavro.schema import fingerprint, to_parsing_canonical_form
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SIPTRUNK_TEST_BIN", ROOT / "build" / "dev" / "bin"))
SERVERS_SH = ROOT / "tests" / "support" / "servers.sh"
GUIDE_INVENTORY = ROOT / "tests" / "support" / "guide-inventory.jsonl"
PARTITIONS = 3
_numbers = itertools.count(1)
_run = uuid.uuid4().hex[:8]


def unique(prefix):
    """A name that no other test of this or another run has."""
    return f"{prefix}-{_run}-{next(_numbers)}"


def wait_for(what, condition, deadline_s=30.0, every_s=0.02):
    """What condition returns as soon as it is true; fails the test when the deadline has passed."""
    until = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= until:
            raise AssertionError(f"not within {deadline_s:g} s: {what() if callable(what) else what}")
        time.sleep(every_s)


# --- Avro, from the schema files alone --------------------------------------------------------------------------------


class Schema:
    """A schema as fastavro understands it, with its fingerprint; knows nothing of how the worker computes one."""

    def __init__(self, text):
        self.json = json.loads(text)
        self.parsed = fastavro.parse_schema(self.json)
        self.prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(self.json), "CRC-64-AVRO"))
        self.name = self.json["name"]

    def encode(self, fields):
        """A message in single-object encoding."""
        out = io.BytesIO()
        out.write(self.prefix)
        fastavro.schemaless_writer(out, self.parsed, fields)
        return out.getvalue()

    def decode(self, message):
        assert message[: len(self.prefix)] == self.prefix, "framed with another schema"
        body = io.BytesIO(message[len(self.prefix) :])
        value = fastavro.schemaless_reader(body, self.parsed, None)
        assert body.read() == b"", "bytes are left over behind the record"
        return value


def load_schemas(pattern):
    schemas = (Schema(path.read_text()) for path in sorted(ROOT.glob(pattern)))
    return {schema.name: schema for schema in schemas}


COMMAND_SCHEMAS = load_schemas("schemas/commands/*.avsc")
RESULT_SCHEMA = load_schemas("schemas/results/*.avsc")["CommandResult"]


@dataclasses.dataclass
class Command:
    """A record for a command topic. The place it got is filled in when it was sent."""

    key: bytes | None
    value: bytes | None
    headers: list = dataclasses.field(default_factory=list)
    fields: dict | None = None
    type: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None

    @property
    def place(self):
        return self.topic, self.partition, self.offset


def command(type_name, *, headers=(), key=None, **fields):
    """A command of that record name. command_id is made up when it is not given; the key is the account's id."""
    fields.setdefault("command_id", str(uuid.uuid4()))
    key = fields["account_id"].encode() if key is None else key
    return Command(key, COMMAND_SCHEMAS[type_name].encode(fields), list(headers), fields, type_name)


def raw(value, key=b"raw", headers=()):
    """A record of any bytes, for what is no command."""
    return Command(key, value, list(headers))


def again(sent):
    """The same record once more, as a client that got no answer sends it."""
    return dataclasses.replace(sent, topic=None, partition=None, offset=None)


@dataclasses.dataclass
class Record:
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list

    @property
    def place(self):
        return self.topic, self.partition, self.offset

    def header(self, name):
        """The last header of that name, as bytes, or None."""
        return dict(self.headers).get(name)

    @property
    def body(self):
        """A result's bytes without framing."""
        return self.value[len(RESULT_SCHEMA.prefix) :]

    @property
    def event_id(self):
        """A result's first field, without decoding the rest of a history of a million."""
        assert self.value[10:11] == b"\x48", "the first field is no UUID"  # 36 as Avro writes it
        return uuid.UUID(self.value[11:47].decode())

    @property
    def replayed(self):
        return self.header("replayed") == b"true"

    @property
    def result(self):
        """The decoded CommandResult."""
        if not hasattr(self, "_result"):
            self._result = RESULT_SCHEMA.decode(self.value)
        return self._result


# --- servers ----------------------------------------------------------------------------------------------------------


class Servers:
    """A broker and a PostgreSQL: those of the run, or an instance of a test's own which it may kill."""

    _shared = None

    def __init__(self, environment, directory=None):
        self.directory = directory
        self.bootstrap = environment["SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS"]
        self.conninfo = environment["SIPTRUNK_POSTGRES_CONNINFO"]
        self.environment = environment
        self._template = None
        self._lock = threading.Lock()
        self._admin = None

    @classmethod
    def shared(cls):
        if cls._shared is None:
            if "SIPTRUNK_POSTGRES_CONNINFO" not in os.environ:
                raise RuntimeError("no servers: run ./dev up and source .dev/env, or go through ./dev test")
            cls._shared = cls(dict(os.environ))
        return cls._shared

    def do(self, verb, server):
        """start, stop, restart, kill, pause or resume one of an own instance's servers."""
        assert self.directory, "the servers of the run belong to all tests: use an instance of your own"
        _servers_sh(verb, server, self.directory)

    @property
    def admin(self):
        with self._lock:
            if self._admin is None:
                self._admin = AdminClient({"bootstrap.servers": self.bootstrap})
            return self._admin

    def database(self, name):
        """The connection string of a database here."""
        return make_conninfo(self.conninfo, dbname=name)

    def admin_sql(self, statement, *names):
        with psycopg.connect(self.conninfo, autocommit=True) as db:
            db.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def new_database(self, migrated=True):
        """The connection string of a fresh database; cloned from one that was migrated once a run."""
        name = unique("t").replace("-", "_")
        if not migrated:
            self.admin_sql("create database {}", name)
            return self.database(name)
        with self._lock:
            if self._template is None:
                template = unique("template").replace("-", "_")  # two brokers may share a server
                self.admin_sql("create database {}", template)
                run_program("siptrunkctl", ["-X", f"postgres.conninfo={self.database(template)}", "migrate", "up"])
                self._template = template
            self.admin_sql("create database {} template {}", name, self._template)
        return self.database(name)


@contextlib.contextmanager
def own_servers(name, which="all", prepare=None):
    """Fresh servers in .dev/NAME for one test file, which may kill them; stopped afterwards, with their logs left for who
    looks into a failure. With one of them only, the other is that of the run. prepare: texts of files, by their path below the directory, which stand there before
    the start (such as pg/extra.conf)."""
    directory = ROOT / ".dev" / name
    directory.mkdir(parents=True, exist_ok=True)
    _servers_sh("stop", "all", directory)
    _servers_sh("wipe", None, directory)
    for path, text in (prepare or {}).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    _servers_sh("start", which, directory)
    try:
        out = subprocess.run(["bash", "-c", 'source "$1" && env -0', "bash", str(directory / "env")], check=True,
                             capture_output=True).stdout
        own = dict(item.split("=", 1) for item in out.decode().split("\0") if item)
        yield Servers({**os.environ, **own}, directory)
    finally:
        _servers_sh("stop", "all", directory)


def _servers_sh(verb, server, directory):
    words = [word for word in (verb, server, str(directory)) if word]
    done = subprocess.run([str(SERVERS_SH), *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, f"servers.sh {' '.join(words)}: {done.stdout}"


def run_program(name, words, environment=None, deadline_s=60, code=0, stdin=""):
    """Runs one of our programs to its end; the completed process, with text in stdout and stderr."""
    done = subprocess.run([str(BIN / name), *words], input=stdin, capture_output=True, text=True, timeout=deadline_s,
                          env=program_environment(environment))
    assert code is None or done.returncode == code, (
        f"{name} left with {done.returncode} instead of {code}\n{done.stdout}{done.stderr}")
    return done


def program_environment(more=None):
    """Without what would configure a program behind the test's back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIPTRUNK_", "PG"))}
    return {**kept, **(more or {})}


def armed(place=None, signal_number=None, bug=None):
    """The environment that makes a build with failpoints end at a place ("stored:2": when it is passed for the second
    time), or get another signal there, or have a planted bug."""
    given = {"SIPTRUNK_FAILPOINT": place, "SIPTRUNK_FAILPOINT_SIGNAL": signal_number and str(int(signal_number)),
             "SIPTRUNK_FAILPOINT_BUG": bug}
    return {name: value for name, value in given.items() if value}


# --- inventory --------------------------------------------------------------------------------------------------------


_PUT = {
    "proxy": "insert into siptrunk.proxy values (%(id)s, %(name)s)",
    "template": "insert into siptrunk.template values (%(id)s, %(name)s)",
    "call_barring": "insert into siptrunk.call_barring values (%(code)s, %(name)s)",
    "account": "insert into siptrunk.account values (%(id)s, %(name)s)",
    "subscription": "insert into siptrunk.subscription values (%(account_id)s, %(subscription)s) on conflict do nothing",
    "channel": "insert into siptrunk.channel (account_id, name, subscription)"
    " values (%(account_id)s, %(name)s, %(subscription)s)",
    "number": "insert into siptrunk.number (e164, account_id, kind, state, number_type, channel_id) values (%(number)s,"
    " %(account_id)s, %(kind)s, %(state)s, %(number_type)s, (select channel_id from siptrunk.channel"
    " where account_id = %(account_id)s and name = %(channel)s))",
}
_GRANTS = {"proxies": "account_proxy", "templates": "account_template", "call_barrings": "account_call_barring",
           "caller_ids": "account_caller_id"}


def inventory_rows(lines):
    """Lines of the inventory format (a file, texts or objects) as (statement, rows) in the order of the references."""
    if isinstance(lines, (str, pathlib.Path)):
        lines = pathlib.Path(lines).read_text().splitlines()
    items = [json.loads(line) if isinstance(line, str) else dict(line) for line in lines if line]
    by_type = {kind: [item for item in items if item["type"] == kind] for kind in _PUT}
    by_type["subscription"] = by_type["channel"]
    for number in by_type["number"]:
        number.setdefault("channel", None)
        number.setdefault("number_type", None)
    for account in by_type["account"]:
        account.setdefault("name", "")
    order = ["proxy", "template", "call_barring", "account", "subscription", "channel", "number"]
    for kind in order:
        yield _PUT[kind], by_type[kind]
    for field, table in _GRANTS.items():
        rows = [{"id": a["id"], "what": w} for a in by_type["account"] for w in a.get(field, [])]
        yield f"insert into siptrunk.{table} values (%(id)s, %(what)s)", rows


# --- topics and workers -----------------------------------------------------------------------------------------------


class Topics:
    """Topics of one test: a command topic for each lane, their dead letter topics, results."""

    def __init__(self, servers, partitions=PARTITIONS):
        self.servers, self.partitions = servers, partitions
        prefix = unique("t")
        self.commands, self.bulk, self.results = (f"{prefix}.{kind}" for kind in ("commands", "bulk", "results"))
        self.commands_dlt, self.bulk_dlt = self.commands + "-dlt", self.bulk + "-dlt"
        self.all = [self.commands, self.bulk, self.results, self.commands_dlt, self.bulk_dlt]
        create_topics(servers, {name: partitions for name in self.all})

    @property
    def settings(self):
        return {"topics.commands": self.commands, "topics.bulk": self.bulk, "topics.results": self.results}


def create_topics(servers, partitions_by_name):
    new = [NewTopic(name, partitions, 1) for name, partitions in partitions_by_name.items()]
    for future in servers.admin.create_topics(new, operation_timeout=20).values():
        future.result(30)
    wait_for("the broker knows the new topics", lambda: set(partitions_by_name) <= set(
        servers.admin.list_topics(timeout=20).topics))  # the controller knows them first


class Worker:
    """A siptrunk-worker process. Its log lines are objects in events()."""

    started = []  # of the test that runs, for the report of a failure

    def __init__(self, settings, environment=None, directory=None, words=(), error=None):
        """error: where standard error goes instead, a file; then there are no events."""
        self.settings = dict(settings)
        self.environment = program_environment(environment)
        handle, path = tempfile.mkstemp(prefix=f"{settings['instance.id']}-", suffix=".log", dir=directory)
        self.log_file, self.log_path = os.fdopen(handle, "ab"), pathlib.Path(path)
        words = [word for key, value in self.settings.items() for word in ("-X", f"{key}={value}")] + list(words)
        self.process = subprocess.Popen([str(BIN / "siptrunk-worker"), *words], stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=error or self.log_file, env=self.environment)
        Worker.started.append(self)

    @property
    def instance(self):
        return self.settings["instance.id"]

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def events(self, name=None):
        """Log lines that are complete, as objects; only those of an event's name when one is given."""
        lines = self.log().split("\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if name is None or event.get("event") == name]

    def wait_event(self, name, deadline_s=30.0, count=1, **values):
        """The count-th event of that name that has these values; fails also when the worker ends before."""

        def look():
            found = [e for e in self.events(name) if all(e.get(key) == value for key, value in values.items())]
            if len(found) < count:
                assert self.process.poll() is None or len(self.events(name)) >= count, (
                    f"the worker left with {self.process.returncode}\n{self.log()}")
                return None
            return found[count - 1]

        return wait_for(lambda: f"event {name} of {self.instance}\n{self.log()}", look, deadline_s)

    def wait_ready(self, deadline_s=40.0):
        """Until each lane that it serves has claimed its partitions."""
        lanes = [lane for lane in ("interactive", "bulk") if self.settings.get(f"threads.{lane}") != "0"]

        def ready():
            assert self.process.poll() is None, f"the worker left with {self.process.returncode}\n{self.log()}"
            claimed = [event["worker"] for event in self.events("claimed")]
            return all(any(re.search(f"-{lane}-[0-9]+$", worker) for worker in claimed) for lane in lanes)

        wait_for(lambda: f"{self.instance} is ready\n{self.log()}", ready, deadline_s)
        return self

    def kill(self):
        """SIGKILL, and the end of it."""
        self.process.kill()
        return self.process.wait(20)

    def terminate(self, deadline_s=10.0):
        """SIGTERM; (exit code, seconds it took)."""
        began = time.monotonic()
        self.process.terminate()
        return self.exit_code(deadline_s), time.monotonic() - began

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def wait_stopped(self, deadline_s=30.0):
        """Until SIGSTOP has reached it, its own at a failpoint or another's."""
        wait_for(lambda: f"{self.instance} stands still\n{self.log()}",
                 lambda: pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0] == "T", deadline_s)

    def exit_code(self, deadline_s=30.0):
        """Waits for its end; a negative number is the signal that ended it."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.instance} has not left within {deadline_s:g} s\n{self.log()}") from None

    def report(self, lines=60, warnings=30):
        """The end of its log, for people, and the last warnings from before that: the cause is often further up."""
        log = self.log().splitlines()
        earlier = [line for line in log[:-lines] if '"level":"info"' not in line][-warnings:]
        tail = "\n".join([*earlier, "...", *log[-lines:]] if earlier else log)
        return f"--- {self.instance}, process {self.pid}, exit code {self.process.poll()}, {self.log_path}\n{tail}"

    def release(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        self.log_file.close()


class Stack:
    """A database, topics and workers of one test."""

    def __init__(self, servers, partitions=PARTITIONS, settings=None, database=None):
        self.servers = servers
        self.group = unique("g")
        self.topics = Topics(servers, partitions)
        self.conninfo = database or servers.new_database()
        self.settings = settings or {}
        self.inventory = []
        self.workers = []
        self.directory = tempfile.TemporaryDirectory(prefix="siptrunk-test-")
        self._producer = None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for worker in self.workers:
            worker.release()
        for cleaning in (self._drop_database, self._delete_topics):
            with contextlib.suppress(psycopg.Error, KafkaException):
                cleaning()
        if failure[1] is None:
            self.directory.cleanup()
        else:
            self.directory._finalizer.detach()  # the logs stay
            for worker in self.workers:
                failure[1].add_note(worker.report())

    def _drop_database(self):
        name = psycopg.conninfo.conninfo_to_dict(self.conninfo)["dbname"]
        self.servers.admin_sql("drop database if exists {} with (force)", name)

    def _delete_topics(self):
        self.servers.admin.delete_topics(self.topics.all, operation_timeout=0, request_timeout=5)

    # -- the database

    def connect(self):
        return psycopg.connect(self.conninfo, autocommit=True)

    @contextlib.contextmanager
    def another_database(self):
        """The same topics and group, with a database that knows nothing but the inventory."""
        other = copy.copy(self)
        other.conninfo, other.inventory = self.servers.new_database(), []
        for lines in self.inventory:
            other.load_inventory(lines)
        try:
            yield other
        finally:
            other._drop_database()

    def load_inventory(self, lines):
        lines = lines if isinstance(lines, pathlib.Path) else list(lines)
        self.inventory.append(lines)
        with psycopg.connect(self.conninfo) as db, db.cursor() as cursor:
            for statement, rows in inventory_rows(lines):
                if rows:
                    cursor.executemany(statement, rows)

    def rows(self, statement, *values):
        with self.connect() as db:
            return db.execute(statement, values).fetchall()

    def execute(self, statement, *values):
        with self.connect() as db:
            return db.execute(statement, values).rowcount

    def end_sessions(self):
        """As an administrator may: every worker has to find its way back."""
        self.rows("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                  " and pid <> pg_backend_pid()")

    # -- programs

    def ctl_options(self):
        """Those with which siptrunkctl looks at what the workers do."""
        settings = {"kafka.bootstrap.servers": self.servers.bootstrap, "postgres.conninfo": self.conninfo,
                    "kafka.group.id": self.group, **self.topics.settings}
        return [word for key, value in settings.items() for word in ("-X", f"{key}={value}")]

    def worker(self, instance="w1", environment=None, ready=True, words=(), error=None, **settings):
        """Starts one; a setting's dots are written as __: threads__bulk=2. None leaves it at its default. words go on the
        command line as they are."""
        given = {key.replace("__", "."): value for key, value in settings.items()}
        wanted = {
            "kafka.bootstrap.servers": self.servers.bootstrap,
            "postgres.conninfo": self.conninfo,
            "kafka.group.id": self.group,
            "instance.id": instance,
            "threads.interactive": "1",
            "threads.bulk": "1",
            "http.listen": "",
            **self.topics.settings,
            **self.settings,
            **given,
        }
        worker = Worker({key: str(value) for key, value in wanted.items() if value is not None}, environment,
                        self.directory.name, words, error)
        self.workers.append(worker)
        return worker.wait_ready() if ready else worker

    # -- commands

    def send(self, commands, topic=None, producer=None, deadline_s=60, refused=None):
        """Sends in order and waits for the broker's word; each command then knows its place. With refused, a list,
        those go there of which the broker says that it could not take them: it may have stored them all the same."""
        if producer is None:
            producer = self.producer()
        failures = []

        def delivered(command):
            def note(error, message):
                if error:
                    failures.append((command, error))
                command.topic, command.partition, command.offset = message.topic(), message.partition(), message.offset()
            return note

        for item in commands:
            while True:
                try:
                    producer.produce(topic or self.topics.commands, item.value, item.key, headers=item.headers,
                                     on_delivery=delivered(item))
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(deadline_s) == 0, "the broker says nothing"
        if refused is None:
            assert not failures, f"not sent: {[error for _, error in failures[:3]]}"
        else:
            refused.extend(command for command, _ in failures)
        return commands

    def producer(self, **settings):
        if self._producer is None or settings:
            self._producer = Producer({"bootstrap.servers": self.servers.bootstrap, "partitioner": "murmur2_random",
                                       "enable.idempotence": True, "linger.ms": 2, "reconnect.backoff.max.ms": 500,
                                       **settings})
        return self._producer

    # -- reading

    def ends(self, topic, committed=False):
        """The offset behind the last record of each partition; with committed, of the last stable one."""
        reader = self._reader(committed)
        try:
            return {p: self._watermarks(reader, topic, p)[1] for p in range(self.topics.partitions)}
        finally:
            reader.close()

    @staticmethod
    def _watermarks(reader, topic, partition):
        """A client may not have heard of a new topic yet."""
        def ask():
            with contextlib.suppress(KafkaException):
                return reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)

        return wait_for(lambda: f"the broker tells where {topic}/{partition} ends", ask)

    def committed(self, topic):
        """K of each partition, 0 where there is none."""
        group = self.group + ("-bulk" if topic == self.topics.bulk else "")
        reader = Consumer({"bootstrap.servers": self.servers.bootstrap, "group.id": group, "enable.auto.commit": False})
        try:
            asked = [TopicPartition(topic, p) for p in range(self.topics.partitions)]
            return {item.partition: max(0, item.offset) for item in reader.committed(asked, timeout=20)}
        finally:
            reader.close()

    def wait_drained(self, deadline_s=60.0):
        """Until Kafka's committed offsets of both lanes are at the ends of their topics. The broker ends a transaction
        partition by partition, so that its results may be seen later than its offsets: waits for those too, a little."""
        state = {}
        wait_for(lambda: f"all commands are done (committed, end): {state}", lambda: self.drained(state), deadline_s, 0.1)
        until = time.monotonic() + 3
        while any(self.held_back().values()) and time.monotonic() < until:  # the checker reports what stays
            time.sleep(0.1)

    def held_back(self):
        """How many records of each partition with answers readers do not get because a transaction is open."""
        counts = {}
        for topic in (self.topics.results, self.topics.commands_dlt, self.topics.bulk_dlt):
            stable = self.ends(topic, committed=True)
            counts.update({(topic, p): end - stable[p] for p, end in self.ends(topic).items()})
        return counts

    def drained(self, state=None):
        """Whether they are; state is filled with what there is to say about it."""
        state = {} if state is None else state
        topics = self.topics.commands, self.topics.bulk
        try:
            for topic in topics:
                state[topic] = self.committed(topic), self.ends(topic)
        except KafkaException as error:  # a broker that has just come back, or has too much to do
            state["trouble"] = error
            return False
        return all(state[topic][0] == state[topic][1] for topic in topics)

    def _reader(self, committed):
        return Consumer({"bootstrap.servers": self.servers.bootstrap, "group.id": "reader", "enable.auto.commit": False,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed" if committed else "read_uncommitted",
                         "fetch.wait.max.ms": 50})

    def read(self, topic, committed=True, count=None, deadline_s=30.0):
        """All records from the beginning. Until the end as it is now; with count, until so many have come and the end
        was seen once more, so that one too many shows. Partition by partition, each in order."""
        reader = self._reader(committed)
        parts = [TopicPartition(topic, p, 0) for p in range(self.topics.partitions)]
        records, ended, last = [], set(), {}
        until = time.monotonic() + deadline_s
        try:
            reader.assign(parts)
            while len(ended) < len(parts) or (count is not None and len(records) < count):
                assert time.monotonic() < until, (
                    f"{len(records)} records instead of {count} in {topic} within {deadline_s:g} s")
                message = reader.poll(0.2)
                if message is None:
                    continue
                if message.error():
                    if message.error().name() == "_PARTITION_EOF":
                        ended.add(message.partition())
                    continue
                ended.discard(message.partition())
                if message.offset() <= last.get(message.partition(), -1):
                    continue  # a broker that failed while it appended may have several: consumers take the first
                last[message.partition()] = message.offset()
                records.append(Record(topic, message.partition(), message.offset(), message.timestamp()[1],
                                      message.key(), message.value(), message.headers() or []))
        finally:
            reader.close()
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def read_results(self, count=None, committed=True, deadline_s=30.0):
        return self.read(self.topics.results, committed, count, deadline_s)


# --- reproducible choice ----------------------------------------------------------------------------------------------


def seed(default=None):
    """Of SIPTRUNK_TEST_SEED, else the default, else a new one. To be printed, so that a run can be repeated."""
    given = os.environ.get("SIPTRUNK_TEST_SEED")
    return int(given) if given else random.randrange(2**31) if default is None else default
