"""How long siptrunkctl verify takes, and how much memory, over a history that a worker has made of a backlog: a mix of
commands in the bulk lane, among them resends. Its findings must be none."""
import argparse
import os
import subprocess
import sys
import time
import uuid

from confluent_kafka.admin import AdminClient

import stage
import traffic

RESEND_EVERY = 50


def messages(count):
    """Every fiftieth is the record before it once more."""
    for index in range(count):
        if index % RESEND_EVERY:
            last = traffic.mixed(index)
        else:
            last = last if index else traffic.mixed(0)
        yield last


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1_000_000, help="commands in the history (default 1000000)")
    parser.add_argument("--runs", type=int, default=2, help="of verify over the same history (default 2)")
    args = parser.parse_args()
    tag = f"verify-{uuid.uuid4().hex[:6]}"
    topics = stage.Topics(AdminClient({"bootstrap.servers": stage.BOOTSTRAP}), tag)
    words = stage.options(topics, stage.fresh_database("bench_verify"), tag)
    stage.say(f"making a history of {args.commands:,} commands")
    stage.produce(topics.bulk, messages(args.commands))
    figures = stage.drain("siptrunk-worker", words + ["-X", "threads.interactive=0", "-X", "threads.bulk=2"], tag + "-bulk",
                          topics.bulk, args.commands, os.path.join(stage.LOGS, f"{tag}.log"), timeout=600)
    stage.say(f"  the worker did {figures['rate']:,.0f}/s")
    for _ in range(args.runs):
        began = time.monotonic()
        program = subprocess.Popen([os.path.join(stage.BIN, "siptrunkctl"), *words, "verify", "--complete"])
        _, status, usage = os.wait4(program.pid, 0)
        stage.say(f"verify: {time.monotonic() - began:.1f} s, CPU {usage.ru_utime + usage.ru_stime:.1f} s,"
                  f" peak {usage.ru_maxrss / 1024:.0f} MiB")
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit("it found something, or failed")


if __name__ == "__main__":
    main()
