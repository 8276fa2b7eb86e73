"""The published snapshot as an asset: what readers see after a run in which all checks passed.

How a file is written and swapped lives in `orchestration/publishing.py`.
"""

from datetime import UTC, datetime

import dagster as dg

from msgmetrics.catalogue import catalogue
from msgmetrics.errors import UserError
from orchestration import progress
from orchestration.asset_keys import SNAPSHOT
from orchestration.failures import TRIED_AGAIN, explained
from orchestration.partitions import DAYS, ONE_RUN
from orchestration.published_rows import published_snapshot
from orchestration.publishing import publish
from orchestration.resources import Writer
from orchestration.restatement import (
    owes_published_anew,
    remember_in_order,
    remember_published,
    unfinished,
)
from orchestration.warehouse import warehouse

GATE = "metrics_are_possible"


def marts() -> list[dg.AssetKey]:
    """The marts that are published."""
    grains = ("hourly", "daily")
    names = [f"{grain}_by_{mart}" for grain in grains for mart in catalogue().marts]
    return [dg.AssetKey(["marts", name]) for name in [*names, "minutely", "messages", "url_clicks"]]


@dg.asset(
    key=SNAPSHOT,
    group_name="published",
    deps=[*marts(), dg.AssetKey(["marts", "accounts"])],
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    retry_policy=TRIED_AGAIN,
)
def snapshot(context: dg.AssetExecutionContext, writer: Writer) -> dg.MaterializeResult:
    """One DuckDB file with every mart, whole and checked, under a stable name."""
    with explained(context, writer.settings), warehouse(writer.settings) as connection:
        is_new = bool(unfinished(connection, writer.settings))
        if is_new:
            passed, warnings = _checks_of_this_run(context)
            warned = len(warnings)
            if warnings:
                progress.remark(
                    f"Checks that warn: {', '.join(warnings)}. `msgmetrics dev` shows the rows "
                    f"that they name, with run {context.run_id}."
                )
        else:  # the marts are those that were published last, and so are the checks
            last = published_snapshot(connection, writer.settings)
            passed, warned = last["checks_passed"], last["checks_warned"]
        is_anew = owes_published_anew(connection)
        published = publish(
            connection,
            writer.settings,
            now=datetime.now(UTC),
            checks_passed=passed,
            checks_warned=warned,
            anew=is_anew,
            progress=lambda done, total: progress.tell("publishing tables", done, total),
        )
        remember_published(connection)
        if is_anew or published.generation == published.snapshot_id:
            remember_in_order(connection, published.batch_id)
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


def _checks_of_this_run(context: dg.AssetExecutionContext) -> tuple[int, list[str]]:
    """How many checks of this run passed, and the names of those that failed as warnings.

    Raises UserError where the last gate is not among them.
    """
    evaluations = [
        record.get_dagster_event().asset_check_evaluation_data
        for record in context.instance.all_logs(
            context.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
    ]
    if GATE not in {evaluation.check_name for evaluation in evaluations}:
        raise UserError(
            "The marts hold changes that no check of this run has judged: "
            "materialise the marts together with the snapshot."
        )
    passed = sum(evaluation.passed for evaluation in evaluations)
    return passed, sorted(e.check_name for e in evaluations if not e.passed)
