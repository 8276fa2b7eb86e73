"""What loading takes: the same records as Parquet and as JSON Lines, through the product's loader.

python -m benchmarks.loading LANDING HOME    what the process of one load does
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from statistics import median

from benchmarks.history import END
from benchmarks.records import opened, write_landing_to_load
from msgmetrics.settings import PROJECT_ROOT, Settings
from orchestration.loading.loader import Loader
from orchestration.peak_memory import peak_memory
from orchestration.warehouse import warehouse

# More would say no more: loading goes file by file.
MOST_MESSAGES = 1_000_000
KINDS = ("parquet", "jsonl")


@dataclass(frozen=True)
class Load:
    """One load. quarantined: records that were refused; bytes: of the files; peak: MiB."""

    kind: str
    seconds: float
    loaded: int
    quarantined: int
    bytes: int
    peak: int


def measure_loading(
    records: Path, folder: Path, messages: int, repetitions: int
) -> dict[str, list[Load]]:
    """Loads the first of these raw records in both kinds of files, in turn; by kind."""
    most = min(messages, MOST_MESSAGES)
    with opened(records, read_only=True) as connection:
        for kind in KINDS:
            write_landing_to_load(connection, folder / kind, kind, most)
    loads: dict[str, list[Load]] = {kind: [] for kind in KINDS}
    for _ in range(repetitions):
        for kind in KINDS:
            loads[kind].append(_load(kind, folder / kind, folder / "home"))
    shutil.rmtree(folder)
    return loads


def seconds(loads: list[Load]) -> float:
    return median(load.seconds for load in loads)


def _load(kind: str, landing: Path, home: Path) -> Load:
    shutil.rmtree(home, ignore_errors=True)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.loading", str(landing.absolute()), str(home.absolute())],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    size = sum(path.stat().st_size for path in landing.rglob("*") if path.is_file())
    return Load(kind=kind, bytes=size, **json.loads(process.stdout.splitlines()[-1]))


def main(landing: Path, home: Path) -> None:
    settings = Settings(home=home, landing=landing)
    with warehouse(settings) as connection:
        started = time.perf_counter()
        now = END.replace(tzinfo=UTC) + timedelta(days=2)
        report = Loader(connection, settings, now=now, as_of=now).load()
        connection.execute("checkpoint")
        taken = time.perf_counter() - started
    streams = report.streams.values()
    told = {
        "seconds": taken,
        "loaded": sum(stream.loaded for stream in streams),
        "quarantined": sum(stream.quarantined for stream in streams),
        "peak": peak_memory(os.getpid()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
