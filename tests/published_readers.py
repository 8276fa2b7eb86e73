"""Readers of a published file in processes of their own, which import nothing else."""

from __future__ import annotations

import duckdb


def hold(path: str, opened: object, may_go: object, rows: object) -> None:
    """Opens the file, and reads all messages once it is told to."""
    with duckdb.connect(path, read_only=True) as reader:
        opened.set()
        may_go.wait(600)
        rows.put(reader.execute("select * from messages order by all").fetchall())


def read_in_a_loop(path: str, stop: object, found: object) -> None:
    """Opens the file again and again: the numbers seen in it, and what did not go together."""
    seen, problems = [], []
    while not stop.is_set():
        try:
            with duckdb.connect(path, read_only=True) as reader:
                number = reader.execute("select checks_passed from snapshots").fetchone()[0]
                names = reader.execute("select distinct name from accounts").fetchall()
        except duckdb.Error as error:
            problems.append(str(error))
            continue
        if names != [(str(number),)]:
            problems.append(f"{number} with {names}")
        seen.append(number)
    found.put((seen, problems))
