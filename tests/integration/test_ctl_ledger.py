"""siptrunkctl ledger: which rows go, which stay, and that neither a worker nor verify misses those that went."""

import json
import random
import re
import signal
import time

import pytest

import harness
from test_ctl_verify import make_history
from traffic import Load, Traffic

DAY_MS = 86_400_000
# Rows as if their commands had come so many days ago. What verify compares with the topics does not fit any more then.
AGE = ("update siptrunk.command_ledger set source_timestamp = source_timestamp - %s, applied_at = applied_at - %s"
       " where source_topic = %s and source_partition = %s and source_offset < %s")
# Rows of no account that is known, from offsets that are deleted.
MANY = ("insert into siptrunk.command_ledger (account_id, command_id, account_sequence, applied_at, source_offset,"
        " source_timestamp, result_schema, source_partition, source_topic, command_type, outcome, mac_key_id, mac, result)"
        " select gen_random_uuid(), gen_random_uuid(), 0, 0, 0, 0, 0, %s, %s, 'ConnectNumber', 'APPLIED', 'k', '',"
        " decode(repeat('00', 400), 'hex') from generate_series(1, %s)")


@pytest.fixture
def ledger(stack, stack_ctl):
    """Calls it; (rows, due, deleted), what it printed, and its complaints."""
    stack_ctl.settings["kafka.group.id"] = stack.group

    def run(*words, code=0, **more):
        done = stack_ctl("ledger", *words, code=code, **more)
        sums = re.search(r"^(\d+) rows?, (\d+) due, (\d+) deleted$", done.stdout, re.M)
        return tuple(map(int, sums.groups())) if sums else None, done.stdout, done.stderr

    run.ctl = stack_ctl
    return run


def age(stack, topic, partition, below, days=40):
    return stack.execute(AGE, days * DAY_MS, days * DAY_MS * 1000, topic, partition, below)


def delete_records(stack, topic, offsets):
    """As retention does."""
    parts = [harness.TopicPartition(topic, partition, offset) for partition, offset in offsets.items() if offset > 0]
    for future in stack.servers.admin.delete_records(parts).values():
        future.result(20)


def keys(stack):
    return set(stack.rows("select source_topic, source_partition, source_offset from siptrunk.command_ledger"))


def make_done(stack, count=60):
    traffic = Traffic(random.Random(9))
    stack.load_inventory(traffic.inventory())
    worker = stack.worker()
    for topic in (stack.topics.commands, stack.topics.bulk):
        stack.send([traffic.connect() for _ in range(count)], topic)
    stack.wait_drained()
    return traffic, worker


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_deletes_what_is_old_and_cannot_be_read_again(stack, ledger):
    make_done(stack)
    topic, bulk = stack.topics.commands, stack.topics.bulk
    before = keys(stack)
    assert ledger("purge", "--older-than", "1")[0] == (120, 0, 0)
    ends = stack.ends(topic)
    age(stack, topic, 0, ends[0])  # old, half of them below the log's start
    age(stack, bulk, 0, 10**6)  # old, all of them there to be read again
    delete_records(stack, topic, {0: ends[0] // 2, 1: ends[1]})  # of partition 1 none is old
    due = {key for key in before if key[:2] == (topic, 0) and key[2] < ends[0] // 2}
    assert due
    assert ledger("status", "--older-than", "30")[0] == ledger("purge", "--older-than", "30", "--dry-run")[0] == (120, len(due), 0)
    assert ledger("status")[0] == (120, len(due) + ends[1], 0), "without an age, all whose records are gone"
    assert ledger("purge", "--older-than", "50")[0] == (120, 0, 0)
    assert keys(stack) == before
    sums, out, _ = ledger("purge", "--older-than", "30")
    assert sums == (120, len(due), len(due)) and keys(stack) == before - due
    assert re.search(rf"{re.escape(topic)} +0 +{ends[0]} +{len(due)} +{len(due)}", out)
    assert ledger("purge", "--older-than", "30")[0] == (120 - len(due), 0, 0)


def test_keeps_what_was_not_answered(stack, ledger):
    """Its record is gone, but K is not beyond it: the result has not been published."""
    _, worker = make_done(stack)
    worker.terminate()  # it would tell what it knows of K once more
    topic, ends = stack.topics.commands, stack.ends(stack.topics.commands)
    for p in range(3):
        age(stack, topic, p, 10**6)
    delete_records(stack, topic, ends)
    ledger.ctl.settings["kafka.group.id"] = harness.unique("g")  # a group that stands nowhere
    stack.execute("update siptrunk.partition_position set committed_offset = 1 where topic = %s", topic)
    assert ledger("status", "--older-than", "30")[0] == (120, sum(end > 0 for end in ends.values()), 0)
    stack.execute("update siptrunk.partition_position set committed_offset = null where topic = %s", topic)
    assert ledger("status", "--older-than", "30")[0] == (120, 0, 0)


def test_counts_ages_from_the_oldest_command_that_waits(stack, ledger):
    """It may be a resend: 5 days ago, of a command that was 29 days old then."""
    traffic, worker = make_done(stack)
    topic = stack.topics.commands
    for p in range(3):
        age(stack, topic, p, 10**6, days=34)
    delete_records(stack, topic, stack.ends(topic))
    worker.terminate()
    waiting = traffic.connect()
    producer = stack.producer()
    producer.produce(topic, waiting.value, waiting.key, timestamp=int(time.time() * 1000) - 5 * DAY_MS)
    producer.flush(20)
    sums, _, said = ledger("purge", "--older-than", "30")
    assert sums == (120, 0, 0) and "has been waiting for its answer for 7" in said
    stack.worker()
    stack.wait_drained()
    assert ledger("purge", "--older-than", "30")[0] == (121, 60, 60)


def test_topics_that_do_not_exist_any_more(stack, ledger):
    make_done(stack, 10)
    stack.execute("update siptrunk.command_ledger set source_topic = 'of-old', source_timestamp = 0, applied_at = 0"
                  " where source_topic = %s", stack.topics.bulk)
    sums, out, _ = ledger("purge", "--older-than", "30")
    assert sums == (20, 0, 0) and "the topic does not exist any more: kept" in out
    assert "exists" in ledger("purge", "--older-than", "30", "--gone", stack.topics.bulk, code=3)[2]
    assert ledger("purge", "--older-than", "30", "--gone", "else", "--gone", "of-old")[0] == (20, 10, 10)
    stack.execute("update siptrunk.command_ledger set source_topic = %s, source_timestamp = 0, applied_at = 0",
                  stack.topics.results)
    sums, out, _ = ledger("purge", "--older-than", "30")
    assert sums == (10, 0, 0) and "no command topic of this configuration" in out


def test_refuses_another_cluster_and_a_diverged_installation(stack, ledger):
    make_done(stack, 5)
    stack.execute("update siptrunk.installation set state = 'diverged', state_reason = 'test'")
    assert "diverged" in ledger("purge", "--older-than", "30", code=7)[2]
    stack.execute("update siptrunk.installation set state = 'normal', state_reason = null, cluster_id = 'another'")
    assert "belongs to Kafka cluster another" in ledger("purge", "--older-than", "30", code=7)[2]
    for words, said in ((["purge"], "--older-than"), (["purge", "--older-than", "0"], "from 1 to"), (["keep"], "say purge or"),
                        (["status", "--dry-run"], "belongs to purge"), (["purge", "--older-than", "3d"], "whole number")):
        assert said in ledger(*words, code=2)[2]


# --- beside workers, and what verify says -----------------------------------------------------------------------------


def purge_below(stack, ledger, offsets):
    """What retention and age make due below these offsets of (topic, partition); purged."""
    for topic in {topic for topic, _ in offsets}:
        delete_records(stack, topic, {p: offset for (t, p), offset in offsets.items() if t == topic})
    for (topic, partition), offset in offsets.items():
        age(stack, topic, partition, offset)
    (_, due, deleted), _, _ = ledger("purge", "--older-than", "30")
    assert due == deleted > 0
    return deleted


def verified(ledger, *words):
    done = ledger.ctl("verify", "--json", *words, code=None)
    assert done.returncode in (0, 7), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_verify_misses_nothing_that_was_purged(stack, ledger):
    """With rows of the other lane left between those that went, resends that outlived their first copies, and results that
    retention took as well."""
    make_history(stack, 40)
    assert verified(ledger, "--complete")[0] == []
    topic = stack.topics.commands
    for share in (3, 2, 1):
        ends = stack.ends(topic)
        purge_below(stack, ledger, {(topic, p): ends[p] * (4 - share) // 4 for p in range(3)})
        found, counts = verified(ledger, "--complete")
        assert found == [] and "unchecked" in counts
    delete_records(stack, stack.topics.results, {p: end // 2 for p, end in stack.ends(stack.topics.results).items()})
    assert verified(ledger, "--complete")[0] == []
    delete_records(stack, stack.topics.results, stack.ends(stack.topics.results))
    assert verified(ledger, "--complete")[0] == []


def test_verify_still_misses_what_was_deleted_otherwise(stack, ledger):
    make_history(stack, 40)
    topic = stack.topics.commands
    ends = stack.ends(topic)
    purge_below(stack, ledger, {(topic, p): ends[p] // 2 for p in range(3)})
    [lost] = stack.rows("select source_topic, source_partition, source_offset from siptrunk.command_ledger"
                        " where source_topic = %s and account_sequence > 0 order by source_offset limit 1", topic)
    stack.execute("delete from siptrunk.command_ledger where source_topic = %s and source_partition = %s and source_offset = %s",
                  *lost)
    found, _ = verified(ledger)
    assert {finding["name"] for finding in found} >= {"ledger-missing", "sequence-gap"}
    assert lost in [(f.get("topic"), f.get("partition"), f.get("offset")) for f in found]


def test_purges_beside_workers_under_load_that_are_killed(stack, ledger):
    traffic, worker = make_done(stack, 100)
    lanes = (stack.topics.commands, stack.topics.bulk)
    former = {(topic, p): end for topic in lanes for p, end in stack.ends(topic).items()}
    purge_below(stack, ledger, former)
    stack.execute(MANY, 0, stack.topics.commands, 150_000)
    traffic.made.clear()  # what is sent again from now on is within the horizon
    load = Load(stack, traffic, 150)
    load.start()
    purge = ledger.ctl.start("ledger", "purge", "--older-than", "30")
    rows = "select count(*) from siptrunk.command_ledger where applied_at = 0"
    harness.wait_for("it deletes", lambda: stack.rows(rows)[0][0] < 140_000, 30, 0.01)
    purge.send_signal(signal.SIGINT)
    out, said = purge.communicate(timeout=30)
    left = stack.rows(rows)[0][0]
    assert purge.returncode == 130 and "interrupted" in said and 0 < left, out + said
    assert re.search(rf" {150_000 - left} deleted$", out, re.M), out
    for kill in range(2):
        worker.kill()
        worker = stack.worker(f"w{kill + 2}", kafka__session__timeout__ms=6000)
        purge = ledger.ctl.start("ledger", "purge", "--older-than", "30")
        if kill == 0:
            purge.kill()
        purge.communicate(timeout=60)
    assert purge.returncode == 0 and stack.rows(rows) == [(0,)]
    load.stop()
    stack.wait_drained(120)
    found, counts = verified(ledger, "--complete")
    assert found == [], found[:3]
    print(counts)
