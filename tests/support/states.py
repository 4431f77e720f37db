"""The labelled states of a worker: its failpoints, in the order of a round; a line of its code each."""

import re

import harness

PLACES = (
    "producer-started", "claimed", "taken", "decoded", "loaded", "decided", "store_channels",
    "store_numbers", "store_ledger", "store_tails", "store_positions", "store-commit-sent", "stored",
    "reply-begun", "reply-half-sent", "reply-sent", "offsets-sent", "reply-committed", "replied",
)


def labels_of_the_code():
    """What stands there; a statement of store is a place of its name."""
    texts = [path.read_text() for path in sorted((harness.ROOT / "worker").glob("*.c"))]
    named = {name for text in texts for name in re.findall(r'FAILPOINT\("([a-z-]+)"\)', text)}
    statements = {name for text in texts for name in re.findall(r'\{"(store_[a-z]+)"', text)}
    return named | statements - {"store_commit"}
