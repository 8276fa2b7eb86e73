"""An account whose questions are large waits for itself, and for nobody else."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from receiver import wait_until
from served import QUERY, bearer

from endpoint import bodies, turns
from endpoint.bodies import read_body
from endpoint.fixed_buckets import FixedBuckets
from endpoint.metrics_query import MetricsQuery
from endpoint.turns import Turns

OF_ONE_ACCOUNT = Turns().of_one_account
INBOUND = "/v1/metrics/inbound?metric=received"
BODY = {
    "filterBy": {"sentSince": "2026-05-05T00:00:00Z", "sentUntil": "2026-05-06T00:00:00Z"},
    "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
}


class Gauge:
    """Holds up the questions of one account, and knows how many are worked on."""

    def __init__(self, account):
        self.account = account
        self.at_work = self.most = 0
        self.go_on = threading.Event()
        self._lock = threading.Lock()

    def around(self, answer):
        def held_up(service, *arguments):
            key = arguments[-1]
            if key.account_key != self.account:
                return answer(service, *arguments)
            with self._lock:
                self.at_work += 1
                self.most = max(self.most, self.at_work)
            self.go_on.wait(60)
            with self._lock:
                self.at_work -= 1
            return answer(service, *arguments)

        return held_up


@pytest.fixture
def gauge(monkeypatch):
    gauge = Gauge("acme")
    for service in (MetricsQuery, FixedBuckets):
        monkeypatch.setattr(service, "answer", gauge.around(service.answer))
    yield gauge
    gauge.go_on.set()


@pytest.fixture
def client(installation, client_of):
    installation.publish([], "2026-05-05T12:00:00Z")
    return client_of(installation)


def test_an_account_with_many_questions_holds_up_nobody_else(client, installation, gauge):
    greedy, modest = installation.key("acme"), installation.key("rival")
    with ThreadPoolExecutor(100) as pool:
        asked = [
            pool.submit(client.post, QUERY, json=BODY, headers=bearer(greedy))
            if number % 2
            else pool.submit(client.get, INBOUND, headers=bearer(greedy))
            for number in range(100)
        ]
        wait_until(lambda: gauge.at_work == OF_ONE_ACCOUNT)
        # As many as there are threads wait by now; health needs none, others have theirs.
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.post(QUERY, json=BODY, headers=bearer(modest)).status_code == 200
        assert client.get(INBOUND, headers=bearer(modest)).status_code == 200
        gauge.go_on.set()
        assert {one.result().status_code for one in asked} == {200}
    assert gauge.most == OF_ONE_ACCOUNT


def test_too_many_that_wait_are_told_to_come_back_and_turns_are_given_back(
    client, installation, gauge, monkeypatch
):
    monkeypatch.setattr(turns, "MOST_WAITING", 3)
    key = installation.key("acme")
    most = OF_ONE_ACCOUNT + 3
    with ThreadPoolExecutor(most) as pool:
        asked = [
            pool.submit(client.post, QUERY, json=BODY, headers=bearer(key)) for _ in range(most)
        ]

        def refused():
            return client.post(QUERY, json=BODY, headers=bearer(key)).status_code == 429

        # Until all of them are in, those that come besides would wait in their place.
        wait_until(lambda: gauge.at_work == OF_ONE_ACCOUNT)
        line = client.app.state.turns
        wait_until(lambda: line.length("acme") == most)
        assert refused()
        gauge.go_on.set()
        assert {one.result().status_code for one in asked} == {200}
    # Whatever became of a request, its turn is there again.
    for _ in range(2 * OF_ONE_ACCOUNT):
        assert client.post(QUERY, content=b"{", headers=bearer(key)).status_code == 400
    assert line.length("acme") == 0


def test_turns_of_several_workers_are_together_those_of_one():
    several = 2
    shared = Turns(workers=several)
    assert several * shared.of_one_account == OF_ONE_ACCOUNT
    assert several * shared.at_once == Turns().at_once
    # However many they are, each can answer an account, and another one beside it.
    crowded = Turns(workers=1000)
    assert (crowded.of_one_account, crowded.at_once) == (1, 2)


def test_a_body_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)

    class Slow:
        async def stream(self):
            while True:
                yield b" "
                await asyncio.sleep(0.01)

    found = asyncio.run(read_body(Slow()))
    assert "within" in found.problem
