"""A load on a full disk, and one that Ctrl-C ends: whole files only, and the next one is right."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from raw_records import MESSAGE, file_of
from zone import Zone

from msgmetrics.errors import UserError
from orchestration.loading import loader
from orchestration.warehouse import warehouse

RECORDS = [{**MESSAGE, "message_id": f'"m{n * n}"', "sender": f'"{n**3}"'} for n in range(1000)]
BROKEN = {**MESSAGE, "message_id": '"broken"', "sender": "null"}


def filled(zone: Zone) -> Zone:
    for format_ in ("jsonl", "csv", "parquet"):
        zone.write(f"messages/a.{format_}", file_of(RECORDS, format_))
        zone.write(f"messages/broken.{format_}", file_of([*RECORDS, BROKEN], format_))
    return zone


def load_in_a_process(zone: Zone, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, __file__, str(zone.root), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def sizes() -> Iterator[int]:
    """Ever larger sizes that no file may exceed, in bytes."""
    size = 256 << 10
    while True:
        yield size
        size = size * 3 // 2


def test_a_load_that_runs_out_of_room_again_and_again_ends_right(zone: Zone, new_zone):
    undisturbed = filled(new_zone())
    undisturbed.load()
    with warehouse(undisturbed.settings) as connection:
        tables = connection.execute("select count(*) from duckdb_tables()").fetchone()
    undisturbed.close()
    filled(zone)
    moments = set()
    for size in sizes():
        done = load_in_a_process(zone, size)
        assert done.returncode == 0, done.stderr
        if done.stdout == "done\n":
            break
        # A disk that is full is one sentence.
        assert done.stdout.startswith("The disk of ") and done.stdout.count("\n") == 1
        with warehouse(zone.settings) as connection:
            made = connection.execute("select count(*) from duckdb_tables()").fetchone()
        if made == tables:
            zone.check_accounts()
            assert {entry["reason"] for entry in zone.quarantine()} <= {"sender is missing"}
            moments.add(len(zone.files()))
            zone.close()
    assert len(moments) > 1
    zone.load()
    assert zone.content() == undisturbed.content()


@pytest.mark.parametrize("moment", ("in", "before"))
@pytest.mark.parametrize("reading", (1, 2, 3))
def test_ctrl_c_during_a_load_leaves_whole_files_only(zone, new_zone, moment: str, reading: int):
    undisturbed = filled(new_zone())
    undisturbed.load()
    done = load_in_a_process(filled(zone), moment, reading)
    assert done.stdout == "interrupted\n", done.stderr
    zone.check_accounts()
    assert len(zone.files()) == reading - 1
    zone.load()
    assert zone.content() == undisturbed.content()


def load_with_ctrl_c(zone: Zone, moment: str, reading: int) -> None:
    """Loads; Ctrl-C comes before the statement that reads for the so manieth time, or in it."""
    judged_sql, readings = loader.judged_sql, iter(range(1, 100))

    def with_ctrl_c(*arguments: object) -> str:
        sql = judged_sql(*arguments)
        if next(readings) < reading:
            return sql
        if moment == "before":
            signal.raise_signal(signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        # Seconds, also on a fast machine, but not endless: while another thread of DuckDB works
        # for the one that was interrupted, it sees that only at the statement's end.
        long = "select count(*) from range(200000) as a, range(100000) as b"
        return f"from ({sql}) where ({long}) > 0"

    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loader.judged_sql = with_ctrl_c
    zone.load()


if __name__ == "__main__":
    zone, (what, *reading) = Zone(Path(sys.argv[1])), sys.argv[2:]
    try:
        if reading:
            load_with_ctrl_c(zone, what, int(reading[0]))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(what), int(what)))
            zone.load()
            print("done")
    except UserError as error:
        print(error)
    except KeyboardInterrupt:
        print("interrupted")
