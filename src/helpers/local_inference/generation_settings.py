"""How an answer is sampled: one frozen, validated set of values for the app, the command line, batch and API.

The fields carry their range, label and one-line explanation, so that forms and command lines are built from them
and a range is written down once.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from errors import SettingsError

MAX_SEED = 2**32 - 1


class GenerationSettings(BaseModel):
    """Sampling settings of one generation. Build with :meth:`create` to get errors in the user's words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(
        0.7,
        ge=0,
        le=2,
        title="Temperature",
        description="0 always takes the most probable token; higher varies more.",
    )
    max_new_tokens: int = Field(
        256,
        ge=1,
        le=131072,
        title="Max new tokens",
        description="The answer ends here at the latest; the model's context bounds it too.",
    )
    repetition_penalty: float = Field(
        1.0,
        ge=1,
        le=2,
        title="Repetition penalty",
        description="Above 1, tokens already in the prompt or answer become less probable.",
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Top-p",
        description="Sample only from the most probable tokens that together reach this share. 1 = off.",
    )
    top_k: int = Field(
        0,
        ge=0,
        le=1000,
        title="Top-k",
        description="Sample only from this many most probable tokens. 0 = off.",
    )
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Min-p",
        description="Drop tokens less probable than this share of the most probable one. 0 = off.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        title="Seed",
        description="The same request with the same seed gives the same answer. Empty = a new one each time.",
    )
    stop: tuple[str, ...] = Field(
        (),
        title="Stop sequences",
        description="The answer ends before any of these texts; they are not shown.",
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _a_single_text_is_one_stop(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not text for text in value):
            raise ValueError("a stop sequence must not be empty")
        return value

    @classmethod
    def create(cls, **values: Any) -> Self:
        """Validated settings; raises SettingsError naming the setting, its value and its range."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise _in_the_users_words(error) from None

    def with_changes(self, **changes: Any) -> Self:
        """A validated copy; raises SettingsError."""
        return self.create(**{**self.model_dump(), **changes})

    @property
    def greedy(self) -> bool:
        """True where the most probable token is taken and the seed has no effect."""
        return self.temperature == 0

    def frozen(self) -> "GenerationSettings":
        """These settings as a value that cannot change any more."""
        return GenerationSettings.create(**self.model_dump())

    def with_seed(self) -> Self:
        """The same settings with a seed: drawn now where none was given, so that it can be recorded."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})


class EditableGenerationSettings(GenerationSettings):
    """Settings for a Python script: each can be assigned. Raises SettingsError for a value out of range."""

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _in_the_users_words(error) from None


@dataclass(frozen=True)
class SettingRange:
    """What a form needs to know of a number: inclusive bounds (None = none), label, explanation."""

    name: str
    label: str
    explanation: str
    minimum: float | None
    maximum: float | None

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bounds there are, lowest first."""
        return tuple(bound for bound in (self.minimum, self.maximum) if bound is not None)


def setting_range(name: str) -> SettingRange:
    """The range, label and explanation of the setting ``name``."""
    field = GenerationSettings.model_fields[name]
    bounds: dict[str, float] = {}
    for constraint in field.metadata:
        for key in ("ge", "gt", "le"):
            if hasattr(constraint, key):
                bounds[key] = getattr(constraint, key)
    return SettingRange(
        name,
        field.title or name,
        field.description or "",
        bounds.get("ge", bounds.get("gt")),
        bounds.get("le"),
    )


def _in_the_users_words(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if name not in GenerationSettings.model_fields:
        known = ", ".join(GenerationSettings.model_fields)
        return SettingsError(f"There is no setting called {name!r}.", f"Known settings: {known}.")
    known_range = setting_range(name)
    if known_range.minimum is None or known_range.maximum is None:
        return SettingsError(f"{known_range.label}: {first['msg']}.", known_range.explanation)
    low, high = (f"{bound:.0f}" if float(bound).is_integer() else f"{bound:g}" for bound in known_range.bounds)
    kind = "a whole number" if name in _WHOLE_NUMBERS else "a number"
    between = f"above {low} and at most {high}" if name == "top_p" else f"from {low} to {high}"
    return SettingsError(
        f"{known_range.label} is {first['input']!r}; it must be {kind} {between}.", known_range.explanation
    )


_WHOLE_NUMBERS = {"max_new_tokens", "top_k", "seed"}

DEFAULT_PRESET = "Balanced"
BUILT_IN_PRESETS: Mapping[str, GenerationSettings] = MappingProxyType(
    {
        "Deterministic": GenerationSettings(temperature=0, max_new_tokens=128, repetition_penalty=1.1),
        "Balanced": GenerationSettings(temperature=0.7, max_new_tokens=256, repetition_penalty=1.15),
        "Creative": GenerationSettings(temperature=1.1, max_new_tokens=512, repetition_penalty=1.1),
    }
)
