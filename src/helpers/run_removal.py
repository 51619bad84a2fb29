"""Deletes the files of one run, and nothing else: what may not be deleted is refused before anything is touched."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from errors import NotFoundError, StorageError

ADAPTER_CONFIG = "adapter_config.json"
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_FEWEST_PARTS = 4


def removable_folder(adapter_path: str | None, output_dir: str | None, others: Iterable[str]) -> Path:
    """The folder that belongs to this run alone: its output folder, None = its adapter folder.

    ``others``: the adapter and output folders of every other run. Raises NotFoundError where there is no folder, and
    StorageError with the reason why it is not deleted.
    """
    recorded = output_dir or adapter_path
    if not recorded:
        raise NotFoundError("This run recorded no folder.", "Remove it from the list instead.")
    folder = Path(os.path.abspath(recorded))
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {folder}.", "Its files are gone already; remove it from the list.")
    _refuse(folder, _shared_place(folder))
    adapter = Path(os.path.realpath(adapter_path)) if adapter_path else folder
    if not adapter.is_relative_to(folder):
        _refuse(folder, f"the adapter lies outside of it, in {adapter}")
    inside = [other for other in others if _is_inside(other, folder)]
    _refuse(folder, f"another run has its files there: {inside[0]}" if inside else "")
    _refuse(folder, _foreign_content(folder, adapter))
    return folder


def delete_run_files(adapter_path: str | None, output_dir: str | None, others: Iterable[str]) -> Path:
    """Delete the folder that :func:`removable_folder` allows, and return it. Raises NotFoundError, StorageError."""
    folder = removable_folder(adapter_path, output_dir, others)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} cannot be deleted: {error.strerror or error}.",
            "Some files of the run may be gone already. Check the folder's permissions, then try again.",
        ) from error
    return folder


def _shared_place(folder: Path) -> str:
    """Why this place is more than one run's folder; empty = it is not."""
    if Path(os.path.realpath(folder)) != folder:
        return "its path leads through a link"
    home, here = Path(os.path.realpath(Path.home())), Path(os.path.realpath(Path.cwd()))
    if home.is_relative_to(folder) or here.is_relative_to(folder):
        return "it holds the home folder or the folder that the app runs in"
    if len(folder.parts) < _FEWEST_PARTS or os.path.ismount(folder):
        return "it is too close to the root of the disk"
    return ""


def _foreign_content(folder: Path, adapter: Path) -> str:
    """What in ``folder`` is not this run's; empty = nothing. An unreadable part may hold anything."""
    unread: list[OSError] = []
    adapters = 0
    for place, folders, files in os.walk(folder, onerror=unread.append):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder):
                return f"{path} is a link that leads out of it"
        if ADAPTER_CONFIG in files:
            adapters += 1
            own = Path(place) in (folder, adapter) or _CHECKPOINT.fullmatch(Path(place).name)
            if not own:
                return f"there is another adapter in {place}"
    if unread:
        return f"{unread[0].filename} cannot be read"
    return "" if adapters else "there is no adapter in it"


def _is_inside(path: str, folder: Path) -> bool:
    return bool(path) and Path(os.path.realpath(path)).is_relative_to(folder)


def _refuse(folder: Path, reason: str) -> None:
    if reason:
        raise StorageError(f"{folder} is not deleted: {reason}.", "Delete it by hand if that is what you want.")
