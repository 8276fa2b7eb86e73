"""Answers as tables and rows: types, hostile and long filters, and the limit of rows."""

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow
import pytest

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.answer import TooManyRowsError, run
from endpoint.planning.planner import plan
from endpoint.planning.question import QUERY_ROUTE, read_question
from msgmetrics.catalogue import catalogue

from .test_planner import HOSTILE
from .worlds import SENDERS, build_world

PERIOD = {"sentSince": "2000-01-01T00:00:00Z", "sentUntil": "2100-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def world():
    return build_world(seed=100, messages=200)


def answered(world, by=(), metrics=("TOTAL_TRAFFIC_COUNT",), most_rows=None, **filters):
    body = {"filterBy": PERIOD | filters, "aggregateBy": list(by), "metrics": list(metrics)}
    question = read_question(body, QUERY_ROUTE)
    planned = plan(
        question,
        world.tables,
        period=(question.since, question.until),
        accounts=accounts_asked(world.connection, question, own=None, visible=None),
    )
    return run(world.connection, planned.ready(most_rows))


def test_columns_have_exact_types_and_rows_plain_values(world):
    answer = answered(
        world,
        ["DAY", "COUNTRY_ID", "SENDER"],
        ["TOTAL_COST_CENTS", "TOTAL_TRAFFIC_COUNT", "TRAFFIC_DELIVERY_RATE"],
    )
    assert answer.table.schema.types == [
        pyarrow.string(), pyarrow.timestamp("us", tz="UTC"), pyarrow.int64(), pyarrow.string(),
        pyarrow.decimal128(38, 6), pyarrow.int64(), pyarrow.float64(),
    ]  # fmt: skip
    assert [column.data_type for column in answer.columns] == [
        "STRING", "DATE_TIME", "INTEGER", "STRING", "NUMBER", "INTEGER", "NUMBER",
    ]  # fmt: skip
    row = answer.rows()[0]
    assert isinstance(row[1], datetime)
    assert row[1].utcoffset() == datetime.now(UTC).utcoffset()
    assert isinstance(row[4], Decimal)


def test_bucket_names_are_sorted_by_duration_and_null_is_last(world):
    rows = answered(world, ["TIME_TO_DELIVER", "CHANNEL_CODE"]).rows()
    buckets = list(dict.fromkeys(row[0] for row in rows))
    by_duration = [name for name in catalogue().time_buckets if name in buckets]
    assert buckets == [*by_duration, None]
    assert by_duration != sorted(by_duration)


def test_urls_of_inbound_messages_are_none(world):
    clicks = ["TOTAL_CLICKS_COUNT"]
    everything = answered(world, ["URL"], clicks).rows()
    assert everything
    assert answered(world, ["URL"], clicks, direction="OUTBOUND").rows() == everything
    assert answered(world, ["URL"], clicks, direction="INBOUND").rows() == []
    assert answered(world, ["URL", "SENDER"], clicks, direction="INBOUND").rows() == []


def test_an_answer_without_rows_has_its_columns(world):
    answer = answered(world, ["DAY", "SENDER"], senders=["nobody"])
    assert answer.rows() == []
    assert answer.table.column_names == [column.name for column in answer.columns]


def test_the_first_and_the_last_moment_of_the_calendar_can_be_asked_for(world):
    everything = answered(world).rows()
    ends = {"sentSince": "0001-01-01T00:00:00Z", "sentUntil": "9999-12-31T23:59:59.999999Z"}
    assert answered(world, **ends).rows() == everything


def test_hostile_values_match_themselves_and_break_nothing(world):
    before = answered(world, ["SENDER"]).rows()
    senders = {row[1] for row in before}
    for text in HOSTILE:
        assert answered(world, ["SENDER"], senders=[text]).rows() == [
            row for row in before if row[1] == text
        ]
        assert answered(world, accountKeys=[text], includeSubaccounts=True).rows() == []
    for text in SENDERS:
        found = answered(world, ["SENDER"], senders=[text, *HOSTILE]).rows()
        assert text in senders
        assert {row[1] for row in found} == senders & {text, *HOSTILE}
    assert answered(world, ["SENDER"]).rows() == before


def test_a_list_of_ten_thousand_values_is_answered(world):
    many = [f"sender {number}" for number in range(9_999)]
    numbers = list(range(10_000))
    found = answered(world, ["SENDER"], senders=[*many, "Shop"]).rows()
    assert found == answered(world, ["SENDER"], senders=["Shop"]).rows()
    assert found
    assert (
        answered(world, countryIds=numbers).rows()
        == answered(world, countryIds=[191, 40, 4]).rows()
    )


def test_too_many_rows_are_counted_and_not_returned(world):
    rows = answered(world, ["HOUR", "SENDER"]).rows()
    assert answered(world, ["HOUR", "SENDER"], most_rows=len(rows)).rows() == rows
    with pytest.raises(TooManyRowsError, match=f"has {len(rows):,} rows") as caught:
        answered(world, ["HOUR", "SENDER"], most_rows=len(rows) - 1)
    assert (caught.value.rows, caught.value.most) == (len(rows), len(rows) - 1)
