"""Requests a second of one key, counted over all worker processes.

A request is let through if fewer than `limit` were within the second before it, exactly: the
moments of the last `limit` requests are kept, in a SQLite file that all workers share. Refused
requests do not count. A file that cannot be read is begun anew; while it cannot be counted at all,
requests pass. Which key asks is settled before.
"""

import sqlite3
import threading
import time
from pathlib import Path

import structlog

from msgmetrics.sqlite_files import file_identity, is_broken, open_shared, remove

_WINDOW_NS = 1_000_000_000
_MOST_WAIT_SECONDS = 5
# Rows past counting are removed once in so many requests: to do it each time costs as much again.
_REMOVED_AFTER = 32

_SCHEMA = """
    create table if not exists requests (
        key_id text not null,
        number integer not null,
        at_ns integer not null,
        primary key (key_id, number)
    ) without rowid
"""
# One statement, so that it looks, decides and counts under one lock; the clock is read once it has
# that. A moment that lies ahead was written before the clock was set back: by a little, and it
# counts still; by more than a second, and it says nothing.
_COUNT = f"""
    with
    moment as materialized (select now_ns() as ns),
    last as materialized (
        select coalesce(max(number), 0) as number from requests where key_id = :key_id
    )
    insert into requests (key_id, number, at_ns)
    select :key_id, last.number + 1, moment.ns
    from moment, last
    where not exists (
        select 1
        from requests
        where key_id = :key_id
            and number = last.number + 1 - :limit
            and moment.ns - at_ns between {1 - _WINDOW_NS} and {_WINDOW_NS - 1}
    )
    returning number
"""
_OLDEST = """
    select at_ns
    from requests
    where key_id = :key_id
        and number = (select max(number) from requests where key_id = :key_id) + 1 - :limit
"""
_REMOVE = "delete from requests where key_id = ? and number <= ?"

_log = structlog.get_logger("endpoint")


class WouldWaitError(Exception):
    """Another thread or process is counting just now."""


class RateLimiter:
    """At most `limit` requests of a key in any one second."""

    def __init__(self, path: Path, limit: int) -> None:
        self._limit = limit
        self._waiting = _Connection(path, _MOST_WAIT_SECONDS)
        self._at_once = _Connection(path, 0)

    def admit(self, key_id: str, *, may_wait: bool = True) -> int | None:
        """Count a request of a key: None if it may pass, else the whole seconds to wait.

        Raises WouldWaitError where it may not wait for others that count, and would have to.
        """
        connection = self._waiting if may_wait else self._at_once
        # Threads queue here, in turn; only workers have to contend for the file.
        if not connection.lock.acquire(timeout=_MOST_WAIT_SECONDS if may_wait else 0):
            if not may_wait:
                raise WouldWaitError
            _log.warning("rate limit not counted", reason="others wait")
            return None
        try:
            return self._admit(connection.opened(), key_id)
        except (sqlite3.Error, OSError) as error:
            if not may_wait:
                raise WouldWaitError from None
            # A limiter that cannot count must not take the service down with it.
            connection.forget(for_good=is_broken(error))
            _log.warning("rate limit not counted", reason=type(error).__name__)
            return None
        finally:
            connection.lock.release()

    def _admit(self, database: sqlite3.Connection, key_id: str) -> int | None:
        counted = {"key_id": key_id, "limit": self._limit}
        # All rows, as the statement ends, and lets go of the file, with the last.
        numbers = database.execute(_COUNT, counted).fetchall()
        if not numbers:
            oldest = database.execute(_OLDEST, counted).fetchone()
            passed = time.time_ns() - oldest[0] if oldest else _WINDOW_NS
            return max(1, -(-(_WINDOW_NS - passed) // _WINDOW_NS))
        ((number,),) = numbers
        if number % _REMOVED_AFTER == 0:
            database.execute(_REMOVE, (key_id, number - self._limit))
        return None


class _Connection:
    """A connection to the file, opened when it is needed, and again when another is in its place;
    for whom has the lock."""

    def __init__(self, path: Path, wait_seconds: float) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._wait_seconds = wait_seconds
        self._database: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def opened(self) -> sqlite3.Connection:
        if self._database is None or self._opened != file_identity(self._path):
            self.forget()
            # What a power cut loses here is one second of counting.
            database = open_shared(
                self._path, _SCHEMA, wait_seconds=self._wait_seconds, synchronous="off"
            )
            database.create_function("now_ns", 0, lambda: time.time_ns())
            self._database, self._opened = database, file_identity(self._path)
        return self._database

    def forget(self, *, for_good: bool = False) -> None:
        """Close it; where the file is broken, have it made anew when it is needed next."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if for_good:
            remove(self._path)
