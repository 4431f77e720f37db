"""Workers with load on both lanes, killed, frozen, told to leave and cut off, and their servers killed, at moments that a seed
chooses; afterwards every record has one answer and one effect. On servers of its own. SIPTRUNK_CHAOS_MINUTES makes it
longer, SIPTRUNK_CHAOS_WORKERS sets how many there are, SIPTRUNK_CHAOS_RATE how many records come a second on each lane,
SIPTRUNK_CHAOS_PAUSE how long at most the next act is waited for, SIPTRUNK_TEST_SEED makes the same choices again; ./dev chaos
sets all of them."""

import collections
import os
import random
import signal
import time

import pytest

import check
import harness
from traffic import Load, Traffic

MINUTES = float(os.environ.get("SIPTRUNK_CHAOS_MINUTES", "0.6"))
WORKERS = [f"w{n + 1}" for n in range(int(os.environ.get("SIPTRUNK_CHAOS_WORKERS", "3")))]
PARTITIONS = 6
SESSION_MS = 3000
RECORDS_PER_S = int(os.environ.get("SIPTRUNK_CHAOS_RATE", "300"))  # and lane
PAUSE_S = float(os.environ.get("SIPTRUNK_CHAOS_PAUSE", "0.7"))
RECOVERY_S = 60 + 10 * MINUTES  # what waits when the load ends is done in that time
PROGRESS_S = 10
STOP_S = 10  # while a server may be on its way back

# How often, of a thousand; each at least once in a run.
ACTS = {"kill": 700, "cut": 200, "freeze": 50, "death for longer than a session": 50, "SIGTERM": 50, "database killed": 8}
if os.environ.get("SIPTRUNK_CHAOS_BROKER"):  # one in three did not come back within half a minute under this load
    ACTS["broker killed"] = 4
LONG = {"freeze", "death for longer than a session"}  # one worker at a time: the others take its partitions
EACH_NTH = 4  # act is one that has not been there yet


class Nemesis:
    """Does harm to one worker after the other or to a server, and counts it."""

    def __init__(self, stack, rng):
        self.stack, self.rng = stack, rng
        self.workers = {name: self.start(name) for name in WORKERS}
        self.away = {}  # name -> (when it comes back, how)
        self.told_to_leave = []
        self.done = collections.Counter()

    def start(self, name):
        return self.stack.worker(name, ready=False, threads__interactive=2, threads__bulk=1,
                                 kafka__session__timeout__ms=SESSION_MS, kafka__heartbeat__interval__ms=300,
                                 kafka__fetch__wait__max__ms=100, batch__max__commands__interactive=50,
                                 batch__max__commands__bulk=50)

    def revive(self, name):
        self.workers[name] = self.start(name)

    def thaw(self, name):
        self.workers[name].resume()

    def bring_back(self, all_of_them=False):
        for name, (when, back) in list(self.away.items()):
            if all_of_them or time.monotonic() >= when:
                del self.away[name]
                back(name)

    def choose(self):
        possible = [act for act in ACTS if not (self.away and act in LONG)]
        missing = [act for act in possible if not self.done[act]]
        if missing and self.done.total() % EACH_NTH == 0:
            return self.rng.choice(missing)
        return self.rng.choices(possible, [ACTS[act] for act in possible])[0]

    def harm(self):
        """One act."""
        self.bring_back()
        act, name = self.choose(), self.rng.choice([name for name in WORKERS if name not in self.away])
        worker = self.workers[name]
        self.done[act] += 1
        if act == "cut":
            self.cut(name)
        elif act == "freeze":  # it will wake up and still believe that they are its own
            worker.pause()
            self.leave_away(name, self.thaw)
        elif act == "SIGTERM":
            self.told_to_leave.append(worker)
            code, seconds = worker.terminate(STOP_S)
            expected = (0,) if worker.events("started") else (0, -signal.SIGTERM)  # it may not have come to listen to it
            assert code in expected, f"left with {code} after {seconds:.1f} s\n{worker.report()}"
            self.revive(name)
        elif act.endswith("killed"):
            server = {"database killed": "pg", "broker killed": "kafka"}[act]
            self.stack.servers.do("kill", server)
            self.stack.servers.do("start", server)
        else:
            worker.kill()
            self.revive(name) if act == "kill" else self.leave_away(name, self.revive)

    def leave_away(self, name, back):
        self.away[name] = time.monotonic() + self.rng.uniform(1.1, 1.6) * SESSION_MS / 1000, back

    def cut(self, name):
        """Ends its database sessions, some of them in the middle of a transaction."""
        self.stack.rows("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                        " and application_name like %s", f"{self.stack.group}-{name}-%")

    def unexplained_deaths(self):
        """Workers that ended although nobody killed them or told them to."""
        return [worker.report() for worker in self.stack.workers
                if worker.process.poll() not in ((None, -9, 0, -signal.SIGTERM) if worker in self.told_to_leave else (None, -9))]

    def told(self):
        return ", ".join(f"{self.done[act]} {act}" for act in ACTS)


def progress(stack, nemesis, load, began):
    topics = (stack.topics.commands, stack.topics.bulk)
    [(stored,)] = stack.rows("select coalesce(sum(next_offset), 0)::int8 from siptrunk.partition_position")
    waiting = sum(sum(stack.ends(topic).values()) for topic in topics) - stored
    print(f"{time.monotonic() - began:5.0f} s: {load.sent} sent, {sum(stack.ends(stack.topics.results).values())} in the results"
          f" topic, {waiting} to be done; {nemesis.told()}", flush=True)


def run_chaos(stack, nemesis, load, rng):
    began = said = time.monotonic()
    while time.monotonic() < began + MINUTES * 60 and not load.error:
        load.stopped.wait(rng.uniform(0.05, PAUSE_S))
        nemesis.harm()
        if time.monotonic() - said >= PROGRESS_S:
            said = time.monotonic()
            progress(stack, nemesis, load, began)
    load.stop()
    nemesis.bring_back(all_of_them=True)


@pytest.fixture(scope="module")
def servers():
    with harness.own_servers("chaos-own") as own:
        yield own


def test_workers_and_servers_in_trouble(servers):
    seed = harness.seed()
    rng = random.Random(seed)
    print(f"seed {seed}, {MINUTES:g} minutes")
    with harness.Stack(servers, PARTITIONS) as stack:
        traffic = Traffic(random.Random(rng.random()), accounts=20, numbers=20)
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        nemesis, load = Nemesis(stack, rng), Load(stack, traffic, RECORDS_PER_S)
        load.start()
        run_chaos(stack, nemesis, load, rng)
        quiet = time.monotonic()
        stack.wait_drained(RECOVERY_S)
        print(f"{nemesis.told()}; {load.sent} records sent, all done {time.monotonic() - quiet:.1f} s after the last")
        assert not nemesis.unexplained_deaths()
        assert all(nemesis.done[act] for act in ACTS), "an act was never chosen: it was too short"
        print(check.summary(check.verify(stack, before)))
        assert check.verify_by_program(stack, "--complete", deadline_s=900) == set()
        print(check.decide_again(stack, deadline_s=900))
