"""The published file: when it is brought forward, when it is made anew, and the stable name.

Two files take turns. The one that no reader is shown any more is brought forward by what changed
since it was published, out of sight, and then the stable name, a symbolic link, is pointed to it in
one step: no reader ever sees a part, and one that has the old file open keeps it. A file that a
reader still holds is left alone, and a copy of the current one is brought forward instead. The last
gate has it brought forward before it judges, for what it judges are the rows that were written.
Where the changes do not lead from what is there to what is now, the file is made anew from the
warehouse.

How the rows of a file are written lives in `published_rows.py`, what its tables are in
`msgmetrics/published_tables.py`; when to publish is Dagster's affair (`assets/published.py`).
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from ulid import ULID

from msgmetrics.published_tables import SNAPSHOT_ID
from msgmetrics.settings import Settings
from orchestration import published_rows
from orchestration.loading.system import is_without_room, no_room
from orchestration.progress import remark
from orchestration.published_rows import Snapshot

Progress = Callable[[int, int], None]
# The name under which the file that readers are shown is attached meanwhile.
CURRENT = "current_file"
# How a file is attached that is being written. Rows are held in smaller groups than DuckDB's own:
# those that come last in each table are written anew with all of their group.
_WRITTEN = "(recovery_mode no_wal_writes, row_group_size 30720)"
# How the name of a file ends that the gate has had brought forward, and that nobody is shown yet.
_PREPARED = ".prepared"
# A way to a file that can be brought forward; what it says of itself, None where there is none.
Take = Callable[[Settings, set[str], Path, Path, dict[str, Any]], dict[str, Any] | None]


def publish(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    now: datetime,
    checks_passed: int,
    checks_warned: int,
    anew: bool = False,
    progress: Progress = lambda done, total: None,
) -> Snapshot:
    """Publishes what the warehouse holds now as a new snapshot, and drops files past keeping.

    The connection is one to the warehouse; its writer must be at rest. anew: write every table from
    the warehouse, in reading order, whatever is there. Raises UserError where the disk is full.
    """
    current = _current(connection, settings)
    snapshot = _next_snapshot(connection, settings, now, current, checks_passed, checks_warned)
    with _building(settings, snapshot) as building:
        ways = (partial(_take_prepared, snapshot.batch_id), _take_standby, _copy_current)
        if (
            anew
            or current is None
            or not _forward(connection, settings, building, snapshot, current, ways, progress)
        ):
            _anew(connection, settings, building, snapshot, current, progress)
        sync(building)
        published_rows.remember_made(connection, snapshot)
        finished = building.with_suffix(".duckdb")
        building.rename(finished)
    sync(settings.snapshots_dir)
    _point(settings.published_path, finished)
    try:
        drop_prepared(settings)
        _drop_old(
            settings,
            published_rows.made_here(connection),
            finished,
            snapshot.generation,
            snapshot.published_at.replace(tzinfo=UTC),
        )
        published_rows.forget_all_but(connection, [file.stem for file in _files(settings)])
    except OSError as error:
        remark(
            f"An old snapshot could not be removed ({error}); it is tried again at the next run."
        )
    return snapshot


def prepare(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    seen: published_rows.Seen,
    progress: Progress = lambda done, total: None,
) -> bool:
    """Brings the next file forward, out of sight, so that `publish` need but give it its name.

    seen: is shown every row in which a mart differs from what is published, and maybe others; so
    all of them can be judged before anybody sees one. Returns False, with nothing prepared, where
    no file can be brought forward. Raises UserError where the disk is full.
    """
    current = _current(connection, settings)
    # Of a file that an earlier pass prepared nobody knows what was thought.
    drop_prepared(settings)
    if current is None:
        return False
    # As early as can be, so that no earlier snapshot is given up that `publish` may want to keep.
    snapshot = _next_snapshot(connection, settings, datetime.min.replace(tzinfo=UTC), current)
    with _building(settings, snapshot) as building:
        ways = (_take_standby, _copy_current)
        if not _forward(connection, settings, building, snapshot, current, ways, progress, seen):
            return False
        published_rows.remember_made(connection, snapshot)
        building.rename(building.with_suffix(_PREPARED))
    return True


def _next_snapshot(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    now: datetime,
    current: tuple[Path, dict[str, Any]] | None,
    checks_passed: int = 0,
    checks_warned: int = 0,
) -> Snapshot:
    """What the warehouse holds as the snapshot that follows on the current one."""
    last = current and current[1]
    # A clock that went back makes neither ids nor times go back.
    if last is not None:
        now = max(now, (last["published_at"] + timedelta(milliseconds=1)).replace(tzinfo=UTC))
    return published_rows.describe(
        connection,
        settings,
        snapshot_id=_next_id(settings, now),
        now=now,
        checks_passed=checks_passed,
        checks_warned=checks_warned,
        last=last,
    )


@contextmanager
def _building(settings: Settings, snapshot: Snapshot) -> Iterator[Path]:
    """The name of a file that is being written; where that fails, nothing of it is left."""
    settings.snapshots_dir.mkdir(parents=True, exist_ok=True)
    for left_behind in settings.snapshots_dir.glob("*.building*"):
        left_behind.unlink()
    building = settings.snapshots_dir / f"{snapshot.snapshot_id}.building"
    try:
        yield building
    except BaseException as error:
        for part in settings.snapshots_dir.glob(f"{building.name}*"):
            part.unlink(missing_ok=True)
        if isinstance(error, duckdb.Error | OSError) and is_without_room(error):
            raise no_room(settings.snapshots_dir) from None
        raise


def drop_prepared(settings: Settings) -> None:
    """Removes what an earlier gate has prepared."""
    for path in settings.snapshots_dir.glob(f"*{_PREPARED}*"):
        path.unlink()


def _current(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> tuple[Path, dict[str, Any]] | None:
    """The file that readers are shown and what it says of itself; None where there is none, or none
    that can be read, or it was not made of this warehouse."""
    last = published_rows.published_snapshot(connection, settings)
    return None if last is None else (settings.published_path.resolve(), last)


def _next_id(settings: Settings, now: datetime) -> str:
    """An id that sorts behind all there are."""
    known = [file.stem for file in _files(settings)]
    while (fresh := str(ULID.from_datetime(now))) <= max(known, default=""):
        now += timedelta(milliseconds=1)
        newest = ULID.from_str(max(known)).datetime
        now = max(now, newest + timedelta(milliseconds=1))
    return fresh


def _files(settings: Settings) -> list[Path]:
    """The published files, from the oldest; ULIDs sort by time. Others are none of ours."""
    files = settings.snapshots_dir.glob("*.duckdb")
    return sorted(file for file in files if SNAPSHOT_ID.fullmatch(file.stem))


# --- ways to the next file --------------------------------------------------------------------


def _forward(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    building: Path,
    snapshot: Snapshot,
    current: tuple[Path, dict[str, Any]],
    ways: tuple[Take, ...],
    progress: Progress,
    seen: published_rows.Seen = lambda connection, mart, rows: None,
) -> bool:
    """Brings a file forward under the new name; whether there was one that could be.

    ways: in which to come to one, the quickest first.
    """
    path, last = current
    if last.get("generation") != snapshot.generation:
        return False
    made_here = published_rows.made_here(connection)
    for take in ways:
        base = take(settings, made_here, building, path, last)
        if base is None or not published_rows.can_be_brought_forward(connection, base["batch_id"]):
            continue
        try:
            with _attached(connection, building, path):
                published_rows.bring_forward(
                    connection, settings, base["batch_id"], snapshot, last, CURRENT, progress, seen
                )
            return True
        except duckdb.Error as error:
            if is_without_room(error):
                raise
            remark(f"A published file could not be brought forward ({str(error).splitlines()[0]}).")
            for part in settings.snapshots_dir.glob(f"{building.name}*"):
                part.unlink()
    return False


def _take_prepared(
    batch_id: int,
    settings: Settings,
    made_here: set[str],
    building: Path,
    current: Path,
    last: dict[str, Any],
) -> dict[str, Any] | None:
    """Renames the file that the gate has prepared of this batch; what it says of itself."""
    for path in settings.snapshots_dir.glob(f"*{_PREPARED}"):
        said = published_rows.said_by(path, made_here)
        if said is None or said.get("generation") != last["generation"]:
            continue
        # One of another batch no gate of this pass has seen: the warehouse was put back since.
        if said["batch_id"] == batch_id:
            path.rename(building)
            return said
    return None


def _take_standby(
    settings: Settings,
    made_here: set[str],
    building: Path,
    current: Path,
    last: dict[str, Any],
) -> dict[str, Any] | None:
    """Renames the newest file of the current one's kind that nobody reads; what it says of itself.

    From then on only those who had it open already could reach it, and there are none.
    """
    for path in reversed(_files(settings)):
        if path == current:
            continue
        said = published_rows.said_by(path, made_here)
        if said is None or said.get("generation") != last["generation"]:
            continue
        # One of a pass that was killed before it showed it may be ahead of what readers see.
        if said["batch_id"] > last["batch_id"] or not _is_free(path):
            continue
        path.rename(building)
        return said
    return None


def _copy_current(
    settings: Settings,
    made_here: set[str],
    building: Path,
    current: Path,
    last: dict[str, Any],
) -> dict[str, Any]:
    building.unlink(missing_ok=True)
    _clone(current, building)
    return last


def _anew(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    building: Path,
    snapshot: Snapshot,
    current: tuple[Path, dict[str, Any]] | None,
    progress: Progress,
) -> None:
    """Writes every table from the warehouse; earlier snapshots stay if the current file has what
    leads back to them."""
    building.unlink(missing_ok=True)
    earlier = None
    if current and current[1].get("generation") == snapshot.generation:
        earlier = current[0]
    last = current and current[1]
    try:
        with _attached(connection, building, earlier):
            replaced = CURRENT if earlier else None
            published_rows.write(connection, settings, snapshot, last, replaced, progress)
    except duckdb.Error as error:
        if earlier is None or is_without_room(error):
            raise
        remark(
            f"What led back to earlier snapshots cannot be read ({str(error).splitlines()[0]}): "
            "they are given up."
        )
        for part in settings.snapshots_dir.glob(f"{building.name}*"):
            part.unlink()
        with _attached(connection, building):
            published_rows.write(connection, settings, snapshot, None, None, progress)


@contextmanager
def _attached(
    connection: duckdb.DuckDBPyConnection, building: Path, current: Path | None = None
) -> Iterator[None]:
    """The file as database `published`, the current one beside it.

    Nobody is shown it before all of it is written, so it is no matter how many transactions that
    takes. At the end all of it is in the file itself, nothing in a log beside it.
    """
    with ExitStack() as stack:
        _attach(stack, connection, building, "published", _WRITTEN)
        # What is committed meanwhile is written once, at the end; whatever a kill leaves of the
        # file is thrown away, so a log beside it would serve nobody.
        connection.execute("set checkpoint_threshold = '1TB'")
        stack.callback(connection.execute, "reset checkpoint_threshold")
        if current is not None:
            _attach(stack, connection, current, CURRENT, "(read_only)")
        connection.execute("set preserve_insertion_order = true")
        stack.callback(connection.execute, "set preserve_insertion_order = false")
        yield
        connection.execute("checkpoint published")


def _attach(
    stack: ExitStack,
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str,
    options: str = "",
) -> None:
    quoted_path = str(path).replace("'", "''")
    connection.execute(f"attach '{quoted_path}' as {name} {options}")
    stack.callback(connection.execute, f"detach {name}")


# --- files --------------------------------------------------------------------------------------

# ioctl of Linux file systems that share blocks between files until one of them is written.
_FICLONE = 0x40049409


def _clone(source: Path, target: Path) -> None:
    """Copies a file, in no time where the file system can share its blocks."""
    with source.open("rb") as read, target.open("wb") as written:
        try:
            fcntl.ioctl(written, _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, 16 << 20)


def _is_free(path: Path) -> bool:
    """Whether no other process has the file open in DuckDB, which locks what it reads."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def sync(path: Path) -> None:
    """Waits until the file, or the names in the folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _point(name: Path, target: Path) -> None:
    """Lets the stable name point to the file, in one step."""
    fresh = name.with_suffix(".next")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, name.parent))
    fresh.replace(name)
    sync(name.parent)


def _drop_old(
    settings: Settings, made_here: set[str], current: Path, generation: str, now: datetime
) -> None:
    """Removes files that are not needed any more and that nobody reads.

    Of the current kind one besides the current file is kept, to be brought forward next. A file
    that was replaced by one made anew alone leads to its snapshots, and is kept as long as these.
    One of the current kind that was not made of this warehouse shows what was given up when that
    was put back from a copy.
    """
    keep_since = now - timedelta(hours=settings.snapshot_hours)
    replaced_at = now
    has_standby = False
    later = generation
    for path in reversed(_files(settings)):
        if path == current:
            continue
        said = published_rows.said_by(path)
        of_file = (said or {}).get("generation") or path.stem
        if of_file == generation and said and said["snapshot_id"] not in made_here:
            is_kept = False
        elif of_file == generation:
            is_kept, has_standby = not has_standby, True
        else:
            if of_file != later:
                replaced_at, later = ULID.from_str(later).datetime, of_file
                newest_of_kind = True
            else:
                newest_of_kind = False
            is_kept = said is not None and newest_of_kind and replaced_at >= keep_since
        if not is_kept and _is_free(path):
            path.unlink(missing_ok=True)
