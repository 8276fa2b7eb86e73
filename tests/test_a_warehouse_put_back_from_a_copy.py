"""A warehouse that is put back from a copy numbers its batches anew; what readers see is of these.

Files that were published of the batches given up are still there, under the same numbers and with
the same as_of: none of them is taken for one of the batches that came instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import duckdb
import pytest
from hostile import RecordSet, drawn, side_by_side
from incremental_warehouse import IncrementalWarehouse
from published_snapshots import publish_now, published_rows, rows_as_of, warehouse_rows
from small_warehouse import Row
from test_incremental_equals_full_refresh import assert_same, split

from msgmetrics.published_tables import tables_as_of
from msgmetrics.settings import Settings
from orchestration import publishing
from orchestration.checks.published import look_at_what_is_new
from orchestration.maintenance import restore_order

SETS, BATCHES = 12, 5


class KilledError(Exception):
    """The process ends here."""


@dataclass
class Passes:
    """Passes over one home, and what was to be seen after each."""

    folder: Path
    batches: Iterator[RecordSet]
    seen: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.warehouse = IncrementalWarehouse(self.folder)
        self.settings: Settings = self.warehouse.settings

    def load_and_build(self) -> None:
        self.warehouse.arrive(next(self.batches), Random(1))
        self.warehouse.build()

    def publish(self) -> None:
        """As a pass does: the gate has the file brought forward, and what it passed is shown."""
        with duckdb.connect(str(self.settings.warehouse_path)) as connection:
            look_at_what_is_new(connection, self.settings)
        shown = publish_now(self.settings)
        self.seen[shown.snapshot_id] = warehouse_rows(self.settings)
        assert_same(published_rows(self.settings), self.seen[shown.snapshot_id])

    def killed_before_it_is_shown(self, patch: pytest.MonkeyPatch) -> None:
        def killed(name: Path, target: Path) -> None:
            raise KilledError

        with patch.context() as patched, pytest.raises(KilledError):
            patched.setattr(publishing, "_point", killed)
            publish_now(self.settings)


@pytest.fixture(scope="module")
def given_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[RecordSet]]:
    """A folder after two passes, a copy of that, the folder with a third batch built that is to be
    given up, and the batches that come instead."""
    batches = split(side_by_side(drawn(SETS, 2)), BATCHES, Random(2))
    passes = Passes(tmp_path_factory.mktemp("given_up") / "folder", iter(batches))
    for _ in range(2):
        passes.load_and_build()
        passes.publish()
    copy = tmp_path_factory.mktemp("copy") / "folder"
    shutil.copytree(passes.folder, copy, symlinks=True)
    passes.load_and_build()
    return passes.folder, copy, batches[3:]


@pytest.mark.parametrize(
    ("last_step", "put_back"),
    [("shown twice", "the warehouse"), ("shown", "the home"), ("not shown", "the home")],
)
def test_what_readers_see_is_what_the_warehouse_holds(
    given_up: tuple[Path, Path, list[RecordSet]],
    last_step: str,
    put_back: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, copy, batches = given_up
    shutil.copytree(folder, tmp_path / "folder", symlinks=True)
    passes = Passes(tmp_path / "folder", iter(batches))
    snapshots = passes.settings.snapshots_dir
    if last_step == "not shown":
        passes.killed_before_it_is_shown(monkeypatch)
    else:
        for _ in range(1 + (last_step == "shown twice")):
            passes.publish()
    beside = snapshots / "backup.duckdb"
    shutil.copy(passes.settings.published_path, beside)
    held = beside.read_bytes()

    shutil.rmtree(passes.settings.landing_path)
    shutil.copytree(copy / "landing", passes.settings.landing_path)
    if put_back == "the warehouse":
        shutil.copy(copy / "home" / passes.settings.warehouse_path.name, passes.folder / "home")
    else:
        # What came later stays beside what is put back.
        passes.settings.published_path.unlink()
        shutil.copytree(copy / "home", passes.folder / "home", symlinks=True, dirs_exist_ok=True)
    passes.seen.clear()
    for _ in range(2):
        passes.load_and_build()
        passes.publish()

    with duckdb.connect(str(passes.settings.published_path), read_only=True) as file:
        earlier = {row[0] for row in file.execute("from earlier_snapshots").fetchall()}
    assert earlier & passes.seen.keys()
    for snapshot_id in earlier & passes.seen.keys():
        then = {name: passes.seen[snapshot_id][name] for name in tables_as_of("0")}
        assert_same(rows_as_of(passes.settings, snapshot_id), then)
    assert beside.read_bytes() == held, "a file of another name is none of ours"
    with duckdb.connect(str(passes.settings.warehouse_path)) as connection:
        restore_order(connection, passes.settings, datetime.now(UTC))
    assert beside.read_bytes() == held
