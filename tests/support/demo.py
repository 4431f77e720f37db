"""The commands of the demonstration, and what came of them as a table. Needs nothing but Python's own library.

demo.py commands BATCH          lines for siptrunkctl send, with ids of this batch
demo.py table BATCH RESULTS     a row a command; RESULTS holds lines of siptrunkctl results --json
demo.py copies BATCH            of committed results on standard input, those of the first command; fails unless they are
                                one result and one copy
"""

import json
import pathlib
import sys
import uuid

COMMANDS = pathlib.Path(__file__).with_name("demo-commands.jsonl")


def steps(batch):
    """(label, command), where @name stands for an id that belongs to batch and name."""
    for line in COMMANDS.read_text().splitlines():
        step = json.loads(line)
        command = step["command"]
        command["command_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, batch + command["command_id"]))
        command["batch_id"] = batch
        yield step["label"], command


def told(result):
    """What a result says beyond its outcome, in a few words."""
    if result["errors"]:
        return result["error_reason"].removeprefix("urn:error:sip-trunk:")
    if result["items"] is not None:
        shown = [item["caller_id"] or item["name"] for item in result["items"]]
        return f"{len(shown)} of {result['total'] or len(shown)}: " + ", ".join(text.strip() for text in shown)
    changes = [f"{change['pointer']} {change['before'] or '-'} -> {change['after'] or '-'}" for change in result["changes"]]
    return changes[0] if len(changes) == 1 else f"{len(changes)} changes: " + ", ".join(text.split()[0] for text in changes[:4]) + ", .."


def table(batch, path):
    results = {}
    for line in pathlib.Path(path).read_text().splitlines():
        result = json.loads(line)
        results.setdefault(result["command_id"], []).append(result)
    seen = []
    for label, command in steps(batch):
        if command in seen:
            yield label, "as before", "", "the stored result once more"
            continue
        seen.append(command)
        result = results[command["command_id"]].pop(0)
        yield label, result["outcome"], result["account_sequence"] or "-", told(result)


def copies(batch):
    _, command = next(steps(batch))
    event = str(uuid.uuid5(uuid.UUID(command["account_id"]), command["command_id"]))
    found = [line.strip() for line in sys.stdin if f"ce_id={event}" in line]
    for line in found:
        place, headers = line.split(": ", 1)
        print(f"{place}: event {event}" + (", replayed" if "replayed=true" in headers else ""))
    if [("replayed=true" in line) for line in found] != [False, True]:
        sys.exit("expected one result and then one copy of it")


def main(verb, batch, *rest):
    if verb == "commands":
        for _, command in steps(batch):
            print(json.dumps(command, ensure_ascii=False))
        return
    if verb == "copies":
        return copies(batch)
    for label, outcome, sequence, text in [("sent", "outcome", "sequence", "what it says"), *table(batch, *rest)]:
        print(f"{label:<42}{outcome:<13}{sequence:<10}{text}"[:180])


main(*sys.argv[1:])
