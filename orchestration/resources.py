"""Dagster resources: the settings, the right to write the warehouse, and dbt.

Paths come from msgmetrics.settings alone. No asset lives here.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import metadata

import dagster as dg
from dagster_dbt import DbtCliResource
from packaging.version import Version

from msgmetrics.settings import Settings, settings
from orchestration import progress
from orchestration.dbt import PROFILES_DIR, dbt_executable, dbt_project
from orchestration.runs import fail_dead_runs, show_life
from orchestration.warehouse import writer_lock


class Writer(dg.ConfigurableResource):
    """The one right to write the warehouse, held from a run's first step to its last.

    All steps of a run share one process, so the operating system gives the right back when that
    process ends, however it ends.
    """

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Writer"]:
        here, instance = settings(), context.instance
        run_id = context.run_id or "outside a run"
        with ExitStack() as stack:
            if instance is not None and context.run_id:
                show_life(here, run_id)
            with progress.listening(lambda *_: None, context.log.info):
                killed = stack.enter_context(writer_lock(here, holder=f"Dagster run {run_id}"))
            if instance is not None:
                for dead in fail_dead_runs(instance, here, dying=killed.replace(run_id, "")):
                    context.log.info(f"Run {dead} had been killed, and is marked as failed.")
            yield self

    @property
    def settings(self) -> Settings:
        return settings()


class InstalledDbt(DbtCliResource):
    """dbt of this environment. Its version is known; to ask the command would take as long as dbt
    takes to start, in every pass."""

    @cached_property
    def _cli_version(self) -> Version:
        return Version(metadata.version("dbt-core"))


def dbt_resource() -> DbtCliResource:
    """dbt as a command over this project, its artefacts below MSGMETRICS_HOME."""
    return InstalledDbt(
        project_dir=dbt_project(settings()),
        profiles_dir=str(PROFILES_DIR),
        dbt_executable=dbt_executable(),
    )
