"""A load that dies at any moment, and the load after it: nothing lost, nothing twice."""

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import pytest
from raw_records import ACCOUNT, EVENT, MESSAGE, file_of
from zone import NOW, Zone

from orchestration.loading.loader import Loader

BROKEN = {**ACCOUNT, "plan": '"huge"'}
FILES = {
    "accounts/a.jsonl": file_of([ACCOUNT, ACCOUNT], "jsonl"),
    "accounts/broken.jsonl": file_of([ACCOUNT, BROKEN, ACCOUNT], "jsonl"),
    "accounts/broken.csv": file_of([BROKEN, ACCOUNT], "csv"),
    "accounts/not.jsonl.gz": gzip.compress(b"x")[:-1],
    "accounts/same.jsonl": file_of([ACCOUNT, ACCOUNT], "jsonl"),
    "messages/a.parquet": file_of([MESSAGE, MESSAGE], "parquet"),
    "messages/broken.parquet": file_of([MESSAGE, {**MESSAGE, "sender": "null"}], "parquet"),
    "messages/not.parquet": b"not Parquet",
    "events/a.csv": file_of([EVENT, EVENT], "csv"),
}


class Stopped(BaseException):
    """What no handler may take for an error that it knows."""


def stop() -> None:
    raise Stopped


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingConnection:
    """A connection that dies when it is asked for one statement more than it may execute."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, statements: int, die: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._left = statements
        self._die = die

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: object) -> duckdb.DuckDBPyConnection:
        if self._left == 0:
            self._die()
        self._left -= 1
        return self._connection.execute(sql, *parameters)


def filled(zone: Zone, names: Iterable[str] = FILES) -> Zone:
    for name in names:
        zone.write(name, FILES[name])
    return zone


def test_a_second_load_adds_nothing(zone: Zone):
    filled(zone).load()
    once = zone.content()
    assert sum(once["accounts"].values()) == 7
    for rehash in (False, True):
        report = zone.load(rehash=rehash)
        assert (report.files, report.known_files) == (0, len(FILES))
        assert zone.content() == once


def test_one_loader_may_load_twice(zone: Zone):
    with zone.cursor() as cursor:
        loader = Loader(cursor, zone.settings, now=NOW, as_of=NOW)
        assert filled(zone) and loader.load().files == len(FILES)
        assert loader.load().known_files == len(FILES)


def test_a_load_in_two_halves_is_one_load(zone: Zone, new_zone):
    other = filled(new_zone())
    other.load()
    for name, content in FILES.items():
        zone.write(name, content)
        zone.load()
    assert zone.content() == other.content()


SOME = (
    "accounts/a.jsonl",
    "accounts/broken.jsonl",
    "accounts/not.jsonl.gz",
    "messages/broken.parquet",
)

STATEMENTS_THAT_MAKE_TABLES = 2


def load_dying(zone: Zone, statements: int, die: Callable[[], None]) -> None:
    """A load that dies after so many statements, unless it needs no more."""
    with zone.cursor() as cursor:
        connection = DyingConnection(cursor, statements, die)
        Loader(connection, zone.settings, now=NOW, as_of=NOW).load()


def test_a_load_that_stops_between_any_two_statements_is_made_good_by_the_next(new_zone):
    undisturbed = filled(new_zone(), SOME)
    undisturbed.load()
    expected = undisturbed.content()
    moments = 0
    while True:
        zone = filled(new_zone(), SOME)
        try:
            load_dying(zone, moments, stop)
            break
        except Stopped:
            moments += 1
        if moments > STATEMENTS_THAT_MAKE_TABLES:
            zone.check_accounts()
        zone.load()
        assert zone.content() == expected, moments
        zone.close()
    assert moments > 40


@pytest.mark.parametrize("statements", (14, 28))
def test_a_killed_process_leaves_whole_files_only(zone: Zone, new_zone, statements: int):
    undisturbed = filled(new_zone())
    undisturbed.load()
    filled(zone)
    died = subprocess.run([sys.executable, __file__, str(zone.root), str(statements)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert zone.settings.work_dir.exists()
    zone.load()
    assert zone.content() == undisturbed.content()


def test_a_killed_process_needs_no_second_chance_for_what_it_had_loaded(zone: Zone):
    """Kills a load again and again, each time a little later, until one gets through."""
    filled(zone)
    deaths = 0
    while True:
        try:
            load_dying(zone, 25 + deaths // 2, stop)
            break
        except Stopped:
            zone.check_accounts()
            deaths += 1
    assert deaths > 1
    assert sorted(file["path"] for file in zone.files()) == sorted(FILES)


if __name__ == "__main__":
    load_dying(Zone(Path(sys.argv[1])), int(sys.argv[2]), kill)
