"""A question that takes too long is ended, and who asked is told; all are when a process ends."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import duckdb
import pytest
from published_by_hand import Installation, Message
from receiver import wait_until
from served import ASK, QUERY, QUESTION, app, bearer

from endpoint import asking
from endpoint.planning.answer import run
from endpoint.time_limits import ServiceStopsError, TimeLimits, TookTooLongError
from msgmetrics.settings import Settings

ENDLESS = "select max(a.range * b.range) from range(100000000) a, range(100000) b"


@pytest.fixture
def limits():
    limits = TimeLimits(60)
    limits.watch()
    yield limits
    limits.close()


@contextmanager
def asked_for_ever(limits, may_ask):
    """A question that has begun, and asks DuckDB once it may."""
    begun = threading.Event()

    def ask():
        with limits.limited(connection := duckdb.connect()):
            begun.set()
            may_ask.wait()
            connection.execute(ENDLESS)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        begun.wait()
        yield asked


def test_what_takes_too_long_is_interrupted_and_the_connection_can_be_used_again(limits):
    connection = duckdb.connect()
    with (
        pytest.raises(TookTooLongError, match="longer than 0.05 seconds"),
        limits.limited(connection, 0.05),
    ):
        connection.execute(ENDLESS)
    with limits.limited(connection):
        assert connection.execute("select 1").fetchall() == [(1,)]


def test_a_question_is_interrupted_while_its_rows_are_read_too(limits):
    sql = "select md5(range::text) from range(1000000000000)"
    plan = SimpleNamespace(sql=sql, parameters={}, most_rows=None)
    connection = duckdb.connect()
    with pytest.raises(TookTooLongError), limits.limited(connection, 0.2):
        run(connection, plan)


def test_when_the_service_stops_all_that_runs_is_interrupted_and_nothing_begins(limits):
    (at_once := threading.Event()).set()
    with asked_for_ever(limits, at_once) as asked:
        limits.stop()
        with pytest.raises(ServiceStopsError):
            asked.result()
    with pytest.raises(ServiceStopsError), limits.limited(duckdb.connect()):
        pytest.fail("it began")


def test_a_statement_that_begins_after_the_service_has_stopped_is_interrupted_too():
    limits, stopped = TimeLimits(60), threading.Event()
    limits.watch()
    with asked_for_ever(limits, stopped) as asked:
        limits.stop()
        limits.close()
        stopped.set()
        with pytest.raises(ServiceStopsError):
            asked.result()


@pytest.fixture
def endless(monkeypatch):
    """Questions take for ever while `on` is set; `begun` once one has begun."""
    endless = SimpleNamespace(on=threading.Event(), begun=threading.Event())

    def run(connection, plan, run=asking.run):
        if endless.on.is_set():
            endless.begun.set()
            connection.execute(ENDLESS)
        return run(connection, plan)

    monkeypatch.setattr(asking, "run", run)
    endless.on.set()
    return endless


def test_a_question_that_takes_too_long_is_told_so_over_http_and_the_next_is_answered(
    tmp_path, client_of, endless
):
    settings = Settings(home=tmp_path, question_seconds=0.1, callback_allow="127.0.0.1")
    installation = Installation(settings.model_copy(update={"asynchronous_seconds": 0.1}))
    installation.publish([Message("2026-05-05T01:00Z")], "2026-05-05T12:00Z")
    client, key = client_of(installation), installation.key("acme", "metrics:read")
    response = client.post(QUERY, json=QUESTION, headers=bearer(key))
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "TIMEOUT"
    assert "longer than 0.1 seconds" in error["message"]

    manager = installation.key("acme", "metrics:manage")
    body = {"callbackUrl": "http://127.0.0.1:1/", "request": QUESTION}
    accepted = client.post(ASK, json=body, headers=app(manager)).json()["requestId"]

    def told():
        return client.get(f"/metrics/1/requests/{accepted}", headers=app(manager)).json()

    wait_until(lambda: told()["status"] != "IN_PROGRESS")
    assert told()["status"] == "FAILED"
    assert "longer than 0.1 seconds" in told()["failureMessage"]

    endless.on.clear()
    assert client.post(QUERY, json=QUESTION, headers=bearer(key)).status_code == 200


def test_a_request_that_is_interrupted_by_the_end_of_its_process_is_answered_by_the_next(
    tmp_path, client_of, endless
):
    installation = Installation(Settings(home=tmp_path, callback_allow="127.0.0.1"))
    installation.publish([Message("2026-05-05T01:00Z")], "2026-05-05T12:00Z")
    manager = installation.key("acme", "metrics:manage")
    body = {"callbackUrl": "http://127.0.0.1:1/", "request": QUESTION}
    with client_of(installation) as client:
        accepted = client.post(ASK, json=body, headers=app(manager)).json()["requestId"]
        path = f"/metrics/1/requests/{accepted}"
        assert endless.begun.wait(60)
    endless.on.clear()
    client = client_of(installation)
    wait_until(lambda: client.get(path, headers=app(manager)).json()["status"] == "SUCCESS")
