"""For all tests on real servers: where their libraries are, and the workers' logs when one fails."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))

import harness  # noqa: E402


@pytest.fixture
def stack():
    """A database, topics and a group of the test's own on the servers of the run."""
    with harness.Stack(harness.Servers.shared()) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed:
        for worker in harness.Worker.started:
            if worker.log_path.exists():
                report.sections.append(("worker", worker.report()))
    if call.when == "teardown":
        harness.Worker.started.clear()
    return report
