"""Trouble on the way between worker and broker: requests and answers of the transaction that are lost, late, doubled,
cut off or refused, one after the other and under load. SIPTRUNK_FAULT_ROUNDS makes each test longer,
SIPTRUNK_TEST_SEED makes the same choices again."""

import os
import random

import pytest

import check
import harness
import network
import proxy
from traffic import Load

ROUNDS = float(os.environ.get("SIPTRUNK_FAULT_ROUNDS", "1"))
RECORDS_PER_S = 100  # and lane
BATCH = 10
RECOVERY_S = 60
STRUCK_S = 120 * max(1, ROUNDS)


@pytest.fixture(scope="module")
def link():
    with network.behind_proxies("network-run") as made:
        yield made


@pytest.fixture
def stack(link):
    with network.Stack(link) as made:
        yield made


@pytest.fixture
def rng():
    seed = harness.seed()
    print(f"seed {seed}, {ROUNDS:g} rounds")
    return random.Random(seed)


def worker(stack, instance="w1", bug=None, **settings):
    environment = {"SIPTRUNK_FAILPOINT_BUG": bug} if bug else None
    return stack.worker(instance, environment=environment, **{
        "kafka__fetch__wait__max__ms": 20, "batch__max__commands__interactive": BATCH, "batch__max__commands__bulk": BATCH,
        **settings})


def rounds(count):
    return max(1, round(count * ROUNDS))


LOSSES = {"link reset": proxy.cut_before, "half of it": proxy.cut_inside, "answer dropped": proxy.drop,
          "reset behind it": proxy.cut_after}


def test_answers_to_the_commit_are_lost_under_load(stack, rng):
    """W2."""
    traffic, before = stack.begin(rng, accounts=8, numbers=20)
    for name in ("w1", "w2"):
        worker(stack, name, kafka__socket__timeout__ms=1000, threads__interactive=2)
    load = Load(stack, traffic, RECORDS_PER_S)
    load.start()
    times = rounds(8)
    faults = {name: stack.kafka("EndTxn", "answer", act, chance=0.05, times=times, rng=rng) for name, act in LOSSES.items()}
    for fault in faults.values():
        fault.wait(times, STRUCK_S)
    load.stop()
    print(stack.finish(before, RECOVERY_S))
    matrix = network.Matrix("EndTxn", ["answer"])
    for name, fault in faults.items():
        matrix.add(name, "answer", fault.hits)
    matrix.show()
