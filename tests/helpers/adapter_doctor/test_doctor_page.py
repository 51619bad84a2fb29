"""The page of finding codes names exactly those that the doctor can give."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
HELPERS = ROOT / "src" / "helpers"


def codes_in_the_code() -> set[str]:
    files = [*(HELPERS / "adapter_doctor").glob("*.py"), HELPERS / "adapter_live_check.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    given = re.findall(r'\b(?:error|warning|info)\(\s*"([a-z_]+)"', text)
    chosen = re.findall(r'Damage\.\w+: "([a-z_]+)"', text) + re.findall(r'"(live_[a-z_]+)"', text)
    return {*given, *chosen}


def test_every_code_has_a_cause_and_a_remedy() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == sorted(codes_in_the_code())
