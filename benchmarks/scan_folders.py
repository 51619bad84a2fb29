"""Searching 10,000 folders with 200 adapters, half of them checkpoints, all with loss curves; and listing them."""

import json
import tempfile
import time
from pathlib import Path

from report import Figure

FOLDERS = 10_000
RUNS = 100
_STEPS = 200
_ROUNDS = 5


def measure() -> list[Figure]:
    """The search itself, the first registration, and a second one, which finds everything known."""
    from db.database import Database
    from helpers.run_import import register_found, scan_for_adapters

    searched, registered, again = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "outputs"
        build_tree(root)
        for number in range(_ROUNDS):
            began = time.perf_counter()
            found = scan_for_adapters(root).found
            searched.append(FOLDERS / (time.perf_counter() - began))
            assert len(found) == RUNS
            with Database.open(Path(folder) / f"{number}.db") as database:
                for seconds, new in ((registered, RUNS), (again, 0)):
                    began = time.perf_counter()
                    assert len(register_found(database, found)) == new
                    seconds.append(time.perf_counter() - began)
    return [
        Figure("scan", "Folders searched per second, of 10,000", "folders/s", searched, at_least=2_000),
        Figure("scan", "100 runs with 100 checkpoints listed", "s", registered),
        Figure("scan", "The same again, all known", "s", again),
    ]


def build_tree(root: Path) -> None:
    """``FOLDERS`` folders, four levels deep, with a run in every hundredth and its checkpoint below."""
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "lora_alpha": 16}
    history = [{"step": step, "epoch": step / 100, "loss": 1 / step} for step in range(1, _STEPS + 1)]
    # Each run brings two folders of its own, itself and its checkpoint.
    groups = [root / f"{number // 10}" / f"{number % 10}" for number in range(RUNS)]
    made = 1 + 10 + len(groups)
    for group in groups:
        for saved in (group / "run", group / "run" / "checkpoint-200"):
            saved.mkdir(parents=True)
            made += 1
            (saved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
            (saved / "adapter_model.safetensors").write_bytes(b"weights")
            state = {"global_step": _STEPS, "log_history": history}
            (saved / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    for number in range(FOLDERS - made):
        (groups[number % RUNS] / f"folder-{number}").mkdir()


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    for figure in measure():
        print(figure.name, f"{figure.value:.4g} {figure.unit}", [f"{sample:.4g}" for sample in figure.samples])
