"""siptrunkctl verify after deaths of a worker: it tells what waits until the next process has repaired it, then nothing; and
it names what bugs that are planted on purpose have done."""

import random

import pytest

import harness
from check import verify_by_program as verify
from traffic import Traffic

COMMANDS, BATCH = 24, 8


def worker(stack, place=None, bug=None):
    return stack.worker(environment=harness.armed(place, bug=bug), ready=False, threads__bulk=0,
                        batch__max__commands__interactive=BATCH)


def begin(stack, place, bug=None):
    traffic = Traffic(random.Random(1))
    stack.load_inventory(traffic.inventory())
    stack.send(traffic.batch(COMMANDS))
    assert worker(stack, place, bug).exit_code() == -9


@pytest.mark.parametrize("place", ["stored:2", "reply-half-sent:2", "offsets-sent:1", "reply-committed:2"])
def test_nothing_is_found_after_a_death(stack, place):
    begin(stack, place)
    assert verify(stack) == set()
    assert verify(stack, "--complete") == {"waiting"}
    worker(stack)
    stack.wait_drained()
    assert verify(stack, "--complete") == set()


@pytest.mark.parametrize("bug, place, names", [
    ("reply-first", "reply-committed:1", {"ledger-missing", "position"}),
    ("no-ledger", "stored:1", {"ledger-missing"}),
    ("offset-plus-one", "replied:2", {"position"}),
])
def test_names_what_a_planted_bug_has_done(bug, place, names):
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        begin(stack, place, bug)
        restarted = worker(stack, bug=bug)
        try:
            stack.wait_drained(3)
        except AssertionError:
            pass  # the worker sees for itself that it must not go on
        restarted.kill()
        assert names <= verify(stack)
