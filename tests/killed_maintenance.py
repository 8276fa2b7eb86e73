"""Compacts warehouses, and is killed on the way: `python killed_maintenance.py HOME POINT ...`.

Forks a child a point, which works on the folder HOME/POINT. A point is `execute:<number>` for a
statement, or `sync`, `replace`, each before or after. Prints whether each child was killed. What
must hold is the tests' matter.
"""

import os
import sys
from pathlib import Path

import duckdb
from killed_publications import Connection, kill_around

from msgmetrics.settings import Settings
from orchestration import maintenance


def compact(home: Path, point: str) -> None:
    step, _, which = point.partition(":")
    if step == "replace":
        kill_around(Path, step, which)
    elif step == "sync":
        kill_around(maintenance, step, which)
    else:
        connect = duckdb.connect
        duckdb.connect = lambda *args, **kw: Connection(connect(*args, **kw), int(which))
    maintenance.compact(Settings(home=home, compact_above=0.1))


def main(home: Path, points: list[str]) -> None:
    for point in points:
        if (child := os.fork()) == 0:
            compact(home / point, point)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, "was killed" if os.WIFSIGNALED(status) else "ended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
