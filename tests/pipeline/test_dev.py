"""`msgmetrics dev`: UI, daemon and endpoint come up together, and Ctrl-C ends all of them."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
from pipeline.conftest import Home

_QUERY = """
{
  repositoriesOrError {
    ... on RepositoryConnection {
      nodes { jobs { name } schedules { name scheduleState { status } } }
    }
  }
  runsOrError(limit: 50) { ... on Runs { results { status jobName } } }
}
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _ask(url: str) -> dict | None:
    with contextlib.suppress(httpx.TransportError, KeyError, ValueError):
        answer = httpx.post(url, json={"query": _QUERY}, timeout=60).json()
        if answer["data"]["repositoriesOrError"].get("nodes"):
            return answer["data"]
    return None


def test_dev_shows_the_runs_of_the_command_line_and_stops_cleanly(home: Home) -> None:
    ui, api = _free_ports(2)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "msgmetrics.cli", "dev"),
            *("--dagster-port", str(ui), "--port", str(api)),
        ],
        env=home.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 180
        data = None
        while data is None and time.monotonic() < until and process.poll() is None:
            data = _ask(f"http://127.0.0.1:{ui}/graphql")
            time.sleep(0.5)
        assert data is not None
        (repository,) = data["repositoriesOrError"]["nodes"]
        assert "refresh" in {job["name"] for job in repository["jobs"]}
        assert {s["name"]: s["scheduleState"]["status"] for s in repository["schedules"]} == {
            "refresh_schedule": "RUNNING",
            "nightly_schedule": "RUNNING",
        }
        runs = data["runsOrError"]["results"]
        assert {"status": "SUCCESS", "jobName": "refresh"} in runs
        assert httpx.get(f"http://127.0.0.1:{api}/readyz", timeout=30).status_code == 200
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert process.returncode == 0 and not alive
