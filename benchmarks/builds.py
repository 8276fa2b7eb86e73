"""Runs dbt builds as a pass runs them, in a process of its own each, and reads what they took."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import duckdb

from msgmetrics.settings import Settings
from orchestration.dbt import PROFILES_DIR, dbt_environment, dbt_executable
from orchestration.peak_memory import peak_memory
from orchestration.restatement import remember_build

# What a model is for, by the name of it or of its folder.
FIND, COMPUTE, FOLD, OTHER = "find", "compute", "fold", "other"


@dataclass(frozen=True)
class Build:
    """One build. seconds: of SQL, as dbt timed its nodes, by what they are for; wall: of the whole
    process, NaN where that did more; peak: most memory that it held, in MiB."""

    seconds: dict[str, float]
    nodes: dict[str, float]
    wall: float
    peak: float

    @property
    def sql(self) -> float:
        return sum(self.seconds.values())

    @classmethod
    def of_nodes(
        cls, nodes: dict[str, float], settings: Settings, *, wall: float, peak: float
    ) -> "Build":
        """What took so many seconds of SQL, by model or seed."""
        seconds = dict.fromkeys((FIND, COMPUTE, FOLD, OTHER), 0.0)
        for name, taken in nodes.items():
            seconds[_purpose(name, settings)] += taken
        return cls(seconds, nodes, wall, peak)


def build(
    warehouse: Path,
    *,
    seeds: bool,
    memory: str = "",
    models: Sequence[str] = (),
    one_by_one: bool = False,
) -> Build:
    """Builds every model, its tests left out; or those selected, as dbt selects them.

    one_by_one: also in a small warehouse, where several are built at once else; so that what they
    take can be compared with a large one. Raises RuntimeError where a model fails.
    """
    settings = Settings(home=warehouse.parent, memory=memory)
    target = warehouse.parent / "dbt"
    kinds = ["test", "unit_test", *([] if seeds else ["seed"])]
    selected = ["--select", *models] if models else []
    started = time.monotonic()
    process = subprocess.Popen(
        [
            *(dbt_executable(), "--quiet", "build", "--exclude-resource-type", *kinds),
            *selected,
            *("--project-dir", str(settings.dbt_project_dir), "--profiles-dir", str(PROFILES_DIR)),
        ],
        env={
            **os.environ,
            **dbt_environment(settings),
            "DBT_TARGET_PATH": str(target),
            **({"MSGMETRICS_MODELS_AT_ONCE": "1"} if one_by_one else {}),
        },
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.05)
    wall = time.monotonic() - started
    if process.returncode != 0:
        raise RuntimeError(
            f"the build of {warehouse} ended with {process.returncode}: see {target}"
        )
    with duckdb.connect(str(warehouse)) as connection:
        remember_build(connection, settings)
    nodes = {name: taken for _, name, taken in executions(target / "run_results.json")}
    return Build.of_nodes(nodes, settings, wall=wall, peak=peak)


def executions(run_results: Path) -> list[tuple[str, str, float]]:
    """(kind of node, name, seconds of its SQL) for all that dbt ran, by what it wrote of it.

    Of the time in which several ran each has its part, so that together they are the seconds in
    which any ran.
    """
    results = json.loads(run_results.read_text("utf-8"))["results"]
    spans = [_execution(result["timing"]) for result in results]
    edges = sorted({edge for span in spans for edge in span})
    seconds = [0.0] * len(results)
    for start, end in pairwise(edges):
        running = [n for n, span in enumerate(spans) if span and span[0] <= start < span[1]]
        for number in running:
            seconds[number] += (end - start).total_seconds() / len(running)
    return [
        (*_kind_and_name(result["unique_id"]), taken)
        for result, taken in zip(results, seconds, strict=True)
    ]


def _kind_and_name(unique_id: str) -> tuple[str, str]:
    parts = unique_id.split(".")
    return parts[0], parts[-1]


def _execution(timing: list[dict]) -> tuple[datetime, ...]:
    """When the SQL of a node began and ended; nothing if there was none.

    A test may ask the warehouse already while it is written out.
    """
    phases = {phase["name"]: phase for phase in timing}
    if "execute" not in phases:
        return ()
    first = phases.get("compile", phases["execute"])
    moments = (first["started_at"], phases["execute"]["completed_at"])
    return tuple(datetime.fromisoformat(moment.rstrip("Z")) for moment in moments)


def _purpose(name: str, settings: Settings) -> str:
    found = list((settings.dbt_project_dir / "models").rglob(f"{name}.sql"))
    folder = found[0].relative_to(settings.dbt_project_dir / "models").parts[0] if found else ""
    if name in ("minutely",) or "_by_" in name and folder == "marts":
        return FOLD
    return {"restatement": FIND, "staging": COMPUTE, "facts": COMPUTE}.get(folder, OTHER)
