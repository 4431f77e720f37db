"""What a command costs the worker: processor time by stage and thread, instructions, round trips and bytes of a batch, allocations,
memory, and how long it takes from the start of the process to the first result."""
import argparse
import collections
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import uuid

from confluent_kafka.admin import AdminClient

import stage
from stage import ROOT, TICK, Topics, fresh_database, options, peak_rss, produce, say, start, stop, wait_drained
from traffic import NUMBERS, connect
from warm import warm_up

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
LIBRARIES = os.path.join(ROOT, "build", "release", "tests")
import starve  # noqa: E402

starve.LIBRARY = os.path.join(LIBRARIES, "libstarve.so")

CALLS = ("statements", "round_trips", "messages", "transactions")
CALLERS = {"the worker itself": starve.PROGRAM, "libpq": starve.LIBPQ, "librdkafka": starve.LIBRDKAFKA,
           "other libraries": starve.OTHERS}
STAGES = ("decode", "load", "decide", "store", "reply")
WINDOW_S = 0.6
# A function of the worker each, with all that it calls.
PARTS = {"decode": "decode_record", "load": "load_batch", "decide, with encode": "decide_batch", "encode": "result_encode",
         "store": "store_batch", "reply": "reply_batch"}


class Run:
    """A worker over a backlog, with its metrics within reach."""

    def __init__(self, admin, messages, extra=(), environment=None, before=(), **sizes):
        self.tag = f"cost-{uuid.uuid4().hex[:8]}"
        self.topics, self.total = Topics(admin, self.tag, **sizes), len(messages)
        self.partitions = sizes.get("partitions", stage.PARTITIONS)
        produce(self.topics.bulk, messages)
        self.port = stage.free_port()
        words = options(self.topics, fresh_database("bench"), self.tag,
                        ["threads.interactive=0", f"http.listen=127.0.0.1:{self.port}", *extra])
        self.log = os.path.join(stage.LOGS, f"{self.tag}.log")
        self.began = time.time()
        self.process = start("siptrunk-worker", words, self.log, environment, before)

    def metric(self, name, **labels):
        return stage.metric(self.port, name, **labels)

    def batches(self):
        return self.metric("siptrunk_batch_size_messages_count")

    def done(self):
        return self.metric("siptrunk_batch_size_messages_sum")

    def wait_begun(self):
        while True:
            try:
                if self.done():
                    return
            except OSError:
                pass
            time.sleep(0.02)

    def drained(self):
        return wait_drained(self.tag + "-bulk", self.topics.bulk, self.total, self.process, 300, self.partitions)

    def event_at(self, name):
        """Seconds behind the start."""
        for line in open(self.log):
            event = json.loads(line)
            if event["event"] == name:
                moment = time.strptime(event["time"][:19], "%Y-%m-%dT%H:%M:%S")
                return time.mktime(moment) - time.timezone + float("0" + event["time"][19:23]) - self.began
        return float("nan")


def threads_cpu(pid):
    """Seconds by what a thread is."""
    spent = collections.Counter()
    for task in os.listdir(f"/proc/{pid}/task"):
        name, fields = open(f"/proc/{pid}/task/{task}/stat").read().split("(", 1)[1].rsplit(")", 1)
        spent["librdkafka's threads" if name.startswith("rdk:") else "the worker's threads"] += sum(map(int, fields.split()[11:13])) / TICK
    return spent


def bytes_by_port(pid):
    """(sent, received) of a process' connections by the port they lead to."""
    out = subprocess.run(["ss", "-tinpH"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = collections.defaultdict(lambda: [0, 0])
    for head, tail in re.findall(r"^(\S.*)\n\s+(.*)$", out, re.M):
        if f"pid={pid}," in head:
            port = head.split()[4].rsplit(":", 1)[1]
            for place, name in enumerate(("bytes_sent", "bytes_received")):
                match = re.search(rf"{name}:(\d+)", tail)
                found[port][place] += int(match[1]) if match else 0
    return found


def processor_time(admin, messages, more=()):
    run = Run(admin, messages, ["threads.bulk=2", *more])
    end, (first, done) = run.drained()
    each_ms = (end - first) * 1000 * 2 / ((len(messages) - done) / len(messages) * run.batches())
    threads, traffic, batches = threads_cpu(run.process.pid), bytes_by_port(run.process.pid), run.batches()
    say(f"{len(messages):,} connects in {batches:,.0f} batches of {len(messages) / batches:.0f} on average")
    per = 1e6 / len(messages)
    for name in STAGES:
        cpu = run.metric("siptrunk_stage_cpu_seconds_sum", stage=name)
        whole = run.metric("siptrunk_stage_duration_seconds_sum", stage=name)
        say(f"  {name:<7} {cpu * per:5.2f} us of the processor for each command, {whole / batches * 1000:6.2f} ms for each batch")
    staged_ms = run.metric("siptrunk_stage_duration_seconds_sum") / batches * 1000
    say(f"  between two batches, most of it waiting for records: {each_ms - staged_ms:.1f} of {each_ms:.1f} ms")
    for name, seconds in sorted(threads.items()):
        say(f"  {name:<21} {seconds * per:5.2f} us of the processor for each command")
    for name, port in (("database", stage.PG_PORT), ("broker", stage.BOOTSTRAP.rsplit(":", 1)[1])):
        sent, received = traffic[port]
        say(f"  bytes for each batch to the {name} {sent / batches:,.0f}, from it {received / batches:,.0f};"
            f" for each command {sent / len(messages):.0f} and {received / len(messages):.0f}")
    claimed = run.event_at("claimed")
    stop(run.process)
    say(f"  from the start of the process to its partitions {claimed:.2f} s")


def instructions(admin, messages):
    """As callgrind counts them, in the worker's threads. It knows no instructions for SHA-256, which most processors have."""
    count = min(len(messages), 20_000)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "callgrind.out")
        run = Run(admin, messages[:count], ["threads.bulk=1"],
                  before=["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={path}"])
        run.drained()
        stop(run.process)
        text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", path], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
    found = collections.Counter()
    for number, function in re.findall(r"^\s*([\d,]+) \(.*?\)\s+\S*?:([\w.']+) \[", text, re.M):
        found[re.sub(r"[.'].*", "", function)] += int(number.replace(",", ""))
    for name, function in PARTS.items():
        say(f"  {name:<21} {found[function] / count:>8,.0f} instructions for each command")


def calls(admin, messages):
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(8 * len(CALLS))
        run = Run(admin, messages, ["threads.bulk=2"], {"LD_PRELOAD": os.path.join(LIBRARIES, "libbench-calls.so"), "CALLS_FILE": file.name})
        run.drained()
        counted = dict(zip(CALLS, struct.unpack("=4Q", mmap.mmap(file.fileno(), 8 * len(CALLS))[:])))
        batches = run.batches()
        stop(run.process)
    say("for each batch: " + ", ".join(f"{counted[name] / batches:.2f} {name.replace('_', ' ')}" for name in CALLS)
        + " (round trips and statements of the database, messages and transactions of the broker)")


def allocations(admin, messages):
    memory = starve.Starvation()
    environment = {key: value for key, value in memory.environment.items() if key != "ASAN_OPTIONS"}
    run = Run(admin, messages, ["threads.bulk=2"], environment)
    run.wait_begun()
    time.sleep(0.5)
    for name, caller in CALLERS.items():
        before = run.done()
        memory.begin(starve.RANDOM, caller)
        time.sleep(WINDOW_S)
        counted, done = memory.end()[0], run.done() - before
        say(f"  allocations by {name}: {counted / max(done, 1):.2f} for each command ({counted:,} over {done:,.0f} commands)")
    run.drained()
    stop(run.process)


def memory(admin, messages):
    """Peak of the resident set, by what it may depend on; so many threads for each lane."""
    large = [(key, value, {"filler": b"x" * 8000}) for key, value in messages[:20_000]]
    for name, work, threads, sizes in (("2 threads", messages, 2, {}), ("1 thread", messages, 1, {}), ("4 threads", messages, 4, {}),
                                       ("2 threads, as large a backlog of the interactive lane too", messages, 2, {}),
                                       ("2 threads, a tenth of the backlog", messages[:len(messages) // 10], 2, {}),
                                       ("2 threads, headers of 8 KB", large, 2, {}),
                                       ("2 threads, 24 partitions", messages, 2, {"partitions": 24})):
        run = Run(admin, work, [f"threads.bulk={threads}", f"threads.interactive={threads}"], **sizes)
        if name.endswith("too"):
            produce(run.topics.commands, work)
            wait_drained(run.tag, run.topics.commands, run.total, run.process, 300, run.partitions)
        run.drained()
        say(f"  {name}: {peak_rss(run.process.pid):.1f} MiB")
        stop(run.process)


def first_result(admin, messages):
    for _ in range(3):
        run = Run(admin, messages[:1000], ["threads.bulk=2"])
        run.wait_begun()
        first = time.time() - run.began
        say(f"  started {run.event_at('started'):.2f} s, partitions {run.event_at('claimed'):.2f} s, first results {first:.2f} s"
            f" after the start of the process")
        stop(run.process)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000, help="size of the backlogs (default 200000)")
    parser.add_argument("--only", default="processor_time,instructions,calls,allocations,memory,first_result", help="parts (default: all)")
    parser.add_argument("-X", action="append", default=[], metavar="KEY=VALUE", help="configuration of the worker, for processor_time")
    args = parser.parse_args()
    admin = AdminClient({"bootstrap.servers": stage.BOOTSTRAP})
    warm_up(admin)
    messages = [connect(index % NUMBERS) for index in range(args.commands)]
    for part in args.only.split(","):
        say(part.replace("_", " "))
        globals()[part](admin, messages, *([args.X] if part == "processor_time" else []))


if __name__ == "__main__":
    main()
