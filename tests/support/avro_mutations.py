"""Damaged records, and what must come of each, for tests/support/avro_differential.c.

    avro_mutations.py SEED COUNT FILE

SIPTRUNK_AVRO_MUTATIONS and SIPTRUNK_TEST_SEED win over COUNT and SEED. Records of avro_vectors.py, with bits turned, bytes cut, doubled, moved and put in, numbers made longer than they need be,
or nothing but noise. The reader in here follows the Avro specification to the letter and the limits of our contract, and
says what is there or why it is refused. fastavro must be of the same opinion, but for the rows of DIFFERENCES, each of
which must occur. A line of FILE is a JSON object: schema, and cases of body (hexadecimal), fields and json as in
avro_vectors.py; fields is null for what must be refused, and json is left out where only the JSON decoder must refuse.
"""

import io
import json
import math
import os
import random
import struct
import sys

import fastavro

from avro_vectors import NULLABLE, SUB, Maker, Value, expectations, number, plain_json

MUTANTS = 100  # of one record
MAX_ITEMS = 1024

# Why we refuse what fastavro takes, or the other way round.
DIFFERENCES = {
    "left over": "the contract refuses bytes behind the record, fastavro leaves them to the caller",
    "long number": "more bytes or bits than the type has: fastavro reads ints as longs, and lets longs overflow",
    "boolean": "neither 0 nor 1: fastavro takes whatever is not 0, or not 1, for the other",
    "negative symbol": "a Python list counts from its end then",
    "block": "fastavro does not look at a block's size in bytes",
    "items": "the contract's limit",
    "no UTF-8": "the decoder takes it and the validator answers; fastavro raises",
}


class Refused(Exception):
    pass


class Reading:
    def __init__(self, data):
        self.data, self.at = data, 0
        self.bad_text = self.bad_key = self.zero_in_key = False

    def take(self, size):
        if size > len(self.data) - self.at:
            raise Refused("short")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, bits=64):
        value, size = 0, 0
        while True:
            if self.at == len(self.data):
                raise Refused("short")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << 7 * size
            size += 1
            if size > (bits + 6) // 7 or value >> bits or (byte & 0x80 and size == (bits + 6) // 7):
                raise Refused("long number")
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)

    def length(self):
        size = self.number()
        if size < 0:
            raise Refused("negative length")
        return self.take(size)

    def symbol(self, count, bits):
        index = self.number(bits)
        if index < 0:
            raise Refused("negative symbol")
        if index >= count:
            raise Refused("symbol")
        return index

    def text(self):
        """Python and plain value."""
        data = self.length()
        try:
            return (data.decode(),) * 2
        except UnicodeDecodeError:
            self.bad_text = True
            return data, {"hex": data.hex()}

    def items(self):
        """Yields once for each item of an array or a map."""
        total, end = 0, None
        while True:
            if end not in (None, self.at):
                raise Refused("block")
            count, end = self.number(), None
            total += abs(count)
            if total > MAX_ITEMS:
                raise Refused("items")
            if count < 0:
                end = self.number() + self.at
                if not self.at <= end <= len(self.data):
                    raise Refused("block")
            if count == 0:
                return
            yield from range(abs(count))

    def primitive(self, kind):
        if kind == "null":
            return None, None
        if kind == "boolean":
            byte = self.take(1)[0]
            if byte > 1:
                raise Refused("boolean")
            return (byte == 1,) * 2
        if kind in ("int", "long"):
            return (self.number(32 if kind == "int" else 64),) * 2
        if kind in ("float", "double"):
            value = struct.unpack("<f", self.take(4))[0] if kind == "float" else struct.unpack("<d", self.take(8))[0]
            return value, value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")
        if kind == "string":
            return self.text()
        data = self.length()
        return data, data.hex()

    def read(self, schema):
        if isinstance(schema, str):
            python, plain = self.primitive(schema)
            return Value(schema, b"", python, plain, schema)
        if isinstance(schema, list):
            value = self.read(schema[self.symbol(len(schema), 64)])
            return Value(schema, b"", value.python, value.plain, value.kind, value.inner)
        return getattr(self, "read_" + schema["type"])(schema)

    def read_array(self, schema):
        items = [self.read(schema["items"]) for _ in self.items()]
        return Value(schema, b"", [i.python for i in items], [i.plain for i in items], "array", schema["items"])

    def read_map(self, schema):
        python, plain = {}, {}
        for _ in self.items():
            key, _plain = self.text()
            self.bad_key |= isinstance(key, bytes)
            self.zero_in_key |= isinstance(key, str) and "\0" in key
            value = self.read(schema["values"])
            python[key], plain[str(key)] = value.python, value.plain
        return Value(schema, b"", python, plain, "map")

    def read_enum(self, schema):
        symbol = schema["symbols"][self.symbol(len(schema["symbols"]), 32)]
        return Value(schema, b"", symbol, symbol, "enum")

    def read_fixed(self, schema):
        data = self.take(schema["size"])
        return Value(schema, b"", data, data.hex(), "fixed")

    def read_record(self, schema):
        fields = {field["name"]: self.read(field["type"]) for field in schema["fields"]}
        kind = {NULLABLE: "nullable", SUB: "sub"}.get(schema["name"], "record")
        return Value(schema, b"", {n: v.python for n, v in fields.items()}, {n: v.plain for n, v in fields.items()}, kind,
                     fields)

    def whole(self, schema):
        record = self.read(schema)
        if self.at < len(self.data):
            raise Refused("left over")
        return record


# --- damage -----------------------------------------------------------------------------------------------------------

EXTREMES = [number(n) for n in (-1, -2, 2, 3, 100, -100, 1024, 1025, -1024, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**62,
                                2**63 - 1, -(2**63))]


def longer(data, rng, at):
    """The number at this place with more bytes than it needs, where it is one of a single byte."""
    zeros = rng.choice([1, 2, 3, 4, 5, 8, 9, 10])
    return data[:at] + bytes([data[at] | 0x80]) + b"\x80" * (zeros - 1) + b"\0" + data[at + 1 :]


DAMAGE = [
    lambda d, r, a: d[:a] + bytes([d[a] ^ 1 << r.randrange(8)]) + d[a + 1 :],
    lambda d, r, a: d[:a] + bytes([d[a] ^ 1 << r.randrange(8)]) + d[a + 1 :],
    lambda d, r, a: d[:a] + bytes([r.randrange(256)]) + d[a + 1 :],
    lambda d, r, a: d[:a] + bytes([(d[a] + r.choice([-2, -1, 1, 2])) % 256]) + d[a + 1 :],
    lambda d, r, a: d[:a],
    lambda d, r, a: d[:a] + d[a + r.randrange(1, 9) :],
    lambda d, r, a: d[:a] + r.randbytes(r.randrange(1, 5)) + d[a:],
    lambda d, r, a: d[:a] + d[(b := r.randrange(len(d))) : b + r.randrange(1, 17)] + d[a:],
    lambda d, r, a: d[:a] + r.choice(EXTREMES) + d[a + 1 :],
    lambda d, r, a: d + r.randbytes(r.randrange(1, 4)),
    longer,
    lambda d, r, a: r.randbytes(r.randrange(2 * len(d))),
]


def damaged(data, rng):
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if data:
            data = rng.choice(DAMAGE)(data, rng, rng.randrange(len(data)))
    return data


# --- opinions ---------------------------------------------------------------------------------------------------------

def is_weightless(schema):
    """No byte at all, so that any number of items may be claimed, and fastavro will read them all."""
    if isinstance(schema, dict):
        return schema.get("size") == 0 or schema["type"] == "record" and all(is_weightless(f["type"]) for f in schema["fields"])
    return schema == "null"


def has_weightless_items(schema):
    if isinstance(schema, list):
        return any(map(has_weightless_items, schema))
    if not isinstance(schema, dict):
        return False
    parts = [schema[key] for key in ("items", "values") if key in schema] + [f["type"] for f in schema.get("fields", [])]
    return "items" in schema and is_weightless(schema["items"]) or any(map(has_weightless_items, parts))


def ask_fastavro(data, parsed):
    """(whether it reads the record, the value)."""
    try:
        return True, fastavro.schemaless_reader(io.BytesIO(data), parsed, None)
    except Exception:
        return False, None


def judge(data, schema, parsed, unbounded, seen):
    """The case for FILE; None for one that the driver's JSON library could not read there."""
    reading, why, record = Reading(data), None, None
    try:
        record = reading.whole(schema)
        why = "no UTF-8" if reading.bad_text else None
    except Refused as refused:
        why = str(refused)
    if record or not unbounded and why != "items":
        taken, value = ask_fastavro(data, parsed)
        differs = taken != (record is not None)
        assert not differs or why in DIFFERENCES, (why, schema, data.hex(), value)
        assert differs or not record or repr(value) == repr(record.python), (schema, data.hex(), value, record.python)
        if differs:
            seen[why] = seen.get(why, 0) + 1
    elif why == "items":
        seen[why] = seen.get(why, 0) + 1
    if reading.zero_in_key:
        return None
    if not record:
        return {"body": data.hex(), "fields": None}
    case = {"body": data.hex(), "fields": expectations(record)}
    return case if reading.bad_key else {**case, "json": plain_json(record)}


def main():
    seed = int(os.environ.get("SIPTRUNK_TEST_SEED", sys.argv[1]))
    count, path = int(os.environ.get("SIPTRUNK_AVRO_MUTATIONS", sys.argv[2])), sys.argv[3]
    seen, done, refused = {}, 0, 0
    with open(path, "w", encoding="utf-8") as file:
        while done < count:
            record = Maker(seed * 1000003 + done).sample()
            rng = random.Random(seed * 1000003 + done)
            parsed, unbounded = fastavro.parse_schema(record.schema), has_weightless_items(record.schema)
            judged = (judge(damaged(record.data, rng), record.schema, parsed, unbounded, seen) for _ in range(MUTANTS))
            cases = list(filter(None, judged))
            refused += sum(case["fields"] is None for case in cases)
            done += MUTANTS
            json.dump({"schema": record.schema, "cases": cases}, file)
            file.write("\n")
    print(f"{done} damaged records, {refused} of them to be refused; fastavro thinks otherwise of {seen}")
    missing = DIFFERENCES.keys() - seen.keys()
    assert not missing, f"no longer different from fastavro, or never tried: {missing}"


if __name__ == "__main__":
    main()
