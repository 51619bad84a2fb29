"""The engine for a Python script: one model, in this process, without a window.

Importing this loads no torch; making a :class:`LocalInference` does.
"""

from collections.abc import Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Self

from helpers.local_inference.generation_events import (
    GenerationEvent,
    GenerationFinished,
    GenerationResult,
    RenderedPrompt,
    TokenScores,
)
from helpers.local_inference.generation_settings import EditableGenerationSettings, GenerationSettings
from helpers.local_inference.requests import (
    ChatMessage,
    Dtype,
    GenerationRequest,
    ModelSelection,
    PromptRequest,
    Quantization,
    ScoreRequest,
)


class LocalInference:
    """A base model, with an adapter or alone, that answers prompts.

        with LocalInference("demo/tiny-chat", "path/to/adapter") as model:
            print(model.generate(texts=["What is the capital of France?"])[0])

    Weights load at the first answer. Use it from one thread at a time.
    """

    def __init__(
        self,
        base_model: str | PathLike[str],
        adapter_path: str | PathLike[str] | None = None,
        *,
        run_path: str | PathLike[str] | None = None,
        quantization: Quantization | str = Quantization.AUTO,
        dtype: Dtype | str = Dtype.AUTO,
        adapter_strength: float = 1.0,
        merge_adapter: bool = False,
        static_cache: bool = False,
    ) -> None:
        """``base_model``: a folder or Hugging Face id. ``adapter_path`` None = the base alone.

        ``adapter_strength``, ``merge_adapter``, ``static_cache``: see :class:`ModelSelection`.
        ``run_path`` is searched for tokenizer and chat template after the adapter folder. Raises ValueError for an
        unknown ``quantization`` or ``dtype``.
        """
        self.selection = ModelSelection(
            base_model=str(base_model),
            adapter_path=str(adapter_path) if adapter_path is not None else None,
            run_path=str(run_path) if run_path is not None else None,
            quantization=Quantization(quantization),
            dtype=Dtype(dtype),
            adapter_strength=adapter_strength,
            merge_adapter=merge_adapter,
            static_cache=static_cache,
        )
        from helpers.local_inference.engine import Engine

        self._engine: Engine = Engine()

    def generation_settings(self) -> EditableGenerationSettings:
        """This model's defaults: the Balanced preset, with what the model's own generation config recommends.

        Loads no weights. Raises ModelNotFoundError or ModelLoadError.
        """
        return EditableGenerationSettings.create(**self._engine.recommended_settings(self.selection).model_dump())

    def generate(self, texts: Sequence[str], settings: GenerationSettings | None = None) -> list[str]:
        """One answer for each text, each asked as a single user message; raises PlaygroundError."""
        settings = settings if settings is not None else self.generation_settings()
        return [self.chat([ChatMessage("user", text)], settings).text for text in texts]

    def chat(self, messages: Sequence[ChatMessage], settings: GenerationSettings | None = None) -> GenerationResult:
        """The answer to a conversation, with its statistics; raises PlaygroundError."""
        *_, last = self.stream(messages, settings)
        assert isinstance(last, GenerationFinished)
        return last.result

    def stream(
        self, messages: Sequence[ChatMessage], settings: GenerationSettings | None = None
    ) -> Iterator[GenerationEvent]:
        """The answer as it is written; stop iterating to stop it. Raises PlaygroundError."""
        settings = settings if settings is not None else self.generation_settings()
        return self._engine.stream(GenerationRequest(self.selection, tuple(messages), settings.frozen()))

    def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """The exact prompt the model would get; loads no weights. Raises PlaygroundError."""
        return self._engine.render(PromptRequest(self.selection, tuple(messages)))

    def score(
        self, messages: Sequence[ChatMessage], answer: str | tuple[int, ...], *, with_end_of_turn: bool = True
    ) -> TokenScores:
        """How probable ``answer`` is after ``messages``, with the adapter and without; raises PlaygroundError.

        ``with_end_of_turn``: see :class:`ScoreRequest`. Losses are in nats per token.
        """
        return self._engine.score(ScoreRequest(self.selection, tuple(messages), answer, with_end_of_turn))

    def close(self) -> None:
        """Let go of the weights; the next answer loads them again."""
        self._engine.bases.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
