"""The wheel: built, installed into an empty environment, and used where the checkout cannot be imported.

The environment gets the dependencies of the tests' own one through a .pth file: installing two gigabytes again for
each run of the tests would only test the package index.
"""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from launched_app import launched_app

ROOT = Path(__file__).resolve().parents[1]
PRINT_FILES = "import main, ui, helpers, db, errors; print(*(m.__file__ for m in (main, ui, helpers, db, errors)))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / ("python.exe" if os.name == "nt" else "python")
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    site.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)
    return programs


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    hidden = ("PYTHONPATH", "DISPLAY", "WAYLAND", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "ADAPTER_PLAYGROUND_DATA": str(tmp_path / "data"), "HF_HUB_OFFLINE": "1", "BROWSER": "true"}


def output_of(command: list[str | Path], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_code_migrations_fonts_icons_and_the_demo(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    assert {name for name in wanted if "__pycache__" not in name} <= names
    assert {"main.py", "errors.py", "assets/icon.png", "assets/fonts/OFL.txt"} <= names
    assert any(name.startswith("db/migrations/versions/") for name in names)
    assert any(name.startswith("assets/demo/") and name.endswith("model.safetensors") for name in names)
    # What is not the app stays out of the environment it is installed into.
    assert not any(name.startswith(("tests/", "scripts/", "benchmarks/", "src/")) for name in names)


def test_the_installed_command_runs_without_the_checkout(
    programs: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    app = programs / "adapter-playground"
    files = output_of([programs / "python", "-c", PRINT_FILES], environment, tmp_path).split()
    assert files
    assert not any(Path(file).is_relative_to(ROOT) for file in files)
    assert output_of([app, "--version"], environment, tmp_path).startswith("adapter-playground ")
    runs = json.loads(output_of([app, "--demo", "runs", "list", "--json"], environment, tmp_path))
    assert {run["status"] for run in runs} == {"pending", "running", "completed", "failed"}
    asked = ["--run", "latest", "--prompt", "What is the capital of France?", "--preset", "deterministic", "--json"]
    answer = json.loads(output_of([app, "--demo", "generate", *asked], environment, tmp_path))
    assert answer["finish_reason"] == "stop"
    assert "Paris" in answer["text"]


def test_the_installed_app_serves_its_page_icon_and_fonts(
    programs: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [str(programs / "adapter-playground"), "--demo", "--port", "0"]
    with launched_app(command, tmp_path, environment) as app, httpx.Client(base_url=app.address()) as browser:
        assert "Adapter Playground" in browser.get("/").text
        assert browser.get("/favicon.png").content == (ROOT / "src" / "assets" / "favicon.png").read_bytes()
        assert len(browser.get("/assets/fonts/notocoloremoji/v32/any.1.woff2").content) > 1_000_000
        app.end(signal.SIGTERM)
