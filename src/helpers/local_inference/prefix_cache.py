"""What was computed for earlier texts, so that a text which begins alike is not computed again.

A chat's next prompt is nearly the whole last one with its answer, so only the new tokens need a forward pass. Keys
and values are exact only under the weights that made them: each cache belongs to one base in memory (which owns it)
and there to one adapter by its fingerprint, its strength and whether it is merged.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

# An eighth of the memory leaves room for the weights and for other programs.
_SHARE_OF_MEMORY = 8


class AdapterForm(NamedTuple):
    """What besides the base made the keys and values: an adapter by its content, live or merged, at a strength."""

    fingerprint: str
    strength: float = 1.0
    merged: bool = False


@dataclass(eq=False)
class TextState:
    """Keys and values of a text's first tokens.

    ``tokens``: how many, when the generation begins. ``logits`` (1, vocabulary): those after the prompt, None until
    the prompt is processed. ``prompt_cache``: the cache as it was after the prompt, None where ``cache`` can go back.
    """

    cache: Any
    tokens: int = 0
    logits: "torch.Tensor | None" = None
    prompt_cache: Any = None

    def prompt_is_processed(self, logits: "torch.Tensor") -> None:
        """Told between prompt and answer; ``logits`` (1, vocabulary) are those after the prompt."""
        self.logits = logits
        if has_plain_layers(self.cache) and not _can_go_back(self.cache):
            self.prompt_cache = _fork(self.cache)


@dataclass(eq=False)
class _Entry:
    adapter: AdapterForm | None
    token_ids: tuple[int, ...]
    prompt_tokens: int
    state: TextState
    size_bytes: int


class PrefixCache:
    """The texts computed last on one base, each with the adapter it was computed under. Evicted by bytes."""

    def __init__(self, budget_bytes: int) -> None:
        """``budget_bytes``: the most that all texts together may take; 0 = keep none."""
        self._budget = budget_bytes
        self._entries: list[_Entry] = []

    @property
    def size_bytes(self) -> int:
        """Memory of all keys and values kept."""
        return sum(entry.size_bytes for entry in self._entries)

    def take(self, config: Any, adapter: AdapterForm | None, prompt_ids: Sequence[int]) -> TextState:
        """The state that saves most of ``prompt_ids`` under ``adapter`` (None = the base alone).

        It may be changed by its user; :meth:`put` brings it back. ``config``: the model's, for a new state.
        """
        prompt = tuple(prompt_ids)
        usable = [
            (tokens, entry) for entry in self._entries if (tokens := _usable_tokens(entry, adapter, prompt)) > 0
        ]
        if not usable:
            return new_state(config)
        tokens, entry = max(usable, key=lambda found: found[0])
        cache, surplus = entry.state.cache, len(entry.token_ids) - tokens
        if 2 * surplus > len(entry.token_ids):
            # Another text that begins alike: both stay.
            cache = _fork(cache)
        else:
            self._entries.remove(entry)
        if surplus:
            cache.crop(-surplus)
        return TextState(cache, tokens, entry.state.logits if tokens == len(prompt) else None)

    def put(
        self, adapter: AdapterForm | None, token_ids: Sequence[int], prompt_tokens: int, state: TextState
    ) -> None:
        """Keep ``state`` for the next prompt; ``token_ids`` are prompt and answer, the latest first to be known."""
        if not has_plain_layers(state.cache):
            return
        known = tuple(token_ids[: state.cache.get_seq_length()])
        self._entries = [
            entry
            for entry in self._entries
            if entry.adapter != adapter or entry.token_ids != known[: len(entry.token_ids)]
        ]
        for cache in (state.prompt_cache, state.cache):
            if cache is not None:
                ids = known[: cache.get_seq_length()]
                kept = TextState(cache, logits=state.logits)
                self._entries.append(_Entry(adapter, ids, prompt_tokens, kept, _size_bytes(cache)))
        while self._entries and self.size_bytes > self._budget:
            self._entries.pop(0)

    def retain(self, fingerprints: Collection[str]) -> None:
        """Forget what was computed under other adapters than these; the base's own texts stay."""
        self._entries = [
            entry for entry in self._entries if entry.adapter is None or entry.adapter.fingerprint in fingerprints
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def new_state(config: Any) -> TextState:
    """Nothing computed yet, for a model of this ``config``."""
    from transformers import DynamicCache

    return TextState(DynamicCache(config=config))


def budget_bytes(device_kind: str) -> int:
    """How much memory prefixes may take on a device, by the size of its memory."""
    import psutil
    import torch

    if device_kind == "cuda":
        return int(torch.cuda.mem_get_info()[1]) // _SHARE_OF_MEMORY
    return int(psutil.virtual_memory().total) // _SHARE_OF_MEMORY


def _usable_tokens(entry: _Entry, adapter: AdapterForm | None, prompt: tuple[int, ...]) -> int:
    """How many tokens of ``prompt`` need not be computed; 0 = the entry does not help."""
    if entry.adapter != adapter:
        return 0
    common = _common_prefix(entry.token_ids, prompt)
    same_prompt = common == len(prompt) == entry.prompt_tokens and entry.state.logits is not None
    # The last token is computed again, unless its logits are known: without a forward pass there are none.
    tokens = common if same_prompt else min(common, len(prompt) - 1)
    return tokens if tokens == len(entry.token_ids) or _can_go_back(entry.state.cache) else 0


def _common_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    shortest = min(len(first), len(second))
    if first[:shortest] == second[:shortest]:
        return shortest
    return next(position for position in range(shortest) if first[position] != second[position])


def _can_go_back(cache: Any) -> bool:
    """False where a sliding window is full: what fell out of it is gone."""
    return all(
        not getattr(layer, "is_sliding", False) or layer.get_seq_length() < layer.sliding_window
        for layer in cache.layers
    )


def has_plain_layers(cache: Any) -> bool:
    """True where each layer holds keys and values only.

    Recurrent and compressed states cannot go back to an earlier token, and some change in place.
    """
    from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DummyLayer, DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def has_recurrent_layers(cache: Any) -> bool:
    """True where layers keep a state that each token rewrites.

    It cannot be branched, and some models (Jamba) go on from it one token at a time only.
    """
    from transformers.cache_utils import LinearAttentionCacheLayerMixin

    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def is_static(cache: Any) -> bool:
    """True where each layer holds keys and values in tensors of fixed size."""
    from transformers.cache_utils import DummyLayer, StaticLayer, StaticSlidingWindowLayer

    return all(type(layer) in (DummyLayer, StaticLayer, StaticSlidingWindowLayer) for layer in cache.layers)


def _fork(cache: Any) -> Any:
    """A second cache with the same content; layers that grow make new tensors, so both may share the present ones."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork


def _size_bytes(cache: Any) -> int:
    # A crop is a view; what counts is the storage that it keeps alive.
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for layer in cache.layers
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None
    }
    return sum(storages.values())
