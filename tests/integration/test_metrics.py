"""What /metrics says, against what was sent and what came of it, as Kafka and PostgreSQL have it."""

import collections
import random
import re
import threading

import confluent_kafka
import pytest

import harness
from probe import LISTEN, Probe
from traffic import Traffic

COUNT = 300  # records of each lane
DOCUMENTED = harness.ROOT / "docs" / "metrics.md"
LANES = ("interactive", "bulk")
POSITIONS = ("siptrunk_stored_offset", "siptrunk_committed_offset", "siptrunk_consumer_lag_messages")
STAGES = ("decode", "load", "decide", "store", "reply")


@pytest.fixture
def traffic(stack):
    made = Traffic(random.Random(11))
    stack.load_inventory(made.inventory())
    return made


@pytest.fixture
def bulk_results(stack):
    """A results topic of the bulk lane's own: a copy says where its command stood first, not on which lane it came."""
    name = harness.unique("bulk-results")
    harness.create_topics(stack.servers, {name: harness.PARTITIONS})
    yield name
    stack.servers.admin.delete_topics([name], operation_timeout=0, request_timeout=5)


class Scraping(threading.Thread):
    """Scrapes on and on; what it saw fall is in fallen."""

    def __init__(self, probe):
        super().__init__(daemon=True)
        self.probe, self.done = probe, threading.Event()
        self.count, self.fallen, self.error = 0, [], None

    def run(self):
        try:
            former = self.probe.metrics()
            while not self.done.wait(0.02):
                now = self.probe.metrics()
                self.fallen += now.falls_below(former)
                former, self.count = now, self.count + 1
        except Exception as error:  # shown by the test
            self.error = error

    def stop(self):
        self.done.set()
        self.join(30)
        assert self.error is None and self.fallen == [] and self.count > 3, (self.error, self.fallen, self.count)


def wait_for_counts(probe, records):
    """The metrics once as many records were counted."""
    seen = []

    def look():
        seen[:] = [probe.metrics()]
        return sum(seen[0].by("siptrunk_batch_size_messages_sum", "lane").values()) == records and seen[0]

    return harness.wait_for(lambda: f"{records} records are counted, "
                            f"not {seen[0].by('siptrunk_batch_size_messages_sum', 'lane')}", look, 30, 0.1)


def expected_answers(stack, bulk_results):
    """(commands, errors) as the results topics have them."""
    commands, errors = collections.Counter(), collections.Counter()
    for lane, topic in zip(LANES, (stack.topics.results, bulk_results)):
        for record in stack.read(topic):
            result = record.result
            outcome = "replayed" if record.replayed else result["outcome"].lower()
            commands[lane, result["command_type"], outcome] += 1
            if outcome == "rejected":
                errors[lane, result["error_reason"].rsplit(":", 1)[1]] += 1
    return commands, errors


def expected_dead_letters(stack):
    counts = collections.Counter()
    for lane, topic in zip(LANES, (stack.topics.commands_dlt, stack.topics.bulk_dlt)):
        for record in stack.read(topic):
            counts[lane, record.header("kafka_dlt-exception-fqcn").decode().rsplit(":", 1)[1]] += 1
    return counts


def test_counts_what_came_of_each_record(stack, traffic, bulk_results):
    worker = stack.worker(http__listen=LISTEN, topics__results__bulk=bulk_results, threads__interactive=2,
                          batch__max__commands__bulk=5)
    probe = Probe(worker)
    scraping = Scraping(probe)
    scraping.start()
    sent, tombstones = 0, {}
    for lane, topic in zip(LANES, (stack.topics.commands, stack.topics.bulk)):
        records = traffic.batch(COUNT) + [traffic.connect(dry_run=True) for _ in range(4)]
        stack.send(records, topic)
        sent += len(records)
        tombstones[lane,] = sum(record.value is None for record in records)
    stack.wait_drained()
    metrics = wait_for_counts(probe, sent)
    scraping.stop()
    commands, errors = expected_answers(stack, bulk_results)
    assert {outcome for _, _, outcome in commands} == {"applied", "no_change", "rejected", "would_apply", "replayed"}
    assert metrics.by("siptrunk_commands_total", "lane", "type", "outcome") == commands
    assert len(errors) > 8 and metrics.by("siptrunk_errors_total", "lane", "reason") == errors
    dead_letters = expected_dead_letters(stack)
    assert len(dead_letters) >= 2 and metrics.by("siptrunk_dead_letters_total", "lane", "reason") == dead_letters
    assert metrics.by("siptrunk_tombstones_total", "lane") == tombstones
    assert sum(map(sum, (commands.values(), dead_letters.values(), tombstones.values()))) == sent
    look_at_batches(metrics, sent)
    look_at_the_calm(metrics)
    look_at_positions(probe, stack)


def look_at_batches(metrics, sent):
    batches = metrics.by("siptrunk_batch_size_messages_count", "lane")
    assert sum(metrics.by("siptrunk_batch_size_messages_sum", "lane").values()) == sent
    assert batches["bulk",] >= COUNT // 10, "a batch of the bulk lane holds two parts of 5"
    largest = {le: n for (lane, le), n in metrics.by("siptrunk_batch_size_messages_bucket", "lane", "le").items()
               if lane == "bulk"}
    assert largest["10"] == largest["+Inf"] == batches["bulk",] and largest.get("5", 0) < largest["10"]
    for lane in LANES:
        for stage in STAGES:
            labels = {"lane": lane, "stage": stage}
            count = metrics.value("siptrunk_stage_duration_seconds_count", **labels)
            whole = lane == "interactive" or stage in ("decode", "reply")  # of batches, else of one or two parts of each
            assert count == batches[lane,] if whole else batches[lane,] < count <= 2 * batches[lane,]
            assert 0 < metrics.value("siptrunk_stage_duration_seconds_sum", **labels) < 60
            assert metrics.value("siptrunk_stage_cpu_seconds_count", **labels) == count
        spent = [sum(metrics.value(f"siptrunk_stage_{what}_seconds_sum", lane=lane, stage=stage) for stage in STAGES)
                 for what in ("cpu", "duration")]
        assert 0 < spent[0] <= spent[1]


def look_at_positions(probe, stack):
    """These are shown twice a second."""
    stored = {(topic, str(partition)): offset for topic, partition, offset
              in stack.rows("select topic, partition, next_offset from siptrunk.partition_position where next_offset > 0")}
    committed = {(topic, str(partition)): offset for topic in (stack.topics.commands, stack.topics.bulk)
                 for partition, offset in stack.committed(topic).items() if offset}
    assert len(stored) > 3 and stored == committed

    def shown():
        metrics = probe.metrics()
        assert sum(name == POSITIONS[2] for name, _ in metrics.samples) == 2 * harness.PARTITIONS
        return [metrics.by(name, "topic", "partition") for name in POSITIONS]

    harness.wait_for(lambda: f"{stored} is shown, not {shown()}", lambda: shown() == [stored, committed, {}], 20, 0.1)


def look_at_the_calm(metrics):
    assert metrics.value("siptrunk_database_up") == metrics.value("siptrunk_broker_up") == 1
    assert metrics.by("siptrunk_threads", "lane") == {("interactive",): 2, ("bulk",): 1}
    assert metrics.by("siptrunk_threads_ready", "lane") == {("interactive",): 2, ("bulk",): 1}
    assert {error_id for _, error_id in metrics.by("siptrunk_recoveries_total", "lane", "error_id")} == {"rebalance"}
    assert metrics.by("siptrunk_epochs_lost_total", "lane") == metrics.by("siptrunk_producers_rebuilt_total", "lane") == {}


def test_lag_is_what_has_not_been_answered(stack, traffic):
    """A transaction of somebody else holds the accounts, so that nothing is answered while it is open."""
    probe = Probe(stack.worker(http__listen=LISTEN, threads__bulk=0))
    stack.send([traffic.connect()])
    wait_for_counts(probe, 1)

    def lag():
        return sum(probe.metrics().by("siptrunk_consumer_lag_messages", "topic", "partition").values())

    with stack.connect() as db, db.transaction():
        db.execute("select from siptrunk.account_tail for update")
        stack.send([traffic.connect() for _ in range(50)])
        harness.wait_for(lambda: f"a lag of 50, not {lag()}", lambda: lag() == 50, 30, 0.2)
    harness.wait_for("the lag is gone", lambda: lag() == 0, 30, 0.2)
    metrics = wait_for_counts(probe, 51)
    assert metrics.value("siptrunk_recoveries_total", lane="interactive", error_id="postgres-lock-timeout") > 0


def test_counts_replies_that_were_asked_for_in_vain(stack, traffic):
    usable, missing = harness.unique("replies"), harness.unique("missing")
    harness.create_topics(stack.servers, {usable: harness.PARTITIONS})
    probe = Probe(stack.worker(http__listen=LISTEN, replies__allowed_topics=f"{usable},{missing}"))
    good = ("kafka_replyTopic", usable.encode())
    beyond = ("kafka_replyPartition", (99).to_bytes(4, "big"))
    asked = [[good], [good, beyond], [("kafka_replyTopic", missing.encode())], [("kafka_replyTopic", b"else")],
             [("REPLY_TOPIC", b"else")], [("kafka_replyTopic", stack.topics.results.encode())], []]
    records = [traffic.connect() for _ in asked]
    for record, headers in zip(records, asked):
        record.headers += headers
    stack.send(records)
    metrics = wait_for_counts(probe, len(records))
    assert metrics.by("siptrunk_replies_left_out_total", "lane", "problem") == {
        ("interactive", "no-partition"): 1, ("interactive", "topic-unusable"): 1, ("interactive", "not-allowed"): 2}


def test_counts_a_reply_topic_that_went_away(stack, traffic):
    topic = harness.unique("replies")
    harness.create_topics(stack.servers, {topic: harness.PARTITIONS})
    probe = Probe(stack.worker(http__listen=LISTEN, replies__allowed_topics=topic))
    for future in stack.servers.admin.delete_topics([topic], operation_timeout=10).values():
        future.result(20)
    record = traffic.connect()
    record.headers.append(("kafka_replyTopic", topic.encode()))
    stack.send([record])
    metrics = wait_for_counts(probe, 1)
    assert metrics.by("siptrunk_replies_left_out_total", "lane", "problem") == {("interactive", "topic-unusable"): 1}


def test_counts_an_epoch_that_was_lost(stack, traffic):
    probe = Probe(stack.worker(http__listen=LISTEN, threads__bulk=0))
    stack.send([traffic.connect()])
    wait_for_counts(probe, 1)
    stack.rows("update siptrunk.partition_position set epoch = epoch + 1 returning epoch")
    stack.send([traffic.connect()])
    metrics = wait_for_counts(probe, 2)
    assert metrics.by("siptrunk_epochs_lost_total", "lane") == {("interactive",): 1}
    assert metrics.value("siptrunk_recoveries_total", lane="interactive", error_id="fenced") == 1


def test_counts_a_producer_that_was_replaced(stack, traffic):
    """Somebody else begins with its transactional ids, which the broker takes for its successor."""
    probe = Probe(stack.worker(http__listen=LISTEN, threads__bulk=0))
    stack.send([traffic.connect()])
    wait_for_counts(probe, 1)
    for name in (f"{stack.group}-w1-interactive-0", f"{stack.group}-w1-interactive-0-b"):  # they take turns
        confluent_kafka.Producer({"bootstrap.servers": stack.servers.bootstrap, "transactional.id": name}).init_transactions(20)
    stack.send([traffic.connect()])
    metrics = wait_for_counts(probe, 2)
    assert metrics.by("siptrunk_producers_rebuilt_total", "lane") == {("interactive",): 1}


# --- the form ---------------------------------------------------------------------------------------------------------


def test_is_what_prometheus_takes(stack):
    probe = Probe(stack.worker(http__listen=LISTEN))
    answer = probe.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n") and "\n\n" not in answer.text
    for family in probe.families():
        assert re.fullmatch(r"siptrunk_[a-z_]+", family.name) and family.documentation.endswith("."), family.name
        assert family.samples or family.name in POSITIONS, f"{family.name} has no sample"
    names = re.findall(r"^# TYPE (\S+) (\S+)$", answer.text, re.M)
    assert len(names) == len(dict(names)) > 15
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in names), names
    assert all(name.endswith(("_seconds", "_messages")) for name, kind in names if kind == "histogram"), names
    build = next(family for family in probe.families() if family.name == "siptrunk_build_info").samples[0].labels
    assert harness.run_program("siptrunk-worker", ["--version"]).stdout == (
        f"siptrunk-worker {build['version']} (librdkafka {build['librdkafka']})\n")


def test_documentation_has_each_metric_and_no_other(stack):
    probe = Probe(stack.worker(http__listen=LISTEN))
    served = set(re.findall(r"^# TYPE (\S+) ", probe.get("/metrics").text, re.M))
    documented = re.findall(r"^\| `(siptrunk_\w+)` ", DOCUMENTED.read_text(), re.M)
    assert sorted(documented) == sorted(served)


# --- lines about records ----------------------------------------------------------------------------------------------


def test_log_names_records_that_are_out_of_the_ordinary(stack, traffic):
    worker = stack.worker(threads__bulk=0)
    asking = traffic.connect()
    asking.headers.append(("kafka_replyTopic", b"else"))
    dead, tombstone, asking, _ = stack.send([traffic.unreadable(), traffic.tombstone(), asking, traffic.connect()])
    stack.wait_drained()
    wanted = {"dead-letter": (dead, "urn:error:sip-trunk:validation:schema", None), "tombstone": (tombstone, None, None),
              "reply-left-out": (asking, "not-allowed", asking.fields["command_id"])}
    for name, (record, reason, command_id) in wanted.items():
        line = worker.wait_event(name)
        assert (line["topic"], line["partition"], line["offset"]) == record.place
        assert (line.get("reason"), line.get("command_id")) == (reason, command_id)
        assert line["worker"].endswith("-interactive-0") and len(worker.events(name)) == 1


def test_a_flood_of_dead_letters_does_not_fill_the_log(stack):
    worker = stack.worker(threads__bulk=0)
    secret = b"S3cret-of-a-flood"
    count = 3000
    stack.send([harness.raw(b"\xc3\x01" + secret) for _ in range(count)])
    stack.wait_drained()

    def told():
        return sum(line.get("left_out", 0) + ("offset" in line) for line in worker.events("dead-letter"))

    harness.wait_for(lambda: f"{count} dead letters are told, not {told()}", lambda: told() == count, 20, 0.1)
    assert len(worker.events("dead-letter")) < 200
    assert secret.decode() not in worker.log()
