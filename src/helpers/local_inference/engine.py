"""One path from a request to an answer: every consumer iterates :meth:`Engine.stream`.

Steps: render the prompt, find or load the base, activate the adapter, prefill, decode, and turn ids into text.
An engine belongs to one thread; only :meth:`Engine.render` may be called from another.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import helpers.local_inference.model_libraries as libraries
from errors import EmptyPromptError, ModelLoadError, OutOfMemoryError
from helpers.base_models import BaseSummary
from helpers.local_inference.adapter_effect import probe_ids
from helpers.local_inference.adapter_files import AdapterFolder, read_adapter_folder
from helpers.local_inference.adapter_strength import require_scalable, require_strength
from helpers.local_inference.base_model_cache import BaseModelCache, LoadedBase
from helpers.local_inference.base_model_files import LoadingReport, LoadingStopped, folder_fingerprint
from helpers.local_inference.compute_threads import ComputeThreads
from helpers.local_inference.cpu_linears import INT8, PACKED
from helpers.local_inference.detokenizer import IncrementalDetokenizer
from helpers.local_inference.generation_events import (
    AdapterEffect,
    FinishReason,
    GenerationEvent,
    GenerationFinished,
    GenerationResult,
    LoadedModel,
    ModelLoading,
    ModelReady,
    PromptProcessed,
    RenderedPrompt,
    TextDelta,
    TokenScores,
    stopped_before_loading,
)
from helpers.local_inference.generation_settings import BUILT_IN_PRESETS, DEFAULT_PRESET, GenerationSettings
from helpers.local_inference.memory_estimate import Room, estimate, free_memory
from helpers.local_inference.merged_adapters import Merge, require_mergeable
from helpers.local_inference.model_loading import memory_errors_in_words
from helpers.local_inference.prefix_cache import AdapterForm, TextState, budget_bytes, new_state
from helpers.local_inference.prompt_rendering import PreparedPrompt, PromptRenderer, require_question, require_room
from helpers.local_inference.quantization_policy import WeightsChoice, choose_weights, find_device
from helpers.local_inference.requests import (
    ContextOverflow,
    Dtype,
    GenerationRequest,
    ModelSelection,
    PromptRequest,
    Quantization,
    ScoreRequest,
)
from helpers.local_inference.static_decoding import (
    CompiledDecoding,
    require_static_device,
    require_static_weights,
    static_state,
)
from helpers.local_inference.stop_sequences import StopSequences
from helpers.local_inference.token_generation import generate_tokens
from helpers.local_inference.token_scoring import score_answer, token_scores

# An answer without a stated context still needs an end.
_MOST_NEW_TOKENS = 131072
_ANY_ROWS = 2**31


def ignore_loading(_event: ModelLoading) -> None:
    """The report of a caller that shows no loading progress."""


def never_stop() -> bool:
    """The ``should_stop`` of a caller that never stops."""
    return False


class Engine:
    """Answers requests one after another; models stay in memory between them."""

    def __init__(self, compute_threads: int | None = None, prefix_bytes: int | None = None) -> None:
        """``compute_threads``: the most CPU threads (:class:`ComputeThreads`), None = as many as torch uses now.

        ``prefix_bytes``: the most memory for computed texts, 0 = compute each anew, None = a share of the memory.
        """
        libraries.load()
        self._threads = ComputeThreads(compute_threads)
        self._device = find_device()
        budget = budget_bytes(self._device.kind) if prefix_bytes is None else prefix_bytes
        self.bases = BaseModelCache(budget, lambda: free_memory(self._device.kind))
        self._choices: dict[tuple[str, Quantization, Dtype], WeightsChoice] = {}
        self._renderer = PromptRenderer()

    def render(self, request: PromptRequest) -> RenderedPrompt:
        """The exact prompt of ``request``. Loads no weights; may be called from any thread."""
        prompt = self._renderer.prepare(request.model, request.messages, ignore_loading)
        if request.on_overflow is ContextOverflow.DROP_OLDEST:
            prompt = self._renderer.leave_out_oldest(prompt, request.messages, request.max_new_tokens)
        return prompt.for_display()

    def recommended_settings(self, selection: ModelSelection) -> GenerationSettings:
        """The default preset, with what the model's own generation config recommends. Loads no weights."""
        model = self._renderer.prepare_model(selection, ignore_loading)
        preset = BUILT_IN_PRESETS[DEFAULT_PRESET]
        settings = preset.with_changes(**model.recommended_sampling())
        context = model.base.context_length
        return settings.with_changes(max_new_tokens=min(settings.max_new_tokens, context or settings.max_new_tokens))

    def stream(
        self,
        request: GenerationRequest,
        should_stop: Callable[[], bool] = never_stop,
        report: LoadingReport = ignore_loading,
    ) -> Iterator[GenerationEvent]:
        """Answer ``request``; the last event is GenerationFinished.

        ``should_stop`` is asked between weights, prompt chunks and tokens; what is there then is the answer.
        ``report`` gets loading progress while the loading call itself cannot yield. Raises PlaygroundError.
        """
        require_question(request.messages)
        settings = request.settings.with_seed()
        report = _stoppable(report, should_stop)
        yield ModelLoading("Reading the tokenizer…")
        try:
            active = yield from self._load(request, report)
        except LoadingStopped:
            yield GenerationFinished(stopped_before_loading(request))
            return
        yield ModelReady(active.description, active.seconds_to_load)
        try:
            with memory_errors_in_words(request.model.base_model):
                yield from _Answer(active, settings, should_stop, self._threads).stream()
        except OutOfMemoryError:
            self.bases.forget_texts()
            raise

    def _load(
        self, request: GenerationRequest, report: LoadingReport
    ) -> "Generator[ModelLoading, None, ActiveModel]":
        # What is small and quick to read comes first, so that most mistakes are told before any weight is loaded.
        adapter = self._read_adapter(request.model)
        strength = request.model.adapter_strength
        merged = adapter is not None and request.model.merge_adapter
        prompt = self._renderer.prepare(request.model, request.messages, report, weights=True)
        if request.on_overflow is ContextOverflow.DROP_OLDEST:
            prompt = self._renderer.leave_out_oldest(prompt, request.messages, request.settings.max_new_tokens)
        base = prompt.model.base
        require_room(len(prompt.chat.token_ids), base.context_length)
        room = self._room(request, prompt, adapter)
        choice = self._choose(request.model, base, room)
        need = estimate(base, choice.quantization, choice.dtype, room)

        started = time.perf_counter()
        _require_form(request.model, adapter, choice)
        key = self.bases.key(base, choice, adapter, strength if merged else None)
        is_new = key not in self.bases
        if is_new:
            yield ModelLoading("Loading the base model…", 0, base.size_bytes or None)
        merge = None
        if adapter is not None and merged:
            rows = key.vocabulary_rows or base.vocabulary_size or _ANY_ROWS
            merge = Merge(adapter, strength, tuple(probe_ids(prompt.model.chat.tokenizer, adapter, rows)))
        loaded = self.bases.find_or_load(
            key, self._device, base.size_bytes, report, needed_bytes=need.total, merge=merge
        )
        if is_new and adapter is not None:
            report(ModelLoading("Attaching the adapter…"))
        attachments = loaded.adapters.attachments
        forward = self.bases.activate(key, adapter, strength)
        is_new = is_new or loaded.adapters.attachments > attachments
        _require_known_tokens(prompt, loaded.model)
        exact = loaded.adapters.kernel in (PACKED, INT8)
        self._threads.begin_answer(base.size_bytes, same_in_any_number=exact)
        effect = loaded.merged_effect
        if adapter is not None and not merged:
            rows = loaded.model.get_input_embeddings().weight.shape[0]
            effect = loaded.adapters.effect(adapter, probe_ids(prompt.model.chat.tokenizer, adapter, rows))
        return ActiveModel(
            forward,
            loaded,
            prompt,
            _describe(request, prompt, adapter, effect, choice, self._device.kind, loaded.adapters.kernel),
            time.perf_counter() - started if is_new else 0.0,
            AdapterForm(adapter.fingerprint, strength, merged) if adapter is not None else None,
            key.private_to is None and key.vocabulary_rows is None and not merged,
            request.model.static_cache,
        )

    def score(
        self,
        request: ScoreRequest,
        should_stop: Callable[[], bool] = never_stop,
        report: LoadingReport = ignore_loading,
    ) -> TokenScores:
        """How probable a given answer is under the adapter and under the base alone. Raises PlaygroundError."""
        model = replace(request.model, merge_adapter=False, static_cache=False)
        chat = self._renderer.prepare(model, request.messages, report).model.chat
        ids = request.answer
        if isinstance(ids, str):
            ids = tuple(chat.tokenizer(ids, add_special_tokens=False)["input_ids"])
        if not ids:
            raise EmptyPromptError("There is no answer to score.", "Give an answer of at least one token.")
        settings = GenerationSettings.create(temperature=0, max_new_tokens=min(len(ids), _MOST_NEW_TOKENS))
        report = _stoppable(report, should_stop)
        loading = self._load(GenerationRequest(model, request.messages, settings), report)
        try:
            while True:
                report(next(loading))
        except StopIteration as done:
            active: ActiveModel = done.value
        with memory_errors_in_words(request.model.base_model):
            return _score(active, ids, lambda: report(ModelLoading("Scoring the answer…")))

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
            free_memory(self._device.kind) + self.bases.reclaimable_bytes(),
            len(prompt.chat.token_ids) + request.settings.max_new_tokens,
            adapter.size_bytes if adapter is not None else 0,
        )

    def _choose(self, model: ModelSelection, base: BaseSummary, room: Room) -> WeightsChoice:
        """How the base is held: as it is in memory already, whatever became of the free memory since."""
        fingerprint = folder_fingerprint(base.path)
        key = (f"{base.path} {fingerprint}", model.quantization, model.dtype)
        known = self._choices.get(key)
        if known is None or not self.bases.holds(base.path, fingerprint, known):
            known = choose_weights(self._device, model.quantization, model.dtype, base, room=room)
            self._choices[key] = known
        return known


def _stoppable(report: LoadingReport, should_stop: Callable[[], bool]) -> LoadingReport:
    def report_or_stop(event: ModelLoading) -> None:
        if should_stop():
            raise LoadingStopped
        report(event)

    return report_or_stop


def _require_form(selection: ModelSelection, adapter: AdapterFolder | None, choice: WeightsChoice) -> None:
    if selection.static_cache:
        require_static_weights(choice)
    if adapter is not None and selection.merge_adapter:
        require_mergeable(adapter, choice)


def _score(active: "ActiveModel", ids: tuple[int, ...], stop: Callable[[], None]) -> TokenScores:
    prompt, model, loaded = active.prompt.chat.token_ids, active.base.model, active.base
    require_room(len(prompt) + len(ids) - 1, active.prompt.model.base.context_length)
    rows = model.get_input_embeddings().weight.shape[0]
    if not all(0 <= token < rows for token in ids):
        raise ModelLoadError(
            f"The answer has tokens that the model does not know; it has {rows:,}.",
            "Score answers with the model that wrote them.",
        )
    config = model.config
    adapter = base = None
    if active.description.adapter_path is not None:
        adapter = score_answer(active.forward, config, prompt, ids, stop)
    if active.has_plain_base:
        base = score_answer(loaded.adapters.activate(None), config, prompt, ids, stop)
    return token_scores(active.prompt.model.chat.tokenizer, ids, adapter, base, active.description)


def _require_known_tokens(prompt: PreparedPrompt, model: Any) -> None:
    rows, highest = model.get_input_embeddings().weight.shape[0], max(prompt.chat.token_ids, default=0)
    if highest >= rows:
        raise ModelLoadError(
            f"The tokenizer of the {prompt.model.chat.chat_format.tokenizer_source} uses token {highest}, "
            f"but the model has only {rows} token embeddings.",
            "Save the adapter together with its trained embeddings, or use the base model's tokenizer.",
            "Tokenizer and model do not belong together",
        )


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


def _describe(
    request: GenerationRequest,
    prompt: PreparedPrompt,
    adapter: AdapterFolder | None,
    effect: AdapterEffect | None,
    choice: WeightsChoice,
    device: str,
    kernel: str,
) -> LoadedModel:
    chat_format = prompt.model.chat.chat_format
    return LoadedModel(
        base_model=request.model.base_model,
        adapter_path=request.model.adapter_path,
        adapter_fingerprint=adapter.fingerprint if adapter is not None else None,
        peft_type=adapter.peft_type if adapter is not None else None,
        rank=adapter.rank if adapter is not None else None,
        quantization=choice.label,
        quantization_reason=choice.reason,
        dtype=str(choice.dtype),
        device=device,
        context_length=prompt.model.base.context_length,
        tokenizer_source=chat_format.tokenizer_source,
        template_source=chat_format.template_source,
        notes=prompt.notes,
        versions=libraries.versions(),
        effect=effect,
        kernel=kernel,
        adapter_strength=request.model.adapter_strength if adapter is not None else 1.0,
        merged=adapter is not None and request.model.merge_adapter,
    )


@dataclass
class _Answer:
    """One answer being written: ids to text with statistics and a finish reason."""

    active: ActiveModel
    settings: GenerationSettings
    should_stop: Callable[[], bool]
    threads: ComputeThreads
    _pieces: list[str] = field(default_factory=list)
    _token_ids: list[int] = field(default_factory=list)

    def stream(self) -> Iterator[GenerationEvent]:
        chat, chat_tokenizer = self.active.prompt.chat, self.active.prompt.model.chat
        stops = StopSequences((*self.settings.stop, *chat_tokenizer.stop_texts))
        tokenizer = chat_tokenizer.tokenizer
        detokenizer = IncrementalDetokenizer(
            lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False),
            chat_tokenizer.special_ids,
        )
        started = time.perf_counter()
        first = last = None
        reason = FinishReason.LENGTH
        state = self._take_state()
        cached_tokens = state.tokens
        for step in self._tokens(state):
            if self.should_stop():
                reason = FinishReason.STOPPED
                break
            self.threads.adapt()
            if isinstance(step, PromptProcessed):
                yield step
                continue
            last = time.perf_counter()
            first = first or last
            self._token_ids.append(step)
            if step in chat_tokenizer.stop_ids:
                reason = FinishReason.STOP
                break
            yield from self._show(stops.push(detokenizer.push(step)))
            if stops.reached:
                reason = FinishReason.STOP
                break
        if not stops.reached:
            yield from self._show(stops.push(detokenizer.finish()))
            yield from self._show(stops.finish())
        self._keep_state(state)
        seconds = time.perf_counter() - started
        decoding = (last - first) if first is not None and last is not None else 0.0
        yield GenerationFinished(
            GenerationResult(
                text="".join(self._pieces),
                finish_reason=reason,
                prompt_tokens=len(chat.token_ids),
                new_tokens=len(self._token_ids),
                seconds=seconds,
                time_to_first_token=first - started if first is not None else seconds,
                tokens_per_second=(len(self._token_ids) - 1) / decoding if decoding > 0 else 0.0,
                seed=self.settings.seed or 0,
                settings=self.settings,
                model=self.active.description,
                token_ids=tuple(self._token_ids),
                cached_tokens=cached_tokens,
            )
        )

    def _take_state(self) -> TextState:
        base, prompt_ids = self.active.base, self.active.prompt.chat.token_ids
        if self.active.static_cache:
            return static_state(base.model.config, len(prompt_ids) + self._most_new_tokens())
        if self.settings.penalty_alpha:
            # Contrastive search looks at what the model computed last for every token, which is not kept.
            return new_state(base.model.config)
        return base.prefixes.take(base.model.config, self.active.form, prompt_ids)

    def _keep_state(self, state: TextState) -> None:
        """Not reached by an answer that failed or that nobody read to its end."""
        prompt_ids = self.active.prompt.chat.token_ids
        if not self.settings.penalty_alpha:
            self.active.base.prefixes.put(
                self.active.form,
                (*prompt_ids, *self._token_ids),
                len(prompt_ids),
                state,
            )

    def _tokens(self, state: TextState) -> Iterator[PromptProcessed | int]:
        prompt_ids = self.active.prompt.chat.token_ids
        forward = CompiledDecoding(self.active.forward) if self.active.static_cache else self.active.forward
        return generate_tokens(
            forward,
            self.active.base.model,
            prompt_ids,
            self.settings,
            state,
            max_new_tokens=self._most_new_tokens(),
            stop_ids=self.active.prompt.model.chat.stop_ids,
        )

    def _most_new_tokens(self) -> int:
        context = self.active.prompt.model.base.context_length
        room = context - len(self.active.prompt.chat.token_ids) if context is not None else _MOST_NEW_TOKENS
        return min(self.settings.max_new_tokens, room)

    def _show(self, text: str) -> Iterator[TextDelta]:
        if text:
            self._pieces.append(text)
            yield TextDelta(text, len(self._token_ids))
