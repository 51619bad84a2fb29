"""The doctor's report on screen, and a base of another machine: located once, then found by app and command line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

from db import training_runs
from db.database import Database
from db.models import RunStatus
from e2e.app_driver import AppPage
from e2e.app_server import SOURCE, AppServer
from e2e.inference_steps import READY, choose_run
from helpers.adapter_validation import validate_adapter
from helpers.app_paths import database_path, demo_assets_dir

RECORDED = "/home/alice/models/tiny-chat"


def test_the_details_of_a_damaged_run_hold_every_finding_of_the_doctor(app: AppPage, server: AppServer) -> None:
    report = validate_adapter(server.workspace / "runs" / "pirate-speak-interrupted", "demo/tiny-chat")
    assert len(report.findings) > 1 and not report.ok
    app.choose("Training run", re.compile("^pirate-speak-interrupted ·"))
    app.see(report.findings[0].hint)
    app.click("Details")
    for finding in report.findings:
        app.see(finding.message)
        app.see(finding.hint)
    app.see("Error: adapter_model.safetensors cannot be read")


def test_a_base_of_another_machine_is_located_once(server: AppServer, open_window: Callable[..., AppPage]) -> None:
    app, another = open_window(), open_window()
    for name in ("from-alice", "also-from-alice"):
        record_run_of_another_machine(server, name)
    app.click("Refresh the list of runs")
    app.choose("Training run", re.compile("^from-alice ·"))
    app.see("does not exist on this machine")
    app.click("Locate base model")
    app.see("It is remembered.")
    app.type("Folder", str(demo_assets_dir() / "tiny-chat"))
    app.page.keyboard.press("Enter")
    app.see(READY)
    another.click("Refresh the list of runs")
    choose_run(another, "also-from-alice")
    assert checked(server)["ok"]
    another.click(re.compile("^Settings"))
    another.see(RECORDED)
    another.click(re.compile("^Forget where .home.alice"))
    another.see_no_more(RECORDED)


def record_run_of_another_machine(server: AppServer, name: str) -> None:
    folder = server.workspace / "copies" / name
    shutil.copytree(server.workspace / "runs" / "json-answers", folder)
    with Database.open(database_path(server.workspace)) as database, database.session_scope() as session:
        training_runs.create(
            session, name=name, base_model=RECORDED, status=RunStatus.COMPLETED, adapter_path=str(folder)
        )


def checked(server: AppServer) -> dict[str, object]:
    """What ``check --json`` says in the same workspace."""
    command = [sys.executable, "-m", "main", "--data-dir", str(server.workspace), "check", "--json"]
    command += ["--base-model", RECORDED, str(server.workspace / "runs" / "json-answers")]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True)
    document: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 1)
    return document
