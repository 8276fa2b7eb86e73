"""The dbt project is whole: it builds and passes its own tests, and says what it holds."""

import json
import os
import re
import subprocess

import duckdb
import pytest
from compiled import PROJECT, compiled_project
from dbt.cli.main import dbtRunner
from small_world import create_raw_records

from msgmetrics.catalogue import catalogue
from orchestration.dbt import dbt_executable


def nodes(kind: str) -> list[dict]:
    manifest = compiled_project().manifest
    section = {"unit_test": "unit_tests", "macro": "macros", "source": "sources"}.get(kind, "nodes")
    return [
        node
        for node in manifest[section].values()
        if node["resource_type"] == kind and node["package_name"] == "msgmetrics"
    ]


def test_the_project_builds_and_passes_its_data_and_unit_tests(tmp_path, monkeypatch):
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        create_raw_records(connection)
    monkeypatch.setenv("MSGMETRICS_WAREHOUSE", str(warehouse))
    result = dbtRunner().invoke(
        [
            *("--warn-error-options", '{"error": "all"}'),
            *("build", "--quiet", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
            *("--target-path", str(tmp_path), "--log-path", str(tmp_path)),
        ]
    )
    assert result.exception is None
    outcomes = {
        one.node.name: one.status
        for one in result.result
        if one.node.resource_type not in ("operation", "exposure")
    }
    expected = {
        node["name"] for kind in ("model", "seed", "test", "unit_test") for node in nodes(kind)
    }
    assert set(outcomes) == expected
    assert {name for name, status in outcomes.items() if status not in ("success", "pass")} == set()


def test_events_grouped_in_turns_for_want_of_memory_are_those_grouped_at_once(tmp_path):
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        create_raw_records(connection)
    grouped = []
    for bytes_of_an_event in (1, 10**10):
        subprocess.run(
            [
                *(dbt_executable(), "build", "--quiet", "--select", "+int_events_by_message"),
                *("--exclude-resource-type", "test", "unit_test"),
                *("--vars", f"bytes_of_a_grouped_event: {bytes_of_an_event}"),
                *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
                *("--target-path", str(tmp_path), "--log-path", str(tmp_path)),
            ],
            env={**os.environ, "MSGMETRICS_WAREHOUSE": str(warehouse)},
            check=True,
        )
        with duckdb.connect(str(warehouse)) as connection:
            rows = connection.execute("from facts.int_events_by_message order by all").fetchall()
        (ran,) = (tmp_path / "run").rglob("int_events_by_message.sql")
        grouped.append((rows, ran.read_text("utf-8").count("every_part")))
    (at_once, one), (in_turns, several) = grouped
    assert at_once == in_turns
    assert (len(at_once) > 1, one, several > 5) == (True, 0, True)


def test_tests_of_every_row_find_a_fault_and_half_a_gigabyte_is_enough_for_them(tmp_path):
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        create_raw_records(connection)

    def outcomes(command: str, *selected: str) -> dict[str, str]:
        folders = ("--target-path", str(tmp_path), "--log-path", str(tmp_path))
        projects = ("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT))
        subprocess.run(
            [dbt_executable(), command, "--quiet", *selected, *projects, *folders],
            env={
                **os.environ,
                "MSGMETRICS_WAREHOUSE": str(warehouse),
                "MSGMETRICS_WAREHOUSE_MEMORY": "500MB",
                "MSGMETRICS_MODELS_AT_ONCE": "2",
            },
            check=False,
        )
        results = json.loads((tmp_path / "run_results.json").read_text("utf-8"))["results"]
        return {
            result["unique_id"].split(".")[2]: result["status"]
            for result in results
            if not result["unique_id"].startswith("operation")
        }

    made = outcomes("build", "--exclude-resource-type", "test", "unit_test")
    assert set(made.values()) == {"success", "no-op"}
    tests = outcomes("test", "--select", "tag:agreement")
    assert (len(tests), set(tests.values())) == (8, {"pass"})
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(
            "update parts.hourly_by_country set delivered = delivered + 1 "
            "where rowid = (select min(rowid) from parts.hourly_by_country)"
        )
    tests = outcomes("test", "--select", "tag:agreement")
    assert {name for name, status in tests.items() if status != "pass"} == {
        "assert_daily_equals_sum_of_hourly",
        "assert_marts_agree_with_messages",
    }
    assert set(tests.values()) == {"pass", "fail"}


def test_every_data_test_states_its_severity():
    # dbt's own default is in capitals
    assert {
        node["name"]
        for node in nodes("test")
        if node["config"]["severity"] not in ("error", "warn")
    } == set()


def test_what_data_may_well_be_like_is_told_and_stops_nothing():
    assert {node["name"] for node in nodes("test") if node["config"]["severity"] == "warn"} == {
        "assert_a_message_stays_with_its_account",
        "assert_all_codes_are_known",
        "assert_all_costs_are_in_one_currency",
        "assert_no_account_is_its_own_ancestor",
        "assert_no_inbound_message_has_events",
    }


@pytest.mark.parametrize("kind", ["model", "seed", "source"])
def test_every_description_ends_with_the_grain(kind):
    assert {
        node["name"]
        for node in nodes(kind)
        if not re.search(r"One row per [^.]*\.$", node["description"].strip())
    } == set()


def test_every_macro_is_described_with_its_arguments():
    for macro in nodes("macro"):
        assert macro["description"], macro["name"]
        if macro["name"].startswith("materialization_"):
            continue
        source = re.search(
            rf"(?:macro|test) {macro['name'].removeprefix('test_')}\(([^)]*)\)", macro["macro_sql"]
        )
        declared = [argument.split("=")[0].strip() for argument in source[1].split(",")]
        described = [argument["name"] for argument in macro["arguments"]]
        if macro["name"].startswith("test_"):
            declared.remove("model")
        assert described == [name for name in declared if name], macro["name"]


def test_every_dimension_has_an_hourly_and_a_daily_mart():
    built = {node["name"] for node in nodes("model")}
    assert {name for name in built if name.startswith(("hourly_by_", "daily_by_"))} == {
        f"{grain}_by_{mart}" for grain in ("hourly", "daily") for mart in catalogue().marts
    }


def expectations(model: str) -> list[dict]:
    """Every row that some unit test expects of the model."""
    return [
        row
        for unit_test in nodes("unit_test")
        if unit_test["model"] == model
        for row in unit_test["expect"]["rows"]
    ]


def test_unit_tests_expect_a_value_and_a_null_of_every_metric():
    rows = expectations("hourly_by_channel")
    for metric in catalogue().metrics.values():
        values = [row[metric.column] for row in rows if metric.column in row]
        assert any(value is not None for value in values), metric.name
        everywhere = len(metric.channels) == len(catalogue().channels)
        if metric.is_rate or not everywhere:
            assert None in values, metric.name


def test_unit_tests_expect_every_measure_to_count_something():
    counted = {
        column for row in expectations("fct_messages") for column, value in row.items() if value
    }
    assert set(catalogue().measures) - counted == set()


def test_every_data_test_is_a_check_of_an_asset_that_it_reads():
    # one that names no such asset would run unseen
    for node in nodes("test"):
        read = {key.split(".")[-1] for key in node["depends_on"]["nodes"]}
        named = node["config"]["meta"].get("dagster", {}).get("ref", {}).get("name")
        assert named in read or node.get("attached_node") or len(read) == 1, node["name"]
