"""Each fault in each labelled state of a worker: it stands still at one failpoint after the other, and what is done to it or to
its servers meanwhile has happened when it goes on. What struck where is printed; a state that was not reached fails."""

import concurrent.futures
import random
import signal
import time

import pytest

import check
import harness
import network
from states import PLACES, labels_of_the_code
from traffic import Traffic

SOME_STATES = 6  # in which the database is restarted, which takes seconds; all with SIPTRUNK_FAULT_ROUNDS=2
COMMANDS = 8
CONCURRENT = 4
STOP_S = 5
RECOVERY_S = 60


@pytest.fixture(scope="module")
def link():
    with network.behind_proxies("states-run", "all") as made:
        yield made


def end_sessions(stack):
    stack.end_sessions()


def stand_still(stack):
    time.sleep(0.3)  # it is about time


def cut_broker(stack):
    stack.network.kafka.cut()


def cut_database(stack):
    stack.network.postgres.cut()


def restart_broker(stack):
    restart(stack, "kafka")


def restart_database(stack):
    restart(stack, "pg")


def restart(stack, server):
    stack.servers.do("kill", server)
    stack.servers.do("start", server)


FAULTS = {
    "stands still": stand_still, "sessions ended": end_sessions, "database cut off": cut_database,
    "broker cut off": cut_broker, "database restarted": restart_database,
}
if network.ROUNDS >= 2:  # up to 20 s for each state on a busy machine
    FAULTS["broker restarted"] = restart_broker


def worker(stack, places, signal_number, ready=False):
    return stack.worker(environment=harness.armed(places and ",".join(f"{place}:1" for place in places), signal_number),
                        ready=ready, threads__bulk=0, batch__max__commands__interactive=COMMANDS,
                        kafka__fetch__wait__max__ms=20)


@pytest.mark.parametrize("fault", FAULTS)
def test_goes_on_from_each_state(link, fault):
    seed = harness.seed()
    rng = random.Random(seed)
    places = PLACES
    if fault == "database restarted" and network.ROUNDS < 2:
        places = [PLACES[i] for i in sorted(rng.sample(range(len(PLACES)), SOME_STATES))]
    print(f"seed {seed}, {network.ROUNDS:g} rounds")
    matrix = network.Matrix("", PLACES)
    with network.Stack(link, partitions=1) as stack:
        traffic, before = stack.begin(rng)
        stack.send(traffic.batch(COMMANDS))
        visited = worker(stack, places, signal.SIGSTOP)
        for place in places:
            visited.wait_stopped(RECOVERY_S)
            stack.send(traffic.batch(COMMANDS))
            FAULTS[fault](stack)
            matrix.add(fault, place, 1)
            visited.resume()
        print(stack.finish(before, RECOVERY_S))
        assert visited.process.poll() is None, "the worker has left"
        assert visited.events("recover") or fault == "stands still", "the worker has not noticed anything"
    show(matrix)


def show(matrix):
    """One state a line, for there are many; a dash where it was not to be."""
    for fault, row in matrix.rows.items():
        print(fault, *(f"{'-' if hits is None else hits:>4} {place}" for place, hits in row.items()), sep="\n")
    matrix.complete()


def told_to_leave_at(place):
    """W30: SIGTERM there; the exit code is 0, within the time, and the next process finds all as it must be."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic = Traffic(random.Random(harness.seed(11)))
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        stack.send(traffic.batch(3 * COMMANDS))
        leaving = worker(stack, [place], signal.SIGTERM)
        code = leaving.exit_code()
        assert code == 0, f"exit code {code}\n{leaving.log()}"
        worker(stack, None, None)
        stack.wait_drained()
        return check.summary(check.verify(stack, before))


def test_leaves_in_each_state():
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
        left = {place: pool.submit(told_to_leave_at, place) for place in PLACES}
        matrix = network.Matrix("", PLACES)
        for place, future in left.items():
            future.result()
            matrix.add("SIGTERM", place, 1)
    show(matrix)


def test_states_are_those_of_the_code():
    assert set(PLACES) == labels_of_the_code()
