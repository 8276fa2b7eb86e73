"""Whole passes, `msgmetrics run` in a process of its own: the work, and what is around it.

Of a pass over one message nearly all is fixed: imports, Dagster, dbt's own time, the last gate.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.builds import executions
from benchmarks.history import END

_MESSAGE = {
    "message_id": "m", "account_key": "a", "direction": "OUTBOUND", "channel_code": "SMS",
    "sent_at": "2026-04-30T10:00:00Z", "sender": "s", "recipient": "r",
}  # fmt: skip
_BUILD = "build"


@dataclass(frozen=True)
class Pass:
    """One pass, in seconds. steps: by what Dagster calls load, build, gate and publish; models and
    tests: what their SQL took inside of build. peaks: MiB by process."""

    wall: float
    steps: dict[str, float]
    models: float
    tests: float
    peaks: dict[str, float]

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
    models, tests = _sql(home / "dbt", time.time() - wall) if built else (0.0, 0.0)
    return Pass(wall, steps, models, tests, _named(told, "peak MiB: "))


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name[:11] != "MSGMETRICS_"}


def _named(told: dict, prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value for name, value in told.items() if name.startswith(prefix)
    }


def _sql(artefacts: Path, since: float) -> tuple[float, float]:
    """Seconds of SQL of models with seeds, and of tests, of a build that has just been.

    Raises RuntimeError where dbt left no results of it: no time at all would look like a fast one.
    """
    written = [
        path for path in artefacts.glob("build-*/run_results.json") if path.stat().st_mtime >= since
    ]
    if not written:
        raise RuntimeError(f"dbt left no results in {artefacts}")
    models = tests = 0.0
    for path in written:
        for kind, _, seconds in executions(path):
            if kind == "test":
                tests += seconds
            else:
                models += seconds
    return models, tests
