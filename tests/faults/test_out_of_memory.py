"""Memory runs out in a worker that serves real servers: at one allocation, from one on, or now and then, while it starts,
while it works, and while it finds its way back. Whatever it does then, it neither crashes nor leaks, and afterwards each
record has one answer and one effect. Only other libraries than libpq may end the process, some of which know no other way.

SIPTRUNK_STARVE_EACH=N lets each N-th allocation fail in its turn, instead of a choice by SIPTRUNK_TEST_SEED.
"""

import os
import random
import re
import time

import pytest

import check
import harness
import network
from starve import FROM_THERE_ON, LIBPQ, LIBRDKAFKA, ONCE, OTHERS, PROGRAM, RANDOM, Starvation
from traffic import Traffic

EACH = int(os.environ.get("SIPTRUNK_STARVE_EACH", "0"))
RECORDS = 12  # a turn: one of each kind at least
CHECK_EVERY = 25  # turns
OURS = PROGRAM | LIBPQ
FOREIGN = LIBRDKAFKA | OTHERS
LEFT = (5, 3)  # 3: what was read of the configuration is not all of it
CRASH_OF_OURS = re.compile(r"Sanitizer.*\n(.*\n){0,3}\s+#0 .*/(common|worker)/")


class Patient:
    """A worker that is starved, and started again when it has left."""

    def __init__(self, stack):
        self.stack = stack
        self.traffic = Traffic(random.Random(harness.seed(3)))
        stack.load_inventory(self.traffic.inventory())
        self.before = check.stored(stack)
        self.starvation = Starvation()
        self.configuration = f"{stack.directory.name}/worker.conf"
        with open(self.configuration, "w") as file:
            file.write(f"batch.max.commands.interactive={RECORDS}\n")
        self.worker = None
        self.turns = 0
        self.left = {}  # exit code -> how often

    def start(self, ready=True):
        self.worker = self.stack.worker(environment=self.starvation.environment, ready=ready, threads__bulk=0,
                                        words=["-c", self.configuration])

    def send(self):
        self.stack.send(self.traffic.batch(RECORDS))

    def has_left(self):
        """Neither by a crash nor with a leak, and saying why; or by a library's, when its memory was out."""
        code = self.worker.process.poll()
        if code is None:
            return False
        by_library = self.starvation.callers == FOREIGN and not CRASH_OF_OURS.search(self.worker.log())
        said = code in LEFT and "memory" in self.worker.log()
        assert said or by_library, f"left with {code}\n{self.worker.log()}"
        self.left[code] = self.left.get(code, 0) + 1
        return True

    def finish(self):
        """With memory again everything is served."""
        self.starvation.end()
        if self.has_left():
            self.start()
        self.stack.wait_drained()
        self.turns += 1
        if self.turns % CHECK_EVERY == 0:
            check.verify(self.stack, self.before)

    def stop(self):
        code, _ = self.worker.terminate(20)
        assert code == 0, f"left with {code}\n{self.worker.log()}"

    def judge(self):
        return f"{check.summary(check.verify(self.stack, self.before))}; left {self.left}"


@pytest.fixture
def patient():
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        yield Patient(stack)


# ---- what it does meanwhile ----


def works(patient):
    patient.send()
    patient.stack.wait_drained()


def finds_its_way_back(patient):
    patient.stack.end_sessions()
    works(patient)


def starts_and_works(patient):
    """From the first allocation of the process to the answers; or it leaves."""
    if patient.worker and patient.worker.process.poll() is None:
        patient.worker.kill()
    patient.send()
    patient.start(ready=False)
    harness.wait_for(lambda: f"answers\n{patient.worker.log()}",
                     lambda: patient.worker.process.poll() is not None or patient.stack.drained(), 60)


def stops(patient):
    if patient.worker.process.poll() is None:
        patient.stop()


def numbers(count, chosen, last, rng):
    """Of the allocations that are to fail: some, and the last ones, which no other start of a thread repeats."""
    if EACH:
        return range(1, count + 1, EACH)
    early = range(1, max(count - last, 0) + 1)
    return [*sorted(rng.sample(early, min(chosen, len(early)))), *range(len(early) + 1, count + 1)]


CASES = {  # what it does, whose allocations fail, how many of them and of the last ones
    "program while it works": (works, PROGRAM, 0, 0),  # which takes none
    "libpq while it works": (works, LIBPQ, 3, 0),
    "program on its way back": (finds_its_way_back, PROGRAM, 3, 0),
    "libpq on its way back": (finds_its_way_back, LIBPQ, 3, 0),
    "program at the start": (starts_and_works, PROGRAM, 6, 14),
    "libpq at the start": (starts_and_works, LIBPQ, 3, 0),
}


@pytest.mark.parametrize("act, callers, chosen, last", CASES.values(), ids=CASES)
def test_one_allocation_fails(patient, act, callers, chosen, last):
    patient.start()
    works(patient)
    counts = []
    for _ in range(2):
        patient.starvation.begin(ONCE, callers)
        act(patient)
        counts.append(patient.starvation.end()[0])
    count = max(counts)
    assert (count == 0) == (chosen == 0), "in a steady state the program allocates nothing"
    failed, slow = 0, {}
    for number in numbers(count, chosen, last, patient.traffic.rng):
        patient.starvation.begin(ONCE, callers, number=number)
        began = time.monotonic()
        act(patient)
        patient.finish()
        failed += patient.starvation.failed
        if time.monotonic() - began > 5:
            slow[number] = round(time.monotonic() - began, 1)
        if act is starts_and_works:
            patient.stop()
    stops(patient)
    print(f"{failed} of {count} allocations failed, one at a time; slow {slow}; {patient.judge()}")


def test_no_memory_for_a_while(patient):
    patient.start()
    works(patient)
    for number in (1, 5, 25) if network.ROUNDS >= 2 else (5,):
        patient.starvation.begin(FROM_THERE_ON, OURS, number=number)
        patient.send()
        harness.wait_for("memory that is out", lambda: patient.starvation.failed)
        patient.send()
        time.sleep(1)
        patient.finish()
    stops(patient)
    print(patient.judge())


def test_now_and_then_an_allocation_fails(patient):
    patient.start()
    patient.starvation.begin(RANDOM, OURS, per_million=20_000, seed=patient.traffic.rng.getrandbits(32))
    for _ in range(10):
        patient.send()
        time.sleep(0.2)
    failed = patient.starvation.failed
    patient.finish()
    stops(patient)
    assert failed
    print(f"{failed} allocations failed; {patient.judge()}")


def test_a_library_may_end_the_process(patient):
    failed = 0
    for _ in range(8):
        patient.starvation.begin(RANDOM, FOREIGN, per_million=1000, seed=patient.traffic.rng.getrandbits(32))
        starts_and_works(patient)
        failed += patient.starvation.failed
        patient.finish()
    assert failed
    print(f"{failed} allocations failed; {patient.judge()}")
