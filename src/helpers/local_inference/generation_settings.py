"""How an answer is sampled: one frozen, validated set of values for the app, the command line, batch and API.

The fields carry their range, label and one-line explanation, so that forms and command lines are built from them
and a range is written down once.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from errors import SettingsError

MAX_SEED = 2**32 - 1
_FEWEST_CANDIDATES = 2
_CONTRADICTION = "Two settings contradict each other"


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
    typical_p: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Typical-p",
        description="Sample only from tokens about as surprising as expected, up to this share. 1 = off.",
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        title="Frequency penalty",
        description="Makes a token less probable each time the answer uses it; negative values favour it. 0 = off.",
    )
    presence_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        title="Presence penalty",
        description="Makes every token that the answer has used less probable, once. 0 = off.",
    )
    dynatemp_range: float = Field(
        0.0,
        ge=0,
        le=2,
        title="Dynamic temperature range",
        description="Lowers the temperature by up to this where the model is sure, else raises it. 0 = off.",
    )
    dynatemp_exponent: float = Field(
        1.0,
        ge=0.1,
        le=10,
        title="Dynamic temperature exponent",
        description="Above 1, only great uncertainty raises the dynamic temperature; below 1, little is enough.",
    )
    no_repeat_ngram_size: int = Field(
        0,
        ge=0,
        le=100,
        title="No-repeat n-gram",
        description="No sequence of this many tokens comes twice in prompt and answer. 0 = off.",
    )
    penalty_alpha: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Contrastive search",
        description="Prefers tokens that say something new; needs temperature 0 and top-k of 2 or more. 0 = off.",
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

    @model_validator(mode="after")
    def _a_combination_that_works(self) -> Self:
        self.require_combination()
        return self

    def require_combination(self) -> None:
        """Raises SettingsError where two settings contradict each other."""
        if not self.penalty_alpha:
            return
        if self.top_k < _FEWEST_CANDIDATES:
            raise SettingsError(
                f"Contrastive search (penalty_alpha {self.penalty_alpha:g}) compares candidates, "
                f"and top-k is {self.top_k}.",
                "Set top-k to 2 or more (4 to 8 is usual), or penalty_alpha to 0.",
                _CONTRADICTION,
            )
        if not self.greedy:
            raise SettingsError(
                f"Contrastive search (penalty_alpha {self.penalty_alpha:g}) does not sample, "
                f"and the temperature is {self.temperature:g}.",
                "Set the temperature to 0, or penalty_alpha to 0.",
                _CONTRADICTION,
            )

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
    """Settings for a Python script: each can be assigned. Raises SettingsError for a value out of range.

    Whether the values go together is checked by :meth:`frozen`, so that they can be assigned in any order.
    """

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    def require_combination(self) -> None:
        """Nothing yet: half of a combination may still be missing."""

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
    bounds = _bounds(name)
    return SettingRange(
        name,
        field.title or name,
        field.description or "",
        bounds.get("ge", bounds.get("gt")),
        bounds.get("le"),
    )


def _bounds(name: str) -> dict[str, float]:
    """What the field's constraints ``ge``, ``gt`` and ``le`` say, as far as there are such."""
    return {
        key: getattr(constraint, key)
        for constraint in GenerationSettings.model_fields[name].metadata
        for key in ("ge", "gt", "le")
        if hasattr(constraint, key)
    }


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
    kind = "a number" if GenerationSettings.model_fields[name].annotation is float else "a whole number"
    between = f"above {low} and at most {high}" if "gt" in _bounds(name) else f"from {low} to {high}"
    return SettingsError(
        f"{known_range.label} is {first['input']!r}; it must be {kind} {between}.", known_range.explanation
    )


DEFAULT_PRESET = "Balanced"
BUILT_IN_PRESETS: Mapping[str, GenerationSettings] = MappingProxyType(
    {
        "Deterministic": GenerationSettings(temperature=0, max_new_tokens=128, repetition_penalty=1.1),
        "Balanced": GenerationSettings(temperature=0.7, max_new_tokens=256, repetition_penalty=1.15),
        "Creative": GenerationSettings(temperature=1.1, max_new_tokens=512, repetition_penalty=1.1),
    }
)
