"""POST /v1/metrics/query over HTTP: every format, local time, earlier snapshots, refusals."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from published_by_hand import Installation, Message
from reference.metrics import DIMENSIONS, METRICS, answer, columns
from reference.records import with_descendants
from served import AS_OF, QUERY, bearer, publish_world, serving

from endpoint.planning.answer import TooManyRowsError
from msgmetrics.settings import Settings

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
# A world from 27 February 2024 on, for 60 days.
SINCE, UNTIL = "2024-02-27T00:00:00Z", "2024-05-01T00:00:00Z"
EVERYTHING = {"sentSince": SINCE, "sentUntil": "2024-04-20T10:00:00Z"}


@pytest.fixture(scope="module")
def server(tmp_path_factory, world):
    with serving(tmp_path_factory.mktemp("home"), RATE_LIMIT=10_000) as server:
        server.first_snapshot = publish_world(world, server.installation)
        yield server


@pytest.fixture(scope="module")
def key(server):
    return server.installation.key("a")


def ask(server, key, body, **headers):
    return server.http.post(QUERY, json=body, headers=bearer(key, **headers))


def body(by=(), metrics=("TOTAL_TRAFFIC_COUNT",), filters=(), **members):
    filter_by = {"sentSince": SINCE, "sentUntil": UNTIL, **dict(filters)}
    return {"filterBy": filter_by, "aggregateBy": list(by), "metrics": list(metrics), **members}


def of_reference(world, asked, **options):
    filter_by = asked["filterBy"] | EVERYTHING
    return answer(
        world.outcomes,
        world.accounts,
        aggregate_by=asked["aggregateBy"],
        filter_by=filter_by,
        metrics=asked["metrics"],
        key_account="a",
        zone=asked.get("timezone", "UTC"),
        include_components=asked.get("includeComponents", False),
        **options,
    )


def as_json(rows):
    """Rows of the reference as JSON tells them, with moments in the offset that they have."""

    def cell(value):
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%dT%H:%M:%S.000%z")
        return float(value) if isinstance(value, Decimal) else value

    return [[cell(value) for value in row] for row in rows]


def test_an_answer_has_all_that_the_envelope_promises(server, key, world):
    asked = body(["DAY"], ["TRAFFIC_DELIVERY_RATE", "TOTAL_COST_CENTS"])
    response = ask(server, key, asked)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "private, max-age=30"
    assert re.fullmatch('"[0-9a-f]{32}"', response.headers["ETag"])
    assert response.headers["X-Request-Id"]
    told = response.json()
    assert set(told) == {"success", "data", "meta"}
    assert told["success"] is True
    assert told["meta"] == {
        "as_of": "2024-04-20T10:30:07Z",
        "snapshot": server.first_snapshot,
        "stale": False,
        "checks": {"passed": 9, "warned": 1},
    }
    assert list(told["data"]) == ["requestedPeriod", "totalRows", "columns", "rows"]
    assert told["data"]["requestedPeriod"] == {
        "sentSince": "2024-02-27T00:00:00.000+0000",
        "sentUntil": "2024-04-20T10:00:00.000+0000",
    }
    assert told["data"]["columns"] == [
        {"columnName": "CHANNEL_CODE", "columnDataType": "STRING"},
        {"columnName": "DAY", "columnDataType": "DATE_TIME"},
        {"columnName": "TRAFFIC_DELIVERY_RATE", "columnDataType": "NUMBER"},
        {"columnName": "TOTAL_COST_CENTS", "columnDataType": "NUMBER"},
    ]
    expected = as_json(of_reference(world, asked))
    assert expected
    assert told["data"]["rows"] == expected
    assert told["data"]["totalRows"] == len(expected)


def test_cost_is_exact_to_the_last_digit_and_has_no_trailing_zeros(server, key, world):
    asked = body(["SENDER"], ["TOTAL_COST_CENTS"], {"includeSubaccounts": True})
    text = ask(server, key, asked).text
    costs = [row[2] for row in of_reference(world, asked)]
    found = re.findall(r",([0-9.]+)\]", text)
    assert [Decimal(number) for number in found] == costs
    assert not any("." in number and number.endswith("0") for number in found)


@pytest.mark.parametrize("dimension", [*DIMENSIONS, "HOUR", "DAY", "WEEK_SATURDAY_START",
                                       "WEEK_SUNDAY_START", "WEEK_MONDAY_START", "MONTH",
                                       "QUARTER", "YEAR"])  # fmt: skip
def test_every_dimension_and_every_metric_is_answered_as_the_reference_has_it(
    server, key, world, dimension
):
    asked = body([dimension], list(METRICS), {"includeSubaccounts": True}, includeComponents=True)
    told = ask(server, key, asked).json()["data"]
    assert told["rows"] == as_json(of_reference(world, asked))
    assert [(c["columnName"], c["columnDataType"]) for c in told["columns"]] == columns(
        [dimension], list(METRICS), include_components=True
    )


def test_components_stand_behind_their_rate(server, key):
    told = ask(server, key, body(["SENDER"], ["CLICK_TO_OPEN_RATE"], includeComponents=True))
    data = told.json()["data"]
    assert [column["columnName"] for column in data["columns"][2:]] == [
        "CLICK_TO_OPEN_RATE",
        "CLICK_TO_OPEN_RATE_NUMERATOR",
        "CLICK_TO_OPEN_RATE_DENOMINATOR",
    ]
    for _, _, rate, numerator, denominator in data["rows"]:
        assert rate == (numerator / denominator if denominator else None)
    assert any(row[2] is not None for row in data["rows"])


# ------------------------------------------------------------------------------------ formats

SHOWN = ["DAY", "SENDER", "COUNTRY_ID"]
VALUES = ["TOTAL_COST_CENTS", "TRAFFIC_DELIVERY_RATE", "FAILED_TRAFFIC_COUNT"]


def assert_headers_tell_the_snapshot(server, response):
    assert response.status_code == 200
    assert response.headers["X-Msgmetrics-As-Of"] == "2024-04-20T10:30:07Z"
    assert response.headers["X-Msgmetrics-Snapshot"] == server.first_snapshot


def test_csv_is_rfc_4180_with_empty_nulls(server, key, world):
    asked = body(SHOWN, VALUES, {"includeSubaccounts": True})
    response = ask(server, key, asked, Accept="text/csv")
    assert_headers_tell_the_snapshot(server, response)
    assert response.headers["Content-Type"].startswith("text/csv")
    text = response.content.decode()
    header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["CHANNEL_CODE", *SHOWN, *VALUES]
    assert text.count("\r\n") == len(lines) + 1
    expected = as_json(of_reference(world, asked))
    assert len(lines) == len(expected)
    assert any(None in row for row in expected)
    for line, row in zip(lines, expected, strict=True):
        assert line[:4] == ["" if cell is None else str(cell) for cell in row[:4]]
        assert [float(cell) if cell else None for cell in line[4:]] == row[4:]


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_arrow_and_parquet_carry_exact_types(server, key, world, media_type):
    asked = body(SHOWN, VALUES, {"includeSubaccounts": True})
    response = ask(server, key, asked, Accept=media_type)
    assert_headers_tell_the_snapshot(server, response)
    assert response.headers["Content-Type"] == media_type
    if media_type == ARROW:
        table = pyarrow.ipc.open_stream(response.content).read_all()
    else:
        table = pyarrow.parquet.read_table(io.BytesIO(response.content))
    assert table.schema.types == [
        pyarrow.string(), pyarrow.timestamp("us", tz="UTC"), pyarrow.string(), pyarrow.int64(),
        pyarrow.decimal128(38, 6), pyarrow.float64(), pyarrow.int64(),
    ]  # fmt: skip
    assert [list(row.values()) for row in table.to_pylist()] == of_reference(world, asked)


def test_pandas_reads_the_arrow_stream_and_the_parquet_file(server, key, world):
    asked = body(["DAY"], ["TOTAL_TRAFFIC_COUNT", "TOTAL_COST_CENTS"])
    expected = of_reference(world, asked)
    stream = ask(server, key, asked, Accept=ARROW).content
    parquet = ask(server, key, asked, Accept=PARQUET).content
    for frame in (
        pyarrow.ipc.open_stream(stream).read_pandas(),
        pandas.read_parquet(io.BytesIO(parquet)),
    ):
        assert str(frame["DAY"].dtype.tz) == "UTC"
        assert frame["TOTAL_TRAFFIC_COUNT"].sum() == sum(row[2] for row in expected)
        assert frame["TOTAL_COST_CENTS"].sum() == sum(row[3] for row in expected)


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("*/*, text/csv;q=0.1", "application/json"),
        ("text/csv;q=0.2, application/*;q=0.3", "application/json"),
        ("text/*, application/json;q=0.9", "text/csv"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv"),
        ("text/csv;q=0", "application/json"),
        ("TEXT/CSV", "text/csv"),
        (f"text/html, {PARQUET};q=0.1", PARQUET),
        (";;,,q=\t;q=x, a/b/c", "application/json"),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_best(server, key, accept, answered):
    response = ask(server, key, body(), Accept=accept)
    assert response.headers["Content-Type"].split(";")[0] == answered
    assert "Accept" in response.headers["Vary"]


def test_long_answers_are_streamed_whole(server, key, world):
    filters = {"includeSubaccounts": True, "sentSince": "0001-01-01T00:00:00Z"}
    asked = body(["HOUR", *[d for d in DIMENSIONS if d != "CHANNEL_NAME"]], filters=filters)
    told = ask(server, key, asked).json()["data"]
    assert told["totalRows"] == len(told["rows"])
    assert sum(row[-1] for row in told["rows"]) == sum(
        row[-1] for row in of_reference(world, body(filters={"includeSubaccounts": True}))
    )


# --------------------------------------------------------------------------------- local time


def messages_at(*moments, account="a"):
    """One inbound message at each moment, in marts made by hand."""
    return [Message(moment, account_key=account) for moment in moments]


@pytest.mark.parametrize("zone", ["Europe/Zagreb", "America/New_York", "Asia/Kolkata", "Etc/UTC"])
@pytest.mark.parametrize("dimension", ["HOUR", "DAY", "WEEK_SUNDAY_START", "MONTH"])
def test_hours_to_months_are_those_of_the_local_clock(server, key, world, zone, dimension):
    asked = body([dimension], filters={"includeSubaccounts": True}, timezone=zone)
    told = ask(server, key, asked).json()["data"]
    end = AS_OF.astimezone(ZoneInfo(zone)).replace(minute=0, second=0, microsecond=0)
    assert told["requestedPeriod"]["sentUntil"] == end.strftime("%Y-%m-%dT%H:%M:%S.000%z")
    asked["filterBy"]["sentSince"] = SINCE if zone != "Asia/Kolkata" else "2024-02-26T23:30:00Z"
    expected = answer(
        world.outcomes, world.accounts, aggregate_by=[dimension], metrics=asked["metrics"],
        filter_by=asked["filterBy"] | {"sentUntil": end.astimezone(UTC).isoformat()},
        key_account="a", zone=zone,
    )  # fmt: skip
    assert expected
    assert told["rows"] == as_json(expected)


def test_days_have_23_and_25_hours_and_the_repeated_hour_is_two_rows(server, world):
    # Every hour of the days around both changes of clocks has one message.
    installation = server.installation
    key = installation.key("acme")
    first, hours = datetime(2025, 10, 25, tzinfo=UTC), range(72)
    autumn = [(first + timedelta(hours=n)).isoformat() for n in hours]
    first = datetime(2025, 3, 29, tzinfo=UTC)
    spring = [(first + timedelta(hours=n)).isoformat() for n in hours]
    installation.publish(messages_at(*autumn, *spring, account="acme"), "2025-11-01T00:00:00Z")

    def rows(dimension, since, until):
        asked = body(
            [dimension],
            ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
            {"sentSince": since, "sentUntil": until},
            timezone="Europe/Zagreb",
        )
        response = ask(server, key, asked)
        assert response.status_code == 200, response.text
        return [row[1:] for row in response.json()["data"]["rows"]]

    try:
        assert rows("DAY", "2025-10-25T22:00:00Z", "2025-10-27T22:00:00Z") == [
            ["2025-10-26T00:00:00.000+0200", 25],
            ["2025-10-27T00:00:00.000+0100", 23],
        ]
        assert rows("DAY", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z") == [
            ["2025-03-30T00:00:00.000+0100", 23]
        ]
        assert rows("HOUR", "2025-10-25T23:00:00Z", "2025-10-26T03:00:00Z") == [
            ["2025-10-26T01:00:00.000+0200", 1],
            ["2025-10-26T02:00:00.000+0200", 1],
            ["2025-10-26T02:00:00.000+0100", 1],
            ["2025-10-26T03:00:00.000+0100", 1],
        ]
    finally:
        server.first_snapshot = publish_world(world, installation)


# ---------------------------------------------------------------------------------- snapshots


def test_an_earlier_snapshot_answers_as_it_did_then_with_the_rights_of_now(server, world):
    installation = server.installation
    key = installation.key("acme")
    asked = body(
        [],
        ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
        {
            "sentSince": "2025-10-25T00:00:00Z",
            "sentUntil": "2025-10-26T00:00:00Z",
            "includeSubaccounts": True,
        },
    )
    moments = messages_at("2025-10-25T01:00Z", "2025-10-25T02:00Z", account="acme-eu")
    before = installation.publish(moments, "2025-11-01T00:00:00Z")
    told = ask(server, key, asked).json()
    assert told["data"]["rows"] == [["SMS", 2]]
    installation.publish(moments[:1], "2025-11-02T00:00:00Z")
    try:
        assert ask(server, key, asked).json()["data"]["rows"] == [["SMS", 1]]
        earlier = ask(server, key, asked | {"snapshot": before}).json()
        assert earlier == told
        assert earlier["meta"]["snapshot"] == before
        installation.accounts = [("acme", None, "scale"), ("acme-eu", None, "free")]
        installation.publish(moments, "2025-11-03T00:00:00Z")
        assert ask(server, key, asked | {"snapshot": before}).json()["data"]["rows"] == []
    finally:
        server.first_snapshot = publish_world(world, installation)


@pytest.mark.parametrize("snapshot", ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "../keys", "", "a\0b", "é"])
def test_an_unknown_snapshot_is_refused(server, key, snapshot):
    response = ask(server, key, body(snapshot=snapshot))
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "INVALID_INPUT"
    assert [found["parameter"] for found in error["details"]["violations"]] == ["snapshot"]


# ----------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"", ["body"]),
        (b"null", ["body"]),
        (b"[]", ["body"]),
        (b'"x"', ["body"]),
        (b"{", ["body"]),
        (b"\xff\xfe{\0}\0", ["body"]),
        (b'{"metrics": NaN}', ["body"]),
        (b'{"metrics": [], "metrics": []}', ["body"]),
        (b"[" * 100_000, ["body"]),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, ["body"]),
        (b" " * (4 * 1024 * 1024 + 1), ["body"]),
        (b"9" * 100_000, ["body"]),
        (b"{}", ["filterBy", "metrics"]),
        (b'{"filterBy": {}, "metrics": []}',
         ["filterBy.sentSince", "filterBy.sentUntil", "metrics"]),
        (b'{"filterBy": 1, "metrics": ["x"], "more": 1}', ["filterBy", "metrics[0]", "more"]),
        (b'{"filterBy": 1, "metrics": 1, "timezone": "Mars"}', ["filterBy", "metrics", "timezone"]),
        (b'{"filterBy": 1, "metrics": 1, "timezone": "localtime"}',
         ["filterBy", "metrics", "timezone"]),
        (b'{"filterBy": 1, "metrics": 1, "snapshot": 1}', ["filterBy", "metrics", "snapshot"]),
        (b'{"filterBy": 1, "metrics": 1, "a\\u0000b": 1}', ["filterBy", "metrics", "a\0b"]),
        (b'{"filterBy": 1, "metrics": 1, "\\ud800": 1}', ["body"]),
    ],
)  # fmt: skip
def test_every_violation_of_a_body_is_told_at_once(server, key, sent, named):
    response = server.http.post(QUERY, content=sent, headers=bearer(key))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "INVALID_INPUT"
    assert sorted(v["parameter"] for v in error["details"]["violations"]) == sorted(named)


def test_ten_thousand_violations_are_not_all_listed(server, key):
    asked = body(filters={"channelCodes": ["FAX"] * 5_000})
    violations = ask(server, key, asked).json()["error"]["details"]["violations"]
    assert len(violations) == 1001
    assert violations[-1]["problem"] == "4,000 more violations are not listed"


def test_query_parameters_are_refused(server, key):
    response = server.http.post(f"{QUERY}?limit=1", json=body(), headers=bearer(key))
    violations = response.json()["error"]["details"]["violations"]
    assert violations == [{"parameter": "limit", "problem": "unknown parameter"}]


def test_a_key_of_the_wrong_kind_is_refused_before_the_body_is_read(server, key):
    manage = server.installation.key("a", "metrics:manage")
    for headers, status in (
        ({}, 401),
        ({"Authorization": f"App {key}"}, 401),
        (bearer(manage), 403),
    ):
        response = server.http.post(QUERY, content=b"{", headers=headers)
        assert response.status_code == status
    assert server.http.get(QUERY, headers=bearer(key)).status_code == 405


def test_accounts_of_others_answer_as_accounts_that_do_not_exist(server, key, world):
    visible = with_descendants(world.accounts, ["a"])
    assert "e" not in visible
    for include in (True, False):
        answers = [
            ask(server, key, body(["SENDER"], filters={
                "accountKeys": [account], "includeSubaccounts": include
            })).json()["data"]
            for account in ("e", "l1", "gone", "nobody", "a' or 1=1 --")
        ]  # fmt: skip
        assert all(found == answers[-1] for found in answers)
        assert answers[-1]["rows"] == []


def test_nothing_published_is_told_after_violations(tmp_path, client_of):
    installation = Installation(Settings(home=tmp_path))
    client, key = client_of(installation), installation.key()
    assert client.post(QUERY, json={}, headers=bearer(key)).status_code == 400
    response = client.post(QUERY, json=body(), headers=bearer(key))
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "NOT_READY"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TooManyRowsError(1_000_001, 1_000_000), "1,000,001 rows"),
        (duckdb.OutOfMemoryException("secret"), "more memory"),
    ],
)
def test_an_answer_that_is_too_large_is_refused(tmp_path, client_of, monkeypatch, error, said):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("endpoint.metrics_query.ask", fails)
    installation = Installation(Settings(home=tmp_path))
    installation.publish([], "2026-05-05T12:00:00Z")
    client, key = client_of(installation), installation.key()
    response = client.post(QUERY, json=body(), headers=bearer(key))
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "TOO_MANY_ROWS"
    assert said in response.json()["error"]["message"]
