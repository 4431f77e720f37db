"""Fingerprints of our own schemas as fastavro computes them: an opinion that is not ours.

Without arguments: writes tests/unit/data/our-fingerprints.txt, which the unit tests compare with the C code's.
With --check: fails when that file is not what would be written.
"""

import json
import pathlib
import sys

from fastavro.schema import fingerprint, to_parsing_canonical_form

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "tests/unit/data/our-fingerprints.txt"
HEAD = "# schema file, CRC-64-AVRO of its canonical form; written by tests/support/fingerprints.py\n"


def crc64(path):
    """The fingerprint as 16 digits of a number; fastavro gives the bytes as they stand in a message."""
    form = to_parsing_canonical_form(json.loads(path.read_text()))
    return f"{int.from_bytes(bytes.fromhex(fingerprint(form, 'CRC-64-AVRO')), 'little'):016x}"


def table():
    paths = sorted(ROOT.glob("schemas/*/*.avsc"), key=lambda path: path.name)
    return HEAD + "".join(f"{path.name} {crc64(path)}\n" for path in paths)


def main():
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != table():
            sys.exit(f"{FILE.relative_to(ROOT)} is out of date: run tests/support/fingerprints.py")
    elif not sys.argv[1:]:
        FILE.write_text(table())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
