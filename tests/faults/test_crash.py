"""G7: SIGKILL at each place of a round, while it has a batch of every kind of record at hand; then a new process, which
must leave exactly one answer and one effect for each record."""

import concurrent.futures
import random

import pytest

import check
import harness
import network
from states import PLACES
from traffic import Traffic

COMMANDS = 24
BATCH = 8  # so that a pass has rounds before and behind it
LATER_PASS = 2
CONCURRENT = 4

ONCE = {"producer-started", "claimed"}  # in the life of a thread without trouble


def worker(stack, failpoint=None, ready=True):
    """One thread, for then the n-th pass of a place is the same each time. The short wait is for the sake of time only."""
    return stack.worker(environment=harness.armed(failpoint), ready=ready, threads__bulk=0,
                        batch__max__commands__interactive=BATCH, kafka__fetch__wait__max__ms=20)


def die_at(stack, place, number):
    """Starts a worker that is to die there, and waits for it."""
    dying = worker(stack, f"{place}:{number}", ready=False)
    assert dying.exit_code() == -9, f"{place} was not passed {number} times\n{dying.log()}"


def begin(stack, seed=1):
    traffic = Traffic(random.Random(seed))
    stack.load_inventory(traffic.inventory())
    return traffic, check.stored(stack)


def killed_at(place):
    """The first pass, then a later one of the next process; a third one finishes."""
    with harness.Stack(harness.Servers.shared()) as stack:
        traffic, before = begin(stack)
        stack.send(traffic.batch(COMMANDS))
        killed = network.Matrix("SIGKILL at", ["first pass", "a later one"])
        die_at(stack, place, 1)
        killed.add(place, "first pass", 1)
        if place not in ONCE:
            stack.send(traffic.batch(COMMANDS))
            die_at(stack, place, LATER_PASS)
            killed.add(place, "a later one", 1)
        worker(stack)
        stack.wait_drained()
        return killed, f"{check.summary(check.verify(stack, before))}; {check.decide_again(stack)}"


def killed_again_and_again(deaths=10):
    """Deaths in a row at places chosen by a seed, mostly before the last one is repaired. Each third one comes when the
    effects are stored: three deaths of a record that was taken alone, before it is stored, are held against the record."""
    seed = harness.seed(7)
    with harness.Stack(harness.Servers.shared()) as stack:
        traffic, before = begin(stack, seed)
        stored = PLACES.index("stored")
        places = [traffic.rng.choice(PLACES[stored:] if i % 3 == 2 else PLACES) for i in range(deaths)]
        for place in places:
            stack.send(traffic.batch(BATCH))
            die_at(stack, place, 1)
        worker(stack)
        stack.wait_drained()
        return f"seed {seed}, {places}: {check.summary(check.verify(stack, before))}"


CASES = {
    "test_killed_at": killed_at,
    "test_killed_again_and_again_on_the_way_back": killed_again_and_again,
}


@pytest.fixture(scope="module")
def outcomes(request):
    """All chosen cases, a few at a time, for they mostly wait: test function and parameters -> future."""
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
        yield {(item.originalname, *parameters(item)): pool.submit(CASES[item.originalname], *parameters(item))
               for item in request.session.items if item.originalname in CASES}


def parameters(item):
    return tuple(item.callspec.params.values()) if hasattr(item, "callspec") else ()


@pytest.fixture
def outcome(request, outcomes):
    return outcomes[request.node.originalname, *parameters(request.node)].result


@pytest.mark.parametrize("place", PLACES)
def test_killed_at(outcome, place):
    killed, summary = outcome()
    killed.show()
    print(summary)


def test_killed_again_and_again_on_the_way_back(outcome):
    print(outcome())
