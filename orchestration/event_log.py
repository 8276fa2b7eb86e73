"""Dagster's records of runs in SQLite, with files that stay open from one event to the next.

Dagster opens, commits, synchronises and closes a file several times for every event, which in a
small pass takes longer than all else. What is recorded, and where, is as without us; what is
dropped, and when, stands in `runs.py`.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

# The index and the runs of the moment; older ones are opened again where they are asked for.
_MOST_OPEN = 4


class KeptOpenEventLog(SqliteEventLogStorage):
    """Dagster's event log, of which the files used last are kept open."""

    def __init__(self, base_dir: str) -> None:
        self._open: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            with self._engine(shard).begin() as connection:
                yield connection
            # Who watches a run waits for its file to change; until it is closed only its log does.
            os.utime(self.path_for_shard(shard))

    def _engine(self, shard: str) -> Engine:
        if shard in self._open and not os.path.exists(self.path_for_shard(shard)):
            self._open.pop(shard).dispose()  # dropped by another process
            self._initialized_dbs.discard(shard)
        if shard not in self._open:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _write_through_the_log)
            self._open[shard] = engine
        if shard not in self._initialized_dbs:
            self._initdb(self._open[shard])
            self._initialized_dbs.add(shard)
        self._open.move_to_end(shard)
        while len(self._open) > _MOST_OPEN:
            _, oldest = self._open.popitem(last=False)
            oldest.dispose()
        return self._open[shard]

    def dispose(self) -> None:
        """Closes the files."""
        with self._db_lock:
            while self._open:
                self._open.popitem()[1].dispose()
        super().dispose()


def _write_through_the_log(connection, _record) -> None:
    """Commits survive the end of the process; the log is synchronised when it is folded in."""
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")


class RunRecords(DagsterSqliteStorage):
    """Dagster's SQLite storage below `base_dir`, with that event log."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = KeptOpenEventLog(os.path.join(base_dir, "history", "runs"))

    @classmethod
    def from_config_value(cls, inst_data, config_value) -> "RunRecords":
        """As Dagster makes it from dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)
