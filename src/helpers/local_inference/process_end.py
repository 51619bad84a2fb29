"""Why the model process ended, in words."""

import signal
from pathlib import Path

from errors import ModelProcessError

_VMSTAT = Path("/proc/vmstat")


def kills_for_memory() -> int:
    """How many processes Linux has ended for lack of memory since it started; 0 where this is not known."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def describe_end(exit_code: int | None, kills_since_start: int) -> ModelProcessError:
    """The error for those who wait. ``exit_code`` negative = ended by that signal, None = not known."""
    restart = "The text so far is kept. Send the prompt again: a new model process starts by itself."
    smaller = "If it happens again, choose quantization “nf4”, a smaller base model or fewer new tokens."
    if exit_code == -signal.SIGTERM or (exit_code == -9 and not kills_since_start):
        name = signal.Signals(-exit_code).name
        return ModelProcessError(
            f"The model process was ended from outside (signal {-exit_code}, {name}). "
            "Another program did that, or the system because memory ran short.",
            f"{restart} {smaller}",
        )
    if exit_code == -9:
        return ModelProcessError(
            "The system ended the model process (signal 9, SIGKILL), because memory ran out.",
            f"{restart} {smaller}",
            "Not enough memory",
        )
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in signal.valid_signals() else "unknown"
        return ModelProcessError(f"The model process crashed (signal {-exit_code}, {name}).", f"{restart} {smaller}")
    return ModelProcessError(
        f"The model process ended by itself (exit code {exit_code}).", f"{restart} The log says more."
    )
