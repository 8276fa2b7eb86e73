"""What a warehouse owes its readers, and which days a build restated, told from its own tables."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.batches import Cause, open_batch
from orchestration.restatement import (
    RestatedDay,
    owe_every_row,
    remember_build,
    restated_days,
    unfinished,
    unpublished,
)
from orchestration.warehouse import create_raw_tables

NOW = datetime(2026, 5, 6, tzinfo=UTC)


class Warehouse:
    """Batches, files, marks and changes put there by hand."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, home: Path) -> None:
        self.connection, self.settings = connection, Settings(home=home)
        create_raw_tables(connection)

    def batch(self, cause: Cause = "load", *, loaded: int = 0, days: tuple | None = None) -> int:
        first, last = days or (None, None)
        batch_id = open_batch(
            self.connection, cause=cause, as_of=NOW, now=NOW, from_day=first, to_day=last
        )
        if loaded:
            self.connection.execute(
                "insert into raw.files by name select $n as file_id, 'messages' as stream, "
                "'x' as path, 1 as size, 1 as modified_ns, 1 as inode, "
                "$n::varchar as content_hash, date '2026-05-06' as landing_day, $n as batch_id, "
                "'loaded' as status, $loaded as records, $loaded as loaded, 0 as quarantined, "
                "timestamp '2026-05-06' as loaded_at",
                {"n": batch_id, "loaded": loaded},
            )
        return batch_id

    def built(self, **marks: int) -> None:
        self.connection.execute(
            "create schema if not exists facts; create or replace table facts.marks "
            "(relation varchar, batch_id integer, rebuilt_batch_id integer, definition varchar)"
        )
        remember_build(self.connection, self.settings)
        for relation, batch_id in marks.items():
            self.connection.execute(
                "insert into facts.marks values (?, ?, 1, null)", [relation, batch_id]
            )

    def published(self, batch_id: int, *, of: str = "this warehouse") -> None:
        path = self.settings.published_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with duckdb.connect(str(path)) as file:
            file.execute(
                "create table snapshots as select $of as snapshot_id, $batch_id as batch_id",
                {"of": of, "batch_id": batch_id},
            )
        if of == "this warehouse":
            self.connection.execute("insert into raw.published_files values (?, ?)", [of, batch_id])

    def unfinished(self) -> list[str]:
        return unfinished(self.connection, self.settings)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with duckdb.connect() as connection:
        yield Warehouse(connection, tmp_path)


def test_before_the_first_load_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    with duckdb.connect() as connection, pytest.raises(UserError, match="msgmetrics run"):
        unfinished(connection, Settings(home=tmp_path))


def test_a_warehouse_without_marks_is_built(warehouse: Warehouse) -> None:
    warehouse.batch(loaded=3)
    assert warehouse.unfinished() == ["Nothing is built yet."]


def test_what_is_built_and_published_is_finished_however_many_empty_passes_follow(
    warehouse: Warehouse,
) -> None:
    warehouse.built(fct_messages=warehouse.batch(loaded=3), fct_messages_changes=0)
    warehouse.published(1)
    for _ in range(3):
        warehouse.batch()
    assert warehouse.unfinished() == []
    assert unpublished(warehouse.connection, warehouse.settings) == []


def test_records_days_and_requeued_records_above_any_mark_are_built(warehouse: Warehouse) -> None:
    warehouse.batch(loaded=3)
    warehouse.published(1)
    warehouse.batch(loaded=1000)
    warehouse.batch("backfill", days=(date(2026, 5, 1), date(2026, 5, 2)))
    warehouse.batch("requeue")
    warehouse.batch("backfill")
    warehouse.built(fct_messages=5, daily_by_channel=1)
    waiting = [
        "Batch 2 (load of 1,000 records)",
        "Batch 3 (days 2026-05-01 to 2026-05-02 anew)",
        "Batch 4 (requeue of 0 records)",
        "Batch 5 (every day anew)",
    ]
    assert warehouse.unfinished()[:-1] == [f"{batch} is not built yet." for batch in waiting]
    assert unpublished(warehouse.connection, warehouse.settings) == waiting


def test_what_is_built_but_not_published_is_checked_again(warehouse: Warehouse) -> None:
    warehouse.batch(loaded=3)
    warehouse.built(fct_messages=warehouse.batch(loaded=3))
    assert warehouse.unfinished() == ["Nothing is published yet."]
    warehouse.published(1)
    (reason,) = warehouse.unfinished()
    assert "Batch 2 is built" in reason and "batch 1" in reason


def test_a_snapshot_of_another_warehouse_is_none(warehouse: Warehouse) -> None:
    warehouse.built(fct_messages=warehouse.batch(loaded=3))
    warehouse.published(1, of="another warehouse")
    assert warehouse.unfinished() == ["Nothing is published yet."]
    warehouse.published(1)
    assert warehouse.unfinished() == []


@pytest.fixture
def facts(warehouse: Warehouse) -> duckdb.DuckDBPyConnection:
    """Three messages on two days; the second batch moved one, corrected one and brought one."""
    warehouse.batch(loaded=3)
    warehouse.batch(loaded=3)
    warehouse.built(fct_messages=2)
    warehouse.connection.execute(
        """
        create table facts.fct_messages (message_id varchar, sent_at timestamp);
        insert into facts.fct_messages values
            ('moved', '2026-05-02 10:00'), ('corrected', '2026-05-01 09:00'),
            ('brought', '2026-05-02 23:59:59');
        create table facts.fct_messages_changes as
        select 0 as batch_id, 0::tinyint as sign, * from facts.fct_messages limit 0;
        insert into facts.fct_messages_changes values
            (2, -1, 'moved', '2026-05-01 10:00'), (2, 1, 'moved', '2026-05-02 10:00'),
            (2, -1, 'corrected', '2026-05-01 09:00'), (2, 1, 'corrected', '2026-05-01 09:00'),
            (2, 1, 'brought', '2026-05-02 23:59:59');
        """
    )
    return warehouse.connection


def test_restated_days_count_what_came_what_changed_and_what_left(
    facts: duckdb.DuckDBPyConnection,
) -> None:
    assert restated_days(facts, 1) == [
        RestatedDay(date(2026, 5, 1), rows=1, new=0, changed=1, removed=1, batch_id=2),
        RestatedDay(date(2026, 5, 2), rows=2, new=2, changed=0, removed=0, batch_id=2),
    ]
    assert restated_days(facts, 2) == []


def test_a_day_that_lost_its_last_message_is_restated_to_nothing(
    facts: duckdb.DuckDBPyConnection,
) -> None:
    facts.execute("delete from facts.fct_messages where message_id = 'corrected'")
    assert restated_days(facts, 1)[0].rows == 0


def test_every_day_is_restated_where_the_facts_were_made_anew(
    facts: duckdb.DuckDBPyConnection,
) -> None:
    assert [(day.day.day, day.rows, day.new) for day in restated_days(facts, 0)] == [
        (1, 1, 1),
        (2, 2, 2),
    ]


def test_a_comparison_of_every_row_is_owed_until_one_has_ended_well(warehouse: Warehouse) -> None:
    batch = warehouse.batch(loaded=1)
    warehouse.built(fct_messages=batch)
    warehouse.published(batch)
    assert warehouse.unfinished() == []
    owe_every_row(warehouse.connection)
    remember_build(warehouse.connection, warehouse.settings)
    assert len(warehouse.unfinished()) == 1
    remember_build(warehouse.connection, warehouse.settings, every_row=True)
    assert warehouse.unfinished() == []
