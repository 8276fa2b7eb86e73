"""However records are split into batches, what a run restates equals what the definitions give.

Every batch is loaded and built by dbt as a pass does; after each one every row of every table is
compared, both ways, with the project's SELECTs over all records at once. On the way changes are
forgotten and days backfilled. Many hostile record sets, which share no id, arrive side by side,
each in a random split of its own; `make soak` draws more. No check of a pass fires on any of it.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from random import Random

import pytest
from hostile import RecordSet, drawn, every_bound, every_tie, side_by_side
from incremental_warehouse import SOON_CROWDED, IncrementalWarehouse, definitions_of

SETS = int(os.environ.get("MSGMETRICS_TEST_SETS", "250"))
BATCHES = 4


def split(records: RecordSet, batches: int, random: Random) -> list[RecordSet]:
    """Every record in at least one batch, some in two or three; of half of the events all versions
    come together, as they do where a source sends twice what it corrects at once."""
    parts: list[dict[str, list]] = [
        {name: [] for name, _ in records.streams()} for _ in range(batches)
    ]
    together: dict[object, int | None] = {}
    for name, of_stream in records.streams():
        for record in of_stream:
            if name == "events" and isinstance(event_id := record.get("event_id"), str):
                number = random.choice((None, random.randrange(batches)))
                if (number := together.setdefault(event_id, number)) is not None:
                    parts[number][name].append(record)
                    continue
            times = random.choice((1, 1, 1, 2, 3))
            for number in random.sample(range(batches), min(times, batches)):
                parts[number][name].append(record)
    return [RecordSet(**{name: tuple(some) for name, some in part.items()}) for part in parts]


def assert_same(held: dict[str, list[tuple]], defined: dict[str, list[tuple]]) -> None:
    assert held.keys() == defined.keys()
    for table, rows in held.items():
        if rows != defined[table]:
            only_held = [row for row in rows if row not in set(defined[table])]
            only_defined = [row for row in defined[table] if row not in set(rows)]
            pytest.fail(
                f"{table} differs\n  held, not defined: {only_held[:2]}"
                f"\n  defined, not held: {only_defined[:2]}"
            )


@pytest.mark.parametrize("seed", [1])
def test_after_every_batch_all_tables_are_those_of_the_definitions(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    sets = drawn(SETS, seed) + (every_bound() + every_tie() if seed == 1 else [])
    warehouse = IncrementalWarehouse(tmp_path, SOON_CROWDED)
    put_together = set()
    for number, part in enumerate(split(side_by_side(sets), BATCHES, random)):
        warehouse.arrive(part, random)
        if number == 2:
            assert warehouse.forget_changes(), "there have to be changes to forget"
            warehouse.backfill(date(2026, 5, 5), date(2026, 5, 6))
        if number < BATCHES - 1:
            warehouse.build()
        else:
            assert warehouse.checked_build() == set()
        put_together |= set(warehouse.put_together())
        assert_same(warehouse.held(), definitions_of(warehouse))
    assert put_together, "parts of marts have to be put together meanwhile"
