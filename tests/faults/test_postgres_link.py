"""Trouble on the way between worker and PostgreSQL: the link cut around a COMMIT, and every error that a server may give
at every statement; and either link stalled, the broker's too. SIPTRUNK_FAULT_ROUNDS makes each test longer, SIPTRUNK_TEST_SEED makes the same choices again."""

import collections
import inspect
import itertools
import os
import re
import time

import psycopg
import pytest

import check
import harness
import network
import proxy
from network import BATCH, RECORDS_PER_S, RECOVERY_S, STRUCK_S, link, rng, rounds, stack  # noqa: F401
from traffic import Load

ACCOUNTS = 12
STALL_S = float(os.environ.get("SIPTRUNK_STALL_SECONDS", "5"))


class Work:
    """Two workers under load, and faults that strike them."""

    def __init__(self, stack, rng):
        self.stack, self.rng = stack, rng
        self.traffic, self.before = stack.begin(rng, accounts=ACCOUNTS, numbers=20, lists=20)
        self.workers = [stack.worker(name, threads__interactive=2, kafka__fetch__wait__max__ms=20,
                                     batch__max__commands__interactive=BATCH, batch__max__commands__bulk=BATCH)
                        for name in ("w1", "w2")]
        self.load = Load(stack, self.traffic, RECORDS_PER_S)
        self.load.start()

    def strike(self, faults):
        """Until each has struck as often as it should. What has not after a while may need a way back from trouble."""
        began = time.monotonic()

        def all_struck():
            if time.monotonic() - began > STRUCK_S / 4:
                self.stack.end_sessions()
            return self.load.error or all(fault.hits >= fault.times for fault in faults.values())

        harness.wait_for(lambda: f"every fault strikes, but {[key for key, f in faults.items() if f.hits < f.times]}",
                         all_struck, STRUCK_S, 1)

    def finish(self, but=()):
        """But: names of findings that are to be expected."""
        self.load.stop()
        self.stack.wait_drained(RECOVERY_S)
        history = check.collect(self.stack, self.before)
        findings = [finding for finding in check.check(history) if finding.name not in but]
        print(check.summary(history))
        assert not findings, f"{len(findings)} findings\n" + "\n".join(map(str, findings[:10]))
        if not but:
            print(check.decide_again(self.stack))
        assert all(worker.process.poll() is None for worker in self.workers), "a worker has left"


CUTS = {"before": proxy.cut_before, "inside": proxy.cut_inside, "behind": proxy.cut_after}


def test_link_is_cut_around_a_commit(stack, rng):
    """W5: was it stored, or not? Of store and of the claims that follow."""
    work = Work(stack, rng)
    faults = {(statement, f"{cut} {side}"): stack.postgres(statement, side, act, times=times, chance=chance, rng=rng)
              for statement, times, chance in (("store_commit", rounds(5), 0.2), ("claim_commit", rounds(1), 0.5))
              for side in ("request", "answer") for cut, act in CUTS.items()}
    work.strike(faults)
    work.finish()
    matrix = network.Matrix("", list(dict.fromkeys(window for _, window in faults)))
    for (statement, window), fault in faults.items():
        matrix.add(statement, window, fault.hits)
    matrix.show()


# --- SQLSTATEs --------------------------------------------------------------------------------------------------------

# All of the appendix of error codes, as psycopg has them, but for those that are no errors.
SQLSTATES = sorted({found.sqlstate for _, found in inspect.getmembers(psycopg.errors, inspect.isclass)
                    if isinstance(getattr(found, "sqlstate", None), str) and found.sqlstate[:2] not in ("00", "01", "02")})
ENDING = ("08", "28", "3D", "53300", "57P", "25P03", "25P04")  # the server ends the session with these
OF_DATA = ("22", "23")
STATEMENTS = sorted({name for path in (harness.ROOT / "worker").glob("*.c")
                     for name in re.findall(r'\{"((?:claim|load|store)_[a-z_]+)"', path.read_text())})
# Run once in the life of a database, in a conflict, and where processes have died, only.
ELSEWHERE = {"claim_cluster", "claim_diverge", "claim_evict", "claim_attempt", "claim_forgive"}


def statements_of(step):
    usual = [name for name in STATEMENTS if name not in ELSEWHERE]
    return {"startup": ["startup"], "session": ["SET"] + ["prepare " + name for name in usual], "commit": ["store_commit"],
            }.get(step) or [name for name in usual if name.startswith(step) and name != "store_commit"]


STEPS = ("startup", "session", "claim", "load", "store", "commit")


def plan(rng, sqlstates):
    """(class, step) -> what is raised where: each class at each step, each code and each statement at least once."""
    by_class = collections.defaultdict(list)
    for code in sqlstates:
        by_class[code[:2]].append(code)
    for codes in by_class.values():
        rng.shuffle(codes)
    statements = {step: itertools.cycle(rng.sample(statements_of(step), len(statements_of(step)))) for step in STEPS}
    for name, codes in by_class.items():
        codes_for, steps_for = itertools.cycle(codes), itertools.cycle(STEPS)
        for _ in range(max(len(codes), len(STEPS))):
            code, step = next(codes_for), next(steps_for)
            if step != "startup" or code.startswith(ENDING):
                yield name, step, code, next(statements[step])


def errors_everywhere(stack, rng, sqlstates, but=()):
    work = Work(stack, rng)
    faults = {}
    for _ in range(rounds(1)):
        for name, step, code, statement in plan(rng, sqlstates):
            act = proxy.fatal(code) if code.startswith(ENDING) else proxy.raises(code)
            chance = 0.1 if step in ("load", "store", "commit") else 0.5
            faults[len(faults), name, step, statement] = stack.postgres(statement, "request", act, chance=chance, rng=rng)
    stack.postgres("load_clock", "request", proxy.fatal("57P01"), chance=0.05, times=None, rng=rng)  # so that all steps recur
    work.strike(faults)
    work.finish(but)
    classes, struck = network.Matrix("class", STEPS), network.Matrix("statement", ["struck"])
    for (_, name, step, statement), fault in faults.items():
        classes.add(name, step, fault.hits)
        struck.add(statement, "struck", fault.hits)
    classes.show()
    struck.show()


def test_no_error_of_the_server_is_an_answer(stack, rng):
    """W27."""
    errors_everywhere(stack, rng, [code for code in SQLSTATES if not code.startswith(OF_DATA)])


def test_errors_of_data_lose_nothing(stack, rng):
    """W27: what a command's data could cause may be the answer to that command, as a bug of ours."""
    errors_everywhere(stack, rng, [code for code in SQLSTATES if code.startswith(OF_DATA)], but=("excuse",))


def test_session_ends_after_the_commit(stack, rng):
    """The commit is done, and its answer is that the session is over."""
    work = Work(stack, rng)
    faults = {code: stack.postgres("store_commit", "answer", proxy.fatal(code), chance=0.2, rng=rng, times=rounds(1))
              for code in SQLSTATES if code.startswith(ENDING)}
    work.strike(faults)
    work.finish()
    matrix = network.Matrix("SQLSTATE", ["store_commit, done"])
    for code, fault in faults.items():
        matrix.add(code, matrix.windows[0], fault.hits)
    matrix.show()


@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_link_is_stalled(stack, rng, server):
    """Nothing passes for a while and nothing is lost; connections stay open."""
    work = Work(stack, rng)
    link = getattr(stack.network, server)
    name = {"kafka": "EndTxn", "postgres": "store_commit"}[server]
    passed = getattr(stack, server)(name, "answer", proxy.passes, times=None)
    passed.wait(5)
    link.stall()
    time.sleep(STALL_S)  # what it is about takes time
    before = passed.hits
    link.resume()
    passed.wait(before + 5, RECOVERY_S)
    work.finish()
    matrix = network.Matrix("stalled", [f"answers to {name} before", "after"])
    matrix.add(server, matrix.windows[0], before)
    matrix.add(server, "after", passed.hits - before)
    matrix.show()
