"""Rebuild src/assets/fonts from the Noto families (SIL Open Font License) as other packages ship them.

    python scripts/collect_fonts.py DEBIAN_NOTO FONTSOURCE

DEBIAN_NOTO is the folder of .ttf files of Debian's fonts-noto-core and fonts-noto-mono; FONTSOURCE holds the unpacked
npm packages @fontsource/noto-sans-{sc,hk,tc,jp,kr} and @fontsource/noto-color-emoji. Needs ``fonttools`` and
``brotli``, which the app itself does not.

Files are named as the browser view asks for them (see ui.fallback_fonts): one .woff2 for a family that is asked for
whole, one .zip of numbered slices for the Chinese, Japanese and Korean families.
"""

import sys
import zipfile
from pathlib import Path

from fontTools.merge import Merger
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

FONTS = Path(__file__).resolve().parent.parent / "src" / "assets" / "fonts"

# Symbols, and the scripts people write today that Roboto lacks.
# fmt: off
WHOLE_FAMILIES = (
    "NotoSansSymbols", "NotoSansSymbols2", "NotoSansMath", "NotoSansArabic", "NotoSansArmenian",
    "NotoSansBengali", "NotoSansEthiopic", "NotoSansGeorgian", "NotoSansGujarati",
    "NotoSansGurmukhi", "NotoSansHebrew", "NotoSansKannada", "NotoSansKhmer", "NotoSansLao", "NotoSansMalayalam",
    "NotoSansMongolian", "NotoSansMyanmar", "NotoSansOriya", "NotoSansSinhala", "NotoSansTamil", "NotoSansTelugu",
    "NotoSansThaana", "NotoSansThai", "NotoSerifTibetan",
)
# fmt: on
SLICED_FAMILIES = ("noto-sans-sc", "noto-sans-hk", "noto-sans-tc", "noto-sans-jp", "noto-sans-kr")
# Latin, Greek, Cyrillic, punctuation, arrows, mathematics, boxes and blocks: what code and its output are made of.
CODE_RANGES = (
    (0x20, 0x52F),
    (0x1E00, 0x206F),
    (0x20A0, 0x20BF),
    (0x2100, 0x22FF),
    (0x2500, 0x25FF),
    (0x2700, 0x27BF),
)


def write_whole_family(debian_noto: Path, family: str) -> None:
    """Compress one family without changing its glyphs."""
    font = TTFont(debian_noto / f"{family}-Regular.ttf")
    font.flavor = "woff2"
    font.save(FONTS / f"{family.lower()}.woff2")


def write_sliced_family(fontsource: Path, family: str) -> None:
    """Pack the numbered slices of one family, unchanged. woff2 is compressed already, so the zip only holds them."""
    files = _one(fontsource, f"**/{family}/files", f"**/fontsource-{family}-*/package/files")
    with zipfile.ZipFile(FONTS / f"{family.replace('-', '')}.zip", "w", zipfile.ZIP_STORED) as archive:
        for number in range(200):
            slice_file = files / f"{family}-{number}-400-normal.woff2"
            if slice_file.exists():
                # A fixed date, so that the same slices give the same file.
                archive.writestr(zipfile.ZipInfo(f"{number}.woff2"), slice_file.read_bytes())


def write_emoji(fontsource: Path) -> None:
    """The colour emoji as vector layers; the same pictures as SVG would be ten times larger and are not drawn."""
    files = _one(fontsource, "**/noto-color-emoji/files", "**/fontsource-noto-color-emoji-*/package/files")
    font = TTFont(files / "noto-color-emoji-emoji-400-normal.woff2")
    del font["SVG "]
    font.save(FONTS / "notocoloremoji.woff2")


def write_code_font(debian_noto: Path) -> None:
    """The fixed-width font, as .ttf because the window's client reads that only."""
    font = TTFont(debian_noto / "NotoSansMono-Regular.ttf")
    subsetter = Subsetter(Options(hinting=False))
    subsetter.populate(unicodes=[code for first, last in CODE_RANGES for code in range(first, last + 1)])
    subsetter.subset(font)
    font.save(FONTS / "noto-sans-mono.ttf")


def write_blank_font(debian_noto: Path) -> None:
    """A font with a space only: the answer for a family that is not shipped."""
    font = TTFont(debian_noto / "NotoSans-Regular.ttf")
    subsetter = Subsetter(Options(hinting=False))
    subsetter.populate(unicodes=[0x20])
    subsetter.subset(font)
    font.flavor = "woff2"
    font.save(FONTS / "blank.woff2")


def write_latin_family(debian_noto: Path) -> None:
    """Noto Sans, which to the browser view includes Devanagari, merged from the two fonts."""
    font = Merger().merge([str(debian_noto / f"{name}-Regular.ttf") for name in ("NotoSans", "NotoSansDevanagari")])
    font.flavor = "woff2"
    font.save(FONTS / "notosans.woff2")


def _one(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for found in folder.glob(pattern):
            return found
    raise SystemExit(f"{folder} holds none of: {', '.join(patterns)}")


def main() -> None:
    debian_noto, fontsource = Path(sys.argv[1]), Path(sys.argv[2])
    FONTS.mkdir(parents=True, exist_ok=True)
    for family in WHOLE_FAMILIES:
        write_whole_family(debian_noto, family)
    for family in SLICED_FAMILIES:
        write_sliced_family(fontsource, family)
    write_emoji(fontsource)
    write_code_font(debian_noto)
    write_latin_family(debian_noto)
    write_blank_font(debian_noto)


if __name__ == "__main__":
    main()
