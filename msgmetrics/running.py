"""What the command line shows and starts: summaries, status, quarantine, services, the tour.

The pipeline itself lives in `orchestration/`, the endpoint in `endpoint/`.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx

from msgmetrics.console import plain, say, show_table
from msgmetrics.damage import damaged, is_damaged
from msgmetrics.errors import UserError
from msgmetrics.keys import KeyStore
from msgmetrics.settings import PROJECT_ROOT, Settings

# What a pass is made of, by Dagster's names of its steps; the one besides these is the last gate.
_STEPS = {"load": "load", "build": "build", "published__snapshot": "publish"}


@contextmanager
def published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the current snapshot.

    Raises UserError before the first, and where the file turns out to be damaged.
    """
    if not settings.published_path.exists():
        raise UserError(
            f"Nothing is published in {settings.published_path.parent} yet: run `msgmetrics run` "
            "first, or set MSGMETRICS_HOME to the folder that holds a warehouse."
        )
    try:
        connection = duckdb.connect(str(settings.published_path), read_only=True)
    except duckdb.Error as error:
        raise damaged(settings.published_path, error) from None
    try:
        yield connection
    except duckdb.Error as error:
        if is_damaged(error):
            raise damaged(settings.published_path, error) from None
        raise
    finally:
        connection.close()


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description]
    row = cursor.fetchone()
    return dict(zip(names, row, strict=True)) if row else {}


def known_accounts(settings: Settings) -> set[str]:
    """Keys of the accounts that the current snapshot knows, by their record or by a message."""
    with published(settings) as connection:
        rows = connection.execute(
            "select account_key from accounts union select account_key from daily_by_channel"
        ).fetchall()
        return {key for (key,) in rows}


def need_known(connection: duckdb.DuckDBPyConnection, accounts: Sequence[str]) -> None:
    """Raises UserError for an account that is neither listed nor the owner of a message."""
    for account in accounts:
        row = connection.execute(
            "select exists (from accounts where account_key = $key) "
            "or exists (from messages where account_key = $key)",
            {"key": account},
        ).fetchone()
        if not row[0]:
            raise UserError(f"There is no account {account!r} in the published snapshot.")


# --- a pass ---------------------------------------------------------------------------------


@contextmanager
def quiet_dbt(verbose: bool) -> Iterator[None]:
    """Keeps what dbt and Dagster print themselves off the terminal, unless it is asked for.

    dbt's own log stays in full below MSGMETRICS_HOME/dbt.
    """
    if verbose:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def summary_of(settings: Settings, result: Any) -> dict[str, Any]:
    """Shows what a pass did as a table, and returns it."""
    with published(settings) as connection:
        snapshot = _one(connection, "select * from snapshots")
        (marts,) = connection.execute(
            "select count(*) from information_schema.tables where table_name like '%ly_by_%'"
        ).fetchone()
    seconds = {
        f"seconds: {_STEPS.get(step, 'gate')}": round(value, 1)
        for step, value in result.seconds.items()
    }
    summary = {
        "snapshot": snapshot["snapshot_id"],
        "file": str(settings.published_path),
        "as_of": snapshot["as_of"],
        "messages": snapshot["messages"],
        "records_loaded": snapshot["records_loaded"],
        "records_quarantined": snapshot["records_quarantined"],
        "files_unreadable": snapshot["files_unreadable"],
        "events_waiting": snapshot["events_waiting"],
        "marts": marts,
        "checks_passed": snapshot["checks_passed"],
        "checks_warned": snapshot["checks_warned"],
        "run_id": result.run_id,
        **seconds,
        **{f"peak MiB: {process}": size for process, size in result.peak_memory.items()},
    }
    show_table("Published", ["what", "value"], list(summary.items()))
    return summary


def status_of(settings: Settings) -> dict[str, Any]:
    """The state of the warehouse as of its last snapshot; null values before the first."""
    state: dict[str, Any] = {
        "snapshot": None,
        "as_of": None,
        "published_at": None,
        "lag_seconds": None,
        "stale": None,
        "messages": 0,
        "files_loaded": 0,
        "files_unreadable": 0,
        "records_loaded": 0,
        "records_quarantined": 0,
        "events_waiting": 0,
    }
    if settings.published_path.exists():
        with published(settings) as connection:
            snapshot = _one(connection, "select * from snapshots")
        state["snapshot"] = snapshot["snapshot_id"]
        state.update({key: snapshot[key] for key in state if key in snapshot})
        age = datetime.now(UTC).replace(tzinfo=None) - snapshot["as_of"]
        state["lag_seconds"] = round(age.total_seconds())
    state["disk_bytes"] = _disk_bytes(settings.home, settings)
    state["disk_bound_bytes"] = _disk_bound(settings)
    state["home"] = str(settings.home.absolute())
    state["landing"] = str(settings.landing_path)
    return state


# Published files that there may be at once: the shown one, the next, and one that is made anew.
_PUBLISHED_AT_ONCE = 3


def _disk_bound(settings: Settings) -> int:
    """Bytes that the product may come to use while it runs with as much data as now, besides
    published files that readers hold: what it uses, as many published files as there may be, or
    the copy of the warehouse that maintenance makes."""
    used = _disk_bytes(settings.home, settings)
    copy = settings.warehouse_path.stat().st_size if settings.warehouse_path.exists() else 0
    if not settings.published_path.exists():
        return used + copy
    published = _disk_bytes(settings.published_path.parent, settings)
    room_for_more = _PUBLISHED_AT_ONCE * settings.published_path.stat().st_size - published
    return used + max(room_for_more, copy)


def _disk_bytes(below: Path, settings: Settings) -> int:
    """Bytes of all files below a folder, the landing zone left out."""
    total = 0
    for folder, folders, names in os.walk(below):
        folders[:] = [f for f in folders if (Path(folder) / f).absolute() != settings.landing_path]
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                try:
                    total += path.stat().st_size
                except FileNotFoundError:  # a run has just removed it
                    continue
    return total


def quarantine(
    settings: Settings,
    *,
    stream: str | None = None,
    quarantine_id: int | None = None,
    closed: bool = False,
    limit: int = 1,
    grouped: bool = False,
) -> tuple[int, list[dict[str, Any]]]:
    """(how many entries there are, the latest of them); closed: those that are closed, too.

    grouped: entries of one file with one reason as one, with the latest id, the first row, and how
    many they are (`records`).

    Raises UserError for an unknown stream, and while a pass writes the warehouse.
    """
    from orchestration.loading.records import folders
    from orchestration.warehouse import warehouse

    if stream is not None and stream not in folders():
        raise UserError(f"There is no stream {stream!r}: use one of {', '.join(folders())}.")
    with warehouse(settings, read_only=True) as connection:
        columns = connection.execute(
            "select column_name from duckdb_columns() "
            "where schema_name = 'raw' and table_name = 'quarantine'"
        ).fetchall()
        if not columns:  # a warehouse into which nothing was loaded yet
            return 0, []
        # No release that had no such column ever closed an entry.
        is_shown = "true" if closed or ("closed_at",) not in columns else "closed_at is null"
        where = f"""
            from raw.quarantine
            where {is_shown}
                and ($stream is null or stream = $stream) and ($id is null or quarantine_id = $id)
        """
        parameters = {"stream": stream, "id": quarantine_id}
        (total,) = connection.execute(f"select count(*) {where}", parameters).fetchone()
        shown = f"select * {where}"
        if grouped:
            closed_because = "closed_because" if ("closed_because",) in columns else "null"
            shown = f"""
                select
                    max(quarantine_id) as quarantine_id, path, count(*) as records,
                    min(row_number) as row_number, reason, {closed_because} as closed_because
                {where}
                group by all
            """
        cursor = connection.execute(
            f"{shown} order by quarantine_id desc limit $limit",
            {**parameters, "limit": limit},
        )
        names = [column[0] for column in cursor.description]
        return total, [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def requeue(settings: Settings, ids: list[int], *, shown: int) -> dict[str, Any]:
    """Judges refused records again, all of them or those of these ids, and takes in the valid ones.

    Of those that still are refused the latest are told, at most `shown`. Waits while a pass writes
    the warehouse. Raises UserError where an id is of no open record.
    """
    from orchestration.batches import last_as_of
    from orchestration.loading.requeue import Requeue
    from orchestration.loading.system import refusals_of_the_system
    from orchestration.warehouse import create_raw_tables, warehouse, writer_lock

    if not settings.warehouse_path.exists():
        raise UserError(
            f"There is no warehouse at {settings.warehouse_path} yet: run `msgmetrics run` first, "
            "or set MSGMETRICS_HOME to the folder that holds one."
        )
    now = datetime.now(UTC)
    with (
        writer_lock(settings, holder="msgmetrics quarantine requeue"),
        warehouse(settings) as connection,
        refusals_of_the_system(settings),
    ):
        create_raw_tables(connection)
        again = Requeue(connection, now=now, as_of=last_as_of(connection) or now)
        report = again.these(ids) if ids else again.every()
        refused = connection.execute(
            """
            select quarantine_id, path, row_number, reason from raw.quarantine
            where
                closed_at is null and row_number is not null
                and ($every or list_contains($ids::bigint[], quarantine_id))
            order by quarantine_id desc
            """,
            {"ids": ids, "every": not ids},
        )
        names = [column[0] for column in refused.description]
        return {
            "requeued": sum(report.requeued.values()),
            "still_refused": report.judged - sum(report.requeued.values()),
            "batch_id": report.batch_id,
            "refused": [dict(zip(names, row, strict=True)) for row in refused.fetchmany(shown)],
        }


# --- services -------------------------------------------------------------------------------


def run_services(
    settings: Settings, host: str, port: int, dagster_port: int, checks_port: int
) -> None:
    """Dagster's UI and daemon, the endpoint and the reports of the last gate, until Ctrl-C or until
    one of them ends."""
    from orchestration.passes import dagster_instance_folder

    dagster_instance_folder(settings)
    ports = {"--port": port, "--dagster-port": dagster_port, "--checks-port": checks_port}
    for name, number in ports.items():
        _need_free_port(host, number, name)
    folder = Path(sys.executable).parent
    workspace = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    ui = ["-h", host, "-p", str(dagster_port)]
    commands = {
        "Dagster UI": [str(folder / "dagster-webserver"), *ui, *workspace],
        "Dagster daemon": [str(folder / "dagster-daemon"), "run", *workspace],
        "endpoint": [str(folder / "msgmetrics"), "serve", "--host", host, "--port", str(port)],
        "reports of checks": [
            *(sys.executable, "-m", "http.server", str(checks_port), "--bind", host),
            *("--directory", str(settings.checks_dir)),
        ],
    }
    settings.checks_dir.mkdir(parents=True, exist_ok=True)
    reports = f"http://{host}:{checks_port}"
    environment = {
        **os.environ,
        "MSGMETRICS_HOME": str(settings.home.absolute()),
        "MSGMETRICS_LANDING": str(settings.landing_path),
        "MSGMETRICS_CHECKS_URL": settings.checks_url or reports,
    }
    services: dict[str, subprocess.Popen] = {}
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # a shell may have us started with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        for name, command in commands.items():
            services[name] = subprocess.Popen(
                command, cwd=PROJECT_ROOT, env=environment, start_new_session=True
            )
        say(f"Dagster UI on http://{host}:{dagster_port}, endpoint on http://{host}:{port}/docs.")
        say(f"Reports of the last gate on {reports}.")
        say("Ctrl-C stops all of it.")
        while all(service.poll() is None for service in services.values()):
            time.sleep(0.5)
        ended = next(name for name, service in services.items() if service.poll() is not None)
        raise UserError(f"The {ended} ended by itself; what it printed above says why.")
    except KeyboardInterrupt:
        say("Stopping.")
    finally:
        _stop(services)


def _stop(services: dict[str, subprocess.Popen]) -> None:
    """Asks each service to end, and ends it where it does not."""
    for service in services.values():
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGTERM)
    for service in services.values():
        try:
            service.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def _need_free_port(host: str, port: int, option: str) -> None:
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{option} {port} on {host} cannot be used ({reason}); give another."
        ) from None


# --- the tour -------------------------------------------------------------------------------


def has_landing_files(settings: Settings) -> bool:
    """Whether the landing zone holds anything that a pass would read."""
    from orchestration.loading.landing import list_landing

    landing = settings.landing_path
    return landing.is_dir() and bool(list_landing(landing).files)


def show_one_answer(settings: Settings) -> str:
    """Starts the endpoint, asks it one question over HTTP with a key of its own, and shows both.

    Returns the account that was asked about.
    """
    with published(settings) as connection:
        row = connection.execute(
            """
            select account_key
            from daily_by_channel
            group by account_key order by sum(messages_in) desc, account_key limit 1
            """
        ).fetchone()
        as_of = _one(connection, "select as_of from snapshots")["as_of"]
    if row is None:
        say("No account has a message yet, so there is no answer to show.")
        return "ACCOUNT"
    (account,) = row
    store = KeyStore.of(settings)
    key = store.create(account, ["metrics:read"], lambda _: True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = subprocess.Popen(
        [sys.executable, "-m", "msgmetrics.cli", "serve", "--port", str(port)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MSGMETRICS_HOME": str(settings.home.absolute())},
    )
    try:
        base = f"http://127.0.0.1:{port}"
        _wait_until(lambda: httpx.get(f"{base}/readyz", timeout=5).status_code == 200)
        last_day = as_of.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        since, until = plain(last_day - timedelta(days=4)), plain(last_day)
        asked = f"metric=received&granularity=day&from={since}&to={until}"
        url = f"{base}/v1/metrics/inbound?{asked}"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        say("\nOne answer over HTTP, from an endpoint and with a key for this tour, both gone now:")
        say(f"  curl -H 'Authorization: Bearer {key[:14]}...' {shlex.quote(url)}")
        say(json.dumps(answer.json(), indent=2, ensure_ascii=False))
        if answer.status_code != 200:
            raise UserError(f"The endpoint answered {answer.status_code}; its answer says why.")
    finally:
        service.terminate()
        service.wait()
        store.revoke(key[:14])
    return account


def _wait_until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if is_true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise UserError(
        f"The endpoint was not ready within {seconds:.0f} s; `msgmetrics serve` says why."
    )


def what_next(settings: Settings, account: str) -> None:
    """What a newcomer may want to type now."""
    say(
        f"""
What to type next:
  .venv/bin/msgmetrics dev              the Dagster UI and the endpoint, until Ctrl-C
  .venv/bin/msgmetrics status           what is published, and how far it reaches
  .venv/bin/msgmetrics quarantine list  what was refused, and why
  .venv/bin/msgmetrics keys create --account {account} --scope metrics:read
  .venv/bin/msgmetrics run              the next pass; your own files go into
                                        {settings.landing_path}/messages, /events and /accounts"""
    )
