"""Around every request: its id, its log line, and the last resort against a stack trace.

Log lines are JSON on standard error. They hold the route's pattern and never the path, the query,
a header or a message of an exception, because a key or an address could stand in any of those.
"""

import asyncio
import logging
import sys
import time
import traceback
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from endpoint import service_metrics
from endpoint.errors import error_response, internal_error, service_stops

_PROCESSORS = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(),
]


def configure_logging() -> None:
    """Make every log line of this process one JSON object on standard error."""
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


class JsonLines(logging.Formatter):
    """Lines of the server beneath, which logs through the standard library, as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        event: Any = {"event": record.getMessage(), "logger": record.name}
        for processor in _PROCESSORS:
            event = processor(None, record.levelname.lower(), event)
        return event


# For uvicorn, in dictConfig's form. Its access log stays off: it would show query strings.
SERVER_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "endpoint.request_log.JsonLines"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "huey": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}


class RequestLog:
    """ASGI middleware: X-Request-Id on every response, one log line for every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("endpoint")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = str(ULID())
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                request_id = (b"x-request-id", state["request_id"].encode())
                message["headers"] = [*message["headers"], request_id]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server stops, and the time is over that requests are given to end; this one waits
            # for its own body, maybe.
            if status is None:
                await error_response(Request(scope), service_stops())(scope, receive, send_with_id)
        except Exception as error:
            self._log.error("request failed", request_id=state["request_id"], **_where(error))
            if status is None:
                response = error_response(Request(scope), internal_error())
                await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            method = scope["method"] if scope.get("route") else None
            route = getattr(scope.get("route"), "path", None)
            service_metrics.requests.labels(method or "", route or "", status or "").inc()
            service_metrics.request_seconds.labels(route or "").observe(seconds)
            self._log.info(
                "request",
                request_id=state["request_id"],
                key=state.get("key_label"),
                method=method,
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
            )


def _where(error: Exception) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {
        "error": type(error).__name__,
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
