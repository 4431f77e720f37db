"""The checker itself: a history made by hand is clean, and each single damage to it is found under its name."""

import copy
import dataclasses
import datetime
import uuid

import pytest

import check
import harness

CLUSTER = "cluster-of-the-test"
ACCOUNT, OTHER = (str(uuid.UUID(int=n)) for n in (1, 2))
NUMBER, SECOND = "+31500000001", "+31500000002"
COMMANDS, BULK, RESULTS = "commands", "bulk", "results"
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class Maker:
    """Plays an errorless worker on one partition a topic."""

    def __init__(self):
        self.ends = {COMMANDS: 0, BULK: 0, RESULTS: 0, "dlt": 0}
        self.state = check.Stored({NUMBER: (uuid.UUID(ACCOUNT), None, None), SECOND: (uuid.UUID(OTHER), None, None)},
                                  {(uuid.UUID(ACCOUNT), "name"): (1, {}), (uuid.UUID(OTHER), "name"): (1, {})})
        self.tails = {uuid.UUID(account): (0, check.NO_CHAIN) for account in (ACCOUNT, OTHER)}
        self.history = check.History(CLUSTER, [], [], [], [], [], self.tails, {}, {}, {},
                                     copy.deepcopy(self.state), self.state)

    def record(self, topic, key, value, headers):
        offset = self.ends[topic]
        self.ends[topic] += 1
        return harness.Record(topic, 0, offset, 1_700_000_000_000 + offset, key, value, headers)

    def receive(self, made, topic=COMMANDS):
        headers = [(check.TOKEN, f"token-{topic}-{self.ends[topic]}".encode())]
        record = self.record(topic, made.key, made.value, headers)
        self.history.commands.append(record)
        return record

    def connect(self, outcome="APPLIED", account=ACCOUNT, number=NUMBER, command_id=None, topic=COMMANDS):
        made = harness.command("ConnectNumber", account_id=account, number=number, channel_name="name",
                               command_id=command_id or str(uuid.uuid4()))
        record = self.receive(made, topic)
        event = uuid.uuid5(uuid.UUID(account), made.fields["command_id"])
        key = uuid.UUID(made.fields["command_id"])
        if any((row.account_id, row.command_id) == (uuid.UUID(account), key) for row in self.history.ledger):
            event = key = check.derived_id(CLUSTER, record)
        owner, channel, _ = self.state.numbers[number]
        changes = []
        if outcome == "APPLIED":
            changes = [{"pointer": "/channel_name", "before": channel, "after": "name"}]
            self.state.numbers[number] = owner, "name", None
        answer = self.answer(record, made, event, outcome, changes)
        self.history.ledger.append(check.LedgerRow(uuid.UUID(account), key, record.place,
                                                   answer.result["account_sequence"], outcome, answer.body))
        return record, answer

    def edit(self, account=ACCOUNT, new_name="renamed", area_code="036"):
        """A channel gets another name, which its numbers then show, and a setting."""
        account_id = uuid.UUID(account)
        made = harness.command("EditChannel", account_id=account, channel_name="name", new_name=new_name, area_code=area_code)
        record = self.receive(made)
        version, _ = self.state.channels.pop((account_id, "name"))
        self.state.channels[account_id, new_name] = version + 1, {"/area_code": area_code}
        for number, (owner, channel, kind) in self.state.numbers.items():
            if (owner, channel) == (account_id, "name"):
                self.state.numbers[number] = owner, new_name, kind
        changes = [{"pointer": "/new_name", "before": "name", "after": new_name},
                   {"pointer": "/area_code", "before": None, "after": area_code}]
        event = uuid.uuid5(account_id, made.fields["command_id"])
        answer = self.answer(record, made, event, "APPLIED", changes, command_type="EditChannel", channel_name=new_name,
                             previous_channel_name="name", channel_version=version + 1)
        self.history.ledger.append(check.LedgerRow(account_id, uuid.UUID(made.fields["command_id"]), record.place,
                                                   answer.result["account_sequence"], "APPLIED", answer.body))

    def answer(self, record, made, event, outcome, changes, **more):
        account = uuid.UUID(made.fields["account_id"])
        last, previous = self.tails[account]
        rejected = outcome == "REJECTED"
        value = {
            "event_id": str(event), "command_id": made.fields["command_id"], "account_id": str(account),
            "command_type": "ConnectNumber", "outcome": outcome, "status_code": 422 if rejected else 201,
            "error_identifier": "urn:x" if rejected else None, "error_message": "x" if rejected else None,
            "error_reason": "urn:x:y" if rejected else None, "errors": [], "warnings": [], "channel_name": "name",
            "number": made.fields.get("number"), "number_as_received": made.fields.get("number"), "changes": changes,
            "account_sequence": last + 1, "received_at": EPOCH, "applied_at": EPOCH, "source_topic": record.topic,
            "source_partition": record.partition, "source_offset": record.offset, "chain": check.NO_CHAIN,
            **more,
        }
        body = harness.RESULT_SCHEMA.encode(value)[10:]
        chain = check.chain_after(previous, body, last + 1)
        self.tails[account] = last + 1, chain
        return self.publish(record, harness.RESULT_SCHEMA.encode({**value, "chain": chain}))

    def publish(self, record, framed, replayed=False):
        headers = [(check.TOKEN, record.header(check.TOKEN)), *([("replayed", b"true")] if replayed else [])]
        answer = self.record(RESULTS, record.key, framed, headers)
        self.history.committed.append(answer)
        self.history.uncommitted.append(answer)
        return answer

    def resend(self, record, answer, topic=COMMANDS):
        self.publish(self.receive(harness.raw(record.value, record.key), topic), answer.value, replayed=True)

    def unreadable(self):
        record = self.receive(harness.raw(b"\xc3\x01 no such schema"))
        where = [("kafka_dlt-original-topic", record.topic.encode()),
                 ("kafka_dlt-original-partition", record.partition.to_bytes(4, "big")),
                 ("kafka_dlt-original-offset", record.offset.to_bytes(8, "big"))]
        self.history.dead.append(self.record("dlt", record.key, record.value, where))

    def done(self):
        ends = {(topic, 0): self.ends[topic] for topic in (COMMANDS, BULK)}
        self.history.ends, self.history.stored, self.history.published = ends, dict(ends), dict(ends)
        return self.history


def clean():
    """Two accounts, both lanes: applied, no change, rejected, a resend, a reused id, an edit, an unreadable record."""
    maker = Maker()
    first = maker.connect()
    maker.unreadable()
    maker.connect("NO_CHANGE")
    maker.resend(*first)
    maker.connect("REJECTED")
    maker.connect(account=OTHER, number=SECOND, topic=BULK)
    last = maker.connect("NO_CHANGE")
    maker.resend(*last, topic=BULK)
    reused = harness.COMMAND_SCHEMAS["DisconnectNumber"].encode(
        {"command_id": first[1].result["command_id"], "account_id": ACCOUNT, "number": NUMBER})
    made = harness.Command(ACCOUNT.encode(), reused, fields={"account_id": ACCOUNT, "number": NUMBER,
                                                             "command_id": first[1].result["command_id"]})
    record = maker.receive(made)
    event = check.derived_id(CLUSTER, record)
    answer = maker.answer(record, made, event, "REJECTED", [])
    maker.history.ledger.append(check.LedgerRow(uuid.UUID(ACCOUNT), event, record.place,
                                                answer.result["account_sequence"], "REJECTED", answer.body))
    maker.edit()
    return maker.done()


def edited(record, **changes):
    """The result with other values, its chain left as it is."""
    return dataclasses.replace(record, value=harness.RESULT_SCHEMA.encode({**record.result, **changes}))


def applied(history):
    return next(i for i, record in enumerate(history.committed) if record.result["outcome"] == "APPLIED")


def drop_result(history):
    history.committed.pop(3)


def copy_result(history):
    history.committed.append(dataclasses.replace(history.committed[0], offset=99))


def copy_result_of_an_unmarked_record(history):
    """As `copy_result`, for records that carry no token."""
    for record in history.commands + history.committed:
        record.headers = [item for item in record.headers if item[0] != check.TOKEN]
    copy_result(history)


def invent_result(history):
    history.committed.append(edited(history.committed[0], event_id=str(uuid.uuid4()), account_sequence=0))


def alter_an_aborted_copy(history):
    history.uncommitted.append(edited(history.committed[0], channel_name="other"))


def alter_a_published_result(history):
    i = applied(history)
    history.committed[i] = edited(history.committed[i], actor="somebody")


def drop_an_event_in_the_middle(history):
    place = history.committed[1].result["source_offset"]
    history.committed.pop(1)
    history.commands = [r for r in history.commands if (r.topic, r.offset) != (COMMANDS, place)]


def repeat_a_sequence(history):
    history.committed[1] = edited(history.committed[1], account_sequence=1)


def forget_a_mark(history):
    i = next(i for i, record in enumerate(history.committed) if record.replayed)
    record = history.committed[i]
    history.committed[i] = dataclasses.replace(record, headers=[h for h in record.headers if h[0] != "replayed"])


def swap_two_answers(history):
    a, b = history.committed[0], history.committed[1]
    a.offset, b.offset = b.offset, a.offset


def leave_k_behind(history):
    history.published[COMMANDS, 0] -= 1


def leave_d_behind(history):
    history.stored[BULK, 0] -= 1


def run_k_ahead(history):
    history.published[COMMANDS, 0] += 1


def invent_a_ledger_row(history):
    history.ledger.append(dataclasses.replace(history.ledger[0], command_id=uuid.uuid4(), place=(COMMANDS, 0, 77)))


def drop_a_ledger_row(history):
    history.ledger.pop(1)


def alter_a_ledger_row(history):
    history.ledger[1] = dataclasses.replace(history.ledger[1], body=history.ledger[0].body)


def drop_an_effect(history):
    history.after.numbers[NUMBER] = history.before.numbers[NUMBER]


def invent_an_effect(history):
    history.after.numbers[SECOND] = uuid.UUID(OTHER), "another", None


def claim_what_is_not_so(history):
    history.before.numbers[SECOND] = uuid.UUID(OTHER), "another", None


def drop_a_setting(history):
    history.after.channels[uuid.UUID(ACCOUNT), "renamed"] = 2, {}


def raise_a_version(history):
    history.after.channels[uuid.UUID(ACCOUNT), "renamed"] = 3, {"/area_code": "036"}


def keep_a_name(history):
    history.after.channels[uuid.UUID(ACCOUNT), "name"] = history.after.channels.pop((uuid.UUID(ACCOUNT), "renamed"))


def begin_with_another_setting(history):
    history.before.channels[uuid.UUID(ACCOUNT), "name"] = 1, {"/area_code": "040"}


def begin_with_another_version(history):
    history.before.channels[uuid.UUID(ACCOUNT), "name"] = 7, {}


def drop_a_dead_letter(history):
    history.dead.clear()


def copy_a_dead_letter(history):
    history.dead.append(dataclasses.replace(history.dead[0], offset=9))


def alter_a_dead_letter(history):
    history.dead[0] = dataclasses.replace(history.dead[0], value=b"other")


def bury_a_living_command(history):
    letter = history.dead[0]
    headers = [h for h in letter.headers if h[0] != "kafka_dlt-original-offset"]
    history.dead.append(dataclasses.replace(letter, headers=[*headers, ("kafka_dlt-original-offset", bytes(8))]))


def hold_results_back(history):
    history.unstable[RESULTS, 0] = 3


def blame_the_database(history):
    i = next(i for i, record in enumerate(history.committed) if record.result["outcome"] == "REJECTED")
    history.committed[i] = edited(history.committed[i], error_reason="urn:error:sip-trunk:internal:bug")


def tear_the_tail(history):
    history.tails[uuid.UUID(ACCOUNT)] = (1, check.NO_CHAIN)


@pytest.mark.parametrize("damage, name", [
    (drop_result, "unanswered"),
    (copy_result, "answered-twice"),
    (copy_result_of_an_unmarked_record, "answered-twice"),
    (invent_result, "phantom"),
    (alter_an_aborted_copy, "contradiction"),
    (alter_a_published_result, "chain"),
    (drop_an_event_in_the_middle, "sequence-gap"),
    (repeat_a_sequence, "sequence-repeat"),
    (forget_a_mark, "replay-mark"),
    (swap_two_answers, "order"),
    (leave_k_behind, "position"),
    (leave_d_behind, "position"),
    (run_k_ahead, "position"),
    (invent_a_ledger_row, "ledger-without-command"),
    (drop_a_ledger_row, "ledger-missing"),
    (alter_a_ledger_row, "ledger-differs"),
    (drop_an_effect, "effects"),
    (invent_an_effect, "effects"),
    (claim_what_is_not_so, "untruthful"),
    (drop_a_setting, "effects"),
    (raise_a_version, "effects"),
    (keep_a_name, "effects"),
    (begin_with_another_setting, "untruthful"),
    (begin_with_another_version, "untruthful"),
    (drop_a_dead_letter, "dead-letter-missing"),
    (copy_a_dead_letter, "dead-letter-twice"),
    (alter_a_dead_letter, "dead-letter-differs"),
    (bury_a_living_command, "dead-letter-phantom"),
    (hold_results_back, "open-transaction"),
    (tear_the_tail, "tail"),
    (blame_the_database, "excuse"),
], ids=lambda value: getattr(value, "__name__", None))
def test_names_each_damage(damage, name):
    history = copy.deepcopy(clean())
    damage(history)
    assert name in {finding.name for finding in check.check(history)}


def test_is_content_with_a_clean_history():
    history = clean()
    assert check.check(history) == []
    assert len(history.committed) == 9 and len(history.dead) == 1


def test_any_result_that_is_dropped_or_copied_is_found():
    count = len(clean().committed)
    for i in range(count):
        dropped, copied = clean(), clean()
        dropped.committed.pop(i)
        copied.committed.append(dataclasses.replace(copied.committed[i], offset=99))
        assert "unanswered" in {finding.name for finding in check.check(dropped)}
        assert "answered-twice" in {finding.name for finding in check.check(copied)}
