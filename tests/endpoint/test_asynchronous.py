"""Requests end exactly once, whatever is killed when; callbacks are tried as they should be."""

import fcntl
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace

import pytest
from huey import SqliteHuey
from hypothesis import given
from hypothesis import strategies as st
from published_by_hand import Installation, Message
from receiver import answers, hangs_up, receiving, wait_until
from served import ASK, QUESTION, app, serving

from endpoint import aggregate_queries
from endpoint.asking import MAX_ROWS
from endpoint.asynchronous import callbacks
from endpoint.asynchronous import ledger as ledger_module
from endpoint.asynchronous import worker as worker_module
from endpoint.asynchronous.ledger import Ledger
from endpoint.asynchronous.lines import Lines
from endpoint.asynchronous.results import Results
from endpoint.asynchronous.worker import Worker
from endpoint.planning.answer import TooManyRowsError
from endpoint.snapshots import Snapshots
from msgmetrics.settings import Settings

MESSAGES = [Message("2026-05-05T01:00Z")] * 3


# ------------------------------------------------------------- a server that is killed for good


@pytest.fixture
def server(tmp_path):
    settings = {"CALLBACK_ALLOW": "127.0.0.1", "CALLBACK_PAUSE": 0.5, "RATE_LIMIT": 10_000}
    with serving(tmp_path, **settings) as server:
        server.installation.publish(MESSAGES, "2026-05-05T12:00:00Z")
        yield server


def ask(server, key, receiver):
    body = {"callbackUrl": receiver.url, "request": QUESTION}
    return server.http.post(ASK, json=body, headers=app(key)).json()["requestId"]


def test_requests_survive_kill_9_and_end_exactly_once(server, receiver):
    key = server.installation.key("acme", "metrics:manage")
    accepted, kills = [], 2
    for kill in range(kills):
        accepted += [ask(server, key, receiver) for _ in range(12)]
        # In the midst of them, each time somewhere else.
        wait_until(lambda seen=4 * kill: len(receiver.bodies) >= seen)
        server.kill()
        server.start()
    for request_id in accepted:
        called = receiver.wait_for(request_id)
        assert called["status"] == "SUCCESS"
        assert called["response"]["rows"] == [["SMS", 3]]
        told = server.http.get(f"/metrics/1/requests/{request_id}", headers=app(key)).json()
        assert told == {"requestId": request_id, "status": "SUCCESS"}
    counts = Counter(receiver.ids())
    assert set(counts) == set(accepted)
    # Twice only what was being called when its process was killed, with the same body.
    again = [request_id for request_id, times in counts.items() if times > 1]
    assert len(again) <= 8 * kills
    for request_id in again:
        bodies = [body for body in receiver.bodies if body["requestId"] == request_id]
        assert all(body == bodies[0] for body in bodies)
    assert "Traceback" not in server.log()


def test_another_process_takes_over_from_a_killed_one(tmp_path, receiver):
    settings = {"CALLBACK_ALLOW": "127.0.0.1", "RATE_LIMIT": 10_000}
    with serving(tmp_path, workers=2, **settings) as server:
        server.installation.publish(MESSAGES, "2026-05-05T12:00:00Z")
        key = server.installation.key("acme", "metrics:manage")
        lock = server.installation.settings.endpoint_dir / "worker.lock"
        wait_until(lambda: lock.exists() and lock.read_text().strip().isdigit())
        working = int(lock.read_text())
        accepted = []
        for number in range(20):
            if number == 10:
                os.kill(working, signal.SIGKILL)
            # The killed process may have been the one that was asked.
            with suppress(Exception):
                body = {"callbackUrl": receiver.url, "request": QUESTION}
                response = server.fresh.post(ASK, json=body, headers=app(key))
                accepted.append(response.json()["requestId"])
        assert len(accepted) >= 10
        for request_id in accepted:
            assert receiver.wait_for(request_id)["status"] == "SUCCESS"
        assert int(lock.read_text()) != working


def test_what_waits_when_the_service_is_stopped_is_done_after_it_is_started(server, receiver):
    key = server.installation.key("acme", "metrics:manage")
    receiver.behaviour = hangs_up
    request_id = ask(server, key, receiver)
    receiver.wait_for(request_id)
    server.stop()
    receiver.behaviour = answers(200)
    before = len(receiver.bodies)
    server.start()
    receiver.wait_for(request_id, times=before + 1)


# ---------------------------------------------------------------- killed at one moment, and only


class KilledError(BaseException):
    """What a process that is gone does not catch."""


@dataclass
class Place:
    """An installation, and workers over it, one after the other."""

    settings: Settings
    installation: Installation

    def ledger(self) -> Ledger:
        return Ledger(self.settings.endpoint_dir / "requests.sqlite")

    def results(self) -> Results:
        return Results(self.settings.endpoint_dir / "results")

    def worker(self, ledger: Ledger) -> Worker:
        return Worker(self.settings, Snapshots(self.settings), ledger, self.results())

    def accept(
        self, ledger: Ledger, url: str, request_id: str = "r1", account_key: str = "acme"
    ) -> str:
        snapshot_id = self.settings.published_path.resolve().stem
        ledger.accept(request_id, account_key, json.dumps(QUESTION), url, snapshot_id)
        return request_id


@pytest.fixture
def place(tmp_path):
    settings = Settings(home=tmp_path, callback_allow="127.0.0.1", callback_pause=0.01)
    installation = Installation(settings)
    installation.publish(MESSAGES, "2026-05-05T12:00:00Z")
    return Place(settings, installation)


def done(ledger):
    wait_until(lambda: not ledger.waiting_for_answers() and not ledger.waiting_for_callbacks())


def killed(*_, **__):
    raise KilledError


@pytest.mark.parametrize(
    ("holder", "name", "before"),
    [
        (Ledger, "claim", True),
        (Ledger, "claim", False),
        (worker_module, "ask", True),
        (Results, "write", True),
        (Results, "write", False),
        (Ledger, "end", True),
        (Ledger, "end", False),
        (Ledger, "to_call", False),
        (worker_module, "call", True),
        (worker_module, "call", False),
        (Ledger, "call_was_answered", True),
        (Ledger, "call_was_answered", False),
    ],
)
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing_but_a_call_that_was_cut(
    place, receiver, monkeypatch, holder, name, before
):
    ledger = place.ledger()
    request_id = place.accept(ledger, receiver.url)
    original = getattr(holder, name)

    def step(*arguments, **named):
        if not before:
            original(*arguments, **named)
        raise KilledError

    first = place.worker(ledger)
    # Without threads: what the queue would run is run here.
    first._call_task = lambda id_: first._call(id_)
    with monkeypatch.context() as patched:
        patched.setattr(holder, name, step)
        with pytest.raises(KilledError):
            first._answer(request_id)
    calls_before = len(receiver.bodies)
    ended_before = ledger.find(request_id, "acme").ended_at
    ledger.close()

    ledger = place.ledger()
    second = place.worker(ledger)
    second.start(b"secret")
    try:
        done(ledger)
        found = ledger.find(request_id, "acme")
        assert found.status == "SUCCESS"
        assert ended_before in (None, found.ended_at)
        was_cut = (name, before) in {("call", False), ("call_was_answered", True)}
        assert len(receiver.bodies) == (2 if was_cut else 1)
        assert calls_before <= 1
        assert all(body == receiver.bodies[0] for body in receiver.bodies)
        assert receiver.bodies[0]["response"]["rows"] == [["SMS", 3]]
    finally:
        second.close()


def test_a_request_that_kills_its_process_every_time_ends_as_failed(place, receiver, monkeypatch):
    ledger = place.ledger()
    request_id = place.accept(ledger, receiver.url)
    with monkeypatch.context() as patched:
        patched.setattr(worker_module, "ask", killed)
        for _ in range(5):
            with pytest.raises(KilledError):
                place.worker(ledger)._answer(request_id)
    worker = place.worker(ledger)
    worker.start(b"secret")
    try:
        called = receiver.wait_for(request_id)
        assert called["status"] == "FAILED"
        assert "ask for less" in called["failureMessage"]
        assert ledger.find(request_id, "acme").status == "FAILED"
    finally:
        worker.close()


def test_an_account_keeps_so_much_of_results_and_others_keep_theirs(place, receiver, monkeypatch):
    place.settings = place.settings.model_copy(update={"result_mebibytes": 0.0001})
    ledger = place.ledger()
    worker = place.worker(ledger)
    worker._call_task = lambda _: None

    def answered(request_id, account_key):
        worker._answer(place.accept(ledger, receiver.url, request_id, account_key))
        return ledger.find(request_id, account_key)

    assert answered("r1", "acme").status == "SUCCESS"
    refused = answered("r2", "acme")
    assert refused.status == "FAILED"
    assert "dropped after 24 hours" in refused.failure_message
    assert answered("r3", "rival").status == "SUCCESS"
    monkeypatch.setattr(ledger_module, "RESULT_SECONDS", 0)
    assert answered("r4", "acme").status == "SUCCESS"
    ledger.close()


def test_requests_that_an_earlier_release_wrote_down_are_answered(place, receiver):
    ledger = place.ledger()
    place.accept(ledger, receiver.url)
    ledger.close()
    with sqlite3.connect(place.settings.endpoint_dir / "requests.sqlite") as database:
        database.execute("alter table requests drop column result_bytes")
    ledger = place.ledger()
    worker = place.worker(ledger)
    worker._call_task = lambda _: None
    worker._answer("r1")
    assert ledger.find("r1", "acme").status == "SUCCESS"
    ledger.close()


def test_a_request_that_was_written_down_but_never_queued_is_swept_up(place, receiver, monkeypatch):
    monkeypatch.setattr(worker_module, "_SWEEP_SECONDS", 0.1)
    ledger = place.ledger()
    worker = place.worker(ledger)
    worker.start(b"secret")
    try:
        place.accept(ledger, receiver.url, "r1")
        receiver.wait_for("r1")
        place.accept(ledger, receiver.url, "r2")
        receiver.wait_for("r2")
        assert Counter(receiver.ids()) == {"r1": 1, "r2": 1}
    finally:
        worker.close()


# ------------------------------------------------------------------- faults that pass, and lines


def failing_once(monkeypatch, holder, name):
    """Have a step fail the first time. Returns a list with an entry for each time it was begun."""
    original, begun = getattr(holder, name), []

    def step(*arguments, **named):
        begun.append(name)
        if len(begun) == 1:
            raise sqlite3.OperationalError("disk is full")
        return original(*arguments, **named)

    monkeypatch.setattr(holder, name, step)
    return begun


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (Ledger, "claim"),
        (Ledger, "end"),
        (Worker, "_call_later"),
        (Ledger, "to_call"),
        (Ledger, "call_was_answered"),
        (Worker, "_fill"),
    ],
)
def test_a_fault_that_passes_keeps_no_request_from_its_end_and_its_callback(
    place, receiver, monkeypatch, holder, name
):
    monkeypatch.setattr(worker_module, "_SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(worker_module, "_AGAIN_SECONDS", 0.1)
    begun = failing_once(monkeypatch, holder, name)
    ledger = place.ledger()
    worker = place.worker(ledger)
    place.accept(ledger, receiver.url)
    worker.start(b"secret")
    try:
        done(ledger)
        assert len(begun) > 1
        assert ledger.find("r1", "acme").status == "SUCCESS"
        # A fault is no sign that the request takes its process with it.
        assert ledger.find("r1", "acme").claims == 1
        assert len(receiver.bodies) == (2 if name == "call_was_answered" else 1)
    finally:
        worker.close()


def broken(path):
    """Overwrites what SQLite keeps there, and ends what it remembers of it."""
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        beside = path.with_name(name)
        if beside.exists():
            beside.write_bytes(b"no database" * 10_000)


@pytest.mark.parametrize("when", ["before the service", "while it works", "removed", "a folder"])
def test_a_broken_queue_is_begun_anew_and_no_request_is_lost(place, receiver, monkeypatch, when):
    monkeypatch.setattr(worker_module, "_SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(worker_module, "_AGAIN_SECONDS", 0.1)
    queue = place.settings.endpoint_dir / "queue.sqlite"
    ledger = place.ledger()
    place.accept(ledger, receiver.url, "r1")
    if when == "before the service":
        queue.write_bytes(b"no database" * 10_000)
    elif when == "a folder":
        queue.mkdir()
    worker = place.worker(ledger)
    beside = place.worker(ledger)
    worker.start(b"secret")
    beside.start(b"secret")
    try:
        if when == "a folder":
            time.sleep(0.3)
            queue.rmdir()
        receiver.wait_for("r1")
        if when == "while it works":
            broken(queue)
        elif when == "removed":
            queue.unlink()
        for number, accepting in enumerate((worker, beside, worker, beside), 2):
            accepting.enqueue(place.accept(ledger, receiver.url, f"r{number}"))
        for number in range(2, 6):
            receiver.wait_for(f"r{number}")
        done(ledger)
        assert Counter(receiver.ids()) == {f"r{number}": 1 for number in range(1, 6)}
    finally:
        worker.close()
        beside.close()


@pytest.mark.parametrize("name", ["keys.sqlite", "requests.sqlite"])
def test_who_cannot_look_up_keys_or_requests_is_not_ready_and_says_so(place, client_of, name):
    client = client_of(place.installation)
    key = place.installation.key("acme", "metrics:read", "metrics:manage")
    headers = {"Authorization": f"App {key}"}
    known, path = "01ARZ3NDEKTSV4RRFFQ69G5FAV", place.settings.endpoint_dir / name
    assert client.get("/readyz").status_code == 200
    assert client.get(f"/metrics/1/requests/{known}", headers=headers).status_code == 404
    whole = path.with_suffix(".whole")
    with sqlite3.connect(path) as database:
        database.execute("vacuum into ?", [str(whole)])
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(b"no database" * 10_000)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    damaged.replace(path)
    assert client.get("/readyz").status_code == 503
    refused = client.get(f"/metrics/1/requests/{known}", headers=headers)
    assert (refused.status_code, refused.json()["errorCode"]) == (503, "E503")
    whole.replace(path)
    assert client.get("/readyz").status_code == 200
    assert client.get(f"/metrics/1/requests/{known}", headers=headers).status_code == 404


def test_a_request_that_could_not_be_queued_is_accepted_and_answered(
    place, receiver, client_of, monkeypatch
):
    monkeypatch.setattr(worker_module, "_SWEEP_SECONDS", 0.1)
    client = client_of(place.installation)
    key = place.installation.key("acme", "metrics:manage")
    failing_once(monkeypatch, SqliteHuey, "enqueue")
    response = client.post(
        ASK, json={"callbackUrl": receiver.url, "request": QUESTION}, headers=app(key)
    )
    assert response.status_code == 201
    assert receiver.wait_for(response.json()["requestId"])["status"] == "SUCCESS"


def test_nothing_half_written_stays_on_the_disk(place):
    def breaks():
        yield b"{"
        raise OSError("no space left on device")

    results = place.results()
    with pytest.raises(OSError, match="no space"):
        results.write("r1", breaks())
    folder = results.path("r1").parent
    assert list(folder.iterdir()) == []
    results.write("r1", [b"{}"])
    # What a killed process has left goes when the next one takes over.
    (folder / "r2.0123.draft").write_bytes(b"{")
    worker = place.worker(place.ledger())
    worker.start(b"secret")
    try:
        wait_until(lambda: [file.name for file in folder.iterdir()] == ["r1.json"])
    finally:
        worker.close()


def test_nobody_takes_over_while_a_request_is_still_answered(place, receiver, monkeypatch):
    monkeypatch.setattr(worker_module, "_STOP_SECONDS", 0.1)
    at_work, go_on = threading.Event(), threading.Event()

    def slow(*_, **__):
        at_work.set()
        go_on.wait(60)
        raise TooManyRowsError(2, 1)

    monkeypatch.setattr(worker_module, "ask", slow)
    ledger = place.ledger()
    worker = place.worker(ledger)
    place.accept(ledger, receiver.url)
    worker.start(b"secret")
    at_work.wait(60)
    worker.close()
    with (place.settings.endpoint_dir / "worker.lock").open("a") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        go_on.set()
        worker._kept_lock.close()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_callbacks_that_lead_nowhere_hold_up_those_of_their_account_alone(
    place, receiver, monkeypatch
):
    monkeypatch.setattr(callbacks, "CALL_SECONDS", 120)
    go_on, held = threading.Event(), threading.Semaphore(4)
    too_many = []

    def holds(_):
        if not held.acquire(blocking=False):
            too_many.append(1)
            return
        go_on.wait(60)
        held.release()

    with receiving() as black_hole:
        black_hole.behaviour = holds
        ledger = place.ledger()
        worker = place.worker(ledger)
        for number in range(20):
            place.accept(ledger, black_hole.url, f"a{number}")
        place.accept(ledger, receiver.url, "r1", account_key="rival")
        worker.start(b"secret")
        try:
            wait_until(lambda: len(ledger.waiting_for_answers()) == 0)
            receiver.wait_for("r1")
            black_hole.behaviour = answers(200)
            go_on.set()
            done(ledger)
            assert set(black_hole.ids()) == {f"a{number}" for number in range(20)}
            assert too_many == []
        finally:
            go_on.set()
            worker.close()


def test_lines_let_so_many_of_an_account_in_and_the_others_in_turn():
    lines = Lines(of_one_account=2)
    assert [lines.begin("a", task) for task in ("1", "2", "3", "4", "3", "1")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert lines.begin("b", "5")
    assert lines.end("a", "1") == "3"
    assert lines.begin("a", "3")
    assert not lines.begin("a", "1")
    assert [lines.end("a", task) for task in ("2", "3")] == ["4", "1"]
    assert lines.begin("a", "4")
    assert lines.end("a", "4") is None


def test_who_is_called_from_a_line_comes_before_who_arrives_meanwhile():
    lines = Lines(of_one_account=1)
    assert [lines.begin("a", task) for task in ("1", "2", "3")] == [True, False, False]
    assert lines.end("a", "1") == "2"
    assert not lines.begin("a", "4")
    assert lines.begin("a", "2")
    assert lines.end("a", "2") == "3"
    assert lines.give_up("3") == "4", "nothing was left to do of it"
    assert lines.give_up("3") is None
    assert lines.begin("a", "4")
    assert lines.end("a", "4") is None
    assert lines.begin("a", "5"), "every place was given back"


@given(of_one_account=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_line_never_stands_still_however_often_its_tasks_are_queued_again(of_one_account, seed):
    """As where what has not ended is looked through, and queued a second time."""
    chance = Random(seed)
    lines, queue, running = Lines(of_one_account), [*range(12)], []
    left = set(queue)
    while left:
        assert queue or running, "nobody would call the next"
        step = chance.choice(["look through", "take", "take", "end"])
        if step == "look through" and len(queue) < 50:
            queue += sorted(left)
        elif step == "take" and queue:
            task = queue.pop(0)
            called = None
            if task not in left:
                called = lines.give_up(task)
            elif lines.begin("a", task):
                running.append(task)
            queue += [called] if called is not None else []
        elif step == "end" and running:
            task = running.pop(chance.randrange(len(running)))
            left.remove(task)
            called = lines.end("a", task)
            queue += [called] if called is not None else []
        assert len(running) == len(set(running)) <= of_one_account


# -------------------------------------------------------------------------- how a request fails


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TooManyRowsError(MAX_ROWS + 1, MAX_ROWS), "1,000,001 rows"),
        (ZeroDivisionError("a secret"), "tell the operator"),
    ],
)
def test_what_cannot_be_answered_ends_as_failed_and_is_called_back_and_kept(
    place, receiver, monkeypatch, client_of, error, said
):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(worker_module, "ask", fails)
    client = client_of(place.installation)
    key = place.installation.key("acme", "metrics:manage")
    response = client.post(
        ASK, json={"callbackUrl": receiver.url, "request": QUESTION}, headers=app(key)
    )
    request_id = response.json()["requestId"]
    called = receiver.wait_for(request_id)
    assert list(called) == ["requestId", "status", "failureMessage"]
    assert called["status"] == "FAILED"
    assert said in called["failureMessage"]
    assert "secret" not in called["failureMessage"]
    status = client.get(f"/metrics/1/requests/{request_id}", headers=app(key)).json()
    assert status == called
    kept = client.get(f"/metrics/1/requests/{request_id}/result", headers=app(key)).json()
    assert kept == called


def test_the_answer_is_from_the_snapshot_of_acceptance_and_fails_where_that_is_gone(
    place, receiver
):
    ledger = place.ledger()
    first, second = place.accept(ledger, receiver.url, "r1"), "r2"
    gone = place.installation.publish(MESSAGES * 2, "2026-05-05T13:00:00Z")
    place.accept(ledger, receiver.url, second)
    place.installation.publish(MESSAGES * 3, "2026-05-05T14:00:00Z")
    (place.settings.snapshots_dir / f"{gone}.duckdb").unlink()
    worker = place.worker(ledger)
    worker.start(b"secret")
    try:
        assert receiver.wait_for(first)["response"]["rows"] == [["SMS", 3]]
        failed = receiver.wait_for(second)
        assert failed["status"] == "FAILED"
        assert "no longer held" in failed["failureMessage"]
    finally:
        worker.close()


# ------------------------------------------------------------------------------------ callbacks


@pytest.fixture
def working(place):
    ledger = place.ledger()
    worker = place.worker(ledger)
    worker.start(b"secret")
    worker.ledger = ledger
    yield worker
    worker.close()


@pytest.mark.parametrize("status", [200, 302, 404, 500, 503])
def test_an_answer_of_any_status_ends_the_tries_and_no_redirect_is_followed(
    place, receiver, working, status
):
    receiver.behaviour = answers(status, Location=receiver.url)
    place.accept(working.ledger, receiver.url)
    working.enqueue("r1")
    done(working.ledger)
    assert len(receiver.bodies) == 1


def test_five_tries_are_made_with_growing_pauses(place, receiver, monkeypatch):
    receiver.behaviour = hangs_up
    ledger, pauses = place.ledger(), []
    worker = place.worker(ledger)
    clock = SimpleNamespace(time=lambda: 1000.0, perf_counter=lambda: 0.0)
    monkeypatch.setattr(worker_module, "time", clock)
    monkeypatch.setattr(worker, "_call_later", lambda id_, at: pauses.append(at - 1000))
    place.accept(ledger, receiver.url)
    worker._answer("r1")
    for _ in range(7):
        worker._call("r1")
    assert len(receiver.bodies) == worker_module.TRIES == 5
    assert ledger.waiting_for_callbacks() == []
    first, *retried = pauses
    assert first <= 0
    assert [round(pause, 2) for pause in retried] == [0.01, 0.04, 0.16, 0.64]
    kept = place.results().path("r1")
    assert kept.exists()


def test_a_call_is_tried_again_until_it_is_answered(place, receiver, working):
    def second_time(handler):
        (answers(200) if len(receiver.bodies) > 1 else hangs_up)(handler)

    receiver.behaviour = second_time
    place.accept(working.ledger, receiver.url)
    working.enqueue("r1")
    receiver.wait_for("r1", times=2)
    done(working.ledger)
    assert len(receiver.bodies) == 2
    assert receiver.bodies[0] == receiver.bodies[1]


# -------------------------------------------------------------------------------- what is kept


def test_results_are_kept_for_a_day_and_requests_for_a_month(
    place, receiver, client_of, monkeypatch
):
    client = client_of(place.installation)
    key = place.installation.key("acme", "metrics:manage")
    body = {"callbackUrl": receiver.url, "request": QUESTION}
    request_id = client.post(ASK, json=body, headers=app(key)).json()["requestId"]
    receiver.wait_for(request_id)
    path = f"/metrics/1/requests/{request_id}"
    assert client.get(f"{path}/result", headers=app(key)).status_code == 200
    ledger, results = place.ledger(), place.results()
    wait_until(lambda: not ledger.waiting_for_callbacks())

    now = datetime.now(UTC)

    def moved(**later):
        monkeypatch.setattr(
            ledger_module.time, "time", lambda: (now + timedelta(**later)).timestamp()
        )
        results.drop_old([])
        ledger.forget()

    moved(hours=23, minutes=59)
    assert results.path(request_id).exists()
    assert client.get(f"{path}/result", headers=app(key)).status_code == 200
    moved(hours=24, minutes=1)
    assert not results.path(request_id).exists()
    assert client.get(f"{path}/result", headers=app(key)).status_code == 404
    assert client.get(path, headers=app(key)).json()["status"] == "SUCCESS"
    moved(days=31)
    assert client.get(path, headers=app(key)).status_code == 404


def test_a_result_that_a_callback_still_needs_is_not_dropped(place):
    results = place.results()
    results.write("old", [b"{}"])
    results.write("needed", [b"{}"])
    for name in ("old", "needed"):
        os.utime(results.path(name), (0, 0))
    results.drop_old(["needed"])
    assert not results.path("old").exists()
    assert results.path("needed").exists()


def test_an_account_that_has_too_much_waiting_is_told_to_wait(installation, client_of, monkeypatch):
    monkeypatch.setattr(aggregate_queries, "MOST_OPEN", 2)
    monkeypatch.setattr(Worker, "enqueue", lambda *_: None)
    installation.publish(MESSAGES, "2026-05-05T12:00:00Z")
    client = client_of(installation)
    key = installation.key("acme", "metrics:manage")
    body = {"callbackUrl": "https://192.0.2.1.example/", "request": QUESTION}
    statuses = [client.post(ASK, json=body, headers=app(key)).status_code for _ in range(3)]
    assert statuses == [201, 201, 429]
    other = installation.key("rival", "metrics:manage")
    assert client.post(ASK, json=body, headers=app(other)).status_code == 201
    # What has ended counts until its callback is off.
    ledger = Ledger(installation.settings.endpoint_dir / "requests.sqlite")
    first, second = ledger.waiting_for_answers()[:2]
    for request_id in (first, second):
        ledger.end(request_id, "SUCCESS")
    assert client.post(ASK, json=body, headers=app(key)).status_code == 429
    ledger.call_was_answered(first)
    assert client.post(ASK, json=body, headers=app(key)).status_code == 201
