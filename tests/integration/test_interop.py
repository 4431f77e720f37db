"""The worker beside other implementations of everything it speaks: commands and results by confluent-kafka and fastavro,
which share nothing with it but the .avsc files, and what can be computed is computed again here, from the contract."""

import datetime
import hashlib
import json
import uuid

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

import harness

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"
NUMBER, OTHER_NUMBER = "+31500000000", "+4921141873130"
PARTITIONS = 6
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def stack():
    with harness.Stack(harness.Servers.shared(), PARTITIONS) as made:
        made.load_inventory(harness.GUIDE_INVENTORY)
        yield made


def connect(account=ACCOUNT, number=NUMBER, channel="name", **more):
    return harness.command("ConnectNumber", account_id=account, channel_name=channel, number=number, **more)


def answers(stack, commands, topic=None):
    """The result of each command that was sent here, none of which is a resend."""
    stack.send(commands, topic)
    places = {(r.result["source_topic"], r.result["source_partition"], r.result["source_offset"]): r
              for r in stack.read_results(count=len(commands))}
    return [places[command.place] for command in commands]


def murmur2(data):
    """Kafka's: MurmurHash2, 32 bit, seed 0x9747b28c."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_murmur2_is_the_one_that_java_has():
    """Values of Kafka's own unit test."""
    assert [murmur2(text) for text in (b"21", b"foobar", b"a-little-bit-long-string")] == [
        -973932308 & 0xFFFFFFFF, -790332482 & 0xFFFFFFFF, -985981536 & 0xFFFFFFFF]


# --- a result ---------------------------------------------------------------------------------------------------------


def test_result_carries_what_was_sent(stack):
    stack.worker()
    command = connect(correlation_id="order 4711 é", batch_id="batch-1", source_system="crm", actor="jane")
    [answer] = answers(stack, [command])
    result = answer.result
    assert {name: result[name] for name in command.fields} == command.fields
    assert (result["command_type"], result["outcome"], result["status_code"]) == ("ConnectNumber", "APPLIED", 201)
    assert result["changes"] == [{"pointer": "/channel_name", "before": None, "after": "name"}]
    [sent] = stack.read(stack.topics.commands)
    assert result["received_at"] == EPOCH + datetime.timedelta(milliseconds=sent.timestamp)
    assert (result["source_topic"], result["source_partition"], result["source_offset"]) == sent.place


def test_ids_of_events_are_computed_from_what_everybody_sees(stack):
    stack.worker()
    first = connect(command_id=str(uuid.uuid4()).upper())
    reused = connect(number=OTHER_NUMBER, command_id=first.fields["command_id"])
    no_id = connect(command_id="4711")
    no_account = connect(account="nobody")
    sent = [first, reused, no_id, no_account]
    results = answers(stack, sent)
    cluster = stack.servers.admin.list_topics(timeout=10).cluster_id
    times = {record.place: record.timestamp for record in stack.read(stack.topics.commands)}

    def derived(command):
        name = ":".join(map(str, ("siptrunk", cluster, *command.place, times[command.place])))
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name))

    assert [answer.result["event_id"] for answer in results] == [
        str(uuid.uuid5(uuid.UUID(ACCOUNT), first.fields["command_id"].lower())), derived(reused), derived(no_id),
        derived(no_account)]
    assert [answer.result["error_reason"] for answer in results[1:]] == [
        "urn:error:sip-trunk:validation:command-id-reused", "urn:error:sip-trunk:validation:uuid-format",
        "urn:error:sip-trunk:validation:account-id"]
    assert results[3].key is None and results[3].result["account_sequence"] == 0


def test_headers_are_cloudevents(stack):
    stack.worker()
    applied, refused, nowhere = answers(stack, [
        connect(headers=[("kafka_correlationId", b"\x00\xff any bytes")]),
        connect(channel="nowhere", headers=[("REPLY_CORRELATION_ID", b"4711")]),
        connect(channel="", number=OTHER_NUMBER),
    ])
    cluster = stack.servers.admin.list_topics(timeout=10).cluster_id
    for answer in (applied, refused, nowhere):
        headers, result = dict(answer.headers), answer.result
        assert len(headers) == len(answer.headers), "a header stands there twice"
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_id"].decode() == result["event_id"]
        assert headers["ce_source"].decode() == f"urn:siptrunk:{cluster}"
        assert headers["ce_type"] == b"siptrunk.result.v1.ConnectNumber"
        assert headers["content-type"] == b"application/avro"
        assert datetime.datetime.fromisoformat(headers["ce_time"].decode()) == result["applied_at"]
        assert headers.get("error-id", b"").decode() == (result["error_reason"] or "")
        assert "replayed" not in headers
    assert applied.header("ce_subject") == b"name" and applied.header("kafka_correlationId") == b"\x00\xff any bytes"
    assert refused.header("ce_subject") == b"nowhere" and refused.header("REPLY_CORRELATION_ID") == b"4711"
    assert nowhere.header("ce_subject") == OTHER_NUMBER.encode()


def test_results_lie_where_a_java_producer_would_put_them(stack):
    stack.worker()
    accounts = [str(uuid.uuid4()).upper() for _ in range(40)]
    for account, answer in zip(accounts, answers(stack, [connect(account) for account in accounts])):
        assert answer.key == account.lower().encode()
        assert answer.partition == (murmur2(answer.key) & 0x7FFFFFFF) % PARTITIONS


def test_chain_can_be_computed_by_anybody(stack):
    stack.worker()
    sent = [connect(), connect(channel="second"), connect(number="31"), connect(), connect(number=OTHER_NUMBER)]
    previous = bytes(32)
    for number, answer in enumerate(answers(stack, sent), 1):
        assert answer.result["account_sequence"] == number
        without = {**answer.result, "chain": b""}  # an empty last field is one byte: its length
        body = harness.RESULT_SCHEMA.encode(without)[len(harness.RESULT_SCHEMA.prefix) : -1]
        previous = hashlib.sha256(previous + body).digest()
        assert answer.result["chain"] == previous


def test_resend_gets_the_same_bytes_and_a_mark(stack):
    stack.worker()
    command = connect()
    stack.send([command, harness.again(command), harness.again(command)])
    stack.send([harness.again(command)], stack.topics.bulk)
    copies = stack.read_results(count=4)
    assert len({answer.body for answer in copies}) == 1
    assert sorted(answer.replayed for answer in copies) == [False, True, True, True]


def test_dead_letter_is_readable_by_spring_and_connect(stack):
    stack.worker()
    sent = stack.send([harness.raw(b"\xc3\x01unknown!", b"key", [("trace", b"1"), ("trace", b"2")])])
    [letter] = stack.read(stack.topics.commands_dlt, count=1)
    [record] = stack.read(stack.topics.commands)
    assert (letter.key, letter.value) == (b"key", b"\xc3\x01unknown!")
    assert letter.headers[:2] == [("trace", b"1"), ("trace", b"2")]
    topic, partition, offset = sent[0].place
    headers = dict(letter.headers)
    assert headers["kafka_dlt-original-topic"] == topic.encode()
    assert headers["kafka_dlt-original-partition"] == partition.to_bytes(4, "big")
    assert headers["kafka_dlt-original-offset"] == offset.to_bytes(8, "big")
    assert headers["kafka_dlt-original-timestamp"] == record.timestamp.to_bytes(8, "big")
    assert headers["kafka_dlt-exception-fqcn"] == b"urn:error:sip-trunk:validation:schema"
    assert headers["__connect.errors.topic"] == topic.encode()
    assert headers["__connect.errors.partition"] == str(partition).encode()
    assert headers["__connect.errors.offset"] == str(offset).encode()
    assert headers["__connect.errors.stage"] and headers["__connect.errors.exception.class.name"]
    assert headers["__connect.errors.exception.message"] == headers["kafka_dlt-exception-message"]


# --- frameworks of request and reply, tracing -------------------------------------------------------------------------


def test_trace_is_continued(stack):
    stack.worker()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    state = ("tracestate", b"vendor=opaque, other=1")
    followed, broken = answers(stack, [
        connect(headers=[("traceparent", trace.encode()), state]), connect(headers=[("traceparent", b"00-nothing"), state])])
    version, trace_id, span, flags = followed.header("traceparent").decode().split("-")
    assert (version, trace_id, flags) == ("00", trace[3:35], "01")
    assert len(span) == 16 and int(span, 16) != 0 and span != trace[36:52]
    assert followed.header("tracestate") == state[1]
    assert broken.header("traceparent") is None and broken.header("tracestate") is None


@pytest.fixture
def replies(stack):
    """A reply topic that may be used, and one that may not."""
    allowed, forbidden = harness.unique("replies"), harness.unique("replies")
    harness.create_topics(stack.servers, {allowed: PARTITIONS, forbidden: PARTITIONS})
    yield allowed, forbidden
    stack.servers.admin.delete_topics([allowed, forbidden], operation_timeout=0, request_timeout=5)


def test_reply_goes_where_it_was_asked_for_if_that_is_allowed(stack, replies):
    allowed, forbidden = replies
    stack.worker(replies__allowed_topics=allowed)
    spring = [("kafka_replyTopic", allowed.encode()), ("kafka_replyPartition", (4).to_bytes(4, "big"))]
    smallrye = [("REPLY_TOPIC", allowed.encode()), ("REPLY_PARTITION", (5).to_bytes(4, "big"))]
    by_key = [("kafka_replyTopic", allowed.encode())]
    odd_size = [("kafka_replyTopic", allowed.encode()), ("kafka_replyPartition", b"1")]
    beyond = [("kafka_replyTopic", allowed.encode()), ("kafka_replyPartition", (99).to_bytes(4, "big"))]
    secret = [("kafka_replyTopic", forbidden.encode())]
    nowhere = [("kafka_replyTopic", b"no such topic")]
    asked = [spring, smallrye, by_key, odd_size, beyond, secret, nowhere]
    results = answers(stack, [connect(headers=headers) for headers in asked])
    copies = {record.event_id: record for record in stack.read(allowed, count=4)}
    assert [result.event_id in copies for result in results] == [True] * 4 + [False] * 3
    for result in results[:4]:
        copy = copies[result.event_id]
        assert (copy.key, copy.value, copy.headers) == (result.key, result.value, result.headers)
    home = (murmur2(ACCOUNT.encode()) & 0x7FFFFFFF) % PARTITIONS
    assert [copies[result.event_id].partition for result in results[:4]] == [4, 5, home, home]
    assert stack.read(forbidden) == []


@pytest.mark.parametrize("exists_at_first", [False, True], ids=["that never was", "that was deleted"])
def test_reply_topic_cannot_hold_anything_up(stack, exists_at_first):
    topic = harness.unique("replies")
    if exists_at_first:
        harness.create_topics(stack.servers, {topic: PARTITIONS})
    stack.worker(replies__allowed_topics=topic)
    headers = [("kafka_replyTopic", topic.encode())]
    stack.send([connect(headers=headers)])
    stack.read_results(count=1)
    if exists_at_first:
        for future in stack.servers.admin.delete_topics([topic], operation_timeout=10).values():
            future.result(20)
    stack.send([connect(headers=headers), connect()])
    stack.read_results(count=3, deadline_s=30)
    stack.wait_drained()


# --- writers of other versions ----------------------------------------------------------------------------------------


def schema_with(change):
    """ConnectNumber as another version has it. change gets the fields by name and may edit them."""
    text = json.loads((harness.ROOT / "schemas" / "commands" / "ConnectNumber.avsc").read_text())
    fields = {field["name"]: field for field in text["fields"]}
    change(fields)
    return {**text, "fields": list(fields.values())}


def only_what_is_required(fields):
    for name in list(fields):
        if name not in ("command_id", "account_id", "channel_name", "number"):
            del fields[name]


def with_more_fields(fields):
    fields["priority"] = {"name": "priority", "type": "int"}
    values = ["null", "string", {"type": "array", "items": "long"}]
    fields["labels"] = {"name": "labels", "type": {"type": "map", "values": values}}


def in_another_order(fields):
    for name in sorted(fields, reverse=True):
        fields[name] = fields.pop(name)


def with_other_types(fields):
    fields["number"]["type"] = "bytes"
    fields["channel_name"]["type"] = ["null", "string"]
    fields["expected_version"]["type"] = ["null", "int"]


def without_a_channel(fields):
    del fields["channel_name"]


VALUES = {"number": NUMBER, "channel_name": "name", "priority": 3, "labels": {"a": None, "b": "x", "c": [1, 2]},
          "expected_version": 1, "account_id": ACCOUNT, "dry_run": False}


@pytest.mark.parametrize("change, values, outcome, reason", [
    (only_what_is_required, {}, "APPLIED", None),
    (with_more_fields, {}, "APPLIED", None),
    (in_another_order, {}, "APPLIED", None),
    (with_other_types, {"number": NUMBER.encode()}, "APPLIED", None),
    (with_other_types, {"number": NUMBER.encode(), "expected_version": 7}, "REJECTED", "operator:version-conflict"),
    (with_other_types, {"number": b"\xff\xfe"}, "REJECTED", "validation:encoding"),
    (with_other_types, {"number": NUMBER.encode(), "channel_name": None}, "REJECTED", "validation:required"),
    (without_a_channel, {}, "REJECTED", "validation:required"),
], ids=lambda value: getattr(value, "__name__", None))
def test_reads_commands_of_other_versions(stack, tmp_path, change, values, outcome, reason):
    schema = harness.Schema(json.dumps(schema_with(change)))
    (tmp_path / "other.avsc").write_text(json.dumps(schema.json))
    stack.worker(schema__dir=tmp_path)
    names = {field["name"] for field in schema.json["fields"]}
    fields = {name: value for name, value in {**VALUES, **values}.items() if name in names}
    message = schema.encode({"command_id": str(uuid.uuid4()), **fields})
    [answer] = answers(stack, [harness.raw(message, ACCOUNT.encode())])
    assert (answer.result["outcome"], answer.result["error_reason"]) == (
        outcome, reason and f"urn:error:sip-trunk:{reason}")


def test_top_level_union_is_unwrapped(stack, tmp_path):
    """One topic with several record types, as some producers have it."""
    union = [json.loads((harness.ROOT / "schemas" / "commands" / f"{name}.avsc").read_text())
             for name in ("DisconnectNumber", "ConnectNumber")]
    (tmp_path / "union.avsc").write_text(json.dumps(union))
    stack.worker(schema__dir=tmp_path)
    prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(union), "CRC-64-AVRO"))
    body = connect().value[10:]
    [answer] = answers(stack, [harness.raw(prefix + b"\x02" + body, ACCOUNT.encode())])  # branch 1
    assert (answer.result["command_type"], answer.result["outcome"]) == ("ConnectNumber", "APPLIED")


def test_same_command_by_another_version_is_a_resend(stack, tmp_path):
    schema = harness.Schema(json.dumps(schema_with(only_what_is_required)))
    (tmp_path / "older.avsc").write_text(json.dumps(schema.json))
    stack.worker(schema__dir=tmp_path)
    command = connect()
    older = harness.raw(schema.encode(command.fields), command.key)
    stack.send([command, older])
    first, second = stack.read_results(count=2)
    assert first.body == second.body and (first.replayed, second.replayed) == (False, True)


def test_unknown_version_is_a_dead_letter_that_says_what_to_do(stack):
    schema = harness.Schema(json.dumps(schema_with(with_more_fields)))
    stack.worker()
    message = schema.encode({**VALUES, "command_id": str(uuid.uuid4())})
    stack.send([harness.raw(message)])
    [letter] = stack.read(stack.topics.commands_dlt, count=1)
    assert b"schema.dir" in letter.header("kafka_dlt-exception-message")
