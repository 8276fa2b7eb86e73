"""Dagster resources: the settings, the right to write the warehouse, and dbt.

Paths come from msgmetrics.settings alone. No asset lives here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster_dbt import DbtCliResource

from msgmetrics.settings import Settings, settings
from orchestration.dbt import PROFILES_DIR, dbt_executable, dbt_project
from orchestration.warehouse import writer_lock


class Writer(dg.ConfigurableResource):
    """The one right to write the warehouse, held from a run's first step to its last.

    All steps of a run share one process, so the operating system gives the right back when that
    process ends, however it ends.
    """

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Writer"]:
        run_id = context.run_id or "outside a run"
        with writer_lock(settings(), holder=f"Dagster run {run_id}"):
            if context.instance is not None:
                _fail_dead_runs(context.instance, run_id)
            yield self

    @property
    def settings(self) -> Settings:
        return settings()


def _fail_dead_runs(instance: dg.DagsterInstance, run_id: str) -> None:
    """Marks runs failed that were killed while they wrote.

    Who holds the right to write knows them to be dead: a run that has begun a step has it or had
    it. One that waits for it has begun none.
    """
    begun = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for run in begun:
        if run.run_id != run_id and instance.get_run_step_stats(run.run_id):
            instance.report_run_failed(
                run, "The process of this run was killed; a later run went on."
            )


def dbt_resource() -> DbtCliResource:
    """dbt as a command over this project, its artefacts below MSGMETRICS_HOME."""
    return DbtCliResource(
        project_dir=dbt_project(settings()),
        profiles_dir=str(PROFILES_DIR),
        dbt_executable=dbt_executable(),
    )
