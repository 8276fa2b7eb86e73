"""The dbt models as assets, their data tests as checks: one step builds and tests them all.

What a model means lives in `dbt_project/`, how its assets are named in `orchestration/dbt.py`.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets

from msgmetrics.settings import settings
from orchestration import progress
from orchestration.dbt import (
    NIGHTLY_TAG,
    Translator,
    current_manifest,
    dbt_project,
    drop_old_artefacts,
)
from orchestration.resources import Writer


def dbt_arguments(*, full_refresh: bool, every_row: bool) -> list[str]:
    """What dbt is asked to do in a run.

    Unit tests need no data and are no part of a run. Tests that hold every row of every mart
    against the messages read the whole history, so only the nightly run has them.
    """
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    if not every_row:
        arguments += ["--exclude", f"tag:{NIGHTLY_TAG}"]
    return [*arguments, "--full-refresh"] if full_refresh else arguments


class BuildConfig(dg.Config):
    """full_refresh: build every table from the raw records, whatever is there. every_row: hold
    every row of every mart against the messages, not the totals alone."""

    full_refresh: bool = False
    every_row: bool = False


@dbt_assets(
    name="build",
    manifest=current_manifest(settings()),
    project=dbt_project(settings()),
    dagster_dbt_translator=Translator(
        settings=DagsterDbtTranslatorSettings(enable_asset_checks=True)
    ),
)
def build(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    dbt: DbtCliResource,
    writer: Writer,
) -> Iterator[Any]:
    """Staging, facts and marts, each tested as soon as it stands."""
    drop_old_artefacts(writer.settings)
    arguments = dbt_arguments(full_refresh=config.full_refresh, every_row=config.every_row)
    invocation = dbt.cli(arguments, context=context)
    total = len(context.selected_asset_keys) + len(context.selected_asset_check_keys)
    for done, event in enumerate(invocation.stream(), start=1):
        progress.tell("building models and tests", min(done, total), total)
        yield event
    progress.tell("building models and tests", total, total)
