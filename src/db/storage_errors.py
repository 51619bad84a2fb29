"""What SQLite reports, in the user's words."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

from errors import (
    DamagedDatabaseError,
    DiskFullError,
    LockedDatabaseError,
    NewerDatabaseError,
    ReadOnlyStorageError,
    StorageError,
)

# SQLite needs 32 KiB for the shared-memory file beside the database, and some pages for a commit.
_ROOM_NEEDED = 64 * 1024
_PRIMARY_CODE = 0xFF


def newer(path: Path) -> NewerDatabaseError:
    """The file has a version that this app does not know."""
    return NewerDatabaseError(
        f"The workspace {path} was written by a newer version of Adapter Playground.",
        "Update the app, or choose another workspace folder with --data-dir. The file is left as it is.",
    )


def damaged(path: Path) -> DamagedDatabaseError:
    """The file is no SQLite database, or not a whole one."""
    return DamagedDatabaseError(
        f"The workspace file {path} is damaged or is not a database.",
        "It is left as it is. Put a backup copy in its place, or move it away: a new, empty one is then made.",
    )


def not_ours(path: Path) -> StorageError:
    """A SQLite file with tables of another program."""
    return StorageError(
        f"{path} is a database of another program.",
        "Choose another workspace folder with --data-dir. The file is left as it is.",
    )


def not_writable(path: Path) -> ReadOnlyStorageError:
    """The file or its folder may only be read."""
    return ReadOnlyStorageError(
        f"{path} cannot be written.",
        "Allow writing there, or choose another workspace folder with --data-dir.",
    )


def no_room(path: Path) -> DiskFullError:
    """The disk of the file is full."""
    return DiskFullError(
        f"There is no room left for the workspace {path}.",
        "Free some space on this disk and try again. What was saved before is kept.",
    )


def file_not_usable(path: Path, error: OSError) -> StorageError:
    """What the operating system said about the file or its folder."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return not_writable(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_room(path)
    return StorageError(
        f"The workspace {path} cannot be used: {error.strerror}.", "Choose another workspace folder with --data-dir."
    )


def in_the_users_words(error: sqlite3.Error, path: Path) -> StorageError:
    """The error of ours that says what SQLite's means for the file ``path``."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedDatabaseError(
            f"Another program is writing to the workspace {path} and does not let go of it.",
            "Wait until it is done or close it, then try again.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM) or (
        code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and not may_write(path)
    ):
        return not_writable(path)
    # A full disk shows as an I/O error too, when there is no room for the files beside the database.
    if code == sqlite3.SQLITE_FULL or (
        code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and _free_room(path) < _ROOM_NEEDED
    ):
        return no_room(path)
    return StorageError(
        f"The workspace {path} cannot be used: {error}.",
        "Try again; if it happens again, choose another workspace folder with --data-dir.",
    )


def may_write(path: Path) -> bool:
    """True where both the file (if there is one) and its folder, which takes the journal, can be written."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _free_room(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0
