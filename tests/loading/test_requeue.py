"""Records that an older release refused, or that lay ahead, are taken in as if they came today."""

import json
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from raw_records import (
    ACCOUNT,
    EVENT,
    FORMATS,
    MESSAGE,
    SOUND,
    file_of,
    load_cases,
    parquet_of,
)
from releases import REASON, release_that_refuses
from test_records_are_judged import every_case
from zone import NOW, Zone

from msgmetrics.errors import UserError
from orchestration.loading import requeue as module
from orchestration.loading.arrived import rules
from orchestration.loading.requeue import Requeue

HOUR = timedelta(hours=1)


def requeue(zone: Zone, *ids: int, now: datetime = NOW):
    with zone.cursor() as cursor:
        again = Requeue(cursor, now=now, as_of=now)
        report = again.these(list(ids)) if ids else again.every()
    zone.check_accounts()
    return report


def batches(zone: Zone) -> list[str]:
    return [str(row["cause"]) for row in zone.query("from raw.batches order by batch_id")]


def comparable(zone: Zone) -> dict[str, Counter]:
    """What is loaded, and what is refused still."""
    content = zone.content()
    still = "select stream, path, row_number, raw_text, reason from raw.quarantine"
    entries = zone.query(f"{still} where closed_at is null")
    return {
        **{name: content[name] for name in SOUND},
        "files": content["files"],
        "refused": Counter(tuple(row.values()) for row in entries),
    }


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("stream", SOUND)
def test_a_requeue_ends_as_if_all_had_come_under_todays_rules(zone, new_zone, stream, format_):
    cases = [record for _, record in every_case(stream, format_)]
    with release_that_refuses():
        refused = load_cases(zone, stream, cases, format_)
    assert all(isinstance(result, str) for result in refused.values())
    report = zone.load()
    directly = new_zone()
    load_cases(directly, stream, cases, format_)
    assert comparable(zone) == comparable(directly)
    assert report.streams[stream].requeued == len(zone.rows(stream)) > 0
    assert batches(zone) == ["load", "requeue", "load"]


def test_typed_columns_of_parquet_are_read_as_they_were(zone: Zone, new_zone):
    moments = pa.array([NOW - 9 * HOUR, NOW - timedelta(microseconds=1)], pa.timestamp("us", "UTC"))
    columns = {
        "message_id": pa.array([1, 2**62]),
        "account_key": pa.array([b"a", "ä\n".encode()], pa.binary()),
        "direction": pa.array(["INBOUND", "OUTBOUND"]).dictionary_encode(),
        "channel_code": pa.array(["EMAIL", "SMS"], pa.large_string()),
        "sent_at": moments,
        "updated_at": pa.array(["2026-05-05T10:00:00+02", None]),
        "sender": pa.array([Decimal("1.10"), Decimal("12345678901234567890.12")]),
        "recipient": pa.array([1.5, 0.1], pa.float32()),
        "interaction_id": pa.array([0.1, 1e16]),
        "segments": pa.array([3.0, 2.0], pa.float32()),
        "cost_cents": pa.array([0.1, 1.1], pa.float32()),
        "entity_id": pa.array([True, False]),
        "application_id": pa.array([date(2026, 1, 1), None]),
        "tags": pa.array([[1, 2], None]),
        "note": pa.array([None, 'say "hi"']),
    }  # fmt: skip
    content = parquet_of(columns)
    zone.write("messages/a.parquet", content)
    with release_that_refuses():
        assert zone.load().streams["messages"].quarantined == 2
    assert zone.load().streams["messages"].requeued == 2
    directly = new_zone()
    directly.write("messages/a.parquet", content)
    directly.load()
    assert directly.rows("messages") and comparable(zone) == comparable(directly)


def test_nothing_is_judged_twice_under_the_same_rules(zone: Zone, monkeypatch):
    zone.write("accounts/a.jsonl", '{"account_key": ""}\n{"account_key": "b"}\n')
    zone.load()
    monkeypatch.setattr(Requeue, "_judge", None)
    zone.load()
    assert batches(zone) == ["load", "load"]


def test_no_batch_is_opened_where_nothing_has_become_valid(zone: Zone):
    zone.write("accounts/a.jsonl", '{"account_key": ""}\n')
    with release_that_refuses():
        zone.load()
    (before,) = zone.open_entries()
    zone.load()
    (after,) = zone.open_entries()
    assert REASON in str(before["reason"]) and after["reason"] == "account_key is missing"
    assert batches(zone) == ["load", "load"]
    assert requeue(zone).batch_id is None
    assert batches(zone) == ["load", "load"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_record_that_lay_ahead_is_taken_in_when_its_time_has_come(zone: Zone, format_: str):
    moment = NOW + 30 * HOUR
    ahead = {**MESSAGE, "sent_at": json.dumps(moment.isoformat())}
    broken = {**ahead, "direction": '"SIDEWAYS"'}
    zone.write(f"messages/a.{format_}", file_of([ahead, broken], format_))
    zone.load()
    assert len(zone.open_entries()) == 2
    just_before = NOW + 6 * HOUR - timedelta(microseconds=1)
    assert zone.load(now=just_before).requeue_batch_id is None
    assert zone.rows("messages") == []
    report = zone.load(now=NOW + 6 * HOUR)
    assert (report.requeue_batch_id, report.batch_id) == (3, 4)
    (row,) = zone.rows("messages")
    assert (row["sent_at"], row["batch_id"]) == (moment.replace(tzinfo=None), 3)
    (left,) = zone.open_entries()
    assert "SIDEWAYS" in str(left["reason"])


def test_a_requeued_record_keeps_its_file_and_says_how_it_was_closed(zone: Zone):
    zone.write("events/a.csv", file_of([EVENT, EVENT], "csv"))
    with release_that_refuses():
        zone.load()
    report = requeue(zone)
    assert (report.batch_id, report.judged, dict(report.requeued)) == (2, 2, {"events": 2})
    assert {(row["file_id"], row["batch_id"]) for row in zone.rows("events")} == {(1, 2)}
    for entry in zone.quarantine():
        assert entry["closed_because"] == "requeued"
        assert entry["closed_by_batch"] == 2
        assert entry["closed_at"] == NOW.replace(tzinfo=None)
    (file,) = zone.files()
    assert (file["records"], file["loaded"], file["quarantined"]) == (2, 2, 0)
    assert requeue(zone).judged == 0


def test_a_requeued_record_is_found_by_its_hash(zone: Zone):
    zone.write("events/a.jsonl", file_of([EVENT], "jsonl"))
    with release_that_refuses():
        zone.load()
    requeue(zone)
    assert zone.query(
        "select event_id from raw.events where event_hash = md5_number_lower(event_id) "
        "and message_hash = md5_number_lower(message_id) "
        "and event_hash_rest = md5_number_lower('.' || event_id) "
        "and message_hash_rest = md5_number_lower('.' || message_id)"
    ) == [{"event_id": "e"}]


def test_only_the_chosen_entries_are_taken_in(zone: Zone):
    zone.write("accounts/a.jsonl", "".join(f'{{"account_key": "{key}"}}\n' for key in "abc"))
    zone.write("accounts/not.parquet", b"not Parquet")
    with release_that_refuses():
        zone.load()
    ids = {row["record_id"]: row["quarantine_id"] for row in zone.quarantine()}
    requeue(zone, ids["a"], ids["c"])
    assert sorted(str(row["account_key"]) for row in zone.rows("accounts")) == ["a", "c"]
    for id_, sentence in (
        (99, "There is no quarantine entry 99"),
        (ids["a"], r"is closed \(requeued\)"),
        (ids[None], "is a whole file"),
    ):
        with pytest.raises(UserError, match=sentence):
            requeue(zone, ids["b"], id_)
    assert [row["record_id"] for row in zone.open_entries()] == ["b", None]


def test_what_a_requeue_takes_in_closes_older_entries_of_the_record(zone: Zone):
    """Both texts are of account a; only the younger has become valid."""
    zone.write("accounts/a.jsonl", '{"account_key": "a", "plan": "huge"}\n')
    zone.load()
    zone.write("accounts/b.jsonl", '{"account_key": "a", "plan": "free"}\n')
    with release_that_refuses("plan = 'free'"):
        zone.load()
        assert len(zone.open_entries()) == 2
    report = zone.load()
    assert zone.open_entries() == []
    assert [row["closed_because"] for row in zone.quarantine()] == ["arrived again", "requeued"]
    assert (report.streams["accounts"].requeued, report.streams["accounts"].closed) == (1, 2)


def test_batches_of_many_entries_are_one_requeue(zone: Zone, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_RECORDS", 3)
    for format_ in FORMATS:
        zone.write(f"accounts/a.{format_}", file_of([ACCOUNT] * 10, format_))
        zone.write(f"accounts/b.{format_}", file_of([{**ACCOUNT, "other": '"x"'}] * 10, format_))
    with release_that_refuses():
        assert zone.load().streams["accounts"].quarantined == 60
    assert zone.load().streams["accounts"].requeued == 60
    assert len(zone.rows("accounts")) == 60
    assert batches(zone) == ["load", "requeue", "load"]


FIRST_RELEASE = """
alter table raw.quarantine drop column record_id;
alter table raw.quarantine drop column version;
alter table raw.quarantine drop column valid_from;
alter table raw.quarantine drop column judged_by;
alter table raw.quarantine drop column closed_at;
alter table raw.quarantine drop column closed_by_batch;
alter table raw.quarantine drop column closed_because;
drop table raw.webhooks;
create table raw.first as from raw.files;
drop table raw.files;
create table raw.files (
    file_id integer primary key, stream varchar not null, path varchar not null,
    size bigint not null, modified_ns bigint not null, inode ubigint not null,
    content_hash varchar not null, landing_day date not null, batch_id integer not null,
    status varchar not null, reason varchar, records bigint not null, loaded bigint not null,
    quarantined bigint not null, loaded_at timestamp not null,
    check (records = loaded + quarantined)
);
insert into raw.files by name select * exclude (header, settled, set_aside) from raw.first;
drop table raw.first;
alter table raw.messages drop column source_rank;
alter table raw.events drop column source_rank;
"""


def test_a_home_of_the_first_release_is_brought_up_to_date(zone: Zone):
    for format_ in FORMATS:
        zone.write(f"accounts/{format_}.{format_}", file_of([ACCOUNT], format_))
    with release_that_refuses():
        zone.load()
    with zone.cursor() as cursor:
        cursor.execute(FIRST_RELEASE)
    zone.load()
    assert len(zone.rows("accounts")) == 2
    (left,) = zone.open_entries()
    assert left["path"] == "accounts/csv.csv"
    assert str(left["reason"]).endswith(
        "it can only be judged again when its file is delivered again"
    )
    zone.write("accounts/csv.csv", file_of([ACCOUNT, ACCOUNT], "csv"))
    zone.load()
    assert zone.open_entries() == []


def test_good_records_of_a_home_of_the_first_release_close_what_they_close(zone: Zone):
    zone.write("accounts/a.jsonl", '{"account_key": "a", "plan": "huge"}\n')
    zone.load()
    zone.write("accounts/b.jsonl", '{"account_key": "a"}\n')
    zone.load()
    with zone.cursor() as cursor:
        cursor.execute(FIRST_RELEASE)
    zone.load()
    assert [row["closed_because"] for row in zone.quarantine()] == ["arrived again"]


def test_the_rules_have_one_fingerprint_until_they_change():
    today = rules()
    with release_that_refuses():
        assert rules() != today
    assert rules() == today
