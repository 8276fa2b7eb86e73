"""A pass, a backfill or maintenance from the command line, run by Dagster in this process.

The run is recorded in the same Dagster instance that the UI shows. What it consists of stands in
`jobs.py`.
"""

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.batches import parse_as_of
from orchestration.loading.landing import list_landing
from orchestration.peak_memory import peak_memory, peak_of_children
from orchestration.restatement import NOTHING_LOADED

_INSTANCE = """\
# Written by msgmetrics; runs and schedules of the Dagster UI and daemon are kept in this folder.
telemetry:
  enabled: false
storage:
  custom:
    module: orchestration.event_log
    class: RunRecords
    config:
      base_dir:
        env: DAGSTER_HOME
run_monitoring:
  enabled: true
# A failed step is tried again by its run, after a while; only a killed run is started again.
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
# `dagster job backfill` starts a run a day: let one process at a time wait for the warehouse.
concurrency:
  runs:
    tag_concurrency_limits:
      - key: dagster/backfill
        limit: 1
retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days: {skipped: 1, failure: 30, success: 30}
"""
# What a pass prints goes to the terminal, so no processes are started that copy it for the UI.
_WITHOUT_OUTPUT: Any = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


@dataclass(frozen=True)
class PassResult:
    """How a pass ended: the Dagster run, the snapshot it published, wall seconds by step, and the
    most memory (MiB) that this process (load, publish) and dbt (build) ever held."""

    run_id: str
    snapshot_id: str
    seconds: dict[str, float]
    peak_memory: dict[str, int]


def dagster_instance_folder(settings: Settings) -> Path:
    """DAGSTER_HOME with its configuration in place; also set in the environment."""
    folder = settings.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "dagster.yaml"
    if not configuration.exists() or configuration.read_text("utf-8") != _INSTANCE:
        configuration.write_text(_INSTANCE, "utf-8")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def run_pass(
    settings: Settings,
    *,
    as_of: str | None = None,
    full_refresh: bool = False,
    rehash: bool = False,
    every_row: bool = False,
    republish: bool = False,
    days: tuple[date, date] | None = None,
    verbose: bool = False,
) -> PassResult:
    """Loads what is new, builds, checks and publishes; with `days`, recomputes those instead.

    Raises UserError where the user can mend the cause; any other failure is told with the run's id,
    the full story being in the Dagster UI.
    """
    if days is None:
        list_landing(settings.landing_path)
    elif not settings.warehouse_path.exists():
        raise UserError(NOTHING_LOADED)
    if as_of is not None:
        parse_as_of(as_of, datetime.now(UTC))
    folder = dagster_instance_folder(settings)

    from orchestration.definitions import defs
    from orchestration.failures import BY_HAND
    from orchestration.partitions import landing_day, range_tags

    job, ops = "backfill", {}
    if days is None:
        load = {"as_of": as_of, "rehash": rehash}
        job = "refresh"
        ops["load"] = {"config": {k: v for k, v in load.items() if v is not None}}
    build = {"full_refresh": full_refresh, "every_row": every_row, "published_anew": republish}
    ops["build"] = {"config": build}
    run_config = {"ops": ops, **_loggers(verbose)}
    with _instance(folder) as instance, peak_of_children() as peak_of_dbt:
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_config=run_config,
            partition_key=None if days else landing_day(),
            tags={BY_HAND: "true", **(range_tags(days) if days else {})},
            raise_on_error=False,
        )
        if not result.success:
            raise _failure(result, "Nothing was published")
        peaks = {"load, publish": peak_memory(os.getpid()), "dbt build": peak_of_dbt[0]}
        return PassResult(result.run_id, _snapshot_id(result), _seconds(result), peaks)


def run_maintenance(settings: Settings, *, verbose: bool = False) -> dict[str, Any]:
    """Nightly maintenance, now; returns what it did, by name.

    Raises UserError where the user can mend the cause, and where nothing is loaded yet.
    """
    if not settings.warehouse_path.exists():
        raise UserError(NOTHING_LOADED)
    folder = dagster_instance_folder(settings)

    from orchestration.definitions import defs
    from orchestration.failures import BY_HAND

    with _instance(folder) as instance:
        result = defs.resolve_job_def("maintenance").execute_in_process(
            instance=instance,
            run_config=_loggers(verbose),
            tags={BY_HAND: "true"},
            raise_on_error=False,
        )
        if not result.success:
            raise _failure(result, "Maintenance was not finished, and what is published stays")
        told = next(
            event.event_specific_data.metadata
            for event in result.all_events
            if event.event_type_value == "STEP_OUTPUT"
        )
        return {"run_id": result.run_id, **{name: told[name].value for name in sorted(told)}}


def _loggers(verbose: bool) -> dict[str, Any]:
    return {"loggers": {"console": {"config": {"log_level": "INFO" if verbose else "CRITICAL"}}}}


def _instance(folder: Path) -> Any:
    """The Dagster instance that the UI shows; a context manager, which closes its files."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    reference = InstanceRef.from_dir(str(folder), overrides=_WITHOUT_OUTPUT)
    return dg.DagsterInstance.from_ref(reference)


def _snapshot_id(result: object) -> str:
    for event in result.get_asset_materialization_events():
        if event.asset_key.path == ["published", "snapshot"]:
            return event.materialization.metadata["snapshot"].value
    raise RuntimeError(f"run {result.run_id} ended well without a snapshot")


def _seconds(result: object) -> dict[str, float]:
    """Wall seconds by step."""
    return {
        event.step_key: event.step_success_data.duration_ms / 1000
        for event in result.all_events
        if event.event_type_value == "STEP_SUCCESS"
    }


def _failure(result: object, lead: str) -> UserError | KeyboardInterrupt:
    """The first cause of a failed run as one sentence; Ctrl-C as what it is."""
    from orchestration.failures import INTERRUPTIONS

    interruptions = {interruption.__name__ for interruption in INTERRUPTIONS}
    story = f"`msgmetrics dev` shows run {result.run_id} in full"
    for event in result.all_events:
        error = getattr(event.event_specific_data, "error", None)
        if error is not None and _first_cause(error).cls_name in interruptions:
            return KeyboardInterrupt()
    checks = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    stopped_by = [check for check in checks if not check.passed and check.severity.value == "ERROR"]
    # One that found something says more than one that could not be made.
    for check in sorted(stopped_by, key=lambda check: "broken_check" in check.metadata):
        name = f"{check.check_name} of {'.'.join(check.asset_key.path)}"
        if "broken_check" not in check.metadata:
            return UserError(f"{lead}: the check {name} failed; {story}.")
        cause = check.metadata["broken_check"].value
        return UserError(
            f"{lead}: the check {name} could not be made ({cause}), which says nothing of the "
            f"data; {story}."
        )
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            error = _first_cause(event.event_specific_data.error)
            if error.cls_name == "UserError":
                return UserError(error.message.split(": ", 1)[-1].strip())
            first_line = error.message.strip().splitlines()[0]
            return UserError(f"{lead}: the step {event.step_key} failed ({first_line}); {story}.")
    return UserError(f"{lead}: the run failed; {story}.")


def _first_cause(error: Any) -> Any:
    while error.cause is not None:
        error = error.cause
    return error
