"""The harness must bite: each bug of common/planted.def, planted into the worker, is found under a name that says what is
wrong; the same story without the bug has none of these findings. SIPTRUNK_MUTANTS=8 takes so many, chosen by
SIPTRUNK_TEST_SEED."""

import concurrent.futures
import dataclasses
import functools
import os
import random
import re
import time

import pytest

import harness
import trial
from trial import (AT_COMMIT, committed_offsets_expire, database_fails, database_is_put_back, dies_at, finds_its_position,
                   has_a_twin, lanes_race, loses_its_sessions, wakes_up_when_another_has_taken_over, works)

CONCURRENT = 4


@dataclasses.dataclass
class Mutant:
    bug: str
    breaks: str  # in the program's own terms
    story: object  # of trial.py
    findings: set  # all of them must be there


dies_stored, dies_committing = dies_at("stored:1"), dies_at("offsets-sent:2")
dies_replied = dies_at("reply-committed:1")
epoch_moves, position_moves = finds_its_position("epoch = epoch + 1"), finds_its_position("next_offset = next_offset - 1")
commit_fails, store_fails = database_fails(1, AT_COMMIT, "40001"), database_fails(5)
store_fails_alone = database_fails(5, alone=True)

MUTANTS = [
    # Kafka and the database, in this order of all things
    Mutant("reply-first", "publish before commit", dies_replied, {"ledger-missing", "effects", "position"}),
    Mutant("results-apart", "results in a transaction, offsets in the next", dies_committing, {"answered-twice"}),
    Mutant("commit-assumed", "COMMIT's answer", commit_fails, {"ledger-missing", "position"}),
    # positions
    Mutant("offset-plus-one", "the offset that is committed", works, {"position", "unfinished"}),
    Mutant("offset-minus-one", "the offset that is committed", works, {"position", "unfinished"}),
    Mutant("no-rewind", "reading again from the committed offset", loses_its_sessions, {"unanswered", "ledger-missing"}),
    Mutant("offsets-earliest", "the database's memory of K", committed_offsets_expire, {"answered-twice"}),
    Mutant("offsets-latest", "where a new group begins", works, {"unanswered"}),
    Mutant("divergence-unseen", "K > D", database_is_put_back, {"sequence-repeat", "contradiction"}),
    # fences
    Mutant("epoch-unseen", "the fence's epoch", epoch_moves, {"not-fenced"}),
    Mutant("next-offset-unseen", "the fence's position", position_moves, {"not-fenced"}),
    Mutant("no-generation", "group metadata in the transaction", wakes_up_when_another_has_taken_over, {"answered-twice"}),
    Mutant("twin-unseen", "the lock on the name", has_a_twin, {"twin-at-work"}),
    Mutant("locks-dropped", "the lock on the account's tail", lanes_race, {"sequence-repeat"}),
    # ledger
    Mutant("no-ledger", "the ledger", dies_stored, {"ledger-missing", "unfinished"}),
    Mutant("ledger-shared", "the account in the ledger's key", works, {"unanswered", "ledger-without-command"}),
    Mutant("rejection-unrecorded", "refusals in the ledger", dies_stored, {"ledger-missing"}),
    Mutant("replay-decided", "the stored bytes as the answer", dies_committing, {"ledger-differs", "sequence-gap"}),
    Mutant("replay-silent", "the answer to a resend", works, {"unanswered"}),
    Mutant("replay-unmarked", "the header replayed", works, {"replay-mark"}),
    Mutant("resend-refused", "the comparison with the ledger's MAC", works, {"unanswered", "phantom"}),
    Mutant("reuse-unseen", "the comparison with the ledger's MAC", works, {"unanswered", "phantom"}),
    # one batch
    Mutant("order-reversed", "order within a batch", works, {"order"}),
    Mutant("earlier-unseen", "effects within a batch", works, {"untruthful"}),
    Mutant("chain-stands", "the chain within a batch", works, {"chain", "tail"}),
    Mutant("sequence-stands", "numbers of refusals", works, {"sequence-repeat"}),
    Mutant("dry-run-applies", "dry runs", works, {"effects"}),
    Mutant("owner-unseen", "the owner of a number", works, {"excuse"}),
    # what cannot be done
    Mutant("outage-answered", "SQLSTATE to fault", store_fails, {"excuse"}),
    Mutant("outage-counted", "attempts taken back", store_fails_alone, {"dead-letter-phantom", "unanswered"}),
    Mutant("dead-letter-dropped", "dead letters", works, {"dead-letter-missing"}),
]
# Planted where its story is told.
ELSEWHERE = {"tainted-producer": "test_kafka_link.py", "die-of-record": "test_poison.py"}


@functools.cache
def chosen():
    count = os.environ.get("SIPTRUNK_MUTANTS", "all")
    seed = harness.seed()
    print(f"seed {seed}, mutants: {count}")
    return [m.bug for m in (MUTANTS if count == "all" else random.Random(seed).sample(MUTANTS, int(count)))]


def timed(story, bug=None):
    began = time.monotonic()
    return trial.run(story, bug), time.monotonic() - began


@pytest.fixture(scope="module")
def outcomes():
    """A few at a time, for they mostly wait: (story, bug) -> future."""
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
        mutants = [mutant for mutant in MUTANTS if mutant.bug in chosen()]
        clean = {mutant.story: pool.submit(timed, mutant.story) for mutant in mutants}
        yield clean, {mutant.bug: pool.submit(timed, mutant.story, mutant.bug) for mutant in mutants}


def test_each_bug_has_its_row():
    text = (harness.ROOT / "common" / "planted.def").read_text()
    assert sorted(re.findall(r'^PLANTED\(\w+, "([a-z-]+)"', text, re.M)) == sorted([m.bug for m in MUTANTS] + list(ELSEWHERE))
    for bug, name in ELSEWHERE.items():
        assert f'"{bug}"' in (harness.ROOT / "tests" / "faults" / name).read_text()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_is_found(outcomes, mutant):
    if mutant.bug not in chosen():
        pytest.skip("not chosen by the seed")
    clean, planted = outcomes
    found, seconds = planted[mutant.bug].result()
    names = {finding.name for finding in found}
    print(f"{mutant.bug} ({mutant.breaks}): {len(found)} findings in {seconds:.1f} s, {', '.join(sorted(names))}")
    assert mutant.findings <= names, f"only {names}"
    without = {finding.name for finding in clean[mutant.story].result()[0]}
    assert not mutant.findings & without, f"the same is found without the bug: {without}"
