"""siptrunkctl results: each committed event once, as a table or as JSON, and an eye on the numbers that should follow one
another."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import uuid

import pytest

import harness

ACCOUNT, OTHER = "013dc5c1-ff09-4ece-ad3a-7f8f60949407", "00000000-0000-4000-8000-00000000000b"
NUMBERS = ["+31500000000", "+4921141873130"]
LONG_AGO = 1_600_000_000_000  # milliseconds


@pytest.fixture
def results(stack_ctl):
    return lambda *words, **more: stack_ctl("results", *words, **more)


def result(sequence, account=ACCOUNT, **fields):
    """As the worker would write it, in the order of the schema's defaults."""
    given = {"event_id": str(uuid.uuid4()), "command_id": str(uuid.uuid4()), "account_id": account,
             "command_type": "ConnectNumber", "outcome": "APPLIED", "status_code": 201, "account_sequence": sequence,
             "received_at": LONG_AGO * 1000, "applied_at": LONG_AGO * 1000, "source_topic": "t", "source_partition": 0,
             "source_offset": sequence, "errors": [], "warnings": [], "changes": [], "chain": b"", **fields}
    return {field["name"]: given.get(field["name"]) for field in harness.RESULT_SCHEMA.json["fields"]}


def write(stack, results, timestamp=LONG_AGO, topic=None):
    """By hand, without the worker."""
    producer = stack.producer()
    for fields in results:
        value = fields if isinstance(fields, bytes) else harness.RESULT_SCHEMA.encode(fields)
        key = b"raw" if isinstance(fields, bytes) else fields["account_id"].encode()
        producer.produce(topic or stack.topics.results, value, key, timestamp=timestamp)
    assert producer.flush(20) == 0


def shown(done):
    """Of --json."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def now_ms():
    return int(time.time() * 1000)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_table_of_what_a_worker_did(stack, results):
    stack.load_inventory(harness.GUIDE_INVENTORY)
    stack.worker()
    good = harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="name", number=NUMBERS[0])
    bad = harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="nowhere", number=NUMBERS[1])
    stack.send([good, bad])
    stack.read_results(count=2)
    done = results()
    heads, first, second = done.stdout.splitlines()
    assert heads.split() == ["TIME", "SEQ", "OUTCOME", "CODE", "COMMAND", "CHANNEL", "NUMBER", "COMMAND", "ID", "DETAIL"]
    assert first.split()[1:] == ["1", "APPLIED", "201", "ConnectNumber", "name", NUMBERS[0], good.fields["command_id"]]
    assert second.split()[1:5] == ["2", "REJECTED", "422", "ConnectNumber"]
    assert "channel-not-found /channel_name: Channel name does not exist" in second
    assert first.index("ConnectNumber") == second.index("ConnectNumber") == heads.index("COMMAND")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", first)
    assert done.stderr == "2 results, 1 rejected\n"


def test_json_holds_every_field(stack, results):
    given = result(1, number="+31", items=[{"caller_id": None, "id": "i", "name": "ü", "code": None}], offset=0,
                   changes=[{"pointer": "/password", "before": None, "after": None}], chain=bytes(range(32)),
                   warnings=[{"code": "alias-used", "pointer": "/x", "message": "m"}])
    write(stack, [given])
    [line] = shown(results("--json"))
    assert list(line) == [field["name"] for field in harness.RESULT_SCHEMA.json["fields"]]
    assert line == {**given, "chain": bytes(range(32)).hex()}


def test_nothing_there(results):
    done = results()
    assert (done.stdout, done.stderr) == ("", "0 results, 0 rejected\n")


def test_results_of_both_topics(stack, results):
    own = harness.unique("bulk-results")
    harness.create_topics(stack.servers, {own: 1})
    write(stack, [result(1)])
    write(stack, [result(2)], topic=own)
    lines = shown(results("--json", topics__results__bulk=own))
    assert sorted(line["account_sequence"] for line in lines) == [1, 2]


def test_only_what_is_committed(stack, results):
    producer = stack.producer(**{"transactional.id": harness.unique("x")})
    producer.init_transactions(20)
    producer.begin_transaction()
    for sequence in (1, 2):
        producer.produce(stack.topics.results, harness.RESULT_SCHEMA.encode(result(sequence)), ACCOUNT.encode())
    producer.flush(20)
    producer.abort_transaction(20)
    assert results("--json").stdout == ""
    producer.begin_transaction()
    producer.produce(stack.topics.results, harness.RESULT_SCHEMA.encode(result(1)), ACCOUNT.encode())
    producer.commit_transaction(20)
    assert len(shown(results("--json"))) == 1


def test_control_characters_do_not_reach_the_terminal(stack, results):
    write(stack, [result(1, channel_name="a\x1b[31mb\n\x9bc")])
    assert "a?[31mb??" in results().stdout
    assert "\\u001B[31m" in results("--json").stdout


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_of_one_account_and_of_one_batch(stack, results):
    write(stack, [result(1, batch_id="x"), result(2, batch_id="y"), result(3), result(1, OTHER, batch_id="x")])
    sequences = lambda *words: sorted((r["account_id"], r["account_sequence"]) for r in shown(results("--json", *words)))
    assert sequences("--account", ACCOUNT.upper()) == [(ACCOUNT, 1), (ACCOUNT, 2), (ACCOUNT, 3)]
    assert sequences("--batch", "x") == [(OTHER, 1), (ACCOUNT, 1)]
    assert sequences("--batch", "x", "--account", OTHER) == [(OTHER, 1)]
    assert sequences("--batch", "none") == []


def test_from_the_end(stack, results):
    write(stack, [result(1)])
    assert results("--from-end").stdout == ""


# --- copies and gaps --------------------------------------------------------------------------------------------------


def test_copies_are_left_out_and_counted(stack, results):
    first, second = result(1), result(2)
    write(stack, [first, first, second, first])
    done = results("--json")
    assert [line["event_id"] for line in shown(done)] == [first["event_id"], second["event_id"]]
    assert done.stderr == "2 results, 0 rejected; 2 repeated copies left out\n"


def test_missing_numbers_are_told_and_leave_with_7(stack, results):
    write(stack, [result(1), result(2), result(4), result(8), result(1, OTHER), result(2, OTHER)])
    done = results("--json", code=7)
    assert f"account {ACCOUNT}: result number 3 is missing\n" in done.stderr
    assert f"account {ACCOUNT}: result numbers 5 to 7 are missing\n" in done.stderr
    assert "6 results, 0 rejected; 4 numbers MISSING" in done.stderr
    assert OTHER not in done.stderr
    assert "MISSING" not in results("--account", OTHER).stderr
    assert "4 numbers MISSING" in results("--batch", "none", code=7).stderr


def test_numbers_may_come_in_any_order(stack, results):
    write(stack, [result(n) for n in (5, 1, 3, 2, 7, 6, 4)])
    assert "7 results, 0 rejected\n" == results("--json").stderr


def test_what_the_topic_has_forgotten_is_not_missing(stack, results):
    write(stack, [result(41), result(42)])
    assert results().stderr == "2 results, 0 rejected\n"


def test_results_without_a_number_are_no_gap(stack, results):
    write(stack, [result(0), result(1), result(0), result(2), result(0, "nobody")])
    assert results().stderr == "5 results, 0 rejected\n"


def test_a_young_gap_may_still_close(stack, results):
    write(stack, [result(1), result(3)], timestamp=now_ms())
    done = results()
    assert f"account {ACCOUNT}: result number 2 is not there yet\n" in done.stderr
    assert "MISSING" not in done.stderr


def test_records_that_are_no_results_are_told_and_passed_over(stack, results):
    write(stack, [b"", b"\xc3\x01unknown!", harness.command("ListProxies", account_id=ACCOUNT).value, result(1)])
    done = results("--json")
    assert len(shown(done)) == 1
    assert done.stderr.count(" is no result: ") == 3 and "3 unreadable records" in done.stderr


# --- following --------------------------------------------------------------------------------------------------------


def read_until(fd, pattern, deadline_s=20):
    """What comes from fd until the pattern is in it."""
    text, until = "", time.monotonic() + deadline_s
    while not re.search(pattern, text):
        assert time.monotonic() < until, f"{pattern} did not come: {text}"
        if select.select([fd], [], [], 0.2)[0]:
            text += os.read(fd, 65536).decode()
    return text


def test_follows_through_a_pipe_and_tells_a_gap_when_it_is_old(stack, stack_ctl):
    following = stack_ctl.start("results", "--follow", "--json")
    try:
        write(stack, [result(1)])
        assert json.loads(read_until(following.stdout.fileno(), "\n"))["account_sequence"] == 1
        write(stack, [result(4)])
        assert json.loads(read_until(following.stdout.fileno(), "\n"))["account_sequence"] == 4
        assert "numbers 2 to 3 are missing" in read_until(following.stderr.fileno(), "missing")
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
        assert "2 results, 0 rejected; 2 numbers MISSING" in following.stderr.read()
    finally:
        following.kill()
        following.communicate()


def test_follows_on_a_terminal(stack, stack_ctl):
    master, slave = pty.openpty()
    following = stack_ctl.start("results", "-f", "--from-end", stdout=slave, stderr=subprocess.PIPE)
    os.close(slave)
    try:
        until = time.monotonic() + 20
        seen = ""
        while "APPLIED" not in seen:  # what was written before it began to read is not shown
            assert time.monotonic() < until
            write(stack, [result(1)])
            if select.select([master], [], [], 0.7)[0]:
                seen += os.read(master, 65536).decode()
        assert seen.startswith("TIME") and seen.count("TIME") == 1
        write(stack, [result(2, number="+4917")])
        assert "+4917" in read_until(master, "4917")
        following.send_signal(signal.SIGTERM)
        assert following.wait(10) == 130
    finally:
        following.kill()
        following.communicate()
        os.close(master)


def test_a_reader_that_has_enough_ends_it(stack, stack_ctl):
    write(stack, [result(n) for n in range(1, 5000)])
    reading = stack_ctl.start("results", "--json")
    reading.stdout.readline()
    reading.stdout.close()
    assert reading.wait(20) == -signal.SIGPIPE
    assert reading.stderr.read() == ""
    reading.stderr.close()


def test_output_that_does_not_get_out_is_no_success(stack, stack_ctl):
    write(stack, [result(1)])
    for words in (["results"], ["results", "--json"]):
        with open("/dev/full", "w") as full:
            reading = stack_ctl.start(*words, stdout=full)
            _, said = reading.communicate(timeout=20)
        assert reading.returncode == 7 and "cannot write to standard output" in said


# --- what stands in the way -------------------------------------------------------------------------------------------


def test_topic_that_is_not_there(results):
    missing = harness.unique("missing")
    assert missing in results(code=7, topics__results=missing).stderr


def test_unreachable_broker(results):
    assert "127.0.0.1:1" in results(code=5, kafka__bootstrap__servers="127.0.0.1:1").stderr


@pytest.mark.parametrize("words", [["x"], ["--account", "nobody"], ["--account"], ["--batch"], ["--json=1"], ["-x"], ["--folow"]],
                         ids=" ".join)
def test_usage_errors(results, words):
    assert "siptrunkctl results --help" in results(*words, code=2).stderr


def test_a_transaction_of_long_ago_does_not_hold_it_back(stack, results):
    """One that is open holds back what comes behind it, but its end is the end of what is read."""
    write(stack, [result(1)])
    producer = stack.producer(**{"transactional.id": harness.unique("x"), "transaction.timeout.ms": 60000})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(stack.topics.results, harness.RESULT_SCHEMA.encode(result(2)), ACCOUNT.encode())
    producer.flush(20)
    assert len(shown(results("--json"))) == 1
    producer.abort_transaction(20)
