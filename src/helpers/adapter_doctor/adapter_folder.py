"""The folder and its files: is it an adapter at all, and may its files be read."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from helpers.adapter_doctor.findings import Finding, count_of, error, info, some_of, warning

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
PICKLE_NAME = "adapter_model.bin"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_FULL_MODEL = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")
_MOST_SUBFOLDERS = 1000
_MOST_LISTED = 8


@dataclass(frozen=True)
class AdapterFiles:
    """The files of an adapter folder that can be read: None = missing, or named in ``findings``."""

    folder: Path
    config: Path | None
    weights: Path | None
    pickle: Path | None
    findings: tuple[Finding, ...]


def examine_folder(folder: Path, within: Path | None = None) -> AdapterFiles:
    """Find the adapter's files in ``folder``. Raises nothing; what is wrong stands in ``findings``.

    ``within``: links may lead anywhere inside this folder (the run's); None = only inside ``folder``.
    """
    problem = _folder_problem(folder)
    if problem is not None:
        return AdapterFiles(folder, None, None, None, (problem,))
    try:
        names = set(os.listdir(folder))
    except OSError as failure:
        return AdapterFiles(folder, None, None, None, (reading_failed(folder, failure),))
    weights_name = WEIGHTS_NAME if WEIGHTS_NAME in names or PICKLE_NAME not in names else PICKLE_NAME
    if CONFIG_NAME not in names and weights_name not in names:
        return AdapterFiles(folder, None, None, None, (_not_an_adapter(folder, names),))
    findings: list[Finding] = []
    readable: dict[str, Path] = {}
    for name in (CONFIG_NAME, weights_name):
        if name not in names:
            findings.append(_half_an_adapter(folder, name, names))
            continue
        file_findings = _file_findings(folder / name, within)
        findings += file_findings
        if not any(finding.severity == "error" for finding in file_findings):
            readable[name] = folder / name
    findings += _checkpoint_infos(folder, names)
    return AdapterFiles(
        folder,
        config=readable.get(CONFIG_NAME),
        weights=readable.get(WEIGHTS_NAME),
        pickle=readable.get(PICKLE_NAME),
        findings=tuple(findings),
    )


def checkpoints(folder: Path) -> list[Path]:
    """The ``checkpoint-N`` folders in ``folder`` that hold an adapter, by rising N."""
    found = [
        (int(match.group(1)), path)
        for path in _subfolders(folder)
        if (match := _CHECKPOINT.fullmatch(path.name)) and _is_there(path / CONFIG_NAME)
    ]
    return [path for _, path in sorted(found)]


def _folder_problem(folder: Path) -> Finding | None:
    pick = "Pick the folder that holds adapter_config.json and adapter_model.safetensors."
    try:
        mode = folder.stat().st_mode
    except PermissionError as failure:
        return reading_failed(folder, failure)
    except (OSError, ValueError):
        message = f"There is no folder “{folder}”. It may have been moved, renamed or deleted."
        return error("no_such_folder", message, pick)
    if stat.S_ISDIR(mode):
        return None
    if folder.name in (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME):
        pick = f"Pick the folder it lies in: “{folder.parent}”."
    return error("not_a_folder", f"“{folder}” is a file, not an adapter folder.", pick)


def reading_failed(path: Path, failure: OSError) -> Finding:
    """The finding for a file or folder that cannot be read."""
    if isinstance(failure, PermissionError):
        message = f"This account has no permission to read “{path}”."
        return error("permission_denied", message, "Change its permissions, or copy it to a folder of your own.")
    message = f"“{path}” cannot be read: {failure.strerror or failure}."
    return error("read_failed", message, "Check the disk or network drive it lies on, then try again.")


def _not_an_adapter(folder: Path, names: set[str]) -> Finding:
    saved = checkpoints(folder)
    if saved:
        message = f"“{folder}” is a training run's folder: it holds {_listed(saved)}, but no final adapter."
        return error("checkpoint_parent", message, f"Pick a checkpoint. The latest is “{saved[-1]}”.")
    inside = [path for path in _subfolders(folder) if _is_there(path / CONFIG_NAME)]
    if inside:
        message = f"“{folder}” holds no adapter itself, but its subfolder {some_of(p.name for p in inside)} does."
        return error("adapter_in_subfolder", message, f"Pick “{inside[0]}”.")
    if "config.json" in names or any(_FULL_MODEL.fullmatch(name) for name in names):
        message = f"“{folder}” holds a full model, not an adapter: there is nothing to lay over a base model."
        hint = "Enter this folder as the base model, or pick the folder that the adapter was saved in."
        return error("full_model", message, hint)
    held = "it is empty" if not names else "it has neither adapter_config.json nor adapter weights"
    hint = "Pick the folder that holds adapter_config.json and adapter_model.safetensors."
    return error("not_an_adapter", f"“{folder}” is not an adapter: {held}.", hint)


def _half_an_adapter(folder: Path, missing: str, names: set[str]) -> Finding:
    if missing == CONFIG_NAME:
        message = f"“{folder}” has adapter weights, but no {CONFIG_NAME}, which says what kind of adapter they are."
        return error("config_missing", message, f"Copy {CONFIG_NAME} from the training output, or save again.")
    full = sorted(name for name in names if _FULL_MODEL.fullmatch(name))
    if full:
        message = f"“{folder}” has an {CONFIG_NAME}, but the weights in it ({full[0]}) are those of a full model."
        hint = "It was probably merged or fully trained: enter the folder as the base model, without an adapter."
        return error("full_model", message, hint)
    message = f"“{folder}” has an {CONFIG_NAME}, but no weights ({WEIGHTS_NAME})."
    saved = checkpoints(folder)
    hint = "The training may have been interrupted, or the download is incomplete: save or copy the adapter again."
    return error("weights_missing", message, f"Pick a checkpoint: “{saved[-1]}”." if saved else hint)


def _file_findings(path: Path, within: Path | None) -> list[Finding]:
    try:
        # A named pipe or device would block or never end: look before opening.
        regular = stat.S_ISREG(path.stat().st_mode)
        if regular:
            path.open("rb").close()
    except FileNotFoundError:
        message = f"{path.name} is a link to “{_target(path)}”, which does not exist."
        return [error("link_broken", message, "Copy the file itself into the adapter's folder.")]
    except OSError as failure:
        return [reading_failed(path, failure)]
    if not regular:
        return [error("not_a_file", f"{path.name} in “{path.parent}” is not a file.", "Save the adapter again.")]
    if path.is_symlink() and not _stays_inside(path, within):
        message = (
            f"{path.name} is a link that leads out of the folder, to “{path.resolve()}”. It may change unnoticed."
        )
        return [warning("link_outside", message, "Use it if you trust that place, or copy the file into the folder.")]
    return []


def _target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return path.name


def _stays_inside(path: Path, within: Path | None) -> bool:
    target, folder = path.resolve(), path.parent.resolve()
    if any(target.is_relative_to(root.resolve()) for root in (folder, within) if root is not None):
        return True
    # A Hugging Face cache keeps files in <repository>/blobs and links to them from <repository>/snapshots/<revision>.
    return any(
        parent.name == "snapshots" and target.parent == parent.parent / "blobs"
        for parent in (folder, *folder.parents)
    )


def _checkpoint_infos(folder: Path, names: set[str]) -> list[Finding]:
    findings = []
    own = _CHECKPOINT.fullmatch(folder.name)
    if own:
        message = f"This is the checkpoint of step {int(own.group(1)):,} of “{folder.parent}”, not the final adapter."
        has_final = _is_there(folder.parent / CONFIG_NAME)
        hint = f"The final adapter is “{folder.parent}”." if has_final else "The run has saved no final adapter."
        findings.append(info("checkpoint_folder", message, hint))
    if any(_CHECKPOINT.fullmatch(name) for name in names):
        saved = checkpoints(folder)
        if saved:
            message = f"The run also saved {_listed(saved)}."
            findings.append(info("run_checkpoints", message, "Pick one to see how the run went on its way."))
    return findings


def _listed(saved: list[Path]) -> str:
    """ "3 checkpoints (step 20, 90, 100)", the first few by name."""
    steps = [path.name.removeprefix("checkpoint-") for path in saved]
    more = " …" if len(steps) > _MOST_LISTED else ""
    return f"{count_of(len(steps), 'checkpoint')} (step {', '.join(steps[:_MOST_LISTED])}{more})"


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [
                Path(entry.path) for _, entry in zip(range(_MOST_SUBFOLDERS), entries, strict=False) if _is_dir(entry)
            ]
    except OSError:
        return []
    return sorted(found)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
