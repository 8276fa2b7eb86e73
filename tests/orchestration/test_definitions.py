"""The asset graph that Dagster loads: names, groups, order."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from msgmetrics.catalogue import catalogue
from orchestration.failures import TRIED_AGAIN
from orchestration.partitions import PASS

MODELS = Path(__file__).parents[2] / "dbt_project" / "models"


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSGMETRICS_HOME", str(tmp_path_factory.mktemp("home")))
        from orchestration.definitions import defs

        yield defs


def specs(defs: dg.Definitions) -> dict[tuple[str, ...], dg.AssetSpec]:
    """Of all that runs make; the loader's own books are read and nobody's asset."""
    return {
        tuple(spec.key.path): spec
        for spec in defs.resolve_all_asset_specs()
        if tuple(spec.key.path) not in (("raw", "batches"), ("raw", "files"))
    }


def test_folder_is_schema_is_group(defs: dg.Definitions) -> None:
    for path in MODELS.rglob("*.sql"):
        folder = path.relative_to(MODELS).parts[0]
        assert specs(defs)[(folder, path.stem)].group_name == folder


def test_every_mart_is_published_from_and_every_layer_follows_the_one_before(
    defs: dg.Definitions,
) -> None:
    graph = specs(defs)
    published = {tuple(dep.asset_key.path) for dep in graph[("published", "snapshot")].deps}
    for mart in catalogue().marts:
        assert {("marts", f"hourly_by_{mart}"), ("marts", f"daily_by_{mart}")} <= published
    order = ["raw", "reference", "restatement", "staging", "facts", "marts", "published"]
    for key, spec in graph.items():
        for dep in spec.deps:
            assert order.index(dep.asset_key.path[0]) <= order.index(key[0]), (key, dep)


def test_data_tests_are_asset_checks(defs: dg.Definitions) -> None:
    names = (
        {check.name for check in defs.resolve_all_asset_checks_specs()}
        if hasattr(defs, "resolve_all_asset_checks_specs")
        else {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    )
    assert "every_record_is_loaded_or_quarantined" in names
    for path in (MODELS.parent / "data_tests").glob("assert_*.sql"):
        assert path.stem in names


def test_only_the_nightly_run_and_the_one_that_asks_read_every_row(
    defs: dg.Definitions,
) -> None:
    from orchestration.assets.warehouse import dbt_arguments

    assert dbt_arguments(every_row=False)[-2:] == ["--exclude", "tag:agreement"]
    assert "tag:agreement" not in dbt_arguments(every_row=True)


def test_one_job_holds_every_asset_and_runs_in_one_process_every_quarter_of_an_hour(
    defs: dg.Definitions,
) -> None:
    job = defs.resolve_job_def("refresh")
    assert job.executor_def.name == "in_process"
    assert set(job.asset_layer.executable_asset_keys) == {
        dg.AssetKey(list(key)) for key in specs(defs)
    }
    schedule = defs.resolve_schedule_def("refresh_schedule")
    assert schedule.cron_schedule == "*/15 * * * *" and schedule.job_name == "refresh"


def test_runs_that_the_ui_makes_up_stay_in_one_process_too(defs: dg.Definitions) -> None:
    assert defs.resolve_implicit_global_asset_job_def().executor_def.name == "in_process"


def test_a_backfill_has_all_checks_but_those_of_loading_and_notes_days_on_three_assets(
    defs: dg.Definitions,
) -> None:
    from orchestration import jobs

    job = defs.resolve_job_def("backfill")
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == {
        "facts/fct_messages",
        "marts/daily_by_channel",
        "published/snapshot",
    }
    graph = defs.resolve_asset_graph()
    assert jobs.backfill.selection.resolve_checks(graph) == {
        key for key in graph.asset_check_keys if key.asset_key.path[0] != "raw"
    }


def test_every_asset_takes_a_range_of_days_as_one_run(
    defs: dg.Definitions,
) -> None:
    graph = defs.resolve_asset_graph()
    keys = {dg.AssetKey(list(key)) for key in specs(defs)}
    for key in keys:
        assert graph.get(key).backfill_policy == dg.BackfillPolicy.single_run(), key
        days = graph.get(key).partitions_def
        assert days.get_first_partition_key() == "2020-01-01", key
        assert days.get_last_partition_key() == datetime.now(UTC).date().isoformat(), key


def test_schedules_name_the_day_of_landing_and_only_the_nightly_one_compares_every_row(
    defs: dg.Definitions,
) -> None:
    today = datetime.now(UTC).date().isoformat()
    for name, config in (
        ("refresh_schedule", {}),
        (
            "nightly_schedule",
            {"ops": {"build": {"config": {"every_row": True}}}},
        ),
    ):
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_schedule_context(
                instance=instance,
                repository_def=defs.get_repository_def(),
                scheduled_execution_time=datetime.now(UTC),
            ) as context,
        ):
            schedule = defs.resolve_schedule_def(name)
            (request,) = schedule.evaluate_tick(context).run_requests
        assert request.partition_key == today and request.run_config == config


def test_of_processes_that_begin_together_one_parses_and_all_read_the_whole_manifest(
    tmp_path: Path,
) -> None:
    ask = (
        "import json; from msgmetrics.settings import settings; "
        "from orchestration.dbt import current_manifest; "
        "print(json.loads(current_manifest(settings()).read_bytes())['metadata']['invocation_id'])"
    )
    asked = [
        subprocess.Popen(
            [sys.executable, "-c", ask],
            env={**os.environ, "MSGMETRICS_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    manifest = tmp_path / "dbt" / "manifest.json"
    while any(process.poll() is None for process in asked):
        if manifest.exists():
            assert json.loads(manifest.read_bytes())["nodes"]
        time.sleep(0.005)
    parses = {process.communicate()[0].splitlines()[-1] for process in asked}
    assert len(parses) == 1 and all(process.returncode == 0 for process in asked)


def test_of_dbts_artefacts_the_latest_are_kept(tmp_path: Path) -> None:
    from msgmetrics.settings import Settings
    from orchestration.dbt import drop_old_artefacts

    here = Settings(home=tmp_path)
    for number in range(5):
        folder = here.dbt_target / f"build-{number}"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    drop_old_artefacts(here, keep=2)
    assert {path.name for path in here.dbt_target.iterdir()} == {"build-3", "build-4"}


def test_whatever_says_what_becomes_of_a_message_is_part_of_its_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgmetrics.settings import Settings
    from orchestration.dbt import definition_of_outcomes

    project = tmp_path / "dbt_project"
    shutil.copytree(MODELS, project / "models")
    shutil.copytree(MODELS.parent / "macros", project / "macros")
    monkeypatch.setattr(Settings, "dbt_project_dir", project)
    here = Settings(home=tmp_path)
    known = {definition_of_outcomes(here)}
    models = [*(project / "models" / "facts").glob("*.sql")]
    models += (project / "models" / "staging").glob("*.sql")
    models += (project / "models" / "restatement").glob("repeated_*.sql")
    for model in models:
        if model.stem == "stg_accounts":  # says nothing of messages
            continue
        model.write_text(model.read_text("utf-8") + "\nlimit 1\n", "utf-8")
        definition = definition_of_outcomes(here)
        assert definition not in known, model.stem
        known.add(definition)


def test_every_step_of_a_pass_is_tried_again(defs: dg.Definitions) -> None:
    steps = {step.name: step for step in defs.resolve_job_def(PASS).all_node_defs}
    assert set(steps) == {"load", "build", "gate", "published__snapshot"}
    assert all(step.retry_policy == TRIED_AGAIN for step in steps.values())
