"""Decoding over a cache of fixed size, compiled: an opt-in on CUDA for unquantised weights.

transformers' StaticCache keeps the shapes and addresses of one-token steps constant, so that torch.compile can record
them as a CUDA graph. Prompts, whose lengths differ, run as they are. Both calls follow ``generate()`` of
transformers 5.23 (``get_compiled_call``, ``prepare_inputs_for_generation``).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from errors import SettingsError
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.memory_estimate import USUAL_CONTEXT_TOKENS
from helpers.local_inference.prefix_cache import AdapterForm, TextState
from helpers.local_inference.quantization_policy import WeightsChoice
from helpers.local_inference.requests import Quantization

# Each compiled form keeps its CUDA graph; as many as adapters stay attached.
_MOST_FORMS = 16
_OFF = "Switch the static cache off."


def require_static_device(device: str) -> None:
    """Raises SettingsError on anything but CUDA."""
    if device != "cuda":
        raise SettingsError(
            f"The static cache compiles decoding for a CUDA GPU, and this model computes on {device.upper()}.",
            _OFF,
            "The static cache needs a CUDA GPU",
        )


def require_static_weights(choice: WeightsChoice) -> None:
    """Raises SettingsError for quantised weights, whose kernels cannot be compiled."""
    if choice.quantization is not Quantization.NONE:
        raise SettingsError(
            f"The static cache compiles decoding, which {choice.label} weights do not allow.",
            "Choose quantization “none”, or switch the static cache off.",
        )


def require_static_settings(settings: GenerationSettings) -> None:
    """Raises SettingsError for contrastive search, which goes on from several tokens side by side."""
    if settings.penalty_alpha:
        raise SettingsError(
            "Contrastive search (penalty_alpha) needs a cache that it can branch, and a static cache cannot.",
            "Set penalty_alpha to 0, or switch the static cache off.",
        )


class StaticDecoding:
    """The static cache of one base in memory, and what was compiled for it. One answer at a time uses it."""

    def __init__(self, backend: str | Callable[..., Any] = "inductor", mode: str | None = "reduce-overhead") -> None:
        """``backend`` and ``mode`` of torch.compile; these are what transformers chooses for CUDA."""
        self._backend = backend
        self._mode = mode
        self._cache: Any = None
        self._length = 0
        self._compiled: OrderedDict[AdapterForm | None, Any] = OrderedDict()

    @property
    def compiled_forms(self) -> int:
        """For how many adapters in their forms (the base alone is one) a call is compiled."""
        return len(self._compiled)

    def begin(
        self, model: Any, forward: Any, form: AdapterForm | None, tokens: int, context_length: int | None
    ) -> tuple[Callable[..., Any], TextState]:
        """What computes the next answer of up to ``tokens`` tokens with its prompt, and its empty state.

        ``model``: the base with the adapter of ``form`` active in it; ``forward``: the module around it. The cache
        is made once, for ``context_length`` or the usual length of a chat; only a longer text makes a longer one,
        which is compiled anew. Raises SettingsError for layers that have no static form.
        """
        import torch

        if tokens > self._length:
            self._make_cache(model, tokens, context_length)
        # The addresses stay, so the recorded graphs stay valid.
        with torch.no_grad():
            self._cache.reset()
        if form not in self._compiled:
            if len(self._compiled) >= _MOST_FORMS:
                self.forget()
            # Isolated: torch would otherwise count all forms together and stop compiling at the eighth.
            # Its type overloads leave that option out.
            compiled: Any = torch.compile
            self._compiled[form] = compiled(
                model.__call__, backend=self._backend, mode=self._mode, isolate_recompiles=True
            )
        return _Step(model, forward, self._compiled[form]), TextState(self._cache)

    def forget(self) -> None:
        """Let go of what was compiled, and of the GPU memory that recorded graphs hold."""
        if self._compiled:
            import torch

            self._compiled.clear()
            torch.compiler.reset()

    def _make_cache(self, model: Any, tokens: int, context_length: int | None) -> None:
        from transformers import StaticCache

        self.forget()
        length = max(tokens, USUAL_CONTEXT_TOKENS)
        # Doubled, so that a chat that grows makes few of them.
        length = max(length, 2 * self._length)
        self._length = max(tokens, min(length, context_length or length))
        self._cache = StaticCache(config=model.config, max_cache_len=self._length)
        if not self._cache.is_compileable:
            self._cache, self._length = None, 0
            raise SettingsError(
                f"Models of the type “{model.config.model_type}” have layers without a static cache.", _OFF
            )


class _Step:
    """Calls a model as it is for several tokens, and compiled for one."""

    def __init__(self, model: Any, forward: Any, compiled: Any) -> None:
        self._model = model
        self._forward = forward
        self._compiled = compiled

    def __call__(self, input_ids: Any, **options: Any) -> Any:
        """What the model gives."""
        import torch

        # Compiled code writes into the cache, which must not be made of inference tensors.
        with torch.inference_mode(False), torch.no_grad():
            if input_ids.shape[1] > 1:
                return self._forward(input_ids=input_ids, **options)
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            # The mask is made outside of the compiled call; an adapter's layers stand inside the model.
            return self._compiled(**self._model.prepare_inputs_for_generation(input_ids, **options))
