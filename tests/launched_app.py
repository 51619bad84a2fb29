"""The app as a running process: what it prints, how it answers signals, how it ends."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROMPT_SECONDS = 10


class LaunchedApp:
    """``lines`` is what it has printed so far, on both streams."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []

    def wait_for(self, words: str) -> str:
        """Read on until a line has ``words``; fails with the output when the process ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended before it said {words!r}: {self.lines}")

    def address(self) -> str:
        """The address it prints."""
        found = re.search(r"http://\S+", self.wait_for("http://"))
        assert found is not None
        return found[0]

    def end(self, signal_number: int) -> str:
        """Send a signal; all its output once it has ended."""
        self.process.send_signal(signal_number)
        return self.ended()

    def ended(self) -> str:
        """All its output once it has ended, which must be soon, with exit code 0 and without a stack trace."""
        rest, _ = self.process.communicate(timeout=PROMPT_SECONDS)
        output = "".join(self.lines) + rest
        assert self.process.returncode == 0, output
        assert "Traceback" not in output
        return output


@contextmanager
def launched_app(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[LaunchedApp]:
    """``command`` running in ``folder`` for as long as the block needs it."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield LaunchedApp(process)
        finally:
            process.kill()
