"""Users of the load test, for locust: each asks one question after the other, without a pause.

What they ask is in the file that LOAD_QUESTIONS names; they stop after LOAD_REQUESTS requests if
that is not 0. `load.py` starts locust with both.
"""

import itertools
import json
import os
import random
from pathlib import Path

import gevent
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

ASKED = json.loads(Path(os.environ["LOAD_QUESTIONS"]).read_text("utf-8"))
MOST_REQUESTS = int(os.environ["LOAD_REQUESTS"])

_users = itertools.count(1)
_requests = itertools.count(1)


@events.init.add_listener
def stop_after_enough(environment: Environment, **_: object) -> None:
    def count(**_: object) -> None:
        if next(_requests) == MOST_REQUESTS and environment.runner is not None:
            # Not from here: the user that is counting is one of those that are to end.
            gevent.spawn(environment.runner.quit)

    environment.events.request.add_listener(count)


class Dashboard(FastHttpUser):
    """A client that asks questions of any account, each with that account's key."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.chance = random.Random(next(_users))

    @task
    def ask(self) -> None:
        asked = self.chance.choice(ASKED)
        self.client.post(
            "/v1/metrics/query",
            json=asked["body"],
            headers={"Authorization": f"Bearer {asked['key']}"},
            name="query",
        )
