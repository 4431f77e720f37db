"""A migration under one batch id (B1): every command answered once, the refusals as many as were planted, also when it is sent
again after a crash in its middle (B2)."""

import collections
import uuid

import check
import harness

ACCOUNTS = [str(uuid.uuid4()) for _ in range(20)]
COMMANDS, FAULTS_EACH = 10_000, 20
FAULTS = {
    "number-not-found": dict(number="+4999999999"), "number-format": dict(number="31500000000"),
    "channel-not-found": dict(channel_name="nowhere"), "required": dict(channel_name=""),
    "account-not-found": dict(account_id=str(uuid.uuid4())),
}


def number(index):
    return f"+3155{index:07d}"


def inventory():
    for account in ACCOUNTS:
        yield {"type": "account", "id": account, "name": "account"}
        yield {"type": "channel", "account_id": account, "name": "trunk", "subscription": "sip_trunk"}
    for index in range(COMMANDS):
        yield {"type": "number", "number": number(index), "account_id": ACCOUNTS[index % len(ACCOUNTS)], "kind": "fixed",
               "state": "available"}


def migration():
    """Ids that follow from the row, so that the file can be sent again; every hundredth command is bad, in five ways."""
    kinds = list(FAULTS.values())
    for index in range(COMMANDS):
        fields = {"command_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"row {index}")), "account_id": ACCOUNTS[index % len(ACCOUNTS)],
                  "batch_id": "migration", "channel_name": "trunk", "number": number(index)}
        yield harness.command("ConnectNumber", **{**fields, **(kinds[index // 100 % 5] if index % 100 == 99 else {})})


def counts(results):
    reasons = collections.Counter((r.result["error_reason"] or "").rsplit(":", 1)[-1] for r in results if not r.replayed)
    return reasons.pop("", 0), reasons


def test_b1_ten_thousand_connects_with_a_hundred_planted_faults(stack):
    stack.load_inventory(inventory())
    before = check.stored(stack)
    stack.worker(threads__bulk=2)
    stack.send(migration(), stack.topics.bulk)
    stack.wait_drained()
    results = stack.read_results(count=COMMANDS)
    assert len(results) == COMMANDS
    assert counts(results) == (COMMANDS - 100, dict.fromkeys(FAULTS, FAULTS_EACH))
    assert {r.result["batch_id"] for r in results} == {"migration"}
    check.verify(stack, before)
    assert stack.rows("select count(*) from siptrunk.number_view where state = 'connected'") == [(COMMANDS - 100,)]


def test_b2_sent_again_after_a_crash_in_the_middle(stack):
    stack.load_inventory(inventory())
    before = check.stored(stack)
    commands = list(migration())
    worker = stack.worker()
    stack.send(commands[: COMMANDS // 2], stack.topics.bulk)
    harness.wait_for("the worker to be in the middle", lambda: sum(stack.committed(stack.topics.bulk).values()) > COMMANDS // 10)
    worker.kill()
    stack.worker()
    stack.send([harness.again(command) for command in commands], stack.topics.bulk)
    stack.wait_drained()
    history = check.verify(stack, before)
    first = [r for r in history.committed if not r.replayed]
    again = [r for r in history.committed if r.replayed]
    assert (len(first), len(again)) == (COMMANDS, COMMANDS // 2)
    assert counts(first) == (COMMANDS - 100, dict.fromkeys(FAULTS, FAULTS_EACH))
    assert {r.event_id for r in again} <= {r.event_id for r in first}
    assert stack.rows("select count(*) from siptrunk.number_view where state = 'connected'") == [(COMMANDS - 100,)]


def test_two_parts_are_stored_apart_and_published_together(stack):
    """So that locks are not held longer, and a transaction of Kafka is had half as often."""
    stack.load_inventory(inventory())
    sent = [harness.command("ConnectNumber", account_id=ACCOUNTS[0], channel_name="trunk", number=number(index * len(ACCOUNTS)))
            for index in range(25)]
    stack.send(sent, stack.topics.bulk)
    stack.worker(threads__interactive=0, threads__bulk=1, batch__max__commands__bulk=10)
    stack.wait_drained()
    results = stack.read_results(count=len(sent))
    assert [r.result["command_id"] for r in results] == [command.fields["command_id"] for command in sent]
    assert [r.result["account_sequence"] for r in results] == list(range(1, 26))
    parts = stack.rows("select count(*) from siptrunk.command_ledger group by xmin::text order by min(account_sequence)")
    assert parts == [(10,), (10,), (5,)]
    first = results[0].offset  # a transaction's end takes an offset of its own
    assert [r.offset - first for r in results] == [*range(20), *range(21, 26)]
