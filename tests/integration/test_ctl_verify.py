"""siptrunkctl verify: silent over what a worker has done, and each damage to it is found under its name. All single mutations
are tried on the judge alone (tests/ctl/verify_mutations.c), some of them on topics and tables."""

import json
import os
import pathlib
import random
import subprocess
import uuid

import pytest

import harness
import history_dump
from traffic import Load, Traffic

MUTATIONS = pathlib.Path(os.environ.get("SIPTRUNK_TEST_MUTATIONS", harness.BIN.parent / "tests" / "verify_mutations"))
LISTS = ("ListCallerIds", "ListProxies", "ListTemplates", "ListCallBarrings")


@pytest.fixture
def verify(stack_ctl, stack):
    """Runs it with --json; (names with the findings of each, the text of the counts)."""
    stack_ctl.settings["kafka.group.id"] = stack.group

    def run(*words, code=None, **more):
        done = stack_ctl("verify", "--json", *words, code=None, **more)
        assert done.returncode in ((0, 7) if code is None else (code,)), done.stdout + done.stderr
        found = {}
        for line in done.stdout.splitlines():
            finding = json.loads(line)
            found.setdefault(finding["name"], []).append(finding)
        assert (done.returncode == 7) == bool(found) or code is not None
        return found, done.stderr

    run.ctl = stack_ctl
    return run


def all_kinds(traffic, count):
    """What order systems send, and what the generator of the fault tests leaves out: dry runs, all lists, versions, cases."""
    account = traffic.accounts[0]
    number = traffic.numbers[account][0]
    made = traffic.batch(count)
    for name in LISTS:
        made.append(traffic._command(name, account_id=account))
    made.append(traffic._command("ConnectNumber", account_id=account, channel_name="east", number=number, dry_run=True,
                                 batch_id="batch", correlation_id="correlation", source_system="crm", actor="me"))
    made.append(traffic._command("EditChannel", account_id=account, channel_name="east", expected_version=77, area_code="030"))
    upper = traffic._command("DisconnectNumber", account_id=account.upper(), command_id=str(uuid.uuid4()).upper(),
                             number=number)
    upper.key = account.encode()
    made += [upper, traffic.resent(), traffic.reused(), traffic.unreadable(), traffic.unreadable(), traffic.tombstone()]
    plain = traffic.connect()
    plain.headers = []  # as of a client that does not wait
    return made + [plain, harness.again(plain)]


def make_history(stack, count=30, seed=3):
    """Both lanes, some records on both; a worker has done all of it."""
    traffic = Traffic(random.Random(seed), accounts=3)
    stack.load_inventory(traffic.inventory())
    worker = stack.worker()
    stack.send(all_kinds(traffic, count))
    stack.send([harness.again(item) for item in traffic.batch(count)] + [traffic.resent() for _ in range(5)], stack.topics.bulk)
    stack.wait_drained()
    abort_copies(stack)
    return traffic, worker


def abort_copies(stack, count=6):
    """What a worker leaves that dies between sending and committing."""
    results = stack.read(stack.topics.results)
    producer = stack.producer(**{"transactional.id": harness.unique("dead")})
    producer.init_transactions(20)
    producer.begin_transaction()
    for record in results[:: max(1, len(results) // count)]:
        producer.produce(record.topic, record.value, record.key, partition=record.partition, headers=record.headers)
    producer.flush(20)
    producer.abort_transaction(20)
    stack._producer = None


def test_finds_each_single_mutation(stack, verify, tmp_path):
    make_history(stack)
    assert verify("--complete", code=0)[0] == {}
    history_dump.dump(stack, tmp_path / "history.json")
    done = subprocess.run([MUTATIONS, tmp_path / "history.json"], capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


# --- on topics and tables ---------------------------------------------------------------------------------------------


def execute(stack, statement, *values):
    with stack.connect() as db:
        db.execute(statement, values)


def publish(stack, record, topic=None, value=None, headers=None):
    """A record of a topic once more, by somebody who is no worker."""
    producer = stack.producer()
    producer.produce(topic or record.topic, value or record.value, record.key, partition=record.partition,
                     headers=record.headers if headers is None else headers)
    assert producer.flush(20) == 0


def test_names_damage_to_the_database(stack, verify):
    make_history(stack, 12)
    [(account, command, topic, partition, offset)] = stack.rows(
        "select account_id, command_id, source_topic, source_partition, source_offset from siptrunk.command_ledger"
        " where account_sequence = 2 limit 1")
    row = "where account_id = %s and command_id = %s"
    execute(stack, f"update siptrunk.command_ledger set outcome = 'APPLIED', error_reason = null, batch_id = 'other' {row}",
            account, command)
    found, _ = verify("--complete")
    assert set(found) == {"ledger-columns"}
    [finding] = found["ledger-columns"]
    assert (finding["topic"], finding["partition"], finding["offset"]) == (topic, partition, offset)
    assert (finding["account_id"], finding["command_id"]) == (str(account), str(command)) and finding["action"]
    execute(stack, f"delete from siptrunk.command_ledger {row}", account, command)
    assert {"ledger-missing", "sequence-gap"} <= set(verify()[0])
    execute(stack, "update siptrunk.account_tail set last_sequence = last_sequence - 1 where account_id = %s", account)
    assert "tail" in verify()[0]
    execute(stack, "update siptrunk.partition_position set next_offset = 0 where topic = %s and partition = %s", topic, partition)
    assert "position" in verify()[0]
    text = verify.ctl("verify", code=7).stdout
    assert "tail (1):" in text and "K = " in text and "what to do:" in text


def test_names_damage_to_the_topics(stack, verify):
    make_history(stack, 12)
    topics = stack.topics
    result = next(r for r in stack.read(topics.results) if r.result["account_sequence"] == 1)
    publish(stack, result)
    assert "answered-twice" in verify()[0]
    strange = {**result.result, "event_id": str(uuid.uuid4()), "account_sequence": 0, "chain": b""}
    publish(stack, result, value=harness.RESULT_SCHEMA.encode(strange))
    publish(stack, result, value=b"no result")
    letter = next(r for topic in (topics.commands_dlt, topics.bulk_dlt) for r in stack.read(topic))
    publish(stack, letter, headers=[])
    assert {"answered-twice", "phantom", "unreadable-result", "key", "dead-letter-phantom"} <= set(verify()[0])


def test_tells_what_waits_and_what_is_gone(stack, verify):
    traffic, worker = make_history(stack, 12)
    worker.terminate()
    stack.send([traffic.connect() for _ in range(5)])
    found, counts = verify()
    assert found == {} and "5  waiting" in counts
    found, _ = verify("--complete")
    assert {name: len(findings) for name, findings in found.items()} == {"waiting": 5}
    gone = [harness.TopicPartition(topic, p, 2) for topic in (stack.topics.commands, stack.topics.results) for p in range(3)
            if stack.ends(topic)[p] >= 2]
    for future in stack.servers.admin.delete_records(gone).values():
        future.result(20)
    found, counts = verify()
    assert found == {} and "unchecked" in counts


def test_finds_nothing_beside_a_worker_under_load_and_after_its_death(stack, verify):
    traffic = Traffic(random.Random(5))
    stack.load_inventory(traffic.inventory())
    load = Load(stack, traffic, 200)
    worker = stack.worker()
    load.start()
    for _ in range(4):
        assert verify()[0] == {}
    worker.kill()
    assert verify()[0] == {}
    stack.worker("w2")
    load.stop()
    stack.wait_drained()
    found, counts = verify("--complete")
    assert found == {} and " 0  waiting" in counts


def test_its_voice(verify):
    assert "Usage" not in verify.ctl("verify", "--help").stdout and "--complete" in verify.ctl("verify", "--help").stdout
    assert "there is no option --compete; did you mean --complete?" in verify.ctl("verify", "--compete", code=2).stderr
    assert "there is no topic nowhere" in verify.ctl("verify", code=7, topics__commands="nowhere").stderr
    verify.ctl("verify", code=5, kafka__bootstrap__servers="127.0.0.1:1")
