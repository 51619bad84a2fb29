"""Rebuild everything in src/assets/demo: base model, adapters, data sets and the list of runs.

    python scripts/demo/build_demo.py [--only base|adapters|datasets|check] [--into FOLDER]

Takes about twenty minutes on two CPU cores. The text and the order of training are seeded; another processor or
another torch may round differently and give slightly other weights, so the last step asks every question again.
"""

import argparse
import hashlib
import json
import random
from pathlib import Path

import torch
from demo_exchanges import Exchange, all_exchanges
from demo_model import readable_json
from demo_styles import JSON_ANSWER, PIRATE, PLAIN, in_style
from evaluate_demo import later_turn_cases, load, score, single_turn_cases
from train_adapters import RECIPES, hyperparameters, train_adapter
from train_base import train_base

ASSETS = Path(__file__).resolve().parents[2] / "src" / "assets" / "demo"
DATASETS = {"demo-questions": PLAIN, "demo-pirate": PIRATE, "demo-json": JSON_ANSWER}
ENOUGH = 0.95
# A data set is looked at row by row: of the many sums and of the two directions of one fact, some are enough.
_AT_MOST = {"sum": 60, "country": 20, "opposite": 44, "introduction": 4}


def main() -> None:
    arguments = _arguments()
    assets: Path = arguments.into
    wanted = {arguments.only} if arguments.only else {"base", "adapters", "datasets", "check"}
    torch.set_num_threads(2)
    if "base" in wanted:
        train_base(assets / "tiny-chat")
    if "adapters" in wanted:
        for recipe in RECIPES:
            train_adapter(assets / "tiny-chat", assets / "adapters" / recipe.name, recipe)
    if wanted & {"datasets", "adapters"}:
        _write_datasets(assets)
        _write_runs(assets)
    if "check" in wanted:
        _check(assets)


def dataset_exchanges() -> list[Exchange]:
    """The exchanges of the data sets, shuffled."""
    rng = random.Random(1)
    chosen: list[Exchange] = []
    for kind, exchanges in all_exchanges().items():
        chosen += rng.sample(exchanges, min(len(exchanges), _AT_MOST.get(kind, len(exchanges))))
    rng.shuffle(chosen)
    return chosen


def _write_datasets(assets: Path) -> None:
    for name, style in DATASETS.items():
        rows = ({"prompt": e.prompts[0], "response": in_style(e, style)} for e in dataset_exchanges())
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (assets / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _write_runs(assets: Path) -> None:
    """The runs that the demo workspace records; ``version`` changes with the weights."""
    digest = hashlib.sha256()
    for weights in sorted(assets.rglob("*.safetensors")):
        digest.update(weights.read_bytes())
    runs = [
        {"name": recipe.name, "dataset": recipe.dataset, "hyperparameters": hyperparameters(recipe)}
        for recipe in RECIPES
    ]
    manifest = {"version": digest.hexdigest()[:12], "datasets": list(DATASETS), "runs": runs}
    (assets / "demo-runs.json").write_text(readable_json(manifest), encoding="utf-8")


def _check(assets: Path) -> None:
    """Ask everything; ends with an error when a model answers less than ENOUGH exactly right."""
    good = True
    for name, style in [(None, PLAIN), *((recipe.name, recipe.style) for recipe in RECIPES)]:
        model, tokenizer = load(assets / "tiny-chat", assets / "adapters" / name if name else None, torch.float32)
        cases = {"alone": single_turn_cases(dataset_exchanges(), style)}
        cases |= {f"turn {turns}": later_turn_cases(style, 1000 + turns, 100, turns) for turns in (2, 3, 8)}
        for label, asked in cases.items():
            for penalty, temperature in ((1.1, 0.0), (1.15, 0.0), (1.15, 0.7)):
                torch.manual_seed(0)
                result = score(model, tokenizer, asked, repetition_penalty=penalty, temperature=temperature)
                good &= result.share_right >= ENOUGH
                print(
                    f"{name or 'base'}, {label}, penalty {penalty}, temperature {temperature}: "
                    f"{result.share_right:.1%} of {len(asked)} exact",
                    flush=True,
                )
    if not good:
        raise SystemExit(f"Some answers are below {ENOUGH:.0%}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rebuild the demo model, its adapters and its data sets.")
    parser.add_argument("--only", choices=("base", "adapters", "datasets", "check"))
    parser.add_argument("--into", type=Path, default=ASSETS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
