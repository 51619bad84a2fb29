"""The layers of the architecture: what may import what, and what must not be loaded to open a window."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
# Each takes seconds to import, or hundreds of megabytes of memory.
HEAVY = ("torch", "transformers", "peft", "datasets", "bitsandbytes", "accelerate", "pandas", "pyarrow", "scipy")


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after ``code``."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=SOURCE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_error_tree_lies_below_every_layer() -> None:
    assert not loaded_by("import errors") & {"main", "ui", "helpers", "db"}


def test_no_module_of_the_user_interface_loads_torch() -> None:
    modules = [module.name for module in pkgutil.walk_packages([str(SOURCE / "ui")], "ui.")]
    assert "ui.app_shell" in modules
    loaded = loaded_by("\n".join(f"import {module}" for module in modules))
    assert "flet" in loaded
    assert not loaded & set(HEAVY)


def test_the_command_line_loads_neither_torch_nor_the_window_nor_the_database_to_print_its_help() -> None:
    loaded = loaded_by("import main")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "flet", "sqlalchemy", "numpy"}


@pytest.mark.parametrize(
    "module", ["helpers.workspace", "helpers.adapter_validation", "helpers.local_inference.worker"]
)
def test_the_parts_the_app_starts_with_load_no_torch(module: str) -> None:
    assert not loaded_by(f"import {module}") & {*HEAVY, "flet"}
