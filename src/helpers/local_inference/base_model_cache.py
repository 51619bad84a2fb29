"""Base models in memory: loaded once, shared by every adapter that fits on them."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import AdapterError
from helpers.base_models import BaseSummary
from helpers.local_inference.adapter_files import AdapterFolder
from helpers.local_inference.attached_adapters import AttachedAdapters
from helpers.local_inference.base_model_files import LoadingReport, folder_fingerprint
from helpers.local_inference.generation_events import AdapterEffect
from helpers.local_inference.memory_estimate import RESERVE_BYTES
from helpers.local_inference.merged_adapters import Merge, merge_into
from helpers.local_inference.model_loading import choose_kernel, load_base_model, release_memory
from helpers.local_inference.prefix_cache import PrefixCache
from helpers.local_inference.quantization_policy import Device, WeightsChoice
from helpers.local_inference.static_decoding import StaticDecoding

logger = logging.getLogger(__name__)
# Files that change in place, vocabularies and rewriting adapters make bases of their own: they must not pile up.
MOST_BASES = 4


@dataclass(frozen=True)
class BaseKey:
    """Which base model: two requests with equal keys share one.

    ``fingerprint`` changes when files in the folder do. ``vocabulary_rows`` None = the base's own; an adapter with
    added tokens needs others. ``private_to``: fingerprint of an adapter that rewrites base weights, None = shared.
    ``merged``: fingerprint and strength of the adapter that its weights contain, None = they are the base's own.
    """

    folder: Path
    fingerprint: str
    choice: WeightsChoice
    vocabulary_rows: int | None
    private_to: str | None
    merged: tuple[str, float] | None = None


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory, the adapters on it, and what both computed for the last texts.

    ``needed_bytes``: the estimate it was loaded by. ``merged_effect``: that of the adapter in its weights.
    ``static``: its static cache and what was compiled, empty until an answer asks for it.
    """

    model: Any
    adapters: AttachedAdapters
    prefixes: PrefixCache
    needed_bytes: int
    merged_effect: AdapterEffect | None = None
    static: StaticDecoding = field(default_factory=StaticDecoding)


class BaseModelCache:
    """Keeps base models while there is memory; the least recently used one goes when another needs it."""

    def __init__(self, prefix_budget: int, free_bytes: Callable[[], int], most: int = MOST_BASES) -> None:
        """``prefix_budget``: bytes that the computed texts of one base may take. ``free_bytes``: what is free now."""
        self._most = most
        self._prefix_budget = prefix_budget
        self._free_bytes = free_bytes
        self._bases: OrderedDict[BaseKey, LoadedBase] = OrderedDict()
        self.loads = 0

    def key(
        self,
        base: BaseSummary,
        choice: WeightsChoice,
        adapter: AdapterFolder | None,
        merged_strength: float | None = None,
    ) -> BaseKey:
        """The key of ``base`` as ``adapter`` needs it, None = the base alone.

        ``merged_strength``: the adapter is to be in the weights with this strength, None = it stays live.
        """
        rows = adapter.embedding_rows if adapter is not None else None
        return BaseKey(
            folder=base.path,
            fingerprint=folder_fingerprint(base.path),
            choice=choice,
            vocabulary_rows=rows if rows != base.vocabulary_size else None,
            private_to=adapter.fingerprint if adapter is not None and adapter.rewrites_base else None,
            merged=(adapter.fingerprint, merged_strength) if adapter and merged_strength is not None else None,
        )

    def __contains__(self, key: BaseKey) -> bool:
        return key in self._bases

    @property
    def loaded(self) -> tuple[LoadedBase, ...]:
        """The bases in memory, the least recently used first."""
        return tuple(self._bases.values())

    def holds(self, folder: Path, fingerprint: str, choice: WeightsChoice) -> bool:
        """Whether the base in ``folder`` is in memory in the form of ``choice``, for whatever adapter."""
        return any((key.folder, key.fingerprint, key.choice) == (folder, fingerprint, choice) for key in self._bases)

    def reclaimable_bytes(self) -> int:
        """About what letting go of every base would free."""
        return sum(loaded.needed_bytes for loaded in self._bases.values())

    def make_room(self, needed_bytes: int) -> None:
        """Let go of kept texts, then of the least recently used bases, until ``needed_bytes`` are free."""
        if self._free_bytes() < needed_bytes + RESERVE_BYTES:
            self.forget_texts()
        while self._bases and self._free_bytes() < needed_bytes + RESERVE_BYTES:
            self._drop(next(iter(self._bases)))

    def find_or_load(
        self,
        key: BaseKey,
        device: Device,
        size_bytes: int,
        report: LoadingReport,
        *,
        needed_bytes: int = 0,
        merge: Merge | None = None,
    ) -> LoadedBase:
        """The base model of ``key``, in place of older ones where ``needed_bytes`` are not free.

        ``size_bytes``: its files. ``merge``: what ``key.merged`` names. Raises what :func:`load_base_model` raises,
        and AdapterError where merging fails.
        """
        if key not in self._bases:
            for outdated in [old for old in self._bases if _is_outdated(old, key)]:
                self._drop(outdated)
            self.make_room(needed_bytes)
            while len(self._bases) >= self._most:
                self._drop(next(iter(self._bases)))
            started = time.perf_counter()
            model = load_base_model(
                key.folder,
                key.choice,
                device,
                vocabulary_rows=key.vocabulary_rows,
                size_bytes=size_bytes,
                report=report,
            )
            effect = merge_into(model, merge) if merge is not None else None
            # Adapters that rewrite weights need ordinary layers to do so.
            kernel = choose_kernel(model, key.choice, device, plain=key.private_to is not None)
            self.loads += 1
            seconds = time.perf_counter() - started
            logger.info("loaded %s (%s; %s) in %.1f s", key.folder, key.choice.label, kernel, seconds)
            self._bases[key] = LoadedBase(
                model,
                AttachedAdapters(model, kernel, self._free_bytes),
                PrefixCache(self._prefix_budget),
                needed_bytes,
                effect,
            )
        self._bases.move_to_end(key)
        return self._bases[key]

    def activate(self, key: BaseKey, adapter: AdapterFolder | None, strength: float = 1.0) -> Any:
        """The module that answers as ``adapter`` on the loaded base ``key``; raises AdapterError."""
        loaded = self._bases[key]
        if key.merged is not None:
            return loaded.model
        try:
            forward = loaded.adapters.activate(adapter, strength)
            loaded.prefixes.retain(loaded.adapters.fingerprints)
            return forward
        except AdapterError:
            if loaded.adapters.damaged or key.private_to is not None:
                self._drop(key)
            raise

    def forget_texts(self) -> None:
        """Let go of what was computed for earlier texts."""
        for loaded in self._bases.values():
            loaded.prefixes.clear()
        release_memory()

    def clear(self) -> None:
        """Let go of every model."""
        for key in list(self._bases):
            self._drop(key)

    def _drop(self, key: BaseKey) -> None:
        self._bases.pop(key).static.forget()
        release_memory()


def _is_outdated(old: BaseKey, key: BaseKey) -> bool:
    """Whether the files of ``old`` have been replaced since, or its adapter is merged anew with another strength."""
    if old.folder != key.folder:
        return False
    if old.fingerprint != key.fingerprint:
        return True
    merged_again = old.merged is not None and key.merged is not None and old.merged[0] == key.merged[0]
    return merged_again and old.choice == key.choice
