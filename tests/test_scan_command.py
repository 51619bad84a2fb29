"""``runs scan`` in a process of its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from db import run_records, training_runs
from db.database import Database
from helpers.app_paths import database_path

SOURCE = Path(__file__).resolve().parents[1] / "src"
RUNS, STEPS = 400, 50


def _outputs(root: Path) -> None:
    history = [{"step": step, "loss": 1 / step} for step in range(1, STEPS + 1)]
    for number in range(RUNS):
        for saved in (root / f"run-{number}", root / f"run-{number}" / f"checkpoint-{STEPS}"):
            saved.mkdir(parents=True)
            (saved / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
            (saved / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def _recorded(database: Path) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as reader:
        try:
            (number,) = reader.execute("SELECT count(*) FROM training_runs").fetchone()
        except sqlite3.OperationalError:  # The table comes with the first migration.
            return 0
    return int(number)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C cannot be sent to one process on Windows")
def test_ctrl_c_ends_a_scan_with_whole_runs_and_their_list(tmp_path: Path) -> None:
    _outputs(tmp_path / "outputs")
    workspace = tmp_path / "workspace"
    line = [sys.executable, "-m", "main", "runs", "scan", str(tmp_path / "outputs"), "--json"]
    with subprocess.Popen(
        [*line, "--data-dir", str(workspace)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        while _recorded(database_path(workspace)) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err and b"Stopped. New runs added: " in err
    printed = {run["id"] for run in json.loads(out)}
    with Database.open(database_path(workspace)) as database, database.read_scope() as session:
        ids = {run.id for run in training_runs.list_recent(session, limit=RUNS)}
        assert 3 <= len(ids) < RUNS
        # One may have been written in the moment of the signal.
        assert printed <= ids and len(ids - printed) <= 1
        for run_id in ids:
            assert len(run_records.list_metrics(session, run_id, "loss")) == STEPS
            assert len(run_records.list_checkpoints(session, run_id)) == 1
            assert len(run_records.list_events(session, run_id)) == 1
