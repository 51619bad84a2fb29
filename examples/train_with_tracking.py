"""Trains a small LoRA on the demo model and records it: ``python examples/train_with_tracking.py [--loop]``.

With the Trainer's callback, or with ``--loop`` in a training loop of one's own. Takes some seconds on a CPU.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from helpers.app_paths import demo_assets_dir
from helpers.run_tracking import RunTrackerCallback, track_run

BASE = demo_assets_dir() / "tiny-chat"
Example = dict[str, list[int]]


def main() -> None:
    """Train as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", action="store_true", help="a plain loop instead of a Trainer")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output-dir", type=Path, help="where the adapter goes (outputs/tracked-example or -loop)")
    parser.add_argument("--data-dir", type=Path, help="the workspace to record in (your own unless given)")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(BASE), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    )
    train = _loop if chosen.loop else _trainer
    output = chosen.output_dir or Path("outputs/tracked-loop" if chosen.loop else "outputs/tracked-example")
    train(model, _examples(tokenizer), chosen.steps, output, chosen.data_dir)
    tokenizer.save_pretrained(output)


def _trainer(model: torch.nn.Module, rows: list[Example], steps: int, output: Path, data_dir: Path | None) -> None:
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=1e-3,
        logging_steps=1,
        save_steps=max(1, steps // 2),
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    with track_run("Example with a Trainer", str(BASE), output_dir=output, data_dir=data_dir) as run:
        trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[RunTrackerCallback(run=run)])
        trainer.train()
        model.save_pretrained(output)
        run.finish(output)


def _loop(model: torch.nn.Module, rows: list[Example], steps: int, output: Path, data_dir: Path | None) -> None:
    rate = 1e-3
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=rate)
    with track_run(
        "Example with a loop",
        str(BASE),
        output_dir=output,
        hyperparameters={"learning_rate": rate},
        data_dir=data_dir,
    ) as run:
        for step in range(1, steps + 1):
            row = {name: torch.tensor([ids]) for name, ids in rows[step % len(rows)].items()}
            loss = model(**row).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log(step, loss=loss.item(), learning_rate=rate)
        model.save_pretrained(output)
        run.finish(output)


def _examples(tokenizer: AutoTokenizer) -> list[Example]:
    """One row per example of the demo's dataset, prompt and answer in the model's chat template."""
    lines = (demo_assets_dir() / "demo-pirate.jsonl").read_text(encoding="utf-8").splitlines()
    rows = []
    for pair in map(json.loads, lines[:64]):
        talk = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["response"]}]
        ids = tokenizer(tokenizer.apply_chat_template(talk, tokenize=False), add_special_tokens=False)["input_ids"]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids})
    return rows


if __name__ == "__main__":
    main()
