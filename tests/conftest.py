"""Settings for every test, and the rule of CI: with REQUIRE_BROWSER_TESTS=1 the browser tests must all have run."""

import os
import signal

import pytest

# Before torch is imported, and inherited by the processes that tests start: several tests and the machine's other
# work share two cores, and tiny models are fastest on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl+C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class BrowserTests:
    """How the tests with the marker e2e ended."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "e2e" in report.keywords and (report.when == "call" or report.skipped):
            self.outcomes.append(report.outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.outcomes or "skipped" in self.outcomes:
            print("\nBrowser tests are required here, and did not all run:", self.outcomes or "none was collected")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("REQUIRE_BROWSER_TESTS"):
        config.pluginmanager.register(BrowserTests())
