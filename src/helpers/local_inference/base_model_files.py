"""The folder of a base model: found on this machine, else fetched from the Hugging Face hub.

Without a network this fails within seconds: the hub is asked once, with a timeout, before any library call that
would retry for minutes.
"""

import fnmatch
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from errors import ModelNotFoundError
from helpers.base_models import BaseSource, missing_base_message, resolve_base_model
from helpers.local_inference.generation_events import ModelLoading

# Told of each step; raises LoadingStopped where the user stopped meanwhile.
LoadingReport = Callable[[ModelLoading], None]
_TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_HUB_TIMEOUT_SECONDS = 5.0


class LoadingStopped(Exception):
    """The user stopped while a model was being fetched or read."""


def find_base_folder(name: str, report: LoadingReport, *, weights: bool = True) -> Path:
    """The folder of the base model ``name``, downloaded where it is only on the hub.

    ``weights`` False needs the config and the tokenizer only. Raises ModelNotFoundError with the next step.
    """
    resolved = resolve_base_model(name)
    if resolved.path is not None:
        return resolved.path
    if resolved.source is not BaseSource.HUB:
        raise ModelNotFoundError(*missing_base_message(name))
    return _download(resolved.name, report, weights)


def folder_fingerprint(folder: Path) -> str:
    """Changes when a file in ``folder`` is replaced: names, sizes and modification times. Reads no content."""
    entries = sorted(
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for entry in os.scandir(folder)
        if entry.is_file()
    )
    return repr(entries)


def first_line(error: Exception) -> str:
    """The first line of an error of a library, which often adds paragraphs of advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _download(name: str, report: LoadingReport, weights: bool) -> Path:
    import httpx2  # The HTTP client of huggingface_hub, whose connection errors come through as they are.
    from huggingface_hub import snapshot_download

    if not weights and (cached := _cached_text_files(name)):
        return cached
    files = _files_on_hub(name)
    wanted = [file for file, _ in files if any(fnmatch.fnmatch(file, pattern) for pattern in _TEXT_FILES)]
    if weights:
        wanted += _weight_files([file for file, _ in files], name)
    total = sum(size for file, size in files if file in wanted)
    try:
        folder = snapshot_download(name, allow_patterns=wanted, tqdm_class=_reporting_bar(name, total, report))
    except (OSError, httpx2.HTTPError) as error:
        raise ModelNotFoundError(
            f"The download of “{name}” broke off: {first_line(error)}",
            "Check network and free disk space; the next try goes on from there.",
        ) from error
    return Path(folder)


def _cached_text_files(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _files_on_hub(name: str) -> list[tuple[str, int]]:
    """Top-level files of the repository with their sizes in bytes."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        info = HfApi().model_info(name, files_metadata=True, timeout=_HUB_TIMEOUT_SECONDS)
    except OfflineModeIsEnabled:
        raise ModelNotFoundError(
            f"The base model “{name}” is not on this machine, and HF_HUB_OFFLINE forbids to download it.",
            "Unset HF_HUB_OFFLINE, or choose “Locate base model…” and pick its folder.",
        ) from None
    except GatedRepoError:
        raise ModelNotFoundError(
            f"“{name}” is a gated model on Hugging Face.",
            f"Accept its terms on https://huggingface.co/{name} and log in once with “hf auth login”.",
        ) from None
    except RepositoryNotFoundError:
        raise ModelNotFoundError(
            f"There is no model “{name}” on Hugging Face, or it is private.",
            "Check the spelling; for a private model log in once with “hf auth login”.",
        ) from None
    except (httpx2.HTTPError, HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(
            f"The base model “{name}” is not here, and Hugging Face cannot be reached: {first_line(error)}.",
            "Connect to the network, or choose “Locate base model…” and pick its folder.",
        ) from error
    return [(file.rfilename, file.size or 0) for file in info.siblings or [] if "/" not in file.rfilename]


def _weight_files(files: Sequence[str], name: str) -> list[str]:
    safetensors = fnmatch.filter(files, "*.safetensors")
    if safetensors:
        return [file for file in safetensors if not file.startswith("consolidated")]
    pickled = fnmatch.filter(files, "pytorch_model*.bin")
    if not pickled:
        raise ModelNotFoundError(
            f"“{name}” holds no weights in a form this app reads.", "Pick a model with .safetensors files."
        )
    return pickled


def _reporting_bar(name: str, total: int, report: LoadingReport) -> Any:
    """A progress bar class that draws nothing; of the three that huggingface_hub makes, one reports bytes."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class ReportingBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **values: Any) -> None:
            # The other byte bar counts what crosses the network, which deduplication makes smaller than the files.
            self.counts_bytes = str(values.get("desc")).startswith("Reconstructing")
            super().__init__(*args, **{**values, "disable": True})
            self.done = 0

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts_bytes:
                self.done += int(n or 0)
                report(ModelLoading(f"Downloading {name}…", min(self.done, total), total))
            return None

    return ReportingBar
