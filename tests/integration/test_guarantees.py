"""What is promised about repeated (G5), racing (G8) and unreadable (G12) commands, and about positions, without any crash."""

import collections
import functools

from confluent_kafka import KafkaException

import check
import harness
from traffic import CHANNELS, Load, Traffic


def begin(stack, **sizes):
    traffic = Traffic(**sizes)
    stack.load_inventory(traffic.inventory())
    return traffic, check.stored(stack)


def outcomes(results):
    return collections.Counter((r.result["outcome"], r.result["error_reason"]) for r in results)


def test_five_copies_and_a_restart_make_one_change(stack):
    traffic, before = begin(stack)
    command = traffic.connect()
    worker = stack.worker()
    for copies in range(1, 6):
        stack.send([harness.again(command)], stack.topics.commands if copies % 2 else stack.topics.bulk)
        stack.read_results(count=copies)
        if copies == 3:
            worker.terminate()
            worker = stack.worker()
    stack.wait_drained()
    history = check.verify(stack, before)
    assert len({record.body for record in history.committed}) == 1
    assert collections.Counter(record.replayed for record in history.committed) == {False: 1, True: 4}
    assert len(history.ledger) == 1


def test_one_of_forty_racing_connects_wins(stack):
    """To two channels, by three workers, on both lanes and from all partitions."""
    traffic, before = begin(stack)
    [account, *_], number = traffic.accounts, traffic.numbers[traffic.accounts[0]][0]
    commands = [traffic.connect(account, number=number, channel_name=CHANNELS[i % 2]) for i in range(40)]
    for i, command in enumerate(commands):
        command.key = str(i).encode()  # so that no partition sees them all
    workers = [stack.worker(name, ready=False) for name in ("w1", "w2", "w3")]
    for worker in workers:
        worker.wait_event("claimed")
    stack.send(commands[::2])
    stack.send(commands[1::2], stack.topics.bulk)
    stack.wait_drained()
    history = check.verify(stack, before)
    [winner] = [r.result["channel_name"] for r in history.committed if r.result["outcome"] == "APPLIED"]
    assert outcomes(history.committed) == {
        ("APPLIED", None): 1, ("NO_CHANGE", None): 19,
        ("REJECTED", "urn:error:sip-trunk:operator:number-not-available"): 20}
    assert stack.rows("select channel_name from siptrunk.number_view where number = %s", number) == [(winner,)]


def test_records_that_cannot_be_read_hold_nothing_up(stack):
    traffic, before = begin(stack)
    stack.worker()
    records = [make() for _ in range(30) for make in (traffic.unreadable, traffic.tombstone, traffic.connect)]
    for record in records:
        record.key = b"one partition"
    stack.send(records)
    stack.wait_drained()
    history = check.verify(stack, before)
    assert (len(history.committed), len(history.dead)) == (30, 30)


def test_workers_come_and_go_under_load(stack):
    """With the group moving partitions between threads each time."""
    traffic, before = begin(stack, accounts=12)
    load = Load(stack, traffic, 100)
    load.start()
    workers = [stack.worker("w0", kafka__session__timeout__ms=2000, kafka__heartbeat__interval__ms=200)]
    for i in range(1, 4):
        joined = stack.worker(f"w{i}", ready=False, kafka__session__timeout__ms=2000, kafka__heartbeat__interval__ms=200)
        joined.wait_event("claimed")
        assert workers.pop(0).terminate()[0] == 0
        workers.append(joined)
    load.stop()
    stack.wait_drained()
    print(check.summary(check.verify(stack, before)))


# --- positions --------------------------------------------------------------------------------------------------------


def test_goes_on_where_it_was_when_the_group_was_deleted(stack):
    """As when nobody was there for longer than the broker keeps offsets: what was published is known to the database."""
    traffic, before = begin(stack)
    worker = stack.worker(kafka__session__timeout__ms=2000, kafka__heartbeat__interval__ms=200)
    stack.send(traffic.batch(20))
    stack.wait_drained()
    worker.terminate()
    for group in (stack.group, stack.group + "-bulk"):
        harness.wait_for(f"group {group} is empty", functools.partial(deleted, stack, group))
    stack.send(traffic.batch(20))
    stack.worker()
    stack.wait_drained()
    check.verify(stack, before)


def deleted(stack, group):
    """True when the group is gone; a static member keeps it from that until its session is over."""
    try:
        stack.servers.admin.delete_consumer_groups([group])[group].result(20)
    except KafkaException as error:
        assert error.args[0].name() in ("NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND"), error
        return error.args[0].name() == "GROUP_ID_NOT_FOUND"
    return True


def test_stores_nothing_when_the_database_has_lost_what_was_published(stack):
    traffic, _ = begin(stack)
    worker = stack.worker()
    stack.send(traffic.batch(20))
    stack.wait_drained()
    worker.terminate()
    with stack.connect() as db:
        db.execute("update siptrunk.partition_position set next_offset = next_offset - 1 where topic = %s"
                   " and next_offset > 0", (stack.topics.commands,))
        [(rows,)] = db.execute("select count(*) from siptrunk.command_ledger").fetchall()
    stack.send(traffic.batch(20))
    worker = stack.worker(ready=False)
    event = worker.wait_event("recover", error_id="diverged")
    assert stack.topics.commands in event["msg"]
    [(state, reason, now)] = stack.rows("select state, state_reason, (select count(*) from siptrunk.command_ledger)"
                                        " from siptrunk.installation")
    assert (state, now) == ("diverged", rows) and stack.topics.commands in reason
    assert worker.terminate()[0] == 0
