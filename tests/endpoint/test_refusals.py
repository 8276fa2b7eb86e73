"""What is refused, with which answer, and which of several faults is told first."""

import re
import string

import pytest
from damaged_file import damage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_by_hand import Installation, Message

from msgmetrics.settings import Settings

INBOUND = "/v1/metrics/inbound"
MESSAGES = "/v1/metrics/messages"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
AS_OF = "2026-05-05T23:59:43Z"


@pytest.fixture
def service(installation, client_of):
    installation.publish([], AS_OF)
    return client_of(installation), installation


def get(client, key, url, **headers):
    return client.get(url, headers={"Authorization": f"Bearer {key}", **headers})


def refusal(response, status, code):
    """The error of a response that must be this one; checks what all errors share."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    error = body["error"]
    assert error["code"] == code
    assert ULID.fullmatch(error["request_id"])
    assert response.headers["X-Request-Id"] == error["request_id"]
    assert response.headers["Content-Type"] == "application/json"
    assert "ETag" not in response.headers
    return error


def violated(response, status=400):
    details = refusal(response, status, "INVALID_INPUT")["details"]
    assert set(details) == {"violations"}
    assert all(set(found) == {"parameter", "problem"} for found in details["violations"])
    return [found["parameter"] for found in details["violations"]]


def test_authentication_fails_alike_whatever_is_wrong(service):
    client, installation = service
    good = installation.key()
    for header in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {good}",
        f"App {good}",
        good,
        f"Bearer {good}x",
        f"Bearer {good[:-1]}",
        "Bearer am_live_" + "0" * 40,
        b"Bearer \xff\xfe",
    ):
        headers = {} if header is None else {"Authorization": header}
        error = refusal(client.get(INBOUND, headers=headers), 401, "UNAUTHORIZED")
        assert error["message"] == "authentication failed"
        assert "details" not in error
    doubled = [("Authorization", f"Bearer {good}")] * 2
    refusal(client.get(INBOUND, headers=doubled), 401, "UNAUTHORIZED")
    assert get(client, good, f"{INBOUND}?metric=received").status_code == 200
    lower = client.get(f"{INBOUND}?metric=received", headers={"Authorization": f"bearer {good}"})
    assert lower.status_code == 200


def test_a_revoked_key_fails_at_the_next_request(service):
    client, installation = service
    key = installation.key()
    assert get(client, key, f"{INBOUND}?metric=received").status_code == 200
    installation.keys.revoke(key[:14])
    refusal(get(client, key, f"{INBOUND}?metric=received"), 401, "UNAUTHORIZED")


def test_the_scope_is_needed(service):
    client, installation = service
    key = installation.key("acme", "metrics:manage")
    error = refusal(get(client, key, f"{INBOUND}?metric=received"), 403, "FORBIDDEN")
    assert error["message"] == "missing required scope"


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", ["metric"]),
        ("metric=", ["metric"]),
        ("metric", ["metric"]),
        ("metric=sent", ["metric"]),
        ("metric=RECEIVED", ["metric"]),
        ("metric=received&metric=received", ["metric"]),
        ("metric=received&Metric=received", ["Metric"]),
        ("metric=received&=1", [""]),
        ("metric=received&group_by=error_code", ["group_by"]),
        ("metric=received&granularity=week", ["granularity"]),
        ("metric=received&compare_to=last_year", ["compare_to"]),
        ("metric=received&limit=0", ["limit"]),
        ("metric=received&limit=5001", ["limit"]),
        ("metric=received&limit=-1", ["limit"]),
        ("metric=received&limit=1.0", ["limit"]),
        ("metric=received&limit=%D9%A3", ["limit"]),
        ("metric=received&limit=" + "9" * 6000, ["limit"]),
        ("metric=received&cursor=", ["cursor"]),
        ("metric=received&from=2026-05-05", ["from"]),
        ("metric=received&from=2026-05-05T00:00:00", ["from"]),
        ("metric=received&from=2026-05-05T00:00:00+02:00&to=2026-05-06T00:00:00Z", ["from"]),
        ("metric=received&to=0001-01-01T00:00:00%2B01:00", ["to"]),
        ("metric=received&to=9999-12-31T23:59:59-01:00", ["to"]),
        ("metric=received&to=10000-01-01T00:00:00Z", ["to"]),
        ("metric=received&from=2026-05-05T00:00:01Z&to=2026-05-05T00:00:00Z", ["from"]),
        ("metric=received&from=2026-05-05T00:00:00.2Z&to=2026-05-05T00:00:00.1Z", ["from"]),
        ("metric=received&from=9998-01-01T00:00:00Z", ["from"]),
        ("metric=a%00b&limit=%00&from=%00&x%00y=1", ["metric", "limit", "from", "x\0y"]),
        ("metric=%ff%fe&cursor=%00&granularity=%F0%9F%92%A9", ["metric", "granularity"]),
        (
            "group_by=x&limit=x&granularity=x&compare_to=x&from=x&to=x&more=x&cursor=",
            ["group_by", "limit", "granularity", "compare_to", "from", "to", "more", "cursor"],
        ),
    ],
)
def test_every_violation_of_a_query_is_told_at_once(service, query, parameters):
    client, installation = service
    found = violated(get(client, installation.key(), f"{INBOUND}?{query}"))
    assert sorted(found) == sorted(parameters)


def test_an_offset_is_taken_with_its_plus_encoded(service):
    client, installation = service
    query = "metric=received&from=2026-05-05T00:00:00%2B02:00&to=2026-05-05T01:00:00%2b0200"
    body = get(client, installation.key(), f"{INBOUND}?{query}").json()
    assert body["data"]["from"] == "2026-05-04T22:00:00Z"
    assert body["data"]["to"] == "2026-05-04T23:00:00Z"


@pytest.mark.parametrize(
    ("account", "granularity", "finest"),
    [
        ("saver", "hour", "day"),
        ("saver", "minute", "day"),
        ("acme-eu", "hour", "day"),
        ("grower", "minute", "hour"),
        ("unknown", "hour", "day"),
    ],
)
def test_the_plan_decides_the_finest_granularity(service, account, granularity, finest):
    client, installation = service
    url = f"{INBOUND}?metric=received&granularity={granularity}"
    response = get(client, installation.key(account), url)
    error = refusal(response, 422, "GRANULARITY_NOT_AVAILABLE")
    assert error["message"] == "granularity not available at this plan tier"
    assert error["details"] == {"max_granularity": finest}


@pytest.mark.parametrize("compare", ["", "&compare_to=prior_period"])
def test_ten_thousand_buckets_are_the_most(service, compare):
    client, installation = service
    key = installation.key()
    # 9,999 minutes after the first one.
    url = f"{INBOUND}?metric=received&granularity=minute&limit=5000{compare}"
    start = "&from=2026-05-01T00:00:59Z&to="
    assert get(client, key, f"{url}{start}2026-05-07T22:39:59Z").status_code == 200
    error = refusal(get(client, key, f"{url}{start}2026-05-07T22:40:00Z"), 422, "WINDOW_TOO_LARGE")
    assert error["details"] == {"bucket_count": 10_001, "max_buckets": 10_000}


def test_the_ends_of_the_calendar_are_answered(service):
    client, installation = service
    key = installation.key()
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    url = f"{INBOUND}?metric=received&granularity="
    for granularity in ("minute", "hour", "day"):
        for group in ("", "&group_by=channel"):
            at_first = get(client, key, f"{url}{granularity}&to={first}{group}").json()
            assert [b["bucket_start"] for b in at_first["data"]["buckets"]] == [first]
            at_last = get(client, key, f"{url}{granularity}&to={last}{group}").json()
            assert at_last["data"]["to"] == last
            both = f"{url}{granularity}&from={last}&to={last}&compare_to=prior_period{group}"
            assert get(client, key, both).status_code == 200
        everything = get(client, key, f"{url}{granularity}&from={first}&to={last}")
        refusal(everything, 422, "WINDOW_TOO_LARGE")
        too_early = f"{url}{granularity}&from={first}&to={first}&compare_to=prior_period"
        assert violated(get(client, key, too_early)) == ["compare_to"]


def test_of_several_faults_the_earliest_in_the_order_is_told(installation, client_of):
    installation = Installation(installation.settings.model_copy(update={"rate_limit": 2}))
    client = client_of(installation)
    refusal(client.get("/v1/metrics/nothing"), 404, "NOT_FOUND")
    refusal(client.post(INBOUND), 405, "METHOD_NOT_ALLOWED")
    refusal(client.get(f"{INBOUND}?nonsense"), 401, "UNAUTHORIZED")

    manage = installation.key("saver", "metrics:manage")
    refusal(get(client, manage, f"{INBOUND}?nonsense"), 403, "FORBIDDEN")
    refusal(get(client, manage, f"{INBOUND}?nonsense"), 403, "FORBIDDEN")
    limited = get(client, manage, f"{INBOUND}?nonsense")
    refusal(limited, 429, "RATE_LIMITED")
    assert limited.headers["Retry-After"] == "1"

    read = installation.key("saver")
    assert "nonsense" in violated(get(client, read, f"{INBOUND}?nonsense&cursor=x"))
    refusal(get(client, read, f"{INBOUND}?metric=received&cursor=x"), 503, "NOT_READY")

    installation.publish([], AS_OF)
    read = installation.key("saver")
    huge = "metric=received&granularity=minute&from=1000-01-01T00:00Z"
    assert violated(get(client, read, f"{INBOUND}?{huge}&cursor=x"), 422) == ["cursor"]
    refusal(get(client, read, f"{INBOUND}?{huge}"), 422, "GRANULARITY_NOT_AVAILABLE")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/metrics/inbound/", "/V1/metrics/inbound", "/v1/metrics/inbound%00"]
)
def test_unknown_routes_are_not_found(service, path):
    client, installation = service
    refusal(get(client, installation.key(), path), 404, "NOT_FOUND")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(service, method):
    client, _ = service
    for path in (INBOUND, MESSAGES, "/healthz"):
        response = client.request(method, path)
        refusal(response, 405, "METHOD_NOT_ALLOWED")
        assert response.headers["Allow"] == "GET"


def test_readiness_follows_publication(installation, client_of):
    client = client_of(installation)
    assert client.get("/healthz").json() == {"status": "ok"}
    refusal(client.get("/readyz"), 503, "NOT_READY")
    snapshot_id = installation.publish([], AS_OF)
    assert client.get("/readyz").json() == {"status": "ready", "snapshot": snapshot_id}
    assert ULID.fullmatch(client.get("/readyz").headers["X-Request-Id"])


def test_a_published_file_that_cannot_be_read_is_not_ready(installation, client_of):
    installation.settings.published_path.parent.mkdir(parents=True)
    installation.settings.published_path.write_bytes(b"no database")
    told = refusal(client_of(installation).get("/readyz"), 503, "NOT_READY")
    assert told["message"] == "what is published cannot be read; tell the operator"


def test_a_damaged_block_is_told_to_who_asks_for_it_and_to_the_operator_how_to_mend_it(
    installation, client_of, capsys
):
    installation.publish([Message("2026-05-05T01:00Z")], AS_OF)
    damage(installation.settings.published_path.resolve(), "hourly_by_channel")
    client, key = client_of(installation), installation.key()
    that_day = f"{INBOUND}?metric=received&from=2026-05-05T00:00Z&to=2026-05-06T00:00Z"
    told = refusal(get(client, key, that_day), 503, "NOT_READY")
    assert told["message"] == "what is published cannot be read; tell the operator"
    logged = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert any("run --republish" in line and "msgmetrics.duckdb" in line for line in logged)
    # others are answered as before
    assert client.get("/readyz").status_code == 200


def test_a_fault_of_ours_shows_no_trace(service, monkeypatch, capsys):
    client, installation = service

    def broken(*_):
        raise RuntimeError("secret text")

    monkeypatch.setattr("endpoint.fixed_buckets._check", broken)
    response = get(client, installation.key(), f"{INBOUND}?metric=received")
    error = refusal(response, 500, "INTERNAL_ERROR")
    assert error["message"] == "internal error"
    printed = "".join(capsys.readouterr())
    assert "RuntimeError" in printed
    assert "secret text" not in printed


class TestCursors:
    """A cursor works as it was given, for the key it was given to, and in no other way."""

    WINDOW = "from=2026-05-05T00:00:00Z&to=2026-05-05T04:00:00Z"

    @pytest.fixture
    def paged(self, service):
        client, installation = service
        key = installation.key()
        url = f"{INBOUND}?metric=received&limit=2&{self.WINDOW}"
        cursor = get(client, key, url).json()["meta"]["next_cursor"]
        return client, installation, key, cursor

    def test_every_change_of_a_letter_is_refused(self, paged):
        client, _, key, cursor = paged
        assert get(client, key, f"{INBOUND}?cursor={cursor}").status_code == 200
        alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        for position, letter in enumerate(cursor):
            # The neighbour in the alphabet differs in its lowest bit, which the end may not use.
            other = alphabet[alphabet.index(letter) ^ 1] if letter in alphabet else "A"
            changed = cursor[:position] + other + cursor[position + 1 :]
            response = get(client, key, f"{INBOUND}?cursor={changed}")
            assert violated(response, 422) == ["cursor"]

    @pytest.mark.parametrize(
        "cursor", ["x", "a.b", ".", "a.b.c", "%00", "%F0%9F%92%A9", "9" * 9999]
    )
    def test_what_is_no_cursor_is_refused(self, paged, cursor):
        client, _, key, _ = paged
        assert violated(get(client, key, f"{INBOUND}?cursor={cursor}"), 422) == ["cursor"]

    def test_a_cursor_is_good_for_its_key_and_route_alone(self, paged):
        client, installation, key, cursor = paged
        other_key = installation.key()
        assert violated(get(client, other_key, f"{INBOUND}?cursor={cursor}"), 422) == ["cursor"]
        assert violated(get(client, key, f"{MESSAGES}?cursor={cursor}"), 422) == ["cursor"]

    def test_what_agrees_may_stand_beside_it(self, paged):
        client, _, key, cursor = paged
        beside = (
            "metric=received&limit=2&granularity=hour"
            "&from=2026-05-05T02:00:00%2B02:00&to=2026-05-05T04:00Z"
        )
        assert get(client, key, f"{INBOUND}?cursor={cursor}&{beside}").status_code == 200

    def test_what_disagrees_is_told(self, paged):
        client, _, key, cursor = paged
        beside = {
            "metric": "cost_cents",
            "limit": "3",
            "granularity": "day",
            "from": "2026-05-05T00:00:01Z",
            "to": "2026-05-05T03:00:00Z",
            "group_by": "channel",
            "compare_to": "prior_period",
        }
        for name, value in beside.items():
            response = get(client, key, f"{INBOUND}?cursor={cursor}&{name}={value}")
            assert violated(response, 422) == [name]
        together = "&".join(f"{name}={value}" for name, value in beside.items())
        response = get(client, key, f"{INBOUND}?cursor={cursor}&{together}")
        assert sorted(violated(response, 422)) == sorted(beside)

    def test_a_cursor_whose_snapshot_is_gone_is_refused(self, paged):
        client, installation, key, cursor = paged
        old = installation.settings.published_path.resolve()
        installation.publish([], AS_OF)
        assert get(client, key, f"{INBOUND}?cursor={cursor}").status_code == 200
        old.unlink()
        assert violated(get(client, key, f"{INBOUND}?cursor={cursor}"), 422) == ["cursor"]

    def test_the_secret_and_its_folder_are_their_owners_alone(self, paged):
        _, installation, _, _ = paged
        folder = installation.settings.endpoint_dir
        assert (folder / "secret").stat().st_mode & 0o777 == 0o600
        # Hashes of keys, questions and addresses of callbacks are in it as well.
        assert folder.stat().st_mode & 0o777 == 0o700


_text = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="0123456789-:TZ+., ", max_size=30),
    st.integers(-(10**30), 10**30).map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        ["received", "minute", "hour", "day", "channel", "prior_period", "", "\0", "é", "٣"]
    ),
)
_names = st.sampled_from(
    ["metric", "from", "to", "granularity", "group_by", "limit", "cursor", "compare_to", "other"]
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    from fastapi.testclient import TestClient

    from endpoint.app import create_app

    home = tmp_path_factory.mktemp("home")
    installation = Installation(Settings(home=home, rate_limit=100_000))
    installation.publish([], AS_OF)
    with TestClient(create_app(installation.settings)) as client:
        yield client, installation.key()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parameters=st.lists(st.tuples(_names, _text), max_size=6),
    metric=st.booleans(),
    path=st.sampled_from([INBOUND, MESSAGES]),
)
def test_no_text_in_any_parameter_is_a_fault_of_ours(fuzzed, parameters, metric, path):
    client, key = fuzzed
    if metric:
        parameters = [("metric", "cost_cents"), *parameters]
    headers = {"Authorization": f"Bearer {key}"}
    response = client.get(path, params=parameters, headers=headers)
    assert response.status_code in (200, 400, 422), response.text
    assert response.headers["X-Request-Id"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.binary(max_size=80))
def test_no_bytes_in_the_query_are_a_fault_of_ours(fuzzed, raw):
    from endpoint.errors import ApiError
    from endpoint.fixed_buckets import ROUTES, read_parameters

    for route in ROUTES:
        try:
            read_parameters(route, raw)
            read_parameters(route, b"metric=cost_cents&from=" + raw)
        except ApiError as error:
            assert error.status == 400
