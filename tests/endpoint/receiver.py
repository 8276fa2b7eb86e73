"""A place that callbacks go to, which answers as told and keeps what came."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Listens on the loopback address from its making on, until `close`.

    behaviour: what is done with a handler once its request was read; default: 204.
    """

    def __init__(self, behaviour: Callable[[BaseHTTPRequestHandler], None] | None = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.behaviour = behaviour or answers(204)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.headers.append(dict(self.headers))
                receiver.paths.append(self.path)
                receiver.bodies.append(json.loads(body))
                receiver.behaviour(self)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/callback?of=metrics"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def ids(self) -> list[str]:
        return [body["requestId"] for body in self.bodies]

    def wait_for(self, request_id: str, times: int = 1, seconds: float = 60) -> dict[str, Any]:
        """The body that came for a request, once it came so often."""
        wait_until(lambda: self.ids().count(request_id) >= times, seconds)
        return next(body for body in self.bodies if body["requestId"] == request_id)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def answers(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def wait_until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
