"""The dbt project's own SQL, compiled once, run over an in-memory warehouse in milliseconds.

For tests that need many small warehouses. Whole runs through Dagster and dbt are tested apart.
"""

import csv
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

PROJECT = Path(__file__).parents[1] / "dbt_project"


@dataclass(frozen=True)
class CompiledProject:
    """Seeds, models in the order of their dependencies, and data tests, with their SQL."""

    seeds: tuple[tuple[str, dict[str, str]], ...]  # name, column types
    models: tuple[tuple[str, str, str], ...]  # schema, name, select
    data_tests: dict[str, str]  # name: select of the rows that fail it
    manifest: dict[str, Any]  # dbt's own description of the project


@cache
def compiled_project() -> CompiledProject:
    """dbt's own compilation of the project for a database called `memory`."""
    import tempfile

    from dbt.cli.main import dbtRunner

    os.environ["MSGMETRICS_WAREHOUSE"] = ":memory:"
    with tempfile.TemporaryDirectory() as target:
        result = dbtRunner().invoke(
            [
                *("compile", "--quiet", "--project-dir", str(PROJECT)),
                *("--profiles-dir", str(PROJECT), "--target-path", target, "--log-path", target),
            ]
        )
        manifest_file = Path(target) / "manifest.json"
        manifest = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
    if not result.success:
        raise RuntimeError(f"dbt compile failed: {result.exception}")
    compiled = {node_result.node.unique_id: node_result.node for node_result in result.result}
    models = {key: node for key, node in compiled.items() if key.startswith("model.")}
    ordered: list[str] = []

    def visit(key: str) -> None:
        if key in models and key not in ordered:
            for parent in models[key].depends_on.nodes:
                visit(parent)
            ordered.append(key)

    for key in models:
        visit(key)
    seeds = []
    for path in sorted((PROJECT.parent / "seeds").glob("*.csv")):
        node = compiled.get(f"seed.msgmetrics.{path.stem}")
        seeds.append((path.stem, dict(node.config.column_types) if node else {}))
    return CompiledProject(
        tuple(seeds),
        tuple((models[k].schema, models[k].name, models[k].compiled_code) for k in ordered),
        {n.name: n.compiled_code for key, n in compiled.items() if key.startswith("test.")},
        manifest,
    )


def create_seeds(connection: duckdb.DuckDBPyConnection) -> None:
    """The reference tables, as `dbt seed` makes them."""
    connection.execute("create schema if not exists reference")
    for name, types in compiled_project().seeds:
        path = PROJECT.parent / "seeds" / f"{name}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        columns = {column: types.get(column, "varchar") for column in header}
        connection.execute(
            f"create or replace table reference.{name} as "
            f"select * from read_csv('{path}', header = true, columns = {columns}, quote = '\"')"
        )


def build_models(connection: duckdb.DuckDBPyConnection) -> None:
    """Every model as a table, from the raw tables of this connection."""
    for schema, name, select in compiled_project().models:
        connection.execute(f"create schema if not exists {schema}")
        connection.execute(f"create or replace table {schema}.{name} as {select}")
