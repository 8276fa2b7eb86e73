"""The raw tables as assets: one step loads what is new in the landing zone.

How a file is read and judged lives in `orchestration/loading`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import duckdb

from orchestration import progress
from orchestration.arrivals import LANDING_STATE, landing_state
from orchestration.asset_keys import RAW
from orchestration.batches import as_of_of_a_run
from orchestration.failures import TRIED_AGAIN, explained
from orchestration.loading.loader import Loader, LoadReport
from orchestration.loading.records import WEBHOOKS
from orchestration.loading.webhooks import count_kinds
from orchestration.partitions import DAYS, ONE_RUN, requested_days
from orchestration.resources import Writer
from orchestration.warehouse import warehouse

ACCOUNTED = "every_record_is_loaded_or_quarantined"

# Files of this load, or with a record that it requeued, whose own account does not agree with the
# rows that are there of them. A record that was requeued is no longer one of the refused.
_UNACCOUNTED = """
with touched as materialized (
    select * from raw.files
    where stream = $stream and (
        batch_id = $batch_id
        or file_id in (
            select file_id from raw.quarantine
            where closed_by_batch = $requeue_batch_id and closed_because = 'requeued'
        )
    )
)
select files.path
from touched as files
left join (
    select
        file_id,
        count(*) filter (where not {is_set_aside}) as loaded,
        count(*) filter (where {is_set_aside}) as set_aside
    from raw.{stream}
    where file_id in (select file_id from touched) group by file_id
) as loaded using (file_id)
left join (
    select file_id, count(*) as refused from raw.quarantine
    where row_number is not null and closed_because is distinct from 'requeued' group by file_id
) as refused using (file_id)
where (
    files.records <> files.loaded + files.set_aside + files.quarantined
    or files.set_aside <> coalesce(loaded.set_aside, 0)
    or files.loaded <> coalesce(loaded.loaded, 0)
    or files.quarantined <> coalesce(refused.refused, 0)
)
order by files.path
"""


_OF_A_STREAM = "Every valid record of landing/{}, as it came."
_DESCRIPTION = {WEBHOOKS: "Every result of providers' webhooks that was read, as it came."}


class LoadConfig(dg.Config):
    """as_of: the moment up to which the data counts as complete, ISO 8601 with an offset
    (default: the start of the run). rehash: hash known files too."""

    as_of: str | None = None
    rehash: bool = False


@dg.multi_asset(
    name="load",
    group_name="raw",
    specs=[
        dg.AssetSpec(key, description=_DESCRIPTION.get(name, _OF_A_STREAM.format(name)))
        for name, key in RAW.items()
    ],
    check_specs=[
        dg.AssetCheckSpec(
            ACCOUNTED,
            asset=key,
            blocking=True,
            description="Error: records in = loaded + set aside + quarantined, file by file.",
        )
        for key in RAW.values()
    ],
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    retry_policy=TRIED_AGAIN,
)
def load(
    context: dg.AssetExecutionContext, config: LoadConfig, writer: Writer
) -> Iterator[dg.MaterializeResult]:
    """Takes in every new file, each whole or not at all.

    A run over landing days looks for new content in known files too; what was loaded once is not
    loaded again.
    """
    settings, now = writer.settings, datetime.now(UTC)
    rehash = config.rehash or requested_days(context) is not None
    with explained(context, settings), warehouse(settings) as connection:
        found = landing_state(settings.landing_path)
        as_of, remark = as_of_of_a_run(connection, settings, config.as_of, now)
        report = Loader(
            connection,
            settings,
            now=now,
            as_of=as_of,
            run_id=context.run_id,
            progress=lambda done, total: progress.tell("loading bytes", done, total),
        ).load(rehash=rehash)
        for sentence in [*report.remarks, *([remark] if remark else [])]:
            context.log.warning(sentence)
            progress.remark(sentence)
        for name, key in RAW.items():
            unaccounted = [
                path
                for (path,) in connection.execute(
                    _UNACCOUNTED.format(
                        stream=name,
                        is_set_aside="outcome = 'set aside'" if name == WEBHOOKS else "false",
                    ),
                    {
                        "stream": name,
                        "batch_id": report.batch_id,
                        "requeue_batch_id": report.requeue_batch_id,
                    },
                ).fetchall()
            ]
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    **_metadata(report, name),
                    **(_kinds_set_aside(connection, report) if name == WEBHOOKS else {}),
                    LANDING_STATE: found,
                },
                check_results=[
                    dg.AssetCheckResult(
                        asset_key=key,
                        check_name=ACCOUNTED,
                        passed=not unaccounted,
                        metadata={"files": dg.MetadataValue.json(unaccounted[:100])},
                    )
                ],
            )


def _metadata(report: LoadReport, name: str) -> dict[str, int]:
    load = report.streams[name]
    return {
        "batch_id": report.batch_id,
        "new_files": load.files,
        "unreadable_files": load.unreadable_files,
        "records": load.records,
        "loaded": load.loaded,
        "set_aside": load.set_aside,
        "quarantined": load.quarantined,
        "requeued": load.requeued,
        "quarantine_entries_closed": load.closed,
    }


def _kinds_set_aside(
    connection: duckdb.DuckDBPyConnection, report: LoadReport
) -> dict[str, dg.MetadataValue]:
    """How many results of webhooks were set aside, by provider and kind of payload."""
    kinds = count_kinds(connection, report.batch_id)
    return {"kinds_set_aside": dg.MetadataValue.json(kinds)}
