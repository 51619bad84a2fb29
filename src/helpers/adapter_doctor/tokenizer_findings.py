"""Tokenizer and chat template: where they come from, and whether they speak the base's vocabulary."""

import filecmp
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.adapter_doctor.bounded_json import read_json
from helpers.adapter_doctor.findings import Finding, error, info, warning

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_MOST_BYTES = 256 << 20
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class TokenizerPlaces:
    """Where a tokenizer may come from, in the order it is looked for; None = no such folder."""

    adapter: Path
    run: Path | None
    base: Path | None


def has_tokenizer(folder: Path | None) -> bool:
    """True where ``folder`` holds a tokenizer."""
    return folder is not None and any(_is_there(folder / name) for name in _TOKENIZER_FILES)


def has_chat_template(folder: Path | None) -> bool:
    """True where ``folder`` holds a chat template, in its own file or in tokenizer_config.json."""
    if folder is None:
        return False
    if any(_is_there(folder / name) for name in _TEMPLATE_FILES):
        return True
    try:
        settings = read_json(folder / "tokenizer_config.json", _MOST_BYTES)
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def check_tokenizer(places: TokenizerPlaces, embedding_rows: int | None, saved_rows: int | None) -> list[Finding]:
    """Findings on the tokenizer and the template.

    ``embedding_rows``: vocabulary rows of the base, ``saved_rows``: of the adapter; None = not known, or none saved.
    """
    findings = _template(places)
    own = next((folder for folder in (places.adapter, places.run) if has_tokenizer(folder)), None)
    if own is not None:
        return findings + _vocabulary(own, places.base, saved_rows or embedding_rows, saved_rows is not None)
    if places.base is not None and not has_tokenizer(places.base):
        message = f"Neither the adapter nor the base model in “{places.base}” has a tokenizer: no text can be read."
        hint = "Copy tokenizer.json and tokenizer_config.json of the base model into its folder."
        return [*findings, error("tokenizer_missing", message, hint)]
    message = "The adapter folder has no tokenizer; the base model's is used."
    hint = "Fine unless tokens were added for the training: then copy the tokenizer from the training output."
    return [*findings, info("tokenizer_missing", message, hint)]


def _template(places: TokenizerPlaces) -> list[Finding]:
    if any(has_chat_template(folder) for folder in (places.adapter, places.run)):
        return []
    if has_chat_template(places.base):
        message = "The adapter folder has no chat template; the base model's is used."
        return [info("template_missing", message, "Fine if the training used the base model's template.")]
    if places.base is None:
        message = "The adapter folder has no chat template; the base model's is used, if it has one."
        return [info("template_missing", message, "Fine if the training used the base model's template.")]
    message = (
        "Neither the adapter nor the base model has a chat template: a plain “User: … Assistant: …” form is used."
    )
    hint = (
        "If the training used a template, save it with the tokenizer in the adapter's folder (chat_template.jinja)."
    )
    return [warning("template_missing", message, hint)]


def _vocabulary(own: Path, base: Path | None, rows: int | None, rows_are_saved: bool) -> list[Finding]:
    vocabulary, damage = _read(own / "tokenizer.json")
    if damage:
        message = f"tokenizer.json in “{own}” is damaged: {damage}."
        return [error("tokenizer_damaged", message, "Copy it again, or delete it to use the base model's tokenizer.")]
    if vocabulary is None:
        return []
    size = max(vocabulary.values(), default=-1) + 1
    hint = "Use the tokenizer the adapter was trained with: copy it from the training output, or the base model's."
    if rows is not None and size > rows:
        message = (
            f"The adapter's tokenizer has {size:,} tokens, but the model has embeddings for {rows:,}: "
            f"a prompt with one of the other {size - rows:,} cannot be answered."
        )
        return [warning("tokenizer_vocabulary_differs", message, hint)]
    if base is None or _same_file(own / "tokenizer.json", base / "tokenizer.json"):
        return []
    base_vocabulary, _ = _read(base / "tokenizer.json")
    if base_vocabulary is None:
        return []
    base_size = max(base_vocabulary.values(), default=-1) + 1
    if size != base_size and not rows_are_saved:
        message = f"The adapter's tokenizer has {size:,} tokens, the base model's has {base_size:,}."
        return [warning("tokenizer_vocabulary_differs", message, hint)]
    moved = sum(vocabulary.get(token) != number for token, number in base_vocabulary.items())
    if moved:
        message = (
            f"The adapter's tokenizer numbers {moved:,} of the base model's {len(base_vocabulary):,} tokens "
            "otherwise: the model would read other words than were typed."
        )
        return [warning("tokenizer_vocabulary_differs", message, hint)]
    return []


def _read(path: Path) -> tuple[dict[str, int] | None, str | None]:
    """Token numbers by token, and what is wrong with the file; None = there is no such file, or nothing is."""
    try:
        document = read_json(path, _MOST_BYTES)
    except FileNotFoundError:
        return None, None
    except OSError as failure:
        return None, failure.strerror or str(failure)
    except ValueError as failure:
        return None, str(failure)
    model = document.get("model") if isinstance(document, dict) else None
    table = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(table, list):
        # Unigram: [[token, score], ...], numbered by place.
        table = {str(entry[0]): place for place, entry in enumerate(table) if isinstance(entry, list) and entry}
    if not isinstance(table, dict) or not all(type(number) is int for number in table.values()):
        return None, "it holds no vocabulary"
    return {**table, **_added(document.get("added_tokens"))}, None


def _added(tokens: Any) -> dict[str, int]:
    listed = tokens if isinstance(tokens, list) else []
    return {
        token["content"]: token["id"]
        for token in listed
        if isinstance(token, dict) and isinstance(token.get("content"), str) and type(token.get("id")) is int
    }


def _same_file(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
