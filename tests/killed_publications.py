"""Kills publications: forks a child a kill point, and publishes again after it.

Run as a program, so that the tests' own process is not the one that forks: `python
killed_publications.py HOME POINT ...`. HOME/warehouse.saved is the built warehouse, and
HOME/published.saved the folder of published files, that each point starts from. A point is
`execute:<number>` for a statement, or `fsync`, `rename`, `replace`, each before or after;
`prepared` is between the gate's preparation and the publication; after `unprepared:` no gate
prepares it; `none` kills nothing. Prints a JSON object a point: what the stable name showed before,
after the kill, and after the next publication, and how many statements that took. What must hold
is the tests' matter.
"""

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from msgmetrics.settings import Settings
from orchestration import publishing

_TIMES = {"publications": 0}


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Connection:
    """A connection that counts its statements and those of its cursors, and ends this process
    before the n-th."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        number: int | None,
        counter: Iterator[int] | None = None,
    ) -> None:
        self._connection, self._number = connection, number
        # Cursors are used by threads, and to take the next of these is one step.
        self._counter = counter or itertools.count(1)

    @property
    def statements(self) -> int:
        return next(self._counter) - 1

    def execute(self, *arguments: object) -> duckdb.DuckDBPyConnection:
        if next(self._counter) == self._number:
            kill_self()
        return self._connection.execute(*arguments)

    def cursor(self) -> "Connection":
        return Connection(self._connection.cursor(), self._number, self._counter)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def kill_around(owner: object, name: str, when: str) -> None:
    plain = getattr(owner, name)

    def killing(*arguments: object) -> object:
        if when == "before":
            kill_self()
        result = plain(*arguments)
        kill_self()
        return result

    setattr(owner, name, killing)


def publish(home: Path, point: str) -> int | None:
    """Publishes in a child; returns its statements, None if it was killed."""
    _TIMES["publications"] += 1
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        is_prepared = not point.startswith("unprepared:")
        step, _, which = point.removeprefix("unprepared:").partition(":")
        if step in ("rename", "replace"):
            kill_around(Path, step, which)
        elif step == "fsync":
            kill_around(os, step, which)
        connection = Connection(
            duckdb.connect(str(home / "warehouse.duckdb")),
            int(which) if step == "execute" else None,
        )
        if is_prepared:
            publishing.prepare(connection, Settings(home=home), seen=lambda *_: None)
        if step == "prepared":
            kill_self()
        publishing.publish(
            connection,
            Settings(home=home),
            now=datetime.fromtimestamp(1_790_000_000 + _TIMES["publications"], UTC),
            checks_passed=1,
            checks_warned=0,
        )
        os.write(writer, str(connection.statements).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        statements = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"the publication at {point} failed by itself")
    return None if os.WIFSIGNALED(status) else int(statements)


def shown(home: Path) -> dict[str, object]:
    """What a reader finds under the stable name; in a child, as DuckDB keeps files open."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        rows = hashlib.sha256()
        with duckdb.connect(str(Settings(home=home).published_path), read_only=True) as file:
            (snapshot,) = file.execute("select snapshot_id from snapshots").fetchone()
            tables = file.execute("select table_name from duckdb_tables() order by 1").fetchall()
            for (name,) in tables:
                if "snapshots" not in name:
                    every = file.execute(f"select * from {name} order by all").fetchall()
                    rows.update(f"{name} {every}".encode())
        os.write(writer, json.dumps({"snapshot": snapshot, "rows": rows.hexdigest()}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def main(home: Path, points: list[str]) -> None:
    snapshots = Settings(home=home).snapshots_dir
    before = None
    for point in points:
        shutil.rmtree(home / "published", ignore_errors=True)
        shutil.copytree(home / "published.saved", home / "published", symlinks=True)
        (home / "warehouse.duckdb.wal").unlink(missing_ok=True)
        shutil.copyfile(home / "warehouse.saved", home / "warehouse.duckdb")
        before = before or shown(home)
        was_killed = publish(home, point) is None
        after = shown(home)
        statements = publish(home, "none")
        outcome = {
            "point": point,
            "was_killed": was_killed,
            "before": before,
            "after": after,
            "finally": shown(home),
            "statements": statements,
            "files": len(list(snapshots.iterdir())),
        }
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
