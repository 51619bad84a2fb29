"""Lets a test meet a refused permission, also where the tests run as root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def without_privileges(*reachable: Path) -> Iterator[None]:
    """Run the block as an account that owns nothing; ``reachable`` folders can be entered by it.

    Skips the test where permissions do not exist (Windows).
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("needs POSIX permissions")
    if os.geteuid() != 0:
        yield
        return
    for folder in reachable:
        for part in (folder, *folder.parents):
            if part.owner() == "root" and not part.stat().st_mode & 0o001:
                part.chmod(part.stat().st_mode | 0o011)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
