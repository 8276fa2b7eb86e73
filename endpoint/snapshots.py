"""Opens published snapshots read-only and follows publication.

One DuckDB instance a file, one cursor a question. The stable name is looked at for every request,
so a publication shows at once; files that no request needs any more are let go within seconds, so
that the publisher may reuse them. What an account may see (plan, descendants) is read here as well.
No query of a route lives here.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
import structlog

from endpoint import service_metrics
from endpoint.planning.accounts import with_descendants
from endpoint.planning.planner import PlanAsked, ReadyPlan, Table, read_tables
from endpoint.thread_share import ThreadShare
from endpoint.time_limits import TimeLimits
from msgmetrics.damage import REMEDY
from msgmetrics.published_tables import SNAPSHOT_ID, tables_as_of
from msgmetrics.settings import Settings

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.02
_SILENT_SECONDS = 60
_MOST_KEPT_PLANS = 1000
_KEPT_EARLIER = 200

_log = structlog.get_logger("endpoint")


class NothingPublishedError(Exception):
    """There is no published snapshot that can be read."""


class UnreadableError(NothingPublishedError):
    """There is a published file, and it cannot be read."""


class SnapshotGoneError(Exception):
    """No snapshot of that id can be read, or none ever had it."""


@dataclass
class Snapshot:
    """One published file, open, as it is or as it was. `as_of` is in UTC, to the microsecond.

    _leads_to: what is known of earlier snapshots that come out of the file, by id. _search_path:
    where tables are looked for, if not in the file itself.
    """

    snapshot_id: str
    as_of: datetime
    stale: bool
    checks_passed: int
    checks_warned: int
    _connection: duckdb.DuckDBPyConnection
    _limits: TimeLimits
    _threads: ThreadShare
    _leads_to: dict[str, tuple] = field(default_factory=dict)
    _search_path: str | None = None
    _users: int = 0
    _used_at: float = field(default_factory=time.monotonic)
    _idle: list[duckdb.DuckDBPyConnection] = field(default_factory=list)
    _families: dict[str, list[str]] = field(default_factory=dict)
    _plans: dict[str, str] = field(default_factory=dict)
    _kept_plans: OrderedDict[Hashable, ReadyPlan] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _making: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def cursor(self, seconds: float | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own to the file; several threads may have one each at once.

        seconds: how long it may be worked with, where that differs from what questions are given.
        Raises TookTooLongError, ServiceStopsError.
        """
        cursor = self._cursor()
        try:
            with self._threads.used(), self._limits.limited(cursor, seconds):
                yield cursor
        except BaseException:
            cursor.close()
            raise
        if self._search_path:
            cursor.close()
        else:
            # Making one takes as long as a fifth of a question, so they are used again.
            self._idle.append(cursor)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._idle.pop()
        except IndexError:
            cursor = self._connection.cursor()
            if self._search_path:
                cursor.execute(f"set search_path = '{self._search_path}'")
            return cursor

    def close(self) -> None:
        """Let go of the file; nobody may have a cursor of it."""
        while self._idle:
            self._idle.pop().close()
        self._connection.close()

    @cached_property
    def _earlier(self) -> Callable[[str], "Snapshot"]:
        """Earlier snapshots out of this file; those that were asked for last are kept."""
        return lru_cache(maxsize=_KEPT_EARLIER)(self._made_earlier)

    def earlier(self, snapshot_id: str) -> "Snapshot | None":
        """An earlier snapshot that comes out of this file, which has to stay open meanwhile."""
        if snapshot_id not in self._leads_to:
            return None
        # Two that made views of one name at once would be in each other's way.
        with self._making:
            return self._earlier(snapshot_id)

    def _made_earlier(self, snapshot_id: str) -> "Snapshot":
        """The tables as they were are views, in memory; they hide the file's tables of now."""
        as_of, stale, passed, warned, batch_id = self._leads_to[snapshot_id]
        with self.cursor() as cursor:
            file = f'"{cursor.execute("select current_database()").fetchone()[0]}".main'
            cursor.execute("attach if not exists ':memory:' as earlier (read_write)")
            cursor.execute(f'create schema if not exists earlier."{snapshot_id}"')
            for table, select in tables_as_of(str(batch_id), file).items():
                cursor.execute(
                    f'create or replace view earlier."{snapshot_id}".{table} as {select}'
                )
        earlier = Snapshot(
            snapshot_id,
            as_of.replace(tzinfo=UTC),
            bool(stale),
            passed,
            warned,
            self._connection,
            self._limits,
            self._threads,
            _search_path=f'earlier."{snapshot_id}",{file}',
        )
        earlier.tables = self.tables  # of the same names, columns and, about, sizes
        return earlier

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The tables of the file, by name."""
        with self.cursor() as cursor:
            return read_tables(cursor)

    def planned(self, asked: PlanAsked) -> ReadyPlan:
        """A plan over this file. The SQL of those that were asked for last is kept by the shape of
        the question, as making it takes as long as the question itself.
        """
        shape = asked.shape
        with self._lock:
            kept = self._kept_plans.get(shape)
            if kept is not None:
                self._kept_plans.move_to_end(shape)
        if kept is None:
            kept = asked.ready(self.tables)
            kept = replace(kept, parameters=dict.fromkeys(kept.parameters), offsets=None)
            with self._lock:
                self._kept_plans[shape] = kept
                if len(self._kept_plans) > _MOST_KEPT_PLANS:
                    self._kept_plans.popitem(last=False)
        return asked.bound(kept)

    @cached_property
    def first_hour(self) -> datetime:
        """The hour, in UTC, in which the first message was sent; of none, that of as_of."""
        first = self.rows("select min(period_start) from hourly_by_channel", [])[0][0]
        return self.as_of if first is None else first.replace(tzinfo=UTC)

    def rows(self, sql: str, parameters: list[Any]) -> list[tuple]:
        """The rows of one SELECT with bound parameters; safe from several threads at once."""
        with self.cursor() as cursor:
            return cursor.execute(sql, parameters).fetchall()

    def plan(self, account_key: str) -> str:
        """The plan of an account; an account that is not known is on the free one."""
        if account_key not in self._plans:
            found = self.rows("select plan from accounts where account_key = ?", [account_key])
            self._plans[account_key] = found[0][0] if found else "free"
        return self._plans[account_key]

    def family(self, account_key: str) -> list[str]:
        """The account and all its descendants, sorted; itself alone if it is not known."""
        if account_key not in self._families:
            with self.cursor() as cursor:
                self._families[account_key] = sorted(with_descendants(cursor, [account_key]))
        return self._families[account_key]


class Snapshots:
    """The published snapshots of one installation."""

    def __init__(self, settings: Settings, idle_seconds: float = 2) -> None:
        """`idle_seconds`: how long a file that is no longer current stays open unused."""
        self._published = settings.published_path
        self._folder = settings.snapshots_dir
        self._idle_seconds = idle_seconds
        self._workers = settings.workers or 1
        self._limits = TimeLimits(settings.question_seconds)
        self._open: dict[tuple, Snapshot] = {}
        self._file_behind_published: tuple | None = None
        self._silent_until: dict[Path, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def current(self) -> Iterator[Snapshot]:
        """The snapshot that is published now. Raises NothingPublishedError, UnreadableError."""
        snapshot = self._acquire(self._published)
        if snapshot is None:
            raise UnreadableError if self._published.exists() else NothingPublishedError
        try:
            yield snapshot
        finally:
            self._release(snapshot)

    @contextmanager
    def earlier(self, snapshot_id: str) -> Iterator[Snapshot]:
        """The snapshot of that id, the current one included. Raises SnapshotGoneError."""
        # An id is part of a path here: nothing but an id may pass.
        if not SNAPSHOT_ID.fullmatch(snapshot_id):
            raise SnapshotGoneError
        for name in self._files_that_may_hold(snapshot_id):
            snapshot = self._acquire(name)
            if snapshot is None:
                continue
            try:
                found = snapshot.earlier(snapshot_id)
                if snapshot.snapshot_id == snapshot_id:
                    found = snapshot
                if found is not None:
                    yield found
                    return
            finally:
                self._release(snapshot)
        raise SnapshotGoneError

    def _files_that_may_hold(self, snapshot_id: str) -> Iterator[Path]:
        """The current file first; it leads back to most. A later one may, of those before it."""
        yield self._published
        yield self._folder / f"{snapshot_id}.duckdb"
        for path in sorted(self._folder.glob("*.duckdb")):
            if SNAPSHOT_ID.fullmatch(path.stem) and path.stem > snapshot_id:
                yield path

    def watch(self) -> None:
        """Start to follow publication in the background, until `close`."""
        # With the first text that it binds DuckDB imports pandas, and with the first SQL that it
        # writes sqlglot its dialect; either takes a second: better now than in the first request.
        with duckdb.connect() as database:
            database.execute("select ?", ["text"])
            sqlglot.Dialect.get_or_raise("duckdb")
        self._limits.watch()
        threading.Thread(target=self._follow, name="follow-publication", daemon=True).start()

    def stop_questions(self) -> None:
        """Interrupt every question that is being answered, and let no other begin."""
        self._limits.stop()

    def close(self) -> None:
        """Close every file that no request is reading, and stop following."""
        self._stop.set()
        self._limits.close()
        with self._lock:
            self._let_go(lambda snapshot: True)

    def _follow(self) -> None:
        while not self._stop.wait(0.5):
            try:
                with self.current():
                    pass
            except NothingPublishedError:
                pass
            except Exception as error:
                _log.warning("publication not followed", reason=type(error).__name__)

    def _acquire(self, name: Path) -> Snapshot | None:
        """The open snapshot behind a file name, or None. Every success needs a release."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            try:
                key = self._file_behind(name)
                with self._lock:
                    snapshot = self._instance(key)
                    snapshot._users += 1
                    if name == self._published:
                        self._let_go_idle(except_for=snapshot)
                    return snapshot
            except (OSError, RuntimeError):
                # Not there, or replaced between the two looks at it.
                continue
            except duckdb.Error as error:
                self._tell_unreadable(name, error)
        return None

    def _tell_unreadable(self, name: Path, error: duckdb.Error) -> None:
        """Once a minute, however often it is looked at."""
        now = time.monotonic()
        with self._lock:
            if now < self._silent_until.get(name, now):
                return
            self._silent_until[name] = now + _SILENT_SECONDS
        _log.error(
            "published file not readable",
            file=str(name),
            reason=str(error).splitlines()[0],
            remedy=REMEDY,
        )

    def _file_behind(self, name: Path) -> tuple:
        """The path that a name leads to, and which state of which file is there. Raises OSError."""
        kept = self._file_behind_published if name is self._published else None
        if kept is not None and kept[1:] == _state(name):
            # To follow the links again would take longer than all else that is done here.
            return kept
        path = name.resolve(strict=True)
        found = (path, *_state(path))
        if name is self._published:
            self._file_behind_published = found
        return found

    def _instance(self, key: tuple) -> Snapshot:
        if key in self._open:
            return self._open[key]
        # DuckDB gives out the instance that it has under a path, even if another file is there by
        # now. So the old one goes first; while it is being read it stands for the new one.
        for other, snapshot in list(self._open.items()):
            if other[0] == key[0]:
                if snapshot._users:
                    return snapshot
                self._let_go(lambda candidate, replaced=snapshot: candidate is replaced)
        self._open[key] = _open_file(key[0], self._limits, self._workers)
        service_metrics.snapshots_opened.inc()
        return self._open[key]

    def _release(self, snapshot: Snapshot) -> None:
        with self._lock:
            snapshot._users -= 1
            snapshot._used_at = time.monotonic()

    def _let_go_idle(self, except_for: Snapshot) -> None:
        limit = time.monotonic() - self._idle_seconds
        self._let_go(lambda snapshot: snapshot is not except_for and snapshot._used_at < limit)

    def _let_go(self, may_go: Callable[[Snapshot], bool]) -> None:
        for key, snapshot in list(self._open.items()):
            if snapshot._users == 0 and may_go(snapshot):
                del self._open[key]
                snapshot.close()


def _state(path: Path) -> tuple[int, ...]:
    """Whatever changes with a file or with what is in it."""
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size


def _open_file(path: Path, limits: TimeLimits, workers: int) -> Snapshot:
    connection = duckdb.connect(
        path,
        read_only=True,
        # The queries need nothing but this file, so nothing else can be reached from them.
        config={"enable_external_access": False, "autoinstall_known_extensions": False},
    )
    try:
        if workers > 1:
            _share_memory(connection, workers)
        row = connection.execute(
            "select snapshot_id, as_of, stale, checks_passed, checks_warned from snapshots"
        ).fetchone()
        if row is None:
            raise duckdb.DataError("no snapshot in the file")
    except Exception:
        connection.close()
        raise
    snapshot_id, as_of, stale, passed, warned = row
    return Snapshot(
        snapshot_id,
        as_of.replace(tzinfo=UTC),
        bool(stale),
        passed,
        warned,
        connection,
        limits,
        ThreadShare(connection, workers),
        _earlier_snapshots(connection),
    )


def _share_memory(connection: duckdb.DuckDBPyConnection, workers: int) -> None:
    """Give each of so many processes its part of what DuckDB would give one."""
    ((limit,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    size, unit = limit.split()
    connection.execute(f"set memory_limit = '{float(size) / workers:.3f} {unit}'")


def _earlier_snapshots(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple]:
    """(as_of, stale, checks passed, warned, batch), by id, of those that the file leads to."""
    try:
        rows = connection.execute(
            "select snapshot_id, as_of, stale, checks_passed, checks_warned, batch_id "
            "from earlier_snapshots"
        ).fetchall()
    except duckdb.CatalogException:  # a file of an earlier release leads to none
        return {}
    return {snapshot_id: tuple(values) for snapshot_id, *values in rows}
