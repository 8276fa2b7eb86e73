"""A landing zone with its warehouse: write files, load them, and look at what came of it.

After every load the accounts of all files are checked, whatever the test is about.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from msgmetrics.settings import Settings
from orchestration.loading.loader import Loader, LoadReport
from orchestration.loading.records import streams
from orchestration.warehouse import warehouse

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_STREAMS = ("messages", "events", "accounts")

Row = dict[str, object]


class Zone:
    """`root`/landing and a warehouse in `root`/home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.landing = root / "landing"
        self.settings = Settings(home=root / "home", landing=self.landing, threads=2)
        self._open = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def close(self) -> None:
        """Lets go of the warehouse, so that another process may have it."""
        self._open.close()
        self._connection = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._open.enter_context(warehouse(self.settings))
        return self._connection.cursor()

    def write(self, name: str, content: bytes | str) -> Path:
        """A landing file with this content, replaced in place if it is there."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, *, rehash: bool = False, now: datetime = NOW) -> LoadReport:
        with self.cursor() as connection:
            loader = Loader(connection, self.settings, now=now, as_of=now)
            report = loader.load(rehash=rehash)
        assert not self.settings.work_dir.exists()
        self.check_accounts()
        return report

    def query(self, sql: str) -> list[Row]:
        with self.cursor() as connection:
            result = connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def rows(self, stream: str) -> list[Row]:
        return self.query(
            f"select columns(c -> not c.contains('_hash') and c <> 'source_rank') from raw.{stream}"
        )

    def files(self) -> list[Row]:
        return self.query("select * from raw.files order by file_id")

    def quarantine(self) -> list[Row]:
        """Refused records and files, in the order of their files and rows."""
        return self.query("select * from raw.quarantine order by path, row_number, file_id")

    def open_entries(self) -> list[Row]:
        return [entry for entry in self.quarantine() if entry["closed_at"] is None]

    def check_accounts(self) -> None:
        """In = loaded + set aside + quarantined, file by file, as the rows say."""
        of_files = "select file_id from raw.{} where file_id in (select file_id from raw.files "
        loaded = Counter(
            row["file_id"]
            for stream in _STREAMS
            for row in self.query(of_files.format(stream) + f"where stream = '{stream}')")
        )
        results = self.query("select file_id, outcome from raw.webhooks")
        loaded.update(row["file_id"] for row in results if row["outcome"] == "loaded")
        set_aside = Counter(row["file_id"] for row in results if row["outcome"] == "set aside")
        told = {
            row["file_id"]
            for stream in ("messages", "events")
            for row in self.query(f"select file_id from raw.{stream} where source_rank < 2")
        }
        assert told <= {row["file_id"] for row in results}
        quarantine = self.quarantine()
        refused = Counter(
            row["file_id"]
            for row in quarantine
            if row["row_number"] is not None and row["closed_because"] != "requeued"
        )
        whole = Counter(row["file_id"] for row in quarantine if row["row_number"] is None)
        files = self.files()
        for file in files:
            id_ = file["file_id"]
            assert file["loaded"] == loaded.pop(id_, 0)
            assert file["quarantined"] == refused.pop(id_, 0)
            assert file["set_aside"] == set_aside.pop(id_, 0)
            assert file["records"] == file["loaded"] + file["set_aside"] + file["quarantined"]
            assert (
                (file["status"] == "unreadable") == bool(file["reason"]) == bool(whole.pop(id_, 0))
            )
        assert not loaded + set_aside + refused + whole
        identities = [(file["path"], file["size"], file["content_hash"]) for file in files]
        assert len(set(identities)) == len(identities)

    def content(self) -> dict[str, Counter]:
        """All that was loaded and refused, as multisets that tell nothing of ids and loads."""
        paths = "join (select file_id, path from raw.files) using (file_id)"
        queries = {
            "quarantine": "select stream, path, row_number, raw_text, reason, closed_because "
            "from raw.quarantine",
            "files": "select path, size, content_hash, status, reason, records, loaded "
            "from raw.files",
            "webhooks": f"select * exclude (file_id, batch_id) from raw.webhooks {paths}",
        } | {
            name: f"select path, {', '.join(stream.field_names)}, extra from raw.{name} {paths}"
            for name, stream in streams().items()
        }
        return {
            name: Counter(tuple(row.values()) for row in self.query(sql))
            for name, sql in queries.items()
        }
