"""Writes the small half of the corpora: one readable seed or more for each thing that a target takes.

    seeds.py          writes tests/fuzz/corpus/TARGET/seed-*

What a run found stands beside them under names of its own (found-*) and is not touched.
"""

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


TARGETS = [avro]


def main():
    for target in TARGETS:
        directory = HERE / "corpus" / target.__name__
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("seed-*"):
            old.unlink()
        for name, data in target():
            (directory / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
