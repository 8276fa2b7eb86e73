"""The queue: answers requests and sends their callbacks, in one process at a time.

huey hands out the work and holds what is to be done later, on SQLite. It takes a task off its
queue before the task is run, so a killed process loses that one; therefore the ledger says what is
to be done. Of all processes of an installation the one that holds a lock works, and the lock goes
with its process: the next holder empties the queue, fills it from the ledger, and goes on.
"""

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import duckdb
import structlog
from huey import SqliteHuey
from huey.consumer import Consumer
from huey.serializer import SignedSerializer

from endpoint import service_metrics
from endpoint.asking import accounts_of, ask
from endpoint.asynchronous.addresses import AllowedTargets
from endpoint.asynchronous.callbacks import NoAnswerError, call
from endpoint.asynchronous.ledger import FAILED, SUCCESS, AcceptedRequest, Ledger
from endpoint.asynchronous.lines import Lines
from endpoint.asynchronous.results import Results
from endpoint.planning.answer import Answer, TooManyRowsError
from endpoint.planning.periods import Period, requested_period
from endpoint.planning.question import AGGREGATE_ROUTE, InvalidQuestionError, read_question
from endpoint.rendering import to_json
from endpoint.rows import columns_of, json_rows, moment_text
from endpoint.snapshots import NothingPublishedError, SnapshotGoneError, Snapshots
from endpoint.time_limits import ServiceStopsError, TookTooLongError
from msgmetrics.damage import REMEDY, is_damaged
from msgmetrics.settings import Settings
from msgmetrics.sqlite_files import file_identity, is_broken, remove

TRIES = 5
MIB = 2**20
# A request whose answering was begun so often and never ended is what ends the process.
_MOST_CLAIMS = 5
# An account has half of the threads that answer, and a quarter of those that call: whose questions
# are large, or whose callbacks lead nowhere, leaves room for others.
_ANSWERING_THREADS = 2
_CALLING_THREADS = 16
_ANSWERS_OF_ONE_ACCOUNT = 1
_CALLS_OF_ONE_ACCOUNT = 4
_LOOK_SECONDS = 0.5
_SWEEP_SECONDS = 5
_TIDY_SECONDS = 600
_STOP_SECONDS = 5
_AGAIN_SECONDS = 5

_log = structlog.get_logger("endpoint")


class _ConsumerBeside(Consumer):
    """huey's consumer beside a server, which keeps its own signal handlers."""

    def _set_signal_handlers(self) -> None:
        return


class Worker:
    """Takes requests in; one of all workers of an installation also works them off."""

    def __init__(
        self, settings: Settings, snapshots: Snapshots, ledger: Ledger, results: Results
    ) -> None:
        self._folder = settings.endpoint_dir
        self._snapshots = snapshots
        self._ledger = ledger
        self._results = results
        self._allowed = AllowedTargets.of(settings.callback_allow)
        self._pause = settings.callback_pause
        self._seconds = settings.asynchronous_seconds
        self._most_kept_bytes = settings.result_mebibytes * MIB
        self._answering = Lines(_ANSWERS_OF_ONE_ACCOUNT)
        self._calling = Lines(_CALLS_OF_ONE_ACCOUNT)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._queues: list[SqliteHuey] = []
        self._opening = threading.Lock()
        self._opened: tuple[int, int] | None = None
        self._secret = b""
        self._consumers: list[Consumer] = []
        self._kept_lock: IO[str] | None = None

    def start(self, secret: bytes) -> None:
        """Open the queue, and work whenever no other process does, until `close`.

        secret: what the tasks in the queue are signed with; the same in every process.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = secret
        try:
            self._open_queues()
        except (sqlite3.Error, OSError) as error:
            # All else can be asked meanwhile, and requests are written down.
            _log.error("queue not opened yet", reason=type(error).__name__)
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is under way has a few seconds, and is done anew by the next process else."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for queue in self._queues:
            queue.storage.close()
        self._ledger.close()

    def enqueue(self, request_id: str) -> None:
        """Have a request of the ledger answered soon; where it cannot be queued now, later."""
        try:
            self._open_queues()
            self._answer_task(request_id)
        except Exception as error:
            # It is written down, and the process that works looks for such requests.
            _log.warning("request not queued yet", reason=type(error).__name__)

    # -------------------------------------------------------------------------------- the queue

    @property
    def _queue_path(self) -> Path:
        return self._folder / "queue.sqlite"

    def _open_queues(self) -> None:
        """Open the queue's file, unless it is open; again where another is in its place, and a new
        one where it is broken. Raises sqlite3.Error or OSError where that cannot be done now."""
        if self._opened is not None and self._opened == file_identity(self._queue_path):
            return
        with self._opening, (self._folder / "queue.lock").open("a") as lock:
            # Of processes that find it broken together one begins it anew.
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            try:
                self._connect_queues()
            except sqlite3.DatabaseError as error:
                if not is_broken(error):
                    raise
                _log.error("queue is broken and begun anew", reason=type(error).__name__)
                remove(self._queue_path)
                self._connect_queues()

    def _connect_queues(self) -> None:
        answering = _queue("answers", self._queue_path, self._secret)
        calling = _queue("callbacks", self._queue_path, self._secret)
        self._queues = [answering, calling]
        self._answer_task = answering.task(name="answer")(self._answer)
        self._call_task = calling.task(name="call")(self._call)
        self._opened = file_identity(self._queue_path)

    def _is_queue_broken(self) -> bool:
        try:
            for queue in self._queues:
                len(queue)
        except Exception as error:
            return is_broken(error)
        return False

    def _begin_queue_anew(self) -> None:
        with self._opening, (self._folder / "queue.lock").open("a") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            if self._opened == file_identity(self._queue_path):
                remove(self._queue_path)
        self._open_queues()

    # ------------------------------------------------------------------- the process that works

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._work_once_alone()
            except Exception as error:
                # A disk may be full for a while; the requests are there all the same.
                _log.error("requests are not worked off", reason=type(error).__name__)
                if self._is_queue_broken():
                    with suppress(sqlite3.Error, OSError):
                        self._begin_queue_anew()
                self._stop.wait(_AGAIN_SECONDS)

    def _work_once_alone(self) -> None:
        lock = (self._folder / "worker.lock").open("a")
        try:
            while not _locked(lock.fileno()):
                if self._stop.wait(_LOOK_SECONDS):
                    return
            # For eyes: which of several processes it is.
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            self._work_alone()
        finally:
            while self._is_at_work() and not self._stop.wait(_LOOK_SECONDS):
                pass
            if self._is_at_work():
                # What does not stop in time ends with the process, and the lock with both.
                self._kept_lock = lock
            else:
                lock.close()

    def _work_alone(self) -> None:
        self._open_queues()
        for queue in self._queues:
            queue.storage.flush_queue()
            queue.storage.flush_schedule()
        worked_off = self._opened
        self._results.drop_drafts()
        self._fill()
        self._consumers = [
            _consumer(queue, threads)
            for queue, threads in zip(
                self._queues, (_ANSWERING_THREADS, _CALLING_THREADS), strict=True
            )
        ]
        try:
            for consumer in self._consumers:
                consumer.start()
            self._look_after(worked_off)
        finally:
            for consumer in self._consumers:
                consumer.stop_flag.set()
            for consumer in self._consumers:
                consumer.stop(graceful=True)

    def _look_after(self, worked_off: tuple[int, int] | None) -> None:
        """Until the service ends, or another file is in the queue's place."""
        swept, tidied = time.monotonic(), -float(_TIDY_SECONDS)
        while not self._stop.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if now - swept >= _SWEEP_SECONDS:
                swept = now
                if file_identity(self._queue_path) != worked_off:
                    return
                self._sweep()
            if now - tidied >= _TIDY_SECONDS:
                tidied = now
                self._tidy()

    def _is_at_work(self) -> bool:
        return any(
            thread.is_alive()
            for consumer in self._consumers
            for _, thread in consumer.worker_threads
        )

    def _fill(self) -> None:
        """Queue all that the ledger has left to do."""
        for request_id in self._ledger.waiting_for_answers():
            self.enqueue(request_id)
        for request_id, not_before in self._ledger.waiting_for_callbacks():
            self._call_later(request_id, not_before)

    def _sweep(self) -> None:
        """Queue what was written down and then not queued, or begun and then not ended.

        An id that is queued twice does no harm: the ledger says whether there is anything to do.
        """
        answering, calling = self._queues
        try:
            for consumer in self._consumers:
                consumer.check_worker_health()
            if not len(answering):
                for request_id in self._ledger.waiting_for_answers():
                    self.enqueue(request_id)
            if not len(calling):
                for request_id in self._ledger.overdue_callbacks(_SWEEP_SECONDS):
                    self._call_later(request_id, 0)
        except Exception as error:
            if self._is_queue_broken():
                raise
            _log.warning("requests not looked through", reason=type(error).__name__)

    def _tidy(self) -> None:
        try:
            self._results.drop_old(id_ for id_, _ in self._ledger.waiting_for_callbacks())
            self._ledger.forget()
        except Exception as error:
            _log.warning("old results not dropped", reason=type(error).__name__)

    # ---------------------------------------------------------------------------------- answers

    def _answer(self, request_id: str) -> None:
        request = self._ledger.to_answer(request_id)
        if request is None:
            self._answer_next(self._answering.give_up(request_id))
            return
        if not self._answering.begin(request.account_key, request_id):
            return
        try:
            self._answer_once(request_id)
        finally:
            self._answer_next(self._answering.end(request.account_key, request_id))

    def _answer_next(self, request_id: str | None) -> None:
        if request_id is not None:
            self.enqueue(request_id)

    def _answer_once(self, request_id: str) -> None:
        request = self._ledger.claim(request_id)
        if request is None:
            return
        started = time.perf_counter()
        try:
            status, failure = self._answered(request)
            size = self._results.path(request_id).stat().st_size
            has_ended = self._ledger.end(request_id, status, failure, size)
        except ServiceStopsError:
            # The next process answers it.
            self._ledger.unclaim(request_id)
            return
        except Exception as error:
            # Not even that it failed could be written down: it is begun anew after a while.
            _log.error(
                "request not ended", asynchronous_request=request_id, error=type(error).__name__
            )
            self._ledger.unclaim(request_id)
            return
        if has_ended:
            service_metrics.asynchronous_requests.labels(status).inc()
            _log.info(
                "request ended",
                asynchronous_request=request_id,
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
            self._call_later(request_id, 0)

    def _answered(self, request: AcceptedRequest) -> tuple[str, str | None]:
        """Write the result; how the request ended, and why where it failed."""
        failure = "The request broke the service each time that it was begun; ask for less."
        # One answer of an account is made at a time, so no more than one goes beyond it.
        if self._ledger.kept_bytes_of(request.account_key) >= self._most_kept_bytes:
            failure = (
                f"The results that are kept for this account fill {self._most_kept_bytes / MIB:g} "
                "MiB; each is dropped after 24 hours, so ask again later."
            )
        elif request.claims <= _MOST_CLAIMS:
            try:
                self._results.write(request.request_id, self._success(request))
                return SUCCESS, None
            except ServiceStopsError:
                raise
            except (TooManyRowsError, TookTooLongError) as error:
                failure = str(error)
            except (SnapshotGoneError, NothingPublishedError):
                failure = "The data of the request's acceptance is no longer held; ask anew."
            except InvalidQuestionError:
                failure = "The request was taken by a release that understood it; ask anew."
            except duckdb.OutOfMemoryException:
                failure = (
                    "The answer needs more memory than there is: "
                    "ask for fewer dimensions or a shorter period."
                )
            except Exception as error:
                _log.error(
                    "request not answered",
                    asynchronous_request=request.request_id,
                    error=type(error).__name__,
                    **({"remedy": REMEDY} if is_damaged(error) else {}),
                )
                failure = "The request could not be answered; tell the operator its id."
                if is_damaged(error):
                    failure = "What is published cannot be read; tell the operator, and ask anew."
        body = {"requestId": request.request_id, "status": FAILED, "failureMessage": failure}
        self._results.write(request.request_id, [to_json(body)])
        return FAILED, failure

    def _success(self, request: AcceptedRequest) -> Iterator[bytes]:
        question = read_question(json.loads(request.question), AGGREGATE_ROUTE, prefix="request")
        with (
            self._snapshots.current() as now,
            self._snapshots.earlier(request.snapshot_id) as snapshot,
        ):
            period = requested_period(
                question.since,
                question.until,
                as_of=snapshot.as_of,
                time_dimension=question.time_dimension,
            )
            # Rights are those of now, whatever snapshot the numbers come from.
            accounts = accounts_of(question, now, request.account_key)
            answer = ask(
                question,
                snapshot,
                accounts=accounts,
                period=period,
                empty_rate=0.0,
                seconds=self._seconds,
            )
        return _success_body(request.request_id, answer, period)

    # -------------------------------------------------------------------------------- callbacks

    def _call_later(self, request_id: str, not_before: float) -> None:
        delay = not_before - time.time()
        if delay > 0:
            self._call_task.schedule((request_id,), delay=delay)
        else:
            self._call_task(request_id)

    def _call(self, request_id: str) -> None:
        waiting = self._ledger.to_call(request_id)
        if waiting is None:
            self._call_next(self._calling.give_up(request_id))
            return
        if not self._calling.begin(waiting.account_key, request_id):
            return
        try:
            # It may have been called between the two looks at it.
            request = self._ledger.to_call(request_id)
            if request is not None:
                self._call_once(request)
        finally:
            self._call_next(self._calling.end(waiting.account_key, request_id))

    def _call_next(self, request_id: str | None) -> None:
        if request_id is not None:
            self._call_later(request_id, 0)

    def _call_once(self, request: AcceptedRequest) -> None:
        told: dict[str, Any] = {
            "asynchronous_request": request.request_id, "attempt": request.tries + 1
        }  # fmt: skip
        try:
            status = call(
                request.callback_url, self._results.path(request.request_id), self._allowed
            )
        except NoAnswerError as error:
            next_try_at = None
            if request.tries + 1 < TRIES:
                next_try_at = time.time() + self._pause * 4**request.tries
            self._ledger.call_got_no_answer(request.request_id, next_try_at)
            service_metrics.callback_tries.labels("no answer").inc()
            _log.warning("callback got no answer", reason=str(error), **told)
            if next_try_at is not None:
                self._call_later(request.request_id, next_try_at)
            return
        self._ledger.call_was_answered(request.request_id)
        service_metrics.callback_tries.labels("answered").inc()
        _log.info("callback answered", status=status, **told)


def _success_body(request_id: str, answer: Answer, period: Period) -> Iterator[bytes]:
    response = {
        "requestedPeriod": {
            "sentSince": moment_text(period[0]),
            "sentUntil": moment_text(period[1]),
        },
        "totalRows": answer.table.num_rows,
        "columns": columns_of(answer),
    }
    head = {"requestId": request_id, "status": SUCCESS}
    yield to_json(head)[:-1] + b',"response":' + to_json(response)[:-1] + b',"rows":'
    yield from json_rows(answer, missing="N/A", zone=None)
    yield b"}}"


def _queue(name: str, path: Path, secret: bytes) -> SqliteHuey:
    return SqliteHuey(
        name,
        filename=str(path),
        results=False,
        timeout=30,
        serializer=SignedSerializer(secret=secret.hex(), salt=f"queue of {name}"),
    )


def _consumer(queue: SqliteHuey, threads: int) -> Consumer:
    consumer = _ConsumerBeside(
        queue, workers=threads, periodic=False, initial_delay=0.05, max_delay=0.5
    )
    consumer.shutdown_timeout = _STOP_SECONDS
    return consumer


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
