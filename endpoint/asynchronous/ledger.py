"""What is known of each request: one row in SQLite from its acceptance on.

The queue may lose what it was doing when its process is killed; this may not. So every step of a
request is a change of its row that can happen only once, and after a restart the rows say what is
still to be done. Bodies of results are files (results.py).
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgmetrics.sqlite_files import file_identity, open_shared

IN_PROGRESS, SUCCESS, FAILED = "IN_PROGRESS", "SUCCESS", "FAILED"

# How long the result can be fetched, and how long the request itself is known.
RESULT_SECONDS = 24 * 3600
KNOWN_SECONDS = 30 * 86400
# A queue may bring a callback a moment before its time.
_EARLY_SECONDS = 1

_SCHEMA = """
    create table if not exists requests (
        request_id text primary key,
        account_key text not null,
        question text not null,
        callback_url text not null,
        snapshot_id text not null,
        accepted_at real not null,
        status text not null default 'IN_PROGRESS',
        failure_message text,
        ended_at real,
        claims integer not null default 0,
        tries integer not null default 0,
        next_try_at real,
        callback_done integer not null default 0,
        result_bytes integer not null default 0
    );
    create index if not exists requests_open on requests (request_id)
        where status = 'IN_PROGRESS' or not callback_done;
    create index if not exists requests_open_of_account on requests (account_key)
        where status = 'IN_PROGRESS' or not callback_done;
    create index if not exists requests_ended on requests (ended_at);
    create index if not exists requests_ended_of_account on requests (account_key, ended_at);
"""
# Files of earlier releases lack it.
_ADDED_COLUMN = "alter table requests add column result_bytes integer not null default 0"
_COLUMNS = (
    "request_id, account_key, question, callback_url, snapshot_id, status, failure_message, "
    "ended_at, claims, tries"
)


@dataclass(frozen=True)
class AcceptedRequest:
    """One request. Times are seconds since 1970; question is the JSON that was sent.

    claims: how often answering it was begun. tries: how many calls of its callback got no answer.
    """

    request_id: str
    account_key: str
    question: str
    callback_url: str
    snapshot_id: str
    status: str
    failure_message: str | None
    ended_at: float | None
    claims: int
    tries: int


def _widen(database: sqlite3.Connection) -> None:
    try:
        database.execute(_ADDED_COLUMN)
    except sqlite3.OperationalError as error:
        if "duplicate column" not in str(error):
            raise


class Ledger:
    """The requests of one installation, in a file that several processes may share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def accept(
        self,
        request_id: str,
        account_key: str,
        question: str,
        callback_url: str,
        snapshot_id: str,
    ) -> None:
        """Write down a request; when this returns no crash can lose it."""
        with self._open() as database:
            database.execute(
                "insert into requests (request_id, account_key, question, callback_url,"
                " snapshot_id, accepted_at) values (?, ?, ?, ?, ?, ?)",
                (request_id, account_key, question, callback_url, snapshot_id, time.time()),
            )

    def check(self) -> None:
        """Raises sqlite3.Error where no request can be looked up."""
        with self._open() as database:
            database.execute("select request_id from requests limit 1").fetchone()

    def open_of(self, account_key: str) -> int:
        """How many requests of an account have not ended or wait for their callback."""
        with self._open() as database:
            return database.execute(
                "select count(*) from requests where account_key = ?"
                " and (status = 'IN_PROGRESS' or not callback_done)",
                (account_key,),
            ).fetchone()[0]

    def find(self, request_id: str, account_key: str) -> AcceptedRequest | None:
        """The request of that id if it is this account's; else None, whether it exists or not."""
        return self._one("request_id = ? and account_key = ?", (request_id, account_key))

    def to_answer(self, request_id: str) -> AcceptedRequest | None:
        """A request that has not ended; else None."""
        return self._one("request_id = ? and status = 'IN_PROGRESS'", (request_id,))

    def claim(self, request_id: str) -> AcceptedRequest | None:
        """Note that a request is begun to be answered; None if it has ended."""
        return self._changed(
            "update requests set claims = claims + 1"
            " where request_id = ? and status = 'IN_PROGRESS'",
            (request_id,),
        )

    def unclaim(self, request_id: str) -> None:
        """Take back a claim: what it began did not end, and did not take its process with it."""
        self._changed(
            "update requests set claims = claims - 1"
            " where request_id = ? and status = 'IN_PROGRESS'",
            (request_id,),
        )

    def kept_bytes_of(self, account_key: str) -> int:
        """How much the results of an account take that can still be fetched."""
        with self._open() as database:
            return database.execute(
                "select coalesce(sum(result_bytes), 0) from requests"
                " where account_key = ? and ended_at > ?",
                (account_key, time.time() - RESULT_SECONDS),
            ).fetchone()[0]

    def end(
        self,
        request_id: str,
        status: str,
        failure_message: str | None = None,
        result_bytes: int = 0,
    ) -> bool:
        """End a request; False if it had ended before, and then nothing changes."""
        now = time.time()
        ended = self._changed(
            "update requests set status = ?, failure_message = ?, ended_at = ?, next_try_at = ?,"
            " result_bytes = ? where request_id = ? and status = 'IN_PROGRESS'",
            (status, failure_message, now, now, result_bytes, request_id),
        )
        return ended is not None

    def to_call(self, request_id: str) -> AcceptedRequest | None:
        """A request that has ended and whose callback is due; else None."""
        return self._one(
            "request_id = ? and status <> 'IN_PROGRESS' and not callback_done and next_try_at <= ?",
            (request_id, time.time() + _EARLY_SECONDS),
        )

    def call_got_no_answer(self, request_id: str, next_try_at: float | None) -> None:
        """Count a try; None: it was the last one."""
        with self._open() as database:
            database.execute(
                "update requests set tries = tries + 1, next_try_at = ?, callback_done = ?"
                " where request_id = ?",
                (next_try_at, next_try_at is None, request_id),
            )

    def call_was_answered(self, request_id: str) -> None:
        """Note that the callback needs no further try."""
        with self._open() as database:
            database.execute(
                "update requests set callback_done = 1 where request_id = ?", (request_id,)
            )

    def waiting_for_answers(self) -> list[str]:
        """Ids of the requests that have not ended, oldest first."""
        with self._open() as database:
            rows = database.execute(
                "select request_id from requests where status = 'IN_PROGRESS' order by accepted_at"
            ).fetchall()
        return [request_id for (request_id,) in rows]

    def waiting_for_callbacks(self) -> list[tuple[str, float]]:
        """(id, not before) of the ended requests whose callback is still to be sent."""
        with self._open() as database:
            return database.execute(
                "select request_id, next_try_at from requests"
                " where status <> 'IN_PROGRESS' and not callback_done order by next_try_at"
            ).fetchall()

    def overdue_callbacks(self, seconds: float) -> list[str]:
        """Ids of the requests whose callback has been due for so long."""
        return [
            request_id
            for request_id, not_before in self.waiting_for_callbacks()
            if not_before < time.time() - seconds
        ]

    def forget(self) -> None:
        """Drop the requests that are no longer known to anybody."""
        with self._open() as database:
            database.execute(
                "delete from requests where callback_done and ended_at < ?",
                (time.time() - KNOWN_SECONDS,),
            )

    def _one(self, condition: str, parameters: tuple) -> AcceptedRequest | None:
        with self._open() as database:
            row = database.execute(
                f"select {_COLUMNS} from requests where {condition}", parameters
            ).fetchone()
        return None if row is None else AcceptedRequest(*row)

    def _changed(self, sql: str, parameters: tuple) -> AcceptedRequest | None:
        """The row after an update that is to change it, or None where the update did not."""
        with self._open() as database:
            row = database.execute(f"{sql} returning {_COLUMNS}", parameters).fetchone()
        return None if row is None else AcceptedRequest(*row)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection; whatever is done with it is one statement, and so one transaction."""
        with self._lock:
            if self._database is None or self._opened != file_identity(self._path):
                # Another file may have been put in its place.
                self._forget()
                # What was answered with 201 is kept through a power cut as well.
                database = open_shared(self._path, _SCHEMA, wait_seconds=30)
                _widen(database)
                self._database, self._opened = database, file_identity(self._path)
            yield self._database

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
