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
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
from geventhttpclient import HTTPClient
from locust import User, constant, events, task
from locust.env import Environment

ASKED = json.loads(Path(os.environ["LOAD_QUESTIONS"]).read_text("utf-8"))
for asked in ASKED:
    asked["headers"] = {
        "Authorization": f"Bearer {asked['key']}",
        "Content-Type": "application/json",
    }
    asked["data"] = json.dumps(asked["body"]).encode()
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


class Dashboard(User):
    """A client that asks questions of any account, each with that account's key.

    It has a connection of its own and no more around it than HTTP needs: what the generator uses of
    the processors is lost to the server, and would count as its time.
    """

    wait_time = constant(0)

    def on_start(self) -> None:
        self.chance = random.Random(next(_users))
        # As long as locust's own clients wait.
        self.http = HTTPClient.from_url(
            self.host, concurrency=1, connection_timeout=60, network_timeout=60
        )

    def on_stop(self) -> None:
        self.http.close()

    @task
    def ask(self) -> None:
        asked = self.chance.choice(ASKED)
        data = self.varied(asked["body"]) if MOST_REQUESTS else asked["data"]
        size, failure = 0, None
        started = time.perf_counter()
        try:
            response = self.http.post("/v1/metrics/query", data, asked["headers"])
            size = len(response.read())
            if response.status_code != 200:
                failure = RuntimeError(f"status {response.status_code}")
        except Exception as error:
            failure = error
        self.environment.events.request.fire(
            request_type="POST",
            name="query",
            response_time=(time.perf_counter() - started) * 1000,
            response_length=size,
            exception=failure,
            context={},
        )

    def varied(self, body: dict[str, Any]) -> bytes:
        """The question with another start, as no two dashboards are opened at one moment."""
        filters = body["filterBy"]
        since = datetime.fromisoformat(filters["sentSince"])
        since += timedelta(hours=self.chance.randrange(-1000, 24))
        varied = body | {"filterBy": filters | {"sentSince": since.isoformat()}}
        return json.dumps(varied).encode()
