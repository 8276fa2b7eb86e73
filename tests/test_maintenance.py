"""Maintenance gives room back and changes no number, wherever it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration import maintenance

POINTS = ["execute:9", "execute:12", "sync:before", "replace:before", "replace:after"]


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A warehouse of which most is free: what was held before lies behind holes."""
    settings = Settings(home=tmp_path, compact_above=0.1)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.execute(
            """
            create schema parts; create schema marts; create schema raw; create schema aside;
            create table raw.files (
                file_id integer primary key, status varchar default 'loaded' check (status <> '')
            );
            comment on table raw.files is 'One row per file.';
            create table aside.one as select range as i, hash(range) as h from range(200000);
            insert into raw.files (file_id) select range from range(1000);
            create table parts.sums as
            select range % 7 as k, hash(range) % 1000 as v, 'text ' || range as t
            from range(20000);
            create table aside.other as select range as i, hash(range, 1) as h from range(200000);
            create view marts.sums as
            select k, sum(v) as v, max(t) as t from "warehouse"."parts"."sums" group by k;
            comment on view marts.sums is 'One row per k.';
            """
        )
        connection.execute("checkpoint")
        connection.execute("create table parts.last as select range as i from range(5000)")
        connection.execute("drop schema aside cascade")
        connection.execute("checkpoint")
        assert maintenance.free_share(connection) > 0.5
    return settings


def everything(settings: Settings) -> dict[str, object]:
    """Every row, view and comment, in the order in which they stand."""
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        names = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() order by 1"
        ).fetchall()
        held: dict[str, object] = {
            name: connection.execute(f"select * from {name}").fetchall() for (name,) in names
        }
        held["marts.sums"] = connection.execute("from marts.sums order by all").fetchall()
        held["comments"] = connection.execute(
            "select table_name, comment from duckdb_tables() union all "
            "select view_name, comment from duckdb_views() where not internal order by all"
        ).fetchall()
        return held


def files(settings: Settings) -> set[str]:
    return {path.name for path in settings.home.iterdir()}


def test_a_compacted_warehouse_is_smaller_and_the_same(home: Settings) -> None:
    before = everything(home)
    room = maintenance.compact(home)
    assert room is not None and room.after < room.before / 2
    assert home.warehouse_path.stat().st_size == room.after
    assert everything(home) == before
    assert maintenance.compact(home) is None, "there is nothing more to give back"
    with duckdb.connect(str(home.warehouse_path)) as connection:
        with pytest.raises(duckdb.ConstraintException):
            connection.execute("insert into raw.files (file_id) values (1)")
        connection.execute("insert into raw.files (file_id) values (1001)")


def test_a_warehouse_with_little_room_to_give_back_is_left_alone(home: Settings) -> None:
    number = home.warehouse_path.stat().st_ino
    assert maintenance.compact(home.model_copy(update={"compact_above": 1.0})) is None
    assert home.warehouse_path.stat().st_ino == number


def test_killed_on_the_way_it_leaves_the_old_file_or_the_new_one(home: Settings) -> None:
    before, size = everything(home), home.warehouse_path.stat().st_size
    homes = {point: home.model_copy(update={"home": home.home / point}) for point in POINTS}
    for one in homes.values():
        one.home.mkdir()
        shutil.copy(home.warehouse_path, one.warehouse_path)
    finished = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_maintenance.py"), home.home, *POINTS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert finished.stdout.splitlines() == [f"{point} was killed" for point in POINTS]
    for point, one in homes.items():
        is_new = one.warehouse_path.stat().st_size < size
        assert is_new == (point == "replace:after"), point
        assert everything(one) == before, point
        assert (maintenance.compact(one) is None) == is_new, point
        assert everything(one) == before, point
        assert files(one) == {"warehouse.duckdb"}, point


def test_nobody_else_can_open_the_warehouse_until_the_new_file_has_its_name(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def try_to_open(path: Path) -> None:
        opened = subprocess.run(
            [sys.executable, "-c", f"import duckdb; duckdb.connect('{home.warehouse_path}')"],
            capture_output=True,
            text=True,
        )
        seen.append("lock" in opened.stderr.lower())

    monkeypatch.setattr(maintenance, "sync", try_to_open)
    maintenance.compact(home)
    assert seen[0], "while the copy is made"


def test_a_full_disk_leaves_the_warehouse_and_no_rest(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(home)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(maintenance, "sync", full)
    with pytest.raises(UserError, match="make room and run again"):
        maintenance.compact(home)
    assert files(home) == {"warehouse.duckdb"}
    assert everything(home) == before
