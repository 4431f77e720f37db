"""A plan must not depend on when it was made: whatever the statistics say, each statement of a worker finds its rows by
their keys, and reads as much as its batch asks for.

The batches are those of a real worker, so that statements, session settings, parameters and the age of a plan are what
they are in service. auto_explain tells what the server did for each of them.
"""

import collections
import contextlib
import itertools
import re
import uuid

import pytest
from psycopg.conninfo import make_conninfo

import harness
import plans

ACCOUNTS, NUMBERS, LEDGER, POSITIONS = 1_000, 100_000, 200_000, 2_000
BATCHES = (100, 1_000)
OF_ONE_ROW = {"installation"}
# A row for each partition. A claim, which comes with a rebalance, may read them all where there are few: the first claim of
# an installation finds none. What belongs to a batch may not.
OF_PARTITIONS = {"partition_position", "record_attempt"}

# A command of each kind in turn: what it is about, and whether it names a number.
CONNECT, DISCONNECT, SET, REMOVE, EDIT, *LISTS = KINDS = (
    "ConnectNumber", "DisconnectNumber", "SetOperatorConnectNumberType", "RemoveOperatorConnectNumberType", "EditChannel",
    "ListCallerIds", "ListProxies", "ListTemplates", "ListCallBarrings")

# What a worker meets after a while: accounts with catalogues and grants, numbers of which some are connected as the commands
# above want them, results of the past, and positions of topics that are no longer used.
FILL = f"""
insert into siptrunk.proxy select lpad(to_hex(i), 32, '0')::uuid, 'proxy' || i from generate_series(1, 500) i;
insert into siptrunk.template select lpad(to_hex(i), 32, '0')::uuid, 'template' || i from generate_series(1, 500) i;
insert into siptrunk.call_barring select 'C' || i, 'barring' || i from generate_series(1, 500) i;
insert into siptrunk.account select lpad(to_hex(i), 32, '0')::uuid, '' from generate_series(0, {ACCOUNTS} - 1) i;
insert into siptrunk.subscription
  select account_id, kind from siptrunk.account, unnest(array['sip_trunk', 'operator_connect']) kind;
insert into siptrunk.channel (account_id, name, subscription) select account_id, kind, kind from siptrunk.subscription;
insert into siptrunk.account_proxy
  select account_id, lpad(to_hex(k), 32, '0')::uuid from siptrunk.account, generate_series(1, 3) k;
insert into siptrunk.account_template
  select account_id, lpad(to_hex(k), 32, '0')::uuid from siptrunk.account, generate_series(1, 3) k;
insert into siptrunk.account_call_barring select account_id, 'C' || k from siptrunk.account, generate_series(1, 3) k;
insert into siptrunk.account_caller_id select account_id, '+4910' || k from siptrunk.account, generate_series(1, 5) k;
insert into siptrunk.number (e164, account_id, kind, state, channel_id)
  select '+31' || 500000000 + i, a.account_id, 'fixed', 'available', c.channel_id
  from generate_series(0, {NUMBERS} - 1) i
  join siptrunk.account a on a.account_id = lpad(to_hex(mod(i, {ACCOUNTS})), 32, '0')::uuid
  left join siptrunk.channel c on c.account_id = a.account_id
    and c.name = (array[null, 'sip_trunk', 'operator_connect', 'operator_connect'])[mod(i, {len(KINDS)}) + 1];
insert into siptrunk.command_ledger (account_id, command_id, account_sequence, applied_at, source_offset, source_timestamp,
    result_schema, source_partition, source_topic, command_type, outcome, mac_key_id, mac, result)
  select lpad(to_hex(mod(i, {ACCOUNTS})), 32, '0')::uuid, gen_random_uuid(), i / {ACCOUNTS} + 1, i, i, i, 1, 0, 'past',
    'ConnectNumber', 'APPLIED', 'past', '', decode(repeat('00', 300), 'hex') from generate_series(0, {LEDGER} - 1) i;
update siptrunk.account_tail set last_sequence = {LEDGER} / {ACCOUNTS};
insert into siptrunk.partition_position (topic, partition, next_offset) select 'past', i, 1 from generate_series(1, {POSITIONS}) i;
insert into siptrunk.record_attempt
  select topic, partition, 1, 0 from siptrunk.partition_position where topic = 'past';
"""


def fields_of(kind, index, round_):
    """With all that a command can refer to, and other values in each round."""
    number = f"+31{500_000_000 + round_ * 1_000 * len(KINDS) + index}"
    entry = str(uuid.UUID(int=1 + round_ % 3))
    return {
        CONNECT: {"number": number, "channel_name": "sip_trunk"},
        DISCONNECT: {"number": number},
        SET: {"number": number, "channel_name": "operator_connect", "number_type": "User"},
        REMOVE: {"number": number, "channel_name": "operator_connect"},
        EDIT: {"channel_name": "sip_trunk", "area_code": str(100 + round_), "caller_id": f"+4910{1 + round_ % 5}",
               "call_barrings": ["C1", "C2"], "sip_trunk": {"template_id": entry, "proxy_id": entry}},
    }.get(kind, {})


def commands(count, round_):
    """The kinds in turn, each command about an account of its own."""
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        yield harness.command(kind, account_id=str(uuid.UUID(int=index)), **fields_of(kind, index, round_))


class Watched:
    """A stack whose workers tell the plans of all that they run."""

    def __init__(self, stack):
        self.stack = stack
        self.log = plans.Log(stack.servers, stack.conninfo)
        # Kept until asked for, so that those which are sent together are one batch in Kafka, and then one of the worker.
        self.producer = stack.producer(**{"linger.ms": 60_000, "batch.size": 16 << 20, "batch.num.messages": 10_000})
        self.growing = {name for name, in stack.rows(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'siptrunk'::regnamespace")} - OF_ONE_ROW
        for name in self.growing:  # so that statistics are as old as the test wants them
            stack.execute(f"alter table siptrunk.{name} set (autovacuum_enabled = off)")
        self.found = []  # executions of the state that is looked at
        self.seen = set()  # names of what was run in any state
        self.rounds = itertools.count()

    def worker(self, ready=True, **settings):
        return self.stack.worker(ready=ready, **{
            "threads__bulk": 0, "batch__max__commands__interactive": max(BATCHES),
            "postgres__conninfo": make_conninfo(self.stack.conninfo, options=plans.SESSION), **settings})

    def send(self, wanted):
        self.stack.send(wanted, self.stack.topics.commands, self.producer)
        self.stack.wait_drained()
        self.look()

    def look(self):
        """Judges what was run since the last time, before anything larger comes."""
        new = self.log.read()
        self.found += new
        faults = collections.Counter(
            fault for one in new
            for fault in one.faults(self.growing - OF_PARTITIONS if one.name.startswith("claim_") else self.growing))
        assert not faults, "\n".join(["plans with faults:"] + [f"{n} times {fault}" for fault, n in faults.most_common()])

    def one_of_each(self):
        for command in commands(len(KINDS), next(self.rounds)):
            self.send([command])

    def all_batches(self):
        """Batches of each size, and one of commands that are known already."""
        self.one_of_each()
        for size in BATCHES:
            sent = list(commands(size, next(self.rounds)))
            self.send(sent)
        self.send([harness.again(command) for command in sent])

    def end(self, state):
        """Shows for each statement the most that a batch has cost; what was run in this state."""
        found, self.found = self.found, []
        most = {}
        for one in found:
            new = 1, one.batch, one.keys, one.rows / one.batch, one.pages / one.batch
            old = most.get(one.name, (0,) * len(new))
            most[one.name] = (old[0] + 1, *map(max, old[1:], new[1:]))
        print(f"\n{state}: times, largest batch, most keys, most rows looked at and most pages read for one of a batch")
        for name, (count, batch, keys, rows, pages) in most.items():
            print(f"  {name[:60]:<60} {count:>6,} {batch:>6,} {keys:>6,} {rows:>6.1f} {pages:>6.1f}")
        sizes = {one.batch for one in found if one.name == "load_ledger"}
        assert all(any(size / 2 <= batch <= 2 * size for batch in sizes) for size in (1, *BATCHES)), f"batches of {sizes} only"
        idle = {name for name in ("store_channels", "store_numbers", "store_ledger", "store_tails") if not most[name][2]}
        assert not idle, f"nothing was given to {idle}"
        self.seen |= set(most)
        return found

    def unseen(self):
        """Statements over growing tables that no worker has run."""
        return {name for text, name in self.log.names.items()
                if name not in self.seen and self.growing & set(re.findall(r"\bsiptrunk\.(\w+)", text))}

    @contextlib.contextmanager
    def locked(self, table, column, value):
        with self.stack.connect() as db, db.transaction():
            db.execute(f"select from siptrunk.{table} where {column} = %s for update", (value,))
            yield

    def in_trouble(self):
        """A worker that meets the locks of others: of the one before, and of an account. It takes records one by one, as
        if one of them had killed."""
        topic = self.stack.topics.commands
        self.stack.execute("update siptrunk.partition_position set claims_without_progress = 5 where topic = %s", topic)
        with self.locked("partition_position", "topic", topic):
            worker = self.worker(ready=False)
            worker.wait_event("evict-owner")
        worker.wait_ready()
        command, *others = commands(len(KINDS), next(self.rounds))
        with self.locked("account_tail", "account_id", command.fields["account_id"]):
            self.stack.send([command], topic)
            worker.wait_event("recover", error_id="postgres-lock-timeout")
        self.send(others)
        worker.terminate()


def costs(executions):
    """What the planner thought of each batch, by which one knows a plan again."""
    return {(one.name, one.plan["Total Cost"]) for one in executions if re.match("(load|store)_", one.name)}


@pytest.fixture
def stack():
    """With one partition, so that a batch is not divided before the worker has it."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as made:
        yield made


@pytest.mark.parametrize("analysed", [False, True], ids=["never_analysed", "analysed_while_empty"])
def test_rows_are_found_by_their_keys_whenever_a_plan_was_made(stack, analysed):
    watched = Watched(stack)
    if analysed:
        stack.execute("analyze")
    worker = watched.worker()
    watched.one_of_each()
    made, watched.found = costs(watched.found), []
    stack.execute(FILL)
    watched.all_batches()
    assert costs(watched.end("plans made while the tables were empty")) == made, "these are other plans"

    worker.terminate()
    worker = watched.worker()
    watched.all_batches()
    watched.end("plans made on full tables, statistics of empty ones")

    worker.terminate()
    stack.execute("analyze")
    watched.in_trouble()
    watched.worker()
    watched.all_batches()
    watched.end("statistics of full tables")
    assert not watched.unseen(), f"no plan was seen of {watched.unseen()}"
