"""G11: database or broker away for a while, and orders to stop at bad moments: nothing moves meanwhile, nothing is refused,
everything is done in order afterwards. On servers of its own. SIPTRUNK_OUTAGE_SECONDS makes the outages longer."""

import os
import random
import time

import pytest

import check
import harness
from traffic import Load, Traffic

OUTAGE_S = float(os.environ.get("SIPTRUNK_OUTAGE_SECONDS", "5"))
SETTLED_S = 1.5  # a batch that was under way is done or has failed by then
RECORDS_PER_S = 60
BACKLOG = 1500  # each lane's, so that a server dies in the middle of work
BATCH = 20
STOP_S = 5
RECOVERY_S = 60


@pytest.fixture(scope="module")
def servers():
    with harness.own_servers("outage-run") as own:
        yield own


@pytest.fixture
def stack(servers):
    with harness.Stack(servers) as made:
        yield made


def let_pass(seconds):
    """What this file is about takes time."""
    time.sleep(seconds)


def begin(stack):
    traffic = Traffic(random.Random(3), accounts=8, numbers=20)
    stack.load_inventory(traffic.inventory())
    before = check.stored(stack)
    for topic in (stack.topics.commands, stack.topics.bulk):
        stack.send([traffic.usual() for _ in range(BACKLOG)], topic)
    load = Load(stack, traffic, RECORDS_PER_S)
    load.start()
    worker = start(stack)
    harness.wait_for("commands are done", lambda: sum(stack.committed(stack.topics.bulk).values()))
    return before, worker, load


def start(stack):
    return stack.worker(batch__max__commands__interactive=BATCH, batch__max__commands__bulk=BATCH)


def finish(stack, before, load):
    load.stop()
    stack.wait_drained(RECOVERY_S)
    print(check.summary(check.verify(stack, before)))
    print(check.decide_again(stack))


def published(stack):
    return stack.committed(stack.topics.commands), stack.committed(stack.topics.bulk)


def stored(stack):
    return stack.rows("select topic, partition, next_offset from siptrunk.partition_position order by 1, 2")


@pytest.mark.parametrize("server, harm, repair, position, said", [
    ("pg", "kill", "start", published, "error_id"),
    ("pg", "pause", "resume", published, None),  # shorter than what an answer may take
    ("kafka", "kill", "start", stored, "code"),
])
def test_waits_while_a_server_is_away(stack, server, harm, repair, position, said):
    before, worker, load = begin(stack)
    stack.servers.do(harm, server)
    began = time.monotonic()
    let_pass(SETTLED_S)
    first = position(stack)
    let_pass(max(0.0, began + OUTAGE_S - time.monotonic()))
    assert position(stack) == first, "a position has moved while the server was away"
    assert worker.process.poll() is None, f"it has left\n{worker.log()}"
    stack.servers.do(repair, server)
    answering = time.monotonic()
    harness.wait_for("a position moves again", lambda: position(stack) != first, RECOVERY_S)
    print(f"{server} away for {answering - began:.1f} s, positions move {time.monotonic() - answering:.2f} s after it"
          " answers again")
    finish(stack, before, load)
    if said:
        words = {event.get(said, "") for event in worker.events()}
        assert words & {"postgres-connection", "postgres-connect", "_ALL_BROKERS_DOWN"}, f"the log does not say why: {words}"


def leave(worker):
    code, seconds = worker.terminate()
    print(f"left after {seconds:.2f} s")
    assert code == 0 and seconds < STOP_S, f"exit code {code} after {seconds:.1f} s\n{worker.log()}"


def test_leaves_at_once_under_load(stack):
    before, worker, load = begin(stack)
    for _ in range(3):
        leave(worker)
        worker = start(stack)
    finish(stack, before, load)


@pytest.mark.parametrize("server", ["pg", "kafka"])
def test_leaves_in_time_while_a_server_is_frozen(stack, server):
    before, worker, load = begin(stack)
    stack.servers.do("pause", server)
    try:
        let_pass(SETTLED_S)
        leave(worker)
    finally:
        stack.servers.do("resume", server)
    start(stack)
    finish(stack, before, load)


def test_leaves_in_time_when_no_server_is_there_from_the_beginning(stack):
    worker = stack.worker(ready=False, kafka__bootstrap__servers="127.0.0.1:1", postgres__conninfo="host=127.0.0.1 port=1")
    worker.wait_event("waiting")
    leave(worker)
