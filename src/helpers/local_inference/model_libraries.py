"""Imports torch, transformers and PEFT, once and quietly."""

import logging
import os
from functools import cache

# Some ten microseconds: the time between two layers' products, and too short to keep another program waiting.
SPIN_TURNS = "5000"


@cache
def load() -> None:
    """Import what the engine computes with; some seconds the first time.

    bitsandbytes, which PEFT imports where it is installed, warns about optional kernels that are not needed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Threads that spin for long take the cores from those that compute: ten times slower, measured on two. Those
    # that sleep at once wake up late at every layer: half as fast. libgomp takes the number of turns from its own
    # variable; where another OpenMP runs they sleep. All is read when torch is imported, not later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_TURNS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Name and version of each library that takes part in an answer."""
    import peft
    import torch
    import transformers

    return (
        ("torch", str(torch.__version__)),
        ("transformers", transformers.__version__),
        ("peft", peft.__version__),
    )
