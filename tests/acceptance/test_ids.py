"""No rule is forgotten: each id has a case here, or a test that names it elsewhere."""

import json
import pathlib
import re

HERE = pathlib.Path(__file__).parent
# Every rule by its id: cases here that show it, or the test that does where one command after the other cannot.
HERE_IDS = ["G1-G6", "G9", "G12", "G14-G15", "N1-N6", "C1-C11", "D1-D6", "R1-R6", "E1-E40", "O1-O11", "X1-X2", "X4-X5", "B3", "B7"]
ELSEWHERE = {
    "G7": "tests/faults/test_crash.py",
    "G8": "tests/integration/test_guarantees.py",
    "G11": "tests/faults/test_outage.py",
    "G13": "tests/integration/test_secrets.py",
    "G16": "tests/integration/test_ctl_send.py",
    "X3": "tests/acceptance/test_catalogue.c",
    "B1": "tests/integration/test_batch.py",
    "B2": "tests/integration/test_batch.py",
}
LATER = ["G10", "D7", "B4-B6"]


def each(ranges):
    for item in ranges:
        first, _, last = item.partition("-")
        letter, low = first[0], int(first[1:])
        yield from (f"{letter}{number}" for number in range(low, int(last[1:] if last else low) + 1))


def test_each_id_has_a_case_and_each_case_an_id():
    cases = {case["id"] for path in HERE.glob("*.json")
             for case in json.loads(path.read_text())["cases"]}
    here = set(each(HERE_IDS))
    assert here - cases == set(), "rules without a case"
    known = here | set(ELSEWHERE) | {"F"}
    assert cases - known == set(), "cases of no rule"


def test_what_is_shown_elsewhere_is_named_there():
    for name, path in ELSEWHERE.items():
        text = (HERE.parent.parent / path).read_text()
        assert re.search(rf"\b{name}\b", text), f"{path} does not name {name}"


def test_the_list_is_whole():
    every = [*each(HERE_IDS), *ELSEWHERE, *each(LATER)]
    assert len(every) == len(set(every))
    assert sorted(every) == sorted(each(["G1-G16", "N1-N6", "C1-C11", "D1-D7", "R1-R6", "E1-E40", "O1-O11", "X1-X5", "B1-B7"]))
