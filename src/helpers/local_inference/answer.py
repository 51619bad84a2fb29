"""One answer being written: token ids to text, with statistics and a finish reason."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from helpers.local_inference.compute_threads import ComputeThreads
from helpers.local_inference.detokenizer import IncrementalDetokenizer
from helpers.local_inference.generation_events import (
    FinishReason,
    GenerationEvent,
    GenerationFinished,
    GenerationResult,
    PromptProcessed,
    TextDelta,
)
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.model_activation import ActiveModel
from helpers.local_inference.prefix_cache import TextState, new_state
from helpers.local_inference.stop_sequences import StopSequences
from helpers.local_inference.token_generation import generate_tokens

# An answer without a stated context still needs an end.
MOST_NEW_TOKENS = 131072


class Answer:
    """One answer of ``active``; used once."""

    def __init__(
        self,
        active: ActiveModel,
        settings: GenerationSettings,
        should_stop: Callable[[], bool],
        threads: ComputeThreads,
    ) -> None:
        """``settings`` have a seed. ``should_stop`` is asked between prompt chunks and tokens."""
        self._active = active
        self._settings = settings
        self._should_stop = should_stop
        self._threads = threads
        self._prompt_ids = active.prompt.chat.token_ids
        self._stop_ids = active.prompt.model.chat.stop_ids
        chat = active.prompt.model.chat
        self._stops = StopSequences((*settings.stop, *chat.stop_texts))
        self._detokenizer = IncrementalDetokenizer(
            lambda ids: chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False), chat.special_ids
        )
        self._pieces: list[str] = []
        self._token_ids: list[int] = []
        self._first: float | None = None
        self._last: float | None = None
        self._reason = FinishReason.LENGTH

    def stream(self) -> Iterator[GenerationEvent]:
        """Prefill progress and text; the last event is GenerationFinished. Raises ModelError."""
        started = time.perf_counter()
        forward, state = self._take_state()
        cached_tokens = state.tokens
        yield from self._write(self._tokens(forward, state))
        if not self._stops.reached:
            yield from self._show(self._stops.push(self._detokenizer.finish()))
            yield from self._show(self._stops.finish())
        self._keep_state(state)
        yield GenerationFinished(self._result(started, cached_tokens))

    def _write(self, steps: Iterator[PromptProcessed | int]) -> Iterator[PromptProcessed | TextDelta]:
        for step in steps:
            if self._should_stop():
                self._reason = FinishReason.STOPPED
                return
            self._threads.adapt()
            if isinstance(step, PromptProcessed):
                yield step
                continue
            self._last = time.perf_counter()
            self._first = self._first or self._last
            self._token_ids.append(step)
            if step not in self._stop_ids:
                yield from self._show(self._stops.push(self._detokenizer.push(step)))
            if step in self._stop_ids or self._stops.reached:
                self._reason = FinishReason.STOP
                return

    def _result(self, started: float, cached_tokens: int) -> GenerationResult:
        seconds = time.perf_counter() - started
        first, last, count = self._first, self._last, len(self._token_ids)
        decoding = (last - first) if first is not None and last is not None else 0.0
        return GenerationResult(
            text="".join(self._pieces),
            finish_reason=self._reason,
            prompt_tokens=len(self._prompt_ids),
            new_tokens=count,
            seconds=seconds,
            time_to_first_token=first - started if first is not None else seconds,
            tokens_per_second=(count - 1) / decoding if decoding > 0 else 0.0,
            seed=self._settings.seed or 0,
            settings=self._settings,
            model=self._active.description,
            token_ids=tuple(self._token_ids),
            cached_tokens=cached_tokens,
        )

    def _take_state(self) -> tuple[Any, TextState]:
        """What computes, and what is known of the prompt."""
        active, base = self._active, self._active.base
        if active.static_cache:
            tokens = len(self._prompt_ids) + self._most_new_tokens()
            context = active.prompt.model.base.context_length
            return base.static.begin(base.model, active.forward, active.form, tokens, context)
        if self._settings.penalty_alpha:
            # Contrastive search looks at what the model computed last for every token, which is not kept.
            return active.forward, new_state(base.model.config)
        return active.forward, base.prefixes.take(base.model.config, active.form, self._prompt_ids)

    def _keep_state(self, state: TextState) -> None:
        """Not reached by an answer that failed or that nobody read to its end."""
        if not self._settings.penalty_alpha and not self._active.static_cache:
            self._active.base.prefixes.put(
                self._active.form, (*self._prompt_ids, *self._token_ids), len(self._prompt_ids), state
            )

    def _tokens(self, forward: Any, state: TextState) -> Iterator[PromptProcessed | int]:
        return generate_tokens(
            forward,
            self._active.base.model,
            self._prompt_ids,
            self._settings,
            state,
            max_new_tokens=self._most_new_tokens(),
            stop_ids=self._stop_ids,
        )

    def _most_new_tokens(self) -> int:
        context = self._active.prompt.model.base.context_length
        room = context - len(self._prompt_ids) if context is not None else MOST_NEW_TOKENS
        return min(self._settings.max_new_tokens, room)

    def _show(self, text: str) -> Iterator[TextDelta]:
        if text:
            self._pieces.append(text)
            yield TextDelta(text, len(self._token_ids))
