"""Commands that the store refuses, and records that kill the process: answered or put aside, each alone, while their
neighbours do not notice. Trouble of servers is never held against a record."""

import random
import time

import pytest

import check
import harness
from traffic import Traffic

BUG = "urn:error:sip-trunk:internal:bug"
NUMBERS = 200
DEADLY = "die of this"


def begin(stack, **sizes):
    traffic = Traffic(random.Random(harness.seed(5)), **sizes)
    stack.load_inventory(traffic.inventory())
    return traffic, check.stored(stack)


def connects(traffic, count):
    """Each to a number of its own."""
    numbers = [(account, number) for account in traffic.accounts for number in traffic.numbers[account]]
    return [traffic.connect(account, number=number, channel_name="east") for account, number in numbers[:count]]


def refuse(stack, numbers):
    """A constraint that nobody foresaw."""
    listed = ", ".join(f"'{number}'" for number in numbers) or "''"
    stack.execute(f"alter table siptrunk.number add constraint planted check (e164 not in ({listed}) or channel_id is null)"
                  " not valid")


def bugs(results):
    return {r.result["command_id"]: r.result for r in results if r.result["error_reason"] == BUG}


def refused_places(count):
    rng = random.Random(harness.seed(5))
    yield "the first", [0]
    yield "the last", [count - 1]
    yield "neighbours", [6, 7, 8]
    yield "some", sorted(rng.sample(range(count), 5))
    yield "every second", list(range(0, count, 2))
    yield "all", list(range(count))


@pytest.mark.parametrize("name, places", list(refused_places(32)), ids=lambda value: value if isinstance(value, str) else "")
def test_what_the_store_refuses_is_answered_alone(name, places):
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack)
        commands = connects(traffic, 32)
        refused = [commands[place] for place in places]
        refuse(stack, [command.fields["number"] for command in refused])
        stack.send(commands)
        worker = stack.worker(threads__bulk=0)
        stack.wait_drained()
        history = check.verify(stack, before, ["excuse"])
        answers = bugs(history.committed)
        assert set(answers) == {command.fields["command_id"] for command in refused}
        assert len(history.committed) == len(commands)
        logged = {event["command_id"]: event for event in worker.events("refused-by-store")}
        assert set(logged) == set(answers)
        for command_id, result in answers.items():
            assert result["status_code"] == 500 and result["error_identifier"] == "urn:error:sip-trunk:internal"
            [error] = result["errors"]
            assert (error["reason"], error["pointer"]) == (BUG, "")
            assert logged[command_id]["trace"] in error["message"] and logged[command_id]["sqlstate"] == "23514"

        stack.execute("alter table siptrunk.number drop constraint planted")
        stack.send([harness.again(refused[0])])
        stack.wait_drained()
        assert [r.replayed for r in check.verify(stack, before, ["excuse"]).committed if r.result["command_id"] ==
                refused[0].fields["command_id"]] == [False, True], "a refusal is final, whatever its reason"
        worker.terminate()
        [(aborted,)] = stack.rows("select xact_rollback from pg_stat_database where datname = current_database()")
        assert aborted == len(refused), "the server names the row, so that each costs one transaction"


def test_a_later_command_sees_what_was_stored_and_nothing_of_what_was_refused():
    """In one batch: a refused connect, then another one of the same number, and both kinds beside good ones."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack)
        account = traffic.accounts[0]
        [bad, good, *_] = traffic.numbers[account]
        refuse(stack, [bad])
        stack.send([traffic.connect(account, number=number, channel_name=channel)
                    for number, channel in [(good, "east"), (bad, "east"), (good, "west"), (bad, "west"), (good, "east")]])
        stack.worker(threads__bulk=0)
        stack.wait_drained()
        results = [r.result for r in sorted(check.verify(stack, before, ["excuse"]).committed, key=lambda r: r.offset)]
        assert [r["outcome"] for r in results] == ["APPLIED", "REJECTED", "REJECTED", "REJECTED", "NO_CHANGE"]
        assert [r["error_reason"] for r in results[1:4]] == [BUG, "urn:error:sip-trunk:operator:number-not-available", BUG]
        assert [r["account_sequence"] for r in results] == [1, 2, 3, 4, 5]


def test_nobody_is_blamed_for_what_another_command_did_to_the_same_row():
    """The row that the store refuses was written by three commands of the batch; only the last one is to blame."""
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack)
        account = traffic.accounts[0]
        number = traffic.numbers[account][0]
        [(west,)] = stack.rows("select channel_id from siptrunk.channel where account_id = %s and name = 'west'", account)
        stack.execute(f"alter table siptrunk.number add constraint planted check (channel_id <> {west}) not valid")
        stack.send([traffic.connect(account, number=number, channel_name="east"), traffic.disconnect(account, number=number),
                    traffic.connect(account, number=number, channel_name="west")])
        stack.worker(threads__bulk=0)
        stack.wait_drained()
        results = [r.result for r in sorted(check.verify(stack, before, ["excuse"]).committed, key=lambda r: r.offset)]
        assert [r["outcome"] for r in results] == ["APPLIED", "APPLIED", "REJECTED"]
        assert results[2]["error_reason"] == BUG


# ---- what kills the process ----


def supervise(stack, until, limit=12, **settings):
    """Starts the worker again whenever it died, as a supervisor does. Returns how often it died."""
    deaths = 0
    worker = stack.worker(ready=False, environment=harness.armed(bug="die-of-record"), threads__bulk=0, **settings)
    deadline = time.monotonic() + 90
    while not until():
        assert time.monotonic() < deadline and deaths <= limit, f"died {deaths} times\n{worker.log()}"
        if worker.process.poll() is not None:
            deaths += 1
            worker = stack.worker(ready=False, environment=harness.armed(bug="die-of-record"), threads__bulk=0,
                                  **settings)
        time.sleep(0.05)
    return deaths


def drained(stack):
    def done():
        topic = stack.topics.commands
        return stack.committed(topic) == stack.ends(topic)
    return done


@pytest.mark.parametrize("place", [0, 17, 39])
def test_a_record_that_kills_becomes_a_dead_letter(place):
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        traffic, before = begin(stack, numbers=20)
        commands = connects(traffic, 40)
        commands[place] = traffic.connect(correlation_id=DEADLY)
        stack.send(commands)
        deaths = supervise(stack, drained(stack), batch__max__commands__interactive=64)
        assert 3 <= deaths <= 6
        [letter] = stack.read(stack.topics.commands_dlt)
        assert letter.header("kafka_dlt-exception-fqcn") == BUG.encode()
        assert letter.value == commands[place].value
        assert int.from_bytes(letter.header("kafka_dlt-original-offset"), "big") == commands[place].offset
        results = check.verify(stack, before, ["unanswered", "dead-letter-phantom", "ledger-missing"]).committed
        assert {r.result["command_id"] for r in results} == {c.fields["command_id"] for c in commands if c is not commands[place]}
        assert len(results) == 39
        print(f"{deaths} deaths of the record at {place}")


def test_a_survivor_goes_back_to_full_batches(stack):
    """Two deaths near no record at all: some records are taken alone, then batches are what has arrived."""
    traffic, before = begin(stack, numbers=50)
    stack.send(connects(traffic, 20))
    stack.worker(threads__bulk=0)
    stack.wait_drained()
    stack.execute("update siptrunk.partition_position set claims_without_progress = 2, owner_process = 'another'")
    for worker in stack.workers:
        worker.kill()
    worker = stack.worker(threads__bulk=0, batch__max__commands__interactive=16)
    assert [event["careful"] for event in worker.events("claimed")] == [harness.PARTITIONS]
    stack.send(connects(traffic, 200)[20:])
    stack.wait_drained()
    check.verify(stack, before)
    [(most,)] = stack.rows("select max(attempts) from siptrunk.record_attempt")
    assert most == 1
    alone = stack.rows("select count(*) from siptrunk.record_attempt")[0][0]
    assert 1 <= alone <= harness.PARTITIONS


def test_trouble_of_the_database_is_no_attempt(stack):
    """The one record that is taken alone meets a lock again and again, longer than three attempts last."""
    traffic, before = begin(stack)
    stack.send(connects(traffic, 1))
    stack.worker(threads__bulk=0)
    stack.wait_drained()
    for worker in stack.workers:
        worker.kill()
    stack.execute("update siptrunk.partition_position set claims_without_progress = 2")
    command = traffic.connect(traffic.accounts[0])
    waits = set()

    def waited():
        waits.update(stack.rows("select query_start from pg_stat_activity where datname = current_database()"
                                " and wait_event_type = 'Lock'"))
        return len(waits) >= 5

    with stack.connect() as other, other.transaction():
        other.execute("select from siptrunk.account_tail for update")
        stack.send([command])
        stack.worker(ready=False, threads__bulk=0)
        harness.wait_for("five waits for the lock", waited, 60, 0.2)
    stack.wait_drained()
    check.verify(stack, before)
    assert stack.read(stack.topics.commands_dlt) == []
    assert max(attempts for (attempts,) in stack.rows("select attempts from siptrunk.record_attempt")) <= 1
