"""The same set of records gives the same marts, row by row, however and however often it arrives.

That the marts are right is `test_marts_equal_reference`'s matter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pytest
from hostile import RecordSet, drawn, every_tie, record_sets, side_by_side
from hypothesis import given, settings
from hypothesis import strategies as st
from landing_files import write_landing
from small_warehouse import build, contents, empty_warehouse, expected_marts, load

SETS = 100


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with empty_warehouse() as connection:
        yield connection


def repeated(records: RecordSet, random: Random) -> RecordSet:
    """Every record at least once, some up to three times, in random order."""
    return RecordSet(
        *(
            tuple(random.sample(some, len(some)))
            for some in (
                [record for record in of_stream for _ in range(random.randint(1, 3))]
                for _, of_stream in records.streams()
            )
        )
    )


def assert_same(tables: dict[str, list[tuple]], others: dict[str, list[tuple]]) -> None:
    """Both hold the same tables with the same rows; says which rows stand in one only."""
    assert tables.keys() == others.keys()
    for name, rows in tables.items():
        if rows != others[name]:
            unlike = sorted(map(str, {*rows} ^ {*others[name]}))
            pytest.fail(f"{name} differs: {unlike[:4] or 'in how often a row stands there'}")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(record_sets(), st.randoms(use_true_random=False))
def test_the_reference_itself_does_not_look_at_the_order(
    records: RecordSet, random: Random
) -> None:
    assert expected_marts(repeated(records, random)) == expected_marts(records)


@pytest.mark.parametrize("sets", [every_tie(), drawn(SETS, seed=1)], ids=["ties", "random"])
def test_any_order_repetition_and_split_into_files_gives_the_same_marts(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, sets: list[RecordSet]
) -> None:
    random = Random(1)
    records = side_by_side(sets)
    first, again = tmp_path / "first" / "landing", tmp_path / "again" / "landing"
    write_landing(first, records, random)
    load(warehouse, first)
    build(warehouse)
    marts = contents(warehouse, "marts")
    write_landing(again, repeated(records, random), random, most_files=20)
    with empty_warehouse() as other:
        load(other, again)
        build(other)
        assert_same(contents(other, "marts"), marts)


def test_records_that_come_in_several_passes_give_the_marts_of_one(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    random = Random(2)
    records = side_by_side(drawn(SETS, seed=2))
    landing, whole = tmp_path / "landing", tmp_path / "whole" / "landing"
    write_landing(landing, records, random, most_files=12)
    shutil.copytree(landing, whole)
    files = sorted(path for path in landing.rglob("*") if path.is_file())
    random.shuffle(files)
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    for number, path in enumerate(files):
        path.rename(waiting / str(number))
    numbers = list(range(len(files)))
    for arriving in (numbers[::3], numbers[1::3], numbers[2::3]):
        for number in arriving:
            (waiting / str(number)).rename(files[number])
        load(warehouse, landing)
        build(warehouse)
    with empty_warehouse() as other:
        load(other, whole)
        build(other)
        assert_same(contents(other, "marts"), contents(warehouse, "marts"))


def test_loading_twice_and_the_same_content_under_other_names_change_nothing(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    write_landing(landing, side_by_side(drawn(SETS, seed=3)), Random(3), most_files=12)
    first = load(warehouse, landing)
    build(warehouse)
    schemas = ("raw", "staging", "facts", "marts")
    before = {schema: contents(warehouse, schema) for schema in schemas}
    files = sorted(path for path in landing.rglob("*") if path.is_file())

    second = load(warehouse, landing)
    for path in files[::2]:
        os.utime(path, ns=(1, 1))  # other times, same content
    third = load(warehouse, landing)
    build(warehouse)
    after = {schema: contents(warehouse, schema) for schema in schemas}
    assert (first.files, first.known_files) == (len(files), 0)
    for report in (second, third):
        assert (report.files, report.known_files) == (0, len(files))
    # A pass leaves its own row, and notes when a file was written last.
    for noted in ("batches", "files"):
        assert len(after["raw"].pop(noted)) >= len(before["raw"].pop(noted))
    for schema in schemas:
        assert_same(after[schema], before[schema])

    for path in files:
        shutil.copy(path, path.with_name("copy-" + path.name))
    copies = load(warehouse, landing)
    build(warehouse)
    assert copies.files == len(files)
    for stream in ("messages", "events", "accounts"):
        assert copies.streams[stream].loaded == first.streams[stream].loaded
        assert len(contents(warehouse, "raw")[stream]) == 2 * len(before["raw"][stream])
    assert_same(contents(warehouse, "marts"), before["marts"])
