"""The adapters on one base model: attached once, switched without reloading, never merged."""

import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from errors import AdapterError, NoMatchingLayersError, OutOfMemoryError
from helpers.local_inference.adapter_effect import measure_effect, require_effect
from helpers.local_inference.adapter_files import AdapterFolder, go_together, peft_config
from helpers.local_inference.adapter_strength import Strength, require_scalable
from helpers.local_inference.generation_events import AdapterEffect
from helpers.local_inference.memory_estimate import RESERVE_BYTES
from helpers.local_inference.model_loading import is_out_of_memory, memory_errors_in_words, release_memory

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# An attached adapter that is not active costs memory only; this bounds it for someone who walks through checkpoints.
MAX_ATTACHED = 16
_NAMES_SHOWN = 6
# The file's tensors, and PEFT's own in float32, which is twice of what most files hold.
_COPIES_WHILE_LOADING = 3


class AttachedAdapters:
    """Owns a base model and the adapters on it. At most one adapter is active; with none the base answers alone."""

    def __init__(self, base: Any, kernel: str = "", free_bytes: Callable[[], int] = lambda: sys.maxsize) -> None:
        """``kernel``: what computes ``base``, in words. ``free_bytes``: memory that is free now."""
        self.kernel = kernel
        self._free_bytes = free_bytes
        self._base = base
        self._peft: Any = None
        self._names: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._effects: dict[tuple[str, str], AdapterEffect] = {}
        self._strengths: dict[str, Strength] = {}
        self._active_strength = 1.0
        self._made = 0
        self.damaged = False

    @property
    def attached(self) -> int:
        """How many adapters are in memory."""
        return len(self._names)

    @property
    def fingerprints(self) -> set[str]:
        """The content of each adapter in memory."""
        return {fingerprint for _, fingerprint in self._names}

    @property
    def attachments(self) -> int:
        """How often an adapter was read from disk so far."""
        return self._made

    def activate(self, adapter: AdapterFolder | None, strength: float = 1.0) -> "Module":
        """The module whose forward answers as ``adapter`` does, None = as the base alone does.

        ``strength`` multiplies what the adapter adds. Raises AdapterError;
        ``damaged`` is then True where the base must be loaded again.
        """
        if adapter is None:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
            return self._base  # type: ignore[no-any-return]
        require_scalable(adapter, strength)
        key = (str(adapter.path), adapter.fingerprint)
        if key not in self._names:
            self._attach(adapter, key)
        self._names.move_to_end(key)
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(self._names[key], inference_mode=True)
        self._active_strength = strength
        self._strengths[self._names[key]].set(strength)
        return self._peft  # type: ignore[no-any-return]

    def effect(self, adapter: AdapterFolder, ids: Sequence[int]) -> AdapterEffect:
        """What the active ``adapter`` changes at strength 1 on the prompt ``ids``; measured once.

        Raises AdapterError where it changes nothing at all.
        """
        key = (str(adapter.path), adapter.fingerprint)
        if key not in self._effects:
            # Adapters that rewrite base weights, such as trained biases, leave no plain base behind when disabled.
            without = None if adapter.rewrites_base else self._logits_without_adapters
            names = self._module_names(self._names[key])
            strength = self._strengths[self._names[key]]
            strength.set(1)
            self._effects[key] = measure_effect(lambda ids: _logits(self._peft, ids), without, names, ids)
            strength.set(self._active_strength)
        require_effect(self._effects[key], adapter)
        return self._effects[key]

    def _logits_without_adapters(self, ids: Sequence[int]) -> "Tensor":
        self._peft.base_model.disable_adapter_layers()
        logits = _logits(self._base, ids)
        self._peft.base_model.enable_adapter_layers()
        self._peft.requires_grad_(False)
        return logits

    def _module_names(self, name: str) -> list[str]:
        """The modules that carry the adapter ``name``; parts inside such a module do not count."""
        found: list[str] = []
        for path, module in self._peft.named_modules():
            inside = any(path.startswith(f"{outer}.") for outer in found[-1:])
            if not inside and name in getattr(module, "_get_available_adapters", set)():
                found.append(path)
        return found

    def _attach(self, adapter: AdapterFolder, key: tuple[str, str]) -> None:
        config = peft_config(adapter)
        self._make_room(adapter, config)
        if adapter.reads_weights:
            self._use_ordinary_layers()
        self._made += 1
        name = f"playground_{self._made}"
        with warnings.catch_warnings():
            # PEFT 0.21 asks transformers 5.23 by a name that the latter retires.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            try:
                with memory_errors_in_words(adapter.path):
                    self._wrap(config, name)
                    self._load_weights(adapter, name)
            except (AdapterError, OutOfMemoryError):
                self.detach_all()
                raise
        self._peft.requires_grad_(False)
        self._names[key] = name
        self._strengths[name] = Strength(self._peft, name)

    def _make_room(self, adapter: AdapterFolder, config: Any) -> None:
        if self._peft is None:
            return
        same_kind = str(self._peft.peft_type.value) == adapter.peft_type
        if not same_kind or not all(go_together(config, other) for other in self._peft.peft_config.values()):
            # PEFT holds one kind of adapter on a model. Taking all off leaves the base as it was.
            self.detach_all()
            return
        for key in [key for key in self._names if key[0] == str(adapter.path)]:
            self._detach(key)
        needed = _COPIES_WHILE_LOADING * adapter.size_bytes + RESERVE_BYTES
        while self._names and (len(self._names) >= MAX_ATTACHED or self._free_bytes() < needed):
            self._detach(next(iter(self._names)))
            release_memory()

    def _detach(self, key: tuple[str, str]) -> None:
        if len(self._names) == 1:
            self.detach_all()
        else:
            name = self._names.pop(key)
            self._strengths.pop(name, None)
            self._peft.delete_adapter(name)
            self._effects.pop(key, None)

    def _use_ordinary_layers(self) -> None:
        from helpers.local_inference import cpu_linears

        if self.kernel == cpu_linears.PACKED:
            cpu_linears.unpack(self._base)
            self.kernel = cpu_linears.PLAIN

    def _wrap(self, config: Any, name: str) -> None:
        from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, NoMatchingPeftModuleError, PeftModel

        try:
            if self._peft is None:
                kind = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)
                # Until the wrapping is whole, some layers may be replaced and others not.
                self.damaged = True
                self._peft = kind(self._base, config, name)
                self.damaged = False
            else:
                self._peft.add_adapter(name, config)
        except (ValueError, TypeError, KeyError, RuntimeError, ImportError) as error:
            if is_out_of_memory(error):
                raise
            kind_of_error = NoMatchingLayersError if isinstance(error, NoMatchingPeftModuleError) else AdapterError
            raise kind_of_error(
                f"The adapter does not fit this base model: {error}", "Pick the base model that it was trained on."
            ) from error

    def _load_weights(self, adapter: AdapterFolder, name: str) -> None:
        try:
            result = self._peft.load_adapter(
                str(adapter.path),
                name,
                torch_device=str(self._base.device),
                key_mapping=getattr(self._base, "_checkpoint_conversion_mapping", None),
            )
        except KeyError as error:
            raise _wrong_keys("lacks expected weights", [str(error.args[0])]) from error
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise AdapterError(
                f"The adapter's weights do not fit this base model: {_first_lines(error)}",
                "Pick the base model that it was trained on.",
            ) from error
        # VB-LoRA saves its vector bank once for the model, not once for each layer.
        missing = [key.replace(f".{name}", "") for key in result.missing_keys if "vblora_vector_bank" not in key]
        if missing:
            raise _wrong_keys("lacks expected weights", missing)
        if result.unexpected_keys:
            unexpected = [key.replace(f".{name}", "") for key in result.unexpected_keys]
            raise _wrong_keys("has weights that belong nowhere in this model", unexpected)

    def detach_all(self) -> None:
        """Leave the base as it was before the first adapter."""
        if self._peft is not None:
            _put_back_saved_modules(self._peft)
            self._base = self._peft.unload()
            self._peft = None
        self._names.clear()
        self._strengths.clear()
        self._effects.clear()


def _put_back_saved_modules(peft_model: Any) -> None:
    """PEFT's unload() would leave the trained copies (``modules_to_save``) of the active adapter in the base."""
    from peft.utils import ModulesToSaveWrapper

    for path, module in list(peft_model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, name = path.rpartition(".")
            setattr(peft_model.get_submodule(parent), name, module.original_module)


def _logits(forward: Any, ids: Sequence[int]) -> "Tensor":
    import torch

    device = forward.get_input_embeddings().weight.device
    with torch.inference_mode():
        logits: Tensor = forward(input_ids=torch.tensor([ids], device=device), use_cache=False).logits
        return logits[0].float()


def _wrong_keys(what_is_wrong: str, keys: list[str]) -> AdapterError:
    shown = ", ".join(keys[:_NAMES_SHOWN])
    more = f" and {len(keys) - _NAMES_SHOWN} more" if len(keys) > _NAMES_SHOWN else ""
    return AdapterError(
        f"The adapter's weight file {what_is_wrong} ({len(keys)}): {shown}{more}.",
        "Save the adapter again, and check that this is the base model it was trained on.",
        "The adapter's weights are not the expected ones",
    )


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
