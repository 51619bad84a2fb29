"""Options that several commands share: which workspace, JSON or not, and one option per generation setting."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.local_inference import GenerationSettings, setting_range

Demo = Annotated[bool, typer.Option("--demo", help="Use the demo workspace, which works offline at once.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="The folder of the workspace, instead of your own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

Strength = Annotated[
    float,
    typer.Option(
        metavar="S",
        min=0,
        max=2,
        help="How strongly the adapter acts: 0 = not at all, 1 = as trained. From 0 to 2.",
    ),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Compute the adapter into a copy of the weights, which answers faster.")
]

Command = Callable[..., None]


@dataclass(frozen=True)
class WorkspaceChoice:
    """The workspace options before the command; the same options after it win."""

    demo: bool
    data_dir: Path | None


def in_workspace(command: Command) -> Command:
    """Call ``command`` with ``workspace`` open and ``as_json``, from the options --demo, --data-dir and --json."""
    options = (
        _parameter("ctx", typer.Context),
        _parameter("demo", Demo, default=False),
        _parameter("data_dir", DataDir, default=None),
        _parameter("json", AsJson, default=False),
    )

    def call(ctx: typer.Context, demo: bool, data_dir: Path | None, json: bool, **others: Any) -> None:
        # Only now: --help need not wait for the database library.
        from helpers.workspace import open_workspace

        before: WorkspaceChoice = ctx.obj
        with open_workspace(data_dir or before.data_dir, demo=demo or before.demo) as workspace:
            command(**others, workspace=workspace, as_json=json)

    return _with_parameters(command, call, options, instead_of=("workspace", "as_json"))


def with_setting_options(command: Command) -> Command:
    """Call ``command`` with ``changes``, the generation settings that were given as options, by name."""
    names = tuple(GenerationSettings.model_fields)

    def call(**given: Any) -> None:
        settings = {name: given.pop(name) for name in names}
        # A repeatable option that was not given is an empty list.
        changes = {name: value for name, value in settings.items() if value not in (None, [])}
        command(**given, changes=changes)

    return _with_parameters(command, call, [_setting_option(name) for name in names], instead_of=("changes",))


def _setting_option(name: str) -> inspect.Parameter:
    field, words = GenerationSettings.model_fields[name], setting_range(name)
    kind: Any = field.annotation
    explanation = words.explanation
    if words.minimum is not None:
        explanation += f" Range: {words.minimum:g} to {words.maximum:.10g}."
    if kind == tuple[str, ...]:
        kind = list[str]
        explanation += " May be given several times."
    option = typer.Option(
        f"--{name.replace('_', '-')}", help=explanation, show_default=False, rich_help_panel="Generation settings"
    )
    return _parameter(name, Annotated[kind | None, option], default=None)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_parameters(
    command: Command, call: Command, added: Sequence[inspect.Parameter], *, instead_of: Sequence[str]
) -> Command:
    """``call`` under the name and help of ``command``, as Typer reads them, with other parameters."""
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in instead_of
    ]

    @wraps(command)
    def decorated(**given: Any) -> None:
        call(**given)

    decorated.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    decorated.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return decorated
