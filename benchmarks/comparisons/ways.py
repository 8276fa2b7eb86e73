"""Runs one way of computing in a process of its own, and says what it took.

    python -m benchmarks.comparisons.ways polars LANDING RESULTS

The process prints one JSON object: the seconds of the work, imports left out, and the most memory
that it held until then. What is written for the comparison comes after.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from math import nan
from pathlib import Path

import psutil

from msgmetrics.settings import PROJECT_ROOT
from orchestration.peak_memory import peak_memory

# The ways whose results are compared with the warehouse's.
COMPARED = ("naive", "pandas", "polars", "chdb")
_MODULES = {
    "scan": "benchmarks.comparisons.scan",
    "raw tables": "benchmarks.comparisons.raw_tables",
    "naive": "benchmarks.comparisons.naive",
    "pandas": "benchmarks.comparisons.pandas_way",
    "polars": "benchmarks.comparisons.polars_way",
    "chdb": "benchmarks.comparisons.chdb_way",
}
# A way that wants more than this share of the machine's memory is ended, before the system does it.
_MOST_MEMORY = 0.85
_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Taken:
    """What one way took. seconds: of the work alone; peak: MiB that its process held at most.

    failure: why there is no figure, in a few words; None where there is.
    """

    seconds: float = nan
    peak: float = nan
    failure: str | None = None


def run_way(name: str, landing: Path, results: Path) -> Taken:
    """Lets a process do the work; one that fails is told of, and is no error of ours."""
    command = [sys.executable, "-m", "benchmarks.comparisons.ways", name]
    process = subprocess.Popen(
        [*command, str(landing.absolute()), str(results.absolute())],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    most = psutil.virtual_memory().total * _MOST_MEMORY
    while process.poll() is None:
        if _memory(process.pid) > most:
            process.kill()
            process.communicate()
            return Taken(failure=f"more than {most / 2**30:.0f} GiB")
        time.sleep(_EVERY_SECONDS)
    told, _ = process.communicate()
    if process.returncode != 0:
        return Taken(failure=f"exit code {process.returncode}")
    return Taken(**json.loads(told.strip().splitlines()[-1]))


def _memory(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def main(name: str, landing: Path, results: Path) -> None:
    """What the process does."""
    results.mkdir(parents=True, exist_ok=True)
    way = importlib.import_module(_MODULES[name])
    started = time.perf_counter()
    way.compute(landing, results)
    seconds = time.perf_counter() - started
    taken = {"seconds": seconds, "peak": peak_memory(os.getpid())}
    if hasattr(way, "export"):
        way.export(results)
    print(json.dumps(taken))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
