"""Costs are summed to the last digit, also where all together have more digits than marts keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pytest
from hostile import RecordSet
from incremental_warehouse import IncrementalWarehouse, definitions_of
from published_snapshots import publish_now, published_rows, warehouse_rows
from test_incremental_equals_full_refresh import assert_same
from test_what_a_batch_restates import message

from msgmetrics.exporting import export
from msgmetrics.published_tables import marts
from msgmetrics.settings import Settings
from orchestration import publishing
from orchestration.checks.published import look_at_what_is_new

MOST = Decimal("999999999999.999999")
SHORT, LONG = "DECIMAL(18,6)", "DECIMAL(38,6)"
# What arrives before each publication, by the cost that it has, and all costs so far.
BATCHES = (
    [message(1, cost_cents="0.1"), message(2, cost_cents="0.2", direction="INBOUND")],
    [message(1, cost_cents=str(MOST - Decimal("0.3")), updated_at="2026-01-01T00:00:00Z")],
    [message(3, cost_cents=str(MOST)), message(4, cost_cents=str(MOST), direction="INBOUND")],
    [message(5, cost_cents="0.000001")],
    [message(3, cost_cents="0.1", updated_at="2026-01-01T00:00:00Z")],
)
TOTALS = (
    Decimal("0.3"),
    MOST - Decimal("0.1"),
    3 * MOST - Decimal("0.1"),
    3 * MOST - Decimal("0.099999"),
    2 * MOST + Decimal("0.000001"),
)


@dataclass
class Published:
    """What each publication kept costs as, and its sum of them by mart; which were made anew."""

    settings: Settings
    kept_as: list[set[str]] = field(default_factory=list)
    totals: list[set[Decimal]] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    made_anew: list[str] = field(default_factory=list)
    exported_as: list[set[str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """All tables must be right when sums have just outgrown what kept them, and in the end."""
    warehouse = IncrementalWarehouse(tmp_path_factory.mktemp("costs"))
    settings, lake = warehouse.settings, tmp_path_factory.mktemp("lake") / "lake"
    published, write = Published(settings), publishing._anew
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            publishing,
            "_anew",
            lambda *args: (published.made_anew.append(args[3].snapshot_id), write(*args)),
        )
        for number, records in enumerate(BATCHES):
            warehouse.arrive(RecordSet(messages=tuple(records)), Random(1))
            warehouse.build()
            if number in (2, len(BATCHES) - 1):
                assert_same(warehouse.held(), definitions_of(warehouse))
            with warehouse.connection() as connection:
                look_at_what_is_new(connection, settings)
            published.snapshots.append(publish_now(settings).snapshot_id)
            assert_same(published_rows(settings), warehouse_rows(settings))
            export(settings, lake)
            _look(published, lake)
    yield published


def _look(published: Published, lake: Path) -> None:
    with duckdb.connect(str(published.settings.published_path), read_only=True) as connection:
        kept = connection.execute(
            "select distinct data_type from duckdb_columns() where column_name in "
            "('cost_cents_out', 'cost_cents_in') and table_name in "
            "(select unnest(?)) ",
            [list(marts())],
        ).fetchall()
        totals = [
            connection.execute(f"select sum(total_cost_cents) from {name}").fetchone()[0]
            for name, mart in marts().items()
            if mart.metrics and not mart.of_urls
        ]
    with duckdb.connect() as connection:
        exported = connection.execute(
            f"select distinct column_type from (describe select * from "
            f"read_parquet('{lake}/hourly_by_channel/*/*.parquet')) where column_name like '%cost%'"
        ).fetchall()
    published.kept_as.append({kind for (kind,) in kept})
    published.totals.append(set(totals))
    published.exported_as.append({kind for (kind,) in exported})


def test_every_mart_has_the_sum_of_all_costs_to_the_last_digit(published: Published) -> None:
    assert published.totals == [{total} for total in TOTALS]


def test_sums_are_kept_in_18_digits_until_all_costs_ever_loaded_have_more(
    published: Published,
) -> None:
    assert published.kept_as == [{SHORT}, {SHORT}, {LONG}, {LONG}, {LONG}]


def test_a_file_is_brought_forward_to_longer_sums_and_still_leads_back(
    published: Published,
) -> None:
    assert published.made_anew == published.snapshots[:1]
    with duckdb.connect(str(published.settings.published_path), read_only=True) as connection:
        found = [
            connection.execute(
                f"select sum(total_cost_cents) from daily_by_channel_as_of('{snapshot}')"
            ).fetchone()[0]
            for snapshot in published.snapshots
        ]
    assert found == list(TOTALS)


def test_exports_keep_one_type_whatever_the_published_file_has(published: Published) -> None:
    assert published.exported_as == [{LONG}] * len(BATCHES)
