"""The most memory that processes have held, as Linux counts it for each; elsewhere nothing is told.

Not through getrusage: what it says of a child begins with what the parent held when it started it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_EVERY_SECONDS = 0.05


def peak_memory(pid: int) -> int:
    """MiB that a running process has held at most; 0 where that is not told."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


@contextmanager
def peak_of_children() -> Iterator[list[int]]:
    """Watches the children of this process; the list holds their highest peak so far, MiB."""
    peak, ended = [0], Event()

    def watch() -> None:
        while not ended.wait(_EVERY_SECONDS):
            peak[0] = max([*peak, *(peak_memory(pid) for pid in _children())])

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _children() -> list[int]:
    try:
        tasks = [task / "children" for task in Path(f"/proc/{os.getpid()}/task").iterdir()]
        return [int(pid) for task in tasks for pid in task.read_text("ascii").split()]
    except OSError:
        return []
