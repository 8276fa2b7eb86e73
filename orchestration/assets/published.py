"""The published snapshot as an asset: what readers see after a run in which all checks passed.

How a file is written and swapped lives in `orchestration/publishing.py`.
"""

from datetime import UTC, datetime

import dagster as dg

from msgmetrics.catalogue import catalogue
from orchestration import progress
from orchestration.publishing import publish
from orchestration.resources import Writer
from orchestration.warehouse import warehouse

SNAPSHOT = dg.AssetKey(["published", "snapshot"])


def marts() -> list[dg.AssetKey]:
    """The marts that are published."""
    grains = ("hourly", "daily")
    names = [f"{grain}_by_{mart}" for grain in grains for mart in catalogue().marts]
    return [dg.AssetKey(["marts", name]) for name in [*names, "minutely", "messages", "url_clicks"]]


@dg.asset(
    key=SNAPSHOT,
    group_name="published",
    deps=[*marts(), dg.AssetKey(["marts", "accounts"])],
)
def snapshot(context: dg.AssetExecutionContext, writer: Writer) -> dg.MaterializeResult:
    """One DuckDB file with every mart, whole and checked, under a stable name."""
    passed, warned = _checks_of_this_run(context)
    with warehouse(writer.settings) as connection:
        published = publish(
            connection,
            writer.settings,
            now=datetime.now(UTC),
            checks_passed=passed,
            checks_warned=warned,
            progress=lambda done, total: progress.tell("publishing tables", done, total),
        )
    return dg.MaterializeResult(
        metadata={
            "snapshot": published.snapshot_id,
            "as_of": published.as_of.isoformat() + "Z",
            "messages": published.messages,
            "events_waiting": published.events_waiting,
            "records_quarantined": published.records_quarantined,
            "stale": published.stale,
            "checks_passed": passed,
            "checks_warned": warned,
        }
    )


def _checks_of_this_run(context: dg.AssetExecutionContext) -> tuple[int, int]:
    """How many checks of this run passed, and how many failed only as warnings."""
    passed = warned = 0
    records = context.instance.all_logs(
        context.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    for record in records:
        evaluation = record.get_dagster_event().asset_check_evaluation_data
        passed += evaluation.passed
        warned += not evaluation.passed
    return passed, warned
