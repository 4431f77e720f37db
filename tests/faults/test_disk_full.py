"""W28: the disk of a server is full. Nothing is answered that is not stored, and everything is done when there is room again; a
server that has died of it is started again. On servers of its own, whose data lie on small file systems."""

import random
import subprocess
import time

import pytest

import check
import harness
import small_disk
from traffic import Load, Traffic

DIRECTORY = "disk-run"
SIZES = {"pg": "600m", "kafka": "400m"}
RECORDS_PER_S = 60
NOTICED_S, FULL_S, RECOVERY_S = 60, 3, 60


class SmallDisk:
    """Under the data of a server that does not run yet."""

    def __init__(self, server):
        self.place = harness.ROOT / ".dev" / DIRECTORY / server
        self.place.mkdir(parents=True, exist_ok=True)
        assert small_disk.mount(self.place, SIZES[server])

    def fill(self):
        full = subprocess.run(["dd", "if=/dev/zero", f"of={self.place / 'filler'}", "bs=64k"], stderr=subprocess.PIPE, text=True)
        assert "No space left" in full.stderr, full.stderr

    def free(self):
        (self.place / "filler").unlink()

    def close(self):
        small_disk.unmount(self.place)


@pytest.fixture(scope="module")
def disks():
    made = {server: SmallDisk(server) for server in SIZES}
    yield made
    for disk in made.values():
        disk.close()


@pytest.fixture(scope="module")
def servers(disks):
    with harness.own_servers(DIRECTORY) as own:
        yield own


@pytest.mark.skipif(not small_disk.may_mount(), reason="needs the right to mount")
@pytest.mark.parametrize("server, signs", [("pg", ("53100", "postgres-connection")), ("kafka", ("_TRANSPORT", "_TIMED_OUT", "_INCONSISTENT"))])
def test_goes_on_when_there_is_room_again(servers, disks, server, signs):
    with harness.Stack(servers) as stack:
        traffic = Traffic(random.Random(harness.seed(28)), accounts=8, numbers=50)
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        load = Load(stack, traffic, RECORDS_PER_S)
        load.start()
        worker = stack.worker()
        harness.wait_for("commands are done", lambda: sum(stack.committed(stack.topics.commands).values()) > 50)

        disks[server].fill()
        full = harness.wait_for("the worker is in trouble", lambda: [
            event for event in worker.events() if any(sign in str(event) for sign in signs)], NOTICED_S, 0.2)
        time.sleep(FULL_S)
        disks[server].free()
        servers.do("start", server)
        load.stop()
        stack.wait_drained(RECOVERY_S)
        print(f"{full[0]['msg'][:120]}; {check.summary(check.verify(stack, before))}")
        assert worker.process.poll() is None, "the worker has left"


def batches(log):
    """Of a segment file, as bytes."""
    while log:
        size = 12 + int.from_bytes(log[8:12], "big")
        yield log[:size]
        log = log[size:]


CONTROL = 0x20  # in the second byte of a batch's attributes: not records, the end of a transaction


def put_others_under_the_last_offsets(servers, topic):
    """What a broker leaves behind whose index could not grow: what it refused stands in the log, behind what it then gave the
    same offsets. Here, behind the last batch of each partition, those before it that have as many records."""
    servers.do("stop", "kafka")
    added = 0
    for segment in (servers.directory / "kafka" / "data").glob(f"{topic}-[0-9]*/*.log"):
        log = list(batches(segment.read_bytes()))
        records = [i for i, batch in enumerate(log) if not batch[22] & CONTROL]
        last = log[records[-1]]
        others = [last[:8] + log[i][8:] for i in records[:-1] if log[i][23:27] == last[23:27]]
        log[records[-1]] += b"".join(others)
        segment.write_bytes(b"".join(log))
        added += len(others)
    servers.do("start", "kafka")
    return added


def test_several_records_under_one_offset_are_one():
    with harness.own_servers("repeated-run") as servers, harness.Stack(servers) as stack:
        traffic = Traffic(random.Random(harness.seed(28)), accounts=8, numbers=50)
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        for _ in range(20):
            stack.send([traffic.usual()])
        added = put_others_under_the_last_offsets(servers, stack.topics.commands)
        assert added > 10
        worker = stack.worker()
        stack.wait_drained()
        stack.send([traffic.usual() for _ in range(30)])
        stack.wait_drained()
        print(check.summary(check.verify(stack, before)))
        skipped = worker.events("repeated-offset")
        assert len(skipped) >= added and {event["topic"] for event in skipped} == {stack.topics.commands}
