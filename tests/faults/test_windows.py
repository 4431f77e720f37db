"""Windows of docs/windows.md that need a story of their own: between a lock and its owner's end, between a transaction and
its readers, and what happens when servers forget, clocks lie and one record of many is bad."""

import contextlib
import itertools
import random
import signal
import socket
import struct
import time

import pytest

import check
import harness
import trial
from network import ROUNDS
from traffic import Traffic

BATCH = 8
RECOVERY_S = 60
SHORT_SESSIONS = {"kafka__session__timeout__ms": 1500, "kafka__heartbeat__interval__ms": 300}
TRANSACTION_MS, SWEEP_MS = 2000, 1000  # the latter is what servers.sh sets
EXPIRY_MS = 1500
EPOCHS = 32767  # of a producer id; the one behind begins a new id


def begin(stack, **sizes):
    traffic = Traffic(random.Random(harness.seed(21)), **sizes)
    stack.load_inventory(traffic.inventory())
    return traffic, check.stored(stack)


def worker(stack, instance="w1", place=None, signal_number=None, ready=True, **settings):
    return stack.worker(instance, environment=harness.armed(place, signal_number), ready=ready, **{
        "threads__bulk": 0, "batch__max__commands__interactive": BATCH, "kafka__fetch__wait__max__ms": 20, **settings})


def finish(stack, before):
    stack.wait_drained(RECOVERY_S)
    history = check.verify(stack, before)
    print(check.summary(history))
    return history


# --- those who hold something and do not get on -----------------------------------------------------------------------


def test_frozen_with_its_locks_while_another_takes_over(stack):
    """W7: the database transaction of the one that was there is ended by the one that comes."""
    traffic, before = begin(stack)
    stack.send(traffic.batch(24))
    frozen = worker(stack, "w1", "loaded:1", signal.SIGSTOP, ready=False, **SHORT_SESSIONS)
    frozen.wait_stopped()
    began = time.monotonic()
    other = worker(stack, "w2", **SHORT_SESSIONS)
    stack.wait_drained(RECOVERY_S)
    print(f"all done {time.monotonic() - began:.1f} s after the freeze")
    assert other.events("evict-owner"), "it did not have to end another's session"
    frozen.resume()
    frozen.wait_event("recover", error_id="postgres-shutdown")  # and not by the limit for idle transactions
    stack.send(traffic.batch(24))
    finish(stack, before)


def test_open_transaction_of_a_frozen_worker_holds_readers_up_for_its_timeout_only(stack):
    """W13: the other's results stand behind it in the same partitions."""
    traffic, before = begin(stack)
    settings = {"kafka__transaction__timeout__ms": TRANSACTION_MS, "kafka__message__timeout__ms": TRANSACTION_MS}
    frozen = worker(stack, "w1", "offsets-sent:1", signal.SIGSTOP, **settings)
    other = worker(stack, "w2", ready=False, **settings)
    harness.wait_for("both have partitions", lambda: other.events("claimed"))
    results = stack.topics.results

    def held():
        return stack.ends(results) != stack.ends(results, committed=True)

    def work():
        stack.send([traffic.connect() for _ in range(BATCH)])
        return held() and frozen_now()

    def frozen_now():
        frozen.wait_stopped(RECOVERY_S)
        return True

    harness.wait_for("results are held back", work, RECOVERY_S)
    began = time.monotonic()
    harness.wait_for("readers get on", lambda: not held(), RECOVERY_S)
    print(f"readers waited {time.monotonic() - began:.1f} s; timeout {TRANSACTION_MS} ms, sweep {SWEEP_MS} ms")
    frozen.resume()
    finish(stack, before)


def test_what_was_aborted_says_the_same_as_what_is_committed(stack):
    """W23: results of a transaction that died are there for those who read them all the same."""
    traffic, before = begin(stack)
    results, aborted = stack.topics.results, 0
    for attempt in range(5):
        stack.send([traffic.connect() for _ in range(BATCH)])
        end = sum(stack.ends(results).values())
        dying = worker(stack, "w1", "offsets-sent:1", signal.SIGSTOP, ready=False)
        dying.wait_stopped()
        aborted += sum(stack.ends(results).values()) - end
        dying.kill()
    worker(stack)
    history = finish(stack, before)
    assert aborted and len(history.uncommitted) > len(history.committed), "nothing was aborted"


# --- servers that forget ----------------------------------------------------------------------------------------------


def is_noted(stack):
    """A worker that has nothing to do tells the database, within a tenth of a second."""
    [(noted,)] = stack.rows("select committed_offset = next_offset from siptrunk.partition_position where topic = %s",
                            stack.topics.commands)
    return noted


def test_begins_where_the_database_knows_when_offsets_are_forgotten():
    """W17: also when effects are ahead of the answers, which are still owed."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack)
        for leave in (lambda owed: owed.kill(), lambda owed: owed.terminate()):
            stack.send(traffic.batch(24))
            dying = worker(stack, place="stored:2", ready=False, **SHORT_SESSIONS)
            assert dying.exit_code() == -signal.SIGKILL
            trial.forget_offsets(stack, stack.group)
            owed = worker(stack, **SHORT_SESSIONS)
            stack.wait_drained(RECOVERY_S)
            harness.wait_for("the database knows what is committed", lambda: is_noted(stack))
            leave(owed)
            trial.forget_offsets(stack, stack.group)
        stack.send(traffic.batch(24))
        worker(stack, **SHORT_SESSIONS)
        finish(stack, before)


@pytest.fixture(scope="module")
def forgetful():
    """A broker that drops what it knows of a producer as soon as that one is idle."""
    settings = {"transactional.id.expiration.ms": EXPIRY_MS, "producer.id.expiration.ms": EXPIRY_MS,
                "transaction.remove.expired.transaction.cleanup.interval.ms": 300,
                "producer.id.expiration.check.interval.ms": 300}
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    with harness.own_servers("windows-run", "kafka", {"kafka/extra.properties": text}) as own:
        yield own


def test_producer_id_expires_while_there_is_nothing_to_do(forgetful):
    """W15."""
    with harness.Stack(forgetful, partitions=1) as stack:
        traffic, before = begin(stack)
        idle = worker(stack)
        for _ in range(2):
            stack.send(traffic.batch(12))
            stack.wait_drained(RECOVERY_S)
            time.sleep(3 * EXPIRY_MS / 1000)  # it is about time that passes
        stack.send(traffic.batch(12))
        finish(stack, before)
        recoveries = idle.events("recover")
        assert recoveries, "nothing had expired"
        assert len(recoveries) <= 4, f"two clients expire twice, each needs one recovery at most: {recoveries}"
        assert idle.process.poll() is None


def begin_epochs(servers, transactional_id, count):
    """As many producers of that id as a worker starts in its life; returns the last (producer id, epoch)."""
    host, port = servers.bootstrap.rsplit(":", 1)
    name = transactional_id.encode()
    with socket.create_connection((host, int(port))) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = link.makefile("rb")
        done = None
        for number in itertools.count():  # InitProducerId, version 1
            body = struct.pack(">hhihh", 22, 1, number, -1, len(name)) + name + struct.pack(">i", 10000)
            link.sendall(len(body).to_bytes(4, "big") + body)
            answer = answers.read(int.from_bytes(answers.read(4), "big"))
            code, producer, epoch = struct.unpack_from(">hqh", answer, 8)
            assert code in (0, 51), f"InitProducerId: error {code}"  # 51: the one before is being finished
            done = (producer, epoch) if code == 0 else done
            if code == 0 and (count := count - 1) <= 0:
                return done


def test_epoch_of_a_producer_wraps_around(stack):
    """W15: after 32767 of them the broker gives another producer id."""
    traffic, before = begin(stack)
    slot = f"{stack.group}-w1-interactive-0"
    stack.send(traffic.batch(12))
    first = worker(stack)
    stack.wait_drained(RECOVERY_S)
    first.kill()
    began = time.monotonic()
    producer, epoch = begin_epochs(stack.servers, slot, EPOCHS - 5)
    print(f"producer {producer}, epoch {epoch} after {time.monotonic() - began:.1f} s")
    for _ in range(6):
        stack.send(traffic.batch(12))
        worker(stack)
        stack.wait_drained(RECOVERY_S)
        stack.workers[-1].kill()
    after, epoch = begin_epochs(stack.servers, slot, 1)
    assert after != producer, "the epoch has not wrapped around"
    finish(stack, before)


# --- a COMMIT that may not last ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_database():
    with harness.own_servers("windows-pg-run", "pg") as own:
        yield own


def test_no_answer_for_what_no_standby_has(own_database):
    """W21: somebody cancels the wait for a standby that is gone; COMMIT then succeeds, with a warning."""
    with harness.Stack(own_database, partitions=1) as stack:
        traffic, before = begin(stack)
        at_work = worker(stack)
        stack.send(traffic.batch(12))
        stack.wait_drained(RECOVERY_S)
        answered = stack.ends(stack.topics.results)
        with synchronous_standby(stack, "nobody"):
            stack.send(traffic.batch(12))
            for _ in range(3):
                harness.wait_for("a COMMIT waits for the standby, which is cancelled", lambda: stack.rows(
                    "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"), RECOVERY_S)
            at_work.wait_event("recover", error_id="postgres-not-durable")
            assert stack.ends(stack.topics.results) == answered, "it has answered what may be lost"
        finish(stack, before)


@contextlib.contextmanager
def synchronous_standby(stack, names):
    set_standby(stack, names)
    try:
        yield
    finally:
        set_standby(stack, "")


def set_standby(stack, names):
    with stack.connect() as db:
        db.execute("set synchronous_commit = local")
        db.execute(f"alter system set synchronous_standby_names = '{names}'")
        db.execute("select pg_reload_conf()")
    harness.wait_for("the server has read it", lambda: stack.rows("show synchronous_standby_names") == [(names,)])


# --- clocks -----------------------------------------------------------------------------------------------------------


DAY_S = 86400


def wrong_clock(directory):
    """A file that holds by how many seconds a worker's clock is wrong, and the worker's environment."""
    return directory / "clock", {"LD_PRELOAD": str(harness.BIN.parent / "tests" / "libwrong_clock.so"),
                                 "WRONG_CLOCK_FILE": str(directory / "clock")}


def test_the_workers_clock_is_wrong(stack, tmp_path):
    """W22: it is in logs and in Kafka's timestamps, and decides nothing. Behind by years, then in steps back and forth."""
    traffic, before = begin(stack)
    clock, environment = wrong_clock(tmp_path)
    clock.write_text(str(-3650 * DAY_S))
    wrong = stack.worker(environment=environment, threads__bulk=0)
    for seconds in (-3650 * DAY_S, 1, -DAY_S, 3000, -1):
        clock.write_text(str(seconds))
        stack.send(traffic.batch(24))
        stack.wait_drained(RECOVERY_S)
    history = finish(stack, before)
    now = time.time()
    assert all(abs(record.result["applied_at"].timestamp() - now) < 600 for record in history.committed)
    assert len({event["time"][:4] for event in wrong.events()}) > 1, "its clock was right"


def test_the_workers_clock_is_further_ahead_than_the_broker_allows(stack, tmp_path):
    """W22: the broker refuses its results (message.timestamp.after.max.ms). It says so, and goes on when that is over."""
    traffic, before = begin(stack)
    clock, environment = wrong_clock(tmp_path)
    clock.write_text(str(DAY_S))
    ahead = stack.worker(environment=environment, threads__bulk=0)
    stack.send(traffic.batch(24))
    harness.wait_for("it says why", lambda: any("timestamp" in event["msg"] for event in ahead.events("recover")), RECOVERY_S)
    clock.write_text("0")
    finish(stack, before)


def test_the_databases_clock_goes_back(stack):
    """W22: an account's times stay in order all the same."""
    traffic, before = begin(stack)
    worker(stack)
    stack.send(traffic.batch(24))
    stack.wait_drained(RECOVERY_S)
    stack.execute("update siptrunk.account_tail set last_applied_at = last_applied_at + 3600000000")  # an hour
    stack.send(traffic.batch(24))
    history = finish(stack, before)
    times = {}
    for record in sorted(history.ledger, key=lambda row: row.sequence):
        result = harness.RESULT_SCHEMA.decode(harness.RESULT_SCHEMA.prefix + record.body)
        if record.sequence:
            times.setdefault(record.account_id, []).append(result["applied_at"])
    assert all(list(made) == sorted(made) for made in times.values())
    assert max(made[-1] for made in times.values()).timestamp() > time.time() + 1800, "no clock went back"


# --- one bad record of many -------------------------------------------------------------------------------------------

SIZES = range(1, 65) if ROUNDS > 1 else (1, 2, 3, 5, 8)
BAD = {"unreadable": lambda traffic, number: traffic.unreadable(),
       "refused by a rule": lambda traffic, number: traffic.connect(channel_name="nowhere"),
       "refused by the store": lambda traffic, number: traffic.connect(number[0], number=number[1], channel_name="east")}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_record_at_each_place_of_a_batch(kind):
    """W25. The worker stands still while the batch is sent, and so finds all of it."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack, numbers=64)
        account = traffic.accounts[0]
        bad = account, traffic.numbers[account][-1]
        traffic.numbers[account].pop()
        stack.execute(f"alter table siptrunk.number add constraint planted check (e164 <> '{bad[1]}' or channel_id is null)"
                      " not valid")
        at_work = worker(stack, batch__max__commands__interactive=64)
        for size in SIZES:
            for place in range(size):
                batch = [traffic.connect() for _ in range(size)]
                batch[place] = BAD[kind](traffic, bad)
                at_work.pause()
                stack.send(batch)
                at_work.resume()
        stack.wait_drained(RECOVERY_S * 5)
        history = check.verify(stack, before, ["excuse"] if kind == "refused by the store" else [])
        expected = sum(SIZES)
        found = {"unreadable": len(history.dead), "refused by the store": len(at_work.events("refused-by-store")),
                 "refused by a rule": sum("channel-not-found" in (r.result["error_reason"] or "") for r in history.committed)}
        assert found[kind] == expected
        print(f"{kind}: {expected} batches of {list(SIZES)[0]} to {list(SIZES)[-1]}; {check.summary(history)}")
