"""Fonts the browser view asks for when a text holds characters that Roboto lacks.

Flutter's web engine knows by itself which Noto family has a character and asks for it below ``assets/fonts/``, e.g.
``assets/fonts/notosanssc/v37/<hash>.119.woff2``: family, version, and for the large families the number of a slice.
It asks again without end while the answer is an error (seen in Flet 1.0.5), so a family that is not shipped is
answered with a font that has no characters.
"""

import re
import zipfile
from functools import lru_cache
from pathlib import Path

_REQUEST = re.compile(r"/assets/fonts/(?P<family>[a-z0-9]+)/v\d+/[^/]*?(?:\.(?P<slice>\d+))?\.(?:woff2|ttf|otf)")


def fallback_font(request_path: str, fonts: Path) -> bytes | None:
    """The font for one request of the browser view; None where the path asks for something else.

    ``fonts`` is the folder of shipped fonts (built by scripts/collect_fonts.py).
    """
    asked = _REQUEST.fullmatch(request_path)
    if asked is None:
        return None
    family = asked["family"]
    slice_name = f"{asked['slice']}.woff2"
    slices = fonts / f"{family}.zip"
    if slices.is_file() and slice_name in _slice_names(slices):
        with zipfile.ZipFile(slices) as archive:
            return archive.read(slice_name)
    whole = fonts / f"{family}.woff2"
    return (whole if whole.is_file() else fonts / "blank.woff2").read_bytes()


@lru_cache
def _slice_names(slices: Path) -> frozenset[str]:
    with zipfile.ZipFile(slices) as archive:
        return frozenset(archive.namelist())
