"""The thread sanitizer looks on while workers with several threads a lane are scraped, lose their database sessions and their
partitions, and stop. Its own build: ./dev races."""

import random
import socket
import time
import urllib.request

import check
import harness
from traffic import Load, Traffic

RECORDS_PER_S = 60  # and lane
PARTITIONS = 4
AT_WORK_S = 4
RECOVERY_S = 90
OPTIONS = f"suppressions={harness.ROOT}/tests/support/tsan.supp:exitcode=66:second_deadlock_stack=1"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(stack, instance, port):
    return stack.worker(instance, environment={"TSAN_OPTIONS": OPTIONS}, threads__interactive=2, threads__bulk=2,
                        http__listen=f"127.0.0.1:{port}")


def scrape(port, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
            assert b"siptrunk_" in page.read()
        time.sleep(0.1)


def leave(worker):
    """Exit code 66 is the sanitizer's."""
    code, seconds = worker.terminate(60)
    found = [line for line in worker.log().splitlines() if line.startswith("SUMMARY")]
    print(f"{worker.instance} left with {code} after {seconds:.1f} s, {len(found)} findings")
    assert code == 0 and not found, f"{found}\n{worker.log()}"


def test_no_data_race():
    with harness.Stack(harness.Servers.shared(), PARTITIONS) as stack:
        traffic = Traffic(random.Random(harness.seed(9)), accounts=20, numbers=20)
        stack.load_inventory(traffic.inventory())
        before, port = check.stored(stack), free_port()
        first = start(stack, "w1", port)
        load = Load(stack, traffic, RECORDS_PER_S)
        load.start()
        scrape(port, AT_WORK_S)
        stack.end_sessions()
        second = start(stack, "w2", free_port())  # partitions change hands
        scrape(port, AT_WORK_S)
        leave(second)
        load.stop()
        stack.wait_drained(RECOVERY_S)
        print(check.summary(check.verify(stack, before)))
        leave(first)
