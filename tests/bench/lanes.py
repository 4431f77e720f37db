"""Interactive commands beside a bulk backlog: how long each takes from send to a read_committed reader, of accounts that the
bulk does not touch and of those that it works on, and what the bulk loses to them; the same for a bare Kafka echo, that is,
without a database."""
import argparse
import contextlib
import os
import time
import uuid

from confluent_kafka.admin import AdminClient

from stage import (BOOTSTRAP, LOGS, Prober, Topics, fresh_database, free_port, metric, options, produce, quantile, say, start, stop,
                   wait_drained)
from traffic import ACCOUNTS, NUMBERS, connect
from warm import warm_up

BULK_ACCOUNTS = ACCOUNTS * 9 // 10  # the others order only
READY_S, WARM_UP_S = 10, 1
HOT = 7  # an account that both lanes are busy with


def bulk_of(count, hot):
    """Connects of numbers of the bulk's accounts, or of the hot one alone."""
    accounts = [HOT] if hot else range(BULK_ACCOUNTS)
    numbers = [n for n in range(NUMBERS) if n % ACCOUNTS in accounts]
    return [connect(numbers[index % len(numbers)]) for index in range(count)]


def order(index):
    """One of an account that only orders, then one of an account that the bulk works on too."""
    account = BULK_ACCOUNTS + index % (ACCOUNTS - BULK_ACCOUNTS) if index % 2 else index % BULK_ACCOUNTS
    return "same account" if account < BULK_ACCOUNTS else "other account", *connect(account + ACCOUNTS * (index % 100))


def hot_order(index):
    return "hot account", *connect(HOT + ACCOUNTS * (index % (NUMBERS // ACCOUNTS)))


class Program:
    """A worker with both lanes, or an echo for each."""

    def __init__(self, name, topics, tag, extra):
        apart = "topics.results.bulk" if name == "siptrunk-worker" else "topics.results"
        self.port = free_port()
        words = options(topics, fresh_database("bench"), tag,
                        [*extra, f"{apart}={topics.results_bulk}", f"http.listen=127.0.0.1:{self.port}"])
        self.group = tag + "-bulk" if name == "siptrunk-worker" else tag
        self.processes = [start(name, words, os.path.join(LOGS, f"{tag}.log"))]
        if name == "bench-echo":
            interactive = options(topics, "", tag + "-i", [f"topics.bulk={topics.commands}", f"topics.commands={topics.bulk}"])
            self.processes.append(start(name, interactive, os.path.join(LOGS, f"{tag}-i.log")))

    def __enter__(self):
        return self

    def wait_ready(self):
        """Until all threads of a worker have partitions."""
        until = time.monotonic() + READY_S
        while len(self.processes) == 1 and time.monotonic() < until:
            with contextlib.suppress(OSError):
                if metric(self.port, "siptrunk_threads_ready") == metric(self.port, "siptrunk_threads"):
                    break
            time.sleep(0.1)

    def __exit__(self, *failure):
        for process in self.processes:
            stop(process)


def measure(admin, name, backlog, make, per_second, extra):
    """Rate of the bulk and times of the interactive commands that came meanwhile."""
    tag = f"lanes-{uuid.uuid4().hex[:8]}"
    topics = Topics(admin, tag)
    produce(topics.bulk, backlog)
    prober = Prober(topics.commands, topics.results, make, per_second) if per_second else None
    began = time.monotonic()
    with Program(name, topics, tag, extra) as program:
        if prober:
            prober.start()
            program.wait_ready()
            prober.wait_begun()
            time.sleep(WARM_UP_S)
            prober.forget()
        end, first = wait_drained(program.group, topics.bulk, len(backlog), program.processes[0], 300)
        times = prober.stop() if prober else {}
    return (len(backlog) - first[1]) / (end - first[0]), times, end - began


def told(times):
    return "".join(f"; {kind}: {len(values)} times, p50 {quantile(values, 0.5):.1f} p99 {quantile(values, 0.99):.1f}"
                   f" max {max(values):.1f} ms" for kind, values in sorted(times.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=500_000, help="size of the bulk backlog (default 500000)")
    parser.add_argument("--rates", default="0,50,200", help="interactive commands a second, one run each (default 0,50,200)")
    parser.add_argument("--programs", default="bench-echo,siptrunk-worker", help="what runs (default: both)")
    parser.add_argument("--hot", action="store_true", help="one account in both lanes instead of many")
    parser.add_argument("-X", action="append", default=[], metavar="KEY=VALUE", help="configuration of the worker")
    args = parser.parse_args()
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    warm_up(admin)
    backlog = bulk_of(args.commands, args.hot)
    say(f"bulk backlog of {len(backlog):,} connects of {1 if args.hot else BULK_ACCOUNTS} accounts")
    for name in args.programs.split(","):
        alone = None
        for per_second in map(int, args.rates.split(",")):
            rate, times, seconds = measure(admin, name, backlog, hot_order if args.hot else order, per_second,
                                           args.X if name == "siptrunk-worker" else [])
            alone = alone or rate
            say(f"  {name:<15} bulk {rate:>7,.0f}/s ({rate / alone:.2f} of the first), {seconds:.1f} s, beside {per_second}/s{told(times)}")


if __name__ == "__main__":
    main()
