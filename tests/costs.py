"""What the tests cost: CPU minutes in all and of the slowest files, printed at the end of a run.

CPU seconds are those of the process of the tests and of the processes that it started and waited
for; they are measured for each test from its setup to its teardown.
"""

import os
from collections import Counter

import pytest

SLOWEST = 10
CPU = "cpu_seconds"
STARTED = pytest.StashKey[float]()
costs: Counter[str] = Counter()


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Starts the clock of a test."""
    item.stash[STARTED] = cpu_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Writes the cost of a test into its last report, which also reaches xdist's controller."""
    report = yield
    if call.when == "teardown" and STARTED in item.stash:
        report.user_properties.append((CPU, cpu_seconds() - item.stash[STARTED]))
    return report


def pytest_runtest_logreport(report):
    """Adds a test to the cost of its file."""
    if report.when == "teardown":
        costs[report.nodeid.partition("::")[0]] += dict(report.user_properties).get(CPU, 0.0)


def pytest_terminal_summary(terminalreporter):
    """Prints the CPU minutes of the run and of the slowest files."""
    if not costs:
        return
    terminalreporter.section(f"{sum(costs.values()) / 60:.1f} CPU minutes; the slowest files")
    for file, seconds in costs.most_common(SLOWEST):
        terminalreporter.write_line(f"{seconds:7.1f} s  {file}")
