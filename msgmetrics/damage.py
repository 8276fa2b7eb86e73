"""How it is told that the published file is damaged, to a user and in a log.

Nothing is mended here: `msgmetrics run --republish` writes the file anew from the warehouse.
"""

from pathlib import Path

import duckdb

from msgmetrics.errors import UserError

REMEDY = "make it anew with `msgmetrics run --republish`"
# A block whose checksum is wrong; a header that is none.
_TOLD_BY_DUCKDB = ("Corrupt database file", "not a valid DuckDB database file")


def is_damaged(error: BaseException) -> bool:
    """Whether the error is about what a file of DuckDB holds, not about a question or the disk."""
    return isinstance(error, duckdb.Error) and any(text in str(error) for text in _TOLD_BY_DUCKDB)


def damaged(path: Path, error: duckdb.Error) -> UserError:
    """The sentence for a user to whom the published file at this path gave this error."""
    reason = str(error).splitlines()[0].rstrip(".")
    return UserError(f"The published file {path} cannot be read ({reason}): {REMEDY}.")
