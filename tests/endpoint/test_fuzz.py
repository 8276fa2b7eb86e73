"""Whatever is sent, the answer is one that is documented: no 500, no stack trace."""

import copy
import json
from urllib.parse import quote_from_bytes

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_by_hand import Installation
from served import app, bearer, publish_world

from endpoint.app import create_app
from endpoint.asynchronous.worker import Worker
from endpoint.planning.question import FilterBy
from msgmetrics.catalogue import catalogue
from msgmetrics.settings import Settings

BUDGET = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def service(tmp_path_factory, world):
    installation = Installation(Settings(home=tmp_path_factory.mktemp("home"), rate_limit=10**6))
    publish_world(world, installation)
    with pytest.MonkeyPatch.context() as patched:
        # What is accepted by accident is not to be called back.
        patched.setattr(Worker, "start", lambda *_: None)
        patched.setattr(Worker, "enqueue", lambda *_: None)
        patched.setattr("endpoint.aggregate_queries.MOST_OPEN", 10**9)
        with TestClient(create_app(installation.settings)) as client:
            yield client, installation.key("a", "metrics:read", "metrics:manage")


VALID = {
    "filterBy": {
        "sentSince": "2024-03-01T00:00:00Z",
        "sentUntil": "2024-05-01T00:00:00.000+0000",
        "channelCodes": ["SMS", "EMAIL"],
        "includeSubaccounts": True,
        "timeToDeliver": [{"from": "SECONDS_1", "to": "DAYS_1"}],
    },
    "aggregateBy": ["DAY", "SENDER"],
    "metrics": ["TOTAL_TRAFFIC_COUNT", "TRAFFIC_DELIVERY_RATE"],
    "timezone": "Europe/Zagreb",
}
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=12),
    st.sampled_from([
        "", "\0", "\ud800", "' or 1=1 --", "../../etc/passwd", "9" * 400, "\U0001f4a9" * 20,
        "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-00-00T00:00:00Z",
        "2024-02-30T00:00:00Z", "SECONDS_0", "URL", "HOUR", "Etc/UTC", "Factory", "localtime",
        "http://example.com/\r\nX: y", "http://[", "http://\u2488\u2488", "https://xn--/",
        *catalogue().metrics, *catalogue().dimensions, *catalogue().time_dimensions,
    ]),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)
MEMBERS = [field.alias for field in FilterBy.model_fields.values()]


@st.composite
def questions(draw):
    """A valid question with one to three members made into something else."""
    question = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([question, question["filterBy"]]))
        if not isinstance(place, dict):
            break
        name = draw(st.sampled_from([*MEMBERS, "metrics", "aggregateBy", "filterBy", "snapshot",
                                     "timezone", "includeComponents"]) | TEXTS)  # fmt: skip
        place[name] = draw(VALUES | st.lists(TEXTS, max_size=5))
        if name == "filterBy":
            break
    return question


def spelled(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


def assert_documented(response, statuses):
    assert response.status_code in statuses, response.text
    if response.headers["Content-Type"] == "application/json":
        told = response.json()
        assert isinstance(told, dict)
    assert "Traceback" not in response.text
    assert response.headers["X-Request-Id"]


@BUDGET
@given(question=questions(), accept=st.sampled_from(["*/*", "text/csv", "x/y;q=\xff"]))
def test_any_question_gets_a_documented_answer(service, question, accept):
    client, key = service
    headers = {"Authorization": f"Bearer {key}", "Accept": accept.encode("latin-1")}
    response = client.post("/v1/metrics/query", content=spelled(question), headers=headers)
    assert_documented(response, {200, 400, 422})


@BUDGET
@given(question=questions(), url=TEXTS | VALUES, more=st.dictionaries(TEXTS, VALUES, max_size=1))
def test_any_request_gets_a_documented_answer(service, question, url, more):
    client, key = service
    question.pop("timezone", None)
    body = {"callbackUrl": url, "request": question, **more}
    response = client.post(
        "/metrics/1/query-aggregate-data", content=spelled(body), headers=app(key)
    )
    assert_documented(response, {201, 400})


@BUDGET
@given(
    path=st.sampled_from(["/v1/metrics/query", "/metrics/1/query-aggregate-data"]),
    body=st.binary(max_size=200) | VALUES.map(spelled),
    kind=st.sampled_from(["application/json", "text/plain", "multipart/form-data; boundary=x", ""]),
)
def test_any_bytes_get_a_documented_answer(service, path, body, kind):
    client, key = service
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    assert_documented(client.post(path, content=body, headers=headers), {400})


@BUDGET
@given(
    path=st.sampled_from(["/v1/metrics/inbound", "/v1/metrics/messages", "/v1/metrics/catalog",
                          "/metrics/1/requests/x", "/metrics/1/requests/x/result"]),
    query=st.binary(max_size=60) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    names=st.lists(st.sampled_from(["metric", "from", "to", "limit", "cursor", "x"]), max_size=4),
)  # fmt: skip
def test_any_query_string_gets_a_documented_answer(service, path, query, names):
    client, key = service
    text = "&".join([f"{name}={quote_from_bytes(query)}" for name in names] or [
        quote_from_bytes(query, safe="&=+%")
    ])  # fmt: skip
    response = client.get(f"{path}?{text}", headers=bearer(key))
    assert_documented(response, {200, 400, 404, 422})


@BUDGET
@given(path=st.binary(max_size=40), method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
def test_any_path_gets_a_documented_answer(service, path, method):
    client, key = service
    for prefix in ("/", "/v1/", "/v1/metrics/", "/metrics/1/", "/metrics/1/requests/"):
        response = client.request(
            method,
            prefix + quote_from_bytes(path),
            headers=bearer(key),
            follow_redirects=False,
        )
        assert_documented(response, {200, 400, 404, 405})
