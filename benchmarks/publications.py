"""What it costs to judge and to publish a batch, in seconds, start-up left out."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from msgmetrics.settings import Settings
from orchestration.checks.published import evaluate, look_at_what_is_new
from orchestration.publishing import publish
from orchestration.warehouse import warehouse as opened


@dataclass(frozen=True)
class Publication:
    """Seconds of the gate over what a batch touched, and of bringing the published file forward.

    The gate has it brought forward, which is counted as publishing.
    """

    gate: float
    publishing: float


def publish_batch(warehouse: Path) -> Publication:
    """Judges and publishes what the warehouse holds.

    Raises RuntimeError where a check that blocks does not hold.
    """
    settings = Settings(home=warehouse.parent)
    now = datetime.now(UTC)
    with opened(settings) as connection:
        started = monotonic()
        look = look_at_what_is_new(connection, settings)
        prepared = monotonic()
        for check, verdict in evaluate(look, settings.checks_dir / "benchmark"):
            if check.blocks and not verdict.passed:
                raise RuntimeError(f"{check.name}: {verdict}")
        judged = monotonic()
        publish(connection, settings, now=now, checks_passed=1, checks_warned=0)
        return Publication(judged - prepared, prepared - started + monotonic() - judged)
