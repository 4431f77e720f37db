"""W28: standard error takes nothing any more: a full device, a full file system, a pipe that nobody reads. The worker works on,
finds its way back from trouble, and stops in time."""

import json
import os
import random

import pytest

import check
import harness
import small_disk
from traffic import Traffic

COMMANDS = 60
STOP_S = 5
SMALL = 4096  # a page


class FullDevice:
    def __init__(self, directory):
        self.error = open("/dev/full", "wb", buffering=0)

    def close(self):
        self.error.close()


class FullDisk:
    """A file system of one page; what it takes ends within a line."""

    def __init__(self, directory):
        self.place = directory / "small"
        self.place.mkdir()
        assert small_disk.mount(self.place, SMALL)
        self.error = open(self.place / "log", "ab", buffering=0)

    def close(self):
        full = (self.place / "log").stat().st_size
        self.error.close()
        small_disk.unmount(self.place)
        assert full == SMALL, f"it never was full: {full} bytes"


class Pipe:
    """Full from the beginning; read at the end, when it must tell how much is missing."""

    def __init__(self, directory):
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(self.writing, b"\n" * 4096)
        os.set_blocking(self.writing, True)
        self.error = self.writing

    def read(self):
        return os.read(self.reading, 1 << 20).decode()

    def close(self):
        os.close(self.reading)
        os.close(self.writing)


PLACES = [FullDevice, Pipe] + [FullDisk] * small_disk.may_mount()


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def work(stack, traffic):
    for topic in (stack.topics.commands, stack.topics.bulk):
        stack.send([traffic.usual() for _ in range(COMMANDS)], topic)
    stack.wait_drained()


def test_works_on_without_a_log(place):
    with harness.Stack(harness.Servers.shared()) as stack:
        traffic = Traffic(random.Random(harness.seed(4)))
        stack.load_inventory(traffic.inventory())
        before = check.stored(stack)
        worker = stack.worker(ready=False, error=place.error, log__level="debug")
        work(stack, traffic)
        stack.end_sessions()
        work(stack, traffic)
        if isinstance(place, Pipe):
            place.read()
            stack.end_sessions()  # gives it something to say
            work(stack, traffic)
            lines = [json.loads(line) for line in place.read().splitlines() if line]
            assert lines[0]["event"] == "log-left-out" and lines[0]["left_out"] > 0, lines[:3]
        print(check.summary(check.verify(stack, before)))
        code, seconds = worker.terminate()
        assert code == 0 and seconds < STOP_S, f"exit code {code} after {seconds:.1f} s"
