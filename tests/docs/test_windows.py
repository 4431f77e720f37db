"""docs/windows.md: each rule stands where it says, each test exists, and no window is without one."""

import re

from pages import ROOT

PAGE = (ROOT / "docs" / "windows.md").read_text()
ROWS = re.findall(r"^\| (W\d+) \|.*\| ([^|]+) \| ([^|]+) \|$", PAGE, re.M)
WINDOWS = [*range(1, 9), *range(10, 19), *range(20, 29), 30]


def test_all_windows_are_there_in_their_order():
    assert [name for name, _, _ in ROWS] == [f"W{number}" for number in WINDOWS]


def test_rules_stand_in_the_code():
    for window, code, _ in ROWS:
        found = re.findall(r"`([\w/.]+): (\w+)`", code)
        assert found, window
        for path, function in found:
            assert re.search(rf"^[a-z].*\b{function}\(", (ROOT / path).read_text(), re.M), f"{window}: {path} has no {function}"


def test_tests_exist():
    for window, _, tests in ROWS:
        folder = ROOT / ("tests/integration" if "`tests/integration`" in tests else "tests/faults")
        found = re.findall(r"`(test_\w+\.py): (test_\w+)`", tests)
        assert found, window
        for file, name in found:
            places = [folder / file, ROOT / "tests" / "faults" / file]
            assert any(p.exists() and f"def {name}(" in p.read_text() for p in places), f"{window}: {file} has no {name}"
