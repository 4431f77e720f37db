"""A batch that was stored by a process that died is answered by the next one, which counts it for what it was."""

import random

import harness
from probe import LISTEN, Probe
from traffic import Traffic


def test_what_a_dead_process_had_stored_counts_with_its_own_outcome(stack):
    traffic = Traffic(random.Random(1))
    stack.load_inventory(traffic.inventory())
    settings = {"threads__bulk": 0, "http__listen": LISTEN}
    records = [traffic.connect(channel_name="nowhere"), traffic.connect(), traffic.connect(dry_run=True)]
    stack.send(records + [harness.again(records[1])])
    dying = stack.worker(environment=harness.armed("stored:1"), ready=False, **settings)
    assert dying.exit_code() == -9, dying.log()
    assert stack.rows("select count(*) from siptrunk.command_ledger")[0][0] > 0, "it died before it stored anything"
    probe = Probe(stack.worker(**settings))
    stack.wait_drained()
    counted = {}

    def all_counted():
        counted.update(probe.metrics().by("siptrunk_commands_total", "lane", "type", "outcome"))
        return sum(counted.values()) == 4

    harness.wait_for(lambda: f"4 commands are counted: {counted}", all_counted)
    expected = {}
    for record in stack.read_results(count=4):
        outcome = "replayed" if record.replayed else record.result["outcome"].lower()
        key = ("interactive", "ConnectNumber", outcome)
        expected[key] = expected.get(key, 0) + 1
    assert {outcome for _, _, outcome in expected} == {"applied", "rejected", "would_apply", "replayed"}
    assert counted == expected
    assert probe.metrics().by("siptrunk_errors_total", "lane", "reason") == {("interactive", "channel-not-found"): 1}
