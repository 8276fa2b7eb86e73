"""SIGKILL while publishing: readers find the last snapshot or the new one, whole; never a part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from compiled import build_models, create_seeds

sys.path.append(str(Path(__file__).parent / "dbt_project"))
from small_world import create_raw_records  # noqa: E402

POINTS = [
    *(f"execute:{number}" for number in (2, 60, 900)),
    "fsync:after",
    *(f"{step}:{when}" for step in ("rename", "replace") for when in ("before", "after")),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a built warehouse."""
    home = tmp_path_factory.mktemp("home")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{home / 'warehouse.duckdb'}' as file")
        create_seeds(connection)
        create_raw_records(connection)
        connection.execute(
            "insert into raw.batches (batch_id, as_of, started_at) "
            "values (1, '2026-05-07', '2026-05-07')"
        )
        build_models(connection)
        connection.execute("copy from database memory to file")
    return home


def test_a_reader_never_finds_a_part_and_the_next_publication_is_whole(home: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_publications.py")), home, *POINTS],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    outcomes = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [one["point"] for one in outcomes] == POINTS
    for outcome in outcomes:
        assert outcome["was_killed"], outcome["point"]
        assert outcome["after"]["rows"] == outcome["before"]["rows"], outcome["point"]
        assert outcome["finally"]["rows"] == outcome["before"]["rows"], outcome["point"]
        assert outcome["finally"]["snapshot"] > outcome["after"]["snapshot"], outcome["point"]
        assert outcome["left_behind"] == 0, outcome["point"]
    shown = {
        one["point"]: one["after"]["snapshot"] != one["before"]["snapshot"] for one in outcomes
    }
    assert shown["replace:after"] and not shown["replace:before"]
