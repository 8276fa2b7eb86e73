"""What the operating system may refuse a load: room on the disk, memory, or its going on.

None of it says anything of a landing file, so none of it may put one into quarantine.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# DuckDB tells errors of the system as texts; the last is of its own limit for temporary files.
_NO_ROOM_TEXTS = (*(os.strerror(number) for number in _NO_ROOM), "max_temp_directory_size")


def is_without_room(error: BaseException) -> bool:
    """Whether it failed because the disk is full, or a file or a user may grow no more."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    return isinstance(error, duckdb.Error) and any(text in str(error) for text in _NO_ROOM_TEXTS)


def system_refuses(error: BaseException) -> bool:
    """Whether it is the system that failed, not what was read."""
    return is_without_room(error) or isinstance(
        error, duckdb.InterruptException | duckdb.OutOfMemoryException | duckdb.FatalException
    )


def no_room(folder: Path) -> UserError:
    """What to tell whose disk is full."""
    return UserError(
        f"The disk of {folder} is full, or a limit on the size of files is reached: make room and "
        "run again; what was finished is kept, and nothing is half done."
    )


@contextmanager
def refusals_of_the_system(settings: Settings) -> Iterator[None]:
    """Tells a full disk as a UserError, and Ctrl-C during a statement as KeyboardInterrupt."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if is_without_room(error):
            raise no_room(settings.home.absolute()) from None
        raise
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise
