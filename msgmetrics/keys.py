"""API keys: who may ask, for which account, with which scopes.

The command line makes, lists and revokes keys here; the endpoint looks them up here at every
request, so a revocation works at the next one. Only a hash of a key is kept. Rights that follow
from the account (its plan, its descendants) do not live here: they come from the published data.
"""

import hashlib
import hmac
import secrets
import sqlite3
import string
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ulid import ULID

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from msgmetrics.sqlite_files import file_identity, open_shared

SCOPES = ("metrics:read", "metrics:manage")

KEY_PREFIX = "am_live_"
LABEL_LENGTH = 14
_RANDOM_LENGTH = 40
_ALPHABET = string.ascii_letters + string.digits
_WAIT_SECONDS = 10

_SCHEMA = """
    create table if not exists keys (
        key_id text primary key,
        key_hash text not null unique,
        label text not null,
        account_key text not null,
        scopes text not null,
        created_at text not null,
        revoked_at text
    )
"""
_COLUMNS = "key_id, label, account_key, scopes, created_at, revoked_at"


@dataclass(frozen=True)
class ApiKey:
    """What is known of one key; never its text. Times are ISO 8601 in UTC."""

    key_id: str
    label: str
    account_key: str
    scopes: tuple[str, ...]
    created_at: str
    revoked_at: str | None


class KeyStore:
    """The keys of one installation, in one SQLite file that several processes may share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of_thread = threading.local()

    @classmethod
    def of(cls, settings: Settings) -> "KeyStore":
        return cls(settings.endpoint_dir / "keys.sqlite")

    def create(
        self,
        account_key: str,
        scopes: Iterable[str],
        is_known: Callable[[str], bool] | Collection[str],
    ) -> str:
        """Make a key for a known account and return its text, which cannot be had again.

        `is_known` says which accounts there are: a test of one account key, or all of them.
        Raises UserError for an account or a scope that is not known, or without any scope.
        """
        wanted = _checked_scopes(scopes)
        known = is_known(account_key) if callable(is_known) else account_key in is_known
        if not known:
            raise UserError(
                f"Account {account_key!r} is not known: no message of it is loaded yet, and no "
                "record in accounts/ of the landing zone; load either, or correct the name."
            )
        text = KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
        with self._open() as database:
            database.execute(
                "insert into keys (key_id, key_hash, label, account_key, scopes, created_at)"
                " values (?, ?, ?, ?, ?, ?)",
                (
                    str(ULID()),
                    _hash(text),
                    text[:LABEL_LENGTH],
                    account_key,
                    " ".join(wanted),
                    _now(),
                ),
            )
        return text

    def list(self) -> list[ApiKey]:
        """Every key ever made, revoked ones too, oldest first."""
        with self._open() as database:
            rows = database.execute(
                f"select {_COLUMNS} from keys order by created_at, key_id"
            ).fetchall()
        return [_record(row) for row in rows]

    def revoke(self, name: str) -> ApiKey:
        """Revoke the key with this label or id; revoking it again changes nothing.

        Raises UserError where no key has that name, or where several live keys share the label.
        """
        with self._open() as database:
            rows = database.execute(
                f"select {_COLUMNS} from keys where label = ?1 or key_id = ?1 order by created_at",
                (name,),
            ).fetchall()
            keys = [_record(row) for row in rows]
            live = [key for key in keys if key.revoked_at is None]
            if not keys:
                raise UserError(
                    f"No key has the label or id {name!r}; `msgmetrics keys list` shows them all."
                )
            if len(live) > 1:
                ids = ", ".join(key.key_id for key in live)
                raise UserError(f"Several keys have the label {name!r}; name one by its id: {ids}.")
            if live:
                database.execute(
                    "update keys set revoked_at = ? where key_id = ?", (_now(), live[0].key_id)
                )
            chosen = (live or keys)[-1].key_id
            row = database.execute(
                f"select {_COLUMNS} from keys where key_id = ?", (chosen,)
            ).fetchone()
        return _record(row)

    def find(self, text: str, *, may_wait: bool = True) -> ApiKey | None:
        """The live key with this text, or None if there is none or it was revoked.

        Raises sqlite3.OperationalError where another process has the file for itself; at once where
        it may not wait. A thread calls it in one of both ways only.
        """
        digest = _hash(text)
        row = (
            self._reader(_WAIT_SECONDS if may_wait else 0)
            .execute(f"select key_hash, {_COLUMNS} from keys where key_hash = ?", (digest,))
            .fetchone()
        )
        # What the index compares is a hash, so its timing tells nothing of any key; the last word
        # is a comparison in constant time all the same.
        if row is None or not hmac.compare_digest(row[0], digest):
            return None
        key = _record(row[1:])
        return key if key.revoked_at is None else None

    def _reader(self, wait_seconds: float) -> sqlite3.Connection:
        """A connection of this thread that stays open; each statement sees the latest commit."""
        kept = getattr(self._of_thread, "reader", None)
        if kept is None or kept[1] != file_identity(self._path):
            # Another file may have been put in its place.
            database = self._connect(wait_seconds)
            kept = self._of_thread.reader = (database, file_identity(self._path))
        return kept[0]

    def check(self) -> None:
        """Raises sqlite3.Error where no key can be looked up."""
        with self._open() as database:
            database.execute("select count(*) from keys").fetchone()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as database:
            yield database

    def _connect(self, wait_seconds: float = _WAIT_SECONDS) -> sqlite3.Connection:
        return open_shared(self._path, _SCHEMA, wait_seconds=wait_seconds)


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(scopes))
    choice = " or ".join(SCOPES)
    if not wanted:
        raise UserError(f"A key needs at least one scope: {choice}.")
    for scope in wanted:
        if scope not in SCOPES:
            raise UserError(f"Scope {scope!r} is not known; use {choice}.")
    return wanted


def _record(row: tuple) -> ApiKey:
    key_id, label, account_key, scopes, created_at, revoked_at = row
    return ApiKey(key_id, label, account_key, tuple(scopes.split()), created_at, revoked_at)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
