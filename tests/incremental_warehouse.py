"""Warehouses in a file, built by dbt itself batch after batch, as a pass builds them.

`definitions_of` computes from the same raw records what every table must hold by its definition:
the project's SELECTs over everything, without any of the ways in which a change is applied.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from random import Random

import duckdb
from compiled import PROJECT, build_models
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from hostile import NOW, RecordSet
from landing_files import write_landing
from small_warehouse import Row, rows_of, table_names

from msgmetrics.settings import Settings
from orchestration.batches import open_batch
from orchestration.dbt import NIGHTLY_TAG
from orchestration.loading.loader import Loader, LoadReport
from orchestration.restatement import forget_old_changes, remember_build

# Tables that hold more than the touched part of a run.
STATE = {
    "facts": ("fct_messages", "fct_url_clicks", "waiting_events"),
    "restatement": ("moved_events",),
}


def dbt_arguments(command: str, folder: Path, *kinds_left_out: str) -> list[str]:
    """dbt's command line for the project, what it writes in this folder."""
    return [
        *(command, "--quiet", "--log-level-file", "none"),
        # The manifest as JSON takes a tenth of a small build, and nobody reads it.
        "--no-write-json",
        *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
        *("--target-path", str(folder), "--log-path", str(folder)),
        *(("--exclude-resource-type", *kinds_left_out) if kinds_left_out else ()),
    ]


@cache
def parsed_project() -> Manifest:
    """The project as dbt reads it, once a process: it reads all of it anew for each other file.

    Of a warehouse it holds no more than its name, and all of them are called `warehouse`.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MSGMETRICS_WAREHOUSE"] = str(Path(folder) / "warehouse.duckdb")
        parsed = dbtRunner().invoke(dbt_arguments("parse", Path(folder)))
    assert parsed.success, parsed.exception
    return parsed.result


# So that parts of marts are put together in builds of a few messages, too.
SOON_CROWDED = {"crowded_from": 0, "batches_kept_apart": 1}


class IncrementalWarehouse:
    """One warehouse file with its landing zone."""

    def __init__(self, folder: Path, variables: dict[str, int] | None = None) -> None:
        """variables: of the dbt project, where they differ."""
        self._variables = variables or {}
        self.settings = Settings(home=folder / "home", landing=folder / "landing")
        self.settings.landing_path.mkdir(parents=True, exist_ok=True)
        self.settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._artefacts = folder / "dbt"
        # A home that was copied has some already.
        self._deliveries = len(list(self.settings.landing_path.glob("*/delivery-*")))
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

    def put_together(self) -> list[str]:
        """The marts of which older parts are put together now, while the facts go on."""
        with self.connection() as connection:
            return [
                name
                for (name,) in connection.execute(
                    "select relation from facts.marks where rebuilt_batch_id > (select "
                    "max(rebuilt_batch_id) from facts.marks where relation like 'fct_%')"
                ).fetchall()
            ]

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
        """The same with the checks of a pass. Returns the names of those that stopped it."""
        broken = self._dbt(definition, "unit_test", checks_left_out=f"tag:{NIGHTLY_TAG}")
        if not broken:
            self._remember()
        return set(broken)

    def _dbt(
        self, definition: str, *left_out: str, checks_left_out: str | None = None
    ) -> dict[str, str]:
        """Runs dbt; the messages of what failed, by name."""
        manifest = parsed_project()
        os.environ["MSGMETRICS_WAREHOUSE"] = str(self.settings.warehouse_path)
        os.environ["MSGMETRICS_DEFINITION"] = definition
        kinds = [*left_out, *(["seed"] if self._has_seeds else [])]
        arguments = dbt_arguments("build", self._artefacts, *kinds)
        arguments += ["--vars", json.dumps(self._variables)]
        if checks_left_out:
            arguments += ["--exclude", checks_left_out]
        result = dbtRunner(manifest=manifest).invoke(arguments)
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
