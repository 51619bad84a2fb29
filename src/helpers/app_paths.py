"""Every folder and file the app uses. Nothing is created on import."""

import os
from pathlib import Path

import platformdirs

APP_NAME = "adapter-playground"
DATA_DIR_VARIABLE = "ADAPTER_PLAYGROUND_DATA"


def data_dir(chosen: Path | None = None) -> Path:
    """The folder of one workspace: ``chosen``, else $ADAPTER_PLAYGROUND_DATA, else the user's data folder."""
    if chosen is not None:
        return chosen.expanduser().resolve()
    from_environment = os.environ.get(DATA_DIR_VARIABLE)
    if from_environment:
        return Path(from_environment).expanduser().resolve()
    return platformdirs.user_data_path(APP_NAME, appauthor=False)


def demo_data_dir(chosen: Path | None = None) -> Path:
    """The demo's own workspace, a folder in the user's, so that a demo never touches real runs."""
    return data_dir(chosen) / "demo"


def database_path(workspace: Path) -> Path:
    """The SQLite file of a workspace folder."""
    return workspace / "playground.db"


def log_path(workspace: Path) -> Path:
    """The rotating log file of a workspace folder."""
    return workspace / "logs" / "playground.log"


def assets_dir() -> Path:
    """Icon, fonts and demo assets; the same place relative to the code in a checkout and in a wheel."""
    return Path(__file__).resolve().parent.parent / "assets"


def demo_assets_dir() -> Path:
    """The shipped demo model and its adapters."""
    return assets_dir() / "demo"
