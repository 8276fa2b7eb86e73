"""Runs of several processes over one warehouse, and what is kept of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer

import dagster as dg
import pytest

from msgmetrics.settings import Settings
from orchestration.passes import dagster_instance_folder
from orchestration.runs import drop_old_records, fail_dead_runs, run_under_way
from orchestration.warehouse import writer_lock

FACTS = dg.AssetKey(["facts", "fct_messages"])
# A run that writes until its standard input ends, and says what it does.
_WRITES = """
import sys
import dagster as dg
from msgmetrics.settings import settings
from orchestration.passes import dagster_instance_folder
from orchestration.progress import listening
from orchestration.resources import Writer

@dg.op(required_resource_keys={"writer"})
def hold(context):
    print("writes", context.run_id, flush=True)
    sys.stdin.readline()

@dg.job(resource_defs={"writer": Writer()}, executor_def=dg.in_process_executor)
def write():
    hold()

dagster_instance_folder(settings())
with dg.DagsterInstance.get() as instance:
    with listening(lambda *_: None, lambda sentence: print(sentence, flush=True)):
        write.execute_in_process(instance=instance)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MSGMETRICS_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    here = Settings(home=tmp_path)
    dagster_instance_folder(here)
    return here


@pytest.fixture
def instance(home: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


def started() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )


def test_a_second_run_waits_says_for_whom_and_goes_on_when_the_first_is_killed(
    instance: dg.DagsterInstance,
) -> None:
    first, second = started(), None
    try:
        word, run_id = first.stdout.readline().split()
        assert word == "writes"
        second = started()
        said = second.stdout.readline()
        assert run_id in said and f"process {first.pid}" in said and "waiting" in said
        assert run_under_way(instance)
        first.kill()
        first.wait()
        word, second_id = second.stdout.readline().split()
        assert word == "writes" and second_id != run_id
        second.communicate("end\n", timeout=60)
        assert second.returncode == 0
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()
    statuses = {run.run_id: run.status.value for run in instance.get_runs()}
    assert statuses == {run_id: "FAILURE", second_id: "SUCCESS"}
    assert run_under_way(instance) is None


def test_a_run_that_lives_is_left_alone_and_a_killed_one_is_found_without_another_run(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    process = started()
    try:
        _, run_id = process.stdout.readline().split()
        assert fail_dead_runs(instance, home) == []
    finally:
        process.kill()
        process.communicate()
    assert fail_dead_runs(instance, home) == [run_id]
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE
    assert fail_dead_runs(instance, home) == []


def test_of_a_run_that_is_dying_the_next_one_waits_to_be_told(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    """As where the operating system gives back the right to write before it gives back the rest."""
    process = started()
    _, run_id = process.stdout.readline().split()
    killing = Timer(0.5, process.kill)
    killing.start()
    try:
        assert fail_dead_runs(instance, home, dying=f"Dagster run {run_id}, process 1") == [run_id]
    finally:
        killing.join()
        process.communicate()


def test_who_was_killed_with_the_right_to_write_is_known_to_the_next_and_to_no_other(
    home: Settings,
) -> None:
    process = started()
    _, run_id = process.stdout.readline().split()
    process.kill()
    process.communicate()
    found = []
    for holder in ("the next", "another"):
        with writer_lock(home, holder=holder) as killed:
            found.append(killed)
    assert found == [f"Dagster run {run_id}, process {process.pid}", ""]


# --- old records ----------------------------------------------------------------------------


def run_that_restates(instance: dg.DagsterInstance, *days: str) -> str:
    @dg.op
    def restate(context: dg.OpExecutionContext) -> None:
        for day in days:
            context.log_event(
                dg.AssetMaterialization(FACTS, partition=day, metadata={"changed": len(days)})
            )

    @dg.job
    def refresh() -> None:
        restate()

    return refresh.execute_in_process(instance=instance).run_id


def latest(instance: dg.DagsterInstance, day: str) -> dg.AssetMaterialization:
    (record,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FACTS, asset_partitions=[day]), limit=1
    ).records
    return record.asset_materialization


def test_old_runs_go_with_their_files_and_the_days_that_they_restated_last_stay_shown(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    first = run_that_restates(instance, "2026-05-01", "2026-05-02")
    second = run_that_restates(instance, "2026-05-02")
    assert drop_old_records(instance, home, FACTS, now=datetime.now(UTC)) == 0
    assert {run.run_id for run in instance.get_runs()} == {first, second}
    later = datetime.now(UTC) + timedelta(days=home.run_days + 1)
    assert drop_old_records(instance, home, FACTS, now=later) == 2
    assert instance.get_runs() == []
    assert not [path for path in (home.dagster_home / "history" / "runs").glob(f"{first}*")]
    assert instance.get_materialized_partitions(FACTS) == {"2026-05-01", "2026-05-02"}
    for day, run_id, changed in (("2026-05-01", first, 2), ("2026-05-02", second, 1)):
        metadata = latest(instance, day).metadata
        assert (metadata["run_id"].value, metadata["changed"].value) == (run_id, changed)
    assert drop_old_records(instance, home, FACTS, now=later) == 0
