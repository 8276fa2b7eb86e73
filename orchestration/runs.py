"""Dagster's records of runs: which runs live, which are dead, which records are old enough to go.

What a run does is not decided here.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import dagster as dg
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from msgmetrics.settings import Settings

_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_OVER = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_KILLED = "The process of this run was killed; the next run goes on from what it left."
# A run that has begun is alive for so long before it must have said so.
_SILENT = timedelta(minutes=10)
# Seconds in which a process that was killed lets go of all that it held.
_DYING = 10
# Records dropped at a time, so that no run waits long for it.
_AT_A_TIME = 20

# Files of this process's runs, held until it ends: a run is over only when Dagster has noted so,
# which is after its last step and its resources.
_held: list[IO[str]] = []


def _folder(settings: Settings) -> Path:
    return settings.dagster_home / "alive"


def show_life(settings: Settings, run_id: str) -> None:
    """Holds a file in the run's name until this process ends, however it ends."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{run_id}.{os.getpid()}"
    file = fresh.open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    fresh.rename(folder / run_id)  # never seen without its lock
    for earlier in _held:
        earlier.close()
    _held[:] = [file]


def fail_dead_runs(
    instance: dg.DagsterInstance, settings: Settings, *, dying: str = ""
) -> list[str]:
    """Marks as failed the runs whose process ended before they did; returns their ids.

    dying: names a run that was killed, whose process may not have let go of all its files yet.
    """
    dead = []
    folder = _folder(settings)
    for path in folder.iterdir() if folder.is_dir() else []:
        with _taken(path, patience=_DYING if path.name in dying else 0) as is_free:
            if is_free and not path.name.startswith("."):
                run = instance.get_run_by_id(path.name)
                if run is not None and not run.is_finished:
                    _fail(instance, run)
                    dead.append(run.run_id)
            if is_free:
                path.unlink(missing_ok=True)
    begun = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(filters=begun):
        run, since = record.dagster_run, record.start_time
        is_silent = since is not None and since < (datetime.now(UTC) - _SILENT).timestamp()
        if is_silent and not (folder / run.run_id).exists():
            _fail(instance, run)
            dead.append(run.run_id)
    return dead


@contextmanager
def _taken(path: Path, patience: float) -> Iterator[bool]:
    """Whether nobody else holds the file, or for so many seconds more; nobody does while the block
    runs."""
    trying = Retrying(
        retry=retry_if_exception_type(BlockingIOError),
        stop=stop_after_delay(patience),
        wait=wait_fixed(0.05),
        reraise=True,
    )
    try:
        with path.open(encoding="utf-8") as file:
            try:
                trying(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
    except FileNotFoundError:
        yield False


def _fail(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, _KILLED)
    else:
        instance.report_run_failed(run, _KILLED)


def run_under_way(instance: dg.DagsterInstance) -> str | None:
    """The id of a run that waits or runs; None if there is none."""
    ids = instance.get_run_ids(filters=dg.RunsFilter(statuses=_UNDER_WAY), limit=1)
    return ids[0] if ids else None


# --- old records ----------------------------------------------------------------------------


def drop_old_records(
    instance: dg.DagsterInstance,
    settings: Settings,
    kept_for: dg.AssetKey,
    *,
    now: datetime,
) -> int:
    """Removes runs that ended longer ago than their records are kept, with their events and logs.

    A day of the asset `kept_for` that was restated last by such a run stays shown, its numbers and
    the run's id with it. Returns how many runs are gone; the rest is for the next time.
    """
    old = instance.get_run_records(
        filters=dg.RunsFilter(
            statuses=_OVER, updated_before=now - timedelta(days=settings.run_days)
        ),
        limit=_AT_A_TIME,
        order_by="update_timestamp",
        ascending=True,
    )
    for record in old:
        run_id = record.dagster_run.run_id
        kept = _latest_of_their_day(instance, run_id, kept_for)
        instance.delete_run(run_id)
        _delete_files(instance, run_id)
        for materialization in kept:
            instance.report_runless_asset_event(materialization)
    return len(old)


def _latest_of_their_day(
    instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey
) -> list[dg.AssetMaterialization]:
    """What the run reported of the asset's days, where no later run has reported the same day."""
    latest = []
    for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        reported = event.get_dagster_event().step_materialization_data.materialization
        if reported.asset_key != key or reported.partition is None:
            continue
        newest = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[reported.partition]), limit=1
        ).records
        if newest and newest[0].run_id == run_id:
            restated_at = dg.MetadataValue.timestamp(event.timestamp)
            metadata = {"restated_at": restated_at, "run_id": run_id, **reported.metadata}
            latest.append(
                dg.AssetMaterialization(key, partition=reported.partition, metadata=metadata)
            )
    return latest


def _delete_files(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run's own event file and its captured output, which Dagster leaves behind, emptied."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    place_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if place_of is not None:
        for file in Path(place_of(run_id)).parent.glob(f"{run_id}.db*"):
            file.unlink(missing_ok=True)
