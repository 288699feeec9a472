"""Kazoo's own test suite, and the recipes of test_recovery.py, against one server, or an ensemble of MEMBERS.

    suite.py                  all
    suite.py --quick          only what is marked quick below
    suite.py -k EXPRESSION    as pytest's -k

Run through `run`, which lends it servers. A line per test, the sum as the last line.
"""

import fnmatch
import logging
import os
import pathlib
import sys

import pytest

import harness  # noqa: F401  puts lent servers under kazoo's harness

HERE = pathlib.Path(__file__).parent
TEST_SECONDS_MAX = 240
# How many servers make one that is lent.
MEMBERS = int(os.environ.get("MEMBERS", "1"))

# The recipes, and the main ones through a crash and an expired session; the rest asks more of the same three times, once
# for each of kazoo's handlers.
QUICK = (
    *(f"kazoo.tests.test_{name}::*" for name in ("barrier", "counter", "election", "lock", "party", "queue")),
    *(f"test_recovery::test_{name}*" for name in ("lock", "election", "data_watch")),
)


def name_of(item):
    """module::class::function, whatever directory pytest counts from."""
    return "::".join([item.module.__name__, *item.nodeid.split("::")[1:]])


class Suite:
    """Leaves out what left_out.txt and left_out_alone.txt name, and says what became of the rest."""

    def __init__(self, quick):
        self.quick = quick
        self.counts = {"ok": 0, "FAIL": 0, "skip": 0}
        self.names = {}
        self.took = {}
        files = ["left_out.txt"] if MEMBERS > 1 else ["left_out.txt", "left_out_alone.txt"]
        lines = [line for file in files for line in (HERE / file).read_text().splitlines()]
        self.left = [line.split(None, 1) for line in lines if line[:1] not in ("", "#")]
        self.unused = {pattern for pattern, _ in self.left}

    def pytest_collection_modifyitems(self, config, items):
        kept = []
        for item in items:
            name = self.names[item.nodeid] = name_of(item)
            patterns = [pattern for pattern, _ in self.left if fnmatch.fnmatchcase(name, pattern)]
            self.unused.difference_update(patterns)
            if patterns:
                self.counts["skip"] += 1
            elif not self.quick or any(fnmatch.fnmatchcase(name, pattern) for pattern in QUICK):
                kept.append(item)
        items[:] = kept

    def pytest_report_teststatus(self, report):
        return report.outcome, "", ""  # pytest itself says nothing

    def pytest_runtest_logreport(self, report):
        took = self.took[report.nodeid] = self.took.get(report.nodeid, 0) + report.duration
        name = self.names[report.nodeid]
        if report.failed:
            self.say("FAIL", f"{name} in {report.when} ({took * 1000:.0f} ms)\n{report.longreprtext}")
        elif report.skipped:
            self.say("skip", f"{name}: {report.longrepr[2]}")
        elif report.when == "call":
            self.say("ok", f"{name} ({took * 1000:.0f} ms)")

    def pytest_collectreport(self, report):
        if report.failed:
            self.say("FAIL", f"collect {report.nodeid}\n{report.longreprtext}")

    def say(self, verdict, words):
        self.counts[verdict] += 1
        self.out.line(f"{verdict:4} {words}")
        self.out.flush()

    def pytest_sessionstart(self, session):
        self.out = session.config.get_terminal_writer()


def main(arguments):
    quick = "--quick" in arguments
    suite = Suite(quick)
    narrowed = [word for word in arguments if word != "--quick"]
    code = pytest.main(
        [
            *("-c", str(HERE / "pytest.ini"), "-qq", "--no-header", "--no-summary", "--show-capture=no", "--tb=short"),
            *(f"--timeout={TEST_SECONDS_MAX}", "-p", "no:cacheprovider", "-p", "no:warnings"),
            *narrowed,
            *("--pyargs", "kazoo.tests", str(HERE / "test_recovery.py")),
        ],
        plugins=[suite],
    )
    logging.disable()  # clients still close while Python ends
    if suite.unused and not narrowed:
        print("FAIL left_out*.txt names tests that do not exist:", *sorted(suite.unused))
        code = 1
    print("{ok} passed, {FAIL} failed, {skip} skipped or left out".format(**suite.counts))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
