"""The log: each line of a worker is one JSON object, lines about a record name it, and no secret is in any of them, however
much is logged and whatever goes wrong."""

import datetime
import json
import uuid

import pytest
from psycopg.conninfo import make_conninfo

import harness
import trial
from test_secrets import CHANNELS, INVENTORY, KEYS, canary, edit, forms, key_file

ACCOUNT = INVENTORY[0]["id"]
NUMBERS = ("+31500000001", "+31500000002")
PLACE = {"topic", "partition", "offset"}
# Of each event about records, the fields that its lines must have beside those of every line.
ABOUT_RECORDS = {
    "dead-letter": PLACE | {"worker", "reason"},
    "tombstone": PLACE | {"worker"},
    "reply-left-out": PLACE | {"worker", "reason", "command_id"},
    "refused-by-store": PLACE | {"command_id", "sqlstate", "trace"},
    "careful": PLACE | {"attempt"},
    "held": PLACE | {"worker", "reason"},
    "released": PLACE | {"worker", "reason"},
}
OF_EVERY_LINE = {"time", "level", "event", "msg"}
LEVELS = {"debug", "info", "warn", "error"}


def lines_of(worker):
    """All that it wrote on standard output and standard error, as objects."""
    text = worker.log()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert isinstance(line, dict) and OF_EVERY_LINE <= set(line) and line["level"] in LEVELS, line
    return lines


def assert_no_secret(worker, secrets):
    content = worker.log_path.read_bytes()
    for what, secret in secrets.items():
        for form in forms(secret):
            assert form not in content, f"{what} stands in the log"


@pytest.fixture
def secrets():
    return {name: canary() for name in ("a SIP password", "another SIP password", "the database's password", "the broker's password")}


def settings_of(stack, tmp_path, secrets, **more):
    """As much as can be logged."""
    return {"log.level": "debug", "log.format": "json", "kafka.debug": "msg,consumer,eos,topic,broker,security",
            "secrets.key_file": key_file(tmp_path, "first", "second"), "kafka.sasl.password": secrets["the broker's password"],
            "kafka.sasl.username": "user", "postgres.conninfo": make_conninfo(
                stack.conninfo, password=secrets["the database's password"]), **more}


def with_keys(secrets):
    return {**secrets, **{f"key {name}": key for name, key in KEYS.items()}}


def test_lines_about_records_name_them(stack, tmp_path, secrets):
    stack.load_inventory([*INVENTORY, *({"type": "number", "number": number, "account_id": ACCOUNT, "kind": "fixed",
                                         "state": "available"} for number in NUMBERS)])
    stack.execute(f"alter table siptrunk.number add constraint planted check (channel_id is null or e164 <> '{NUMBERS[0]}')")
    connect = [harness.command("ConnectNumber", account_id=ACCOUNT, channel_name=CHANNELS[0], number=number) for number in NUMBERS]
    connect[1].headers.append(("kafka_replyTopic", b"else"))
    good, torn = edit(secrets["a SIP password"]), edit(secrets["another SIP password"])
    torn.value = torn.value[:-1]
    refused = edit(secrets["a SIP password"], channel_name="nowhere")
    sent = stack.send([*connect, good, torn, refused, harness.raw(None), harness.raw(b"not Avro")])
    killer = stack.send([edit(secrets["another SIP password"], channel_name=CHANNELS[1])], stack.topics.bulk)[0]
    stack.execute("insert into siptrunk.record_attempt values (%s, %s, %s, 3)", *killer.place)
    stack.execute("insert into siptrunk.partition_position (topic, partition, next_offset) values (%s, %s, 0)", *killer.place[:2])
    stack.execute("insert into siptrunk.partition_position (topic, partition, next_offset, held_since, held_reason)"
                  " values (%s, %s, 0, now(), 'why')", *sent[0].place[:2])
    worker = stack.worker(**settings_of(stack, tmp_path, secrets))
    worker.wait_event("held")
    stack.execute("update siptrunk.partition_position set held_since = null, held_reason = null")
    stack.wait_drained()
    stack.end_sessions()
    worker.wait_event("recovered")
    assert worker.terminate()[0] == 0

    lines = lines_of(worker)
    assert {line["event"] for line in lines} >= {*ABOUT_RECORDS, "librdkafka", "recover", "claimed", "stopped"}
    assert any(line["level"] == "debug" for line in lines)
    for line in lines:
        missing = ABOUT_RECORDS.get(line["event"], set()) - set(line)
        assert not missing, f"{line} lacks {missing}"
    named = {line["event"]: (line["topic"], line["partition"], line["offset"]) for line in lines
             if line["event"] in ("refused-by-store", "reply-left-out", "careful", "tombstone")}
    assert named == {"refused-by-store": sent[0].place, "reply-left-out": sent[1].place, "tombstone": sent[5].place,
                     "careful": killer.place}
    assert {(line["topic"], line["partition"], line["offset"]) for line in lines if line["event"] == "dead-letter"} == {
        torn.place, sent[6].place, killer.place}
    ids = {line["command_id"] for line in lines if line["event"] == "refused-by-store"}
    assert ids == {connect[0].fields["command_id"]} and uuid.UUID(*ids)
    assert {line["reason"] for line in lines if line["event"] in ("held", "released")} == {"why"}
    assert_no_secret(worker, with_keys(secrets))


FAILURES, LEAST_S = 8, 2.5  # the waits are at least half of 50, 100, 200 ... 2000 ms


def test_what_fails_again_behind_a_recovery_is_tried_ever_less_often(stack):
    """The database takes claims, and refuses effects for a while."""
    stack.load_inventory(INVENTORY)
    worker = stack.worker(threads__bulk=0)
    stack.execute(trial.refuses(FAILURES, "53100", trial.EACH_STATEMENT))
    stack.send([edit("a password", channel_name="nowhere")])
    stack.wait_drained()
    troubles = [line for line in worker.events() if (line["event"], line["level"]) in (("recover", "warn"), ("recovered", "info"))]
    assert [line["event"] for line in troubles] == ["recover", "recovered"], "said once, however often it fails"
    began, ended = (datetime.datetime.fromisoformat(line["time"]) for line in troubles)
    assert (ended - began).total_seconds() > LEAST_S


@pytest.mark.parametrize("wrong", [
    {"postgres.conninfo": "host=127.0.0.1 port=1 dbname=x user=u password={}"},
    {"postgres.conninfo": "postgresql://u:{}@127.0.0.1:1/x"},
    {"postgres.conninfo": "host=127.0.0.1 passwort={}"},
    {"kafka.security.protocol": "sasl_plaintext", "kafka.sasl.mechanism": "PLAIN", "kafka.sasl.password": "{}"},
    {"kafka.sasl.pasword": "{}"},
], ids=["unreachable", "url", "malformed", "sasl", "mistyped key"])
def test_a_start_that_fails_tells_no_secret(stack, tmp_path, secrets, wrong):
    password = canary()
    worker = stack.worker(ready=False, **settings_of(stack, tmp_path, secrets, **{
        key: value.format(password) for key, value in wrong.items()}))
    ended = ("waiting", "not-ready", "configuration", "worker-failed")
    harness.wait_for("it says so", lambda: any(event["event"] in ended for event in worker.events()), 60)
    worker.process.terminate()
    worker.exit_code(20)
    lines_of(worker)
    assert_no_secret(worker, {**with_keys(secrets), "the password": password})


@pytest.mark.parametrize("text", ["first:{}\nfirst:{}\n", "first {}\n", "first:{}0\n", "{}\n"],
                         ids=["name twice", "no colon", "too long", "no name"])
def test_a_key_file_that_is_malformed_is_not_quoted(stack, tmp_path, text):
    key = "".join(f"{i:02x}" for i in uuid.uuid4().bytes * 2)
    path = tmp_path / "keys"
    path.write_text(text.format(key, key))
    worker = stack.worker(ready=False, **{"secrets.key_file": path, "log.level": "debug"})
    assert worker.exit_code(60) == 3
    lines_of(worker)
    assert_no_secret(worker, {"a key": key})


def test_siptrunkctl_tells_no_secret_either(stack, tmp_path, secrets):
    """Its log is on standard error, too."""
    given = {**stack.topics.settings, "kafka.bootstrap.servers": stack.servers.bootstrap, "kafka.group.id": stack.group,
             **settings_of(stack, tmp_path, secrets)}
    for words in (["partitions"], ["ledger", "status"], ["secrets", "status"], ["topics", "status"]):
        done = harness.run_program("siptrunkctl", [w for k, v in given.items() for w in ("-X", f"{k}={v}")] + words)
        said = (done.stdout + done.stderr).encode()
        logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        assert all(OF_EVERY_LINE <= set(line) for line in logged)
        for what, secret in with_keys(secrets).items():
            assert not any(form in said for form in forms(secret)), f"{what} is told by {words}"
