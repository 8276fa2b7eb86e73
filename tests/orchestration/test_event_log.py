"""Dagster's records with files kept open: what is written, and when others see it."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from msgmetrics.settings import Settings
from orchestration.event_log import KeptOpenEventLog
from orchestration.passes import dagster_instance_folder
from orchestration.runs import _delete_files


@dg.asset
def counted() -> dg.MaterializeResult:
    """An asset whose record is looked for."""
    return dg.MaterializeResult(metadata={"rows": 3})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = dagster_instance_folder(Settings(home=tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def test_what_a_run_recorded_is_there_for_dagsters_own_reader_while_the_files_are_open(folder):
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, KeptOpenEventLog)
        run = dg.materialize([counted], instance=instance)
        theirs = SqliteEventLogStorage(str(folder / "history" / "runs"))
        kinds = [event.dagster_event_type for event in theirs.get_logs_for_run(run.run_id)]
        assert kinds == [event.dagster_event_type for event in instance.all_logs(run.run_id)]
        assert dg.DagsterEventType.RUN_SUCCESS in kinds
        latest = theirs.get_latest_materialization_events([counted.key])[counted.key]
        assert latest.run_id == run.run_id
        assert latest.asset_materialization.metadata["rows"].value == 3


def test_no_more_than_a_few_files_stay_open_and_dropped_ones_are_begun_anew(folder):
    with dg.DagsterInstance.get() as instance:
        runs = [dg.materialize([counted], instance=instance).run_id for _ in range(6)]
        assert len(instance.event_log_storage._open) == 4
        for run_id in (runs[0], runs[-1]):
            assert instance.all_logs(run_id)
            _delete_files(instance, run_id)
            assert instance.all_logs(run_id) == []
    assert not instance.event_log_storage._open
