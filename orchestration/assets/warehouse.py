"""The dbt models as assets, their data tests as checks: one step builds and tests them all.

What a model means lives in `dbt_project/`, how its assets are named in `orchestration/dbt.py`, what
a build has to do in `orchestration/restatement.py`.
"""

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from msgmetrics.settings import Settings, settings
from orchestration import progress
from orchestration.asset_keys import FACTS
from orchestration.batches import last_as_of, open_batch
from orchestration.dbt import (
    NIGHTLY_TAG,
    Translator,
    current_manifest,
    dbt_environment,
    dbt_project,
    drop_old_artefacts,
)
from orchestration.failures import (
    INTERRUPTIONS,
    TRIED_AGAIN,
    explained,
    failure_of_checks,
    told_of_broken,
)
from orchestration.partitions import DAYS, ONE_RUN, is_partition, requested_days, run_days
from orchestration.resources import Writer
from orchestration.restatement import (
    RestatedDay,
    owe_every_row,
    owe_published_anew,
    owes_every_row,
    remember_build,
    restated_days,
    told_up_to,
    unfinished,
)
from orchestration.warehouse import create_raw_tables, warehouse

_MANIFEST = current_manifest(settings())
_TRANSLATOR = Translator(settings=DagsterDbtTranslatorSettings(enable_asset_checks=True))


def dbt_arguments(*, every_row: bool) -> list[str]:
    """What dbt is asked to do in a run.

    Unit tests need no data and are no part of a run. Tests that hold every row of every mart
    against the messages read the whole history, so only the nightly run has them.
    """
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    return arguments if every_row else [*arguments, "--exclude", f"tag:{NIGHTLY_TAG}"]


class BuildConfig(dg.Config):
    """full_refresh: compute every day anew from the raw records. every_row: hold every row of every
    mart against the messages, not the totals alone. published_anew: make the published file anew
    from the warehouse."""

    full_refresh: bool = False
    every_row: bool = False
    published_anew: bool = False


@dbt_assets(
    name="build",
    manifest=_MANIFEST,
    project=dbt_project(settings()),
    dagster_dbt_translator=_TRANSLATOR,
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    retry_policy=TRIED_AGAIN,
)
def build(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    dbt: DbtCliResource,
    writer: Writer,
) -> Iterator[Any]:
    """Staging, facts and marts, each tested as soon as it stands.

    All of them, whichever were selected: a mart of other days than its neighbours would be wrong.
    """
    with explained(context, writer.settings):
        days = requested_days(context)
        with warehouse(writer.settings) as connection:
            create_raw_tables(connection)  # a backfill may be the first run after an update
            if days is not None or config.full_refresh:
                _open_backfill(context, connection, writer.settings, days)
            if config.every_row:
                owe_every_row(connection)
            if config.published_anew:
                owe_published_anew(connection)
            every_row = config.every_row or owes_every_row(connection)
            reasons = unfinished(connection, writer.settings)
            reported = told_up_to(connection, writer.settings) if reasons else 0
        if not context.selected_asset_keys:
            reasons.append("Checks were asked for.")
        if not reasons:
            context.log.info("Nothing to restate: the marts are those of the records.")
            for key in _awaited(context):
                yield dg.MaterializeResult(asset_key=key, metadata={"restated_days": 0})
            return
        context.log.info(" ".join(reasons))
        drop_old_artefacts(writer.settings)
        held: list[Any] = []  # the facts, whose days are known only when dbt has ended, and after
        try:
            for event in _built(context, dbt, writer.settings, every_row=every_row):
                if held or (isinstance(event, dg.Output) and _key_of(context, event) == FACTS):
                    held.append(event)
                else:
                    yield event
            with warehouse(writer.settings) as connection:
                remember_build(connection, writer.settings, every_row=every_row)
                _report(context, writer.settings, restated_days(connection, reported))
        except Exception:
            yield from held
            raise
        yield from held


def _awaited(context: dg.AssetExecutionContext) -> list[dg.AssetKey]:
    """The selected marts, each after those that it is made of.

    Later steps wait for the marts, and a step is skipped where what it waits for does not come.
    """
    parents = {spec.key: [dep.asset_key for dep in spec.deps] for spec in context.assets_def.specs}
    order = TopologicalSorter(parents).static_order()
    return [key for key in order if key in context.selected_asset_keys and key.path[0] == "marts"]


def _open_backfill(
    context: dg.AssetExecutionContext,
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    days: tuple[date, date] | None,
) -> None:
    """Asks for these days, or for all; once a run, however often its step is tried."""
    now = datetime.now(UTC)
    as_of = last_as_of(connection)  # this step loads nothing, so the data is complete up to there
    if as_of is None:  # nothing is loaded yet, which is said elsewhere
        return
    known = connection.execute(
        "select count(*) from raw.batches where run_id = ? and cause = 'backfill'",
        [context.run_id],
    ).fetchone()
    if known == (0,):
        first, last = days or (None, None)
        open_batch(
            connection,
            cause="backfill",
            as_of=as_of,
            now=now,
            run_id=context.run_id,
            from_day=first,
            to_day=last,
        )


def _built(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, settings: Settings, *, every_row: bool
) -> Iterator[Any]:
    """Runs dbt over the whole project; yields what belongs to the assets and checks selected."""
    os.environ.update(dbt_environment(settings))  # of which dbt's process gets a copy
    invocation = dbt.cli(
        dbt_arguments(every_row=every_row),
        manifest=_MANIFEST,
        dagster_dbt_translator=_TRANSLATOR,
        target_path=settings.dbt_target / f"build-{context.run_id[:8]}-{context.retry_number}",
    )
    total = len(context.selected_asset_keys) + len(context.selected_asset_check_keys)
    done, broken = 0, []
    not_made: list[dg.AssetCheckResult] = []
    messages = invocation.stream_raw_events()
    try:
        for message in messages:
            for event in message.to_default_asset_events(
                manifest=invocation.manifest,
                dagster_dbt_translator=_TRANSLATOR,
                context=context,
                target_path=invocation.target_path,
            ):
                if isinstance(event, dg.AssetCheckResult):
                    if event.metadata["status"].value == "error":
                        not_made.append(event)
                        continue
                    if not event.passed and event.severity == dg.AssetCheckSeverity.ERROR:
                        broken.append(event.check_name)
                    key = dg.AssetCheckKey(event.asset_key, event.check_name)
                    is_selected = key in context.selected_asset_check_keys
                elif isinstance(event, dg.Output):
                    is_selected = _key_of(context, event) in context.selected_asset_keys
                else:
                    is_selected = True
                if is_selected:
                    done += 1
                    progress.tell("building models and tests", min(done, total), total)
                    yield event
    except (GeneratorExit, *INTERRUPTIONS):
        # Read to its end: what reads dbt's output cannot be closed half-way, and the warehouse is
        # not to be given back before dbt has let go of it.
        invocation.process.send_signal(signal.SIGINT)
        with suppress(DagsterDbtCliRuntimeError):
            deque(messages, maxlen=0)
        raise
    except DagsterDbtCliRuntimeError:
        yield from told_of_broken(context, invocation, not_made)
        failure = failure_of_checks(context, broken, not_made)
        if failure is None:
            raise
        raise failure from None
    progress.tell("building models and tests", total, total)


def _key_of(context: dg.AssetExecutionContext, output: dg.Output) -> dg.AssetKey | None:
    return context.assets_def.keys_by_output_name.get(output.output_name)


def _report(
    context: dg.AssetExecutionContext,
    settings: Settings,
    restated: list[RestatedDay],
) -> None:
    """Shows each restated day as materialised, once.

    Days of the run's own partitions are so by the asset's own output, and get only the counts.
    """
    first, last = run_days(context)
    outside = 0
    for day in restated:
        metadata = {
            "rows": day.rows,
            "new": day.new,
            "changed": day.changed,
            "removed": day.removed,
            "batch_id": day.batch_id,
            "run_id": context.run_id,
        }
        partition = day.day.isoformat()
        if first <= day.day <= last:
            context.add_asset_metadata(metadata, asset_key=FACTS, partition_key=partition)
        elif is_partition(day.day, settings):
            context.log_event(
                dg.AssetMaterialization(asset_key=FACTS, partition=partition, metadata=metadata)
            )
        else:
            outside += 1
    context.log.info(
        f"{len(restated):,} days restated, {outside:,} of them not among those that Dagster shows."
    )
