"""Trouble on the way between worker and broker: requests and answers of the transaction that are lost, late, doubled,
cut off or refused, one after the other and under load. SIPTRUNK_FAULT_ROUNDS makes each test longer,
SIPTRUNK_TEST_SEED makes the same choices again."""

import collections
import re
import signal

import pytest

import check
import harness
import network
import proxy
from network import BATCH, RECORDS_PER_S, RECOVERY_S, STRUCK_S, link, rng, rounds, stack  # noqa: F401
from traffic import Load

BUG = "tainted-producer"  # the producer is kept although a request of it went unanswered
REFUSED = {47, 90}  # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED


def worker(stack, instance="w1", bug=None, **settings):
    return stack.worker(instance, environment=harness.armed(bug=bug), **{
        "kafka__fetch__wait__max__ms": 20, "batch__max__commands__interactive": BATCH, "batch__max__commands__bulk": BATCH,
        **settings})


def short_transactions(ms):
    return {"threads__bulk": 0, "kafka__transaction__timeout__ms": ms, "kafka__message__timeout__ms": ms}


def short_sessions():
    return {"kafka__session__timeout__ms": 1500, "kafka__heartbeat__interval__ms": 300}


# What is done to a frame: rows of the matrix below, with the sides where it makes sense.
HARM = {
    "cut before it": (proxy.cut_before, ("request", "answer")),
    "cut inside it": (proxy.cut_inside, ("request", "answer")),
    "cut behind it": (proxy.cut_after, ("request", "answer")),
    "dropped": (proxy.drop, ("answer",)),
    "doubled": (proxy.duplicate, ("request",)),
    "delayed": (proxy.delay(0.3), ("request", "answer")),
    "refused": (proxy.change(proxy.spoiled), ("request",)),
}
LOST_COMMITS = 5  # for each harm to EndTxn's answer


def is_there(worker):
    """Or was ended by librdkafka: 2.0.2 asserts when a late answer to AddPartitionsToTxn meets a transaction that it has given up.
    Whoever watches over workers starts it again; here the other one has taken over."""
    by_library = re.search(r"rdkafka_txnmgr\.c:\d+: .*Assertion .*", worker.log())
    if worker.process.poll() == -signal.SIGABRT and by_library:
        print(by_library[0])
        return True
    return worker.process.poll() is None


def test_every_request_and_answer_of_a_transaction_under_load(stack, rng):
    """W2, W11: each harm to each kind of frame, most often to the answer to a commit; a refusal makes the worker abort
    at that step."""
    traffic, before = stack.begin(rng, accounts=12, numbers=20)
    workers = [worker(stack, name, kafka__socket__timeout__ms=1000, threads__interactive=2) for name in ("w1", "w2")]
    load = Load(stack, traffic, RECORDS_PER_S)
    load.start()
    faults = {}
    for harm, (act, sides) in HARM.items():
        for side in sides:
            for name in proxy.KAFKA_NAMES.values():
                times = rounds(LOST_COMMITS if (name, side) == ("EndTxn", "answer") else 1)
                if (harm, name) != ("refused", "OffsetFetch"):  # it names nothing that a broker could refuse
                    faults[f"{harm}, {side}", name] = stack.kafka(name, side, act, times=times, chance=0.2, rng=rng)
    def missing():
        return [(key, fault.hits) for key, fault in faults.items() if fault.hits < fault.times]

    def all_strike():
        if {name for (_, name), _ in missing()} <= {"OffsetFetch", "InitProducerId"}:  # on the way back from trouble only
            stack.end_sessions()
            stack.kafka("EndTxn", "answer", proxy.cut_before)
        return load.error or not missing()

    harness.wait_for(lambda: f"every fault strikes: {missing()}", all_strike, STRUCK_S, 0.5)
    load.stop()
    print(stack.finish(before, RECOVERY_S))
    assert all(map(is_there, workers)), "a worker has left"
    matrix = network.Matrix("", list(proxy.KAFKA_NAMES.values()))
    for (harm, name), fault in faults.items():
        matrix.add(harm, name, fault.hits)
    matrix.show()


def test_every_third_transaction_is_aborted(stack, rng):
    """W16: what was read, and not answered, is read again."""
    traffic, before = stack.begin(rng, accounts=12, numbers=20)
    worker(stack)
    refused = stack.kafka("TxnOffsetCommit", "request", proxy.change(proxy.spoiled), times=None, chance=1 / 3, rng=rng)
    for topic in (stack.topics.commands, stack.topics.bulk):
        stack.send([traffic.usual() for _ in range(BATCH * rounds(40))], topic)
    print(f"{stack.finish(before, RECOVERY_S * rounds(1))}; {refused.hits} of {refused.seen} transactions aborted")
    assert refused.hits > refused.seen / 5


class Late:
    """W3, W4: a request stays in the network, the client sends it again on another connection or gives it up, and it
    arrives in the next transaction of the same transactional id, behind that one's own of the kind."""

    def __init__(self, stack, rng, bug=None):
        self.stack, self.bug = stack, bug
        self.subject = f"{stack.group}-w1-interactive-0"
        self.traffic, self.before = stack.begin(rng, accounts=8, numbers=20)
        self.codes = []  # of the broker, about what came late

    def fault(self, name, side, act, after=None):
        return self.stack.kafka(name, side, act, subject=self.subject, after=after)

    def worker(self):
        return worker(self.stack, bug=self.bug, threads__bulk=0)

    def give_work(self):
        self.stack.send([self.traffic.connect() for _ in range(BATCH * 3)])

    def deliver(self, lost):
        lost.release()
        harness.wait_for(f"the broker answers what came late: {lost.names}", lambda: lost.answers)
        self.codes.append(proxy.kafka_error(lost.answers[0]))

    def commit(self):
        """The next transaction has published results, and not yet its offsets."""
        lost = self.fault("EndTxn", "request", proxy.late)
        published = self.fault("Produce", "answer", proxy.passes, lost)
        gate = self.fault("TxnOffsetCommit", "request", proxy.set_aside, lost)
        self.give_work()
        gate.wait()
        published.wait()
        self.deliver(lost)
        self.stack.network.kafka.remove(lost, published, gate)

    def of_an_aborted_transaction(self, name):
        """The next transaction is complete but for its commit, and is the last of this process."""
        lost = self.fault(name, "request", proxy.late)
        refused = self.fault("TxnOffsetCommit", "request", proxy.change(proxy.spoiled), lost)
        aborted = self.fault("EndTxn", "answer", proxy.passes, refused)
        gate = self.fault("EndTxn", "request", proxy.set_aside, aborted)
        committed = self.fault("EndTxn", "answer", proxy.passes, gate)
        end = self.fault("AddOffsetsToTxn", "request", proxy.hold, committed)
        self.give_work()
        dying = self.worker()
        gate.wait()
        self.deliver(lost)
        gate.release()
        end.wait()
        dying.kill()
        self.stack.network.kafka.remove(lost, refused, aborted, gate, committed, end)

    def found(self):
        self.stack.wait_drained(RECOVERY_S)
        history = check.collect(self.stack, self.before)
        findings = check.check(history)
        print(f"answers to {len(self.codes)} late requests: {dict(collections.Counter(self.codes))},"
              f" {len(findings)} findings; {check.summary(history)}")
        return findings


def late_commits(stack, rng, bug=None):
    late = Late(stack, rng, bug)
    late.worker()
    for _ in range(rounds(20)):
        late.commit()
    return late


def late_after_abort(stack, rng, name, bug=None):
    late = Late(stack, rng, bug)
    for _ in range(rounds(20 if bug else 4)):  # it does harm only when the next batch is of another partition
        late.of_an_aborted_transaction(name)
    late.worker()
    return late


@pytest.mark.parametrize("name", ["EndTxn", "Produce", "TxnOffsetCommit"])
def test_late_request_is_refused_in_the_next_transaction(stack, rng, name):
    late = late_commits(stack, rng) if name == "EndTxn" else late_after_abort(stack, rng, name)
    findings = late.found()
    assert not findings, "\n".join(map(str, findings[:10]))
    assert set(late.codes) <= REFUSED, "the broker let a late request in"


@pytest.mark.parametrize("name, finding", [
    ("EndTxn", "answered-twice"), pytest.param("TxnOffsetCommit", "unanswered", marks=network.LONG)])
def test_late_request_does_harm_when_the_producer_is_kept(stack, rng, name, finding):
    late = (late_commits(stack, rng, BUG) if name == "EndTxn" else late_after_abort(stack, rng, name, BUG))
    assert finding in {found.name for found in late.found()}
    assert 0 in late.codes, "the broker let none in"


FREEZES = {"results sent": ("Produce", "answer"), "offsets sent": ("TxnOffsetCommit", "answer"),
           "commit sent": ("EndTxn", "request")}


def freeze_in_transaction(stack, frozen, name, side):
    """Until the broker has ended the transaction by itself. What was on the way then arrives late."""
    gate = stack.kafka(name, side, proxy.hold, subject=f"{stack.group}-{frozen.instance}-interactive-0")
    gate.wait()
    frozen.pause()
    harness.wait_for("the broker ends the transaction", lambda: all(
        stack.ends(stack.topics.results, committed=True)[p] == end for p, end in stack.ends(stack.topics.results).items()))
    stack.network.kafka.remove(gate)
    frozen.resume()
    return gate.hits


def test_frozen_in_a_transaction_for_longer_than_its_timeout(stack, rng):
    """W10. The error then says that a newer producer has taken over, which is not so: the worker goes on."""
    traffic, before = stack.begin(rng, accounts=20)
    frozen = worker(stack, **short_transactions(1000))
    matrix = network.Matrix("frozen when", ["longer than the transaction may take"])
    for name, where in FREEZES.items():
        for _ in range(rounds(1)):
            stack.send([traffic.connect() for _ in range(BATCH * 3)])
            matrix.add(name, matrix.windows[0], freeze_in_transaction(stack, frozen, *where))
            stack.wait_drained(RECOVERY_S)
    print(stack.finish(before, RECOVERY_S))
    assert frozen.process.poll() is None, "the worker has left"
    matrix.show()


@pytest.mark.parametrize("commit", ["never comes", "comes while it is frozen"])
def test_frozen_between_offsets_and_commit_while_another_takes_over(stack, rng, commit):
    """W8. The other reads no committed offsets as long as some may still become so."""
    traffic, before = stack.begin(rng, accounts=20)
    settings = short_transactions(4000) | short_sessions()
    frozen = worker(stack, "w1", **settings)
    gate = stack.kafka("EndTxn", "request", proxy.hold, subject=f"{stack.group}-w1-interactive-0")
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    gate.wait()
    frozen.pause()
    asked = stack.kafka("OffsetFetch", "request", proxy.passes, times=None)
    other = worker(stack, "w2", ready=False, **settings)
    asked.wait(3)
    assert not other.events("claimed"), "the other has begun before the transaction's end"
    if commit == "comes while it is frozen":
        gate.release()
    other.wait_event("claimed")
    gate.release()
    frozen.resume()
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    print(f"asked for offsets {asked.hits} times; {stack.finish(before, RECOVERY_S)}")
    assert frozen.process.poll() is None, "the worker has left"


# The requests that a coordinator answers, which then gets none of them.
COORDINATORS = {"of the group": "TxnOffsetCommit", "of transactions": ("AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn")}


@pytest.mark.parametrize("coordinator", COORDINATORS)
def test_waits_for_a_coordinator_that_swallows_requests(stack, rng, coordinator):
    """W12. It says so, does not hang, and goes on when that is over."""
    traffic, before = stack.begin(rng, accounts=20)
    settings = short_transactions(1500) | short_sessions()
    waiting = worker(stack, kafka__socket__timeout__ms=1500, **settings)
    swallowed = stack.kafka(COORDINATORS[coordinator], "request", proxy.hold, times=None)
    stack.send([traffic.connect() for _ in range(BATCH * 3)])
    said = waiting.wait_event("recover", error_id="kafka", deadline_s=RECOVERY_S)
    print(f"{swallowed.hits} requests swallowed: {said['msg']}")
    stack.network.kafka.remove(swallowed)
    print(stack.finish(before, RECOVERY_S))
