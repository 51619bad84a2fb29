"""One path from a request to an answer: every consumer iterates :meth:`Engine.stream`.

Steps: render the prompt, find or load the base, activate the adapter (``model_activation``), prefill, decode, and
turn ids into text (``answer``). An engine belongs to one thread; only :meth:`Engine.render` may be called elsewhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import helpers.local_inference.model_libraries as libraries
from errors import EmptyPromptError, OutOfMemoryError
from helpers.local_inference.answer import MOST_NEW_TOKENS, Answer
from helpers.local_inference.answer_tokens import answer_ids
from helpers.local_inference.base_model_cache import BaseModelCache
from helpers.local_inference.base_model_files import LoadingReport, LoadingStopped
from helpers.local_inference.compute_threads import ComputeThreads
from helpers.local_inference.generation_events import (
    GenerationEvent,
    GenerationFinished,
    ModelLoading,
    ModelReady,
    RenderedPrompt,
    TokenScores,
    stopped_before_loading,
)
from helpers.local_inference.generation_settings import BUILT_IN_PRESETS, DEFAULT_PRESET, GenerationSettings
from helpers.local_inference.memory_estimate import free_memory
from helpers.local_inference.model_activation import ActiveModel, ModelActivation
from helpers.local_inference.model_loading import memory_errors_in_words
from helpers.local_inference.prefix_cache import budget_bytes
from helpers.local_inference.prompt_rendering import PromptRenderer, require_question
from helpers.local_inference.quantization_policy import find_device
from helpers.local_inference.requests import (
    ContextOverflow,
    GenerationRequest,
    ModelSelection,
    PromptRequest,
    ScoreRequest,
)
from helpers.local_inference.token_scoring import score_active


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
        device = find_device()
        budget = budget_bytes(device.kind) if prefix_bytes is None else prefix_bytes
        self.bases = BaseModelCache(budget, lambda: free_memory(device.kind))
        self._renderer = PromptRenderer()
        self._models = ModelActivation(device, self.bases, self._renderer, self._threads)

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
            active = yield from self._models.activate(request, report)
        except LoadingStopped:
            yield GenerationFinished(stopped_before_loading(request))
            return
        yield ModelReady(active.description, active.seconds_to_load)
        try:
            with memory_errors_in_words(request.model.base_model):
                yield from Answer(active, settings, should_stop, self._threads).stream()
        except OutOfMemoryError:
            self.bases.forget_texts()
            raise

    def score(
        self,
        request: ScoreRequest,
        should_stop: Callable[[], bool] = never_stop,
        report: LoadingReport = ignore_loading,
    ) -> TokenScores:
        """How probable a given answer is under the adapter and under the base alone.

        Raises PlaygroundError, and LoadingStopped where ``should_stop`` says so, between weights and pieces of text.
        """
        model = replace(request.model, merge_adapter=False, static_cache=False)
        report = _stoppable(report, should_stop)
        prompt = self._renderer.prepare(model, request.messages, report)
        ids = request.answer
        if isinstance(ids, str) and ids:
            end = request.with_end_of_turn
            ids = answer_ids(prompt.model.chat, prompt.chat, request.messages, ids, with_end_of_turn=end)
        if not isinstance(ids, tuple) or not ids:
            raise EmptyPromptError("There is no answer to score.", "Give an answer of at least one token.")
        settings = GenerationSettings.create(temperature=0, max_new_tokens=min(len(ids), MOST_NEW_TOKENS))
        loading = self._models.activate(GenerationRequest(model, request.messages, settings), report)
        try:
            while True:
                report(next(loading))
        except StopIteration as done:
            active: ActiveModel = done.value
        with memory_errors_in_words(request.model.base_model):
            return score_active(active, ids, lambda: report(ModelLoading("Scoring the answer…")))


def _stoppable(report: LoadingReport, should_stop: Callable[[], bool]) -> LoadingReport:
    def report_or_stop(event: ModelLoading) -> None:
        if should_stop():
            raise LoadingStopped
        report(event)

    return report_or_stop
