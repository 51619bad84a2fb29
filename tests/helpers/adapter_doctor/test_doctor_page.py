"""The page of finding codes names exactly those that the doctor can give, each with its severities."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
HELPERS = ROOT / "src" / "helpers"
SEVERITIES = {"error", "warning", "info"}


def findings_in(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Code and severity of every finding that ``function`` makes."""
    chosen = [
        constant.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["code"]
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    ]
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SEVERITIES):
            continue
        code = node.args[0]
        codes = [str(code.value)] if isinstance(code, ast.Constant) else chosen
        assert codes, f"{function.name} makes a finding whose code cannot be read from the source"
        yield from ((name, node.func.id) for name in codes)


def severities_in_the_code() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in [*(HELPERS / "adapter_doctor").glob("*.py"), HELPERS / "adapter_live_check.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for code, severity in findings_in(node):
                    found[code].add(severity)
    return found


def test_every_code_has_its_severities_a_cause_and_a_remedy() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z, ]+) \| (\S.+) \| (\S.+) \|$", page, re.MULTILINE)
    codes = [row[0] for row in rows]
    assert codes == sorted(set(codes)), "one row for each code, in order"
    assert {code: set(severities.split(", ")) for code, severities, *_ in rows} == severities_in_the_code()
