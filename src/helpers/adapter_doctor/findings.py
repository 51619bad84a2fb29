"""What the adapter doctor says: findings, the adapter's summary, and the report that joins them."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from errors import AdapterError
from helpers.base_models import BaseSource, BaseSummary

_LONGEST_NAME = 200
_LONGEST_TEXT = 2000
# Names come from files of strangers: no command reaches a terminal, no half surrogate pair an encoder, and nothing
# turns the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Severity(StrEnum):
    """ERROR: it cannot work. WARNING: it works, but perhaps not as meant. INFO: good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


_ORDER = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True)
class Finding:
    """One thing found. ``message``: what it is and why it matters; ``hint``: the next step."""

    severity: Severity
    code: str
    message: str
    hint: str

    def to_json(self) -> dict[str, str]:
        """As ``check --json`` prints it."""
        return {"severity": str(self.severity), "code": self.code, "message": self.message, "hint": self.hint}


def error(code: str, message: str, hint: str) -> Finding:
    """A finding that stops the adapter from being used."""
    return Finding(Severity.ERROR, code, _printable(message), _printable(hint))


def warning(code: str, message: str, hint: str) -> Finding:
    """A finding that may change the answers."""
    return Finding(Severity.WARNING, code, _printable(message), _printable(hint))


def info(code: str, message: str, hint: str) -> Finding:
    """A finding that explains."""
    return Finding(Severity.INFO, code, _printable(message), _printable(hint))


def _printable(text: str) -> str:
    short = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"
    return _UNPRINTABLE.sub("\ufffd", short)


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter folder holds.

    ``rank`` and ``alpha``: None where the type has none. ``target_modules``: names, or the one pattern of the config.
    ``size_bytes``: the weight file. ``tensor_count``, ``parameter_count``, ``dtypes``: 0 and () for ``.bin`` files,
    which are not opened. ``vocabulary_rows``: rows of the embeddings it saved, None = it saved none. ``fingerprint``:
    SHA-256 of config and weights, None where either cannot be read. ``fixed_strength``: why it acts as trained or not
    at all, None = it can be made weaker and stronger.
    """

    path: Path
    peft_type: str
    rank: int | None
    alpha: float | None
    target_modules: tuple[str, ...]
    base_model: str | None
    size_bytes: int
    tensor_count: int
    parameter_count: int
    dtypes: tuple[str, ...]
    has_tokenizer: bool
    has_chat_template: bool
    vocabulary_rows: int | None
    fingerprint: str | None
    fixed_strength: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The ``adapter`` part of a report."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class ValidationReport:
    """All findings on one adapter and its base, errors first.

    ``adapter``: None where its config cannot be read. ``base``: None where the base is not on this machine or not
    readable; ``base_name`` and ``base_source`` say what was looked for and where it was found, None = no name known.
    """

    findings: tuple[Finding, ...]
    adapter: AdapterSummary | None = None
    base: BaseSummary | None = None
    base_name: str | None = None
    base_source: BaseSource | None = None

    @property
    def ok(self) -> bool:
        """True without errors; warnings do not stop an adapter."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop the adapter from being used."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def first_error(self) -> Finding | None:
        """The finding to show where there is room for one, None = ok."""
        return next(iter(self.errors), None)

    def raise_first_error(self) -> None:
        """Raise the first error as AdapterError; does nothing where the report is ok."""
        if self.first_error is not None:
            raise AdapterError(self.first_error.message, self.first_error.hint)

    def to_json(self) -> dict[str, Any]:
        """The document that ``check --json`` prints."""
        base: dict[str, Any] | None = None
        if self.base is not None:
            base = self.base.to_json()
        elif self.base_name is not None:
            base = {"name": self.base_name, "path": None}
        if base is not None:
            base["source"] = str(self.base_source) if self.base_source is not None else None
        return {
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
            "adapter": self.adapter.to_json() if self.adapter is not None else None,
            "base": base,
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then info; each as found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def count_of(number: int, noun: str) -> str:
    """ "1 module", "2 modules"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def some_of(names: Iterable[str], shown: int = 3) -> str:
    """A few quoted names and how many there are besides: “a”, “b” and 5 more."""
    listed = list(names)
    quoted = ", ".join(f"“{name[:_LONGEST_NAME]}”" for name in listed[:shown])
    return quoted if len(listed) <= shown else f"{quoted} and {len(listed) - shown} more"
