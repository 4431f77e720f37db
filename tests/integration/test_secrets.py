"""G13: SIP passwords, where they may never be found, and keys that change while commands come."""

import base64
import os
import pathlib
import subprocess
import uuid

import pytest

import harness

ACCOUNT, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
CHANNELS = [f"channel-{i}" for i in range(20)]
INVENTORY = [
    {"type": "account", "id": ACCOUNT, "name": "one"}, {"type": "account", "id": OTHER, "name": "two"},
    *({"type": "channel", "account_id": account, "name": name, "subscription": "sip_trunk"}
      for account in (ACCOUNT, OTHER) for name in CHANNELS),
]
KEYS = {name: os.urandom(32).hex() for name in ("first", "second")}


def key_file(tmp_path, *names):
    path = tmp_path / "-".join(("keys", *names))
    path.write_text("# keys of a test\n" + "".join(f"{name}:{KEYS[name]}\n" for name in names))
    return path


def canary():
    return "Canary-" + uuid.uuid4().hex


def edit(password, **fields):
    return harness.command("EditChannel", **{"account_id": ACCOUNT, "channel_name": CHANNELS[0], **fields}, password=password)


def forms(password):
    """The ways in which bytes hide in files."""
    raw = password.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):  # base64 looks different at each place modulo 3
        yield base64.b64encode(b"\0" * shift + raw)[4:-4]


def assert_nowhere(passwords, places):
    for place, content in places.items():
        for password in passwords:
            for form in forms(password):
                assert form not in content, f"a password stands in {place}"


@pytest.fixture(scope="module")
def talkative():
    """A PostgreSQL that logs every statement with its parameters."""
    settings = ("log_statement = 'all'\nlog_min_duration_statement = 0\nlog_parameter_max_length = -1\n"
                "log_parameter_max_length_on_error = -1\nlog_min_error_statement = debug5\n")
    with harness.own_servers("secrets-servers", prepare={"pg/extra.conf": settings}) as servers:
        yield servers


def test_a_password_is_found_nowhere_but_in_the_command(talkative, tmp_path):
    good, bad = [canary() for _ in range(4)], []

    def refused(**fields):
        bad.append(canary())
        return edit(bad[-1], **fields)

    reused = str(uuid.uuid4())
    commands = [
        edit(good[0]), edit(good[1], channel_name=CHANNELS[1], new_name="renamed"),
        edit(good[2], channel_name=CHANNELS[2], command_id=reused), edit(good[3], channel_name=CHANNELS[3], dry_run=True),
        refused(command_id=reused), refused(channel_name="nowhere"), refused(account_id=str(uuid.uuid4())),
        refused(command_id="no id"), refused(account_id="no account"), refused(expected_version=99),
        refused(sip_trunk={"ping": 9}), refused(caller_id="+31500000099"), refused(new_name=CHANNELS[9]),
    ]
    commands += [harness.again(commands[0])]
    for password in (canary() + "\u0007", "x" * 5000 + canary(), canary() + " with spaces", "nowhere" + canary()):
        bad.append(password[password.index("Canary-"):][:39])
        commands.append(edit(password, channel_name="nowhere"))
    torn = edit(canary())
    torn.value = torn.value[:-1]
    commands.append(torn)
    with harness.Stack(talkative) as stack:
        stack.load_inventory(INVENTORY)
        worker = stack.worker(**{"secrets.key_file": key_file(tmp_path, "first"), "log.level": "debug",
                                 "kafka.debug": "msg,consumer,eos,topic"})
        stack.send(commands)
        stack.wait_drained()
        results = stack.read_results()
        assert len(results) == len(commands) - 1
        outcomes = {r.result["command_id"]: r.result["outcome"] for r in results}
        assert [outcomes[c.fields["command_id"]] for c in commands[:4]] == ["APPLIED"] * 2 + ["REJECTED", "WOULD_APPLY"]
        letters = stack.read(stack.topics.commands_dlt)
        worker.terminate()
        dump = subprocess.run([os.path.join(talkative.environment["SIPTRUNK_DEV_PG_BIN"], "pg_dump"), "-d", stack.conninfo],
                              capture_output=True, check=True).stdout
        assert dump.count(b"first") >= 3, "no password was sealed at all"
        places = {
            "the results": b"".join(repr((r.key, r.value, r.headers)).encode() + r.value for r in results),
            "the headers of dead letters": repr([r.headers for r in letters]).encode(),
            "the worker's log": pathlib.Path(worker.log_path).read_bytes(),
            "the database": dump,
            "the database's log": pathlib.Path(talkative.environment["SIPTRUNK_DEV_PG_LOG"]).read_bytes(),
        }
        assert b"store_channels" in places["the database's log"] or b"UPDATE siptrunk.channel" in places["the database's log"]
        assert_nowhere(good + bad, places)


def test_keys_change_while_passwords_are_set(stack, tmp_path):
    stack.load_inventory(INVENTORY)
    worker = stack.worker(**{"secrets.key_file": key_file(tmp_path, "first")})
    commands = [edit(canary(), account_id=account, channel_name=name) for account in (ACCOUNT, OTHER) for name in CHANNELS]
    stack.send(commands)
    stack.wait_drained()
    worker.terminate()
    both = key_file(tmp_path, "second", "first")
    worker = stack.worker("w2", **{"secrets.key_file": both})
    more = [edit(canary(), account_id=account, channel_name=name) for _ in range(30) for account in (ACCOUNT, OTHER)
            for name in CHANNELS]
    stack.send(more)
    words = ["-X", f"postgres.conninfo={stack.conninfo}", "-X", f"secrets.key_file={both}", "secrets", "rotate"]
    out = harness.run_program("siptrunkctl", words).stdout
    assert "sealed anew with key second" in out
    stack.wait_drained()
    worker.terminate()
    results = stack.read_results()
    assert [r.result["outcome"] for r in results] == ["APPLIED"] * (len(commands) + len(more))
    assert stack.rows("select distinct password_key_id from siptrunk.channel") == [("second",)]
    assert stack.rows("select min(version), max(version) from siptrunk.channel") == [(32, 32)]
    old_only = ["-X", f"secrets.key_file={key_file(tmp_path, 'first')}"]
    refused = harness.run_program("siptrunkctl", ["-X", f"postgres.conninfo={stack.conninfo}", *old_only, "secrets", "rotate"], code=7)
    assert "key second" in refused.stderr


def test_a_resend_is_known_after_the_key_has_changed(stack, tmp_path):
    stack.load_inventory(INVENTORY)
    first, both, second = key_file(tmp_path, "first"), key_file(tmp_path, "second", "first"), key_file(tmp_path, "second")
    worker = stack.worker(**{"secrets.key_file": first})
    sent = stack.send([edit(canary()), edit(canary(), channel_name=CHANNELS[1])])
    stack.wait_drained()
    worker.terminate()
    worker = stack.worker(**{"secrets.key_file": both})
    reused = edit(canary(), command_id=sent[0].fields["command_id"])
    stack.send([harness.again(sent[0]), reused])
    stack.wait_drained()
    worker.terminate()
    assert dict(stack.rows("select mac_key_id, count(*) from siptrunk.command_ledger group by 1")) == {"first": 2, "second": 1}

    worker = stack.worker(**{"secrets.key_file": second})
    stack.send([harness.again(sent[1])])
    (trouble,) = harness.wait_for("the missing key in the log", lambda: [
        event for event in worker.events("recover") if event["error_id"] == "mac-key-missing"])
    assert "key first" in trouble["msg"]
    worker.terminate()
    stack.worker(**{"secrets.key_file": both})
    stack.wait_drained()
    results = [(r.result["command_id"], r.result["outcome"], r.header("replayed")) for r in stack.read_results()]
    ids = [command.fields["command_id"] for command in sent]
    assert results.count((ids[0], "APPLIED", b"true")) == results.count((ids[1], "APPLIED", b"true")) == 1
    assert [row for row in results if row[1] == "REJECTED"] == [(ids[0], "REJECTED", None)] and len(results) == 5


def test_without_a_key_a_password_is_refused_and_other_settings_are_not(stack):
    stack.load_inventory(INVENTORY)
    stack.worker()
    stack.send([edit(canary()), harness.command("EditChannel", account_id=ACCOUNT, channel_name=CHANNELS[0], area_code="036")])
    stack.wait_drained()
    assert [(r.result["outcome"], r.result["error_reason"]) for r in stack.read_results()] == [
        ("REJECTED", "urn:error:sip-trunk:operator:secrets-not-configured"), ("APPLIED", None)]
    assert stack.rows("select count(*) from siptrunk.channel where password_key_id is not null") == [(0,)]
