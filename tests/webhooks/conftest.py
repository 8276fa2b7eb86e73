"""Warehouses into which archives of webhooks are loaded."""

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from archives import NOW  # noqa: E402
from compiled import compiled_project, create_seeds  # noqa: E402
from small_warehouse import contents  # noqa: E402

from msgmetrics.settings import Settings  # noqa: E402
from orchestration.loading.loader import Loader, LoadReport  # noqa: E402


class Archive:
    """A landing zone and the warehouse that is made of it."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.landing = folder / "landing"
        self.landing.mkdir(parents=True)
        self.connection = connection
        self._settings = Settings(home=folder / "home", landing=self.landing)

    def load(self, now: datetime = NOW) -> LoadReport:
        return Loader(self.connection, self._settings, now=now, as_of=now).load()

    def stage(self) -> None:
        """Loads what is new, and makes the staging models anew."""
        self._make({"restatement", "staging"}, set())

    def build(self) -> None:
        """The same up to the facts, and the mart of the messages."""
        self._make({"restatement", "staging", "facts"}, {"messages"})

    def _make(self, schemas: set[str], names: set[str]) -> None:
        self.load()
        create_seeds(self.connection)
        for schema, name, select in compiled_project().models:
            if schema in schemas or name in names:
                self.connection.execute(f"create schema if not exists {schema}")
                self.connection.execute(f"create or replace table {schema}.{name} as {select}")

    def rows(self, sql: str) -> list[dict]:
        result = self.connection.execute(sql)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def marts(self) -> dict[str, list[tuple]]:
        return contents(self.connection, "marts")


@pytest.fixture
def new_archive(tmp_path: Path) -> Iterator[Callable[[], Archive]]:
    """Makes archives that know nothing of each other."""
    connections: list[duckdb.DuckDBPyConnection] = []

    def make() -> Archive:
        connections.append(duckdb.connect(config={"threads": 2}))
        return Archive(tmp_path / str(len(connections)), connections[-1])

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def archive(new_archive: Callable[[], Archive]) -> Archive:
    return new_archive()
