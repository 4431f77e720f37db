"""Servers behind proxies, for the tests of network faults. The tests themselves go to the servers directly."""

import contextlib
import os
import random
import socket

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import check
import harness
import proxy
from traffic import Traffic

ROUNDS = float(os.environ.get("SIPTRUNK_FAULT_ROUNDS", "1"))
LONG = pytest.mark.skipif(ROUNDS < 2, reason="takes long: SIPTRUNK_FAULT_ROUNDS=2")
RECORDS_PER_S = 60  # and lane
BATCH = 10
RECOVERY_S = 60
STRUCK_S = 120 * max(1, ROUNDS)

_LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
"""


class Network:
    """Servers, and the proxies that lead to them. Whoever comes through the broker's proxy is led back to it."""

    def __init__(self, servers, kafka, postgres):
        self.servers, self.kafka, self.postgres = servers, kafka, postgres


class Stack(harness.Stack):
    """Its workers reach the servers through the proxies. In faults, owner is its name there."""

    def __init__(self, network, **more):
        super().__init__(network.servers, **more)
        self.network = network
        self.database = conninfo_to_dict(self.conninfo)["dbname"]

    def worker(self, instance="w1", **settings):
        network = self.network
        return super().worker(instance, **{
            "kafka__bootstrap__servers": f"127.0.0.1:{network.kafka.port}",
            "kafka__client__id": self.group,
            "postgres__conninfo": make_conninfo(self.conninfo, host="127.0.0.1", port=network.postgres.port),
            **settings,
        })

    def kafka(self, name, side, act, **more):
        """A fault between its workers and the broker."""
        return self.network.kafka.add(proxy.Fault(name, side, act, owner=self.group, **more))

    def postgres(self, name, side, act, **more):
        """A fault between its workers and PostgreSQL."""
        return self.network.postgres.add(proxy.Fault(name, side, act, owner=self.database, **more))

    def begin(self, rng, **more):
        """Loads an inventory; the traffic about it, and what is stored at the beginning."""
        traffic = Traffic(random.Random(rng.random()), **more)
        self.load_inventory(traffic.inventory())
        return traffic, check.stored(self)

    def finish(self, before, deadline_s=60):
        """All is done, and nothing is wrong with it."""
        self.wait_drained(deadline_s)
        return f"{check.summary(check.verify(self, before))}; {check.decide_again(self)}"


@contextlib.contextmanager
def behind_proxies(name, which="kafka"):
    """A broker of its own in .dev/NAME, the PostgreSQL of the run or, with all, its own too, and a proxy to each."""
    port, proxied = free_ports()
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(proxy.Proxy(proxy.KafkaTalk, ("127.0.0.1", proxied)))
        postgres = stack.enter_context(proxy.Proxy(proxy.PostgresTalk, None))
        servers = stack.enter_context(harness.own_servers(name, which, {
            "kafka.port": f"{port}\n",
            "kafka/extra.properties": _LISTENERS.format(port=port, proxied=proxied, controller=port + 1, proxy=kafka.port),
        }))
        database = conninfo_to_dict(servers.conninfo)
        postgres.target = database["host"], int(database["port"])
        yield Network(servers, kafka, postgres)


def free_ports():
    """A port whose neighbour is free too, and one more; below those that the kernel gives to connections."""
    while True:
        port = random.randrange(20000, 32000, 4)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in (port, port + 1, port + 2):
                stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return port, port + 2


class Matrix:
    """Fault x window -> how often it struck. A cell that was never struck has tested nothing; one that was never added
    is none."""

    def __init__(self, title, windows):
        self.title, self.windows, self.rows = title, windows, {}

    def add(self, fault, window, hits):
        row = self.rows.setdefault(fault, dict.fromkeys(self.windows))
        row[window] = (row[window] or 0) + hits

    def show(self):
        """Prints it; fails when a cell is empty."""
        wide = max(map(len, [self.title, *self.rows])) + 2
        columns = [max(len(window), 5) + 2 for window in self.windows]
        print(self.title.ljust(wide) + "".join(w.rjust(c) for w, c in zip(self.windows, columns)))
        for fault, row in self.rows.items():
            texts = ("-" if row[window] is None else str(row[window]) for window in self.windows)
            print(fault.ljust(wide) + "".join(text.rjust(c) for text, c in zip(texts, columns)))
        self.complete()

    def complete(self):
        """Fails when a cell is empty."""
        empty = [(fault, window) for fault, row in self.rows.items() for window, hits in row.items() if hits == 0]
        assert self.rows and not empty, f"never struck: {empty}"


# --- for the tests to import ------------------------------------------------------------------------------------------


def rounds(count):
    return max(1, round(count * ROUNDS))


@pytest.fixture(scope="module")
def link():
    with behind_proxies("network-run") as made:
        yield made


@pytest.fixture
def stack(link):
    with Stack(link) as made:
        yield made


@pytest.fixture
def rng():
    seed = harness.seed()
    print(f"seed {seed}, {ROUNDS:g} rounds")
    return random.Random(seed)
