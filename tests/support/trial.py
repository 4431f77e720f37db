"""Short stories about a worker with a planted bug, or without: each does the harm that shows it, lets things settle, and
tells what the checker finds. What must be found is for tests/faults/test_planted.py to say."""

import contextlib
import random
import signal

import psycopg
from confluent_kafka import KafkaException

import check
import harness
from traffic import Traffic

COMMANDS = 24
BATCH = 8
SESSION_MS = 1500
GONE_S = 20
PATIENCE_S, HOPELESS_S = 30, 4


class Trial:
    """One partition, so that the same records are in a batch each time, and one thread, so that a place is passed in the
    same order."""

    def __init__(self, stack, bug):
        self.stack, self.bug, self.found = stack, bug, []
        self.patience_s = HOPELESS_S if bug else PATIENCE_S  # with a bug there may be nothing to wait for
        self.traffic = Traffic(random.Random(1))
        stack.load_inventory(self.traffic.inventory())
        self.before = check.stored(stack)

    def start(self, instance="w1", place=None, signal_number=None, ready=True, **settings):
        return self.stack.worker(instance, environment=harness.armed(place, signal_number, self.bug), ready=ready, **{
            "threads__bulk": 0, "batch__max__commands__interactive": BATCH, "batch__max__commands__bulk": BATCH,
            "kafka__fetch__wait__max__ms": 20, **settings})

    def send_all_kinds(self):
        """What each bug of one batch needs stands in front, while nothing is connected yet."""
        traffic = self.traffic
        first, second = traffic.accounts[:2]
        taken = traffic.connect(first, number=traffic.numbers[first][0], channel_name="east")
        self.stack.send([
            traffic.connect(first, number=traffic.numbers[first][-1], dry_run=True),
            traffic.connect(first, number=traffic.numbers[second][-1]),
            taken,
            traffic.connect(first, number=traffic.numbers[first][0], channel_name="west"),
            traffic.connect(second, number=traffic.numbers[second][0], command_id=taken.fields["command_id"]),
            *traffic.batch(COMMANDS),
        ])

    def send_one(self):
        self.stack.send([self.traffic.connect()])

    def settle(self):
        """A run that does not come to an end is a finding too."""
        try:
            self.stack.wait_drained(self.patience_s)
        except AssertionError as error:
            self.find("unfinished", str(error))

    def find(self, name, text):
        self.found.append(check.Finding(name, text))

    def end_its_sessions(self):
        self.stack.rows("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                        " and application_name like %s", self.stack.group + "-%")

    def lock_is_awaited(self):
        return self.stack.rows("select from pg_stat_activity where datname = current_database()"
                               " and wait_event_type = 'Lock'")


def run(story, bug=None):
    """All that is found."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        trial = Trial(stack, bug)
        story(trial)
        trial.settle()
        for worker in stack.workers:
            worker.release()
        return trial.found + check.check(check.collect(stack, trial.before))


# --- stories ----------------------------------------------------------------------------------------------------------


def works(trial):
    """No harm at all."""
    trial.send_all_kinds()
    trial.start()


def dies_at(place):
    """SIGKILL there, and a second process."""
    def story(trial):
        trial.send_all_kinds()
        dying = trial.start(place=place, ready=False)
        assert dying.exit_code() == -signal.SIGKILL, f"{place} was not passed\n{dying.log()}"
        trial.start(ready=False)
    return story


def loses_its_sessions(trial):
    """The database ends its session while a batch is at hand."""
    trial.start()
    with trial.stack.connect() as other, other.transaction():
        other.execute("select from siptrunk.account_tail for update")
        trial.send_all_kinds()
        harness.wait_for("a batch waits for the lock", trial.lock_is_awaited)
        trial.end_its_sessions()


def finds_its_position(change):
    """... changed by somebody else, when it wants to store the next batch."""
    def story(trial):
        worker = trial.start()
        trial.send_all_kinds()
        trial.settle()
        trial.stack.execute(f"update siptrunk.partition_position set {change}")
        trial.patience_s = HOPELESS_S  # it may be one that cannot be true
        trial.send_one()
        trial.settle()
        if not any(event.get("error_id") == "fenced" for event in worker.events("recover")):
            trial.find("not-fenced", f"a batch was stored although {change}")
    return story


def database_is_put_back(trial):
    """It is restored from a copy that was made before anything was done."""
    stack = trial.stack
    original = psycopg.conninfo.conninfo_to_dict(stack.conninfo)["dbname"]
    stack.servers.admin_sql("create database {} template {}", original + "_copy", original)
    worker = trial.start()
    trial.send_all_kinds()
    trial.settle()
    worker.kill()
    stack.servers.admin_sql("drop database {} with (force)", original)
    trial.patience_s = HOPELESS_S
    stack.conninfo = stack.servers.database(original + "_copy")
    trial.send_all_kinds()
    trial.start(ready=False)


def forget_offsets(stack, group):
    """As the broker does with those of a group that has been away for long. Its members must have been missed."""
    def deleted():
        with contextlib.suppress(KafkaException):
            stack.servers.admin.delete_consumer_groups([group])[group].result(20)
            return True

    harness.wait_for(f"group {group} is deleted", deleted, GONE_S, 0.2)


def committed_offsets_expire(trial):
    settings = {"kafka__session__timeout__ms": SESSION_MS, "kafka__heartbeat__interval__ms": 300}
    worker = trial.start(**settings)
    trial.send_all_kinds()
    trial.settle()
    worker.terminate()
    forget_offsets(trial.stack, trial.stack.group)
    trial.send_one()
    trial.start(**settings)


def wakes_up_when_another_has_taken_over(trial):
    """Frozen between effects and results, for longer than a session."""
    settings = {"kafka__session__timeout__ms": SESSION_MS, "kafka__heartbeat__interval__ms": 300}
    trial.send_all_kinds()
    zombie = trial.start("w1", "stored:1", signal.SIGSTOP, ready=False, **settings)
    zombie.wait_stopped()
    trial.start("w2", ready=False, **settings)
    trial.stack.wait_drained()
    ends = trial.stack.ends(trial.stack.topics.results)
    zombie.resume()
    harness.wait_for("the zombie has noticed, or has published", lambda: zombie.events("recover") or
                     trial.stack.ends(trial.stack.topics.results, committed=True) != ends)


def lanes_race(trial):
    """Both have commands of the same accounts; the one stands still between load and store."""
    trial.send_all_kinds()
    trial.stack.send([trial.traffic.connect() for _ in range(BATCH)], trial.stack.topics.bulk)
    slow = trial.start("w1", "decided:1", signal.SIGSTOP, ready=False)
    slow.wait_stopped()
    trial.start("w2", threads__interactive=0, threads__bulk=1)
    bulk = trial.stack.topics.bulk
    harness.wait_for("the other has done its part, or waits", lambda: trial.lock_is_awaited() or
                     trial.stack.committed(bulk) == trial.stack.ends(bulk))
    slow.resume()


def refuses(times, sqlstate, when):
    """The database fails whoever writes into the ledger so many times. A sequence is not rolled back."""
    timing, rows = when
    return f"""
        create sequence siptrunk.planted;
        create function siptrunk.planted() returns trigger language plpgsql security definer as $$ begin
            if nextval('siptrunk.planted') <= {times} then raise 'planted' using errcode = '{sqlstate}'; end if;
            return null;
        end $$;
        {timing} on siptrunk.command_ledger {rows} execute function siptrunk.planted();
    """


EACH_STATEMENT = "create trigger planted after insert", "for each statement"
AT_COMMIT = "create constraint trigger planted after insert", "deferrable initially deferred for each row"


def database_fails(times, when=EACH_STATEMENT, sqlstate="53100", alone=False):
    """alone: where processes have died, so that records are taken one by one."""
    def story(trial):
        worker = trial.start()
        trial.send_one()
        trial.settle()
        if alone:
            worker.kill()
            trial.stack.execute("update siptrunk.partition_position set claims_without_progress = 2,"
                                " owner_process = 'another'")
        trial.stack.execute(refuses(times, sqlstate, when))
        trial.send_one()
        if alone:
            trial.start(ready=False)
    return story


def has_a_twin(trial):
    """The second one waits for the first to leave."""
    first = trial.start()
    second = trial.start(ready=False)
    with contextlib.suppress(AssertionError):
        harness.wait_for("the second one is at work", lambda: second.events("claimed"), HOPELESS_S)
        trial.find("twin-at-work", f"{first.instance} twice")
    trial.send_all_kinds()
