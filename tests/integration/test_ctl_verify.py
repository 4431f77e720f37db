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
from traffic import Traffic

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
