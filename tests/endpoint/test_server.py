"""The service as a process of its own: two workers under uvicorn, asked over HTTP."""

import json
import re
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import duckdb
import httpx
import psutil
import pytest
from published_by_hand import Message
from receiver import wait_until
from served import bearer, serving

LIMIT = 20
INBOUND = "/v1/metrics/inbound"
EXAMPLE = {
    "metric": "received",
    "from": "2026-05-05T00:00:00Z",
    "to": "2026-05-06T00:00:00Z",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("home"), workers=2, RATE_LIMIT=LIMIT) as server:
        yield server


def get(server, key, **parameters):
    return server.http.get(INBOUND, params=parameters, headers=bearer(key))


def test_the_example_of_the_source_over_http(server):
    key = server.installation.key()
    missing = get(server, key, **EXAMPLE)
    assert missing.status_code == 503
    assert missing.json()["error"]["code"] == "NOT_READY"

    received = {0: 14, 1: 9}
    server.installation.publish(
        [Message(f"2026-05-05T{hour:02d}:05Z") for hour, n in received.items() for _ in range(n)],
        "2026-05-05T23:59:43Z",
    )
    response = get(server, key, **EXAMPLE)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "private, max-age=30"
    body = response.json()
    assert body["success"] is True
    assert body["data"]["metric"] == "messages.inbound.received"
    assert body["data"]["buckets"][:3] == [
        {"bucket_start": "2026-05-05T00:00:00Z", "value": 14},
        {"bucket_start": "2026-05-05T01:00:00Z", "value": 9},
        {"bucket_start": "2026-05-05T02:00:00Z", "value": 0},
    ]
    assert body["data"]["buckets"][-1] == {"bucket_start": "2026-05-06T00:00:00Z", "value": None}
    assert len(body["data"]["buckets"]) == 25
    assert body["meta"]["as_of"] == "2026-05-05T23:59:43Z"
    assert body["meta"]["limit"] == 1000
    assert body["meta"]["next_cursor"] is None
    unchanged = server.http.get(
        INBOUND,
        params=EXAMPLE,
        headers=bearer(key) | {"If-None-Match": response.headers["ETag"]},
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == response.headers["ETag"]


def test_publication_is_followed_and_the_file_before_is_let_go(server):
    key = server.installation.key()
    before = server.installation.publish([Message("2026-05-05T00:05Z")] * 3, "2026-05-05T12:00Z")
    get(server, key, **EXAMPLE)
    after = server.installation.publish([Message("2026-05-05T00:05Z")] * 4, "2026-05-05T13:00Z")
    body = get(server, key, **EXAMPLE).json()
    assert body["meta"]["snapshot"] == after
    assert body["data"]["buckets"][0]["value"] == 4

    # Writing needs the file to itself, so it shows that no worker holds it any more.
    path = server.installation.settings.snapshots_dir / f"{before}.duckdb"
    deadline = time.monotonic() + 15
    while True:
        try:
            duckdb.connect(path).close()
            break
        except duckdb.IOException:
            assert time.monotonic() < deadline, "the file before is still held"
            time.sleep(0.2)


def test_the_rate_limit_holds_over_all_workers(server):
    server.installation.publish([], "2026-05-05T12:00Z")
    key, other = server.installation.key(), server.installation.key()

    def status(_):
        response = server.fresh.get(INBOUND, params=EXAMPLE, headers=bearer(key))
        if response.status_code == 429:
            assert response.json()["error"]["code"] == "RATE_LIMITED"
            assert int(response.headers["Retry-After"]) >= 1
        return response.status_code

    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        statuses = Counter(pool.map(status, range(3 * LIMIT)))
    seconds = time.monotonic() - started
    assert set(statuses) == {200, 429}
    assert LIMIT <= statuses[200] <= LIMIT * (1 + int(seconds))
    assert get(server, other, **EXAMPLE).status_code == 200
    time.sleep(1)
    assert get(server, key, **EXAMPLE).status_code == 200


def test_revocation_reaches_every_worker_at_once(server):
    key = server.installation.key()
    server.installation.keys.revoke(key[:14])
    for _ in range(6):
        assert server.fresh.get(INBOUND, headers=bearer(key)).status_code == 401


def test_who_asks_for_another_protocol_is_answered_like_others(server):
    wanted = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    response = server.fresh.get(INBOUND, headers=wanted)
    assert response.status_code == 401
    assert response.json()["error"]["request_id"] == response.headers["X-Request-Id"]


def test_log_lines_are_json_and_hold_no_key(server):
    key = server.installation.key()
    response = get(server, key, metric="received", cursor="+4917012345")
    server.http.get(f"/secret-path/{key}")
    assert response.status_code == 422
    lines = server.log_lines()
    (line,) = [line for line in lines if line.get("request_id") == response.headers["X-Request-Id"]]
    assert line["key"] == key[:14]
    assert line["route"] == INBOUND
    assert line["status"] == 422
    assert line["milliseconds"] > 0
    assert not re.search(r"am_live_\w{7}", server.log())
    assert "4917012345" not in server.log()
    assert "secret-path" not in server.log()
    assert '"status":500' not in server.log().replace(" ", "")


def test_metrics_of_the_service_are_those_of_all_workers(server):
    server.installation.publish([], "2026-05-05T12:00Z")

    def counted():
        text = server.http.get("/internal/metrics").text
        found = re.search(
            r'msgmetrics_http_requests_total\{method="GET",route="/healthz",status="200"\} (\S+)',
            text,
        )
        return float(found[1]) if found else 0

    before = counted()
    for _ in range(10):
        assert server.fresh.get("/healthz").status_code == 200
    assert counted() == before + 10
    text = server.http.get("/internal/metrics").text
    assert "msgmetrics_http_request_seconds_bucket" in text
    assert "am_live_" not in text
    assert "acme" not in text
    assert server.http.get("/openapi.json").json()["paths"].get("/internal/metrics") is None


def test_a_publication_is_seen_at_the_next_request_and_drops_none(server):
    key = server.installation.key()
    server.installation.publish([], "2026-05-05T12:00Z")
    statuses, stop = Counter(), Event()

    def ask_all_the_time():
        while not stop.is_set():
            statuses[server.fresh.get("/v1/metrics/catalog", headers=bearer(key)).status_code] += 1
            statuses[server.fresh.get("/readyz").status_code] += 1
            time.sleep(0.06)

    def seen():
        return server.fresh.get("/readyz").json()["snapshot"]

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_all_the_time)
        for number in range(4):
            asked = statuses.total()
            published = server.installation.publish(
                [Message("2026-05-05T00:05Z")] * number, "2026-05-05T13:00Z"
            )
            # At once and from every worker, and not by chance.
            assert [seen() for _ in range(4)] == [published] * 4
            while statuses.total() < asked + 4 and not asking.done():
                time.sleep(0.01)
        stop.set()
        asking.result()
    assert set(statuses) == {200}
    assert statuses[200] > 10


@pytest.mark.parametrize("sent", [b"NO HTTP AT ALL\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"])
def test_what_is_no_http_is_told_like_other_errors(server, sent):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(sent)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = json.loads(body)["error"]
    assert error["code"] == "INVALID_INPUT"
    assert f"X-Request-Id: {error['request_id']}".encode() in head


# One account's questions never end, and a fifth of the patience is enough for a test.
ENDLESS = """
from endpoint import asking, server
server._QUESTIONS_SECONDS = 1
def run(connection, plan, run=asking.run):
    if "endless" in plan.parameters.values():
        print('{"event": "begun"}', flush=True)
        connection.execute("select max(a.range * b.range) from range(100000000) a, range(100000) b")
    return run(connection, plan)
asking.run = run
"""


def test_requests_under_way_are_ended_before_the_service_does_and_endless_questions_too(tmp_path):
    with serving(tmp_path, prelude=ENDLESS) as server:
        server.installation.publish([], "2026-05-05T12:00Z")
        key, endless = server.installation.key(), server.installation.key("endless")
        body = b'{"filterBy": {}, "metrics": []}'
        period = {"sentSince": "2026-05-05T00:00:00Z", "sentUntil": "2026-05-06T00:00:00Z"}
        question = {"filterBy": period, "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"]}
        with (
            ThreadPoolExecutor(1) as pool,
            socket.create_connection(("127.0.0.1", server.port)) as connection,
        ):
            head = (
                f"POST /v1/metrics/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:5])
            asked = pool.submit(
                server.fresh.post, "/v1/metrics/query", json=question, headers=bearer(endless)
            )
            wait_until(lambda: '"begun"' in server.log())
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[5:])
            answer = read_all(connection)
            stopped = asked.result()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"filterBy.sentSince" in answer
        assert (stopped.status_code, stopped.headers["Retry-After"]) == (503, "1")
        assert stopped.json()["error"]["code"] == "NOT_READY"
        server.process.wait(timeout=60)
        assert [line["event"] for line in server.log_lines()][-1].startswith("Finished")


def test_who_has_not_sent_its_body_when_the_service_ends_is_told_so(tmp_path):
    with serving(
        tmp_path, prelude="from endpoint import server\nserver.GRACE_SECONDS = 1"
    ) as server:
        server.installation.publish([], "2026-05-05T12:00Z")
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                "POST /v1/metrics/query HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"
                f"Authorization: Bearer {server.installation.key()}\r\n\r\n{{".encode()
            )
            # Answered after it, so what was sent before is being worked on.
            server.http.get("/healthz")
            server.process.send_signal(signal.SIGTERM)
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
        error = json.loads(body)["error"]
        assert head.startswith(b"HTTP/1.1 503 ")
        assert error["code"] == "NOT_READY"
        assert error["request_id"].encode() in head
        server.process.wait(timeout=60)
        assert "Exception" not in server.log()


def test_a_request_under_way_is_ended_before_its_worker_is(tmp_path):
    with serving(tmp_path, workers=2) as server:
        server.installation.publish([], "2026-05-05T12:00Z")
        body = b'{"filterBy": {}, "metrics": []}'
        head = (
            "POST /v1/metrics/query HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {server.installation.key()}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + body[:5])
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1.5)
            # Nobody would answer who comes now, so nobody is kept waiting.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port)).close()
            connection.sendall(body[5:])
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"filterBy.sentSince" in answer
        assert server.process.wait(timeout=60) == 0


def test_connections_that_share_a_worker_end_at_their_25th_request(server):
    clients = [httpx.Client(base_url=server.url) for _ in range(3)]
    # Of three connections two are with one of the two workers.
    ends = [
        client.get("/healthz").headers.get("Connection") for _ in range(25) for client in clients
    ]
    for client in clients:
        client.close()
    assert set(ends[: 24 * 3]) == {None}
    assert "close" in ends[24 * 3 :]


def test_a_shared_connection_does_not_end_while_its_client_still_sends(server):
    head = b"POST /v1/metrics/query HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    try:
        for client in clients:
            for _ in range(30):
                client.sendall(head)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 401 ")
                assert b"connection: close" not in answer.lower()
                client.sendall(b"x" * 8)
    finally:
        for client in clients:
            client.close()


def test_a_killed_worker_is_replaced_while_the_others_answer(tmp_path):
    with serving(tmp_path, workers=2) as server:
        wait_until(lambda: len(workers_of(server)) == 2)
        killed, other = workers_of(server)
        killed.kill()
        killed.wait()
        # What the kernel had given to the dead one is the only thing that may be lost.
        wait_until(lambda: server.fresh.get("/healthz").status_code == 200)
        wait_until(lambda: len(workers_of(server)) == 2)
        assert killed not in workers_of(server)
        assert other in workers_of(server)
        assert server.fresh.get("/healthz").status_code == 200


def test_workers_end_with_the_process_that_started_them(tmp_path):
    with serving(tmp_path, workers=2) as server:
        wait_until(lambda: len(workers_of(server)) == 2)
        workers = workers_of(server)
        server.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []
        # The port is free again, so the next service can begin.
        server.start()
        assert server.fresh.get("/healthz").status_code == 200


def workers_of(server):
    """The processes that answer; Python has another one there that only tidies up."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in found if "spawn_main" in " ".join(process.cmdline())]


def read_all(connection):
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer
