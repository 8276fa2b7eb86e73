"""Warehouses in a file, built by dbt itself batch after batch, as a pass builds them.

`definitions_of` computes from the same raw records what every table must hold by its definition:
the project's SELECTs over everything, without any of the ways in which a change is applied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from random import Random

import duckdb
from compiled import PROJECT, build_models
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from hostile import NOW, RecordSet
from landing_files import write_landing
from small_warehouse import Row, rows_of, table_names

from msgmetrics.settings import Settings
from orchestration.batches import open_batch
from orchestration.loading.loader import Loader, LoadReport
from orchestration.restatement import forget_old_changes, remember_build

# Tables that hold more than the touched part of a run.
STATE = {
    "facts": ("fct_messages", "fct_url_clicks", "waiting_events"),
    "restatement": ("moved_events",),
}


class IncrementalWarehouse:
    """One warehouse file with its landing zone."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder / "home", landing=folder / "landing")
        self.settings.landing_path.mkdir(parents=True, exist_ok=True)
        self.settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._artefacts = folder / "dbt"
        self._deliveries = 0
        self._has_seeds = False

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(str(self.settings.warehouse_path)) as connection:
            yield connection

    def load(self) -> LoadReport:
        with self.connection() as connection:
            return Loader(connection, self.settings, now=NOW, as_of=NOW).load()

    def arrive(self, records: RecordSet, random: Random) -> LoadReport:
        """Loads the records as one delivery of files, the earlier ones left where they are."""
        self._deliveries += 1
        arriving = self._folder / "arriving"
        write_landing(arriving, records, random)
        for folder in arriving.iterdir():
            target = self.settings.landing_path / folder.name
            target.mkdir(exist_ok=True)
            folder.rename(target / f"delivery-{self._deliveries}")
        return self.load()

    def backfill(self, first: date | None, last: date | None) -> None:
        """Asks the next build for these sent-days anew; for all, if they are None."""
        with self.connection() as connection:
            open_batch(
                connection, cause="backfill", as_of=NOW, now=NOW, from_day=first, to_day=last
            )

    def forget_changes(self) -> int:
        """What maintenance does once no snapshot can ask for them any more."""
        later = NOW + timedelta(hours=self.settings.snapshot_hours + 1)
        with self.connection() as connection:
            return forget_old_changes(connection, self.settings, later)

    def build(self, definition: str = "as released") -> None:
        """What a pass does after loading, its checks left out."""
        broken = self._dbt(definition, "test", "unit_test")
        assert not broken, next(iter(broken.items()))
        self._remember()

    def checked_build(self, definition: str = "as released") -> set[str]:
        """The same with its checks. Returns the names of those that stopped it."""
        broken = self._dbt(definition, "unit_test")
        if not broken:
            self._remember()
        return set(broken)

    def _dbt(self, definition: str, *left_out: str) -> dict[str, str]:
        """Runs dbt; the messages of what failed, by name."""
        os.environ["MSGMETRICS_WAREHOUSE"] = str(self.settings.warehouse_path)
        os.environ["MSGMETRICS_DEFINITION"] = definition
        kinds = [*left_out, *(["seed"] if self._has_seeds else [])]
        folder = str(self._artefacts)
        result = dbtRunner().invoke(
            [
                *("build", "--quiet", "--log-level-file", "none"),
                *("--exclude-resource-type", *kinds),
                *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
                *("--target-path", folder, "--log-path", folder),
            ]
        )
        # dbt holds on to the file until its process ends, which is ours
        DuckDBConnectionManager.close_all_connections()
        assert result.exception is None, result.exception
        self._has_seeds = True
        return {
            one.node.name: one.message for one in result.result if one.status in ("error", "fail")
        }

    def _remember(self) -> None:
        with self.connection() as connection:
            remember_build(connection, self.settings)

    def held(self) -> dict[str, list[Row]]:
        """Every row of every table that a run restates, and of every mart."""
        with self.connection() as connection:
            return _held(connection)


def _held(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    tables = [f"{schema}.{name}" for schema, names in STATE.items() for name in names]
    tables += [f"marts.{name}" for name in table_names(connection, "marts")]
    return {table: rows_of(connection, table) for table in tables}


def definitions_of(warehouse: IncrementalWarehouse) -> dict[str, list[Row]]:
    """What `held` must return, by definition."""
    with warehouse.connection() as connection:
        connection.execute("attach ':memory:' as memory")
        (held,) = connection.execute("select current_database()").fetchone()
        connection.execute("use memory")
        try:
            for (name,) in connection.execute(
                "select table_name from information_schema.tables "
                f"where table_catalog = '{held}' and table_schema = 'reference'"
            ).fetchall():
                connection.execute("create schema if not exists reference")
                connection.execute(f"create table reference.{name} as from {held}.reference.{name}")
            connection.execute("create schema raw")
            for name in ("messages", "events", "accounts", "batches", "files"):
                connection.execute(f"create table raw.{name} as from {held}.raw.{name}")
            build_models(connection)
            return _held(connection)
        finally:
            connection.execute(f"use {held}")
            connection.execute("detach memory")
