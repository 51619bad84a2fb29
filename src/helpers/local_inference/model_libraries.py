"""Imports torch, transformers and PEFT, once and quietly."""

import logging
import os
from functools import cache


@cache
def load() -> None:
    """Import what the engine computes with; some seconds the first time.

    bitsandbytes, which PEFT imports where it is installed, warns about optional kernels that are not needed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Threads that spin while they wait take the cores from those that compute: ten times slower, measured on two.
    # OpenMP reads this when torch is imported, so it has no effect where that has happened before.
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
