"""Tells whether a PyTorch ``.bin`` file would run code when opened, without opening it.

A pickle is a list of instructions. Listing them (pickletools) executes nothing; those that name a Python object are
compared with the few that saved tensors need. Whatever this says, the engine reads such files with weights_only=True.
"""

import io
import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO

from helpers.adapter_doctor.findings import Finding, error, some_of, warning

# A whole copy in memory: an instruction may claim to hold petabytes, and reading a file would try to make room.
_MOST_BYTES = 16 << 20
_MOST_PICKLES = 5
# What torch.save writes for tensors: torch/_tensor.py, torch/_utils.py, torch/serialization.py.
_HARMLESS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage"
    r"|torch\.storage (_LoadUntypedStorage|UntypedStorage|TypedStorage)|torch (bfloat16|float16|float32|float64)"
)
_NAMING = {"GLOBAL", "INST"}
_UNREADABLE_NAMING = {"EXT1", "EXT2", "EXT4"}
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}


def examine_pickle(path: Path) -> list[Finding]:
    """Findings on ``adapter_model.bin``; nothing in it is executed. Raises OSError."""
    if path.stat().st_size == 0:
        return [error("weights_empty", f"{path.name} is empty (0 bytes).", "Save or copy the adapter again.")]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = [entry for entry in archive.infolist() if f"/{entry.filename}".endswith("/data.pkl")]
                # PyTorch compresses nothing.
                plain = [entry for entry in inner if entry.compress_type == zipfile.ZIP_STORED]
                if len(inner) != 1 or not plain or plain[0].file_size > _MOST_BYTES:
                    return [_damaged(path, "it is a zip archive, but not one of PyTorch")]
                with archive.open(plain[0]) as stream:
                    named = _named_objects(io.BytesIO(stream.read(_MOST_BYTES)), 1)
        else:
            # Before PyTorch 1.6: several pickles one after another, then raw bytes.
            with path.open("rb") as stream:
                named = _named_objects(io.BytesIO(stream.read(_MOST_BYTES)), _MOST_PICKLES)
    except (ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as failure:
        return [_damaged(path, f"it is not a whole PyTorch file ({failure})")]
    dangerous = sorted({name.replace(" ", ".") for name in named if not _HARMLESS.fullmatch(name)})
    return [_runs_code(path, dangerous)] if dangerous else [_unchecked(path)]


def _named_objects(stream: IO[bytes], pickles: int) -> set[str]:
    """Every "module name" that the first ``pickles`` pickles ask for; raises ValueError where they are damaged."""
    named: set[str] = set()
    for number in range(pickles):
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in _TEXTS:
                    texts = [*texts[-1:], str(argument)]
                elif opcode.name in _NAMING:
                    named.add(str(argument))
                elif opcode.name == "STACK_GLOBAL":
                    # torch.save does not write it, and its two texts can be forged by a detour through the memo.
                    named.add(f"{' '.join(texts)} (named indirectly)")
                elif opcode.name in _UNREADABLE_NAMING:
                    named.add("an unreadable name")
        except (ValueError, IndexError, OverflowError):
            # Behind the pickles of an old file lie raw numbers, which are none.
            if number == 0:
                raise ValueError("its first instructions are damaged") from None
            break
    return named


def _damaged(path: Path, why: str) -> Finding:
    return error("weights_damaged", f"{path.name} is damaged: {why}.", "Save or copy the adapter again.")


def _runs_code(path: Path, names: list[str]) -> Finding:
    message = f"{path.name} is a pickle that would run Python code when opened: it calls {some_of(names)}."
    hint = "It is not opened. Do not trust this file; ask its author for adapter_model.safetensors."
    return error("pickle_runs_code", message, hint)


def _unchecked(path: Path) -> Finding:
    message = (
        f"The weights are a pickle ({path.name}). It is read with weights_only=True, so that nothing in it is run, "
        "but its shapes and values cannot be checked beforehand."
    )
    return warning("weights_pickle", message, "Save the adapter with safetensors to have them checked.")
