"""The acceptance cases through Kafka, the worker and PostgreSQL: the files that test_decide.c runs without them.

All commands of all cases are sent at once to one worker. Steps that deliver a record once more as after a crash are
left out, since a broker does that only after a crash; the fault tests have those.
"""

import collections
import datetime
import hashlib
import io
import json
import re
import struct
import uuid

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

import cases
import harness

CASES = cases.load()
TOKEN = "kafka_correlationId"  # comes back on results and dead letters: tells which record they answer
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NIL = str(uuid.UUID(int=0))


# --- commands in any writer's schema ----------------------------------------------------------------------------------


class Writer:
    """A schema and how a command is written by it."""

    def __init__(self, schema):
        self.schema = schema
        self.prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))

    def encode(self, fields):
        record = self.schema[1] if isinstance(self.schema, list) else self.schema
        written, values = dict(record, fields=[]), {}
        for field in record["fields"]:
            written["fields"].append(field)
            if field["name"] in fields:
                kind, values[field["name"]] = fitted(field["type"], fields[field["name"]])
                written["fields"][-1] = dict(field, type=kind)
        schema = ["null", written] if isinstance(self.schema, list) else written
        out = io.BytesIO(self.prefix)
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), values)
        return out.getvalue()


def fitted(kind, value):
    """The pair in the form that fastavro takes. Bytes that are no text are written as bytes, which look the same."""
    branches = kind if isinstance(kind, list) else [kind]
    if isinstance(value, dict) and "hex" in value:
        kinds = ["bytes" if branch == "string" else branch for branch in branches]
        return kinds if isinstance(kind, list) else kinds[0], bytes.fromhex(value["hex"])
    if isinstance(value, str) and "bytes" in branches and "string" not in branches:
        return kind, value.encode()
    return kind, value


def other_schema(schema, differences):
    fields = [dict(field) for field in schema["fields"] if field["name"] not in differences.get("without", [])]
    for field in fields:
        if field["name"] in differences.get("types", {}):
            field["type"] = differences["types"][field["name"]]
            if not isinstance(field["type"], list) or field["type"][0] != "null":
                field.pop("default", None)
    other = dict(schema, fields=fields + differences.get("with", []))
    if "name" in differences:
        other["name"] = differences["name"]
        del other["namespace"]
    return ["null", other] if differences.get("union") else other


class Writers:
    """Those of all cases. All but the unknown ones are put into the worker's schema directory."""

    def __init__(self, directory):
        self.directory, self.known = directory, {}

    def of(self, step):
        key = step["send"]["type"], json.dumps(step.get("writer", {}), sort_keys=True)
        if key not in self.known:
            schema = other_schema(harness.COMMAND_SCHEMAS[key[0]].json, step.get("writer", {}))
            self.known[key] = Writer(schema)
            if not step.get("writer", {}).get("unknown"):
                (self.directory / f"{len(self.known)}.avsc").write_text(json.dumps(schema))
        return self.known[key]


def value_of(step, writers):
    if "bytes" in step:
        return None if step["bytes"] is None else bytes.fromhex(step["bytes"])
    value = writers.of(step).encode(step["send"])
    return value[: len(value) - step.get("cut", 0)] + bytes.fromhex(step.get("append", ""))


# --- one run for all cases --------------------------------------------------------------------------------------------


class Run:
    """What came of it: by case and step the record sent, its answer or its dead letter; and the views."""

    def __init__(self, stack, directory):
        self.sent, by_token = {}, {}
        writers = Writers(directory)
        for case in CASES:
            for index, step in enumerate(case.steps):
                if "redeliver" in step:
                    continue
                token = f"{case.name} / {index}".encode()
                record = harness.raw(value_of(step, writers), key=case.name.encode(), headers=[(TOKEN, token)])
                self.sent[case.name, index] = record
                by_token[token] = case.name, index
        stack.load_inventory([line for case in CASES for line in case.inventory])
        for case in CASES:
            for edit in case.edits:
                stack.rows("update siptrunk.channel set version = %s, caller_id = %s where account_id = %s and name = %s"
                           " returning 1", edit["version"], edit.get("caller_id"), edit["account_id"], edit["channel_name"])
        worker = stack.worker(schema__dir=directory, threads__bulk=0)
        stack.send(self.sent.values())
        stack.wait_drained()
        code, _ = worker.terminate()
        assert code == 0, f"the worker left with {code}\n{worker.log()}"
        self.answers, self.dead = ({by_token[record.header(TOKEN)]: record for record in self._once(stack.read(topic))}
                                   for topic in (stack.topics.results, stack.topics.commands_dlt))
        self.cluster = stack.servers.admin.list_topics(timeout=20).cluster_id
        self.numbers = {row[0]: dict(zip(("account_id", "kind", "state", "channel_name", "number_type"), row[1:]))
                        for row in stack.rows("select number, account_id::text, kind, state, channel_name, number_type"
                                              " from siptrunk.number_view")}
        self.channels = {row[:2]: row[2:] for row in stack.rows(
            "select account_id::text, channel_name, subscription, version from siptrunk.channel_view")}
        self.results = stack.rows("select account_id::text, account_sequence, command_id::text, command_type, outcome,"
                                  " error_reason, batch_id, applied_at from siptrunk.result_view")
        self.timestamps = {record.place: record.timestamp for record in stack.read(stack.topics.commands)}

    @staticmethod
    def _once(records):
        """Fails when two answer the same record."""
        tokens = collections.Counter(record.header(TOKEN) for record in records)
        assert [token for token, count in tokens.items() if count > 1] == []
        return records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with harness.Stack(harness.Servers.shared()) as stack:
        yield Run(stack, tmp_path_factory.mktemp("schemas"))


# --- what is expected -------------------------------------------------------------------------------------------------


def microseconds(moment):
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def differences(expected, actual, place=""):
    """Where actual is not as expected; its objects may have more keys."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key == "message_contains":
                if value not in actual["message"]:
                    yield f"{place}/message: {actual['message']!r} is without {value!r}"
            else:
                yield from differences(value, actual.get(key, "nothing"), f"{place}/{key}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, pair in enumerate(zip(expected, actual)):
            yield from differences(*pair, f"{place}/{index}")
    elif expected != actual or type(expected) is not type(actual):
        yield f"{place}: {actual!r} instead of {expected!r}"


class Checker:
    """One case. Notes what is wrong and goes on, so that one look shows all of it."""

    def __init__(self, run, case):
        self.run, self.case, self.wrong = run, case, []
        self.sequences = collections.Counter()
        self.chains = {}
        self.applied = {}
        self.ledger = []

    def expect(self, place, **pairs):
        for what, (expected, actual) in pairs.items():
            self.wrong += [f"{place} {text}" for text in differences(expected, actual, what)]

    def step(self, index, step):
        place = f"step {index}"
        sent = self.run.sent[self.case.name, index]
        answer = self.run.answers.get((self.case.name, index))
        dead = self.run.dead.get((self.case.name, index))
        self.expect(place, answered=("result" in step or "same_as" in step, answer is not None),
                    dead=("dead_letter" in step, dead is not None))
        if answer is not None and "same_as" in step:
            first = self.run.answers[self.case.name, step["same_as"]]
            self.expect(place, replayed=(True, answer.replayed), body=(first.body, answer.body), key=(first.key, answer.key))
        elif answer is not None and "result" in step:
            self.expect(place, replayed=(False, answer.replayed))
            self.result(place, step["result"], sent, answer)
            self.expect(place, bytes=(True, step["expect"].get("body_has", "").encode() in answer.body))
        elif dead is not None and "dead_letter" in step:
            self.dead_letter(place, step["dead_letter"], sent, dead)

    def result(self, place, expected, sent, answer):
        result = answer.result
        self.expect(place, result=(expected, result))
        self.identity(place, sent, answer)
        subject = result["channel_name"] or result["number"]
        headers = {"ce_specversion": "1.0", "ce_id": result["event_id"],
                   "ce_type": f"siptrunk.result.v1.{result['command_type']}", "content-type": "application/avro",
                   "error-id": result["error_reason"], "ce_subject": subject or None}
        for name, value in headers.items():
            actual = answer.header(name)
            self.expect(place, **{name: (value, None if actual is None else actual.decode())})
        self.expect(place, ce_time=(result["applied_at"], datetime.datetime.fromisoformat(answer.header("ce_time").decode())))

    def identity(self, place, sent, answer):
        """Ids, place, times, sequence and chain."""
        result = answer.result
        has_account = UUID.fullmatch(result["account_id"])
        account = result["account_id"].lower() if has_account else NIL
        reused = (result["error_reason"] or "").endswith(":command-id-reused")
        natural = has_account and UUID.fullmatch(result["command_id"]) and not reused
        timestamp = self.run.timestamps[sent.place]
        derived = str(uuid.uuid5(uuid.NAMESPACE_URL, "siptrunk:{}:{}:{}:{}:{}".format(self.run.cluster, *sent.place, timestamp)))
        event = str(uuid.uuid5(uuid.UUID(account), result["command_id"].lower())) if natural else derived
        known = account in self.case.accounts
        self.sequences[account] += 1
        sequence = self.sequences[account] if known else 0
        self.expect(place, key=(account.encode() if has_account else None, answer.key),
                    event_id=(event, result["event_id"]), sequence=(sequence, result["account_sequence"]),
                    source=(list(sent.place), [result["source_topic"], result["source_partition"], result["source_offset"]]),
                    received=(timestamp * 1000, microseconds(result["received_at"])),
                    in_time_order=(True, self.applied.get(account, EPOCH) <= result["applied_at"]))
        self.applied[account] = result["applied_at"]
        chain = b""
        if known:
            covered = self.chains.get(account, bytes(32)) + answer.body[:-33]
            self.chains[account] = chain = hashlib.sha256(covered).digest()
        self.expect(place, chain=(chain, result["chain"]))
        self.ledger.append((account, sequence, result["command_id"].lower() if natural else derived, result["command_type"],
                            result["outcome"], result["error_reason"], result["batch_id"], result["applied_at"]))

    def dead_letter(self, place, reason, sent, dead):
        urn = cases.catalogue_entry(reason)["urn"].encode()
        header = dead.header
        self.expect(place, key=(sent.key, dead.key), value=(sent.value, dead.value),
                    reason=(urn, header("kafka_dlt-exception-fqcn")), topic=(sent.topic.encode(), header("kafka_dlt-original-topic")),
                    partition=(struct.pack(">i", sent.partition), header("kafka_dlt-original-partition")),
                    offset=(struct.pack(">q", sent.offset), header("kafka_dlt-original-offset")),
                    timestamp=(struct.pack(">q", self.run.timestamps[sent.place]), header("kafka_dlt-original-timestamp")),
                    connect=([sent.topic.encode(), str(sent.offset).encode(), urn],
                             [header(f"__connect.errors.{name}") for name in ("topic", "offset", "exception.class.name")]))

    def views(self):
        for line in self.case.lines("number"):
            row = {"account_id": line["account_id"], "kind": line["kind"], "channel_name": line.get("channel"),
                   "state": "connected" if "channel" in line else line["state"], "number_type": line.get("number_type")}
            row.update(self.case.after.get(line["number"], {}))
            self.expect("number_view", **{line["number"]: (row, self.run.numbers[line["number"]])})
        versions = {(edit["account_id"], edit["channel_name"]): edit["version"] for edit in self.case.edits}
        for line in self.case.lines("channel"):
            key = line["account_id"], line["name"]
            self.expect("channel_view", **{line["name"]: ([line["subscription"], versions.get(key, 1)], list(self.run.channels[key]))})
        mine = {row[:3] for row in self.ledger}
        shared = [row for row in self.run.results if row[0] in {row[0] for row in self.ledger} and row[0] != NIL]
        self.expect("result_view", rows=(sorted(mine), sorted({row[:3] for row in self.run.results if row[:3] in mine})),
                    no_others=(sorted(row[:3] for row in self.ledger if row[0] != NIL), sorted(row[:3] for row in shared)))
        stored = {row[:3]: list(row) for row in self.run.results}
        for row in self.ledger:
            self.expect("result_view", **{row[2]: (list(row), stored.get(row[:3]))})


def test_after_is_about_numbers_of_the_inventory():
    for case in CASES:
        assert set(case.after) <= {line["number"] for line in case.lines("number")}, case.name


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(run, case):
    checker = Checker(run, case)
    for index, step in enumerate(case.steps):
        if "redeliver" not in step:
            checker.step(index, step)
    checker.views()
    assert not checker.wrong, "\n".join(checker.wrong)
