"""Writes Avro as any stranger might: by whatever schema, valid text or not. What tests/support/avro_write.c does for C.

Values are in the guide's JSON form: unions are plain values, null or a text stands for a NullableString, and
{"hex": "..."} gives a string or bytes any bytes. Keys that are missing from an object take the schema's default.
"""

import struct


def encoded(schema, value):
    out = bytearray()
    _write(out, schema, value, {})
    return bytes(out)


def _write(out, kind, value, named):
    kind = _resolved(kind, named)
    if isinstance(kind, list):
        _write_union(out, kind, value, named)
    elif isinstance(kind, dict) and kind["type"] == "record":
        _write_record(out, kind, value, named)
    elif isinstance(kind, dict) and kind["type"] == "array":
        if value:
            _write_long(out, len(value))
        for item in value:
            _write(out, kind["items"], item, named)
        _write_long(out, 0)
    else:
        _write_plain(out, kind["type"] if isinstance(kind, dict) else kind, value)


def _write_plain(out, kind, value):
    if kind == "boolean":
        out.append(value is True)
    elif kind in ("int", "long"):
        _write_long(out, value)
    elif kind == "double":
        out.extend(struct.pack("<d", value))
    elif kind in ("string", "bytes"):
        data = bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()
        _write_long(out, len(data))
        out.extend(data)
    else:
        assert kind == "null" and value is None, (kind, value)


def _write_long(out, value):
    zigzag = value << 1 if value >= 0 else (-value << 1) - 1
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)


def _resolved(kind, named):
    """The record itself for a name that stands for it."""
    if isinstance(kind, dict) and kind["type"] == "record":
        named[kind["name"]] = kind
    return named.get(kind, kind) if isinstance(kind, str) else kind


def _is_nullable_string(kind):
    return isinstance(kind, dict) and kind.get("name") == "NullableString"


def _write_record(out, kind, value, named):
    if _is_nullable_string(kind) and not (isinstance(value, dict) and "value" in value):
        value = {"value": value}
    for field in kind["fields"]:
        _write_field(out, field, value, named)


def _write_field(out, field, value, named):
    branches = [_resolved(branch, named) for branch in field["type"]] if isinstance(field["type"], list) else []
    given = value[field["name"]] if field["name"] in value else field["default"]
    if len(branches) == 2 and _is_nullable_string(branches[1]) and field["name"] in value and given is None:
        given = {"value": None}  # off, not "not sent"
    _write(out, field["type"], given, named)


def _write_union(out, branches, value, named):
    branches = [_resolved(branch, named) for branch in branches]
    for index, branch in enumerate(branches):
        if _takes(branch, value):
            _write_long(out, index)
            return _write(out, branch, value, named)
    raise AssertionError(f"no branch of {branches} takes {value!r}")


def _takes(kind, value):
    name = kind["type"] if isinstance(kind, dict) else kind
    if value is None:
        return name == "null"
    if isinstance(value, bool):
        return name == "boolean"
    if _is_nullable_string(kind):
        return isinstance(value, (str, dict))
    if isinstance(value, dict):
        return name in ("string", "bytes") if "hex" in value else name == "record"
    return name in {int: ("int", "long"), float: ("double",), str: ("string", "bytes"), list: ("array",)}[type(value)]
