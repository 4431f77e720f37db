"""How soon work goes on after the broker's death, the database's, and the worker's own, and that nothing is lost by it.
Figures are printed; what is asserted has slack for a busy machine. SIPTRUNK_RETURN_ROUNDS makes it longer,
SIPTRUNK_RETURN_OUTAGES (seconds, with commas between) sets how long the broker is away."""

import datetime
import os
import random
import signal
import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

import check
import harness
from traffic import Load, Traffic

ROUNDS = int(os.environ.get("SIPTRUNK_RETURN_ROUNDS", "1"))
OUTAGES_S = [float(s) for s in os.environ.get("SIPTRUNK_RETURN_OUTAGES", "1").split(",")]
WORKERS = ["w1", "w2", "w3"]
PARTITIONS = 6
RECORDS_PER_S = 60  # and lane
AT_WORK_S = 10
SLACK_S = 10  # of a busy machine
RECOVERY_S = 60


@pytest.fixture(scope="module")
def servers():
    with harness.own_servers("return-run") as own:
        yield own


@pytest.fixture
def stack(servers):
    with harness.Stack(servers, PARTITIONS) as made:
        yield made


def begin(stack, workers):
    traffic = Traffic(random.Random(harness.seed(5)), accounts=40, numbers=10)
    stack.load_inventory(traffic.inventory())
    before = check.stored(stack)
    load = Load(stack, traffic, RECORDS_PER_S)
    load.start()
    started = [stack.worker(name, ready=False) for name in workers]
    for worker in started:
        worker.wait_ready()
    wait_for_work(stack, load)
    return before, started, load


def committed(stack):
    """Where each partition of both lanes is; None while the broker cannot tell yet."""
    try:
        return {(topic, p): k for topic in (stack.topics.commands, stack.topics.bulk)
                for p, k in stack.committed(topic).items()}
    except KafkaException:
        return None


def gets_on(stack, at):
    now = committed(stack)
    return now and all(now[where] > at[where] for where in at)


def wait_for_work(stack, load, deadline_s=RECOVERY_S):
    """Until each partition of both lanes has got on, while records come; seconds."""
    began, sent = time.monotonic(), load.sent
    at = harness.wait_for("the group can be asked", lambda: committed(stack), deadline_s)
    harness.wait_for(lambda: f"each partition gets on: {at}, {committed(stack)},"
                     f" {load.sent - sent} records sent meanwhile, {load.error}", lambda: gets_on(stack, at), deadline_s, 0.05)
    return time.monotonic() - began


def finish(stack, before, load, started):
    load.stop()
    stack.wait_drained(RECOVERY_S)
    print(check.summary(check.verify(stack, before)))
    assert all(worker.process.poll() is None for worker in started), "a worker has left"


def figures(name, seconds):
    ordered = sorted(seconds)
    print(f"{name}: {len(ordered)} times, p50 {ordered[len(ordered) // 2]:.2f} s,"
          f" p99 {ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]:.2f} s, max {ordered[-1]:.2f} s;"
          f" load average {os.getloadavg()[0]:.1f}")


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_every_worker_is_at_work_soon_after_the_broker_is_back(stack, outage_s):
    before, started, load = begin(stack, WORKERS)
    seconds = []
    for _ in range(ROUNDS):
        stack.servers.do("kill", "kafka")
        time.sleep(outage_s)
        stack.servers.do("start", "kafka")
        seconds.append(wait_for_work(stack, load))
    figures(f"at work after {outage_s:g} s without a broker", seconds)
    finish(stack, before, load, started)
    assert max(seconds) < AT_WORK_S + SLACK_S


# --- a worker that was killed -----------------------------------------------------------------------------------------


RESTARTS = ROUNDS * 2
ANSWERS_S = 1  # on a machine of its own


def results_from_now(stack):
    """A reader of committed results that come behind what is there."""
    reader = Consumer({"bootstrap.servers": stack.servers.bootstrap, "group.id": "reader", "enable.auto.commit": False,
                       "isolation.level": "read_committed", "fetch.wait.max.ms": 5})
    ends = stack.ends(stack.topics.results)
    reader.assign([TopicPartition(stack.topics.results, p, end) for p, end in ends.items()])
    reader.poll(0.2)  # connects
    return reader


def first_answer(reader, began):
    """Seconds until its first result."""
    found = harness.wait_for("a result", lambda: reader.poll(0.01), RECOVERY_S, 0)
    seconds = time.monotonic() - began
    assert not found.error(), found.error()
    reader.close()
    return seconds


def steps(worker):
    """When it logged what, in seconds after its first line, for people."""
    at = {}
    for event in worker.events():
        at.setdefault(event["event"], datetime.datetime.fromisoformat(event["time"]))
    first = min(at.values())
    return ", ".join(f"{name} {(when - first).total_seconds():.3f}" for name, when in at.items()
                     if name in ("started", "rebalance", "claimed", "recovered"))


def test_killed_worker_answers_soon_after_its_restart(stack):
    before, started, load = begin(stack, ["w1"])
    worker, seconds = started[0], []
    for _ in range(RESTARTS):
        wait_for_work(stack, load)
        worker.kill()
        reader, began = results_from_now(stack), time.monotonic()
        worker = stack.worker("w1", ready=False)
        took = first_answer(reader, began)
        print(f"{took:.2f} s: {steps(worker)}")
        seconds.append(took)
    figures("restarted", seconds)
    finish(stack, before, load, [worker])
    assert max(seconds) < ANSWERS_S + SLACK_S


# --- the database -----------------------------------------------------------------------------------------------------


def stop_at_once(servers):
    """What pg_ctl -m immediate does: no checkpoint, nobody is waited for."""
    lines = (servers.directory / "pg" / "data" / "postmaster.pid").read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGQUIT)
    harness.wait_for("the database is gone", lambda: not os.path.exists(f"/proc/{lines[0]}"))


def test_database_that_was_stopped_at_once(stack):
    before, started, load = begin(stack, WORKERS)
    seconds = []
    for _ in range(ROUNDS):
        wait_for_work(stack, load)
        stop_at_once(stack.servers)
        reader = results_from_now(stack)
        stack.servers.do("start", "pg")
        seconds.append(first_answer(reader, time.monotonic()))
    figures("first answer after the database is back", seconds)
    finish(stack, before, load, started)
    assert max(seconds) < ANSWERS_S + SLACK_S
