"""POST /metrics/1/query-aggregate-data over HTTP: answers, errors, and who may see what."""

import re
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planner.questions import askings
from planner.worlds import CHANNELS
from receiver import receiving, wait_until
from reference.metrics import (
    DIMENSION_NAMES,
    METRICS,
    URL_METRICS,
    answer,
    columns,
    requested_period,
)
from served import AS_OF, ASK, app, serving

REQUESTS = "/metrics/1/requests"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
PERIOD = {"sentSince": "2024-03-01T10:20:30.123+0000", "sentUntil": "2024-05-01T00:00:00Z"}
ALL_CHANNELS = sorted(set(CHANNELS))


@pytest.fixture(scope="module")
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory, world):
    with serving(
        tmp_path_factory.mktemp("home"), world, RATE_LIMIT=10_000, CALLBACK_ALLOW="127.0.0.1"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def key(server):
    return server.installation.key("a", "metrics:manage")


def question(by=(), metrics=("TOTAL_TRAFFIC_COUNT",), **filters):
    return {
        "filterBy": PERIOD | {"channelCodes": ALL_CHANNELS} | filters,
        "aggregateBy": list(by),
        "metrics": list(metrics),
    }


def post(server, key, request, receiver):
    return server.http.post(
        ASK, json={"callbackUrl": receiver.url, "request": request}, headers=app(key)
    )


def accepted(server, key, request, receiver):
    response = post(server, key, request, receiver)
    assert response.status_code == 201, response.text
    assert set(response.json()) == {"requestId"}
    assert ULID.fullmatch(response.json()["requestId"])
    return response.json()["requestId"]


def result(server, key, request_id):
    def has_ended():
        told = server.http.get(f"{REQUESTS}/{request_id}", headers=app(key)).json()
        return told["status"] != "IN_PROGRESS"

    wait_until(has_ended)
    response = server.http.get(f"{REQUESTS}/{request_id}/result", headers=app(key))
    assert response.status_code == 200
    return response.json()


def expected(world, request, own="a"):
    """The response that the reference gives to a question of an account."""
    filters = dict(request["filterBy"])
    period = requested_period(
        filters["sentSince"],
        filters["sentUntil"],
        as_of=AS_OF,
        aggregate_by=request["aggregateBy"],
    )
    rows = answer(
        world.outcomes,
        world.accounts,
        aggregate_by=request["aggregateBy"],
        filter_by=filters | {"sentSince": period[0], "sentUntil": period[1]},
        metrics=request["metrics"],
        key_account=own,
        missing="N/A",
        empty_rate=0.0,
    )
    named = columns(request["aggregateBy"], request["metrics"])
    return {
        "requestedPeriod": {"sentSince": text_of(period[0]), "sentUntil": text_of(period[1])},
        "totalRows": len(rows),
        "columns": [{"columnName": name, "columnDataType": kind} for name, kind in named],
        "rows": [[cell(value) for value in row] for row in rows],
    }


def text_of(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def cell(value):
    if isinstance(value, datetime):
        return text_of(value)
    return value if isinstance(value, str | int | float) else float(value)


def test_the_result_is_called_back_once_and_can_be_fetched(server, key, world, receiver):
    asked = question(["DAY"], ["TRAFFIC_DELIVERY_RATE", "TOTAL_COST_CENTS"])
    request_id = accepted(server, key, asked, receiver)
    called = receiver.wait_for(request_id)
    assert list(called) == ["requestId", "status", "response"]
    assert called["status"] == "SUCCESS"
    assert list(called["response"]) == ["requestedPeriod", "totalRows", "columns", "rows"]
    assert called["response"] == expected(world, asked)
    assert called["response"]["rows"]
    told = server.http.get(f"{REQUESTS}/{request_id}", headers=app(key))
    assert told.json() == {"requestId": request_id, "status": "SUCCESS"}
    assert result(server, key, request_id) == called
    assert receiver.paths[0] == "/callback?of=metrics"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["Host"] == f"127.0.0.1:{receiver.port}"
    assert "Authorization" not in receiver.headers[0]


def test_every_dimension_with_every_metric_is_what_the_reference_has(server, key, world, receiver):
    asked = {
        name: question([name], URL_METRICS if name == "URL" else METRICS, includeSubaccounts=True)
        for name in DIMENSION_NAMES
    }
    assert len(asked) == 34
    ids = {name: accepted(server, key, one, receiver) for name, one in asked.items()}
    for name, request_id in ids.items():
        assert result(server, key, request_id)["response"] == expected(world, asked[name]), name


@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_random_questions_are_answered_as_the_reference_has_them(
    server, key, world, receiver, data
):
    asked = dict(data.draw(askings(world), "asked").body)
    del asked["includeComponents"]
    filters = asked["filterBy"]
    if "channelCode" not in filters:
        filters.setdefault("channelCodes", ALL_CHANNELS)
    request_id = accepted(server, key, asked, receiver)
    assert result(server, key, request_id)["response"] == expected(world, asked)


def test_na_stands_for_what_a_channel_lacks_and_zero_for_an_empty_rate(server, key, receiver):
    asked = question([], ["TOTAL_BOUNCE_RATE", "FAILED_TRAFFIC_COUNT", "CLICK_TO_OPEN_RATE"])
    asked["filterBy"]["senders"] = ["nobody", "no address", "Shop"]
    rows = result(server, key, accepted(server, key, asked, receiver))["response"]["rows"]
    by_channel = {row[0]: row[1:] for row in rows}
    assert by_channel["SMS"][0] == "N/A"
    assert isinstance(by_channel["SMS"][1], int)
    assert by_channel["SMS"][2] == "N/A"
    assert by_channel["EMAIL"][1] == "N/A"
    empty = question([], ["TRAFFIC_DELIVERY_RATE"], directions=["INBOUND"])
    rows = result(server, key, accepted(server, key, empty, receiver))["response"]["rows"]
    assert rows
    assert all(row[1] == 0.0 and isinstance(row[1], float) for row in rows)


@pytest.mark.parametrize(
    ("by", "since", "until"),
    [
        ([], "2024-03-01T10:00:00.000+0000", "2024-04-20T10:00:00.000+0000"),
        (["DAY"], "2024-03-01T00:00:00.000+0000", "2024-04-20T10:00:00.000+0000"),
        (["MONTH", "YEAR"], "2024-03-01T00:00:00.000+0000", "2024-04-20T10:00:00.000+0000"),
        (["YEAR"], "2024-01-01T00:00:00.000+0000", "2024-04-20T10:00:00.000+0000"),
    ],
)
def test_the_period_is_widened_to_the_finest_time_dimension_and_cut(
    server, key, receiver, by, since, until
):
    request_id = accepted(server, key, question(by), receiver)
    period = result(server, key, request_id)["response"]["requestedPeriod"]
    assert period == {"sentSince": since, "sentUntil": until}


def test_both_spellings_of_filters_and_timestamps_are_taken(server, key, world, receiver):
    one = question(["DIRECTION"])
    other = question(["DIRECTION"])
    del other["filterBy"]["channelCodes"]
    other["filterBy"] |= {
        "channelCode": ALL_CHANNELS,
        "sentSince": "2024-03-01T12:20:30.123+02:00",
        "sentUntil": "2024-05-01T00:00:00.000+0000",
        "direction": "OUTBOUND",
        "senders": None,
        "statuses": [],
    }
    one["filterBy"]["directions"] = ["OUTBOUND"]
    answers = [
        result(server, key, accepted(server, key, asked, receiver))["response"]
        for asked in (one, other)
    ]
    assert answers[0] == answers[1] == expected(world, one)
    assert answers[0]["rows"]


# ------------------------------------------------------------------------------------- errors


def told(response, status):
    assert response.status_code == status, response.text
    error = response.json()
    assert list(error) == ["errorCode", "description", "action", "violations", "resources"]
    assert error["errorCode"] == f"E{status}"
    assert error["description"]
    assert error["action"]
    assert error["resources"] == []
    assert response.headers["X-Request-Id"]
    assert all(set(found) == {"property", "violation"} for found in error["violations"])
    return {found["property"]: found["violation"] for found in error["violations"]}


def test_every_violation_of_a_request_is_listed_at_once(server, key):
    body = {
        "callbackUrl": "ftp://example.com",
        "webhook": 1,
        "request": {
            "filterBy": {
                "sentSince": "2024-05-01T00:00:00.000+0000",
                "sentUntil": "yesterday",
                "channelCodes": ["SMS", "FAX"],
                "timeToDeliver": [{"from": "DAYS_3", "to": "SECONDS_0"}],
                "countryIds": ["191"],
                "recipients": ["+385"],
            },
            "aggregateBy": ["DAY", "DAY", "RECIPIENT", "URL"],
            "metrics": ["TOTAL_TRAFFIC_COUNT", "TRAFFIC", "TRAFFIC"],
            "timezone": "UTC",
        },
    }
    found = told(server.http.post(ASK, json=body, headers=app(key)), 400)
    assert set(found) == {
        "callbackUrl",
        "webhook",
        "request.timezone",
        "request.filterBy.sentUntil",
        "request.filterBy.channelCodes[1]",
        "request.filterBy.timeToDeliver[0]",
        "request.filterBy.countryIds[0]",
        "request.filterBy.recipients",
        "request.aggregateBy[1]",
        "request.aggregateBy[2]",
        "request.metrics[0]",
        "request.metrics[1]",
        "request.metrics[2]",
    }


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"", {"body"}),
        (b"[1]", {"body"}),
        (b"{}", {"callbackUrl", "request"}),
        (b'{"callbackUrl": 7, "request": null}', {"callbackUrl", "request"}),
        (b'{"callbackUrl": "http://127.0.0.1", "request": {"filterBy": []}}',
         {"request.filterBy", "request.metrics"}),
        (b'{"request": {}, "callbackUrl": "", "\\u0000\\ud83d\\ude00": 1}',
         {"request.filterBy", "request.metrics", "callbackUrl", "\0\N{GRINNING FACE}"}),
        (b'{"callbackUrl": "http://127.0.0.1", "callbackUrl": "http://127.0.0.1"}', {"body"}),
        (b"{" * 2_000, {"body"}),
        (b"\xff", {"body"}),
        (b'"' + b"x" * 5_000_000 + b'"', {"body"}),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_by_the_property(server, key, sent, named):
    assert set(told(server.http.post(ASK, content=sent, headers=app(key)), 400)) == named


def test_query_parameters_are_violations(server, key, receiver):
    assert set(told(server.http.post(f"{ASK}?x=1&y", headers=app(key)), 400)) >= {"x", "y"}
    found = told(server.http.get(f"{REQUESTS}/x?y=1", headers=app(key)), 400)
    assert found == {"y": "unknown parameter"}


def test_errors_of_the_way_in_have_the_shape_of_the_family(server, key):
    read_only = server.installation.key("a")
    told(server.http.post(ASK), 401)
    told(server.http.post(ASK, headers={"Authorization": f"Basic {key}"}), 401)
    told(server.http.get(f"{REQUESTS}/x", headers=app("am_live_x")), 401)
    told(server.http.post(ASK, headers=app(read_only)), 403)
    told(server.http.get(ASK, headers=app(key)), 405)
    told(server.http.get("/metrics/1/nothing", headers=app(key)), 404)
    told(server.http.get(f"{REQUESTS}/", headers=app(key)), 404)
    assert server.http.get(ASK).headers["Allow"] == "POST"


def test_bearer_is_taken_as_well(server, key, receiver):
    body = {"callbackUrl": receiver.url, "request": question()}
    response = server.http.post(ASK, json=body, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 201


def test_a_request_of_another_account_is_one_that_does_not_exist(server, key, receiver):
    request_id = accepted(server, key, question(), receiver)
    result(server, key, request_id)
    colleague = server.installation.key("a", "metrics:manage")
    assert result(server, colleague, request_id)["status"] == "SUCCESS"
    for other in ("b", "e", "stray"):
        stranger = server.installation.key(other, "metrics:manage")
        for path in ("", "/result"):
            refused = server.http.get(f"{REQUESTS}/{request_id}{path}", headers=app(stranger))
            unknown = server.http.get(
                f"{REQUESTS}/01ARZ3NDEKTSV4RRFFQ69G5FAV{path}", headers=app(stranger)
            )
            told(refused, 404)
            assert refused.content == unknown.content
            assert len(refused.headers) == len(unknown.headers)


@pytest.mark.parametrize("request_id", ["x", "..%2f..%2fkeys", "%00", "%ff", "'", "a" * 5_000])
def test_an_id_that_is_none_is_not_found(server, key, request_id):
    for path in ("", "/result"):
        response = server.http.get(f"{REQUESTS}/{request_id}{path}", headers=app(key))
        assert response.status_code == 404
        assert response.json()["errorCode"] == "E404"


def test_nothing_published_is_told_after_violations(installation, client_of):
    client = client_of(installation)
    key = installation.key("acme", "metrics:manage")
    told(client.post(ASK, json={}, headers=app(key)), 400)
    body = {"callbackUrl": "https://192.0.2.1.example/", "request": question()}
    told(client.post(ASK, json=body, headers=app(key)), 503)
