"""The database loses acknowledged work: an old backup comes back, a standby that lagged behind is promoted. It is noticed
before anything is stored, whatever the lane; siptrunkctl repair gives back what was published. SIPTRUNK_DIVERGED_ROUNDS
sets how often."""

import contextlib
import os
import random
import re
import time

import pytest
from confluent_kafka import TopicPartition

import check
import harness
import replica
from traffic import Load, Traffic

ROUNDS = int(os.environ.get("SIPTRUNK_DIVERGED_ROUNDS", "1"))
RECORDS_PER_S = 200  # and lane
HEALTHY_S = 1.5
LOST_S = 2.0
RECOVERY_S = 60
RESENDS = 40


def let_pass(seconds):
    """Load must run for a while on either side of the loss."""
    time.sleep(seconds)


class Lab:
    """Two workers under load on both lanes, and a PostgreSQL of their own."""

    def __init__(self, stack, seed):
        self.stack = stack
        self.traffic = Traffic(random.Random(seed), accounts=12, numbers=15)
        stack.load_inventory(self.traffic.inventory())
        self.before = check.stored(stack)
        self.workers = [stack.worker(f"w{n}", batch__max__commands__interactive=50, batch__max__commands__bulk=50) for n in range(2)]
        self.load = Load(stack, self.traffic, RECORDS_PER_S)

    def repair(self, *words, code=0):
        return harness.run_program("siptrunkctl", [*self.stack.ctl_options(), "repair", *words], None, 120, code, "")

    def wait_diverged(self):
        harness.wait_for("the installation is marked as diverged", lambda: self.stack.rows(
            "select 1 from siptrunk.installation where state = 'diverged'"), RECOVERY_S)

    def ledger_rows(self):
        return self.stack.rows("select count(*) from siptrunk.command_ledger")[0][0]

    def finish(self):
        self.load.stop()
        self.stack.send([self.traffic.resent() for _ in range(RESENDS)])
        self.stack.wait_drained(RECOVERY_S)
        assert all(worker.process.poll() is None for worker in self.workers)
        print(check.summary(check.verify(self.stack, self.before)))


@contextlib.contextmanager
def own_postgres():
    with harness.own_servers("diverged-run", "pg") as servers:
        yield servers


def repair_what_is_lost(lab, kept):
    """Of that many ledger rows, some were lost, and nothing is stored any more; afterwards they are there again."""
    lab.wait_diverged()
    held = lab.ledger_rows()
    assert held < kept, "nothing was lost"
    dry = lab.repair("--dry-run")
    assert "dry run: nothing is changed" in dry.stdout and lab.ledger_rows() == held
    done = lab.repair()
    print(done.stdout)
    restored = int(re.search(r"^(\d+) commands? of", done.stdout, re.M).group(1))
    assert restored > 0 and lab.ledger_rows() >= held + restored


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_an_old_backup_comes_back(round_number):
    seed = harness.seed(100 + round_number)
    with own_postgres() as servers, harness.Stack(servers) as stack:
        lab = Lab(stack, seed)
        lab.load.start()
        let_pass(HEALTHY_S)
        replica.base_backup(servers, "backup", "-X", "stream")
        let_pass(LOST_S)
        kept = lab.ledger_rows()
        servers.do("kill", "pg")
        replica.put_back(servers, "backup")
        servers.do("start", "pg")
        repair_what_is_lost(lab, kept)
        lab.finish()


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_a_standby_that_lagged_behind_is_promoted(round_number):
    seed = harness.seed(200 + round_number)
    with own_postgres() as servers:
        database = servers.new_database()
        standby = replica.Standby(servers)
        try:
            both = harness.make_conninfo(database, **standby.both)
            with harness.Stack(servers, database=both) as stack:
                lab = Lab(stack, seed)
                lab.load.start()
                let_pass(HEALTHY_S)
                standby.leave_behind()
                let_pass(LOST_S)
                kept = lab.ledger_rows()
                servers.do("kill", "pg")
                standby.promote()
                repair_what_is_lost(lab, kept)
                lab.finish()
        finally:
            standby.stop()


# --- the same without servers that die: rows are taken away as a lost tail would be --------------------------------------


@pytest.fixture
def lost(stack):
    """Commands of one account are done on both lanes, and then the tables are as they were after the first ones."""
    return Lost(stack)


class Lost:
    TABLES = ("account_tail", "channel", "number", "command_ledger", "partition_position")

    def __init__(self, stack):
        self.stack = stack
        self.traffic = Traffic(random.Random(5), accounts=2, numbers=6)
        stack.load_inventory(self.traffic.inventory())
        self.before = check.stored(stack)
        self.do([self.traffic.connect() for _ in range(10)], stack.topics.commands)
        self.keep()
        self.do([self.traffic.usual() for _ in range(30)], stack.topics.commands)

    def do(self, commands, topic):
        worker = self.stack.worker()
        self.stack.send(commands, topic)
        self.stack.wait_drained()
        assert worker.terminate()[0] == 0

    def keep(self):
        for table in self.TABLES:
            self.stack.execute(f"create table public.kept_{table} as table siptrunk.{table}")

    def lose(self):
        with self.stack.connect() as db, db.transaction():
            db.execute("set session_replication_role = replica")
            for table in reversed(self.TABLES):
                db.execute(f"delete from siptrunk.{table}")
            for table in self.TABLES:
                db.execute(f"insert into siptrunk.{table} overriding system value select * from public.kept_{table}")

    def repair(self, *words, code=0):
        return Lab.repair(self, *words, code=code)

    def state(self):
        return self.stack.rows("select state, coalesce(state_reason, '') from siptrunk.installation")[0]

    def rows(self):
        return {table: sorted(map(repr, self.stack.rows(f"table siptrunk.{table}"))) for table in self.TABLES[:4]}


def test_the_other_lane_notices_too(lost):
    """A worker without the partitions concerned must not go on either: their accounts may be its own."""
    lost.lose()
    worker = lost.stack.worker(ready=False, threads__interactive=0)
    worker.wait_event("recover", error_id="diverged")
    assert lost.state()[0] == "diverged" and "results are published up to" in lost.state()[1]
    lost.stack.send([lost.traffic.connect()], lost.stack.topics.bulk)
    let_pass(1.5)
    assert lost.stack.rows("select count(*) from siptrunk.command_ledger") == [(10,)]
    lost.repair()
    lost.stack.wait_drained(20)
    assert worker.terminate()[0] == 0
    lost.stack.worker()
    check.verify(lost.stack, lost.before)


def test_repair_gives_back_every_row(lost):
    """But for nonces and places in pages, the tables are as if nothing had been lost."""
    whole = lost.rows()
    lost.lose()
    assert lost.rows() != whole
    lost.repair()
    assert lost.rows() == whole and lost.state() == ("normal", "")


def test_a_difference_stops_the_repair(lost):
    """The inventory is not as it was: a command would be decided otherwise than it was published."""
    lost.lose()
    lost.stack.execute("update siptrunk.number set state = 'reserved' where channel_id is null")
    held = lost.rows()
    done = lost.repair(code=7)
    assert re.search(r"nothing is changed: \S+/\d+ offset \d+: published: .*outcome \"APPLIED\", now \"REJECTED\"",
                     done.stderr), done.stderr
    assert lost.rows() == held and lost.state()[0] == "diverged"


def test_a_command_that_is_gone_stops_the_repair(lost):
    lost.lose()
    topic = lost.stack.topics.commands
    gone = [TopicPartition(topic, partition, k) for partition, k in lost.stack.committed(topic).items()]
    for future in lost.stack.servers.admin.delete_records(gone).values():
        future.result(20)
    held = lost.rows()
    done = lost.repair(code=7)
    assert "not all of the commands that were lost are in their topic" in done.stderr
    assert lost.rows() == held and lost.state()[0] == "diverged"


def test_nothing_to_repair(lost):
    assert "no position is ahead of the database" in lost.repair().stdout


def test_a_hole_in_the_ledger_is_no_new_command(lost):
    """A worker died between its two commits, and the row that the reply would come from is gone: no decision anew."""
    stack = lost.stack
    (command,) = stack.send([lost.traffic.connect()])
    assert stack.worker(ready=False, environment=harness.armed("stored:1")).exit_code() == -9
    assert 1 == stack.execute("delete from siptrunk.command_ledger where source_partition = %s and source_offset = %s"
                              " and source_topic = %s", command.partition, command.offset, command.topic)
    held = lost.rows()
    stack.worker(ready=False).wait_event("recover", error_id="diverged")
    assert "the ledger lacks the command at offset" in lost.state()[1] and lost.rows() == held
    done = lost.repair(code=7)
    assert "no position is ahead of the database" in done.stdout and "repair --release" in done.stderr
    assert lost.state()[0] == "diverged"


def test_a_topic_made_anew_is_no_new_beginning(lost):
    """Its group's offsets went with the former one; the database knows of commands beyond its end."""
    stack = lost.stack
    for future in stack.servers.admin.delete_topics([stack.topics.commands], operation_timeout=10).values():
        future.result(20)
    harness.create_topics(stack.servers, {stack.topics.commands: stack.topics.partitions})
    stack.send([lost.traffic.connect()])
    worker = stack.worker(ready=False)
    worker.wait_event("recover", error_id="diverged")
    assert "the topic ends at offset" in lost.state()[1]


def test_a_mark_that_is_over_is_released(lost):
    lost.stack.execute("update siptrunk.installation set state = 'diverged', state_reason = 'for a test'")
    done = lost.repair(code=7)
    assert "for a test" in done.stderr and lost.state()[0] == "diverged"
    assert "released" in lost.repair("--release").stdout and lost.state() == ("normal", "")
