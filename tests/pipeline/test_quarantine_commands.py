"""The quarantine at the command line: what is open, what was closed and why, and the requeue."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pipeline.conftest import Home

from msgmetrics.settings import Settings
from orchestration.loading.loader import Loader
from orchestration.warehouse import warehouse, writer_lock

AHEAD = "lies more than 24 hours ahead"


@pytest.fixture
def waiting(tmp_path: Path) -> Home:
    """A home whose last load, 9 hours ago, refused three accounts: one is good by now."""
    now = datetime.now(UTC)
    accounts = {
        "good now": {"updated_at": (now + timedelta(hours=20)).isoformat()},
        "ahead": {"updated_at": (now + timedelta(hours=30)).isoformat()},
        "broken": {"plan": "huge"},
    }
    folder = tmp_path / "landing" / "accounts"
    folder.mkdir(parents=True)
    lines = [json.dumps({"account_key": key, **fields}) for key, fields in accounts.items()]
    (folder / "a.jsonl").write_text("\n".join(lines))
    settings, then = Settings(home=tmp_path), now - timedelta(hours=9)
    with warehouse(settings) as connection:
        Loader(connection, settings, now=then, as_of=then).load()
    return Home(tmp_path)


def listed(home: Home, *options: str) -> dict[str, str | None]:
    answer = json.loads(home.msgmetrics("quarantine", "list", "--json", *options).stdout)
    assert answer["total"] == len(answer["entries"])
    return {entry["record_id"]: entry["closed_because"] for entry in answer["entries"]}


def test_a_requeue_takes_in_what_is_valid_now_and_tells_why_the_others_are_not(waiting: Home):
    assert listed(waiting) == {"good now": None, "ahead": None, "broken": None}
    done = json.loads(waiting.msgmetrics("quarantine", "requeue", "--json").stdout)
    assert (done["requeued"], done["still_refused"], done["batch_id"]) == (1, 2, 2)
    broken, ahead = done["refused"]
    assert AHEAD in ahead["reason"] and "huge" in broken["reason"]
    assert listed(waiting) == {"ahead": None, "broken": None}
    assert listed(waiting, "--all") == {"good now": "requeued", "ahead": None, "broken": None}
    shown = json.loads(waiting.msgmetrics("quarantine", "show", "1", "--json").stdout)
    assert (shown["closed_because"], shown["closed_by_batch"]) == ("requeued", 2)
    assert shown["closed_at"]
    again = waiting.msgmetrics("quarantine", "requeue")
    assert again.returncode == 0 and "0 taken in, 2 still refused" in again.stderr


def test_a_requeue_by_hand_says_that_the_next_run_carries_it_on(waiting: Home):
    done = waiting.msgmetrics("quarantine", "requeue", "--id", "1")
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 taken in, 0 still refused" in done.stderr
    assert "The next `msgmetrics run` carries what was taken in to the marts." in done.stderr


@pytest.mark.parametrize("arguments", (["--id", "99"], ["--id", "1", "--id", "99"]))
def test_an_unknown_entry_is_one_sentence_and_nothing_is_taken_in(waiting: Home, arguments):
    done = waiting.msgmetrics("quarantine", "requeue", *arguments)
    assert done.returncode == 2 and "There is no quarantine entry 99" in done.stderr
    assert "Traceback" not in done.stderr
    assert listed(waiting) == {"good now": None, "ahead": None, "broken": None}


def test_a_requeue_without_a_warehouse_is_one_sentence(tmp_path: Path):
    done = Home(tmp_path).msgmetrics("quarantine", "requeue")
    assert done.returncode == 2 and "There is no warehouse" in done.stderr
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_who_reads_the_quarantine_while_it_is_written_is_told_by_whom(waiting: Home):
    settings = Settings(home=waiting.path)
    with writer_lock(settings, holder="a load"), warehouse(settings):
        done = waiting.msgmetrics("quarantine", "list")
    assert done.returncode == 2 and "is being written by a load, process " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_of_the_first_release_lists_its_entries_before_its_next_run(waiting: Home):
    with warehouse(Settings(home=waiting.path)) as connection:
        connection.execute("alter table raw.quarantine drop column closed_at")
    answer = json.loads(waiting.msgmetrics("quarantine", "list", "--json").stdout)
    assert answer["total"] == 3


def test_records_of_one_file_with_one_reason_are_one_line_for_eyes_and_each_an_entry_in_json(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    folder = tmp_path / "landing" / "accounts"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("{\n[\n(\n" + json.dumps({"plan": "free"}))
    now = datetime.now(UTC)
    with warehouse(Settings(home=tmp_path)) as connection:
        Loader(connection, Settings(home=tmp_path), now=now, as_of=now).load()
    assert json.loads(home.msgmetrics("quarantine", "list", "--json").stdout)["total"] == 4
    told = home.msgmetrics("quarantine", "list").stderr
    assert told.count("accounts/a.jsonl") == 2
    assert [line.split("│")[3].strip() for line in told.splitlines() if "valid JSON" in line] == [
        "3"
    ]
