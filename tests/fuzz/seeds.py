"""Writes the small half of the corpora: one readable seed or more for each thing that a target takes.

    seeds.py          writes tests/fuzz/corpus/TARGET/seed-*

What a run found stands beside them under names of its own (found-*) and is not touched.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import harness  # noqa: E402

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"
ENVELOPE = {"command_id": "00000000-0000-4000-8000-000000000001", "account_id": ACCOUNT}
SHIPPED = sorted(harness.COMMAND_SCHEMAS) + ["CommandResult"]  # the order in which targets number them
BODY = len(harness.RESULT_SCHEMA.prefix)

COMMANDS = {
    "ConnectNumber": {"channel_name": "alpha", "number": "+31500000000"},
    "DisconnectNumber": {"number": "0031500000001", "dry_run": True},
    "EditChannel": {"channel_name": "alpha", "new_name": "omega", "password": "Tr0ub4dor&3-a", "area_code": "20",
                    "call_barrings": ["INT"], "full_e164": "true", "expected_version": 1,
                    "sip_trunk": {"ip_whitelist": "10.0.0.0/24;2001:db8::1", "ping": 2},
                    "audio_stream": {"rtp_timeout": {"value": None}, "rtp_hold_timeout": {"value": "30"}}},
    "SetOperatorConnectNumberType": {"channel_name": "beta", "number": "+31500000001", "number_type": "User"},
    "RemoveOperatorConnectNumberType": {"channel_name": "beta", "number": "+31500000001"},
    "ListCallerIds": {"offset": 0, "limit": 5},
    "ListProxies": {}, "ListTemplates": {}, "ListCallBarrings": {},
}

RESULT = {"event_id": ENVELOPE["command_id"], **ENVELOPE, "command_type": "ConnectNumber", "outcome": "REJECTED", "status_code": 404,
          "error_identifier": "a", "error_message": "b", "error_reason": "c", "account_sequence": 1, "received_at": 0, "applied_at": 1,
          "errors": [{"reason": "c", "pointer": "/number", "message": "m"}], "source_topic": "t", "source_partition": 0,
          "source_offset": 7, "chain": bytes(32)}

# Bodies by tests/support/hostile_avro.c's schemas, in its order.
HOSTILE = ["02 00 00 00 02 04 61 62 00 01 02 02 01 61 00 02 02 02 62 00 00 02 02 04",
           "02 00 02 00 00", "02 02 02 00 00 00", "02" * 15 + "01" + "00" * 15, "00 00 00 02 06 0e 06 61 62 63",
           "04 02 61 02 62 00 01 04 02 63 00 02 64", "04 00", "00 00", "04 00 00", "02 02 61 00 01 0a 02 62 02 02 63 02 64 00 00",
           "04 00 02 61"]


def body(name, fields):
    return harness.COMMAND_SCHEMAS[name].encode({**ENVELOPE, **fields})[BODY:]


def avro():
    yield from ((name, bytes([SHIPPED.index(name)]) + body(name, fields)) for name, fields in COMMANDS.items())
    yield "CommandResult", bytes([SHIPPED.index("CommandResult")]) + harness.RESULT_SCHEMA.encode(RESULT)[BODY:]
    for i, digits in enumerate(HOSTILE):
        yield f"hostile-{i}", bytes([len(SHIPPED) + i]) + bytes.fromhex(digits)


def schema():
    """Text, FF, body."""
    for path in sorted(harness.ROOT.glob("schemas/commands/*Number.avsc")):
        fields = COMMANDS[path.stem]
        yield path.stem, json.dumps(without_docs(json.loads(path.read_text()))).encode() + b"\xff" + body(path.stem, fields)
    for name, (text, digits) in SCHEMAS.items():
        yield name, text.replace("'", '"').encode() + b"\xff" + bytes.fromhex(digits)


def without_docs(value):
    if isinstance(value, dict):
        return {key: without_docs(inner) for key, inner in value.items() if key != "doc"}
    return [without_docs(inner) for inner in value] if isinstance(value, list) else value


def a(fields):
    return "{'type':'record','name':'A','namespace':'t','fields':[%s]}" % fields


SCHEMAS = {
    "primitive": ("'string'", "02 61"),
    "union": ("['null','int',%s]" % a("{'name':'name','type':'bytes'}"), "04 02 61"),
    "needless": ("{'type':{'type':'int'}}", "02"),
    "names": (a("{'name':'x','type':{'type':'enum','name':'u.E','symbols':['P','Q']}},{'name':'y','type':'u.E'}"), "00 02"),
    "itself": (a("{'name':'sub','type':['null','A']}"), "02 00"),
    "nullable": (a("{'name':'timeout','type':['null',{'type':'record','name':'NullableString','fields':"
                   "[{'name':'value','type':['null','string'],'default':null}]}]}"), "02 02 02 61"),
    "lists": (a("{'name':'tags','type':{'type':'array','items':['string','null']}},"
                "{'name':'m','type':{'type':'map','values':'boolean'}}"), "02 00 02 61 00 02 02 62 01 00"),
    "fixed": (a("{'name':'f','type':{'type':'fixed','name':'F','size':'007'},'aliases':['g'],'order':'ignore'}"), "00" * 7),
    "sub": (a("{'name':'sub','type':{'type':'record','name':'S','fields':[{'name':'ping','type':'int'},"
              "{'name':'note','type':'string'}]}},{'name':'flag','type':'boolean'},{'name':'total','type':'long'}"), "02 02 61 01 02"),
    "escapes": (a("{'name':'\\u0001a\\u00e9','type':'double'},{'name':'\\u0022\\u005c','type':'null'}"), "00" * 8),
}

HEADERS = ["kafka_correlationId", "REPLY_CORRELATION_ID", "traceparent", "tracestate", "kafka_replyTopic", "REPLY_TOPIC",
           "kafka_replyPartition", "REPLY_PARTITION"]


def header(name, value):
    kind = bytes([HEADERS.index(name)]) if name in HEADERS else bytes([len(name) << 4 | 15]) + name.encode()
    return kind + (b"\xff" if value is None else bytes([len(value)]) + value)


def headers():
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    yield "correlation", header("kafka_correlationId", bytes(16)) + header("REPLY_CORRELATION_ID", b"x")
    yield "trace", header("traceparent", trace) + header("tracestate", b"congo=t61rcWkgMzE")
    yield "trace-bad", header("traceparent", trace.replace(b"00-", b"ff-", 1))
    yield "trace-upper", header("traceparent", trace.upper())
    yield "reply", header("kafka_replyTopic", b"replies") + header("kafka_replyPartition", bytes([0, 0, 0, 2]))
    yield "reply-past", header("REPLY_TOPIC", b"replies") + header("REPLY_PARTITION", bytes([0, 0, 0, 3]))
    yield "reply-other", header("REPLY_TOPIC", b"small-replies") + header("kafka_replyTopic", None)
    yield "reply-results", header("REPLY_TOPIC", b"results")
    yield "stranger", header("kafka_dlt-x", b"y") * 5


def config():
    file = ("# a comment\nkafka.bootstrap.servers = a:9092,b:9092\ntopics.commands=c1, c2\ntopics.bulk=b1\n"
            "batch.max.bytes=2 MiB\nthreads.bulk=0\nlog.level=debug\nhttp.listen=[::1]:9464\n"
            "postgres.conninfo=postgresql://u:p%40@h:5432/db?sslmode=verify-full\nkafka.linger.ms=5\n")
    yield "file", b"\0" + file.encode()
    overrides = ("instance.id=w1\npostgres.conninfo=host=h password='a b' user=u\nkafka.sasl.password=x\n"
                 "schema.registry.url=https://u:p@h/\nkafka.acks=all\ntopics.results.bulk=r")
    yield "overrides", b"\1" + overrides.encode()
    for i, text in enumerate(["batch.max.byts=1", "kafka.group.protocol=consumer", "batch.max.bytes=99999999999999999999 KiB",
                              "topics.bulk=a,,b", "kafka.=x", "threads.bulk=-1", "http.listen=a:b:1", "noequals",
                              "postgres.conninfo=postgres://u:a/b@h", "kafka.enable.idempotence=false", "log.format=xml"]):
        yield f"refused-{i}", b"\1" + text.encode()


def as_json(name):
    fields = COMMANDS[name]
    if name == "EditChannel":  # the guide's form of a text that may be switched off
        fields = {**fields, "audio_stream": {"rtp_timeout": None, "rtp_hold_timeout": "30"}}
    return json.dumps({"type": name, **ENVELOPE, **fields}).encode()


def json_():
    for name in sorted(COMMANDS):
        yield name, b"\0" + as_json(name)
    for i, text in enumerate(['{"type":"ConnectNumbr"}', '{"type":1}', "[]", '{"a":1,"a":2}', '{"type":"ListProxies","x":{"y/~":1}}',
                              as_json("EditChannel").decode().replace('"ping": 2', '"ping": 2147483648')]):
        yield f"refused-{i}", b"\0" + text.encode()
    seen = set()
    for line in harness.GUIDE_INVENTORY.read_text().splitlines():
        kind = json.loads(line)["type"]
        if kind not in seen:
            seen.add(kind)
            yield f"inventory-{kind}", b"\1" + line.encode()
    yield "inventory-escapes", b'\1{"type":"proxy","id":"00000000-0000-4000-8000-0000000000a1","name":"a\\\\b\\"c"}'
    yield "message", b"\2" + harness.COMMAND_SCHEMAS["ListProxies"].encode(ENVELOPE)
    yield "result", b"\2" + harness.RESULT_SCHEMA.encode(RESULT)
    for i, digits in enumerate(HOSTILE):
        yield f"hostile-{i}", bytes([3, i]) + bytes.fromhex(digits)


def texts():
    seeds = [
        ["013dc5c1-ff09-4ece-ad3a-7f8f60949407", "013DC5C1-FF09-4ECE-AD3A-7F8F6094940G"],
        ["+31500000000", "0031500000000", "31500000000", "+0", "+123456789012345"],
        ["10.0.0.0/24;10.0.0.1", " 192.0.2.1 ; 2001:DB8::1/128;2001:db8::/32", "0.0.0.0/0", "::ffff:1.2.3.4", "10.0.0.1/24",
         "127.0.0.1", "1.2.3.4/033", "fe80::1%eth0", ";"],
    ]
    for kind, some in enumerate(seeds):
        for i, text in enumerate(some):
            yield f"{kind}-{i}", bytes([kind]) + text.encode()
    yield "3", b"\3" + harness.RESULT_SCHEMA.prefix + b"body"
    yield "4-keys", b"\4# keys\nk2:" + b"0f" * 32 + b"\nk1:" + b"A0" * 32 + b" # old\n"
    yield "4-twice", b"\4k:" + b"00" * 32 + b"\nk:" + b"00" * 32
    yield "4-plaintext", b"\4plaintext:" + b"00" * 32
    yield "5", b"\5\x05" + "aé€\U0001f600b".encode()
    yield "5-bad", b"\5\x03\xed\xa0\x80\xc0\x80\xc2\x85"


def command():
    """The size of batches; then for each record the schema, its size, its bytes."""
    def record(name, **fields):
        data = body(name, {**COMMANDS[name], **fields})
        return bytes([SHIPPED.index(name)]) + len(data).to_bytes(2, "big") + data

    def raw(kind, data):
        return bytes([len(SHIPPED) + kind]) + len(data).to_bytes(2, "big") + data

    for name in sorted(COMMANDS):
        yield name, b"\0" + record(name)
    some_id = "00000000-0000-4000-8000-00000000000%d"
    yield "meeting", b"\5" + b"".join(record(name, command_id=some_id % i) for i, name in enumerate(sorted(COMMANDS)))
    yield "resent", b"\0" + record("ConnectNumber") * 2 + record("DisconnectNumber")
    yield "refused", b"\1" + b"".join(record("ConnectNumber", command_id=some_id % i, **fields) for i, fields in enumerate([
        {"account_id": "nobody"}, {"number": "31"}, {"channel_name": ""}, {"channel_name": "x" * 70}, {"correlation_id": "a\tb"}]))
    yield "unreadable", b"\2" + raw(0, b"{}") + raw(1, b"") + raw(0, harness.RESULT_SCHEMA.prefix)


TARGETS = {"avro": avro, "schema": schema, "headers": headers, "config": config, "json": json_, "texts": texts,
           "command": command}


def main():
    for target, seeds in TARGETS.items():
        directory = HERE / "corpus" / target
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("seed-*"):
            old.unlink()
        for name, data in seeds():
            (directory / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
