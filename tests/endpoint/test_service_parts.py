"""Parts of the service that a request alone does not show."""

import asyncio
import json
import multiprocessing
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from published_by_hand import Installation
from receiver import wait_until
from served import publish_world
from sqlglot import exp
from uvicorn.server import ServerState

from endpoint import server
from endpoint.asking import ask
from endpoint.cursors import Cursors
from endpoint.planning.answer import Answer
from endpoint.planning.planner import Column
from endpoint.planning.question import QUERY_ROUTE, read_question
from endpoint.rate_limit import RateLimiter, WouldWaitError
from endpoint.rendering import decimal_text, to_json
from endpoint.rows import json_rows, moment_text
from endpoint.snapshots import NothingPublishedError, SnapshotGoneError, Snapshots
from endpoint.thread_share import ThreadShare
from msgmetrics.errors import UserError
from msgmetrics.published_tables import CHANGES
from msgmetrics.settings import Settings


def test_the_endpoint_never_imports_the_orchestration():
    code = (
        "import sys, endpoint.app, endpoint.server\n"
        "print({'dagster', 'orchestration'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert output.strip() == b"set()"


def test_an_address_that_cannot_be_used_is_one_sentence_for_the_user():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        for host, port in (("127.0.0.1", used), ("127.0.0.1", 99_999), ("no such host", 0)):
            with pytest.raises(UserError, match="choose another"):
                server.serve(host, port)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nHalf: "])
def test_who_never_ends_the_head_of_a_request_is_hung_up_on(monkeypatch, sent):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)

    async def answer():
        config = uvicorn.Config(lambda: None, factory=True, log_config=None)
        config.load()
        state = ServerState()
        listening = await asyncio.get_running_loop().create_server(
            lambda: server.Connection(config, state, {}), "127.0.0.1"
        )
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(sent)
        async with asyncio.timeout(60):
            told = await reader.read()
        writer.close()
        listening.close()
        return told

    assert asyncio.run(answer()) == b""


class Asked:
    """A worker as its supervisor sees it, which never answers."""

    def __init__(self, *, is_alive):
        self.parent_conn, self.child_conn = multiprocessing.Pipe()
        self.process = SimpleNamespace(is_alive=lambda: is_alive)


def test_a_worker_that_is_killed_while_it_is_asked_keeps_nobody_waiting():
    supervisor = object.__new__(server.Supervisor)
    supervisor.signal_queue = []
    assert not supervisor.is_answered_by(Asked(is_alive=False), timeout=3600)
    assert not supervisor.is_answered_by(Asked(is_alive=True), timeout=0.2)
    supervisor.signal_queue.append(signal.SIGTERM)
    assert supervisor.is_answered_by(Asked(is_alive=True), timeout=3600), "a signal is heeded first"
    supervisor.signal_queue.clear()
    answering = Asked(is_alive=True)
    answering.child_conn.send(True)
    assert supervisor.is_answered_by(answering, timeout=3600)


def test_openapi_documents_every_parameter_and_the_key(installation, client_of):
    client = client_of(installation)
    document = client.get("/openapi.json").json()
    for path, metrics in (
        ("/v1/metrics/inbound", ["received", "cost_cents"]),
        ("/v1/metrics/messages", ["sent", "delivered", "failed", "cost_cents"]),
    ):
        operation = document["paths"][path]["get"]
        parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
        assert list(parameters) == [
            "metric",
            "from",
            "to",
            "granularity",
            "group_by",
            "limit",
            "cursor",
            "compare_to",
        ]
        assert parameters["metric"]["schema"]["enum"] == metrics
        assert parameters["limit"]["schema"]["maximum"] == 5000
        assert operation["security"]
        assert {"200", "400", "401", "403", "422", "429", "503"} <= set(operation["responses"])
    assert client.get("/docs").status_code == 200


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_decimals_are_written_digit_for_digit(value):
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert "." not in text or text[-1] not in "0."
    assert json.loads(to_json({"value": value}), parse_float=Decimal, parse_int=Decimal) == {
        "value": value
    }


@given(
    st.lists(st.none() | st.datetimes(timezones=st.just(UTC))),
    st.sampled_from([None, ZoneInfo("Europe/Zagreb"), ZoneInfo("Asia/Kolkata")]),
)
def test_moments_of_a_column_are_written_as_each_alone_is(moments, zone):
    # At the ends of the calendar a local clock would show no year.
    moments = [m if m is None or 1 < m.year < 9999 else None for m in moments]
    table = pa.table({"HOUR": pa.array(moments, pa.timestamp("us", "UTC"))})
    answer = Answer((Column("HOUR", "DATE_TIME"),), table)
    written = json.loads(b"".join(json_rows(answer, missing="N/A", zone=zone)))
    assert written == [["N/A" if m is None else moment_text(m, zone)] for m in moments]


def test_a_large_decimal_keeps_its_digits():
    value = Decimal("12345678901234567890123456.123456")
    assert to_json(value) == b"12345678901234567890123456.123456"
    assert to_json(Decimal("1E+3")) == b"1000"
    assert to_json(Decimal("-0.000000")) == b"0"


def test_the_limiter_lets_exactly_the_limit_through(tmp_path, monkeypatch):
    now = 1_000_000_000_000_000_000
    monkeypatch.setattr("endpoint.rate_limit.time.time_ns", lambda: now)
    limiter = RateLimiter(tmp_path / "rate_limit.sqlite", 3)
    assert [limiter.admit("a") for _ in range(4)] == [None, None, None, 1]
    assert limiter.admit("b") is None
    now += 999_999_999
    assert limiter.admit("a") == 1
    now += 1
    assert [limiter.admit("a") for _ in range(4)] == [None, None, None, 1]
    # A clock that is set back a little lets nobody in twice, by more it must not lock a key out.
    now -= 100_000_000
    assert limiter.admit("a") == 2
    now -= 3600 * 1_000_000_000
    assert limiter.admit("a") is None


def test_a_limiter_that_cannot_count_lets_pass(tmp_path):
    (tmp_path / "rate_limit.sqlite").mkdir()
    assert RateLimiter(tmp_path / "rate_limit.sqlite", 1).admit("a") is None


def test_a_file_of_the_limiter_that_is_removed_is_made_anew_for_all(tmp_path):
    path = tmp_path / "rate_limit.sqlite"
    workers = [RateLimiter(path, 2) for _ in range(2)]
    assert [worker.admit("a") for worker in workers] == [None, None]
    path.unlink()
    assert [worker.admit("a") for worker in workers * 2] == [None, None, 1, 1]


def test_a_file_of_the_limiter_that_is_no_database_is_replaced(tmp_path):
    path = tmp_path / "rate_limit.sqlite"
    path.write_bytes(b"no database" * 1000)
    workers = [RateLimiter(path, 2) for _ in range(2)]
    assert workers[0].admit("a") is None, "what cannot be counted passes"
    assert [worker.admit("a") for worker in workers * 2] == [None, None, 1, 1]


def test_who_waits_for_the_limiter_waits_no_longer_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr("endpoint.rate_limit._MOST_WAIT_SECONDS", 0.2)
    path = tmp_path / "rate_limit.sqlite"
    limiter = RateLimiter(path, 1)
    assert limiter.admit("a") is None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(limiter.admit, ["a"] * 16)) == [None] * 16
        other.execute("commit")


def test_a_question_has_all_cores_when_it_is_alone_and_a_share_while_questions_meet(monkeypatch):
    now = 100.0
    # The clock of this module alone: others wait by it.
    monkeypatch.setattr("endpoint.thread_share.time", SimpleNamespace(monotonic=lambda: now))
    with duckdb.connect(config={"threads": 4}) as connection:
        share = ThreadShare(connection, workers=2)

        def threads() -> int:
            return connection.execute("select current_setting('threads')").fetchone()[0]

        with share.used():
            assert threads() == 4
            with share.used():
                wait_until(lambda: threads() == 2)
        with share.used():
            assert threads() == 2
        now += 1
        with share.used():
            wait_until(lambda: threads() == 4)


class BusyConnection:
    """Of which a change of the number of threads ends only when it may."""

    def __init__(self, connection, asked=None, go_on=None):
        self._connection = connection
        self.asked, self.go_on = asked or threading.Event(), go_on or threading.Event()

    def cursor(self):
        return BusyConnection(self._connection.cursor(), self.asked, self.go_on)

    def execute(self, sql):
        if sql.startswith("set threads"):
            self.asked.set()
            assert self.go_on.wait(60)
        return self._connection.execute(sql)

    def close(self):
        self._connection.close()


def test_no_question_waits_until_threads_have_gone():
    """DuckDB lets go of a thread once that has ended what it has in hand."""
    with duckdb.connect(config={"threads": 4}) as connection:
        busy = BusyConnection(connection)
        share = ThreadShare(busy, workers=2)
        with share.used(), share.used():
            assert busy.asked.wait(60)
            with share.used():
                pass
        busy.go_on.set()
        wait_until(lambda: connection.sql("select current_setting('threads')").fetchone() == (2,))


def test_threads_that_are_asked_for_during_a_change_come_after_it(monkeypatch):
    now = 100.0
    monkeypatch.setattr("endpoint.thread_share.time", SimpleNamespace(monotonic=lambda: now))
    with duckdb.connect(config={"threads": 4}) as connection:
        busy = BusyConnection(connection)
        share = ThreadShare(busy, workers=2)
        with share.used(), share.used():
            assert busy.asked.wait(60)
        now += 1
        with share.used():
            busy.go_on.set()
            wait_until(lambda: share._threads == 4 and not share._is_changing)
            assert connection.sql("select current_setting('threads')").fetchone() == (4,)


def test_an_earlier_snapshot_may_be_asked_for_by_many_at_once(tmp_path, world, installation):
    first = publish_world(world, installation)
    with duckdb.connect(installation.settings.published_path.resolve()) as file:
        file.execute(
            "create table earlier_snapshots as select '01ARZ3NDEKTSV4RRFFQ69G5FAV' as snapshot_id, "
            "* exclude (snapshot_id), 0 as batch_id from snapshots"
        )
        for table, changes in CHANGES.items():
            file.execute(
                f"create table {changes} as select 1 as batch_id, 1::tinyint as sign, * "
                f"from {table} limit 0"
            )
    snapshots = Snapshots(installation.settings)
    together = threading.Barrier(8)

    def ask_for(number):
        together.wait()
        with snapshots.earlier("01ARZ3NDEKTSV4RRFFQ69G5FAV") as snapshot:
            return snapshot.rows("select count(*) from messages", [])

    with ThreadPoolExecutor(8) as pool, snapshots.current() as current:
        assert current.snapshot_id == first
        told = list(pool.map(ask_for, range(8)))
        assert told == [current.rows("select count(*) from messages", [])] * 8
    snapshots.close()


def test_who_may_not_wait_for_others_that_count_is_told_and_is_counted_once_it_is_free(tmp_path):
    path = tmp_path / "rate_limit.sqlite"
    limiter = RateLimiter(path, 2)
    assert limiter.admit("a") is None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(WouldWaitError):
            limiter.admit("a", may_wait=False)
        other.execute("commit")
    assert [limiter.admit("a", may_wait=False) for _ in range(2)] == [None, 1]


def test_moments_past_counting_do_not_pile_up(tmp_path):
    path = tmp_path / "rate_limit.sqlite"
    limiter = RateLimiter(path, 5)
    limiter.admit("a")
    with closing(sqlite3.connect(path)) as database:
        for _ in range(200):
            database.execute("update requests set at_ns = 0")
            database.commit()
            assert limiter.admit("a") is None
        (kept,) = database.execute("select count(*) from requests").fetchone()
    assert kept < 50


def test_workers_that_start_together_share_one_secret(tmp_path):
    path = tmp_path / "endpoint" / "secret"
    with ThreadPoolExecutor(8) as pool:
        issuers = list(pool.map(lambda _: Cursors(path), range(16)))
    texts = {issuer.issue("route", "key", {"position": 1}) for issuer in issuers}
    assert len(texts) == 1
    assert issuers[0].read(texts.pop(), "route", "key") == {"position": 1}
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("name", ["", "..", "../../secret", "x" * 26, "\0", "0" * 25 + "\n"])
def test_no_name_but_an_id_becomes_a_path(installation, name):
    installation.publish([], "2026-05-05T00:00Z")
    with pytest.raises(SnapshotGoneError), Snapshots(installation.settings).earlier(name):
        pass


def test_an_earlier_snapshot_is_read_by_its_id(installation):
    snapshots = Snapshots(installation.settings, idle_seconds=0)
    with pytest.raises(NothingPublishedError), snapshots.current():
        pass
    old = installation.publish([], "2026-05-05T00:00Z")
    new = installation.publish([], "2026-05-06T00:00Z")
    with snapshots.earlier(old) as earlier, snapshots.current() as current:
        assert (earlier.snapshot_id, current.snapshot_id) == (old, new)
        # A file that is being read stays open whatever is published meanwhile.
        with snapshots.current():
            pass
        assert earlier.rows("select 1", []) == [(1,)]
    with snapshots.current(), snapshots.earlier(new) as same:
        assert same is current
    snapshots.close()


def test_a_file_replaced_under_its_own_name_is_opened_anew(installation):
    snapshots = Snapshots(installation.settings)
    first = installation.publish([], "2026-05-05T00:00Z")
    published = installation.settings.published_path
    published.resolve().rename(published)
    with snapshots.current() as snapshot:
        assert snapshot.snapshot_id == first
    second = installation.publish([], "2026-05-06T00:00Z")
    published.resolve().rename(published)
    with snapshots.current() as snapshot:
        assert snapshot.snapshot_id == second
    snapshots.close()


def test_workers_have_together_the_memory_that_one_would_have(installation):
    installation.publish([], "2026-05-05T12:00Z")

    def limit(workers):
        settings = installation.settings.model_copy(update={"workers": workers})
        with Snapshots(settings).current() as snapshot:
            ((text,),) = snapshot.rows("select current_setting('memory_limit')", [])
        size, unit = text.split()
        return float(size) * {"MiB": 1, "GiB": 1024, "TiB": 1024**2}[unit]

    assert limit(4) == pytest.approx(limit(1) / 4, rel=0.1)


def test_families_end_even_where_parents_go_in_circles(installation):
    installation.accounts = [("a", "b", "free"), ("b", "a", "free"), ("c", "b", "free")]
    installation.publish([], "2026-05-05T00:00Z")
    with Snapshots(installation.settings).current() as snapshot:
        assert snapshot.family("a") == ["a", "b", "c"]
        assert snapshot.family("c") == ["c"]
        assert snapshot.family("nobody") == ["nobody"]


@pytest.mark.parametrize(
    ("shown", "address", "status"),
    [
        ("loopback", "127.0.0.1", 200),
        ("loopback", "::1", 200),
        ("loopback", "192.0.2.1", 404),
        ("loopback", "0.0.0.0", 404),
        ("loopback", "testserver", 404),
        ("on", "192.0.2.1", 200),
        ("off", "127.0.0.1", 404),
    ],
)
def test_metrics_of_the_service_are_hidden_from_public_addresses(
    tmp_path, client_of, shown, address, status
):
    settings = Settings(home=tmp_path, service_metrics=shown)
    client = client_of(Installation(settings))
    client.base_url = f"http://[{address}]" if ":" in address else f"http://{address}"
    response = client.get("/internal/metrics")
    assert response.status_code == status
    if status == 404:
        assert response.json()["error"]["code"] == "NOT_FOUND"


def test_the_service_is_not_ready_before_a_snapshot_is_open(installation, client_of):
    client = client_of(installation)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    snapshot = installation.publish([], "2026-05-05T12:00Z")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["snapshot"]) == (200, snapshot)


def test_plans_are_kept_by_the_shape_of_questions_as_text_without_their_values(installation, world):
    publish_world(world, installation)
    period = {"sentSince": "2024-03-01T00:00:00Z", "sentUntil": "2024-04-01T00:00:00Z"}

    def kept_after_asking(accounts, **filters):
        body = {"filterBy": period | filters, "metrics": ["TOTAL_TRAFFIC_COUNT"]}
        question = read_question(body, QUERY_ROUTE)
        ask(question, snapshot, accounts=accounts, period=(question.since, question.until))
        return len(snapshot._kept_plans)

    with Snapshots(installation.settings).current() as snapshot:
        assert kept_after_asking(["a"], senders=["x" * 5_000]) == 1
        assert kept_after_asking(["b"], senders=["Shop"]) == 1
        assert kept_after_asking(["b", "c"], senders=["Shop"]) == 2
        assert kept_after_asking(["d", "e", "f"], senders=["y"]) == 2
        assert kept_after_asking(["a"], countryIds=list(range(1_000))) == 3
        assert kept_after_asking(["a"], countryIds=[1, 2], sentUntil="2024-03-05T00:00:00Z") == 3
        # An hour more is a part of a day, which another table answers.
        assert kept_after_asking(["a"], countryIds=[1, 2], sentUntil="2024-03-05T01:00:00Z") == 4
        kept = list(snapshot._kept_plans.items())
        assert "Shop" not in repr(kept)
        assert not [one for _, one in kept if any(one.parameters.values())]
        assert not any(
            isinstance(part, exp.Expression) for _, one in kept for part in vars(one).values()
        )
