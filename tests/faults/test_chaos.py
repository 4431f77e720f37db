"""Workers with load on both lanes, killed, frozen and cut off at moments that a seed chooses; afterwards every
record has one answer and one effect. SIPTRUNK_CHAOS_MINUTES makes it longer, SIPTRUNK_CHAOS_WORKERS sets how many there are,
SIPTRUNK_TEST_SEED makes the same choices again; ./dev chaos sets all three."""

import os
import random
import time

import check
import harness
from traffic import Load, Traffic

MINUTES = float(os.environ.get("SIPTRUNK_CHAOS_MINUTES", "0.6"))
WORKERS = [f"w{n + 1}" for n in range(int(os.environ.get("SIPTRUNK_CHAOS_WORKERS", "3")))]
PARTITIONS = 6
SESSION_MS = 3000
RECORDS_PER_S = 300  # and lane
RECOVERY_S = 60


class Nemesis:
    """Does harm to one worker after the other, and counts it."""

    def __init__(self, stack, rng):
        self.stack, self.rng = stack, rng
        self.workers = {name: self.start(name) for name in WORKERS}
        self.away = {}  # name -> (when it comes back, how)
        self.kills = self.freezes = self.long_deaths = self.cuts = 0

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

    def harm(self):
        """One act. For longer than a session only one worker is away: the group gives its partitions to the others."""
        self.bring_back()
        name = self.rng.choice([name for name in WORKERS if name not in self.away])
        act = self.rng.choices(["kill", "cut", "long death", "freeze"], [70, 20, 0, 0] if self.away else [60, 20, 10, 10])[0]
        if act == "cut":
            self.cut(name)
            return
        back_at = time.monotonic() + self.rng.uniform(1.1, 1.6) * SESSION_MS / 1000
        if act == "freeze":  # it will wake up and still believe that they are its own
            self.freezes += 1
            self.workers[name].pause()
            self.away[name] = back_at, self.thaw
            return
        self.kills += 1
        self.workers[name].kill()
        if act == "kill":
            self.revive(name)
        else:
            self.long_deaths += 1
            self.away[name] = back_at, self.revive

    def cut(self, name):
        """Ends its database sessions, some of them in the middle of a transaction."""
        self.cuts += 1
        self.stack.rows("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                        " and application_name like %s", f"{self.stack.group}-{name}-%")

    def unexplained_deaths(self):
        """Workers that ended although nobody killed them."""
        return [worker.report() for worker in self.stack.workers if worker.process.poll() not in (None, -9)]


def test_workers_in_trouble():
    seed = harness.seed()
    rng = random.Random(seed)
    print(f"seed {seed}, {MINUTES:g} minutes")
    with harness.Stack(harness.Servers.shared(), PARTITIONS) as stack:
        traffic = Traffic(random.Random(rng.random()), accounts=20, numbers=20)
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        nemesis, load = Nemesis(stack, rng), Load(stack, traffic, RECORDS_PER_S)
        load.start()
        until = time.monotonic() + MINUTES * 60
        while time.monotonic() < until and not load.error:
            load.stopped.wait(rng.uniform(0.05, 0.7))
            nemesis.harm()
        load.stop()
        nemesis.bring_back(all_of_them=True)
        quiet = time.monotonic()
        stack.wait_drained(RECOVERY_S)
        print(f"{nemesis.kills} kills, {nemesis.long_deaths} of them for longer than a session, {nemesis.freezes} freezes,"
              f" {nemesis.cuts} cuts, {load.sent} records sent, all done {time.monotonic() - quiet:.1f} s after the last")
        assert not nemesis.unexplained_deaths()
        print(check.summary(check.verify(stack, before)))
