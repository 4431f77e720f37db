"""W6, W8, W13: SIGSTOP at each place of a round for longer than session and transaction may last, while another worker takes
over; then SIGCONT. What the stopped one had begun is done by the other, and it does nothing of it when it wakes up."""

import concurrent.futures
import pathlib
import signal
import time

import pytest

import check
import harness
from states import PLACES
from test_crash import COMMANDS, begin

CONCURRENT = 4
SESSION_MS, TRANSACTION_MS = 1500, 2000
CLEANUP_MS = 1000  # transaction.abort.timed.out.transaction.cleanup.interval.ms of the test broker
LOCK_MS = 2000  # until the database's locks of the stopped one are noticed
TAKEN_OVER_S = (SESSION_MS + TRANSACTION_MS + CLEANUP_MS + LOCK_MS) / 1000
SLACK_S = 20  # of a busy machine
AWAKE_S = 3  # its first act on waking would be there by then


def worker(stack, instance, failpoint=None):
    return stack.worker(instance, environment=harness.armed(failpoint, signal.SIGSTOP) if failpoint else None, ready=False,
                        threads__bulk=0, kafka__fetch__wait__max__ms=20, kafka__heartbeat__interval__ms=300,
                        kafka__session__timeout__ms=SESSION_MS, kafka__transaction__timeout__ms=TRANSACTION_MS,
                        kafka__message__timeout__ms=TRANSACTION_MS)


def is_stopped(frozen):
    assert frozen.process.poll() is None, f"it has left\n{frozen.log()}"
    return pathlib.Path(f"/proc/{frozen.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def done(stack):
    """All that the outside can see of what was done."""
    return ([(record.place, record.value) for record in stack.read_results()],
            stack.rows("select * from siptrunk.command_ledger order by 1, 2"),
            stack.rows("select account_id, channel_name, version, settings::text from siptrunk.channel_view order by 1, 2"),
            stack.rows("select * from siptrunk.number_view order by 1"))


def taken_over_at(place):
    with harness.Stack(harness.Servers.shared()) as stack:
        traffic, before = begin(stack)
        stack.send(traffic.batch(COMMANDS))
        frozen = worker(stack, "w1", f"{place}:1")
        harness.wait_for(lambda: f"{place} is reached\n{frozen.log()}", lambda: is_stopped(frozen))
        began = time.monotonic()
        other = worker(stack, "w2")
        stack.wait_drained(TAKEN_OVER_S + SLACK_S)
        seconds, was = time.monotonic() - began, done(stack)
        frozen.resume()
        time.sleep(AWAKE_S)
        assert done(stack) == was, "the one that was stopped has done something of it"
        stack.send(traffic.batch(COMMANDS))
        stack.wait_drained(SLACK_S)
        assert frozen.process.poll() is None and other.process.poll() is None, "a worker has left"
        return f"taken over {seconds:.1f} s after the start of the other; {check.summary(check.verify(stack, before))}"


@pytest.fixture(scope="module")
def outcomes(request):
    """Of all chosen places, a few at a time, for they mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
        places = [item.callspec.params["place"] for item in request.session.items if "place" in item.fixturenames]
        yield {place: pool.submit(taken_over_at, place) for place in places}


@pytest.mark.parametrize("place", PLACES)
def test_stopped_at(outcomes, place):
    print(outcomes[place].result())
