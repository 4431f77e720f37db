"""Random writer schemas and records, with what each must decode to, for tests/support/avro_differential.c.

    avro_vectors.py SEED COUNT FILE

Bytes are written by the encoder in here, which also writes the forms that libraries read but never write (blocks with
byte sizes, many blocks, unions of one branch). fastavro must read each record back to the very same value, and, through
our reader's schema, to the values that are expected of the fields whose types fit; so three opinions have to agree.
A line of FILE is a JSON object: schema, body (hexadecimal), fields (name -> expected), json (the whole, plainly).
"""

import io
import json
import random
import struct
import sys

import fastavro

NULLABLE = "t.NullableString"
SUB = "t.Sub"
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "string", "bytes"]

# What the C driver reads: name -> (aliases, the writer's types that fit, type in a reader's schema). Keep both alike.
READ = {
    "flag": ([], ["boolean"], ["boolean"]),
    "count": ([], ["int"], ["int"]),
    "total": ([], ["int", "long"], ["long"]),
    "name": (["label", "title"], ["string", "bytes"], ["string"]),
    "mixed": ([], ["boolean", "string"], ["boolean", "string"]),
    "tags": ([], ["list"], [{"type": "array", "items": "string"}]),
    "timeout": ([], ["nullable"], [{"type": "record", "name": NULLABLE, "fields": [
        {"name": "value", "type": ["null", "string"]}]}]),
    "sub": ([], ["sub"], [{"type": "record", "name": SUB, "fields": [
        {"name": "ping", "type": ["null", "int"], "default": None},
        {"name": "note", "type": ["null", "string"], "default": None}]}]),
}


# --- encoding -------------------------------------------------------------------------------------------------------

def number(value):
    zigzag = (value << 1) ^ (value >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes(out + bytes([zigzag]))


def text(data):
    return number(len(data)) + data


class Value:
    """One value of one type: schema, bytes, Python value as fastavro reads it, plain JSON."""

    def __init__(self, schema, data, python, plain, kind, inner=None):
        self.schema, self.data, self.python, self.plain, self.kind, self.inner = schema, data, python, plain, kind, inner


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = 0

    def fresh(self, prefix):
        self.names += 1
        return f"x.{prefix}{self.names}"

    def word(self):
        return "".join(self.random.choice("abcé€xyz 0123") for _ in range(self.random.randrange(12)))

    def integer(self, bits):
        size = self.random.randrange(bits)
        return self.random.randrange(-(1 << size), 1 << size)

    def blocks(self, items):
        """The same items in blocks of all shapes."""
        out = b""
        while items:
            count = self.random.randrange(1, len(items) + 1)
            block, items = b"".join(items[:count]), items[count:]
            sized = self.random.random() < 0.5
            out += number(-count) + number(len(block)) + block if sized else number(count) + block
        return out + number(0)

    def primitive(self, kind):
        r = self.random
        if kind == "null":
            return Value(kind, b"", None, None, kind)
        if kind == "boolean":
            value = r.random() < 0.5
            return Value(kind, bytes([value]), value, value, kind)
        if kind in ("int", "long"):
            value = self.integer(32 if kind == "int" else 64)
            return Value(kind, number(value), value, value, kind)
        if kind == "float":
            value = struct.unpack("<f", struct.pack("<f", r.uniform(-9, 9)))[0]
            return Value(kind, struct.pack("<f", value), value, value, kind)
        if kind == "double":
            value = r.uniform(-1e9, 1e9)
            return Value(kind, struct.pack("<d", value), value, value, kind)
        if kind == "string":
            value = self.word()
            return Value(kind, text(value.encode()), value, value, kind)
        value = self.word().encode()
        return Value(kind, text(value), value, value.hex(), kind)

    def like(self, value):
        """Another value of the same schema where that is cheap, for primitives; else the same one."""
        return self.primitive(value.kind) if isinstance(value.schema, str) else value

    def array(self, depth):
        item = self.any(depth + 1)
        items = [self.like(item) for _ in range(self.random.randrange(4))]
        return Value({"type": "array", "items": item.schema}, self.blocks([i.data for i in items]),
                     [i.python for i in items], [i.plain for i in items], "array", item.schema)

    def map(self, depth):
        item = self.any(depth + 1)
        items = {self.word(): self.like(item) for _ in range(self.random.randrange(4))}
        return Value({"type": "map", "values": item.schema},
                     self.blocks([text(k.encode()) + v.data for k, v in items.items()]),
                     {k: v.python for k, v in items.items()}, {k: v.plain for k, v in items.items()}, "map")

    def enum(self, _depth):
        symbols = ["A", "B", "C"][: self.random.randrange(1, 4)]
        index = self.random.randrange(len(symbols))
        return Value({"type": "enum", "name": self.fresh("E"), "symbols": symbols}, number(index), symbols[index],
                     symbols[index], "enum")

    def fixed(self, _depth):
        size = self.random.randrange(9)
        value = self.random.randbytes(size)
        return Value({"type": "fixed", "name": self.fresh("F"), "size": size}, value, value, value.hex(), "fixed")

    def record(self, depth):
        fields = [(f"f{i}", self.any(depth + 1)) for i in range(self.random.randrange(4))]
        return self.record_of(self.fresh("R"), fields, "record")

    def record_of(self, name, fields, kind):
        return Value({"type": "record", "name": name, "fields": [{"name": n, "type": v.schema} for n, v in fields]},
                     b"".join(v.data for _, v in fields), {n: v.python for n, v in fields},
                     {n: v.plain for n, v in fields}, kind, dict(fields))

    def any(self, depth):
        makers = [self.array, self.map, self.enum, self.fixed, self.record, self.union]
        if depth >= 5 or self.random.random() < 0.6:
            return self.primitive(self.random.choice(PRIMITIVES))
        return self.random.choice(makers)(depth)

    def union(self, depth):
        value = self.any(depth + 1)
        while isinstance(value.schema, list):
            value = self.any(depth + 1)
        return self.union_with(value)

    def union_with(self, value):
        """The value as one branch among others of other types."""
        taken = value.schema if isinstance(value.schema, str) else value.schema["type"]
        others = [p for p in PRIMITIVES if p != taken]
        self.random.shuffle(others)
        branches = others[: self.random.randrange(3)]
        index = self.random.randrange(len(branches) + 1)
        branches.insert(index, value.schema)
        return Value(branches, number(index) + value.data, value.python, value.plain, value.kind, value.inner)

    # --- what our reader takes

    def list(self):
        kind = self.random.choice(["string", "bytes"])
        items = [self.primitive(kind) for _ in range(self.random.randrange(6))]
        return Value({"type": "array", "items": kind}, self.blocks([i.data for i in items]),
                     [i.python for i in items], [i.plain for i in items], "list")

    def nullable(self):
        value = self.union_with(self.primitive(self.random.choice(["null", "string"])))
        return self.record_of(NULLABLE, [("value", value)], "nullable")

    def sub(self):
        fields = []
        if self.random.random() < 0.7:
            fields.append(("ping", self.perhaps_union(self.primitive(self.random.choice(["int", "int", "string"])))))
        if self.random.random() < 0.7:
            fields.append(("note", self.perhaps_union(self.primitive(self.random.choice(["string", "bytes", "long"])))))
        if self.random.random() < 0.5:
            fields.append(("other", self.any(3)))
        self.random.shuffle(fields)
        return self.record_of(SUB, fields, "sub")

    def perhaps_union(self, value):
        if isinstance(value.schema, list) or self.random.random() < 0.4:
            return value
        return self.union_with(value)

    def field(self, name):
        fits = READ[name][1]
        kind = self.random.choice(fits) if self.random.random() < 0.7 else None
        if kind is None:
            value = self.any(2)
        elif kind in PRIMITIVES:
            value = self.primitive(kind)
        else:
            value = getattr(self, kind)()
        if self.random.random() < 0.15:
            null = self.primitive("null")
            return Value(["null", "string"], number(0), null.python, null.plain, "null")
        return self.perhaps_union(value)

    def sample(self):
        fields = []
        for name, (aliases, _fits, _type) in READ.items():
            if self.random.random() < 0.8:
                fields.append((self.random.choice([name] + aliases), self.field(name)))
        for i in range(self.random.randrange(5)):
            fields.append((f"extra{i}", self.any(1)))
        self.random.shuffle(fields)
        return self.record_of("t.Sample", fields, "sample")


# --- what must come out ---------------------------------------------------------------------------------------------

def as_text(python):
    return (python if isinstance(python, bytes) else python.encode()).hex()


def scalar(value):
    if value.kind in ("string", "bytes"):
        return ["text", as_text(value.python)]
    return ["boolean" if value.kind == "boolean" else "integer", value.python]


def expect_nullable(value):
    if value.kind == "null":
        return ["absent"]
    if value.kind != "nullable":
        return ["bad"]
    inner = value.inner["value"]
    if inner.kind in ("string", "bytes"):
        return scalar(inner)
    return ["null"] if inner.kind == "null" else ["bad"]


def expect(name, value):
    if name == "timeout":
        return expect_nullable(value)
    if value.kind == "null":
        return ["null"]
    fits = READ[name][1] + (["bytes"] if "string" in READ[name][1] else [])
    if value.kind == "list" and name == "tags":
        return ["list"] + [as_text(item) for item in value.python]
    if value.kind == "array" and name == "tags":
        return expect_array(value)
    if name == "sub":
        return ["record"] if value.kind in ("sub", "record") else ["bad"]
    return scalar(value) if value.kind in fits else ["bad"]


def expect_array(value):
    """An array that came out of any(): it fits when the writer's items are texts."""
    items = value.inner
    if items in ("string", "bytes"):
        return ["list"] + [as_text(item) for item in value.python]
    if isinstance(items, list):
        return None  # depends on branches that are not kept: left out
    return ["bad"]


def expect_member(name, value):
    fits = {"ping": ["int"], "note": ["string", "bytes"]}[name]
    if value.kind == "null":
        return ["null"]
    return scalar(value) if value.kind in fits else ["bad"]


def expectations(record):
    out = {name: ["absent"] for name in list(READ) + ["ping", "note"]}
    for name, (aliases, _fits, _type) in READ.items():
        value = next((record.inner[n] for n in [name] + aliases if n in record.inner), None)
        if value is None:
            continue
        out[name] = expect(name, value)
        if name == "sub" and out[name] == ["record"]:
            for member in ("ping", "note"):
                if member in value.inner:
                    out[member] = expect_member(member, value.inner[member])
    return {name: value for name, value in out.items() if value is not None}


# --- fastavro's opinion ---------------------------------------------------------------------------------------------

def check_value(record):
    read = fastavro.schemaless_reader(io.BytesIO(record.data), record.schema)
    assert read == record.python, (record.schema, read, record.python)


def reader_schema(names):
    fields = [{"name": n, "aliases": READ[n][0], "type": ["null"] + READ[n][2], "default": None} for n in names]
    return {"type": "record", "name": "t.Sample", "fields": fields}


def plainly(value):
    """A value that fastavro resolved, in the terms of expectations."""
    if isinstance(value, bool):
        return ["boolean", value]
    if isinstance(value, int):
        return ["integer", value]
    return ["text", as_text(value)]


def loose_sub(record):
    """We take a sub-record by its fields, whatever its name; fastavro, as the specification says, by its name too."""
    return "sub" in record.inner and record.inner["sub"].kind == "record"


def check_resolution(record, fields, without_sub):
    """Through our reader's schema; fields whose types do not fit are left out of it, since fastavro refuses them."""
    without_sub = without_sub or any(fields.get(n) == ["bad"] for n in ("ping", "note"))
    names = [n for n in READ if n in fields and fields[n] != ["bad"] and not (n == "sub" and without_sub)]
    read = fastavro.schemaless_reader(io.BytesIO(record.data), record.schema, reader_schema(names))
    for name in names:
        expected, actual = fields[name], read[name]
        if expected in (["absent"], ["null"]) and name != "timeout":
            assert actual is None, (name, actual)
        elif name == "timeout":
            assert expected == (["absent"] if actual is None else ["null"] if actual["value"] is None
                                else plainly(actual["value"])), (name, actual)
        elif name == "sub":
            for member in ("ping", "note"):
                wanted = fields[member]
                assert (actual[member] is None) if wanted[0] in ("absent", "null") else plainly(actual[member]) == wanted
        elif name == "tags":
            assert expected[1:] == [as_text(item) for item in actual], (name, actual)
        else:
            assert plainly(actual) == expected, (name, actual, expected)


def plain_json(record):
    """As common/avro_json.h says: a NullableString in a union is its value, and is left out when not sent."""
    def field(value):
        return value.inner["value"].plain if value.kind == "nullable" else value.plain
    out = {}
    for name, value in record.inner.items():
        nullable = isinstance(value.schema, list) and any(
            isinstance(b, dict) and b.get("name") == NULLABLE for b in value.schema)
        if not (nullable and value.kind == "null"):
            out[name] = field(value)
    return out


def main():
    seed, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            record = Maker(seed * 1000003 + i).sample()
            fields = expectations(record)
            check_value(record)
            check_resolution(record, fields, loose_sub(record))
            json.dump({"schema": record.schema, "body": record.data.hex(), "fields": fields,
                       "json": plain_json(record)}, file)
            file.write("\n")


if __name__ == "__main__":
    main()
