"""The acceptance cases through Kafka, the worker and PostgreSQL: the files that test_decide.c runs without them.

There are three runs, each with one worker that finds all its commands sent: in large batches, in batches of three, and
without a key for passwords, for the cases that want none. Steps that deliver a record once more as after a crash are left
out, since a broker does that only after a crash; the fault tests have those.
"""

import collections
import datetime
import hashlib
import json
import re
import struct
import uuid

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastavro.schema import fingerprint, to_parsing_canonical_form

import avro_writer
import cases
import harness

CASES = cases.load()
TOKEN = "kafka_correlationId"  # comes back on results and dead letters: tells which record they answer
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NIL = str(uuid.UUID(int=0))
KEY_ID, KEY = "first", bytes(range(32))


# --- commands in any writer's schema ----------------------------------------------------------------------------------


class Writer:
    """A schema and how a command is written by it."""

    def __init__(self, schema):
        self.schema = schema
        self.prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))

    def encode(self, fields):
        return self.prefix + avro_writer.encoded(self.schema, fields)


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
    """What came of it: by case and step the record sent, its answer or its dead letter; the views, and where else a
    password might be."""

    def __init__(self, stack, cases_of_run, directory, **settings):
        self.cases, self.sent, by_token = cases_of_run, {}, {}
        writers = Writers(directory)
        for case in self.cases:
            for index, step in enumerate(case.steps):
                if "redeliver" in step:
                    continue
                token = f"{case.name} / {index}".encode()
                record = harness.raw(value_of(step, writers), key=case.name.encode(), headers=[(TOKEN, token)])
                self.sent[case.name, index] = record
                by_token[token] = case.name, index
        stack.load_inventory(inventory(self.cases))
        for case in self.cases:
            for edit in case.edits:
                store_edit(stack, edit)
        self.channels_before = self._channels(stack)
        stack.send(self.sent.values())
        worker = stack.worker(schema__dir=directory, threads__bulk=0, **settings)
        stack.wait_drained()
        code, _ = worker.terminate()
        self.log = worker.log()
        assert code == 0, f"the worker left with {code}\n{self.log}"
        results, dead = (stack.read(topic) for topic in (stack.topics.results, stack.topics.commands_dlt))
        self.answers, self.dead = ({by_token[record.header(TOKEN)]: record for record in self._once(records)}
                                   for records in (results, dead))
        self.cluster = stack.servers.admin.list_topics(timeout=20).cluster_id
        self.timestamps = {record.place: record.timestamp for record in stack.read(stack.topics.commands)}
        self.numbers = {row[0]: dict(zip(("account_id", "kind", "state", "channel_name", "number_type"), row[1:]))
                        for row in stack.rows("select number, account_id::text, kind, state, channel_name, number_type"
                                              " from siptrunk.number_view")}
        self.channels = self._channels(stack)
        self.results = stack.rows("select account_id::text, account_sequence, command_id::text, command_type, outcome,"
                                  " error_reason, batch_id, applied_at from siptrunk.result_view")
        self.passwords = {row[:2]: row[2:] for row in stack.rows(
            "select account_id::text, name, channel_id, password_key_id, password_nonce, password_ciphertext"
            " from siptrunk.channel")}
        self.database = self._dump(stack)

    @staticmethod
    def _channels(stack):
        return {row[:2]: dict(zip(("subscription", "version", "settings"), row[2:])) for row in stack.rows(
            "select account_id::text, channel_name, subscription, version, settings from siptrunk.channel_view")}

    @staticmethod
    def _dump(stack):
        """Every row of every table and view, as text."""
        tables = stack.rows("select table_schema || '.' || table_name from information_schema.tables"
                            " where table_schema not in ('pg_catalog', 'information_schema')")
        assert len(tables) > 10
        return "\n".join(row[0] for table in tables for row in stack.rows(f"select t::text from {table[0]} t"))

    @staticmethod
    def _once(records):
        """Fails when two answer the same record."""
        tokens = collections.Counter(record.header(TOKEN) for record in records)
        assert [token for token, count in tokens.items() if count > 1] == []
        return records


def inventory(cases_of_run):
    """Their lines. Codes of call barrings are the same in all cases, so each is there once."""
    lines = [line for case in cases_of_run for line in case.inventory]
    codes = {line["code"]: line for line in lines if line["type"] == "call_barring"}
    return list(codes.values()) + [line for line in lines if line["type"] != "call_barring"]


_COLUMN_PREFIXES = {"sip_trunk": "trunk_", "audio_stream": "audio_", "clip": "clip_", "did": "did_", "failover": "failover_",
                    "microsoft_teams_configuration": "teams_"}


def store_edit(stack, edit):
    """What an edit would have left: its settings are written into the columns, past the worker."""
    columns = {"version": edit.get("version", 1)}
    for name, value in edit.get("settings", {}).items():
        members = {name: value} if name not in _COLUMN_PREFIXES else {
            _COLUMN_PREFIXES[name] + member.removeprefix("microsoft_"): inner for member, inner in value.items()}
        columns.update(members)
    if columns.get("trunk_ip_whitelist") is not None:
        columns["trunk_ip_whitelist"] = columns["trunk_ip_whitelist"].split(";")
    casts = {"trunk_ip_whitelist": "::text[]::cidr[]", "audio_rtp_timeout": "::text::int", "audio_rtp_hold_timeout": "::text::int"}
    sets = ", ".join(f"{column} = %s{casts.get(column, '')}" for column in columns)
    changed = stack.rows(f"update siptrunk.channel set {sets} where account_id = %s and name = %s returning 1",
                         *columns.values(), edit["account_id"], edit["channel_name"])
    assert len(changed) == 1, edit


RUNS = {
    "in large batches": {"secrets": True},
    "three by three": {"secrets": True, "batch__max__commands__interactive": 3, "threads__interactive": harness.PARTITIONS},
    "without a key": {"secrets": False},
}
RUNS_OF_CASES = [(run, case) for run in RUNS for case in CASES if case.secrets == RUNS[run]["secrets"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    key_file = directory / "keys"
    key_file.write_text(f"{KEY_ID}:{KEY.hex()}\n")
    made = {}
    for name, settings in RUNS.items():
        schemas = directory / name
        schemas.mkdir()
        settings = {key: value for key, value in settings.items() if key != "secrets"}
        if RUNS[name]["secrets"]:
            settings["secrets__key_file"] = key_file
        with harness.Stack(harness.Servers.shared()) as stack:
            made[name] = Run(stack, [case for run, case in RUNS_OF_CASES if run == name], schemas, **settings)
    return made


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
            told = [text for text in step["expect"].get("body_lacks", []) if text.encode() in answer.body]
            self.expect(place, told=([], told))
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
        is_list = result["command_type"].startswith("List")
        natural = has_account and UUID.fullmatch(result["command_id"]) and not reused and not is_list
        timestamp = self.run.timestamps[sent.place]
        derived = str(uuid.uuid5(uuid.NAMESPACE_URL, "siptrunk:{}:{}:{}:{}:{}".format(self.run.cluster, *sent.place, timestamp)))
        event = str(uuid.uuid5(uuid.UUID(account), result["command_id"].lower())) if natural else derived
        known = account in self.case.accounts and not is_list
        self.sequences[account] += not is_list
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
        if is_list:
            return  # it stands in no ledger
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

    def channels(self):
        accounts = set(self.case.accounts)
        before = {key: row for key, row in self.run.channels_before.items() if key[0] in accounts}
        expected, passwords = self.case.channels_after(before)
        actual = {key: row for key, row in self.run.channels.items() if key[0] in accounts}
        self.expect("channel_view", names=(sorted(expected), sorted(actual)))
        for key in expected.keys() & actual.keys():
            self.expect("channel_view", **{key[1]: (expected[key], actual[key])})
            self.expect("password", **{key[1]: (passwords.get(key), self.stored_password(key))})
        for name, row in self.case.after.items():
            if not name.startswith("+"):
                self.expect("channel_view", **{name: (row, actual.get((self.case.accounts[0], name)))})

    def stored_password(self, key):
        """As it is after decryption: bound to the account and the channel's id."""
        channel_id, key_id, nonce, ciphertext = self.run.passwords[key]
        if key_id is None:
            return None
        self.expect("password", key_id=(KEY_ID, key_id), nonce=(12, len(nonce)))
        place = uuid.UUID(key[0]).bytes + struct.pack(">q", channel_id)
        return AESGCM(KEY).decrypt(nonce, ciphertext, place).decode()

    def views(self):
        for line in self.case.lines("number"):
            row = {"account_id": line["account_id"], "kind": line["kind"], "channel_name": line.get("channel"),
                   "state": "connected" if "channel" in line else line["state"], "number_type": line.get("number_type")}
            row.update(self.case.after.get(line["number"], {}))
            self.expect("number_view", **{line["number"]: (row, self.run.numbers[line["number"]])})
        self.channels()
        mine = {row[:3] for row in self.ledger}
        shared = [row for row in self.run.results if row[0] in {row[0] for row in self.ledger} and row[0] != NIL]
        self.expect("result_view", rows=(sorted(mine), sorted({row[:3] for row in self.run.results if row[:3] in mine})),
                    no_others=(sorted(row[:3] for row in self.ledger if row[0] != NIL), sorted(row[:3] for row in shared)))
        stored = {row[:3]: list(row) for row in self.run.results}
        for row in self.ledger:
            self.expect("result_view", **{row[2]: (list(row), stored.get(row[:3]))})


def test_after_is_about_numbers_of_the_inventory_and_channels():
    for case in CASES:
        assert {name for name in case.after if name.startswith("+")} <= {line["number"] for line in case.lines("number")}, case.name


@pytest.mark.parametrize("run, case", RUNS_OF_CASES, ids=[f"{run}, {case.name}" for run, case in RUNS_OF_CASES])
def test_case(runs, run, case):
    checker = Checker(runs[run], case)
    for index, step in enumerate(case.steps):
        if "redeliver" not in step:
            checker.step(index, step)
    checker.views()
    assert not checker.wrong, "\n".join(checker.wrong)


def sent_passwords():
    """Those that are long enough to be met only where they are told."""
    texts = (step.get("send", {}).get("password") for case in CASES for step in case.steps)
    return {text for text in texts if isinstance(text, str) and len(text) >= 8}


@pytest.mark.parametrize("run", RUNS)
def test_no_password_is_told_anywhere(runs, run):
    """G13: neither in results, nor in the headers of dead letters, nor in the database, nor in the log."""
    run = runs[run]
    results = b"\n".join(record.value for record in run.answers.values())
    headers = b"\n".join(value for record in (*run.answers.values(), *run.dead.values()) for _, value in record.headers)
    places = {"results": results, "headers": headers, "database": run.database.encode(), "log": run.log.encode()}
    passwords = sent_passwords()
    assert passwords
    for name, text in places.items():
        told = [password for password in passwords
                if password.encode() in text or password.encode().hex().encode() in text.lower()]
        assert not told, f"{name} has {told}"
