"""SIGKILL while publishing: readers find the last snapshot or the new one, whole; never a part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hostile import drawn, side_by_side
from incremental_warehouse import IncrementalWarehouse
from published_snapshots import publish_now
from test_incremental_equals_full_refresh import split

POINTS = [
    "none",
    "execute:130",
    "unprepared:execute:130",
    "prepared",
    "rename:after",
    "replace:before",
]
if "MSGMETRICS_TEST_KILLS" in os.environ:
    POINTS += [f"{how}execute:{number}" for number in (3, 60, 250) for how in ("", "unprepared:")]
    POINTS += ["fsync:before", "fsync:after", "rename:before", "replace:after"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two published files, and a batch that neither has."""
    random = Random(2)
    warehouse = IncrementalWarehouse(tmp_path_factory.mktemp("killed"))
    home = warehouse.settings.home
    for number, part in enumerate(split(side_by_side(drawn(20, 2)), 3, random)):
        warehouse.arrive(part, random)
        warehouse.build()
        if number < 2:
            publish_now(warehouse.settings)
    (home / "published").rename(home / "published.saved")
    warehouse.settings.warehouse_path.rename(home / "warehouse.saved")
    return home


def test_a_reader_never_finds_a_part_and_the_next_publication_is_whole(home: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_publications.py")), home, *POINTS],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    outcomes = {one["point"]: one for one in map(json.loads, finished.stdout.splitlines())}
    undisturbed = outcomes.pop("none")
    whole = undisturbed["after"]["rows"]
    assert not undisturbed["was_killed"] and whole != undisturbed["before"]["rows"]
    assert list(outcomes) == POINTS[1:]
    for point, outcome in outcomes.items():
        before, after = outcome["before"], outcome["after"]
        assert outcome["was_killed"], point
        is_new = after["snapshot"] != before["snapshot"]
        assert after["rows"] == (whole if is_new else before["rows"]), point
        assert is_new == (point == "replace:after"), point
        assert outcome["finally"]["rows"] == whole, point
        assert outcome["finally"]["snapshot"] > after["snapshot"], point
        assert outcome["files"] <= 2, point
