"""A load that dies at any moment, and the load after it: nothing lost, nothing twice."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import pytest
from raw_records import ACCOUNT, EVENT, MESSAGE, file_of
from releases import release_that_refuses
from zone import NOW, Zone

from orchestration.loading.loader import Loader

# Of ids of their own: a good record of the same id would close their entries.
BROKEN = {**ACCOUNT, "account_key": '"broken"', "plan": '"huge"'}
BROKEN_MESSAGE = {**MESSAGE, "message_id": '"broken"', "sender": "null"}
_STATUS = {"MessageSid": "SM1", "MessageStatus": "delivered", "From": "+1", "To": "+2"}
WEBHOOKS = "".join(
    json.dumps({"received_at": "2026-05-05T10:00:00Z", "body": body}) + "\n"
    for body in (_STATUS, [_STATUS, {"CallSid": "CA1"}, {}], "no form post")
)
FILES = {
    "accounts/a.jsonl": file_of([ACCOUNT, ACCOUNT], "jsonl"),
    "accounts/broken.jsonl": file_of([ACCOUNT, BROKEN, ACCOUNT], "jsonl"),
    "accounts/broken.csv": file_of([BROKEN, ACCOUNT], "csv"),
    "accounts/not.jsonl.gz": gzip.compress(b"x")[:-1],
    "accounts/same.jsonl": file_of([ACCOUNT, ACCOUNT], "jsonl"),
    "messages/a.parquet": file_of([MESSAGE, MESSAGE], "parquet"),
    "messages/broken.parquet": file_of([MESSAGE, BROKEN_MESSAGE], "parquet"),
    "messages/not.parquet": b"not Parquet",
    "events/a.csv": file_of([EVENT, EVENT], "csv"),
    "webhooks/twilio/account=a/a.jsonl": WEBHOOKS.encode(),
    "webhooks/twilio/account=a/not.jsonl.gz": gzip.compress(b"x")[:-1],
    "webhooks/twilio/astray.jsonl": WEBHOOKS[:-1].encode(),
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
    "webhooks/twilio/account=a/a.jsonl",
)

STATEMENTS_THAT_MAKE_TABLES = 4
# `make soak` stops before every statement.
STEP = 1 if "MSGMETRICS_TEST_KILLS" in os.environ else 3


def load_dying(zone: Zone, statements: int, die: Callable[[], None]) -> None:
    """A load that dies after so many statements, unless it needs no more."""
    with zone.cursor() as cursor:
        connection = DyingConnection(cursor, statements, die)
        Loader(connection, zone.settings, now=NOW, as_of=NOW).load()


def test_a_load_that_stops_between_two_statements_is_made_good_by_the_next(new_zone):
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
            moments += STEP
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


REFUSED = {**MESSAGE, "message_id": '"refused"', "direction": '"UP"'}
FIRST = {
    "accounts/a.csv": file_of([ACCOUNT, {**ACCOUNT, "plan": '"free"'}], "csv"),
    "accounts/not.parquet": b"not Parquet",
    "messages/a.parquet": file_of([MESSAGE, {**MESSAGE, "message_id": '"n"'}], "parquet"),
    "messages/b.jsonl": file_of([REFUSED, {**MESSAGE, "message_id": "null"}], "jsonl"),
}
SECOND = {
    "accounts/not.parquet": file_of([ACCOUNT], "parquet"),
    "messages/b.jsonl": file_of([{**REFUSED, "direction": '"INBOUND"'}], "jsonl"),
    "messages/c.jsonl": file_of([{**REFUSED, "sender": "null"}], "jsonl"),
}


def refused_then_delivered(zone: Zone) -> Zone:
    """Refused by an older release, all of it; then today's, which finds the files of SECOND."""
    for name, content in FIRST.items():
        zone.write(name, content)
    with release_that_refuses():
        zone.load()
    for name, content in SECOND.items():
        zone.write(name, content)
    return zone


def test_a_requeue_and_what_is_closed_survive_a_stop_between_two_statements(new_zone):
    prepared = refused_then_delivered(new_zone())
    prepared.close()

    def again() -> Zone:
        zone = new_zone()
        shutil.copytree(prepared.root, zone.root)
        return zone

    undisturbed = again()
    undisturbed.load()
    expected = undisturbed.content()
    causes = [entry["closed_because"] for entry in undisturbed.quarantine()]
    assert Counter(causes) == {"requeued": 4, "file replaced": 2, "arrived again": 2}
    moments, requeues = 0, set()
    while True:
        zone = again()
        try:
            load_dying(zone, moments, stop)
            break
        except Stopped:
            moments += STEP
        zone.check_accounts()
        zone.load()
        assert zone.content() == expected, moments
        requeues.add(len(zone.query("from raw.batches where cause = 'requeue'")))
        zone.close()
    assert moments > 60 and requeues == {1}


@pytest.mark.parametrize("statements", (20, 35, 50, 65))
def test_a_process_killed_while_it_requeues_or_closes_leaves_all_of_it_or_nothing(
    zone: Zone, new_zone, statements: int
):
    undisturbed = refused_then_delivered(new_zone())
    undisturbed.load()
    refused_then_delivered(zone).close()
    died = subprocess.run([sys.executable, __file__, str(zone.root), str(statements)], check=False)
    assert died.returncode == -signal.SIGKILL
    zone.check_accounts()
    zone.load()
    assert zone.content() == undisturbed.content()


def test_a_load_that_is_killed_at_random_moments_again_and_again_ends_right(zone: Zone, new_zone):
    undisturbed = refused_then_delivered(new_zone())
    undisturbed.load()
    refused_then_delivered(zone).close()
    random = Random(4)
    endings = Counter()
    for _ in range(8):
        process = subprocess.Popen([sys.executable, __file__, str(zone.root), "-1"])
        try:
            process.wait(timeout=random.uniform(0.5, 2.0))
        except subprocess.TimeoutExpired:
            process.kill()
        endings[process.wait()] += 1
    assert set(endings) <= {0, -signal.SIGKILL}
    zone.load()
    assert zone.content() == undisturbed.content()


if __name__ == "__main__":
    load_dying(Zone(Path(sys.argv[1])), int(sys.argv[2]), kill)
