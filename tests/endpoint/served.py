"""The service as a process of its own, asked over HTTP, and a small world published for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import httpx
from planner.worlds import World
from published_by_hand import Installation
from ulid import ULID

from msgmetrics.settings import Settings

QUERY = "/v1/metrics/query"
ASK = "/metrics/1/query-aggregate-data"
# A question with one row as its answer.
QUESTION = {
    "filterBy": {
        "sentSince": "2026-05-05T00:00:00Z",
        "sentUntil": "2026-05-06T00:00:00Z",
        "channelCodes": ["SMS"],
    },
    "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
}
# When the world is published; it goes on for some days longer.
AS_OF = datetime(2024, 4, 20, 10, 30, 7, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running service and what it has logged."""

    def __init__(
        self, home: Path, *, workers: int = 1, prelude: str = "", **variables: object
    ) -> None:
        """prelude: what its process runs first. variables: further settings, as RATE_LIMIT=20."""
        self.installation = Installation(Settings(home=home))
        self.port = free_port()
        self._workers = workers
        self._prelude = prelude
        self._environment = os.environ | {
            "MSGMETRICS_HOME": str(home),
            **{f"MSGMETRICS_{name}": str(value) for name, value in variables.items()},
        }
        self._log_path = home / "log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        # A connection for each request spreads the requests over the workers.
        self.fresh = httpx.Client(
            base_url=self.url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self.start()

    def start(self) -> None:
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"{self._prelude}\n"
                    "from endpoint.server import serve\n"
                    f"serve('127.0.0.1', {self.port}, workers={self._workers})",
                ],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.http.get("/healthz")
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.log())

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        self.http.close()
        self.fresh.close()
        if self.process.poll() is None:
            self.stop()

    def log(self) -> str:
        return self._log_path.read_text()

    def log_lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log().splitlines()]


@contextmanager
def serving(home: Path, world: World | None = None, **settings: object) -> Iterator[Server]:
    """A service, with a world published for it if one is given. settings: those of Server."""
    server = Server(home, **settings)
    try:
        if world is not None:
            publish_world(world, server.installation)
        yield server
    finally:
        server.close()


def publish_world(
    world: World, installation: Installation, as_of: datetime = AS_OF, stale: bool = False
) -> str:
    """Publish the tables of a world, all of them, as a snapshot, and return its id."""
    snapshot_id = str(ULID())
    folder = installation.settings.snapshots_dir
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{snapshot_id}.duckdb"
    with duckdb.connect(path) as database:
        for name in world.tables:
            rows = world.connection.sql(f"select * from {name}").to_arrow_table()
            database.execute(f"create table {name} as select * from rows")
            assert rows is not None
        database.execute(
            """
            create table snapshots as
            select $id as snapshot_id, $as_of::timestamp as as_of,
                current_timestamp::timestamp as published_at, $stale as stale,
                9::integer as checks_passed, 1::integer as checks_warned
            """,
            {"id": snapshot_id, "as_of": as_of.replace(tzinfo=None), "stale": stale},
        )
    link = installation.settings.published_path.with_suffix(".new")
    link.symlink_to(path)
    link.replace(installation.settings.published_path)
    return snapshot_id


def bearer(key: str, **more: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


def app(key: str) -> Mapping[str, str]:
    return {"Authorization": f"App {key}"}
