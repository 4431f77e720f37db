"""siptrunkctl send: JSON lines become the records that a client of another make would write, and a bad line is named before
anything is sent (G16)."""

import json
import re
import subprocess
import uuid

import pytest

import harness
from test_interop import murmur2

ACCOUNT, OTHER = "013dc5c1-ff09-4ece-ad3a-7f8f60949407", "00000000-0000-4000-8000-00000000000b"
ID = "6f1c2d3e-4f50-4617-8a9b-0c1d2e3f4a5b"
NUMBER = "+31500000000"
COMMON = {"correlation_id": "c", "batch_id": "b", "source_system": "s", "actor": "a", "issued_at": 1700000000000000,
          "expected_version": 3, "dry_run": True}


def command(type_name="ConnectNumber", **fields):
    if type_name == "ConnectNumber":
        fields = {"channel_name": "name", "number": NUMBER, **fields}
    return {"type": type_name, "command_id": str(uuid.uuid4()), "account_id": ACCOUNT, **fields}


def edit(**fields):
    return command("EditChannel", channel_name="name", **fields)


def lines(items):
    return "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items)


@pytest.fixture
def send(stack_ctl):
    """Sends objects and texts as lines, with options; the completed process."""

    def run(items, *words, code=0, **more):
        return stack_ctl("send", *words, stdin=items if isinstance(items, str) else lines(items), code=code, **more)

    return run


def sent(stack, topic=None):
    """The fields of all records that are there, in order."""
    records = stack.read(topic or stack.topics.commands)
    schemas = {schema.prefix: schema for schema in harness.COMMAND_SCHEMAS.values()}
    for record in records:
        schema = schemas[record.value[:10]]
        record.fields = {"type": schema.name, **schema.decode(record.value)}
    return records


# --- what is sent -----------------------------------------------------------------------------------------------------

EVERYTHING = {
    "new_name": "n", "password": "Secret#1", "caller_id": NUMBER, "area_code": "020", "block_caller_id": False,
    "call_barrings": ["A", "B"], "full_e164": "true",
    "sip_trunk": {"template_id": ID, "channel_proxy_id": ID, "manual_caller_id": True, "ping": 2, "ip_whitelist": "10.0.0.1"},
    "audio_stream": {"dtmf": 0, "rtp_timeout": "1800", "rtp_hold_timeout": None},
    "clip": {"method": 5, "deny": False}, "did": {"filter": ""}, "failover": {"forward_to": "+31"},
    "microsoft_teams_configuration": {"microsoft_tenant_id": ID},
}

GOOD = [
    command(),
    command(**COMMON),
    command(channel_name="ü \\ \"€\" 𝔘", number="0031 50"),
    command("DisconnectNumber", number=NUMBER),
    command("DisconnectNumber", number=NUMBER, channel_name="name"),
    command("SetOperatorConnectNumberType", channel_name="name", number=NUMBER, number_type="User"),
    command("RemoveOperatorConnectNumberType", channel_name="name", number=NUMBER),
    command("ListCallerIds", offset=2, limit=-7),
    command("ListCallerIds"),
    command("ListProxies"), command("ListTemplates", **COMMON), command("ListCallBarrings"),
    edit(), edit(**EVERYTHING), edit(full_e164=True), edit(call_barrings=[]), edit(sip_trunk={}),
]


def expected(line):
    """A line as the record that the schema makes of it: defaults for what is missing, and the two ways to send null."""
    schema = harness.COMMAND_SCHEMAS[line["type"]]

    def filled(fields, given):
        out = {}
        for field in fields:
            name, types = field["name"], field["type"]
            value = given.get(name, field.get("default"))
            if name in given and name in ("rtp_timeout", "rtp_hold_timeout"):
                value = {"value": value}
            elif isinstance(value, dict):
                [record] = [t for t in types if isinstance(t, dict)]
                value = filled(record["fields"], value)
            out[name] = value
        return out

    return filled(schema.json["fields"], line)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n \t\n"], ids=["lf", "crlf", "blank-lines"])
def test_lines_become_the_records_of_their_schemas(stack, send, ending):
    send("".join(json.dumps(line) + ending for line in GOOD).rstrip("\r\n"))
    records = sent(stack)
    assert len(records) == len(GOOD)
    for line in GOOD:
        schema = harness.COMMAND_SCHEMAS[line["type"]]
        want = schema.decode(schema.encode(expected(line)))
        [record] = [record for record in records if record.fields["command_id"] == line["command_id"]]
        assert record.value == schema.encode(expected(line)), line
        assert record.fields == {"type": line["type"], **want}


def test_commands_of_an_account_keep_their_order(stack, send):
    items = [command(command_id=str(uuid.UUID(int=i)), account_id=[ACCOUNT, OTHER][i % 2]) for i in range(5000)]
    assert send(items).stderr == f"sent 5000 commands to {stack.topics.commands}\n"
    records = sent(stack)
    for account in (ACCOUNT, OTHER):
        ids = [r.fields["command_id"] for r in records if r.fields["account_id"] == account]
        assert ids == [item["command_id"] for item in items if item["account_id"] == account]


def test_a_file_as_well_as_standard_input(stack, stack_ctl, tmp_path):
    path = tmp_path / "commands.jsonl"
    path.write_text(lines([command()]))
    stack_ctl("send", path)
    stack_ctl("send", "-", stdin=lines([command()]))
    stack_ctl("send", stdin=lines([command()]))
    assert len(sent(stack)) == 3
    assert stack_ctl("send", stdin="").stderr.startswith("sent 0 commands")


def test_lanes_and_topics(stack, send):
    send([command()])
    send([command(), command()], "--bulk")
    send([command()], "--topic", stack.topics.results)
    assert [len(stack.read(topic)) for topic in (stack.topics.commands, stack.topics.bulk, stack.topics.results)] == [1, 2, 1]
    assert send([command()], "--quiet").stderr == ""


def test_records_lie_where_a_java_producer_would_put_them(stack, send):
    accounts = [str(uuid.uuid4()) for _ in range(60)]
    send([command(account_id=account) for account in accounts])
    records = sent(stack)
    assert {record.key.decode() for record in records} == set(accounts)
    assert {record.partition for record in records} == {0, 1, 2}
    assert all(record.partition == (murmur2(record.key) & 0x7FFFFFFF) % harness.PARTITIONS for record in records)


def test_an_account_has_one_key_whatever_its_spelling(stack, send):
    send([command(account_id=ACCOUNT.upper()), command(), command(account_id="no uuid")])
    by_key = {record.key: record.fields["account_id"] for record in sent(stack)}
    assert by_key.keys() == {ACCOUNT.encode(), b"no uuid"}


def test_key_and_headers_can_be_chosen(stack, send):
    send([command(), command(account_id=OTHER)], "--key", "4711", "--header", "traceparent=00-a=b", "--header", "empty=",
         "--header", "traceparent=ü")
    for record in sent(stack):
        assert record.key == b"4711" and record.partition == (murmur2(b"4711") & 0x7FFFFFFF) % harness.PARTITIONS
        assert record.headers == [("traceparent", b"00-a=b"), ("empty", b""), ("traceparent", "ü".encode())]


def test_ids_are_made_up_on_request_only(stack, send):
    without = [{k: v for k, v in command().items() if k != "command_id"} for _ in range(3)]
    assert "line 1: /command_id: " in send(without, code=3).stderr
    given = command()
    send(without + [given], "--generate-ids")
    ids = [record.fields["command_id"] for record in sent(stack)]
    assert len(set(ids)) == 4 and given["command_id"] in ids
    assert {uuid.UUID(i).version for i in ids} == {4}


# --- bad lines --------------------------------------------------------------------------------------------------------

BAD = [
    ("{}", "/type: ", "required"),
    ({"type": 3}, "/type: ", "type"),
    (command("ConnectNumbr"), "/type: ", "unknown-command"),
    (command("CommandResult"), "/type: ", "unknown-command"),
    ("[]", "", "schema"),
    ("nonsense", "", "schema"),
    ('{"type":"ListProxies","type":"ListProxies"}', "", "schema"),
    ('{"type":"ListProxies","command_id":"\\u0000"}', "", "schema"),
    ({"type": "ListProxies", "account_id": ACCOUNT}, "/command_id: ", "required"),
    ({"type": "ListProxies", "command_id": ID}, "/account_id: ", "required"),
    (command(command_id=None), "/command_id: ", "type"),
    (command(command_id=4711), "/command_id: ", "type"),
    (command(number=31500000000), "/number: ", "type"),
    (command(numbr=NUMBER), "/numbr: ", "unknown-field"),
    (command(channel="x"), "/channel: ", "unknown-field"),
    (command(expected_version="3"), "/expected_version: ", "type"),
    (command(expected_version=1.0), "/expected_version: ", "type"),
    (command(expected_version=2**63), "", ""),
    (command(dry_run="false"), "/dry_run: ", "type"),
    (command(dry_run=None), "/dry_run: ", "type"),
    (command(dry_run=0), "/dry_run: ", "type"),
    (command("ListCallerIds", limit=2**31), "/limit: ", "out-of-range"),
    (command("ListCallerIds", limit="10"), "/limit: ", "type"),
    (edit(sip_trunk={"ping": "3"}), "/sip_trunk/ping: ", "type"),
    (edit(sip_trunk={"pong": 3}), "/sip_trunk/pong: ", "unknown-field"),
    (edit(sip_trunk=[]), "/sip_trunk: ", "type"),
    (edit(sip_trunk={"ip_whitelist": ["10.0.0.1"]}), "/sip_trunk/ip_whitelist: ", "type"),
    (edit(clip={"deny": "false"}), "/clip/deny: ", "type"),
    (edit(clip={"deny": 0}), "/clip/deny: ", "type"),
    (edit(clip={"method": True}), "/clip/method: ", "type"),
    (edit(call_barrings="INT"), "/call_barrings: ", "type"),
    (edit(call_barrings=["A", 7]), "/call_barrings/1: ", "type"),
    (edit(area_code=211), "/area_code: ", "type"),
    (edit(audio_stream={"rtp_timeout": 1800}), "/audio_stream/rtp_timeout: ", "type"),
    (edit(audio_stream={"rtp_timeout": {"value": "1800"}}), "/audio_stream/rtp_timeout: ", "type"),
    (edit(full_e164=1), "/full_e164: ", "type"),
]


@pytest.mark.parametrize("bad, pointer, reason", BAD, ids=[f"{pointer[:-2]}-{reason}" for _, pointer, reason in BAD])
def test_a_bad_line_is_named_by_number_field_and_reason(stack_ctl, bad, pointer, reason):
    done = stack_ctl("send", code=3, stdin=lines([command(), "", bad, command()]))
    assert re.search(rf"^line 3: {re.escape(pointer)}.*\({reason or '.*'}\)$", done.stderr, re.M), done.stderr
    assert "1 of 3 commands are not valid: nothing was sent" in done.stderr


def test_nothing_is_sent_when_a_line_is_bad_or_only_the_rest(stack, send):
    good = [command(), command()]
    items = [good[0], edit(sip_trunk={"ping": "3"}), good[1], "x"]
    done = send(items, code=3)
    assert done.stderr.count("\nline ") + done.stderr.startswith("line ") == 2
    assert sent(stack) == []
    done = send(items, "--skip-bad", code=1)
    assert "line 2: /sip_trunk/ping" in done.stderr and "sent 2 commands" in done.stderr
    assert sorted(r.fields["command_id"] for r in sent(stack)) == sorted(item["command_id"] for item in good)


def test_of_many_bad_lines_some_are_named_and_all_are_counted(send):
    done = send(["x"] * 25, code=3)
    assert len(re.findall("^line ", done.stderr, re.M)) == 20
    assert "... and 5 more bad lines" in done.stderr and "25 of 25" in done.stderr


@pytest.mark.parametrize("line", [
    '{"type":"EditChannel","password" "hunter2"}', '{"type":"EditChannel","password":"hunter2"', '{"password":hunter2}',
    '{"type":"EditChannel","password":"hunter2\\', '{"password":"hunter2\\uD83D"}', '{"password":"\\uhunter2"}',
    '{"password":"hunter2","password":"hunter2"}', '"hunter2"', 'hunter2', '{"hunter2', "hunter2\x01", "\x00hunter2",
    edit(password=["hunter2"]), edit(password={"hunter2": 1}), edit(clip={"deny": "hunter2"}), edit(password="hunter2", x=1),
    edit(new_name=True, password="hunter2"),
], ids=range(17))
def test_no_message_repeats_what_may_be_a_password(send, line):
    done = send([line], code=3)
    assert "line 1: " in done.stderr and "hunter2" not in done.stderr + done.stdout


# --- what stands in the way -------------------------------------------------------------------------------------------


def test_topic_that_is_not_there(stack, send):
    missing = harness.unique("missing")
    said = send([command()], "--topic", missing, code=7).stderr
    assert missing in said and "topics apply" in said and "sent" not in said
    said = send([command()], "--wait", code=7, topics__results=missing).stderr
    assert missing in said and "sent" not in said
    assert sent(stack) == []


def test_unreachable_broker(send):
    said = send([command()], code=5, kafka__bootstrap__servers="127.0.0.1:1").stderr
    assert "127.0.0.1:1" in said and "sent" not in said


def test_too_large_for_the_topic(stack, send):
    """The second one is not sent, since the first one, of the same account, cannot be."""
    done = send([command(channel_name="x" * 2_000_000), command()], code=5)
    assert "only 0 of 2 commands were sent" in done.stderr
    assert sent(stack) == []


@pytest.mark.parametrize("words", [["a", "b"], ["--bulk", "--topic", "x"], ["--header", "x"], ["--wait=0"], ["--wait=x"],
                                   ["--topic"], ["--bulk=1"], ["--generate-id=1"]], ids=" ".join)
def test_usage_errors(stack_ctl, words):
    assert "siptrunkctl send --help" in stack_ctl("send", *words, code=2, stdin="x").stderr


def test_file_that_cannot_be_read(stack_ctl, tmp_path):
    assert "No such file" in stack_ctl("send", tmp_path / "nowhere", code=3).stderr
    assert "Is a directory" in stack_ctl("send", tmp_path, code=3).stderr


# --- waiting for results ----------------------------------------------------------------------------------------------


@pytest.fixture
def worker(stack):
    stack.load_inventory(harness.GUIDE_INVENTORY)
    return stack.worker()


def test_waits_and_shows_what_came_of_each(send, worker):
    done = send([command(), command(number="+4921141873130")], "--wait")
    assert done.stdout.count("APPLIED") == 2 and "ConnectNumber" in done.stdout
    assert "sent 2 commands" in done.stderr


def test_leaves_with_1_when_one_was_refused(send, worker):
    refused = command(channel_name="nowhere")
    done = send([command(), refused], "--wait=20", code=1)
    assert "APPLIED" in done.stdout and "REJECTED" in done.stdout and "channel-not-found" in done.stdout


@pytest.mark.parametrize("bad", [{"command_id": "4711"}, {"account_id": "nobody"}, {"command_id": "ü" * 100}], ids=str)
def test_waits_for_commands_with_odd_ids_too(send, worker, bad):
    assert send([command(**bad)], "--wait=20", code=1).stdout.count("REJECTED") == 1


def test_waits_for_resends_in_any_spelling(send, worker):
    line = command()
    send([line, line], "--wait=20")
    upper = {**line, "command_id": line["command_id"].upper(), "account_id": line["account_id"].upper()}
    assert send([line], "--wait=20").stdout.count("APPLIED") == 1
    assert send([upper], "--wait=20").stdout.count("APPLIED") == 1


def test_shows_its_own_results_only(stack, send, worker):
    others = command()
    stack.send(10 * [harness.command("ConnectNumber", **{k: v for k, v in others.items() if k != "type"})])
    mine = command("DisconnectNumber", number=NUMBER)
    done = send([mine], "--wait=20")
    assert mine["command_id"] in done.stdout and others["command_id"] not in done.stdout


def test_waits_for_a_bulk_lane_with_results_of_its_own(stack, send):
    own = harness.unique("bulk-results")
    harness.create_topics(stack.servers, {own: 1})
    stack.load_inventory(harness.GUIDE_INVENTORY)
    stack.worker(topics__results__bulk=own)
    assert "APPLIED" in send([command()], "--bulk", "--wait=20", topics__results__bulk=own).stdout
    assert len(stack.read(stack.topics.results)) == 0
    assert "NO_CHANGE" in send([command()], "--wait=20", topics__results__bulk=own).stdout


def test_leaves_with_6_when_no_result_comes(stack, send):
    done = send([command(), command()], "--wait=1", code=6)
    assert "no result within 1 s for 2 commands" in done.stderr
    assert len(sent(stack)) == 2


def test_a_skipped_bad_line_is_not_forgotten_over_good_results(send, worker):
    done = send([command(), "x"], "--wait=20", "--skip-bad", code=1)
    assert "APPLIED" in done.stdout and "line 2" in done.stderr
