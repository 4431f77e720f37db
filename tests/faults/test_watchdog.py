"""W12, W22: a thread that hangs in a library ends its process, and a restart helps. Nothing else does that: no outage however
long, no freeze of the process, no batch however slow. The limit is 120 s; SIPTRUNK_FAILPOINT_HANGS_AFTER_MS lowers it in a
test build, to what is still above each single wait. SIPTRUNK_HANGS_AFTER_SECONDS=120 tries the real one."""

import os
import time

import pytest

import network
import proxy
from network import BATCH, RECOVERY_S, link, rng, stack  # noqa: F401

HANGS_AFTER_S = float(os.environ.get("SIPTRUNK_HANGS_AFTER_SECONDS", "6"))
LEAVES_S = 60  # at most, from there on, on a busy machine
FIND_COORDINATOR = "10"


def worker(stack, hangs_after_s=HANGS_AFTER_S, **settings):
    environment = {"SIPTRUNK_FAILPOINT_HANGS_AFTER_MS": str(int(hangs_after_s * 1000))}
    return stack.worker(environment=environment, **{"threads__bulk": 0, "batch__max__commands__interactive": BATCH, **settings})


def test_a_thread_that_hangs_ends_the_process(stack, rng):
    """librdkafka sends the offsets when it knows the group's coordinator, and waits for that without a limit."""
    traffic, before = stack.begin(rng, accounts=20)
    hanging = worker(stack)
    swallowed = stack.kafka(FIND_COORDINATOR, "request", proxy.drop, times=None)
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    swallowed.wait()
    began = time.monotonic()
    assert hanging.exit_code(HANGS_AFTER_S + LEAVES_S) == 70
    said = hanging.events("hangs")[0]
    print(f"left {time.monotonic() - began:.1f} s after the request was swallowed: {said}")
    assert said["step"] == "offsets" and said["open"] == "a Kafka transaction" and said["records"] > 0
    assert said["worker"].endswith("-interactive-0") and said["silent_ms"] >= HANGS_AFTER_S * 1000
    stack.network.kafka.remove(swallowed)
    worker(stack)
    print(stack.finish(before, RECOVERY_S))


# Servers that say nothing make the longest waits of all: up to 15 s for an answer of the database.
WAITS_S = max(22, HANGS_AFTER_S)


@network.LONG
@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_a_silent_server_is_waited_for(stack, rng, server):
    traffic, before = stack.begin(rng, accounts=20)
    waiting = worker(stack, WAITS_S, kafka__socket__timeout__ms=2000)
    proxied = getattr(stack.network, server)
    proxied.stall()
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    time.sleep(WAITS_S * 1.5)
    alive = waiting.process.poll() is None
    proxied.resume()
    assert alive, f"it has left\n{waiting.log()}"
    print(stack.finish(before, RECOVERY_S))
    assert waiting.process.poll() is None, f"it has left\n{waiting.log()}"


@network.LONG
def test_a_broker_that_is_away_is_waited_for(stack, rng):
    """It dies when a transaction's offsets are on their way: librdkafka then waits for it in that one call."""
    traffic, before = stack.begin(rng, accounts=20)
    waiting = worker(stack, WAITS_S)
    gate = stack.kafka("TxnOffsetCommit", "request", proxy.hold)
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    gate.wait()
    stack.servers.do("kill", "kafka")
    stack.network.kafka.remove(gate)
    time.sleep(WAITS_S * 1.5)
    alive = waiting.process.poll() is None
    stack.servers.do("start", "kafka")
    assert alive, f"it has left\n{waiting.log()}"
    print(stack.finish(before, RECOVERY_S))
    assert waiting.process.poll() is None, f"it has left\n{waiting.log()}"


FREEZE_LIMIT_S = 3


def test_a_process_that_was_stopped_for_longer_goes_on(stack, rng):
    traffic, before = stack.begin(rng, accounts=20)
    frozen = worker(stack, FREEZE_LIMIT_S)
    for _ in range(2):
        answer = stack.postgres("load_clock", "answer", proxy.hold)
        stack.send([traffic.connect() for _ in range(BATCH)])
        answer.wait()
        frozen.pause()
        time.sleep(FREEZE_LIMIT_S * 1.5)
        frozen.resume()
        time.sleep(FREEZE_LIMIT_S / 3)  # it still waits for the answer
        stack.network.postgres.remove(answer)
        stack.wait_drained(RECOVERY_S)
    print(stack.finish(before, RECOVERY_S))
    assert frozen.process.poll() is None, f"it has left\n{frozen.log()}"


SLOW_LIMIT_S, SLOW_S = 3, 0.9  # librdkafka gives up an answer after 2 s
TRANSACTION = ("AddPartitionsToTxn", "Produce", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn")


def test_a_batch_that_is_slow_but_gets_on_is_left_alone(stack, rng):
    traffic, before = stack.begin(rng, accounts=20)
    slow = worker(stack, SLOW_LIMIT_S, kafka__transaction__timeout__ms=60000, kafka__message__timeout__ms=60000)
    delayed = stack.kafka(TRANSACTION, "answer", proxy.delay(SLOW_S), times=None)
    began = time.monotonic()
    stack.send([traffic.connect() for _ in range(2)])
    stack.wait_drained(RECOVERY_S)
    seconds = time.monotonic() - began
    print(f"{seconds:.1f} s, {delayed.hits} answers late; {stack.finish(before, RECOVERY_S)}")
    stack.network.kafka.remove(delayed)
    assert seconds > SLOW_LIMIT_S, "it was not slow enough to tell"
    assert slow.process.poll() is None, f"it has left\n{slow.log()}"
