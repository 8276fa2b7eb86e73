"""Kills dbt builds, or fills their disk: forks one child a point, lets another finish, and says
what happened.

Run as a program, so that the tests' own process, with its DuckDB threads, is not the one that
forks: `python killed_builds.py WORK POINT ...`. WORK/template/warehouse.duckdb is what every build
starts from; WORK/<number>/warehouse.duckdb is what the kill at that point and the next build leave.
A point is `none` for an undisturbed build, which comes first, or `<share>:<when>`: at that share of
its statements, from 0 to below 1, `before`, `inside` or `after`; or `full`, for a disk that is full
from there on. Prints a JSON object a point. What must hold afterwards is the tests' matter.
"""

import json
import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path

from dbt.adapters.duckdb.environments import local
from dbt.cli.main import dbtRunner
from incremental_warehouse import dbt_arguments, parsed_project


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing(point: str) -> "type":
    """The cursor that dbt uses; it counts statements, and does at the point what is asked for."""
    number, _, when = point.partition(":")

    class Cursor(local.DuckDBCursorWrapper):
        statements = 0

        def execute(self, sql, bindings=None):
            Cursor.statements += 1
            is_it = str(Cursor.statements) == number
            if is_it and when == "before":
                kill_self()
            if is_it and when == "full":
                fill_disk()
            if is_it and when == "inside":
                threading.Timer(0.004, kill_self).start()
            result = super().execute(sql, bindings)
            if is_it and when == "after":
                kill_self()
            return result

    return Cursor


def fill_disk() -> None:
    """From now on this process can write to no file beyond its first few bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def statement_of(point: str, last: int) -> str:
    """The point with the number of its statement, of so many, in the place of their share."""
    share, _, when = point.partition(":")
    return f"{1 + int(float(share) * last)}:{when}" if when else point


def build(folder: Path, point: str, manifest: object) -> tuple[bool, int]:
    """Builds in a child. Returns whether it came to its end, and how many statements it ran."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.environ["MSGMETRICS_WAREHOUSE"] = str(folder / "warehouse.duckdb")
        local.DuckDBCursorWrapper = cursor = killing(point)
        result = dbtRunner(manifest=manifest).invoke(
            dbt_arguments("build", folder / "dbt", "test", "unit_test", "seed")
        )
        os.write(writer, str(cursor.statements).encode())
        os._exit(0 if result.success else 1)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader) as pipe:
        statements = int(pipe.read() or 0)
    has_failed = os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    if has_failed and not point.endswith("full"):
        raise SystemExit(f"the build at {point} failed by itself")
    return not has_failed and not os.WIFSIGNALED(status), statements


def main(work: Path, points: list[str]) -> None:
    manifest = parsed_project()
    last = 0
    for number, point in enumerate(points):
        folder = work / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in (work / "template").iterdir():
            shutil.copy(file, folder)
        is_whole, statements = build(folder, statement_of(point, last), manifest)
        last = last or statements
        if not is_whole:
            build(folder, "none", manifest)
        outcome = {"point": point, "is_whole": is_whole, "statements": statements}
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
