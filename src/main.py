"""The command line: parse, wire the parts together, start one of them.

What only some commands need is imported by those: ``--help`` and the app's first screen must not wait for it.
"""

import sys
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from errors import PlaygroundError, SettingsError
from helpers import command_output as output
from helpers.app_paths import assets_dir
from helpers.command_options import (
    DataDir,
    Demo,
    Merge,
    Strength,
    WorkspaceChoice,
    in_workspace,
    with_setting_options,
)
from helpers.local_inference import DEFAULT_PRESET, Dtype, FinishReason, GenerationRequest, Quantization

if TYPE_CHECKING:
    from helpers.workspace import Workspace

INTERRUPTED = 130
NO_LIMIT = sys.maxsize

app = typer.Typer(
    help="Chat with your fine-tune on your own machine and see whether it worked. Without a command, the app opens.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs = typer.Typer(help="List, add and show training runs.", no_args_is_help=True)
datasets = typer.Typer(help="List, add, rename and remove datasets.", no_args_is_help=True)
app.add_typer(runs, name="runs")
app.add_typer(datasets, name="datasets")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder with adapter_config.json.")]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Its name in the list.")]
BaseModel = Annotated[
    str | None, typer.Option(metavar="M", help="A Hugging Face id or a folder, instead of the recorded one.")
]


def print_version(wanted: bool) -> None:
    """The installed version, on stdout."""
    if wanted:
        print(f"adapter-playground {installed_version('adapter-playground')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def open_app(
    ctx: typer.Context,
    demo: Demo = False,
    web: Annotated[bool, typer.Option("--web", help="Open in the browser instead of a window.")] = False,
    host: Annotated[
        str | None, typer.Option(metavar="H", help="Serve the browser view on this address. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="P", min=0, max=65535, help="Serve the browser view on this port.")
    ] = None,
    data_dir: DataDir = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Open the app, unless a command follows."""
    ctx.obj = WorkspaceChoice(demo, data_dir)
    if ctx.invoked_subcommand is not None:
        if web or host is not None or port is not None:
            raise typer.BadParameter("--web, --host and --port belong to the app, not to a command.")
        return
    from helpers.local_inference.worker import ModelProcess
    from helpers.workspace import open_workspace
    from ui.app_services import AppServices
    from ui.app_shell import make_app
    from ui.launch import run_app

    with open_workspace(data_dir, demo=demo) as workspace, closing(ModelProcess()) as model_process:
        services = AppServices(workspace.database, workspace.folder, model_process, workspace.demo)
        run_app(
            lambda quit: make_app(replace(services, quit=quit)),
            assets_dir=assets_dir(),
            web=web,
            host=host,
            port=port,
        )


@runs.command("list")
@in_workspace
def list_runs(workspace: "Workspace", as_json: bool) -> None:
    """List the training runs, newest first."""
    from db import training_runs
    from helpers.run_upkeep import bring_up_to_date

    bring_up_to_date(workspace.database)
    with workspace.database.read_scope() as session:
        output.print_runs(training_runs.list_recent(session, limit=NO_LIMIT), as_json=as_json)


@runs.command("add")
@in_workspace
def add_run(folder: Folder, workspace: "Workspace", as_json: bool, name: Name = None) -> None:
    """Add one adapter folder as a run."""
    from helpers.run_import import add_adapter_folder

    output.print_runs([add_adapter_folder(workspace.database, folder, name)], as_json=as_json)


@runs.command("scan")
@in_workspace
def scan_runs(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Searched with everything below it; or FineFoundry's finefoundry.db."),
    ],
    workspace: "Workspace",
    as_json: bool,
) -> None:
    """Search a folder for adapters and add those that are not in the list."""
    from helpers.command_scan import scan

    scanned = scan(workspace.database, folder)
    output.note_skipped(scanned.skipped)
    output.print_runs(scanned.new, as_json=as_json, empty="No new adapters found.")
    if scanned.stopped:
        raise typer.Exit(INTERRUPTED)


@runs.command("show")
@in_workspace
def show_run(
    run: Annotated[str, typer.Argument(metavar="ID", help="The number or name of a run.")],
    workspace: "Workspace",
    as_json: bool,
) -> None:
    """Show one run with its settings, checkpoints, numbers and what happened to it."""
    from db import run_records, training_runs
    from helpers.run_upkeep import bring_up_to_date

    bring_up_to_date(workspace.database)
    with workspace.database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, run)
        checkpoints = run_records.list_checkpoints(session, found.id)
        metrics = run_records.list_metrics(session, found.id)
        events = run_records.list_events(session, found.id, limit=NO_LIMIT)
        output.print_run(found, checkpoints, metrics, events, as_json=as_json)


@datasets.command("list")
@in_workspace
def list_datasets(workspace: "Workspace", as_json: bool) -> None:
    """List the datasets, newest first."""
    from db.datasets import list_all

    with workspace.database.read_scope() as session:
        output.print_datasets(list_all(session), as_json=as_json)


@datasets.command("add")
@in_workspace
def add_dataset(
    source: Annotated[
        str, typer.Argument(help="A JSON, JSONL, CSV or Parquet file, a folder, or owner/name on Hugging Face.")
    ],
    workspace: "Workspace",
    as_json: bool,
    name: Name = None,
    prompt_column: Annotated[str | None, typer.Option(help="The column with the prompt.")] = None,
    response_column: Annotated[str | None, typer.Option(help="The column with the answer.")] = None,
    system_column: Annotated[str | None, typer.Option(help="The column with the system prompt.")] = None,
    split: Annotated[str | None, typer.Option(help="Which split, where there are several. Default: train.")] = None,
    hf_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="A Hugging Face access token, used once. Better: set HF_TOKEN.")
    ] = None,
) -> None:
    """Add a file, a folder or a Hugging Face dataset."""
    from helpers import command_datasets

    columns = (prompt_column, response_column, system_column)
    try:
        imported = command_datasets.add_dataset(
            workspace.database, source, name, columns, split=split, hub_token=hf_key
        )
    except KeyboardInterrupt:
        output.note("Stopped; nothing of the dataset is kept.")
        raise typer.Exit(INTERRUPTED) from None
    output.note_skipped(imported.skipped.items())
    output.print_datasets([imported.dataset], as_json=as_json)


@datasets.command("rename")
@in_workspace
def rename_dataset(
    dataset: Annotated[str, typer.Argument(help="Its name or number.")],
    name: Annotated[str, typer.Argument(help="The new name.")],
    workspace: "Workspace",
    as_json: bool,
) -> None:
    """Give a dataset another name."""
    from db import datasets as saved

    with workspace.database.session_scope() as session:
        renamed = saved.rename(session, saved.find_by_name_or_id_or_raise(session, dataset).id, name)
    output.print_datasets([renamed], as_json=as_json)


@datasets.command("remove")
@in_workspace
def remove_dataset(
    dataset: Annotated[str, typer.Argument(help="Its name or number.")], workspace: "Workspace", as_json: bool
) -> None:
    """Remove a dataset; the file it came from stays. Prints what was removed."""
    from db.datasets import find_by_name_or_id_or_raise
    from helpers import dataset_import

    with workspace.database.read_scope() as session:
        found = find_by_name_or_id_or_raise(session, dataset)
    dataset_import.remove_dataset(workspace.database, found.id)
    output.print_datasets([found], as_json=as_json)


@app.command()
@in_workspace
def check(
    adapter: Folder,
    workspace: "Workspace",
    as_json: bool,
    base_model: BaseModel = None,
    live: Annotated[bool, typer.Option("--live", help="Also load it and measure its effect.")] = False,
) -> None:
    """Examine an adapter folder, with --live also what it does to its base model."""
    from helpers.adapter_live_check import check_adapter
    from helpers.model_choice import base_model_locations

    with workspace.database.read_scope() as session:
        locations = base_model_locations(session)
    report = check_adapter(adapter, base_model, locations, live=live)
    output.print_report(report, as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
@in_workspace
@with_setting_options
def generate(
    *,
    run: Annotated[str | None, typer.Option(metavar="ID", help="The number or name of a run, or “latest”.")] = None,
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="An adapter folder.")] = None,
    no_adapter: Annotated[bool, typer.Option("--no-adapter", help="Let the base model answer alone.")] = False,
    base_model: BaseModel = None,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The prompt; “-” reads it from standard input.")],
    system_prompt: Annotated[str, typer.Option(metavar="TEXT", help="Instructions before the prompt.")] = "",
    preset: Annotated[
        str, typer.Option(metavar="P", help="Deterministic, Balanced, Creative, or one of your own.")
    ] = DEFAULT_PRESET,
    dtype: Annotated[Dtype, typer.Option(help="The numbers to compute with.")] = Dtype.AUTO,
    quantization: Annotated[Quantization, typer.Option(help="How the weights are held.")] = Quantization.AUTO,
    strength: Strength = 1.0,
    merge: Merge = False,
    changes: dict[str, Any],
    workspace: "Workspace",
    as_json: bool,
) -> None:
    """Answer one prompt on standard output."""
    from helpers import command_generate as answering
    from helpers.model_choice import choose_model
    from helpers.run_upkeep import bring_up_to_date

    if run is not None:
        bring_up_to_date(workspace.database)
    with workspace.database.read_scope() as session:
        settings = answering.settings_for(session, preset, changes)
        model = choose_model(session, run=run, adapter=adapter, use_adapter=not no_adapter, base_model=base_model)
    messages = answering.messages_for(answering.read_prompt(prompt), system_prompt)
    model = replace(model, dtype=dtype, quantization=quantization, adapter_strength=strength, merge_adapter=merge)
    request = GenerationRequest(model, messages, settings)
    if answering.print_answer(request, as_json=as_json).finish_reason is FinishReason.STOPPED:
        raise typer.Exit(INTERRUPTED)


def run() -> None:
    """The command ``adapter-playground``. Exit code 0 = done, 1 = failed with a message, 2 = wrong usage."""
    output.use_safe_encoding()
    try:
        app()
    except PlaygroundError as error:
        output.print_error(error)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


if __name__ == "__main__":
    run()
