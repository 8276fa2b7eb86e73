"""Requests a second of one key, counted over all worker processes.

A request is let through if fewer than `limit` were within the second before it, exactly: the
moments of the last `limit` requests are kept, in a SQLite file that all workers share. Refused
requests do not count. Which key asks is settled before.
"""

import sqlite3
import threading
import time
from pathlib import Path

import structlog

from msgmetrics.sqlite_files import open_shared

_WINDOW_NS = 1_000_000_000

_SCHEMA = """
    create table if not exists requests (
        key_id text not null,
        number integer not null,
        at_ns integer not null,
        primary key (key_id, number)
    ) without rowid
"""

_log = structlog.get_logger("endpoint")


class RateLimiter:
    """At most `limit` requests of a key in any one second."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def admit(self, key_id: str) -> int | None:
        """Count a request of a key: None if it may pass, else the whole seconds to wait."""
        # Threads queue here, in turn; only workers have to contend for the file.
        with self._lock:
            try:
                if self._database is None:
                    # What a power cut loses here is one second of counting.
                    self._database = open_shared(
                        self._path, _SCHEMA, wait_seconds=5, synchronous="off"
                    )
                return self._admit(self._database, key_id)
            except (sqlite3.Error, OSError) as error:
                # A limiter that cannot count must not take the service down with it.
                self._database = None
                _log.warning("rate limit not counted", reason=type(error).__name__)
                return None

    def _admit(self, database: sqlite3.Connection, key_id: str) -> int | None:
        database.execute("begin immediate")
        try:
            now = time.time_ns()
            (last,) = database.execute(
                "select coalesce(max(number), 0) from requests where key_id = ?", (key_id,)
            ).fetchone()
            oldest = database.execute(
                "select at_ns from requests where key_id = ? and number = ?",
                (key_id, last + 1 - self._limit),
            ).fetchone()
            # A moment that lies ahead was written before the clock was set back; it says nothing.
            if oldest and 0 <= now - oldest[0] < _WINDOW_NS:
                return -(-(oldest[0] + _WINDOW_NS - now) // _WINDOW_NS)
            database.execute("insert into requests values (?, ?, ?)", (key_id, last + 1, now))
            database.execute(
                "delete from requests where key_id = ? and number <= ?",
                (key_id, last + 1 - self._limit),
            )
            return None
        finally:
            database.execute("commit")
