"""From a request to the model that answers it: prompt, base and adapter in memory, and the words for them."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers.local_inference.model_libraries as libraries
from errors import ModelLoadError
from helpers.base_models import BaseSummary
from helpers.local_inference.adapter_effect import probe_ids
from helpers.local_inference.adapter_files import AdapterFolder, read_adapter_folder
from helpers.local_inference.adapter_strength import require_scalable, require_strength
from helpers.local_inference.base_model_cache import BaseKey, BaseModelCache, LoadedBase
from helpers.local_inference.base_model_files import LoadingReport, folder_fingerprint
from helpers.local_inference.compute_threads import ComputeThreads
from helpers.local_inference.cpu_linears import INT8, PACKED
from helpers.local_inference.generation_events import AdapterEffect, LoadedModel, ModelLoading
from helpers.local_inference.memory_estimate import Room, estimate, free_memory, in_gigabytes
from helpers.local_inference.merged_adapters import Merge, require_mergeable
from helpers.local_inference.prefix_cache import AdapterForm
from helpers.local_inference.prompt_rendering import PreparedPrompt, PromptRenderer, require_room
from helpers.local_inference.quantization_policy import Device, WeightsChoice, choose_weights
from helpers.local_inference.requests import (
    ContextOverflow,
    Dtype,
    GenerationRequest,
    ModelSelection,
    Quantization,
)
from helpers.local_inference.static_decoding import (
    require_static_device,
    require_static_settings,
    require_static_weights,
)

_ANY_ROWS = 2**31


@dataclass(frozen=True)
class ActiveModel:
    """What answers which prompt: ``forward`` computes, ``base`` is what it stands on.

    ``seconds_to_load`` is 0 where everything was in memory. ``form``: what besides the base makes keys and values.
    ``has_plain_base``: whether the base without the adapter is the one from its files.
    """

    forward: Any
    base: LoadedBase
    prompt: PreparedPrompt
    description: LoadedModel
    seconds_to_load: float
    form: AdapterForm | None = None
    has_plain_base: bool = True
    static_cache: bool = False


@dataclass(frozen=True)
class _Plan:
    """What is decided before any weight is read."""

    request: GenerationRequest
    prompt: PreparedPrompt
    adapter: AdapterFolder | None
    choice: WeightsChoice
    needed_bytes: int

    @property
    def selection(self) -> ModelSelection:
        return self.request.model

    @property
    def base(self) -> BaseSummary:
        return self.prompt.model.base

    @property
    def merges(self) -> bool:
        return self.adapter is not None and self.selection.merge_adapter

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about tokenizer, template, prompt and weights."""
        if not self.merges:
            return self.prompt.notes
        copy = f"about {in_gigabytes(self.needed_bytes)} of memory beside the base that live adapters share"
        return (*self.prompt.notes, f"The adapter is merged into a copy of the base of its own, which takes {copy}.")

    def probe_ids(self, rows: int) -> list[int]:
        """The prompt that the adapter's effect is measured on, for a vocabulary of ``rows``."""
        assert self.adapter is not None
        return probe_ids(self.prompt.model.chat.tokenizer, self.adapter, rows)

    def merge(self, key: BaseKey) -> Merge | None:
        if self.adapter is None or not self.merges:
            return None
        rows = key.vocabulary_rows or self.base.vocabulary_size or _ANY_ROWS
        return Merge(self.adapter, self.selection.adapter_strength, tuple(self.probe_ids(rows)))


class ModelActivation:
    """Chooses the form of the weights, loads what is missing and makes the adapter active."""

    def __init__(
        self, device: Device, bases: BaseModelCache, renderer: PromptRenderer, threads: ComputeThreads
    ) -> None:
        self._device = device
        self._bases = bases
        self._renderer = renderer
        self._threads = threads
        self._choices: dict[tuple[str, Quantization, Dtype], WeightsChoice] = {}

    def activate(
        self, request: GenerationRequest, report: LoadingReport
    ) -> Generator[ModelLoading, None, ActiveModel]:
        """Yields what is loaded, returns what answers. Raises PlaygroundError, and whatever ``report`` raises."""
        plan = self._plan(request, report)
        adapter, strength = plan.adapter, plan.selection.adapter_strength
        started = time.perf_counter()
        key = self._bases.key(plan.base, plan.choice, adapter, strength if plan.merges else None)
        is_new = key not in self._bases
        if is_new:
            yield ModelLoading("Loading the base model…", 0, plan.base.size_bytes or None)
        loaded = self._bases.find_or_load(
            key,
            self._device,
            plan.base.size_bytes,
            report,
            needed_bytes=plan.needed_bytes,
            merge=plan.merge(key),
        )
        if is_new and adapter is not None:
            report(ModelLoading("Attaching the adapter…"))
        attachments = loaded.adapters.attachments
        forward = self._bases.activate(key, adapter, strength)
        is_new = is_new or loaded.adapters.attachments > attachments
        _require_known_tokens(plan.prompt, loaded.model)
        exact = loaded.adapters.kernel in (PACKED, INT8)
        self._threads.begin_answer(plan.base.size_bytes, same_in_any_number=exact)
        effect = _effect(plan, loaded)
        return ActiveModel(
            forward,
            loaded,
            plan.prompt,
            _describe(plan, effect, self._device.kind, loaded.adapters.kernel),
            time.perf_counter() - started if is_new else 0.0,
            AdapterForm(adapter.fingerprint, strength, plan.merges) if adapter is not None else None,
            key.private_to is None and key.vocabulary_rows is None and not plan.merges,
            plan.selection.static_cache,
        )

    def _plan(self, request: GenerationRequest, report: LoadingReport) -> _Plan:
        # What is small and quick to read comes first, so that most mistakes are told before any weight is loaded.
        selection = request.model
        adapter = self._read_adapter(selection)
        prompt = self._renderer.prepare(selection, request.messages, report, weights=True)
        if request.on_overflow is ContextOverflow.DROP_OLDEST:
            prompt = self._renderer.leave_out_oldest(prompt, request.messages, request.settings.max_new_tokens)
        base = prompt.model.base
        require_room(len(prompt.chat.token_ids), base.context_length)
        room = self._room(request, prompt, adapter)
        choice = self._choose(selection, base, room)
        if selection.static_cache:
            require_static_settings(request.settings)
            require_static_weights(choice)
        if adapter is not None and selection.merge_adapter:
            require_mergeable(adapter, choice)
        need = estimate(base, choice.quantization, choice.dtype, room)
        return _Plan(request, prompt, adapter, choice, need.total)

    def _read_adapter(self, selection: ModelSelection) -> AdapterFolder | None:
        require_strength(selection.adapter_strength)
        if selection.static_cache:
            require_static_device(self._device.kind)
        if not selection.adapter_path:
            return None
        adapter = read_adapter_folder(Path(selection.adapter_path))
        require_scalable(adapter, selection.adapter_strength)
        return adapter

    def _room(self, request: GenerationRequest, prompt: PreparedPrompt, adapter: AdapterFolder | None) -> Room:
        # What other bases hold counts as free: they go first.
        return Room(
            free_memory(self._device.kind) + self._bases.reclaimable_bytes(),
            len(prompt.chat.token_ids) + request.settings.max_new_tokens,
            adapter.size_bytes if adapter is not None else 0,
        )

    def _choose(self, model: ModelSelection, base: BaseSummary, room: Room) -> WeightsChoice:
        """How the base is held: as it is in memory already, whatever became of the free memory since."""
        fingerprint = folder_fingerprint(base.path)
        key = (f"{base.path} {fingerprint}", model.quantization, model.dtype)
        known = self._choices.get(key)
        if known is None or not self._bases.holds(base.path, fingerprint, known):
            known = choose_weights(self._device, model.quantization, model.dtype, base, room=room)
            self._choices[key] = known
        return known


def _effect(plan: _Plan, loaded: LoadedBase) -> AdapterEffect | None:
    if plan.adapter is None or plan.merges:
        return loaded.merged_effect
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    return loaded.adapters.effect(plan.adapter, plan.probe_ids(rows))


def _require_known_tokens(prompt: PreparedPrompt, model: Any) -> None:
    rows, highest = model.get_input_embeddings().weight.shape[0], max(prompt.chat.token_ids, default=0)
    if highest >= rows:
        raise ModelLoadError(
            f"The tokenizer of the {prompt.model.chat.chat_format.tokenizer_source} uses token {highest}, "
            f"but the model has only {rows} token embeddings.",
            "Save the adapter together with its trained embeddings, or use the base model's tokenizer.",
            "Tokenizer and model do not belong together",
        )


def _describe(plan: _Plan, effect: AdapterEffect | None, device: str, kernel: str) -> LoadedModel:
    adapter, chat_format = plan.adapter, plan.prompt.model.chat.chat_format
    return LoadedModel(
        base_model=plan.selection.base_model,
        adapter_path=plan.selection.adapter_path,
        adapter_fingerprint=adapter.fingerprint if adapter is not None else None,
        peft_type=adapter.peft_type if adapter is not None else None,
        rank=adapter.rank if adapter is not None else None,
        quantization=plan.choice.label,
        quantization_reason=plan.choice.reason,
        dtype=str(plan.choice.dtype),
        device=device,
        context_length=plan.base.context_length,
        tokenizer_source=chat_format.tokenizer_source,
        template_source=chat_format.template_source,
        notes=plan.notes,
        versions=libraries.versions(),
        effect=effect,
        kernel=kernel,
        adapter_strength=plan.selection.adapter_strength if adapter is not None else 1.0,
        merged=plan.merges,
    )
