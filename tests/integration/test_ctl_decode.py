"""siptrunkctl decode: what a message says, from bytes of any origin, and what stands in a partition."""

import json
import subprocess
import uuid

import pytest

import harness
from conftest import Ctl

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"
ID = "6f1c2d3e-4f50-4617-8a9b-0c1d2e3f4a5b"
SCHEMAS = harness.ROOT / "schemas"
HIDDEN = "(hidden, see --show-passwords)"


def edit(**fields):
    return harness.command("EditChannel", account_id=ACCOUNT, command_id=ID, channel_name="name", **fields)


@pytest.fixture
def ctl():
    """Without servers: files need none."""
    return Ctl({})


@pytest.fixture
def decode(ctl):
    """The objects that it prints for these bytes on standard input."""

    def run(data, *words, code=0, **more):
        done = subprocess.run([str(harness.BIN / "siptrunkctl"), *ctl.words(["decode", *words], **more)], input=data,
                              capture_output=True, timeout=60, env=harness.program_environment())
        assert done.returncode == code, done.stderr.decode()
        run.said = done.stderr.decode()
        return [json.loads(line) for line in done.stdout.decode().splitlines()]

    return run


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_message_from_a_file_and_from_standard_input(ctl, decode, tmp_path):
    message = harness.command("ConnectNumber", account_id=ACCOUNT, command_id=ID, channel_name="ü", number="+31")
    path = tmp_path / "message"
    path.write_bytes(message.value)
    [shown] = decode(message.value)
    assert list(shown)[0] == "type" and shown["type"] == "ConnectNumber"
    assert {name: shown[name] for name in message.fields} == message.fields
    assert shown["dry_run"] is False and shown["correlation_id"] is None
    assert json.loads(ctl("decode", path).stdout) == shown
    assert decode(message.value, "-") == [shown]


def test_what_it_shows_can_be_sent(decode, stack, stack_ctl):
    lines = [edit(sip_trunk={"ping": 3}, audio_stream={"rtp_timeout": {"value": None}}, full_e164="true"),
             harness.command("ListCallerIds", account_id=ACCOUNT, offset=1)]
    for command in lines:
        [shown] = decode(command.value)
        stack_ctl("send", stdin=json.dumps(shown))
    assert sorted(record.value for record in stack.read(stack.topics.commands)) == sorted(c.value for c in lines)


def test_hexadecimal_lines(decode):
    first, second = edit().value, harness.command("ListProxies", account_id=ACCOUNT).value
    text = f"{first.hex()}\n\n{second.hex(' ').upper()}\r\n\\x{first.hex()}\n0x{second.hex()}".encode()
    assert [shown["type"] for shown in decode(text, "--hex")] == ["EditChannel", "ListProxies"] * 2
    for bad, why in ((b"c3 0", "half a byte"), (b"c301zz", "column 5"), (b"c3\x00", "column 3"), (b"\\x", "")):
        decode(first.hex().encode() + b"\n" + bad, "--hex", code=3)
        assert "line 2: " in decode.said and why in decode.said


def test_a_bare_body_by_its_schema(decode, tmp_path):
    body = edit(area_code="020").value[10:]
    [shown] = decode(body, "--schema", SCHEMAS / "commands" / "EditChannel.avsc")
    assert (shown["type"], shown["area_code"]) == ("EditChannel", "020")
    assert decode(body.hex().encode(), "--hex", "--schema", SCHEMAS / "commands" / "EditChannel.avsc") == [shown]
    schema = tmp_path / "s.avsc"
    schema.write_text('"double"')
    assert decode(bytes(6) + b"\xf8\x3f", "--schema", schema) == [1.5]


def test_a_schema_of_the_schema_directory(decode, tmp_path):
    schema = harness.Schema('{"type":"record","name":"x.Other","fields":[{"name":"b","type":"bytes"}]}')
    (tmp_path / "other.avsc").write_text(json.dumps(schema.json))
    message = schema.encode({"b": b"\x00\xff"})
    decode(message, code=3)
    assert message[2:10][::-1].hex() in decode.said and "schema.dir" in decode.said
    assert decode(message, schema__dir=tmp_path) == [{"type": "Other", "b": "00ff"}]


def test_a_result(decode):
    schema = harness.RESULT_SCHEMA
    fields = {f["name"]: None for f in schema.json["fields"]} | {
        "event_id": ID, "command_id": ID, "account_id": ACCOUNT, "command_type": "ConnectNumber", "outcome": "APPLIED",
        "status_code": 201, "account_sequence": 1, "received_at": 1, "applied_at": 2, "source_topic": "t",
        "source_partition": 0, "source_offset": 0, "errors": [], "warnings": [], "changes": [], "chain": b"\x01"}
    assert decode(schema.encode(fields)) == [{"type": "CommandResult", **fields, "chain": "01"}]


@pytest.mark.parametrize("data, why", [
    (b"", ""), (b"\xc3", ""), (b"\xc3\x01unknown!", "schema.dir"), (b"\x00\x00\x00\x00\x01abc", ""),
    (edit().value[:-1], ""), (edit().value + b"x", ""), (edit().value[:10] + b"\xff" * 20, ""), (b"\xc3\x01" * 300000, ""),
], ids=["nothing", "a byte", "unknown", "confluent", "cut", "more", "nonsense", "long"])
def test_what_is_no_message(decode, data, why):
    assert decode(data, code=3) == []
    assert decode.said.startswith("siptrunkctl decode: ") and why in decode.said


# --- passwords --------------------------------------------------------------------------------------------------------


def test_a_password_is_shown_on_request_only(decode):
    message = edit(password="hunter2").value
    assert decode(message)[0]["password"] == HIDDEN
    assert decode(message, "--show-passwords")[0]["password"] == "hunter2"
    assert decode(edit().value)[0]["password"] is None


@pytest.mark.parametrize("name, type_, value", [
    ("ChangeChannel", "string", "hunter2"), ("EditChannel", "bytes", b"hunter2"), ("EditChannel", "string", b"hunter2\xff"),
    ("EditChannel", {"type": "array", "items": "string"}, ["hunter2"]),
], ids=["other name", "bytes", "no UTF-8", "array"])
def test_a_password_is_hidden_in_other_versions_too(decode, tmp_path, name, type_, value):
    schema = {"type": "record", "name": name, "fields": [{"name": "password", "type": type_}]}
    (tmp_path / "s.avsc").write_text(json.dumps(schema))
    written = {**schema, "fields": [{"name": "password", "type": "bytes" if isinstance(value, bytes) else type_}]}
    body = harness.Schema(json.dumps(written)).encode({"password": value})[10:]
    assert decode(body, "--schema", tmp_path / "s.avsc") == [{"type": name, "password": HIDDEN}]


# --- topics -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(stack, stack_ctl):
    """The records that it prints of a partition of the command topic."""

    def run(*words, code=0):
        done = stack_ctl("decode", "--topic", stack.topics.commands, *words, code=code)
        run.said = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def put(stack, records, partition=1):
    producer = stack.producer()
    for value, key, headers in records:
        producer.produce(stack.topics.commands, value, key, partition, headers=headers, timestamp=1_600_000_000_000)
    assert producer.flush(20) == 0


def listing(n):
    return harness.command("ListCallerIds", account_id=ACCOUNT, command_id=str(uuid.UUID(int=n)), offset=n).value


def test_a_record_with_its_place_key_and_headers(stack, show):
    headers = [("a", b"text \xc3\xbc"), ("a", b"\x00\x00\x00\x07"), ("none", None), ("", b"")]
    put(stack, [(listing(5), b"key", headers)])
    [shown] = show("--partition", 1)
    value = shown.pop("value")
    assert (value["type"], value["offset"]) == ("ListCallerIds", 5)
    assert shown == {
        "topic": stack.topics.commands, "partition": 1, "offset": 0, "timestamp": 1_600_000_000_000, "key": "key",
        "headers": [{"name": "a", "value": "text ü"}, {"name": "a", "value": {"hex": "00000007"}},
                    {"name": "none", "value": None}, {"name": "", "value": ""}]}


def test_records_that_are_no_messages_are_shown_with_the_reason(stack, show):
    put(stack, [(b"raw", b"\xff", []), (None, None, []), (listing(1), b"", [])])
    broken, tombstone, good = show("--partition", 1, "--count", 9, code=1)
    assert broken["key"] == {"hex": "ff"} and broken["value"] == {"bytes": 3} and broken["error"]
    assert (tombstone["key"], tombstone["value"]) == (None, None)
    assert good["key"] == "" and "error" not in good


@pytest.mark.parametrize("words, wanted", [
    ([], [0]), (["--count", 3], [0, 1, 2]), (["--count", 99], list(range(10))), (["--offset", 7, "--count", 2], [7, 8]),
    (["--offset", -2, "--count", 5], [8, 9]), (["--offset", -99, "--count", 1], [0]), (["--offset", "beginning"], [0]),
    (["--offset", 10], []),
], ids=str)
def test_where_to_begin_and_how_many(stack, show, words, wanted):
    put(stack, [(listing(n), b"", []) for n in range(10)])
    assert [record["value"]["offset"] for record in show("--partition", 1, *words)] == wanted
    assert ("no committed record" in show.said) == (not wanted)


def test_nothing_there(show):
    assert show() == [] and "there is no committed record" in show.said


def test_places_that_are_not_there(stack, show, stack_ctl):
    show("--offset", 1, code=3)
    assert "offset" in show.said
    show("--partition", 3, code=3)
    assert "partitions 0 to 2" in show.said
    missing = harness.unique("missing")
    assert missing in stack_ctl("decode", "--topic", missing, code=7).stderr
    unreachable = stack_ctl("decode", "--topic", "x", code=5, kafka__bootstrap__servers="127.0.0.1:1")
    assert "127.0.0.1:1" in unreachable.stderr


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["a", "b"], ["--topic", "x", "file"], ["--count", "0"], ["--offset", "end"],
                                   ["--partition", "-1"], ["--hexx"], ["--hex=1"]], ids=" ".join)
def test_usage_errors(ctl, words):
    assert "siptrunkctl decode --help" in ctl("decode", *words, code=2).stderr


def test_files_that_are_not_there(ctl, tmp_path):
    assert "No such file" in ctl("decode", tmp_path / "nowhere", code=3).stderr
    assert "Is a directory" in ctl("decode", tmp_path, code=3).stderr
    assert "Is a directory" in ctl("decode", "--hex", tmp_path, code=3).stderr
    assert "nowhere.avsc" in ctl("decode", "--schema", tmp_path / "nowhere.avsc", code=3).stderr
    bad = tmp_path / "bad.avsc"
    for text in ("{", '{"type":"recrod"}', ""):
        bad.write_text(text)
        assert "bad.avsc" in ctl("decode", "--schema", bad, code=3).stderr
