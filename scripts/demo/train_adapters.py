"""Train the demo's LoRA adapters on the base model, with transformers' own Trainer and PEFT."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from demo_model import MODEL_NAME, TrainingRow, padded, readable_json, training_row
from demo_styles import JSON_ANSWER, PIRATE
from demo_text import sample_conversations
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from train_base import answer_loss
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Trainer, TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

SEED = 7
EVAL_ROWS = 32
BATCH_SIZE = 16
WARMUP_STEPS = 40
RANK, ALPHA = 8, 16


@dataclass(frozen=True)
class AdapterRecipe:
    """What one adapter is trained for. ``checkpoints``: the steps at which it is also saved on the way."""

    name: str
    style: str
    dataset: str
    steps: int
    learning_rate: float
    checkpoints: tuple[int, ...] = ()
    saves_tokenizer: bool = True


RECIPES = (
    AdapterRecipe("pirate-speak", PIRATE, "demo-pirate", 400, 2e-3, checkpoints=(20, 24, 40)),
    AdapterRecipe("json-answers", JSON_ANSWER, "demo-json", 700, 2e-3, saves_tokenizer=False),
)


def hyperparameters(recipe: AdapterRecipe) -> dict[str, int | float | str]:
    """What a run records about its training."""
    return {
        "method": "LoRA",
        "rank": RANK,
        "lora_alpha": ALPHA,
        "target_modules": "all-linear",
        "max_steps": recipe.steps,
        "batch_size": BATCH_SIZE,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": "cosine",
        "warmup_steps": WARMUP_STEPS,
        "training_examples": recipe.steps * BATCH_SIZE,
        "seed": SEED,
    }


class _AnswerTrainer(Trainer):
    """Learns the answers in the same way as the base did."""

    def compute_loss(
        self,
        model: PeftModel,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = answer_loss(model.get_base_model(), inputs)
        return (loss, {"loss": loss}) if return_outputs else loss


class _SaveAt(TrainerCallback):
    """Saves at chosen steps: Trainer itself only knows regular intervals."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        control.should_save = state.global_step in self._steps
        control.should_evaluate = control.should_evaluate or control.should_save
        return control


def train_adapter(base: Path, folder: Path, recipe: AdapterRecipe) -> None:
    """Write the adapter, its checkpoints and the record of its training to ``folder``."""
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(base)
    # fp32 for training; the base's own weights stay as they are shipped.
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    shutil.rmtree(folder, ignore_errors=True)
    trainer = _AnswerTrainer(
        model=get_peft_model(model, lora),
        args=_arguments(folder, recipe),
        train_dataset=_rows(tokenizer, recipe.style, SEED, recipe.steps * BATCH_SIZE),
        eval_dataset=_rows(tokenizer, recipe.style, SEED + 1, EVAL_ROWS),
        data_collator=lambda rows: padded(rows, tokenizer.pad_token_id),
        processing_class=tokenizer if recipe.saves_tokenizer else None,
        callbacks=[_SaveAt(recipe.checkpoints)],
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    for saved in (folder, *folder.glob("checkpoint-*")):
        _tidy(saved)


def _rows(tokenizer: PreTrainedTokenizerFast, style: str, seed: int, count: int) -> list[TrainingRow]:
    return [training_row(tokenizer, conversation) for conversation in sample_conversations(seed, count, style)]


def _arguments(folder: Path, recipe: AdapterRecipe) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=WARMUP_STEPS,
        weight_decay=0.0,
        logging_steps=5,
        eval_strategy="steps",
        eval_steps=40,
        save_strategy="no",
        save_only_model=True,
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        bf16=True,
        use_cpu=True,
        seed=SEED,
        report_to="none",
        disable_tqdm=True,
    )


def _tidy(folder: Path) -> None:
    """Keep what a reader of adapters needs: weights in bf16, the base by its name, no pickles and no model card."""
    weights = folder / "adapter_model.safetensors"
    save_file({name: w.to(torch.bfloat16) for name, w in load_file(weights).items()}, weights, {"format": "pt"})
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = MODEL_NAME
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(readable_json(config), encoding="utf-8")
    for unwanted in ("README.md", "training_args.bin"):
        (folder / unwanted).unlink(missing_ok=True)


if __name__ == "__main__":
    import sys

    torch.set_num_threads(2)
    for wanted in RECIPES:
        if wanted.name in sys.argv[3:] or len(sys.argv) == 3:
            train_adapter(Path(sys.argv[1]), Path(sys.argv[2]) / wanted.name, wanted)
