"""Judges a history: what was asked, what was answered, what is stored. Knows the contract and not the worker.

A history is complete and quiet: all commands sent, all workers done or gone. Each finding has a name, so that a test
can say which kind of damage it expects; `check` returns all of them, `verify` fails on the first ten.
"""

import collections
import dataclasses
import datetime
import hashlib
import json
import re
import uuid

import harness

NIL = uuid.UUID(int=0)
NO_CHAIN = bytes(32)
TOKEN = "kafka_correlationId"  # echoed by the worker, so it tells which record a result answers
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ENVELOPE = {"command_id", "account_id", "correlation_id", "batch_id", "source_system", "actor", "issued_at"}
_BY_PREFIX = {schema.prefix: schema for schema in harness.COMMAND_SCHEMAS.values()}


@dataclasses.dataclass
class LedgerRow:
    account_id: uuid.UUID
    command_id: uuid.UUID
    place: tuple
    sequence: int
    outcome: str
    body: bytes


@dataclasses.dataclass
class Stored:
    """What the views tell."""

    numbers: dict  # number -> (account, channel, number type)
    channels: dict  # (account, name) -> (version, {pointer: text})


@dataclasses.dataclass
class History:
    cluster: str
    commands: list  # records of all command topics
    committed: list  # results as a read_committed reader sees them
    uncommitted: list  # and with those of aborted transactions
    dead: list  # dead letters, committed
    ledger: list
    tails: dict  # account -> (last sequence, last chain)
    stored: dict  # (topic, partition) -> D
    published: dict  # (topic, partition) -> K
    ends: dict  # (topic, partition) -> offset behind the last command
    before: "Stored"
    after: "Stored"
    unstable: dict = dataclasses.field(default_factory=dict)  # (topic, partition) -> records behind an open transaction


@dataclasses.dataclass(frozen=True)
class Finding:
    name: str
    text: str

    def __str__(self):
        return f"{self.name}: {self.text}"


def is_uuid(text):
    return bool(_UUID.fullmatch(text))


def without_chain(body, sequence):
    """The part of a result's body that its chain value covers: all before the last field, with its length, begins."""
    return body[: -(1 + 32)] if sequence else body[:-1]


def chain_after(previous, body, sequence):
    return hashlib.sha256(previous + without_chain(body, sequence)).digest()


def derived_id(cluster, record):
    name = f"siptrunk:{cluster}:{record.topic}:{record.partition}:{record.offset}:{record.timestamp}"
    return uuid.uuid5(uuid.NAMESPACE_URL, name)


# --- what each record asks for ----------------------------------------------------------------------------------------


class Asked:
    """A record of a command topic, as this file understands it."""

    def __init__(self, record, cluster):
        self.record = record
        self.kind, self.fields = "tombstone", None
        self.event_id = None  # of the answer; settled when it is known who came first under the id
        self.derived = derived_id(cluster, record)
        if record.value is not None:
            self.kind = "dead"
            schema = _BY_PREFIX.get(record.value[:10])
            if schema:
                self._decode(schema)

    def _decode(self, schema):
        try:
            self.fields = schema.decode(self.record.value)
        except Exception:  # whatever fastavro makes of bytes that are no record
            return
        self.kind = "list" if schema.name.startswith("List") else "command"
        self.content = schema.name, *(
            (name, repr(value)) for name, value in sorted(self.fields.items()) if name not in _ENVELOPE)

    @property
    def natural(self):
        """(account, command id) when both are well-formed, else None."""
        ids = self.fields["account_id"], self.fields["command_id"]
        return tuple(map(uuid.UUID, ids)) if self.kind == "command" and all(map(is_uuid, ids)) else None

    @property
    def place(self):
        return self.record.place

    @property
    def token(self):
        return self.record.header(TOKEN)


def settle_events(asked, ledger):
    """Gives each command its event id: the natural one to whoever came first under an id, and to whoever asks for the
    same; one of its own to whoever reuses the id for something else. The ledger says who came first."""
    first = {(row.account_id, row.command_id): row.place for row in ledger}
    by_place = {item.place: item for item in asked}
    for item in asked:
        if item.kind not in ("command", "list"):
            continue
        item.event_id = item.derived
        if item.natural:
            account, command = item.natural
            winner = by_place.get(first.get(item.natural))
            if winner is None or winner.kind != "command" or winner.content == item.content:
                item.event_id = uuid.uuid5(account, str(command))


# --- the checks; each yields findings ---------------------------------------------------------------------------------


class Check:
    def __init__(self, history):
        self.history = history
        self.asked = [Asked(record, history.cluster) for record in history.commands]
        settle_events(self.asked, history.ledger)
        self.commands = [item for item in self.asked if item.kind in ("command", "list")]
        self.by_place = {item.place: item for item in self.asked}
        self.events = collections.defaultdict(list)  # event id -> records that it answers
        for item in self.commands:
            self.events[item.event_id].append(item)
        self.copies = collections.defaultdict(list)  # event id -> committed copies
        for record in history.committed:
            self.copies[record.event_id].append(record)
        self.first = {event: copies[0] for event, copies in self.copies.items()}  # the only ones that are decoded
        self.accounts = collections.defaultdict(list)  # account -> its numbered events, by sequence
        for record in self.first.values():
            if record.result["account_sequence"]:
                self.accounts[uuid.UUID(record.result["account_id"])].append(record)
        for records in self.accounts.values():
            records.sort(key=lambda record: record.result["account_sequence"])

    def answers(self):
        """Exactly one committed result for each record."""
        for event, items in self.events.items():
            copies = self.copies.get(event, [])
            tokens = collections.Counter(record.header(TOKEN) for record in copies)
            if all(item.token for item in items):
                wanted = collections.Counter(item.token for item in items)
                for item in items:
                    if tokens[item.token] < wanted[item.token]:
                        yield Finding("unanswered", f"{item.place} {item.fields}")
                    if tokens[item.token] > wanted[item.token]:
                        yield Finding("answered-twice", f"{item.place} has {tokens[item.token]} committed results")
                for token in tokens - wanted:
                    if token not in wanted:
                        yield Finding("phantom", f"event {event} answers a record that did not ask for it: {token}")
            elif len(copies) != len(items):
                name = "unanswered" if len(copies) < len(items) else "answered-twice"
                yield Finding(name, f"{len(copies)} committed results for {[i.place for i in items]}")
        for event, copies in self.copies.items():
            if event not in self.events:
                yield Finding("phantom", f"{copies[0].place} answers nobody: {copies[0].result}")

    def excuses(self):
        """Trouble of database or broker is never an answer, nor is a bug of ours."""
        for record in self.first.values():
            if (record.result["error_reason"] or "").startswith("urn:error:sip-trunk:internal"):
                yield Finding("excuse", f"{record.place}: {record.result['error_reason']}")

    def replay_marks(self):
        """A copy is marked if and only if it answers another record than the one that the result was made for."""
        for event, copies in self.copies.items():
            plain = [record for record in copies if not record.replayed]
            if len(plain) != 1 and len(copies) == len(self.events.get(event, [])):
                yield Finding("replay-mark", f"{len(plain)} of {len(copies)} copies of {event} are not marked replayed")

    def copies_agree(self):
        """Also what was aborted, and what the ledger holds."""
        bodies = collections.defaultdict(dict)
        for record in self.history.uncommitted + self.history.committed:
            bodies[record.event_id].setdefault(record.body, record.place)
        for event, variants in bodies.items():
            is_list = any(item.kind == "list" for item in self.events.get(event, []))
            if len(variants) > 1 and not is_list:
                yield Finding("contradiction", f"event {event} has {len(variants)} bodies, at {list(variants.values())}")

    def dead_letters(self):
        """Each record that cannot be read has one dead letter with its bytes, and nothing else has one."""
        found = collections.Counter()
        for letter in self.history.dead:
            place = (letter.header("kafka_dlt-original-topic").decode(),
                     int.from_bytes(letter.header("kafka_dlt-original-partition"), "big"),
                     int.from_bytes(letter.header("kafka_dlt-original-offset"), "big"))
            found[place] += 1
            item = self.by_place.get(place)
            if item is None or item.kind != "dead":
                yield Finding("dead-letter-phantom", f"{letter.place} stands for {place}")
            elif (letter.key, letter.value) != (item.record.key, item.record.value):
                yield Finding("dead-letter-differs", f"{letter.place} is not what stood at {place}")
        for item in self.asked:
            if item.kind == "dead" and found[item.place] != 1:
                name = "dead-letter-missing" if found[item.place] == 0 else "dead-letter-twice"
                yield Finding(name, f"{item.place} has {found[item.place]} dead letters")

    def sequences(self):
        """1, 2, 3, ... in each account."""
        for account, records in self.accounts.items():
            wanted = 1
            for record in records:
                number = record.result["account_sequence"]
                if number != wanted:
                    name = "sequence-gap" if number > wanted else "sequence-repeat"
                    yield Finding(name, f"account {account}: {number} at {record.place} where {wanted} is due")
                wanted = number + 1

    def order(self):
        """Within a command partition an account's commands are numbered, and first answered, as they were sent."""
        last_number, last_answer = {}, {}
        answered = sorted((r for r in self.history.committed if not r.replayed), key=lambda r: (r.partition, r.offset))
        for record in answered:
            result = record.result
            if result["account_sequence"] == 0:
                continue
            lane = result["account_id"].lower(), result["source_topic"], result["source_partition"]
            number, offset = result["account_sequence"], result["source_offset"]
            if number <= last_number.get(lane, 0) or offset <= last_answer.get(lane, -1):
                yield Finding("order", f"{record.place}: sequence {number} of offset {offset} comes too late")
            last_number[lane], last_answer[lane] = number, offset

    def chains(self):
        for account, records in self.accounts.items():
            previous = NO_CHAIN
            for record in records:
                chain = chain_after(previous, record.body, record.result["account_sequence"])
                if record.result["chain"] != chain:
                    yield Finding("chain", f"account {account}: broken at {record.result['account_sequence']},"
                                           f" {record.place}")
                    break
                previous = chain

    def tails(self):
        """The stored end of each chain is that of the published one."""
        for account, (sequence, chain) in self.history.tails.items():
            records = self.accounts.get(account)
            last = records[-1].result if records else {"account_sequence": 0, "chain": NO_CHAIN}
            if (sequence, chain) != (last["account_sequence"], last["chain"]):
                yield Finding("tail", f"account {account}: stored {sequence}, published {last['account_sequence']}")

    def positions(self):
        for place, end in self.history.ends.items():
            for name, positions in (("K", self.history.published), ("D", self.history.stored)):
                if positions.get(place, 0) != end:
                    yield Finding("position", f"{place}: {name} is {positions.get(place, 0)}, the end {end}")
        for place, count in self.history.unstable.items():
            if count:
                yield Finding("open-transaction", f"{place}: {count} records are held back from readers")

    def ledgers(self):
        """One row for each event but lists, of a command that exists, with the bytes that were published."""
        rows = {}
        for row in self.history.ledger:
            item = self.by_place.get(row.place)
            key = row.account_id, row.command_id
            if key in rows:
                yield Finding("ledger-twice", f"{key}")
            if item is None or item.kind != "command" or key not in self._ledger_keys(item):
                yield Finding("ledger-without-command", f"{key} of {row.place}")
                continue
            rows[key] = row
            published = self.first.get(item.event_id)
            if published is not None and published.body != row.body:
                yield Finding("ledger-differs", f"{key}: not the bytes at {published.place}")
        for item in self.commands:
            if item.kind == "command" and not any(key in rows for key in self._ledger_keys(item)):
                yield Finding("ledger-missing", f"{item.place}")

    @staticmethod
    def _ledger_keys(item):
        account = item.fields["account_id"]
        keys = [(uuid.UUID(account) if is_uuid(account) else NIL, item.derived)]
        return [item.natural, *keys] if item.natural else keys

    def truth(self):
        """What is stored is what the results tell, and each result fits what the ones before it have told."""
        state = Stored(dict(self.history.before.numbers), dict(self.history.before.channels))
        for account, records in self.accounts.items():
            for record in records:
                if record.result["outcome"] == "REJECTED":
                    continue
                tell = fold_edit if record.result["command_type"] == "EditChannel" else fold_number
                for untruth in tell(state, account, record.result):
                    yield Finding("untruthful", f"{record.place}: {record.result['outcome']}, but {untruth}")
        for told, stored in ((state.numbers, self.history.after.numbers), (state.channels, self.history.after.channels)):
            for key in sorted(told.keys() | stored.keys(), key=str):
                if told.get(key) != stored.get(key):
                    yield Finding("effects", f"{key}: results tell {told.get(key)}, stored is {stored.get(key)}")


def fold_number(state, account, result):
    """Plays the result of a command about a number; yields what does not fit."""
    number = result["number"]
    owner, channel, number_type = state.numbers.get(number, (None, None, None))
    if owner != account:
        yield f"{number} is {owner}'s"
        return
    if result["command_type"] == "ConnectNumber" and result["outcome"] == "NO_CHANGE" and channel != result["channel_name"]:
        yield f"{number} is on {channel}, not on {result['channel_name']}"
    now = {"/channel_name": channel, "/number_type": number_type}
    yield from play(now, result["changes"], number)
    if result["outcome"] == "APPLIED":
        state.numbers[number] = owner, now["/channel_name"], now["/number_type"]


def fold_edit(state, account, result):
    """The same for an edit, which may give a channel another name."""
    name, applied = result["previous_channel_name"] or result["channel_name"], result["outcome"] == "APPLIED"
    if (account, name) not in state.channels:
        yield f"there is no channel {name}"
        return
    version, settings = state.channels[account, name]
    if result["channel_version"] != version + applied:
        yield f"{name} has version {version}, the result {result['channel_version']}"
    now = {**settings, "/new_name": name}
    yield from play(now, result["changes"], name)
    if applied:
        del state.channels[account, name]
        new_name = now.pop("/new_name")
        state.channels[account, new_name] = version + 1, {p: text for p, text in now.items() if text is not None}
        for number, (owner, channel, number_type) in state.numbers.items():
            if new_name != name and (owner, channel) == (account, name):
                state.numbers[number] = owner, new_name, number_type


def play(now, changes, name):
    for change in changes:
        if change["pointer"] == "/password":
            continue
        if now.get(change["pointer"]) != change["before"]:
            yield f"{name} had {now.get(change['pointer'])} at {change['pointer']}, not {change['before']}"
        now[change["pointer"]] = change["after"]


CHECKS = (Check.answers, Check.excuses, Check.replay_marks, Check.copies_agree, Check.dead_letters, Check.sequences,
          Check.order, Check.chains, Check.tails, Check.positions, Check.ledgers, Check.truth)


def check(history):
    """All findings."""
    state = Check(history)
    return [finding for one in CHECKS for finding in one(state)]


# --- from a stack -----------------------------------------------------------------------------------------------------


def stored(stack):
    """For History.before and after."""
    return Stored(
        {number: (account, channel, number_type) for number, account, channel, number_type in stack.rows(
            "select number, account_id, channel_name, number_type from siptrunk.number_view")},
        {(account, name): (version, texts(settings)) for account, name, version, settings in stack.rows(
            "select account_id, channel_name, version, settings from siptrunk.channel_view")})


def texts(settings, pointer=""):
    """Settings of the view as results write them: by pointer, as text, those that were never set left out."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= texts(value, f"{pointer}/{name}")
        elif value is not None and name != "password_set":
            found[f"{pointer}/{name}"] = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return found


def collect(stack, before):
    """The history of a stack that is quiet."""
    topics = stack.topics
    lanes = (topics.commands, topics.bulk)

    def per_partition(read):
        return {(topic, p): offset for topic in lanes for p, offset in read(topic).items()}

    unstable = stack.held_back()
    return History(
        cluster=stack.servers.admin.list_topics(timeout=20).cluster_id,
        commands=[record for topic in lanes for record in stack.read(topic)],
        committed=stack.read(topics.results),
        uncommitted=stack.read(topics.results, committed=False),
        dead=[record for topic in (topics.commands_dlt, topics.bulk_dlt) for record in stack.read(topic)],
        ledger=[LedgerRow(a, c, (topic, p, o), s, outcome, bytes(body)) for a, c, topic, p, o, s, outcome, body in stack.rows(
            "select account_id, command_id, source_topic, source_partition, source_offset, account_sequence, outcome,"
            " result from siptrunk.command_ledger")],
        tails={account: (sequence, bytes(chain)) for account, sequence, chain in stack.rows(
            "select account_id, last_sequence, last_chain from siptrunk.account_tail")},
        stored={(topic, p): offset for topic, p, offset in stack.rows(
            "select topic, partition, next_offset from siptrunk.partition_position")},
        published=per_partition(stack.committed),
        ends=per_partition(stack.ends),
        before=before,
        after=stored(stack),
        unstable=unstable,
    )


def summary(history):
    """One line for people: how much was looked at."""
    answers = history.committed
    outcomes = collections.Counter(record.result["outcome"] for record in answers if not record.replayed)
    delays = [(r.timestamp / 1000 - r.result["received_at"].timestamp()) for r in answers
              if isinstance(r.result["received_at"], datetime.datetime) and not r.replayed]
    return (f"{len(history.commands)} records, {len(answers)} committed results"
            f" ({sum(record.replayed for record in answers)} replayed), {len(history.dead)} dead letters,"
            f" {len(history.uncommitted) - len(answers)} aborted copies, {dict(outcomes)},"
            f" slowest answer after {max(delays, default=0):.1f} s")


def verify(stack, before, expected=()):
    """Fails with the findings when there are any but those of the names expected, each of which must be there; returns
    the history."""
    history = collect(stack, before)
    found = check(history)
    findings = [finding for finding in found if finding.name not in expected]
    assert {finding.name for finding in found} >= set(expected), f"not found: {expected}"
    assert not findings, f"{len(findings)} findings\n" + "\n".join(map(str, findings[:10]))
    return history


def verify_by_program(stack, *words, deadline_s=120):
    """Names of what siptrunkctl verify finds."""
    done = harness.run_program("siptrunkctl", [*stack.ctl_options(), "verify", "--json", *words], code=None, deadline_s=deadline_s)
    assert done.returncode in (0, 7), done.stderr
    return {json.loads(line)["name"] for line in done.stdout.splitlines()}


def decide_again(stack, deadline_s=120):
    """Folds the command log through the program's own rules, from the inventory on: in a database that knows nothing else,
    siptrunkctl repair decides every command again in the order of the published numbers, and stops when a verdict differs.
    What is stored there then must be what the workers have stored. Of a stack that is quiet."""
    with stack.another_database() as other:
        done = harness.run_program("siptrunkctl", [*other.ctl_options(), "repair"], code=None, deadline_s=deadline_s)
        assert done.returncode == 0, done.stdout + done.stderr
        assert stored(other) == stored(stack), "the fold of the command log differs"
        return done.stdout.strip().split("\n")[-2]
