"""Superset as a process on 127.0.0.1, and its HTTP API as its own pages use it.

What is asked of it stands in `proof.py`.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_HERE = Path(__file__).parent
BIN = _HERE.parent / ".venv-bi" / "bin"
_USER, _STARTS_WITHIN = "admin", 180


class RefusedError(RuntimeError):
    """Superset answered with an error, or did not start."""


class Superset:
    """A signed-in session. Every method is one request; raises RefusedError where it is refused."""

    def __init__(self, url: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120)
        signed_in = self._post(
            "/api/v1/security/login",
            {"username": _USER, "password": password, "provider": "db"},
        )
        self._http.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        token = self._get("/api/v1/security/csrf_token/")["result"]
        self._http.headers.update({"X-CSRFToken": token, "Referer": url})

    def add_database(self, name: str, file: Path) -> int:
        """Registers a DuckDB file; returns the database's id."""
        uri = f"duckdb:///{file}?access_mode=read_only"
        return self._post(
            "/api/v1/database/",
            {"database_name": name, "sqlalchemy_uri": uri, "expose_in_sqllab": True},
        )["id"]

    def add_dataset(self, database: int, table: str) -> int:
        """Makes a table of a database known to charts; returns the dataset's id."""
        return self._post(
            "/api/v1/dataset/", {"database": database, "schema": "main", "table_name": table}
        )["id"]

    def add_chart(self, definition: dict[str, Any], dataset: int) -> int:
        """Saves a chart over a dataset; returns the chart's id."""
        source = {"id": dataset, "type": "table"}
        params = {**definition["params"], "datasource": f"{dataset}__table"}
        context = {**definition["query_context"], "datasource": source}
        return self._post(
            "/api/v1/chart/",
            {
                **{key: definition[key] for key in ("slice_name", "description", "viz_type")},
                "datasource_id": dataset,
                "datasource_type": "table",
                "params": json.dumps(params),
                "query_context": json.dumps(context),
            },
        )["id"]

    def query(self, dataset: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of a question about a dataset."""
        body = {
            "datasource": {"id": dataset, "type": "table"},
            "queries": [query],
            "result_format": "json",
            "result_type": "full",
        }
        return self._post("/api/v1/chart/data", body)["result"][0]["data"]

    def chart_rows(self, chart: int) -> list[dict[str, Any]]:
        """The rows that a saved chart shows now."""
        return self._get(f"/api/v1/chart/{chart}/data/")["result"][0]["data"]

    def columns(self, dataset: int) -> dict[str, str]:
        """Types of a dataset's columns, as Superset read them."""
        found = self._get(f"/api/v1/dataset/{dataset}")["result"]["columns"]
        return {column["column_name"]: column["type"] for column in found}

    def _get(self, path: str) -> dict[str, Any]:
        return _answer(self._http.get(path))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return _answer(self._http.post(path, json=body))


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise RefusedError(
            f"{response.request.url.path}: {response.status_code} {response.text[:500]}"
        )
    return response.json()


@contextmanager
def started(folder: Path) -> Iterator[tuple[Superset, int]]:
    """A Superset with everything of its own below the folder; (session, id of its process).

    It is ended, by its process id, when the block ends.
    """
    password = secrets.token_urlsafe()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MSGMETRICS_", "PYTHON"))},
        "FLASK_APP": "superset.app:create_app()",
        "SUPERSET_CONFIG_PATH": str(_HERE / "superset_config.py"),
        "SUPERSET_HOME": str(folder),
        "SUPERSET_SECRET_KEY": secrets.token_urlsafe(48),
    }
    folder.mkdir(parents=True)
    log = (folder / "superset.log").open("w+")
    person = ("--username", _USER, "--firstname", "A", "--lastname", "B", "--email", "a@b.example")
    for command in (
        ("db", "upgrade"),
        ("fab", "create-admin", *person, "--password", password),
        ("init",),
    ):
        print(f"superset {' '.join(command[:2])}", file=sys.stderr)
        done = subprocess.run(
            [BIN / "superset", *command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            raise RefusedError(f"superset {' '.join(command[:2])} failed:\n{_end_of(log.name)}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *(BIN / "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4"),
            *("--timeout", "120", environment["FLASK_APP"]),
        ],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server, log.name)
        yield Superset(url, password), server.pid
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def _wait_for(url: str, server: subprocess.Popen, log: str) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise RefusedError(f"Superset did not start:\n{_end_of(log)}")


def _end_of(log: str) -> str:
    return "\n".join(Path(log).read_text("utf-8").splitlines()[-20:])
