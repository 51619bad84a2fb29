"""Reads the examples of a dataset on the Hugging Face hub one by one, without keeping a copy of it."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from errors import ImportFormatError, NotFoundError
from helpers.dataset_files import SUFFIXES, ReadPosition

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?::([\w.-]+))?", re.ASCII)
_TIMEOUT_SECONDS = 10.0
_UNAUTHORISED = 401


@dataclass(frozen=True)
class HubDataset:
    """``name`` is “owner/name”. ``configuration``: one of its parts, None = the only one or the default."""

    name: str
    configuration: str | None = None


def hub_dataset_of(source: str | Path) -> HubDataset | None:
    """The hub dataset meant by “owner/name” or “owner/name:configuration”; None = it names a file or folder.

    What exists on this machine, and what ends like a file of examples, is a path.
    """
    text = source.as_posix() if isinstance(source, Path) else source.strip()
    found = _HUB_ID.fullmatch(text)
    if found is None or text.lower().endswith(SUFFIXES) or Path(text).exists():
        return None
    return HubDataset(found[1], found[2])


class HubStream:
    """One split of a hub dataset, read as it arrives. ``split`` is the one that was chosen.

    ``split`` None takes “train” or the only one. ``token`` None uses the login of this machine, if there is one; it
    is not kept anywhere. Raises NotFoundError for what is not there, may not be read or cannot be reached, and
    ImportFormatError for a dataset without readable examples.
    """

    def __init__(self, dataset: HubDataset, split: str | None = None, token: str | None = None) -> None:
        self._name = dataset.name
        _require_readable(dataset.name, token)
        parts = _open(dataset, token)
        self.split = choose_split(f"“{dataset.name}”", list(parts), split)
        self._examples = parts[self.split]

    def records(self, position: ReadPosition) -> Iterator[Mapping[str, Any]]:
        """The examples in order. The total is known only where the dataset says it; else it stays 0."""
        import httpx2
        import pyarrow
        from datasets.exceptions import DatasetsError

        parts = self._examples.info.splits or {}
        size = parts.get(self.split)
        examples, position.total = (size.num_examples or 0, size.num_bytes or 0) if size else (0, 0)
        try:
            for number, record in enumerate(self._examples, 1):
                if examples:
                    position.measure = partial(int, position.total * number // examples)
                yield record
        except (httpx2.HTTPError, OSError) as error:
            raise NotFoundError(
                f"Reading “{self._name}” from Hugging Face broke off ({type(error).__name__}).",
                "Check the network and try again; nothing is kept of what was read.",
            ) from error
        except (pyarrow.ArrowException, DatasetsError, ValueError) as error:
            raise ImportFormatError(
                f"“{self._name}” has files that cannot be read as one table of examples.",
                "Download the file you need from its page and add that.",
            ) from error


def choose_split(what: str, present: Sequence[str], wanted: str | None) -> str:
    """The wanted split, else “train” or the only one. ``what`` names the dataset for the errors.

    Raises ImportFormatError with the splits there are.
    """
    if not present:
        raise ImportFormatError(f"{what} has no split, so there are no examples in it.", "Choose another dataset.")
    names = ", ".join(present)
    if wanted is not None:
        if wanted in present:
            return wanted
        raise ImportFormatError(f"{what} has no split “{wanted}”.", f"Its splits are: {names}.")
    if len(present) > 1 and "train" not in present:
        raise ImportFormatError(f"{what} has several splits, and none is called “train”.", f"Choose one of: {names}.")
    return "train" if "train" in present else present[0]


def _require_readable(name: str, token: str | None) -> None:
    """One quick question, because the library asks five times, half a minute in all, before it gives up."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=_TIMEOUT_SECONDS, token=token)
    except OfflineModeIsEnabled:
        raise NotFoundError(
            f"There is no file or folder “{name}” here, and HF_HUB_OFFLINE forbids to look for it on Hugging Face.",
            "Unset HF_HUB_OFFLINE, or add a file.",
        ) from None
    except GatedRepoError:
        raise _gated(name) from None
    except RepositoryNotFoundError:
        raise _not_there(name) from None
    except HfHubHTTPError as error:
        if error.response.status_code == _UNAUTHORISED:
            raise NotFoundError(
                f"Hugging Face does not accept the access token for “{name}”.",
                "Check the token, or leave it out for a public dataset.",
            ) from None
        raise _not_reachable(name, error) from error
    except (httpx2.HTTPError, OSError) as error:
        raise _not_reachable(name, error) from error


def _open(dataset: HubDataset, token: str | None) -> Mapping[str, Any]:
    """The splits by name, each an ``IterableDataset``."""
    # Loading the library takes seconds, which only such a dataset needs.
    import datasets
    import httpx2
    import pyarrow
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError, DatasetsError

    # What they log is for programmers; what the user must know is raised.
    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        parts = datasets.load_dataset(dataset.name, dataset.configuration, streaming=True, token=token)
    except DatasetNotFoundError as error:
        raise (_gated(dataset.name) if "gated" in str(error) else _not_there(dataset.name)) from None
    except (EmptyDatasetError, DataFilesNotFoundError):
        raise ImportFormatError(
            f"“{dataset.name}” has no split: there is no file of examples in it.", "Choose another dataset."
        ) from None
    except (httpx2.HTTPError, OSError) as error:
        raise _not_reachable(dataset.name, error) from error
    except (pyarrow.ArrowException, DatasetsError, ValueError, RuntimeError) as error:
        raise _not_opened(dataset, token, error) from error
    return {str(name): part.decode(False) if _has_media(part) else part for name, part in parts.items()}


def _has_media(part: Any) -> bool:
    """Whether a column is an image or sound, which need not be decoded: only texts are imported."""
    features = part.features or {}
    return any(hasattr(feature, "decode") for feature in features.values())


def _not_opened(dataset: HubDataset, token: str | None, error: Exception) -> ImportFormatError:
    import datasets

    if "onfig" in str(error):
        names = datasets.get_dataset_config_names(dataset.name, token=token)
        if dataset.configuration not in names:
            unknown = (
                f" no configuration “{dataset.configuration}”" if dataset.configuration else " several configurations"
            )
            return ImportFormatError(
                f"“{dataset.name}” has{unknown}.", f"Add one of these to its name, after a colon: {', '.join(names)}."
            )
    if "scripts are no longer supported" in str(error):
        return ImportFormatError(
            f"“{dataset.name}” is loaded by a program of its own, which is not run here.",
            "Look for a version of it with Parquet, JSON or CSV files.",
        )
    return ImportFormatError(
        f"“{dataset.name}” has files that cannot be read as a table of examples.",
        "Download the file you need from its page and add that.",
    )


def _gated(name: str) -> NotFoundError:
    return NotFoundError(
        f"“{name}” is a gated dataset on Hugging Face.",
        "Accept its terms on its page there, and log in with “hf auth login” or give your access token.",
    )


def _not_there(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no file or folder “{name}” here, and no dataset of this name on Hugging Face, or it is private.",
        "Check the spelling; for a private dataset log in with “hf auth login” or give your access token.",
    )


def _not_reachable(name: str, error: Exception) -> NotFoundError:
    return NotFoundError(
        f"There is no file or folder “{name}” here, and Hugging Face cannot be reached ({type(error).__name__}).",
        "Check the path, or connect to the network.",
    )
