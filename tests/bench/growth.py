"""How cost grows: a backlog of connects with one thing at a time made larger, each beside the usual measure in the same run."""
import argparse
import contextlib
import json
import os
import statistics
import uuid

from confluent_kafka.admin import AdminClient

import stage
from stage import LOGS, Topics, drain, fresh_database, options, produce, say
from traffic import NUMBERS, there_and_back
from warm import warm_up

USUAL = {"numbers": NUMBERS, "ledger": 0, "threads": 2, "partitions": stage.PARTITIONS, "database_us": 0, "broker_us": 0}
SERIES = {
    "numbers": ("numbers in the inventory", (10_000, 100_000, 1_000_000)),
    "ledger": ("rows in the ledger at the start", (0, 1_000_000, 10_000_000)),
    "threads": ("threads of the lane", (1, 2, 3, 4)),
    "partitions": ("partitions of the topics", (1, 6, 24)),
    "database_us": ("microseconds added to a round trip to the database", (0, 1_000)),
    "broker_us": ("microseconds added to a round trip to the broker", (0, 1_000)),
}


@contextlib.contextmanager
def servers(name, value, listener):
    """What a worker needs to be told to reach them, behind a connection string and as options. Where the distance is what grows,
    also the near ones are reached through the program that delays."""
    if name == "database_us":
        with stage.delayed_postgres(value) as far:
            yield far, []
    elif name == "broker_us":
        own, far = listener
        with stage.delayed(own, value, far):
            yield "", [f"kafka.bootstrap.servers=127.0.0.1:{far}"]
    else:
        yield "", []


def measure(admin, commands, setting, conninfo_more="", told=()):
    tag = f"growth-{uuid.uuid4().hex[:8]}"
    topics = Topics(admin, tag, setting["partitions"])
    produce(topics.bulk, there_and_back(commands, setting["numbers"]))
    conninfo = fresh_database("bench", setting["numbers"], setting["ledger"])
    words = options(topics, conninfo + conninfo_more, tag,
                    ["threads.interactive=0", f"threads.bulk={setting['threads']}", *told])
    return drain("siptrunk-worker", words, tag + "-bulk", topics.bulk, commands, os.path.join(LOGS, f"{tag}.log"), 300,
                 setting["partitions"])


def one_series(admin, args, name, listener):
    title, values = SERIES[name]
    say(title)
    rates = {value: [] for value in values}
    for _ in range(args.runs):
        for value in values:
            with servers(name, value, listener) as way:
                rates[value].append(measure(admin, args.commands, {**USUAL, name: value}, *way))
    usual = statistics.median(figures["steady"] for figures in rates[USUAL[name]])
    rows = []
    for value in values:
        row = {"value": value, "steady": statistics.median(figures["steady"] for figures in rates[value]),
               "mib": max(figures["mib_worker"] for figures in rates[value]),
               "cpu_ms": {who: statistics.median(figures[f"cpu_{who}"] for figures in rates[value])
                          for who in ("worker", "broker", "postgres")}}
        rows.append(row)
        say(f"  {value:>10,}: {row['steady']:>8,.0f}/s, {row['steady'] / usual:.2f} of the usual; CPU ms for 1,000 commands: "
            + ", ".join(f"{who} {ms:.1f}" for who, ms in row["cpu_ms"].items()) + f"; worker {row['mib']:.0f} MiB")
    return {"title": title, "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=100_000, help="size of the backlog (default 100000)")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts (default 3)")
    parser.add_argument("--only", default=",".join(SERIES), help="what is made larger (default: " + ",".join(SERIES) + ")")
    parser.add_argument("--json", metavar="FILE", help="where the figures go as well")
    args = parser.parse_args()
    names, found = args.only.split(","), {}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(stage.far_listener()) if "broker_us" in names else None
        admin = AdminClient({"bootstrap.servers": stage.BOOTSTRAP, "log_level": 0})  # a restart of the broker is no news
        warm_up(admin)
        for name in names:
            found[name] = one_series(admin, args, name, listener)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"commands": args.commands, "runs": args.runs, "series": found}, file, indent=1)


if __name__ == "__main__":
    main()
