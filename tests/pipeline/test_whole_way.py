"""From landing files to a served number, by the real command line, Dagster, dbt and HTTP."""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import httpx
import pandas as pd
import psutil
import pytest
from compiled import build_models, create_seeds
from pipeline.conftest import Home

from msgmetrics.catalogue import catalogue
from msgmetrics.errors import UserError
from msgmetrics.settings import PROJECT_ROOT, Settings, settings
from orchestration.loading.loader import Loader
from orchestration.publishing import publish
from orchestration.warehouse import writer_lock


@contextlib.contextmanager
def served(home: Home) -> Iterator[str]:
    """The endpoint of this home on a free port; stopped by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "msgmetrics.cli", "serve", "--port", str(port)],
        env=home.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{base}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        yield base
    finally:
        server.terminate()
        server.wait()


def test_every_valid_message_is_published_and_every_broken_record_is_kept_aside(home: Home) -> None:
    status = json.loads(home.msgmetrics("status", "--json").stdout)
    assert status["messages"] == 4000
    assert status["records_quarantined"] == 14
    assert status["files_unreadable"] == 1
    assert status["snapshot"] and status["disk_bytes"] > 0


def test_all_marts_are_published_with_all_their_metrics(home: Home) -> None:
    known = catalogue()
    with duckdb.connect(str(home.published), read_only=True) as published:
        for grain in ("hourly", "daily"):
            for mart in known.marts:
                columns = {
                    name for name, *_ in published.execute(f"describe {grain}_by_{mart}").fetchall()
                }
                expected = {m.column for m in known.metrics.values() if m.url or mart != "url"}
                assert expected <= columns, mart


def test_the_published_file_holds_no_end_user_address(home: Home) -> None:
    with duckdb.connect(str(home.path / "warehouse.duckdb"), read_only=True) as warehouse:
        addresses = [
            address
            for (address,) in warehouse.execute(
                "select distinct case when direction = 'OUTBOUND' then recipient else sender end "
                "from staging.stg_messages"
            ).fetchall()
        ]
    with duckdb.connect(str(home.published), read_only=True) as published:
        for (table,) in published.execute("select table_name from duckdb_tables()").fetchall():
            found = published.execute(
                f"select count(*) from (select unnest([columns(*)::varchar]) as value "
                f"from {table}) where list_contains($addresses, value)",
                {"addresses": addresses},
            ).fetchone()
            assert found == (0,), table


def test_a_served_number_is_the_published_number(home: Home) -> None:
    with duckdb.connect(str(home.published), read_only=True) as published:
        account, expected = published.execute(
            "select account_key, sum(messages_in)::bigint from daily_by_channel "
            "inner join accounts using (account_key) where parent_account_key is not null "
            "and account_key not in (select parent_account_key from accounts "
            "where parent_account_key is not null) "
            "group by 1 order by 2 desc, 1 limit 1"
        ).fetchone()
    created = home.msgmetrics("keys", "create", "--account", account, "--scope", "metrics:read")
    key = created.stdout.strip()
    assert created.stdout == f"{key}\n" and key.startswith("am_live_")
    with served(home) as base:
        answer = httpx.get(
            f"{base}/v1/metrics/inbound",
            params={
                "metric": "received",
                "granularity": "day",
                "from": "2026-05-01T00:00:00Z",
                "to": "2026-05-06T00:00:00Z",
            },
            headers={"Authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200
        assert sum(bucket["value"] for bucket in answer.json()["data"]["buckets"]) == expected
        assert home.msgmetrics("keys", "revoke", key[:14]).returncode == 0
        refused = httpx.get(
            f"{base}/v1/metrics/inbound?metric=received",
            headers={"Authorization": f"Bearer {key}"},
        )
        assert refused.status_code == 401


def test_no_key_is_stored_in_the_clear(home: Home) -> None:
    with duckdb.connect(str(home.published), read_only=True) as published:
        (account,) = published.execute("select min(account_key) from accounts").fetchone()
    key = home.msgmetrics(
        "keys", "create", "--account", account, "--scope", "metrics:read"
    ).stdout.strip()
    written = [path for path in (home.path / "endpoint").rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert key.encode() not in path.read_bytes()


def test_a_key_for_an_unknown_account_is_refused_in_one_sentence(home: Home) -> None:
    done = home.msgmetrics("keys", "create", "--account", "nobody", "--scope", "metrics:read")
    assert done.returncode == 2 and done.stdout == ""
    assert "nobody" in done.stderr and "Traceback" not in done.stderr


def test_quarantine_shows_file_row_reason_and_raw_text(home: Home) -> None:
    listed = json.loads(home.msgmetrics("quarantine", "list", "--json").stdout)
    assert listed["total"] == 15
    whole_file = [entry for entry in listed["entries"] if entry["row_number"] is None]
    assert len(whole_file) == 1 and whole_file[0]["path"].endswith(".gz")
    one = next(entry for entry in listed["entries"] if entry["row_number"] is not None)
    shown = json.loads(
        home.msgmetrics("quarantine", "show", str(one["quarantine_id"]), "--json").stdout
    )
    assert shown == one and shown["raw_text"] and shown["reason"]


def test_one_command_makes_a_damaged_published_file_anew_and_maintenance_changes_no_number(
    home: Home, tmp_path: Path
) -> None:
    shutil.copytree(home.path, tmp_path / "home", symlinks=True)
    damaged = Home(tmp_path / "home")

    def numbers() -> list[tuple]:
        with duckdb.connect(str(damaged.published), read_only=True) as published:
            return [
                *published.execute("from daily_by_country order by all").fetchall(),
                *published.execute("from messages order by all").fetchall(),
            ]

    before = numbers()
    # the next pass would do it, too
    for command in (["run", "--republish"], ["run"]):
        damaged.published.resolve().write_bytes(b"damaged" * 1000)
        told = damaged.msgmetrics("status")
        assert told.returncode == 2
        assert "make it anew with `msgmetrics run --republish`" in " ".join(told.stderr.split())
        mended = damaged.msgmetrics(*command, "--json")
        assert mended.returncode == 0, mended.stderr
        assert numbers() == before
    unchanged = damaged.msgmetrics("changes")
    assert "Nothing changed in hourly_by_channel" in unchanged.stderr
    assert "--from takes an earlier snapshot" in unchanged.stderr
    maintained = damaged.msgmetrics("maintain", "--json", MSGMETRICS_COMPACT_ABOVE="0")
    assert maintained.returncode == 0, maintained.stderr
    done = json.loads(maintained.stdout)
    assert numbers() == before
    assert "published_bytes" not in done, "it was written in order just now"
    assert done["warehouse_bytes"] <= done["warehouse_bytes_before"]
    again = json.loads(damaged.msgmetrics("maintain", "--json").stdout)
    assert again.keys() == {"run_id", "change_rows_dropped", "run_records_dropped"}


def rows_of_the_summary_in_the_readme() -> set[str]:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    block = readme.split("<!-- output: make run -->")[1].split("```")[1]
    return set(re.findall(r"^  ([a-z_]+)  ", block, re.MULTILINE))


def land_a_message(home: Home) -> None:
    """A new file with a message that is in no other, so that the next pass has something to do."""
    record = {
        "message_id": f"landed-{time.monotonic_ns()}",
        "account_key": "ACC00001",
        "direction": "INBOUND",
        "channel_code": "SMS",
        "sent_at": "2026-05-05T10:00:00Z",
        "sender": "+99912345678",
        "recipient": "ACME",
    }
    path = home.landing / "messages" / f"{record['message_id']}.jsonl"
    path.write_text(json.dumps(record), "utf-8")


def ended_while_dbt_builds(home: Home, end: Callable[[int], None]) -> tuple[int, str]:
    """Starts a pass over everything and lets `end` end it by its id, which is its group's too.

    Returns its exit code and what it said.
    """
    said = home.path / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "msgmetrics.cli", "run", "--full-refresh"],
            env=home.environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    children = []
    while not children:
        assert process.poll() is None, "the pass ended before dbt began"
        time.sleep(0.2)
        below = psutil.Process(process.pid).children(recursive=True)
        children = [child for child in below if "build" in child.cmdline()]
    time.sleep(4)
    end(process.pid)
    return process.wait(timeout=120), said.read_text("utf-8")


def test_ctrl_c_during_a_pass_is_one_sentence(home: Home) -> None:
    code, said = ended_while_dbt_builds(home, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 130
    assert "interrupted; what was finished is kept, the next run goes on from it" in said
    assert "Traceback" not in said, said


def test_ctrl_c_while_a_pass_waits_for_another_is_one_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.landing.mkdir()
    said = tmp_path / "said"
    with writer_lock(Settings(home=tmp_path), holder="another"), said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "msgmetrics.cli", "run"],
            env=home.environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        _until(120, lambda: "another" in said.read_text("utf-8"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    assert "interrupted; what was finished is kept" in said.read_text("utf-8")
    assert "Traceback" not in said.read_text("utf-8")


def test_a_pass_after_a_killed_one_over_the_same_files_changes_only_the_snapshot(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents() -> dict[str, list]:
        with duckdb.connect(str(home.published), read_only=True) as published:
            names = [
                n for (n,) in published.execute("select table_name from duckdb_tables()").fetchall()
            ]
            return {
                name: published.execute(f"select * from {name} order by all").fetchall()
                for name in names
                if name not in ("snapshots", "earlier_snapshots")
            }

    before = contents()
    as_of = json.loads(home.msgmetrics("status", "--json").stdout)["as_of"]
    ended_while_dbt_builds(home, lambda pid: os.kill(pid, signal.SIGKILL))
    done = home.msgmetrics("run", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["marts"] == 46 and rows_of_the_summary_in_the_readme() <= set(summary)
    after = json.loads(home.msgmetrics("status", "--json").stdout)
    assert contents() == before
    assert after["as_of"] > as_of and after["records_quarantined"] == 14
    monkeypatch.setenv("DAGSTER_HOME", str(home.path / "dagster"))
    with dg.DagsterInstance.get() as instance:
        last, killed, *_ = instance.get_runs()
    assert (last.status.value, killed.status.value) == ("SUCCESS", "FAILURE")


@pytest.mark.parametrize("moment", ["tomorrow", "2026-05-05T10:00:00", "2999-01-01T00:00:00Z"])
def test_an_unusable_as_of_is_refused_in_one_sentence(home: Home, moment: str) -> None:
    done = home.msgmetrics("run", "--as-of", moment)
    assert done.returncode == 2 and moment in done.stderr and "Traceback" not in done.stderr


def test_a_landing_zone_that_does_not_exist_is_one_sentence(tmp_path) -> None:
    home = Home(tmp_path / "nothing")
    done = home.msgmetrics("run")
    assert done.returncode == 2
    assert "does not exist" in done.stderr and "MSGMETRICS_LANDING" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_landing_zone_is_published_as_nothing_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    here, now = Settings(home=tmp_path), datetime.now(UTC)
    with duckdb.connect() as connection:
        report = Loader(connection, here, now=now, as_of=now).load()
        create_seeds(connection)
        build_models(connection)
        snapshot = publish(connection, here, now=now, checks_passed=0, checks_warned=0)
    assert "holds no file to load" in report.remarks[0]
    assert (snapshot.messages, snapshot.stale) == (0, True)
    with duckdb.connect(str(here.published_path), read_only=True) as published:
        assert published.execute("select count(*) from daily_by_account").fetchone() == (0,)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MSGMETRICS_CURRENCY", "dollars"), ("MSGMETRICS_RATE_LIMIT", "many")],
)
def test_an_unusable_setting_is_one_sentence(tmp_path, variable: str, value: str) -> None:
    done = Home(tmp_path).msgmetrics("status", **{variable: value})
    assert done.returncode == 2 and variable in done.stderr and "Traceback" not in done.stderr


# Before Dagster's daemon is up, whose sensor would start a pass over what they land.


def test_a_failed_gate_leaves_the_last_snapshot_up_and_says_which_check(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("MSGMETRICS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MSGMETRICS_HOME", str(home.path))
    from orchestration.checks import frames
    from orchestration.passes import run_pass

    bounds_of_metrics = frames.bounds_of_metrics

    def impossible(*arguments: object) -> pd.DataFrame:
        bounds = bounds_of_metrics(*arguments)
        is_rate = bounds["metric"] == "TRAFFIC_DELIVERY_RATE"
        return bounds.assign(highest=bounds["highest"].where(~is_rate, 1.5))

    before = home.published.resolve()
    messages = json.loads(home.msgmetrics("status", "--json").stdout)["messages"]
    land_a_message(home)
    with monkeypatch.context() as patch:
        patch.setattr(frames, "bounds_of_metrics", impossible)
        with pytest.raises(UserError, match="metrics_are_possible of marts.daily_by_channel"):
            run_pass(settings())
    assert home.published.resolve() == before
    done = run_pass(settings())
    assert json.loads(home.msgmetrics("status", "--json").stdout)["messages"] > messages
    reports = list((home.path / "checks").glob("*/index.html"))
    assert home.path / "checks" / done.run_id / "index.html" in reports


def test_a_snapshot_alone_is_refused_where_no_check_has_judged_the_marts(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSGMETRICS_HOME", str(home.path))
    monkeypatch.setenv("DAGSTER_HOME", str(home.path / "dagster"))
    from orchestration.definitions import defs

    land_a_message(home)
    before = home.published.resolve()
    everything = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        ends = [
            everything.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
                partition_key="2026-05-05",
                raise_on_error=False,
            ).success
            for keys in (
                ["raw/messages", "raw/events", "raw/accounts", "raw/webhooks"],
                ["published/snapshot"],
            )
        ]
    assert ends == [True, False] and home.published.resolve() == before


_REPOSITORY = """
{
  repositoriesOrError {
    ... on RepositoryConnection {
      nodes {
        jobs { name }
        schedules { name scheduleState { status } }
        sensors { name sensorState { status } }
      }
    }
  }
}
"""
_ASSETS = "{ assetNodes { assetKey { path } } }"
_RUNS = """
query ($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 50) {
    ... on Runs { results { runId status jobName tags { key value } } }
  }
}
"""
_RESTATED = ("facts", "marts", "published")
# What the button "Materialize" sends when days are chosen.
_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _ask(url: str, query: str, **variables: object) -> dict:
    body = {"query": query, "variables": variables}
    answer = httpx.post(f"{url}/graphql", json=body, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def _until(seconds: float, look: Callable[[], object]) -> object:
    """What `look` finds, as soon as it finds anything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError, ValueError, duckdb.IOException):
            if found := look():
                return found
        time.sleep(0.5)
    raise AssertionError(f"nothing was found in {seconds} s")


@pytest.fixture(scope="module")
def dev(home: Home) -> Iterator[tuple[str, str, int]]:
    """URLs of Dagster's UI and of the endpoint, and the process that keeps both up."""
    ui, api, checks = _free_ports(3)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "msgmetrics.cli", "dev"),
            *("--dagster-port", str(ui), "--port", str(api), "--checks-port", str(checks)),
        ],
        env=home.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{ui}"
    try:
        _until(180, lambda: _ask(url, _REPOSITORY)["repositoriesOrError"].get("nodes"))
        yield url, f"http://127.0.0.1:{api}", process.pid
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert process.returncode == 0 and not alive


def test_dev_shows_the_runs_of_the_command_line(home: Home, dev: tuple[str, str, int]) -> None:
    ui, api, _ = dev
    (repository,) = _ask(ui, _REPOSITORY)["repositoriesOrError"]["nodes"]
    assert {"refresh", "backfill", "maintenance"} <= {job["name"] for job in repository["jobs"]}
    assert {s["name"]: s["scheduleState"]["status"] for s in repository["schedules"]} == {
        "refresh_schedule": "RUNNING",
        "nightly_schedule": "RUNNING",
        "maintenance_schedule": "RUNNING",
    }
    assert {s["name"]: s["sensorState"]["status"] for s in repository["sensors"]} == {
        "landing_sensor": "RUNNING"
    }
    runs = _ask(ui, _RUNS)["runsOrError"]["results"]
    assert ("SUCCESS", "refresh") in {(run["status"], run["jobName"]) for run in runs}
    assert httpx.get(f"{api}/readyz", timeout=30).status_code == 200


def test_the_backfill_button_recomputes_its_days_in_one_run_and_publishes(
    home: Home, dev: tuple[str, str, int]
) -> None:
    """Also as the first run after an update, of a warehouse that lacks what came with it."""
    ui, *_ = dev
    before = home.published.resolve()

    def made_older() -> bool:
        with duckdb.connect(str(home.path / "warehouse.duckdb")) as warehouse:
            warehouse.execute("drop table raw.published_files")
            warehouse.execute("alter table raw.messages drop column source_rank")
        return True

    assert _until(60, made_older)
    days = ["2026-05-03", "2026-05-04", "2026-05-05"]
    paths = [node["assetKey"]["path"] for node in _ask(ui, _ASSETS)["assetNodes"]]
    launched = _ask(
        ui,
        _BACKFILL,
        backfillParams={
            "assetSelection": [{"path": path} for path in paths if path[0] in _RESTATED],
            "partitionNames": days,
            "tags": [],
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    tag = {"key": "dagster/backfill", "value": launched["backfillId"]}

    def ended() -> list[dict] | None:
        runs = _ask(ui, _RUNS, filter={"tags": [tag]})["runsOrError"]["results"]
        is_over = {run["status"] for run in runs} <= {"SUCCESS", "FAILURE", "CANCELED"}
        return runs if is_over else None

    def backfills() -> list[tuple]:
        with duckdb.connect(str(home.path / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.execute(
                "select from_day::varchar, to_day::varchar from raw.batches "
                "where cause = 'backfill' and from_day is not null"
            ).fetchall()

    (run,) = _until(240, ended)
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["dagster/asset_partition_range_start"] == days[0]
    assert tags["dagster/asset_partition_range_end"] == days[-1]
    assert home.published.resolve() != before
    assert _until(120, backfills) == [(days[0], days[-1])]


def test_runs_of_a_job_backfill_and_of_the_command_line_never_overlap(
    home: Home, dev: tuple[str, str, int]
) -> None:
    ui, *_ = dev
    days = [(datetime.now(UTC) - timedelta(days=back)).date().isoformat() for back in (1, 2)]
    environment = home.environment(DAGSTER_HOME=str(home.path / "dagster"))
    by_hand = subprocess.Popen(
        [sys.executable, "-m", "msgmetrics.cli", "run"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    launched = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("dagster")), "job", "backfill", "--noprompt"),
            *("-w", str(PROJECT_ROOT / "workspace.yaml"), "-j", "refresh"),
            *("--partitions", ",".join(days)),
        ],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert launched.returncode == 0, launched.stderr
    backfill = launched.stdout.split("backfill job `")[1].split("`")[0]

    def ended() -> list[dict] | None:
        tags = [{"key": "dagster/backfill", "value": backfill}]
        runs = _ask(ui, _RUNS, filter={"tags": tags})["runsOrError"]["results"]
        return runs if {run["status"] for run in runs} <= {"SUCCESS", "FAILURE"} else None

    runs = _until(300, ended)
    assert [run["status"] for run in runs] == ["SUCCESS", "SUCCESS"]
    assert by_hand.wait(timeout=300) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.path / "dagster"))
        with dg.DagsterInstance.get() as instance:
            # the schedule may have begun another one
            ended_runs = instance.get_runs(
                filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            )
            held = []
            for run in ended_runs:
                steps = instance.get_run_step_stats(run.run_id)
                held.append((min(s.start_time for s in steps), max(s.end_time for s in steps)))
    held.sort()
    assert len(held) >= 3
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(held)), held
