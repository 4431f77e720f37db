"""The worker and another program over backlogs of connects, by turns in the same run: what both get, and what is said of them."""
import collections
import io
import os
import statistics
import sys
import uuid

import fastavro
import psycopg

from stage import LOGS, Topics, drain, fresh_database, line, options, produce, read_results, say
from traffic import NUMBERS, connect, load_schema

FRAMING_BYTES = 10
MOST = 2 * NUMBERS  # each number is connected twice at most


def backlog(count):
    """Half of them are new and half find it done."""
    return [connect(i % (count // 2)) for i in range(count)]


def database(name):
    """A fresh one with a history in its ledger. A plan that is made while the ledger is known to be empty reads the whole of it
    for each command later on, until the table is analysed; whoever has that plan does half as much, or less."""
    return fresh_database(name, ledger=20_000)


# ---- whether it was real work ----

def expected_outcomes(count):
    """One number in a hundred is on another channel."""
    refused = count // 2 // 100
    return {"APPLIED": count // 2 - refused, "NO_CHANGE": count // 2 - refused, "REJECTED": 2 * refused}


def published_outcomes(topic):
    schema, prefix = load_schema("schemas/results/CommandResult.avsc")
    outcomes = collections.Counter()
    for message in read_results(topic):
        value = message.value()
        if value[:FRAMING_BYTES] != prefix:
            sys.exit("a result is not of the schema of results")
        outcomes[fastavro.schemaless_reader(io.BytesIO(value[FRAMING_BYTES:]), schema)["outcome"]] += 1
    return dict(outcomes)


def check(name, topic, conninfo, count):
    """Every command must have its result, its row in the ledger, its place in its account's sequence and its effect."""
    expected = expected_outcomes(count)
    with psycopg.connect(conninfo) as db:
        found = {
            "results": published_outcomes(topic),
            "ledger": dict(db.execute("select outcome, count(*) from siptrunk.command_ledger where account_sequence > 0"
                                      " group by 1").fetchall()),
            "sequences": db.execute("select sum(last_sequence)::int8 from siptrunk.account_tail").fetchone()[0],
            "connected": db.execute("select count(*) from siptrunk.number n join siptrunk.channel c using (account_id, channel_id)"
                                    " where c.subscription = 'sip_trunk'").fetchone()[0],
        }
    wanted = {"results": expected, "ledger": expected, "sequences": count, "connected": expected["APPLIED"]}
    if found != wanted:
        sys.exit(f"{name}: {found} instead of {wanted}")


# ---- runs ----

def run_commands(admin, name, count, run_program):
    """A fresh backlog in a fresh database, run_program(topics, conninfo, tag) over it, and the check of what it did."""
    tag = f"{name}-{uuid.uuid4().hex[:6]}"
    topics = Topics(admin, tag)
    produce(topics.bulk, backlog(count))
    conninfo = database(f"bench_{name}")
    figures = run_program(topics, conninfo, tag)
    check(name, topics.results, conninfo, count)
    return figures


def run_worker(admin, count, threads):
    def run_program(topics, conninfo, tag):
        words = options(topics, conninfo, tag, ["threads.interactive=0", f"threads.bulk={threads}"])
        return drain("siptrunk-worker", words, tag + "-bulk", topics.bulk, count, os.path.join(LOGS, f"{tag}.log"))
    return run_commands(admin, "worker", count, run_program)


def by_turns(runs, programs):
    """programs: name -> function without arguments that gives figures. Every second run goes in the other order."""
    done = []
    for run in range(runs):
        say(f"run {run + 1}")
        figures = {}
        for name in list(programs) if run % 2 == 0 else reversed(programs):
            figures[name] = programs[name]()
            say(f"  {name:<7}{line(figures[name])}")
        done.append(figures)
    return done


# ---- what is said ----

def all_cpu(figures):
    return figures["cpu_worker"] + figures["cpu_broker"] + figures["cpu_postgres"]


def say_ratios(runs, other):
    """Medians of the runs' own ratios, since a machine's hours differ."""
    def median(figure, over, under):
        return statistics.median(figure(run[over]) / figure(run[under]) for run in runs)

    say(f"medians of {len(runs)}:")
    for name in ("worker", other):
        say(f"  {name:<7}{line({key: statistics.median(run[name][key] for run in runs) for key in runs[0][name]})}")
    say(f"the worker is {median(lambda f: f['rate'], 'worker', other):.1f} times as fast,"
        f" {median(lambda f: f['steady'], 'worker', other):.1f} times behind the start")
    say(f"the {other} takes {median(lambda f: f['cpu_worker'], other, 'worker'):.1f} times the CPU in its own process,"
        f" {median(all_cpu, other, 'worker'):.1f} times with broker and database,"
        f" and {median(lambda f: f['mib_worker'], other, 'worker'):.1f} times the memory")


def say_what_each_does(rows):
    wide = [2 + max(len(row[column]) for row in rows) for column in range(2)]
    say("")
    for what, worker, other in rows:
        say(f"{what:<{wide[0]}}{worker:<{wide[1]}}{other}")
