"""The step before our own models, where they start from files too: raw tables, nothing judged."""

from pathlib import Path

from benchmarks.records import opened, read_landing


def compute(landing: Path, results: Path) -> None:
    """Leaves `warehouse.duckdb` with raw tables alone."""
    warehouse = results / "warehouse.duckdb"
    warehouse.unlink(missing_ok=True)
    with opened(warehouse) as connection:
        read_landing(connection, landing)
