"""Whole passes, `msgmetrics run` in a process of its own: the work, and what is around it.

Of a pass over one message nearly all is fixed: imports, Dagster, dbt's own time, the last gate.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

from benchmarks.builds import Build, executions
from benchmarks.history import END
from msgmetrics.settings import Settings

_MESSAGE = {
    "message_id": "m", "account_key": "a", "direction": "OUTBOUND", "channel_code": "SMS",
    "sent_at": "2026-04-30T10:00:00Z", "sender": "s", "recipient": "r",
}  # fmt: skip
_BUILD = "build"


@dataclass(frozen=True)
class Pass:
    """One pass, in seconds. steps: by what Dagster calls load, build, gate and publish; models, by
    name, with seeds, and tests: what their SQL took inside of build. peaks: MiB by process."""

    wall: float
    steps: dict[str, float]
    tests: float
    peaks: dict[str, float]
    nodes: dict[str, float] = field(default_factory=dict)

    @property
    def models(self) -> float:
        return sum(self.nodes.values())

    @property
    def sql(self) -> float:
        return self.models + self.tests

    @property
    def around_dbt(self) -> float:
        """Of the build what is no SQL: dbt's start, its own work, and Dagster's reading of it."""
        return self.steps.get(_BUILD, 0.0) - self.sql

    @property
    def around_steps(self) -> float:
        """What is no step: imports, and Dagster's start, end and notes."""
        return self.wall - sum(self.steps.values())


def refresh_of(one: Pass, home: Path) -> Build:
    """The full refresh that a pass over raw tables made in between, its tests left out."""
    return Build.of_nodes(one.nodes, Settings(home=home), wall=nan, peak=one.peaks["dbt build"])


def whole_pass(home: Path, memory: str = "") -> Pass:
    """A pass over raw tables that nothing was made of yet, and no file to load."""
    (home / "landing").mkdir(exist_ok=True)
    return _run(home, memory)


def smallest_passes(home: Path) -> tuple[Pass, Pass]:
    """Over one message that has just landed; and over nothing new."""
    shutil.rmtree(home, ignore_errors=True)
    file = home / "landing" / "messages" / "one.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(_MESSAGE), "utf-8")
    # Where nothing is new, dbt is not started.
    return _run(home, ""), _run(home, "", built=False)


def _run(home: Path, memory: str, *, built: bool = True) -> Pass:
    """built: whether dbt had something to build.

    Raises RuntimeError, with what the pass said, where it did not publish.
    """
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "msgmetrics.cli", "run", "--json", "--as-of", f"{END:%FT%T}Z"],
        env={**_without_settings(), "MSGMETRICS_HOME": str(home.absolute())}
        | ({"MSGMETRICS_MEMORY": memory} if memory else {}),
        capture_output=True,
        text=True,
    )
    wall = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"the pass in {home} failed: {process.stderr.strip()}")
    told = json.loads(process.stdout)
    steps = _named(told, "seconds: ")
    nodes, tests = _sql(home / "dbt", time.time() - wall) if built else ({}, 0.0)
    return Pass(wall, steps, tests, _named(told, "peak MiB: "), nodes)


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name[:11] != "MSGMETRICS_"}


def _named(told: dict, prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value for name, value in told.items() if name.startswith(prefix)
    }


def _sql(artefacts: Path, since: float) -> tuple[dict[str, float], float]:
    """Seconds of SQL of each model and seed, and of all tests, of a build that has just been.

    Raises RuntimeError where dbt left no results of it: no time at all would look like a fast one.
    """
    written = [
        path for path in artefacts.glob("build-*/run_results.json") if path.stat().st_mtime >= since
    ]
    if not written:
        raise RuntimeError(f"dbt left no results in {artefacts}")
    nodes: dict[str, float] = {}
    tests = 0.0
    for path in written:
        for kind, name, seconds in executions(path):
            if kind == "test":
                tests += seconds
            else:
                nodes[name] = nodes.get(name, 0.0) + seconds
    return nodes, tests
