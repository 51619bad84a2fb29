"""Base models in memory: loaded once, shared by every adapter that fits on them."""

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import AdapterError
from helpers.base_models import BaseSummary
from helpers.local_inference.adapter_files import AdapterFolder
from helpers.local_inference.attached_adapters import AttachedAdapters
from helpers.local_inference.base_model_files import LoadingReport, folder_fingerprint
from helpers.local_inference.model_loading import choose_kernel, load_base_model, release_memory
from helpers.local_inference.prefix_cache import PrefixCache
from helpers.local_inference.quantization_policy import Device, WeightsChoice

logger = logging.getLogger(__name__)
MOST_BASES = 1


@dataclass(frozen=True)
class BaseKey:
    """Which base model: two requests with equal keys share one.

    ``fingerprint`` changes when files in the folder do. ``vocabulary_rows`` None = the base's own; an adapter with
    added tokens needs others. ``private_to``: fingerprint of an adapter that rewrites base weights, None = shared.
    """

    folder: Path
    fingerprint: str
    choice: WeightsChoice
    vocabulary_rows: int | None
    private_to: str | None


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory, the adapters on it, and what both computed for the last texts."""

    model: Any
    adapters: AttachedAdapters
    prefixes: PrefixCache


class BaseModelCache:
    """Keeps the last used base models; the least recently used one goes when another is asked for."""

    def __init__(self, prefix_budget: int, most: int = MOST_BASES) -> None:
        """``prefix_budget``: bytes that the computed texts of one base may take."""
        self._most = most
        self._prefix_budget = prefix_budget
        self._bases: OrderedDict[BaseKey, LoadedBase] = OrderedDict()
        self.loads = 0

    def key(self, base: BaseSummary, choice: WeightsChoice, adapter: AdapterFolder | None) -> BaseKey:
        """The key of ``base`` as ``adapter`` needs it, None = the base alone."""
        rows = adapter.embedding_rows if adapter is not None else None
        return BaseKey(
            folder=base.path,
            fingerprint=folder_fingerprint(base.path),
            choice=choice,
            vocabulary_rows=rows if rows != base.vocabulary_size else None,
            private_to=adapter.fingerprint if adapter is not None and adapter.rewrites_base else None,
        )

    def __contains__(self, key: BaseKey) -> bool:
        return key in self._bases

    @property
    def loaded(self) -> tuple[LoadedBase, ...]:
        """The bases in memory, the least recently used first."""
        return tuple(self._bases.values())

    def find_or_load(
        self,
        key: BaseKey,
        device: Device,
        size_bytes: int,
        report: LoadingReport,
    ) -> LoadedBase:
        """The base model of ``key``; raises what :func:`load_base_model` raises."""
        if key not in self._bases:
            # Room first: two large bases at once may not fit.
            while len(self._bases) >= self._most:
                self._bases.popitem(last=False)
                release_memory()
            started = time.perf_counter()
            model = load_base_model(
                key.folder,
                key.choice,
                device,
                vocabulary_rows=key.vocabulary_rows,
                size_bytes=size_bytes,
                report=report,
            )
            # Adapters that rewrite weights need ordinary layers to do so.
            kernel = choose_kernel(model, key.choice, device, plain=key.private_to is not None)
            self.loads += 1
            seconds = time.perf_counter() - started
            logger.info("loaded %s (%s; %s) in %.1f s", key.folder, key.choice.label, kernel, seconds)
            self._bases[key] = LoadedBase(model, AttachedAdapters(model, kernel), PrefixCache(self._prefix_budget))
        self._bases.move_to_end(key)
        return self._bases[key]

    def activate(self, key: BaseKey, adapter: AdapterFolder | None) -> Any:
        """The module that answers as ``adapter`` on the loaded base ``key``; raises AdapterError."""
        loaded = self._bases[key]
        try:
            forward = loaded.adapters.activate(adapter)
            loaded.prefixes.retain({None, *loaded.adapters.fingerprints})
            return forward
        except AdapterError:
            if loaded.adapters.damaged or key.private_to is not None:
                del self._bases[key]
            raise

    def clear(self) -> None:
        """Let go of every model."""
        self._bases.clear()
        release_memory()
