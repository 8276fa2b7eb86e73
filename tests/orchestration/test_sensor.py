"""The sensor on the landing zone: one run for what is new, and none while another is under way."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from msgmetrics.settings import Settings
from orchestration.arrivals import LANDING_STATE, landing_state
from orchestration.sensors import landing_sensor


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("MSGMETRICS_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing" / "messages"
    folder.mkdir(parents=True)
    return folder


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    return landing_sensor(dg.build_sensor_context(instance=instance, cursor=cursor))


def test_a_missing_landing_zone_is_a_sentence(instance: dg.DagsterInstance) -> None:
    assert "does not exist" in tick(instance).skip_reason.skip_message


def test_new_files_start_one_run_and_the_same_files_none(
    instance: dg.DagsterInstance, landing: Path
) -> None:
    (landing / "a.jsonl").write_text("{}")
    first = tick(instance)
    assert len(first.run_requests) == 1
    assert not tick(instance, first.cursor).run_requests
    for change in (lambda: (landing / "b.jsonl").write_text("{}"), (landing / "a.jsonl").unlink):
        change()
        second = tick(instance, first.cursor)
        assert len(second.run_requests) == 1 and second.cursor != first.cursor
        first = second
    (landing / "notes.txt").write_text("no landing file")
    assert not tick(instance, first.cursor).run_requests


def test_what_a_run_has_looked_at_already_starts_none(
    instance: dg.DagsterInstance, landing: Path, tmp_path: Path
) -> None:
    (landing / "a.jsonl").write_text("{}")
    state = landing_state(Settings(home=tmp_path).landing_path)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(["raw", "messages"], metadata={LANDING_STATE: state})
    )
    result = tick(instance, "another state")
    assert not result.run_requests and result.cursor == state


def test_while_a_run_is_under_way_none_is_started_and_nothing_is_forgotten(
    instance: dg.DagsterInstance, landing: Path
) -> None:
    @dg.job
    def refresh() -> None: ...

    run = instance.create_run_for_job(refresh, status=dg.DagsterRunStatus.STARTED)
    (landing / "a.jsonl").write_text("{}")
    result = tick(instance, "another state")
    assert not result.run_requests and result.cursor is None
    instance.delete_run(run.run_id)
    assert len(tick(instance, "another state").run_requests) == 1
