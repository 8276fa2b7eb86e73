"""Runs the service under uvicorn. What the service does is assembled in app.py."""

import socket

import uvicorn

from endpoint.asynchronous.addresses import AllowedTargets
from endpoint.request_log import SERVER_LOGGING
from endpoint.service_metrics import share_between_processes
from msgmetrics.errors import UserError
from msgmetrics.settings import settings


def serve(host: str, port: int, workers: int = 1) -> None:
    """Serve until interrupted; requests under way are given ten seconds to end.

    Settings come from the environment, so that every worker process reads the same ones. Raises
    UserError where those, or host and port, cannot be used.
    """
    known = settings()
    AllowedTargets.of(known.callback_allow)
    _check_address(host, port)
    if workers > 1:
        share_between_processes(known.endpoint_dir / "service_metrics")
    uvicorn.run(
        "endpoint.app:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        # There are none here, and what would refuse them knows no request ids.
        ws="none",
        log_config=SERVER_LOGGING,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


def _check_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"The endpoint cannot listen on {host} port {port} ({error}); "
            "choose another with --host or --port."
        ) from None
