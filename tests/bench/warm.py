"""Brings the broker to the speed that it keeps: Java compiles what has run often. A bare echo over a backlog, and over again, until
the broker takes no less of the processor than before."""
import os
import uuid

import stage
from traffic import connect

COMMANDS, AT_MOST, ENOUGH = 100_000, 8, 0.95


def warm_up(admin):
    before = None
    messages = [connect(index) for index in range(COMMANDS)]
    for _ in range(AT_MOST):
        tag = f"warm-{uuid.uuid4().hex[:8]}"
        topics = stage.Topics(admin, tag)
        stage.produce(topics.bulk, messages)
        now = stage.drain("bench-echo", stage.options(topics, "", tag), tag, topics.bulk, COMMANDS,
                          os.path.join(stage.LOGS, f"{tag}.log"))["cpu_broker"]
        stage.say(f"warming up: the broker takes {now:.1f} ms of the processor for 1,000 records")
        if before and now > ENOUGH * before:
            break
        before = now
