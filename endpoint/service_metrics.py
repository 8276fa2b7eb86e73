"""Metrics of the service itself, in Prometheus' format, on a route of its own.

Counts and times of requests by route, of asynchronous requests and callbacks by how they ended; no
account, key or number of a tenant. With several worker processes each writes files that any of them
adds up.
"""

import ipaddress
import os
import shutil
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from starlette.requests import Request
from starlette.responses import Response

PATH = "/internal/metrics"
# What the library reads when it is imported: the folder of those files.
_SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

requests = Counter(
    "msgmetrics_http_requests", "HTTP requests answered.", ["method", "route", "status"]
)
request_seconds = Histogram(
    "msgmetrics_http_request_seconds",
    "Seconds from a request's arrival to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
asynchronous_requests = Counter(
    "msgmetrics_asynchronous_requests", "Asynchronous requests that ended.", ["status"]
)
callback_tries = Counter(
    "msgmetrics_callback_tries", "Calls of callbacks that were tried.", ["outcome"]
)
snapshots_opened = Counter("msgmetrics_snapshots_opened", "Published files opened.")


def share_between_processes(folder: Path) -> None:
    """Have the processes that this one starts write to one folder, which is emptied.

    This process has imported the library already, and so is not one of them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_SHARED_FOLDER] = str(folder)


def may_be_shown(request: Request, shown: str) -> bool:
    """Whether metrics are shown where a request came in.

    shown: on, off, or loopback: only where the service was reached at a loopback address.
    """
    if shown != "loopback":
        return shown == "on"
    server = request.scope.get("server")
    try:
        return bool(server) and ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return False


def exposition() -> Response:
    """All metrics as text."""
    registry = REGISTRY
    if _SHARED_FOLDER in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
