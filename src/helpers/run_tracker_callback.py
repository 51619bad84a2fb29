"""The callback by which ``transformers.Trainer``, and TRL's trainers, record their runs."""

import atexit
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from helpers.run_tracking import TrackedRun, readable_values, words_of

_LEFT = "The training was left before its end."
_CONFIG_NAME = "adapter_config.json"
_RECORDED_ARGUMENTS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "seed"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("logging_steps", "eval_steps", "save_steps", "bf16", "fp16"),
)
_RECORDED_LORA = ("peft_type", "lora_dropout", "target_modules", "use_rslora", "use_dora")


class RunTrackerCallback(TrainerCallback):
    """Records a Trainer's run: ``Trainer(..., callbacks=[RunTrackerCallback("my run")])``.

    ``name`` None takes the output folder's. ``dataset``: the name of a saved dataset. ``run``: an open
    ``track_run``, which then names and ends the run. Without one, an error that ends the script marks the run failed
    with its words. One that the script catches, or that a notebook shows, is not seen here: the run is running until
    the process ends or this callback sees the next training begin, and is marked failed then.
    """

    def __init__(
        self,
        name: str | None = None,
        dataset: str | None = None,
        data_dir: str | Path | None = None,
        run: TrackedRun | None = None,
    ) -> None:
        self._name, self._dataset, self._data_dir = name, dataset, data_dir
        self.run = run
        self._is_own = run is None
        self._last_checkpoint: Path | None = None
        self._previous_hook = sys.excepthook

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts the run, on the first process of several only."""
        if not state.is_world_process_zero:
            return
        model = kwargs.get("model")
        hyperparameters = {**_named(args, _RECORDED_ARGUMENTS), **_lora(model)}
        if self.run is not None and not self._is_own:
            self.run.add_hyperparameters(hyperparameters)
            return
        self._leave()
        folder = Path(str(args.output_dir)).resolve()
        self.run = TrackedRun(
            self._name or folder.name,
            str(getattr(getattr(model, "config", None), "_name_or_path", "") or ""),
            self._dataset,
            folder,
            hyperparameters,
            self._data_dir,
        )
        self._previous_hook, sys.excepthook = sys.excepthook, self._on_uncaught
        atexit.register(self._leave)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Records the numbers of a step: loss, learning rate, evaluation."""
        if self.run is not None:
            numbers = {
                name: float(value)
                for name, value in (logs or {}).items()
                if isinstance(value, int | float) and not isinstance(value, bool) and name not in ("epoch", "step")
            }
            self.run.log(state.global_step, epoch=state.epoch, **numbers)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Records a checkpoint."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if self.run is not None and (folder / _CONFIG_NAME).is_file():
            self._last_checkpoint = folder
            self.run.checkpoint(state.global_step, folder)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ends the run. The adapter is the one in the output folder, or else the last checkpoint."""
        if self.run is None or not self._is_own:
            return
        self._unhook()
        folder = Path(str(args.output_dir))
        saved = folder if (folder / _CONFIG_NAME).is_file() else self._last_checkpoint
        self.run.finish(saved)
        self.run = None

    def _leave(self) -> None:
        """Ends a run whose training never said that it ended."""
        if self.run is not None and self._is_own:
            self.run.fail(_LEFT)
            self.run = None
            self._unhook()

    def _unhook(self) -> None:
        # Another's hook that was set later stays.
        if sys.excepthook == self._on_uncaught:
            sys.excepthook = self._previous_hook
        atexit.unregister(self._leave)

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if self.run is not None:
            self.run.fail(words_of(error))
        self._previous_hook(kind, error, traceback)


def _named(source: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return readable_values({name: getattr(source, name) for name in names if hasattr(source, name)})


def _lora(model: Any) -> dict[str, Any]:
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, dict) or not configs:
        return {}
    config = next(iter(configs.values()))
    sizes = {"rank": getattr(config, "r", None), "alpha": getattr(config, "lora_alpha", None)}
    # Under the names that a scan gives them.
    return {**{name: size for name, size in sizes.items() if size is not None}, **_named(config, _RECORDED_LORA)}
