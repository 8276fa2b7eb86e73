"""What it costs to judge and to publish a batch, in seconds, start-up left out."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import duckdb

from msgmetrics.settings import Settings
from orchestration.checks.frames import Scope
from orchestration.checks.published import Look, evaluate
from orchestration.publishing import publish


@dataclass(frozen=True)
class Publication:
    """Seconds of the gate over what a batch touched, and of bringing the published file forward."""

    gate: float
    publishing: float


def publish_batch(warehouse: Path, after: int | None) -> tuple[Publication, int]:
    """Judges and publishes what the warehouse holds; also returns the newest batch of it.

    after: the newest batch that was published before, None for the first publication. Raises
    RuntimeError where a check that blocks does not hold.
    """
    settings = Settings(home=warehouse.parent)
    now = datetime.now(UTC)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("set preserve_insertion_order = false")
        connection.execute("set memory_limit = '4GB'")
        started = monotonic()
        look = Look(connection, settings, Scope(after), now, now)
        for check, verdict in evaluate(look, settings.checks_dir / "benchmark"):
            if check.blocks and not verdict.passed:
                raise RuntimeError(f"{check.name}: {verdict}")
        judged = monotonic()
        snapshot = publish(connection, settings, now=now, checks_passed=1, checks_warned=0)
        return Publication(judged - started, monotonic() - judged), snapshot.batch_id
