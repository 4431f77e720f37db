"""Writes down all that siptrunkctl verify reads of a stack, for tests/ctl/verify_mutations.c: a JSON array of lines, bytes in
hexadecimal."""

import json

COLUMNS = ("account_id", "command_id", "account_sequence", "applied_at", "source_offset", "source_timestamp", "result_schema",
           "source_partition", "source_topic", "command_type", "outcome", "error_reason", "batch_id", "result")


def parts(stack):
    """Partitions in the order in which lines refer to them, by (topic, partition)."""
    topics = stack.topics
    stored = {(topic, p): (d, k) for topic, p, d, k in stack.rows(
        "select topic, partition, next_offset, committed_offset from siptrunk.partition_position")}
    rows = {}
    for number, (commands, letters) in enumerate([(topics.commands, topics.commands_dlt), (topics.bulk, topics.bulk_dlt)]):
        positions = stack.committed(commands)
        for topic, role in ((commands, "commands"), (letters, "letters")):
            for p, end in stack.ends(topic).items():
                d, noted = stored.get((topic, p), (-1, None))
                rows[topic, p] = {"kind": "part", "topic": topic, "id": p, "role": role, "lanes": 1 << number, "number": number,
                                  "end": end, "k": positions[p] if role == "commands" else -1, "d": d,
                                  "noted": -1 if noted is None else noted}
    for p, end in stack.ends(topics.results).items():
        rows[topics.results, p] = {"kind": "part", "topic": topics.results, "id": p, "role": "results", "lanes": 3, "number": 0,
                                   "end": end, "k": -1, "d": -1, "noted": -1}
    return rows


def hexadecimal(value):
    return None if value is None else value.hex()


def records(stack, kind, topic, number_of, committed=True, **more):
    for record in stack.read(topic, committed=committed):
        yield {"kind": kind, "part": number_of[topic, record.partition], "offset": record.offset,
               "timestamp": record.timestamp, "key": hexadecimal(record.key), "value": hexadecimal(record.value),
               "headers": [[name, hexadecimal(value)] for name, value in record.headers], **more}


def lines(stack):
    topics = stack.topics
    yield {"kind": "cluster", "id": stack.servers.admin.list_topics(timeout=20).cluster_id}
    rows = parts(stack)
    number_of = {place: number for number, place in enumerate(rows)}
    yield from rows.values()
    for topic in (topics.commands, topics.bulk):
        yield from records(stack, "command", topic, number_of)
    for topic in (topics.commands_dlt, topics.bulk_dlt):
        yield from records(stack, "letter", topic, number_of)
    committed = {record.place for record in stack.read(topics.results)}
    for line in records(stack, "result", topics.results, number_of, committed=False):
        place = topics.results, rows[list(rows)[line["part"]]]["id"], line["offset"]
        yield {**line, "committed": place in committed}
    for row in stack.rows(f"select {', '.join(COLUMNS)} from siptrunk.command_ledger"):
        values = dict(zip(COLUMNS, row))
        yield {"kind": "ledger", **values, "account_id": str(values["account_id"]), "command_id": str(values["command_id"]),
               "result": bytes(values["result"]).hex()}
    for account, sequence, chain in stack.rows("select account_id, last_sequence, last_chain from siptrunk.account_tail"):
        yield {"kind": "tail", "account_id": str(account), "sequence": sequence, "chain": bytes(chain).hex()}


def dump(stack, path):
    path.write_text(json.dumps(list(lines(stack))))
