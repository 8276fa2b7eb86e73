"""Parquet: columns of every type, and what a type means for a field."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from raw_records import case_of, parquet_of
from zone import Zone

INSTANT = datetime(2026, 5, 5, 10, 0, 0, tzinfo=UTC)
NANOSECONDS = 1777975200123456789  # 2026-05-05T10:00:00.123456789Z
MESSAGE = {
    "message_id": "m",
    "account_key": "a",
    "direction": "OUTBOUND",
    "channel_code": "SMS",
    "sent_at": pa.array([INSTANT], pa.timestamp("us", "UTC")),
    "sender": "s",
    "recipient": "r",
}
EVENT = {
    "event_id": "e",
    "message_id": "m",
    "event_type": "CLICKED",
    "occurred_at": pa.array([INSTANT], pa.timestamp("us", "UTC")),
    "url": "u",
}


def arrays(columns: dict[str, object]) -> dict[str, pa.Array]:
    return {
        name: value if isinstance(value, pa.Array | pa.DictionaryArray) else pa.array([value])
        for name, value in columns.items()
    }


def load_one(zone: Zone, stream: str, columns: dict[str, object], **options: object) -> object:
    """The row that became of a file of one row, or the reason why none did."""
    zone.write(f"{stream}/x.parquet", parquet_of(arrays(columns), **options))
    zone.load()
    rows = zone.rows(stream) + zone.quarantine()
    assert len(rows) == 1
    return rows[0].get("reason") or rows[0]


@pytest.mark.parametrize("has_zone", ("UTC", "Europe/Zurich", "+05:30"))
@pytest.mark.parametrize("unit", ("s", "ms", "us", "ns"))
def test_instants_are_kept_to_the_microsecond_and_finer_digits_cut(zone, unit, has_zone):
    ticks = NANOSECONDS // {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    row = load_one(
        zone, "messages", {**MESSAGE, "sent_at": pa.array([ticks], pa.timestamp(unit, has_zone))}
    )
    cut = {"s": 0, "ms": 123000}.get(unit, 123456)
    assert row["sent_at"] == datetime(2026, 5, 5, 10, 0, 0, cut)


@pytest.mark.parametrize("use_int96", (False, True))
@pytest.mark.parametrize("unit", ("s", "ms", "us", "ns"))
def test_timestamps_not_adjusted_to_utc_are_refused(zone: Zone, unit: str, use_int96: bool):
    naive = pa.array([datetime(2026, 5, 5, 10)], pa.timestamp(unit))
    reason = load_one(
        zone,
        "messages",
        {**MESSAGE, "sent_at": naive},
        use_deprecated_int96_timestamps=use_int96,
    )
    assert str(reason).startswith('sent_at "2026-05-05 10:00:00" is not a timestamp with an offset')


@pytest.mark.parametrize(
    ("instant", "reason"),
    (
        (datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "lies before the year 2000"),
        (datetime(1, 1, 1, tzinfo=UTC), "lies before the year 2000"),
        (datetime(2026, 6, 2, 12, 0, 0, 1, tzinfo=UTC), "lies more than 24 hours ahead"),
        (datetime(9999, 12, 31, tzinfo=UTC), "lies more than 24 hours ahead"),
        (2**63 - 1, "sent_at"),
        (-(2**63) + 2, "sent_at"),
        (date(2026, 5, 5), "is not a timestamp"),
        (time(10), "is not a timestamp"),
        (timedelta(days=1), "is not a timestamp"),
        (1777975200, "is not a timestamp"),
    ),
)
def test_other_instants_are_refused(zone: Zone, instant: object, reason: str):
    is_ticks = isinstance(instant, int) and abs(instant) > 2**60
    kind = pa.timestamp("us", "UTC") if is_ticks or isinstance(instant, datetime) else None
    result = load_one(zone, "messages", {**MESSAGE, "sent_at": pa.array([instant], kind)})
    assert "sent_at" in str(result) and reason in str(result)


@pytest.mark.parametrize(
    "instant", (datetime(2000, 1, 1, tzinfo=UTC), datetime(2026, 6, 2, 12, tzinfo=UTC))
)
def test_the_first_and_the_last_instant_are_loaded(zone: Zone, instant: datetime):
    row = load_one(zone, "messages", {**MESSAGE, "sent_at": pa.array([instant])})
    assert row["sent_at"] == instant.replace(tzinfo=None)


# (field, column, what is loaded); None: the record is refused, ...: the field is null.
VALUES = (
    ("segments", pa.array([3], pa.uint8()), 3),
    ("segments", pa.array([32767.0]), 32767),
    ("segments", pa.array([32768.0]), None),
    ("segments", pa.array([3.5], pa.float32()), None),
    ("segments", pa.array([0], pa.int8()), None),
    ("segments", pa.array([-0.0]), None),
    ("segments", pa.array([True]), None),
    ("segments", pa.array([Decimal("3.00")]), 3),
    ("segments", pa.array([Decimal("3.50")]), None),
    ("segments", pa.array(["4"]).dictionary_encode(), 4),
    ("segments", pa.array([2.0], pa.float16()), 2),
    ("segments", pa.array([float("nan")]), None),
    ("cost_cents", pa.array([Decimal("999999999999.999999")]), Decimal("999999999999.999999")),
    ("cost_cents", pa.array([Decimal("1.1000000")], pa.decimal128(38, 7)), Decimal("1.1")),
    ("cost_cents", pa.array([Decimal("1.0000001")]), None),
    ("cost_cents", pa.array([Decimal("-0.01")]), None),
    ("cost_cents", pa.array([10**12]), None),
    ("cost_cents", pa.array([0.1]), Decimal("0.1")),
    ("cost_cents", pa.array([0.1], pa.float32()), Decimal("0.1")),
    ("cost_cents", pa.array([0.1 + 0.2]), None),
    ("cost_cents", pa.array([1e-7]), None),
    ("cost_cents", pa.array([1e11]), Decimal(10**11)),
    ("cost_cents", pa.array([float("inf")]), None),
    ("communication_id", pa.array([2**63 - 1]), 2**63 - 1),
    ("communication_id", pa.array([-(2**63)]), -(2**63)),
    ("communication_id", pa.array([2**63], pa.uint64()), None),
    ("communication_id", pa.array([1e16]), 10**16),
    ("communication_id", pa.array([Decimal(2**63)]), None),
    ("country_id", pa.array([756.0]), 756),
    ("country_id", pa.array([2**31 - 1], pa.uint32()), 2**31 - 1),
    ("country_id", pa.array([2**31], pa.uint32()), None),
    ("country_id", pa.array([None]), ...),
    ("interaction_id", pa.array([12345678901234567890], pa.uint64()), "12345678901234567890"),
    ("interaction_id", pa.array([Decimal("1.10")]), "1.10"),
    ("interaction_id", pa.array([True]), "true"),
    ("interaction_id", pa.array([b"bytes \xc3\xa9"]), "bytes é"),
    ("interaction_id", pa.array([b"ab"], pa.binary(2)), "ab"),
    ("interaction_id", pa.array(["x"], pa.large_string()), "x"),
    ("interaction_id", pa.array(["x"]).dictionary_encode(), "x"),
    ("interaction_id", pa.array([date(2026, 5, 5)]), "2026-05-05"),
    ("interaction_id", pa.array([""]), ...),
    ("interaction_id", pa.array([["x"]]), None),
    ("interaction_id", pa.array([[]], pa.list_(pa.string())), None),
    ("interaction_id", pa.array([{"x": 1}]), None),
    ("interaction_id", pa.array([[("x", 1)]], pa.map_(pa.string(), pa.int8())), None),
    ("interaction_id", pa.array([None], pa.list_(pa.string())), ...),
    ("interaction_id", pa.array([None], pa.struct({"x": pa.int8()})), ...),
    ("direction", pa.array(["INBOUND"]).dictionary_encode(), "INBOUND"),
    ("direction", pa.array([["INBOUND"]]), None),
    ("message_id", pa.array([7]), "7"),
    ("message_id", pa.array(["x" * 257]), None),
    ("message_id", pa.array([{"x": 1}]), None),
)


def test_values_of_all_types(zone: Zone):
    for number, (field, value, _) in enumerate(VALUES):
        columns = arrays({**MESSAGE, field: value, "case": str(number)})
        zone.write(f"messages/{number}.parquet", parquet_of(columns))
    assert zone.load().streams["messages"].unreadable_files == 0
    loaded = {case_of(row): row for row in zone.rows("messages")}
    refused = {row["path"]: str(row["reason"]) for row in zone.quarantine()}
    for number, (field, value, expected) in enumerate(VALUES):
        if expected is None:
            assert refused[f"messages/{number}.parquet"].startswith(field), value
        else:
            assert loaded[number][field] == (None if expected is ... else expected), value
    assert len(loaded) + len(refused) == len(VALUES)


@pytest.mark.parametrize(
    ("value", "expected"),
    (
        (pa.array([True]), True),
        (pa.array([False]), False),
        (pa.array([None], pa.bool_()), None),
        (pa.array(["TRUE"]), True),
        (pa.array([1]), ...),
        (pa.array([[True]]), ...),
    ),
)
def test_booleans(zone: Zone, value: pa.Array, expected: object):
    result = load_one(zone, "events", {**EVENT, "is_unsubscribe_link": value})
    if expected is ...:
        assert str(result).startswith("is_unsubscribe_link")
    else:
        assert result["is_unsubscribe_link"] is expected


def test_a_list_where_the_event_type_has_no_such_field_is_ignored(zone: Zone):
    row = load_one(zone, "events", {**EVENT, "event_type": "SEEN", "url": pa.array([["u"]])})
    assert row["url"] is None


@pytest.mark.parametrize("is_broken", (False, True))
def test_unknown_columns_are_kept_whatever_they_hold(zone: Zone, is_broken: bool):
    unknown = {
        "n": pa.array([float("nan")]),
        "infinite": pa.array([float("-inf")], pa.float32()),
        'it\'s "x"': pa.array([1.5]),
        "list": pa.array([[1, 2]]),
        "bytes": pa.array([b"x"]),
        "filename": pa.array(["f"]),
        "file_row_number": pa.array([42]),
        "landing file": pa.array(["f"]),
        "file_id": pa.array([9]),
        "raw": pa.array(["r"]),
        "extra": pa.array(["e"]),
        "refused": pa.array(["no"]),
        "reason": pa.array(["none"]),
        "": pa.array([1]),
    }
    columns = {**MESSAGE, **unknown}
    if is_broken:
        del columns["sender"]
        columns |= {"message_id": "", "SENDER": "S"}
    zone.write("messages/x.parquet", parquet_of(arrays(columns)))
    zone.load()
    if is_broken:
        (refused,) = zone.quarantine()
        assert refused["row_number"] == 1
        assert refused["reason"] == "message_id is missing; sender is missing"
        kept = json.loads(str(refused["raw_text"]))
    else:
        (row,) = zone.rows("messages")
        kept = json.loads(str(row["extra"]))
        assert len(kept) == len(unknown)
    assert (kept["n"], kept["infinite"], kept['it\'s "x"']) == ("nan", "-inf", 1.5)
    assert (kept["list"], kept["file_row_number"], kept["refused"]) == ([1, 2], 42, "no")


def test_rows_are_numbered_over_row_groups(zone: Zone):
    keys = [f"k{number}" if number % 997 else "" for number in range(1, 20_001)]
    zone.write(
        "accounts/x.parquet", parquet_of({"account_key": pa.array(keys)}, row_group_size=300)
    )
    load = zone.load().streams["accounts"]
    assert (load.records, load.quarantined) == (20_000, 20)
    assert [row["row_number"] for row in zone.quarantine()] == list(range(997, 20_001, 997))


def test_files_of_different_columns_side_by_side(zone: Zone):
    zone.write("accounts/a.parquet", parquet_of({"account_key": pa.array(["a"])}))
    zone.write("accounts/b.parquet", parquet_of({"account_key": pa.array([2])}))
    zone.write(
        "accounts/c.parquet", parquet_of({"name": pa.array(["n"]), "account_key": pa.array(["c"])})
    )
    zone.write("accounts/d.parquet", parquet_of({"name": pa.array(["n"])}))
    zone.write("accounts/e.parquet", parquet_of({"account_key": pa.array([], pa.string())}))
    load = zone.load().streams["accounts"]
    assert (load.files, load.loaded, load.quarantined) == (5, 3, 1)
    assert sorted(str(row["account_key"]) for row in zone.rows("accounts")) == ["2", "a", "c"]


@pytest.mark.parametrize("first", ("account_key", "ACCOUNT_KEY"))
def test_two_columns_of_one_name_are_refused(zone: Zone, first: str):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], [first, "account_key"])
    zone.write("accounts/x.parquet", b"")
    pa.parquet.write_table(table, zone.landing / "accounts/x.parquet")
    assert zone.load().streams["accounts"].unreadable_files == 1
    (row,) = zone.quarantine()
    assert "two columns of one name" in str(row["reason"])


def test_decimals_that_are_too_long_make_the_file_unreadable(zone: Zone):
    long = pa.array([Decimal("1.10")], pa.decimal256(50, 7))
    zone.write("messages/x.parquet", parquet_of(arrays({**MESSAGE, "cost_cents": long})))
    assert zone.load().streams["messages"].unreadable_files == 1
    (row,) = zone.quarantine()
    assert row["reason"] == "the file holds decimals of more than 38 digits (cost_cents)"


def test_text_that_is_not_utf_8_makes_the_file_unreadable(zone: Zone):
    zone.write("accounts/x.parquet", parquet_of({"account_key": pa.array([b"a", b"\xff"])}))
    zone.write("accounts/y.parquet", parquet_of({"account_key": pa.array(["y"])}))
    load = zone.load().streams["accounts"]
    assert (load.loaded, load.unreadable_files) == (1, 1)
    (row,) = zone.quarantine()
    assert "UTF8" in str(row["reason"]) and str(zone.settings.home) not in str(row["reason"])
