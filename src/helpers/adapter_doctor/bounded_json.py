"""Reads a JSON file of a stranger: never more than a set number of bytes, and one kind of error for all damage."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path, most_bytes: int) -> Any:
    """The document in ``path``; raises ValueError with words where it is damaged or too large, and OSError."""
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if not raw:
        raise ValueError("it is empty (0 bytes)")
    if len(raw) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes >> 20} MiB")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("it is not readable JSON (nested too deeply)") from None
    except ValueError as failure:
        raise ValueError(f"it is not readable JSON ({failure})") from failure
