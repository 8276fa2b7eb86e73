"""Opens the SQLite files in which this installation's processes keep what they share.

API keys, rate limits and asynchronous requests are such files. What is in them is said where they
are used.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Literal

# Of an extended code the part that says of which kind it is.
_PRIMARY = 0xFF


def open_shared(
    path: Path,
    schema: str,
    *,
    wait_seconds: float,
    synchronous: Literal["off", "normal", "full"] = "full",
) -> sqlite3.Connection:
    """A connection that threads may share, each of its statements a transaction of its own.

    The file is made where it is not there, in a folder for its owner alone. schema: statements
    that do nothing the second time. wait_seconds: for other processes that write. synchronous: what
    a power cut may lose, in SQLite's words; what it says as full is kept. Raises sqlite3.Error.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(
        path, timeout=wait_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        # The journal mode is a property of the file, and whoever changes it needs the file alone:
        # of processes that start together it is enough that one gets it set.
        with suppress(sqlite3.OperationalError):
            database.execute("pragma journal_mode = wal")
        database.execute(f"pragma synchronous = {synchronous}")
        database.executescript(schema)
    except BaseException:
        database.close()
        raise
    return database


def is_broken(error: Exception) -> bool:
    """Whether what is there is no database, or none any more; not where it cannot be had now."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def file_identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that took its name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
