"""Users of the load test, for locust: each asks one question after the other, without a pause.

What they ask is in the file that LOAD_QUESTIONS names; they stop after LOAD_REQUESTS requests if
that is not 0, and then each question has a period of its own. How long every request took is
written to LOAD_TIMES: locust itself tells whole milliseconds only. `load.py` starts locust with all
three.
"""

import itertools
import json
import os
import random
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.socket
from httptools import HttpParserError, HttpResponseParser
from locust import User, constant, events, task
from locust.env import Environment

ASKED = json.loads(Path(os.environ["LOAD_QUESTIONS"]).read_text("utf-8"))
MOST_REQUESTS = int(os.environ["LOAD_REQUESTS"])
TIMES = Path(os.environ["LOAD_TIMES"])

_users = itertools.count(1)
_milliseconds: list[float] = []
_failures: list[str] = []
_ends: list[float] = []
# Of this process, when its first request ended; to begin takes locust a second.
_used: list[float] = []


@events.init.add_listener
def count_requests(environment: Environment, **_: object) -> None:
    def count(response_time: float, exception: BaseException | None, **_: object) -> None:
        _milliseconds.append(response_time)
        _ends.append(time.perf_counter())
        if not _used:
            _used.append(time.process_time())
        if exception is not None:
            _failures.append(type(exception).__name__)
        if len(_milliseconds) == MOST_REQUESTS and environment.runner is not None:
            # Not from here: the user that is counting is one of those that are to end.
            gevent.spawn(environment.runner.quit)

    environment.events.request.add_listener(count)


@events.quitting.add_listener
def write_times(**_: object) -> None:
    seconds = _ends[-1] - _ends[0] + _milliseconds[0] / 1000 if _ends else 0
    told = {
        "milliseconds": _milliseconds,
        "failures": len(_failures),
        "seconds": seconds,
        "cpu_seconds": time.process_time() - _used[0] if _used else 0,
    }
    TIMES.write_text(json.dumps(told), "utf-8")


class Connection:
    """A connection to the server that is kept as long as the server keeps it.

    There is no more around it than it takes to send bytes and to find the end of an answer: what a
    generator does besides is lost to the server on the same machine, and would count as its time.
    """

    def __init__(self, host: str) -> None:
        url = urlsplit(host)
        self._address = (url.hostname, url.port)
        self._socket: gevent.socket.socket | None = None

    def exchange(self, request: bytes) -> tuple[int, int]:
        """Status and length of the body of the answer to a request.

        Raises OSError and HttpParserError; the next request has a connection of its own then.
        """
        try:
            return self._exchange(request)
        except BaseException:
            self.close()
            raise

    def _exchange(self, request: bytes) -> tuple[int, int]:
        if self._socket is None:
            self._socket = gevent.socket.create_connection(self._address, timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = _Answer()
        self._socket.sendall(request)
        while not answer.is_whole:
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("the server hung up without an answer")
            answer.parser.feed_data(received)
        if not answer.is_kept_alive:
            self.close()
        return answer.parser.get_status_code(), answer.length

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Answer:
    """What the parser tells of an answer."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.length = 0
        self.is_kept_alive = False
        self.is_whole = False

    def on_headers_complete(self) -> None:
        # At the end of the message the parser knows it no more.
        self.is_kept_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.length += len(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


def request_of(key: str, body: dict[str, Any]) -> bytes:
    """A question as it goes over the wire."""
    text = json.dumps(body).encode()
    head = (
        "POST /v1/metrics/query HTTP/1.1\r\nHost: msgmetrics\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


for asked in ASKED:
    asked["request"] = request_of(asked["key"], asked["body"])


class Dashboard(User):
    """A client that asks questions of any account, each with that account's key."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.chance = random.Random(next(_users))
        self.connection = Connection(self.host)

    def on_stop(self) -> None:
        self.connection.close()

    @task
    def ask(self) -> None:
        asked = self.chance.choice(ASKED)
        request = asked["request"]
        if MOST_REQUESTS:
            request = request_of(asked["key"], self.varied(asked["body"]))
        length, failure = 0, None
        started = time.perf_counter()
        try:
            status, length = self.connection.exchange(request)
            if status != 200:
                failure = RuntimeError(f"status {status}")
        except (OSError, HttpParserError) as error:
            failure = error
        self.environment.events.request.fire(
            request_type="POST",
            name="query",
            response_time=(time.perf_counter() - started) * 1000,
            response_length=length,
            exception=failure,
            context={},
        )

    def varied(self, body: dict[str, Any]) -> dict[str, Any]:
        """The question with another start, as no two dashboards are opened at one moment."""
        filters = body["filterBy"]
        since = datetime.fromisoformat(filters["sentSince"])
        since += timedelta(hours=self.chance.randrange(-1000, 24))
        return body | {"filterBy": filters | {"sentSince": since.isoformat()}}
