"""Which table answers a question, and what its SQL is made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from endpoint.planning.planner import PlanAsked, Table, plan, read_tables
from endpoint.planning.question import QUERY_ROUTE, read_question
from endpoint.planning.time_zones import Offsets
from msgmetrics.catalogue import catalogue

VIEW = "select sent from hourly_by_channel"
START = datetime(2026, 5, 5, tzinfo=UTC)
DAYS = (START, START + timedelta(days=3))
HOURS = (START + timedelta(hours=1), START + timedelta(hours=5))
RAGGED = (START - timedelta(hours=1), START + timedelta(days=3, hours=2))


def published(**rows):
    """Tables as they are published, each as large as the number of its columns or as told."""
    entries = catalogue()
    columns = {
        "messages": {"message_id", "sent_at", *entries.measures},
        "url_clicks": {
            *("message_id", "account_key", "channel_code", "url", "sent_at"),
            *("clicked_messages", "clicks"),
        },
    }
    for dimension in entries.dimensions.values():
        measures = ["clicked_messages", "clicks"] if dimension.mart == "url" else entries.measures
        for grain in ("daily", "hourly"):
            of_mart = columns.setdefault(
                f"{grain}_by_{dimension.mart}",
                {"period_start", "account_key", "channel_code", *measures},
            )
            of_mart.add(dimension.column)
        if not dimension.name_of and dimension.name != "URL":
            columns["messages"].add(dimension.column)
            if dimension.seconds:
                columns["messages"].add(dimension.seconds)
    return {
        name: Table(name, frozenset(found), rows.get(name, 1000 if "hourly" in name else 100))
        for name, found in columns.items()
    }


def planned(
    by=(),
    period=DAYS,
    metrics=("TOTAL_TRAFFIC_COUNT",),
    accounts=("a",),
    tables=None,
    **filters,
):
    asked = {"sentSince": "2026-05-05T00:00:00Z", "sentUntil": "2026-05-08T00:00:00Z"}
    body = {"filterBy": asked | filters, "aggregateBy": list(by), "metrics": list(metrics)}
    question = read_question(body, QUERY_ROUTE)
    return plan(question, tables or published(), period=period, accounts=accounts)


def tables_read(found):
    return {table.name for table in found.statement.find_all(exp.Table)}


@pytest.mark.parametrize(
    ("by", "filters", "mart"),
    [
        (["SENDER"], {}, "sender"),
        (["SENDER", "ACCOUNT_KEY", "CHANNEL_NAME"], {"direction": "INBOUND"}, "sender"),
        (["COUNTRY_ID", "COUNTRY_NAME"], {}, "country"),
        (["NETWORK_NAME"], {"networkIds": [1]}, "network"),
        ([], {"communicationIds": [1]}, "communication"),
        (["DIRECTION"], {"directions": ["INBOUND"]}, "direction"),
        (["TIME_TO_DELIVER"], {"timeToDeliver": [{}]}, "time_to_deliver"),
        ([], {"timeToClickFromSeen": [{"to": "DAYS_1"}]}, "time_to_click_from_seen"),
        (["STATUS"], {"statuses": ["A"], "channelCodes": ["SMS"]}, "status"),
    ],
)
@pytest.mark.parametrize(
    ("time", "period", "grain"),
    [
        ([], DAYS, "daily"),
        (["DAY"], DAYS, "daily"),
        (["WEEK_SUNDAY_START"], DAYS, "daily"),
        (["QUARTER", "YEAR"], DAYS, "daily"),
        (["HOUR", "DAY"], DAYS, "hourly"),
        (["MONTH"], HOURS, "hourly"),
    ],
)
def test_the_mart_that_has_the_columns_answers_at_the_coarsest_grain_that_fits(
    by, filters, mart, time, period, grain
):
    found = planned([*by, *time], period, **filters)
    assert found.table.name == f"{grain}_by_{mart}"
    assert found.helper is None
    assert "messages" not in tables_read(found)


def test_of_several_marts_that_cover_the_smallest_answers():
    assert planned(["DAY"], tables=published(daily_by_status=7)).table.name == "daily_by_status"
    tables = published(daily_by_status=7, hourly_by_entity=5)
    assert planned(["HOUR"], tables=tables).table.name == "hourly_by_entity"
    assert planned(["DAY"], tables=tables).table.name == "daily_by_status"
    # A mart by URL is small, but has no row for messages without a click.
    by_clicks = planned(metrics=["TOTAL_CLICKS_COUNT"], tables=published(daily_by_url=1))
    assert by_clicks.table.name != "daily_by_url"


def test_of_a_view_and_a_table_with_as_many_rows_the_table_answers():
    tables = published(daily_by_account=7, daily_by_channel=7)
    for name in ("daily_by_account", "daily_by_channel"):
        other = {name: replace(tables[name], is_view=True)}
        assert planned(["DAY"], tables=tables | other).table.name != name


@pytest.mark.parametrize(
    ("by", "filters"),
    [
        (["SENDER", "STATUS"], {}),
        (["SENDER"], {"statuses": ["A"]}),
        (["SENDER", "DIRECTION"], {}),
        (["TIME_TO_CLICK_FROM_SEEN"], {}),
        (["TIME_TO_CLICK_FROM_DELIVERED"], {"timeToClickFromDelivered": [{}]}),
        (["TIME_TO_SEEN_FROM_DELIVERED"], {}),
        (["SENDER"], {"timeToDeliver": [{}]}),
        (["COUNTRY_NAME", "NETWORK_NAME"], {}),
    ],
)
def test_what_no_mart_covers_is_asked_of_the_messages(by, filters):
    assert planned(by, **filters).table.name == "messages"


def test_a_period_that_cuts_hours_is_asked_of_the_messages():
    minute = timedelta(minutes=1)
    assert planned(period=(START + minute, START + 5 * minute)).table.name == "messages"
    assert planned(period=(START, START + minute)).table.name == "messages"
    assert planned(period=(START + minute, START + 60 * minute)).table.name == "messages"


def test_ragged_ends_of_a_period_come_from_the_hourly_mart_and_the_days_from_the_daily():
    found = planned(["SENDER", "MONTH"], RAGGED)
    assert (found.table.name, found.helper.name) == ("daily_by_sender", "hourly_by_sender")
    midnights = {name: value for name, value in found.parameters.items() if "midnight" in name}
    assert midnights == {
        "midnight_1": START.replace(tzinfo=None),
        "midnight_2": DAYS[1].replace(tzinfo=None),
    }
    assert planned(["SENDER"], (START, RAGGED[1])).helper.name == "hourly_by_sender"
    assert planned(["SENDER", "HOUR"], RAGGED).table.name == "hourly_by_sender"


def test_urls_are_counted_in_their_marts_and_otherwise_in_the_clicks():
    clicks = ("UNIQUE_CLICKS_COUNT", "UNIQUE_URL_CLICK_COUNT", "TOTAL_CLICKS_COUNT")
    assert planned(["URL", "DAY"], metrics=clicks).table.name == "daily_by_url"
    assert planned(["URL"], metrics=clicks, direction="OUTBOUND").table.name == "daily_by_url"
    joined = planned(["URL", "SENDER"], metrics=clicks)
    assert joined.table.name == "url_clicks"
    assert tables_read(joined) == {"url_clicks", "messages"}
    alone = planned(["URL"], period=(START, START + timedelta(seconds=1)), metrics=clicks)
    assert tables_read(alone) == {"url_clicks"}


def test_a_mart_that_is_not_published_is_not_chosen():
    tables = {name: t for name, t in published().items() if name != "hourly_by_sender"}
    assert planned(["SENDER"], tables=tables).table.name == "daily_by_sender"
    assert planned(["SENDER", "HOUR"], tables=tables).table.name == "messages"
    assert planned(["SENDER"], RAGGED, tables=tables).table.name == "messages"


def test_a_direction_chooses_columns_where_rows_count_both():
    metrics = ["TOTAL_TRAFFIC_COUNT", "DELIVERED_TRAFFIC_COUNT"]
    measures = {"traffic_out", "traffic_in", "delivered", "messages_out", "messages_in"}

    def read(**filters):
        found = planned(["SENDER"], metrics=metrics, **filters)
        assert found.table.name == "daily_by_sender"
        return {column.name for column in found.statement.find_all(exp.Column)} & measures

    assert read() == {"traffic_out", "traffic_in", "delivered"}
    assert read(direction="INBOUND") == {"traffic_in", "messages_in"}
    assert read(direction="OUTBOUND") == {"traffic_out", "delivered", "messages_out"}


HOSTILE = (
    "'; drop table messages; --",
    '"; select 1; --',
    "' or '1'='1",
    "$since",
    "$1",
    "{x} %s %(y)s",
    "/* comment */",
    "a\0b",
    "\\",
    "\u202e\U0001f600",
)


def test_what_the_asker_wrote_is_bound_and_never_sql():
    filters = {
        "accountKeys": list(HOSTILE),
        "senders": list(HOSTILE),
        "statuses": list(HOSTILE[:1]),
        "errorCodes": list(HOSTILE),
        "campaignReferenceIds": list(HOSTILE),
        "applicationId": HOSTILE[0],
        "entityId": HOSTILE[1],
    }
    found = planned(["SENDER"], accounts=HOSTILE, **filters)
    plain = planned(["SENDER"], accounts=["x"] * len(HOSTILE), **{
        name: [f"x{n}" for n in range(len(value))] if isinstance(value, list) else "x"
        for name, value in filters.items()
    })  # fmt: skip
    assert found.sql == plain.sql
    assert len(sqlglot.parse(found.sql, dialect="duckdb")) == 1
    assert found.parameters["sender"] == list(HOSTILE)


def test_explain_tells_table_reason_sql_and_parameters():
    told = planned(["SENDER"], RAGGED, senders=[f"s{n}" for n in range(8)]).explain()
    assert told.startswith("table: daily_by_sender (100 rows)\nparts of days: hourly_by_sender")
    assert "why: the smallest of 1 marts" in told
    assert "$sender = ['s0', 's1', 's2', 's3', 's4'] and 3 more" in told
    assert "$until = 2026-05-08 02:00:00" in told
    assert "why: no mart has" in planned(["SENDER", "STATUS"]).explain()
    assert sqlglot.parse_one(planned(["SENDER"]).sql, dialect="duckdb")


def test_tables_are_read_with_their_columns_and_sizes_views_too():
    connection = duckdb.connect()
    connection.execute("create schema other; create table other.elsewhere as select 1 as a")
    connection.execute("create table one as select range as Number from range(7)")
    connection.execute("create view two as select number as n, 1 as m from one where number < 3")
    assert read_tables(connection) == {
        "one": Table("one", frozenset({"number"}), 7),
        "two": Table("two", frozenset({"n", "m"}), 3, is_view=True),
    }


def test_a_view_of_a_mart_is_as_large_as_the_mart_whatever_was_deleted_from_it(tmp_path):
    connection = duckdb.connect(tmp_path / "published.duckdb")
    connection.execute("create table hourly_by_channel as select range as sent from range(9000)")
    connection.execute(f"create view hourly_by_account as {VIEW}")
    connection.execute("delete from hourly_by_channel where sent % 3 = 0")
    connection.execute("checkpoint")
    tables = read_tables(connection)
    assert tables["hourly_by_account"].is_view
    assert tables["hourly_by_account"].rows == tables["hourly_by_channel"].rows >= 6000


@pytest.mark.parametrize("period", [DAYS, HOURS, RAGGED])
@pytest.mark.parametrize("zone", [None, "Europe/Zagreb", "Asia/Kolkata"])
@pytest.mark.parametrize(
    ("by", "filters", "others"),
    [
        (["DAY"], {"senders": ["a"]}, {"senders": ["b"]}),
        (["HOUR", "SENDER"], {"senders": ["a", "b"]}, {"senders": ["c", "d", "e"]}),
        (["MONTH"], {"countryIds": [1], "entityId": "x"}, {"countryIds": [2], "entityId": "y"}),
        (["STATUS"], {"networkIds": [1, 2], "direction": "INBOUND"}, {"networkIds": [3, 4]}),
        ([], {"timeToDeliver": [{}]}, {"timeToDeliver": [{"from": "DAYS_1"}]}),
    ],
)
def test_a_plan_kept_for_one_question_is_that_of_another_of_its_shape(
    by, filters, others, zone, period
):
    def asked(filters, accounts, shift):
        moved = (period[0] + shift, period[1] + shift)
        texts = {"sentSince": moved[0].isoformat(), "sentUntil": moved[1].isoformat()}
        body = {
            "filterBy": texts | filters,
            "aggregateBy": by,
            "metrics": ["TRAFFIC_DELIVERY_RATE"],
        }
        offsets = Offsets.over(ZoneInfo(zone), moved) if zone else None
        question = read_question(body, QUERY_ROUTE)
        return PlanAsked(question, moved, accounts, None, offsets, 10)

    one = asked(filters, ["a", "b"], timedelta(0))
    other = asked(filters | others, ["c", "d", "e"], timedelta(days=7))
    assert one.shape == other.shape
    assert other.bound(one.ready(published())) == other.ready(published())
    assert one.ready(published()) != other.ready(published())
    # What needs other SQL is of another shape.
    assert asked(filters, ["a"], timedelta(0)).shape != one.shape


def test_questions_over_a_change_of_the_clock_are_of_a_shape_of_their_own():
    def shape(month):
        since = datetime(2026, month, 20, tzinfo=UTC)
        body = {
            "filterBy": {
                "sentSince": since.isoformat(),
                "sentUntil": (since + timedelta(days=20)).isoformat(),
            },
            "aggregateBy": ["DAY"],
            "metrics": ["TOTAL_TRAFFIC_COUNT"],
        }
        question = read_question(body, QUERY_ROUTE)
        period = (question.since, question.until)
        offsets = Offsets.over(ZoneInfo("Europe/Zagreb"), period)
        return PlanAsked(question, period, ["a"], None, offsets, 10).shape

    assert shape(5) == shape(6)
    assert shape(3) == shape(10)
    assert shape(3) != shape(5)
