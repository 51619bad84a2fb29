"""With REQUIRE_BROWSER_TESTS=1, as in CI, a run in which the browser tests did not all run fails."""

import os

import pytest


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
