"""Runs the service under uvicorn, in as many processes as are wanted.

What the service does is assembled in app.py.
"""

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from functools import partial

import uvicorn
from structlog import get_logger
from ulid import ULID
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from endpoint.asynchronous.addresses import AllowedTargets
from endpoint.errors import envelope, unreadable_request
from endpoint.rendering import to_json
from endpoint.request_log import SERVER_LOGGING
from endpoint.service_metrics import share_between_processes
from msgmetrics.errors import UserError
from msgmetrics.settings import settings

# Requests under way have so long to end; a little before, their questions are interrupted, so that
# who asked is told.
GRACE_SECONDS = 10
_QUESTIONS_SECONDS = 8
# How long the head of a request may take to arrive.
HEAD_SECONDS = 30
# The worker that is awake takes all connections that are there, and keeps them. So they end now and
# then, and the next one goes to whom has the least to do.
REQUESTS_OF_A_CONNECTION = 25
# More gain little where each has the memory of an endpoint of its own; who has the machine for
# them says so.
_MOST_WORKERS_UNASKED = 4
# A worker on a machine that is short of time answers its supervisor late, and is well all the same.
_WORKER_ANSWERS_SECONDS = 30
_LOOK_SECONDS = 0.1


def serve(host: str, port: int, workers: int | None = None) -> None:
    """Serve until interrupted; requests under way are given ten seconds to end.

    workers: how many processes answer, where that differs from the settings. Settings come from the
    environment, so that every worker process reads the same ones. Raises UserError where those, or
    host and port, cannot be used.
    """
    known = settings()
    AllowedTargets.of(known.callback_allow)
    _check_address(host, port)
    workers = workers or known.workers or default_workers()
    # What one process may have of the machine, each of several has its share of.
    os.environ["MSGMETRICS_WORKERS"] = str(workers)
    if workers > 1:
        share_between_processes(known.endpoint_dir / "service_metrics" / str(port))
    config = uvicorn.Config(
        "endpoint.app:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=Connection,
        access_log=False,
        # There are none here, and what would refuse them knows no request ids.
        ws="none",
        # Nothing here asks where a request came from.
        proxy_headers=False,
        log_config=SERVER_LOGGING,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=_WORKER_ANSWERS_SECONDS,
    )
    if workers > 1:
        Supervisor(config, sockets=[config.bind_socket()]).run()
    else:
        _serve_alone(config)


def _serve_alone(config: uvicorn.Config) -> None:
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class Supervisor(Multiprocess):
    """Starts the workers, and ends them: uvicorn's, but for who comes meanwhile, or is killed."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have ended, or that do not answer."""
        for process in self.processes:
            process.ping = partial(self.is_answered_by, process)
        super().keep_subprocess_alive()

    def is_answered_by(self, process: Process, timeout: float) -> bool:
        """Whether a worker answers within so many seconds.

        uvicorn's own waits as long for one that was killed once it had been asked, and heeds no
        signal meanwhile.
        """
        deadline = time.monotonic() + timeout
        try:
            process.parent_conn.send(b"ping")
            while not process.parent_conn.poll(_LOOK_SECONDS):
                if self.signal_queue:
                    # First things first; it is asked again.
                    return True
                if not process.process.is_alive() or time.monotonic() >= deadline:
                    return False
            process.parent_conn.recv()
        except (OSError, EOFError):
            return False
        return True

    def terminate_all(self) -> None:
        """End the workers; from then on a connection is refused, as nobody would answer it."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def default_workers() -> int:
    """How many processes answer where nobody says: Python keeps each to about one core."""
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS_UNASKED)


class Connection(HttpToolsProtocol):
    """A client's connection: uvicorn's, but for how it ends."""

    _waiting_for_head: asyncio.TimerHandle | None = None
    _requests = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()
        self._requests += 1

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # A client that has a worker to itself is served best where it is. And nobody is hung up on
        # who still sends, or was not told with the answer.
        is_shared = self.config.workers > 1 and len(self.connections) > 1
        is_told = self.cycle is not None and not self.cycle.response_started
        if is_shared and is_told and self._requests >= REQUESTS_OF_A_CONNECTION:
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._waiting_for_head = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None

    def send_400_response(self, msg: str) -> None:
        """Tell that what came is no HTTP as other errors are told, and hang up."""
        request_id = str(ULID())
        body = to_json(envelope(unreadable_request(), request_id))
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        get_logger("endpoint").info("request", request_id=request_id, status=400)

    def shutdown(self) -> None:
        """Called by the server when it begins to stop."""
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_complete:
            self.loop.call_later(_QUESTIONS_SECONDS, self.app.state.stop_questions)


def _check_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"The endpoint cannot listen on {host} port {port} ({error}); "
            "choose another with --host or --port."
        ) from None
