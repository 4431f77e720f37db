"""siptrunkctl partitions: what it shows, and an operator's hold on one partition: nothing of it is stored or answered, its
neighbours of the same thread go on, and nothing is lost or put in another order."""

import json
import random
import re
import time

import pytest

import check
import harness
from probe import LISTEN, Probe
from traffic import Load, Traffic

LEDGER = "select count(*) from siptrunk.command_ledger where source_topic = %s and source_partition = %s"


@pytest.fixture
def partitions(stack, stack_ctl):
    """Calls it; without words: the objects of --json by (topic, partition)."""
    stack_ctl.settings["kafka.group.id"] = stack.group

    def run(*words, **more):
        done = stack_ctl("partitions", *(words or ["--json"]), **more)
        if words:
            return done
        return {(line["topic"], line["partition"]): line for line in map(json.loads, done.stdout.splitlines())}

    run.ctl = stack_ctl
    return run


def begin(stack, **sizes):
    traffic = Traffic(random.Random(7), **sizes)
    stack.load_inventory(traffic.inventory())
    return traffic, check.stored(stack)


def place(topic, partition=0):
    return f"{topic}/{partition}"


def seen_of(stack, topic, partition):
    """What the outside can see of the work on a partition: ledger rows, D, K, and first copies of results. Resends of its
    commands on the other lane are answered there."""
    [(rows,)] = stack.rows(LEDGER, topic, partition)
    [(next_offset,)] = stack.rows("select next_offset from siptrunk.partition_position where topic = %s and partition = %s",
                                  topic, partition)
    results = [r for r in stack.read_results(deadline_s=60)
               if (r.result["source_topic"], r.result["source_partition"]) == (topic, partition) and not r.replayed]
    return rows, next_offset, stack.committed(topic)[partition], len(results)


def wait_done(stack, topic, partition):
    harness.wait_for(f"{topic}/{partition} is done", lambda: stack.committed(topic)[partition] == stack.ends(topic)[partition],
                     60, 0.1)




# --- showing ----------------------------------------------------------------------------------------------------------


def test_shows_each_partition_of_both_lanes(stack, partitions):
    traffic, _ = begin(stack)
    topics = stack.topics
    before = partitions()
    assert sorted(before) == sorted((topic, p) for topic in (topics.commands, topics.bulk) for p in range(3))
    assert {(line["state"], line["owner"], line["epoch"], line["committed_offset"], line["next_offset"], line["lag"])
            for line in before.values()} == {("unowned", None, None, None, None, 0)}
    worker = stack.worker()
    stack.send(traffic.batch(30))
    stack.send(traffic.batch(10), topics.bulk)
    stack.wait_drained()
    ends = {topic: stack.ends(topic) for topic in (topics.commands, topics.bulk)}
    for (topic, partition), line in partitions().items():
        end = ends[topic][partition]
        assert (line["lane"], line["owner"], line["state"]) == ("bulk" if topic == topics.bulk else "interactive", "w1", "normal")
        assert line["epoch"] >= 1 and line["end"] == line["next_offset"] == (line["committed_offset"] or 0) == end
        assert line["lag"] == 0
    text = partitions(*"-- ".split()).stdout.splitlines()
    assert re.split(r" {2,}", text[0].strip())[0] == "TOPIC" and len(text) == 7 and "normal" in text[1]
    worker.terminate()
    stack.send(traffic.batch(30))
    after = partitions()
    assert {line["state"] for line in after.values()} == {"unowned"} and sum(line["lag"] for line in after.values()) == 30


def test_shows_what_is_wrong(stack, partitions):
    traffic, _ = begin(stack)
    worker = stack.worker()
    command, *_ = stack.send(traffic.batch(20))
    stack.wait_drained()
    worker.terminate()
    at = command.topic, command.partition
    stack.execute("insert into siptrunk.record_attempt select topic, partition, next_offset, 2 from siptrunk.partition_position"
                  " where topic = %s and partition = %s on conflict (topic, partition) do update set attempts = 2,"
                  " \"offset\" = excluded.\"offset\"", *at)
    line = partitions()[at]
    assert (line["state"], line["attempted_offset"], line["attempts"]) == ("attempts", line["next_offset"], 2)
    partitions("hold", place(*at), "--reason", "why not")
    assert partitions()[at]["state"] == "held"
    stack.execute("update siptrunk.partition_position set next_offset = 0 where topic = %s and partition = %s", *at)
    done = partitions("--json", code=7)
    assert [line["state"] for line in map(json.loads, done.stdout.splitlines())
            if (line["topic"], line["partition"]) == at] == ["diverged"]


def test_refuses_what_is_not_there(stack, partitions):
    topic = stack.topics.commands
    for wrong in ("nowhere/0", place(topic, 3), place(topic, -1), topic, place(topic, "x"), place(topic, "0x0"),
                  place(stack.topics.results), place(stack.topics.commands_dlt)):
        done = partitions("hold", wrong, "--reason", "test", code=3)
        assert f"{wrong} is no partition of a command topic" in done.stderr
        assert partitions("release", wrong, code=3)
    for words, said in ((["hold", place(topic)], "say why"), (["hold", place(topic), "--reason", ""], "1 to 200 bytes"),
                        (["hold", place(topic), "--reason", "x" * 201], "1 to 200 bytes"),
                        (["hold", place(topic), "--reason", "a\nb"], "without control"), (["hold", "--reason", "x"], "which one"),
                        (["release", place(topic), "--reason", "x"], "belongs to hold"), (["keep", place(topic)], "say hold or")):
        assert said in partitions(*words, code=2).stderr
    assert stack.rows("select count(*) from siptrunk.partition_position") == [(0,)]
    assert "was not held" in partitions("release", place(topic)).stdout


# --- holding ----------------------------------------------------------------------------------------------------------


def test_holds_one_partition_under_load_and_releases_it(stack, partitions):
    traffic, before = begin(stack, accounts=12)
    worker = stack.worker(http__listen=LISTEN)
    probe = Probe(worker)
    load = Load(stack, traffic, 150)
    load.start()
    topic, bulk = stack.topics.commands, stack.topics.bulk
    harness.wait_for("results come", lambda: stack.committed(topic)[1] > 20, 30, 0.1)
    for _ in range(3):
        partitions("hold", place(topic, 1), "--reason", "disk of the order system")
        held = seen_of(stack, topic, 1)
        assert held[1] == held[2]
        others = {p: stack.committed(topic)[p] for p in (0, 2)}
        harness.wait_for("the others go on", lambda: all(stack.committed(topic)[p] > others[p] + 30 for p in others), 30, 0.1)
        assert seen_of(stack, topic, 1) == held
        assert partitions()[topic, 1]["lag"] > 0
        harness.wait_for("the gauge", lambda: probe.metrics().by("siptrunk_partitions_held", "lane") == {("interactive",): 1})
        assert probe.get("/readyz").status == 200
        partitions("release", place(topic, 1))
        harness.wait_for("it goes on", lambda: stack.committed(topic)[1] > held[2], 20, 0.05)
    partitions("hold", place(bulk, 0), "--reason", "the other lane")
    harness.wait_for("the gauge", lambda: probe.metrics().by("siptrunk_partitions_held", "lane") == {("bulk",): 1})
    load.stop()
    partitions("release", place(bulk))
    stack.wait_drained()
    print(check.summary(check.verify(stack, before)))
    lines = [line for name in ("held", "released") for line in worker.events(name)]
    assert [(line["event"], line["topic"], line["partition"], line["reason"]) for line in lines] == [
        *[("held", topic, 1, "disk of the order system")] * 3, ("held", bulk, 0, "the other lane"),
        *[("released", topic, 1, "disk of the order system")] * 3, ("released", bulk, 0, "the other lane")]
    assert {line["error_id"] for line in worker.events("recover")} <= {"rebalance", "held"}
    assert len(worker.events("rebalance")) == 2


def test_found_and_released_without_any_record(stack, partitions):
    """An idle thread learns of both; one whose partitions are all held does too."""
    traffic, before = begin(stack)
    worker = stack.worker(threads__bulk=0)
    for partition in range(3):
        partitions("hold", place(stack.topics.commands, partition), "--reason", f"reason {partition}")
        worker.wait_event("held", partition=partition, reason=f"reason {partition}")
    stack.send(traffic.batch(30))
    partitions("release", place(stack.topics.commands, 2))
    wait_done(stack, stack.topics.commands, 2)
    assert stack.committed(stack.topics.commands)[0] == stack.committed(stack.topics.commands)[1] == 0
    for partition in range(2):
        partitions("release", place(stack.topics.commands, partition))
    stack.wait_drained()
    check.verify(stack, before)
    assert {line["error_id"] for line in worker.events("recover")} == {"rebalance"}


def test_survives_restarts_kills_and_rebalances(stack, partitions):
    traffic, before = begin(stack)
    topic = stack.topics.commands
    quick = {"kafka__session__timeout__ms": 2000, "kafka__heartbeat__interval__ms": 200}
    partitions("hold", place(topic, 2), "--reason", "before the first start")
    stack.send(traffic.batch(60))
    worker = stack.worker(**quick)
    worker.wait_event("held", topic=topic, partition=2, reason="before the first start")
    wait_done(stack, topic, 0)
    worker.kill()
    stack.send(traffic.batch(60))
    worker = stack.worker(**quick)
    wait_done(stack, topic, 1)
    other = stack.worker("w2", ready=False, **quick)
    other.wait_event("claimed")
    stack.send(traffic.batch(60))
    assert worker.terminate()[0] == 0
    wait_done(stack, topic, 0)
    wait_done(stack, topic, 1)
    assert seen_of(stack, topic, 2) == (0, 0, 0, 0)
    partitions("release", place(topic, 2))
    stack.wait_drained()
    check.verify(stack, before)


def test_nothing_is_answered_once_it_has_returned(stack, partitions):
    """Holds that come while batches are on their way: what was stored is answered before the command returns."""
    traffic, before = begin(stack)
    stack.worker(threads__bulk=0)
    load = Load(stack, traffic, 300)
    load.start()
    topic = stack.topics.commands
    for i in range(10):
        partition = i % 3
        assert "is held at offset" in partitions("hold", place(topic, partition), "--reason", "again").stdout
        ended = stack.ends(stack.topics.results, committed=True)
        [(next_offset,)] = stack.rows("select next_offset from siptrunk.partition_position where topic = %s and partition = %s",
                                      topic, partition)
        time.sleep(0.3)
        late = [r for r in stack.read_results() if r.offset >= ended[r.partition]
                and (r.result["source_topic"], r.result["source_partition"]) == (topic, partition) and not r.replayed]
        assert late == [] and stack.committed(topic)[partition] == next_offset
        partitions("release", place(topic, partition))
    load.stop()
    stack.worker("w2")
    stack.wait_drained()
    check.verify(stack, before)


def test_a_batch_that_is_on_its_way_finds_the_mark(stack, partitions):
    """Its records were taken before the mark came, and its fence waits for the one who sets it."""
    traffic, before = begin(stack)
    worker = stack.worker(threads__bulk=0)
    topic = stack.topics.commands
    stack.send(traffic.batch(30))
    stack.wait_drained()
    held = seen_of(stack, topic, 0)
    with stack.connect() as db:
        db.autocommit = False
        db.execute("update siptrunk.partition_position set held_since = now(), held_reason = 'late' where topic = %s"
                   " and partition = 0", (topic,))
        stack.send(traffic.batch(60))
        harness.wait_for("the fence waits", lambda: stack.rows(
            "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"), 30, 0.005)
        db.commit()
    worker.wait_event("recover", error_id="held")
    wait_done(stack, topic, 1)
    assert seen_of(stack, topic, 0) == held and held[1] > 0
    partitions("release", place(topic, 0))
    stack.wait_drained()
    check.verify(stack, before)


def test_waits_for_answers_that_may_be_on_their_way(stack, partitions):
    """As if a batch were stored and its reply still to come, until its owner begins anew."""
    traffic, _ = begin(stack)
    worker = stack.worker(threads__bulk=0)
    stack.send(traffic.batch(30))
    stack.wait_drained()
    at = stack.topics.commands, 1
    stack.execute("update siptrunk.partition_position set next_offset = next_offset + 1 where topic = %s and partition = %s", *at)
    holding = partitions.ctl.start("partitions", "hold", place(*at), "--reason", "wait")
    worker.wait_event("held")
    time.sleep(0.5)
    assert holding.poll() is None
    stack.rows("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
               " and application_name like '%%-interactive-0'")
    out, said = holding.communicate(timeout=60)
    assert holding.returncode == 0 and "will be answered after the release" in out, out + said


def test_says_when_stored_commands_are_left_unanswered(stack, partitions):
    """A worker was killed between its two transactions: nothing is on its way, and the answers come after the release."""
    traffic, before = begin(stack)
    worker = stack.worker(threads__bulk=0)
    stack.send(traffic.batch(30))
    stack.wait_drained()
    worker.kill()
    at = stack.topics.commands, 1
    stack.execute("update siptrunk.partition_position set next_offset = next_offset + 1 where topic = %s and partition = %s", *at)
    harness.wait_for("its session is gone", lambda: partitions()[at]["owner"] is None, 30, 0.1)
    out = partitions("hold", place(*at), "--reason", "killed").stdout
    assert "will be answered after the release" in out
    stack.execute("update siptrunk.partition_position set next_offset = next_offset - 1 where topic = %s and partition = %s", *at)
    partitions("release", place(*at))
    check.verify(stack, before)
