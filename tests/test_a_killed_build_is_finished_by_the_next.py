"""SIGKILL at statements of a dbt build, and inside them, and a disk that is full from one of them
on: the next build ends as an undisturbed one.

How loading survives is tested in `loading/`, whole passes in `pipeline/`. `make soak` kills at many
more statements.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import duckdb
import pytest
from hostile import drawn, every_tie, side_by_side
from incremental_warehouse import STATE, IncrementalWarehouse
from small_warehouse import rows_of, table_names
from test_incremental_equals_full_refresh import split

POINTS = int(os.environ.get("MSGMETRICS_TEST_KILLS", "3"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of one batch, built, and a second batch, loaded."""
    work = tmp_path_factory.mktemp("killed")
    random = Random(5)
    warehouse = IncrementalWarehouse(work)
    first, second = split(side_by_side(drawn(40, 5) + every_tie()), 2, random)
    for number, part in enumerate((first, second)):
        warehouse.arrive(part, random)
        if number == 0:
            warehouse.build()
    template = work / "template"
    template.mkdir()
    shutil.copy(warehouse.settings.warehouse_path, template / "warehouse.duckdb")
    return work


def killed_at(work: Path, *points: str) -> list[dict]:
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_builds.py")), str(work), *points],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "MSGMETRICS_DEFINITION": "as released",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]


def contents_of(folder: Path) -> dict[str, list[tuple]]:
    """Every row of what a run restates, of the marts, and of the trail of changes."""
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        tables = [f"{schema}.{name}" for schema, names in STATE.items() for name in names]
        tables += ["facts.fct_messages_changes", "facts.fct_url_clicks_changes"]
        tables += [f"marts.{name}" for name in table_names(connection, "marts")]
        return {table: rows_of(connection, table) for table in tables}


def test_a_build_killed_or_out_of_room_anywhere_is_finished_by_the_next(work: Path) -> None:
    random = Random(5)
    whens = ("inside", "full", "after", "before")
    points = [f"{random.random():.4f}:{whens[index % len(whens)]}" for index in range(POINTS)]
    undisturbed, *outcomes = killed_at(work, "none", *points)
    assert undisturbed["is_whole"] and [one["point"] for one in outcomes] == points
    expected = contents_of(work / "0")
    assert expected["facts.fct_messages_changes"], "the second batch has to restate something"
    assert sum(not one["is_whole"] for one in outcomes) >= len(points) * 0.6
    for number, outcome in enumerate(outcomes, start=1):
        found = contents_of(work / str(number))
        unlike = [table for table, rows in expected.items() if found[table] != rows]
        assert not unlike, (outcome["point"], unlike)
