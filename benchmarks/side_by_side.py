"""One size of data: our refresh, a plain scan, and the other ways, in turn, on the same records.

What is compared with what, and how fairly, stands in `README.md`. Nothing is printed here but how
far it has come; `table.py` makes the table.
"""

import shutil
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.builds import Build, build
from benchmarks.comparisons.differences import compared_tables, differing_rows
from benchmarks.comparisons.rules import SHARED_MARTS
from benchmarks.comparisons.ways import COMPARED, Taken, run_way
from benchmarks.records import opened, write_landing, write_records

# dbt's selection of the shared marts with all that they are made of.
_SHARED = tuple(f"+{mart}" for mart in SHARED_MARTS)


@dataclass(frozen=True)
class Shared:
    """What the libraries do, done by our own models: files to raw tables, then the models."""

    reading: Taken
    models: Build

    @property
    def seconds(self) -> float:
        return self.reading.seconds + self.models.sql

    @property
    def peak(self) -> float:
        return max(self.reading.peak, self.models.peak)


@dataclass
class SideBySide:
    """What was measured at one size; NaN stands for what was not. differing: rows that are not
    ours, by way and table."""

    messages: int
    folder: Path
    memory: str = ""
    scans: list[Taken] = field(default_factory=list)
    refreshes: list[Build] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    others: dict[str, list[Taken]] = field(default_factory=dict)
    differing: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.messages / 1e6:g}M"

    @property
    def records(self) -> Path:
        """A warehouse that holds raw tables alone, and is left as it is."""
        return self.folder / "records" / "warehouse.duckdb"

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def warehouse(self) -> Path:
        """What the last full refresh made of these records."""
        return self.folder / "warehouse.duckdb"

    @property
    def scan(self) -> float:
        return median(taken.seconds for taken in self.scans)

    @property
    def refresh(self) -> float:
        """SQL seconds of the full refresh: raw tables to all marts."""
        return median(one.sql for one in self.refreshes)

    @property
    def reading(self) -> float:
        """Seconds from files to raw tables, nothing judged."""
        return _median([one.reading.seconds for one in self.shared])

    @property
    def shared_seconds(self) -> float:
        """Seconds of msgmetrics from files to the shared marts."""
        return _median([one.seconds for one in self.shared])

    @property
    def shared_peak(self) -> float:
        """MiB that it held for them at most."""
        return max((one.peak for one in self.shared), default=nan)

    def seconds(self, way: str) -> float:
        """Seconds of another way from files to its results; NaN where it failed."""
        taken = self.others.get(way, [])
        return nan if self.failed(way) else _median([one.seconds for one in taken])

    def peak(self, way: str) -> float:
        """MiB that it held at most; NaN where it failed."""
        taken = self.others.get(way, [])
        return nan if self.failed(way) else max((one.peak for one in taken), default=nan)

    def failed(self, way: str) -> str | None:
        """Why a way failed in one of its turns; None where it did not."""
        return next((taken.failure for taken in self.others.get(way, []) if taken.failure), None)

    def failures(self) -> list[str]:
        """A sentence for each way that has no figure, or other rows than the warehouse."""
        found = [f"{way} at {self.name}: {why}" for way in self.others if (why := self.failed(way))]
        for way, tables in self.differing.items():
            unlike = ", ".join(f"{table} ({rows:,})" for table, rows in tables.items() if rows)
            if unlike:
                found.append(f"{way} at {self.name} has other rows than the warehouse: {unlike}")
        return found


def prepare(size: SideBySide, console: Console, *, again: bool) -> None:
    """Writes the records and their files. again: those of an earlier run will do."""
    if again and size.landing.exists():
        return
    write_records(size.records, size.messages)
    with opened(size.records, read_only=True) as connection:
        write_landing(connection, size.landing)
    console.print(f"{size.name}: records and their files are written")


def measure_alone(size: SideBySide, refreshed: Build | None) -> None:
    """Fills in the figures of the scan and of our refresh.

    refreshed: one that has just been made of these records, for which none is made here.
    """
    size.scans += [_other(size, "scan") for _ in range(3)]
    size.refreshes.append(refreshed or _refresh(size))


def measure(size: SideBySide, repetitions: int, console: Console) -> None:
    """Fills in the figures of all ways."""
    for number in range(repetitions):
        _take_turns(size)
        console.print(f"{size.name}: turn {number + 1} of {repetitions} is over")
    _compare(size)


def _take_turns(size: SideBySide) -> None:
    """Each way once, so that whatever else the machine does meets all of them alike."""
    size.scans.append(_other(size, "scan"))
    size.refreshes.append(_refresh(size))
    size.scans.append(_other(size, "scan"))
    size.shared.append(_shared(size))
    for way in COMPARED:
        turns = size.others.setdefault(way, [])
        # What does not fit the machine does not fit it the next time.
        if not size.failed(way):
            turns.append(_other(size, way))
    size.scans.append(_other(size, "scan"))


def _other(size: SideBySide, way: str) -> Taken:
    return run_way(way, size.landing, size.folder / "results" / way)


def _refresh(size: SideBySide) -> Build:
    for left in size.folder.glob("warehouse.duckdb*"):
        left.unlink()
    shutil.copyfile(size.records, size.warehouse)
    return build(size.warehouse, seeds=True, memory=size.memory)


def _shared(size: SideBySide) -> Shared:
    home = size.folder / "results" / "shared"
    reading = run_way("raw tables", size.landing, home)
    if reading.failure:
        raise RuntimeError(f"reading {size.landing} failed: {reading.failure}")
    models = build(home / "warehouse.duckdb", seeds=True, memory=size.memory, models=_SHARED)
    return Shared(reading, models)


def _compare(size: SideBySide) -> None:
    with opened(size.warehouse, read_only=True) as connection:
        for way in COMPARED:
            if not size.failed(way):
                results = size.folder / "results" / way
                size.differing[way] = differing_rows(connection, results, compared_tables(way))
    shutil.rmtree(size.folder / "results")


def _median(seconds: list[float]) -> float:
    return median(seconds) if seconds else nan
