"""The endpoint under load: HTTP beside the same questions asked of DuckDB in this process.

    python -m benchmarks.load --home var --clients 1,8,64 --seconds 20
    python -m benchmarks.load --home load --messages 10000000 --soak 100000

Questions of single accounts over the last days of a warehouse are asked by 1, 8 and 64 clients,
over HTTP by locust and in this process by as many threads, in turns, for a machine is not as fast
in one minute as in the next. Printed are medians, 99th percentiles, throughput and their ratios,
with the bars that they are held to; with --strict a bar that is missed is exit code 1. With
--messages the warehouse is made first, if there is none. With --soak so many requests follow, each
over a period of its own, and memory must stay as it is. With --during-run passes of the pipeline
run all the while, each with messages that have just landed. The server is started for it on a
loopback address, with keys that are revoked at the end.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from ulid import ULID

from endpoint.planning.periods import requested_period
from endpoint.planning.planner import plan
from endpoint.planning.question import QUERY_ROUTE, read_question
from endpoint.snapshots import Snapshot, Snapshots
from msgmetrics.keys import KeyStore
from msgmetrics.settings import Settings

USERS = Path(__file__).with_name("load_users.py")
MOST_ACCOUNTS = 40
# HTTP beside DuckDB in process: times with one client at most so much, throughput at least.
MOST_P50, MOST_P99, LEAST_THROUGHPUT = 2.0, 5.0, 0.6
# Memory in the last quarter of a soak beside that in its second, when caches are full.
MOST_GROWTH = 1.1
LANDED_AT_ONCE = 10_000
MIB = 2**20

Statement = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """One turn of a way: milliseconds of each request, and seconds in all.

    cpu_seconds: processor time of the server's processes, or of this one; generator_seconds: that
    of the load generator.
    """

    milliseconds: list[float]
    failures: int
    seconds: float
    cpu_seconds: float
    generator_seconds: float = 0


@dataclass(frozen=True)
class Figures:
    """What one way of asking achieved; times in milliseconds.

    cpu: processor time of a question, of the server's processes or of this one. generator_cpu: that
    of the load generator, which runs on the same machine. Both hold where others use it, too.
    """

    requests: int
    failures: int
    p50: float
    p99: float
    per_second: float
    cpu: float
    generator_cpu: float = 0


@dataclass(frozen=True)
class Round:
    """Both ways with one number of clients."""

    clients: int
    in_process: Figures
    over_http: Figures

    def ratios(self) -> dict[str, float]:
        inside, outside = self.in_process, self.over_http
        return {
            "p50": outside.p50 / inside.p50,
            "p99": outside.p99 / inside.p99,
            "throughput": outside.per_second / inside.per_second,
        }

    def missed(self) -> list[str]:
        """The bars that this round misses, in words."""
        ratios, found = self.ratios(), []
        if self.clients == 1:
            if ratios["p50"] > MOST_P50:
                found.append(f"1 client: p50 is {ratios['p50']:.1f} times, at most {MOST_P50}")
            if ratios["p99"] > MOST_P99:
                found.append(f"1 client: p99 is {ratios['p99']:.1f} times, at most {MOST_P99}")
        elif ratios["throughput"] < LEAST_THROUGHPUT:
            found.append(
                f"{self.clients} clients: throughput is {ratios['throughput']:.2f} times, "
                f"at least {LEAST_THROUGHPUT}"
            )
        if self.over_http.failures:
            found.append(f"{self.clients} clients: {self.over_http.failures} errors")
        return found


@dataclass(frozen=True)
class Memory:
    """MiB that the server had in memory: after the rounds, then all along the soak."""

    samples: list[float]

    @contextmanager
    def sampled(self, server: psutil.Process) -> Iterator[None]:
        """Take samples meanwhile."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(1):
                self.samples.append(_memory(server))

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def quarters(self) -> list[float]:
        """The medians of the soak's quarters; none where it was too short for them."""
        soak = self.samples[1:]
        length = len(soak) // 4
        return [
            statistics.median(soak[n * length : (n + 1) * length]) for n in range(4 * (length > 0))
        ]

    def missed(self) -> list[str]:
        quarters = self.quarters()
        if not quarters or quarters[3] <= quarters[1] * MOST_GROWTH:
            return []
        growth = quarters[3] / quarters[1]
        return [f"memory: {growth:.2f} times in the soak, at most {MOST_GROWTH}"]


def main() -> int:
    options = _options()
    # A process that is killed leaves its keys behind, so they are made for as short as can be.
    settings = Settings(home=options.home)
    if options.messages and not settings.published_path.exists():
        _command(settings, "demo", f"--messages={options.messages}", f"--days={options.days}")
        _command(settings, "run")
    with ExitStack() as stack:
        snapshot = stack.enter_context(Snapshots(settings).current())
        questions = _questions(snapshot, options.days, random.Random(options.seed))
        statements = [_statement(snapshot, *question) for question in questions]
        keys = stack.enter_context(_keys(settings, {account for account, _ in questions}))
        asked = [{"key": keys[account], "body": body} for account, body in questions]
        url, server = stack.enter_context(_server(settings, options.workers))
        if options.during_run:
            stack.enter_context(_passes(settings))
        rounds = []
        for clients in (int(text) for text in options.clients.split(",")):
            inside, outside = [], []
            for _ in range(options.turns):
                # Whole ones, as locust takes no others; of none it would go on for ever.
                seconds = max(1, round(options.seconds / options.turns))
                inside.append(_in_process(snapshot, statements, clients, seconds))
                outside.append(_over_http(asked, url, server, clients, seconds))
            rounds.append(Round(clients, _figures(inside), _figures(outside)))
        soak, memory = None, Memory([_memory(server)])
        if options.soak:
            with memory.sampled(server):
                soak = _figures([_over_http(asked, url, server, 8, 24 * 3600, options.soak)])
    missed = [bar for one in rounds for bar in one.missed()] + memory.missed()
    if soak and soak.failures:
        missed.append(f"soak: {soak.failures} errors")
    _print(options, rounds, missed, memory, soak)
    return 1 if missed and options.strict else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--home", type=Path, default=Path("var"), help="MSGMETRICS_HOME")
    parser.add_argument("--messages", type=int, default=0, help="of the warehouse to be made")
    parser.add_argument("--clients", default="1,8,64", help="numbers of clients")
    parser.add_argument("--seconds", type=float, default=20, help="for each number and way")
    parser.add_argument("--turns", type=int, default=5, help="of both ways, for each number")
    parser.add_argument("--days", type=int, default=90, help="length of the periods asked")
    parser.add_argument("--workers", type=int, help="processes of the server, if not its default")
    parser.add_argument("--soak", type=int, default=0, help="requests of a last round, for memory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--during-run", action="store_true", help="while passes run")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a bar is missed")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


# ---------------------------------------------------------------------------------- questions


def _questions(
    snapshot: Snapshot, days: int, chance: random.Random
) -> list[tuple[str, dict[str, Any]]]:
    """(account, body) of a few hundred questions, as dashboards of accounts ask them."""
    accounts = snapshot.rows(
        "select account_key from daily_by_channel group by account_key"
        " order by sum(messages_out + messages_in) desc, account_key limit ?",
        [MOST_ACCOUNTS],
    )
    kinds: tuple[tuple[list[str], list[str], int, dict[str, Any]], ...] = (
        (["DAY"], ["TOTAL_SENT_TRAFFIC_COUNT", "TRAFFIC_DELIVERY_RATE"], days, {}),
        (["DAY"], ["TOTAL_RECEIVED_TRAFFIC_COUNT"], days, {"directions": ["INBOUND"]}),
        (["COUNTRY_NAME"], ["TOTAL_SENT_TRAFFIC_COUNT", "TOTAL_COST_CENTS"], days, {}),
        (["NETWORK_NAME"], ["TRAFFIC_DELIVERY_RATE"], days, {"channelCodes": ["SMS"]}),
        (["WEEK_MONDAY_START", "SENDER"], ["DELIVERED_TRAFFIC_COUNT"], days, {}),
        (["HOUR"], ["TOTAL_TRAFFIC_COUNT"], min(days, 7), {}),
        (["ERROR_CODE"], ["FAILED_TRAFFIC_COUNT"], days, {}),
        (["MONTH"], ["CLICK_TO_OPEN_RATE"], days, {"channelCodes": ["EMAIL"]}),
    )
    questions = []
    for (account,) in accounts:
        for by, metrics, length, filters in kinds:
            since = snapshot.as_of - timedelta(days=length, hours=chance.randrange(48))
            period = {"sentSince": since.isoformat(), "sentUntil": snapshot.as_of.isoformat()}
            body = {"filterBy": period | filters, "aggregateBy": by, "metrics": metrics}
            questions.append((account, body))
    return questions


def _statement(snapshot: Snapshot, account: str, body: dict[str, Any]) -> Statement:
    """The SQL that the endpoint runs for a question, and its parameters."""
    question = read_question(body, QUERY_ROUTE)
    period = requested_period(question.since, question.until, as_of=snapshot.as_of)
    planned = plan(question, snapshot.tables, period=period, accounts=[account])
    return planned.ready().sql, dict(planned.parameters)


# --------------------------------------------------------------------------- the ways of asking


def _in_process(
    snapshot: Snapshot, statements: list[Statement], threads: int, seconds: float
) -> Turn:
    """So many threads with a cursor each, one question after the other."""
    times: list[float] = []
    end, used = time.monotonic() + seconds, time.process_time()

    def ask(number: int) -> None:
        chance = random.Random(number)
        with snapshot.cursor() as cursor:
            while time.monotonic() < end:
                sql, parameters = chance.choice(statements)
                started = time.perf_counter()
                cursor.execute(sql, parameters).to_arrow_table()
                times.append((time.perf_counter() - started) * 1000)

    workers = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Turn(times, 0, seconds, time.process_time() - used)


def _over_http(
    asked: list[dict[str, Any]],
    url: str,
    server: psutil.Process,
    clients: int,
    seconds: float,
    most_requests: int = 0,
) -> Turn:
    """So many of locust's users."""
    used = _processor_seconds(server)
    with tempfile.TemporaryDirectory() as folder:
        questions, times = Path(folder) / "questions.json", Path(folder) / "times.json"
        questions.write_text(json.dumps(asked), "utf-8")
        subprocess.run(
            [
                sys.executable, "-m", "locust", "-f", str(USERS), "--headless", "--only-summary",
                "-u", str(clients), "-r", str(clients), "-t", f"{seconds:.0f}s", "--host", url,
                "--exit-code-on-error", "0",
            ],
            env=os.environ
            | {
                "LOAD_QUESTIONS": str(questions),
                "LOAD_REQUESTS": str(most_requests),
                "LOAD_TIMES": str(times),
            },
            check=True,
            capture_output=True,
        )  # fmt: skip
        told = json.loads(times.read_text("utf-8"))
    return Turn(
        told["milliseconds"],
        told["failures"],
        told["seconds"],
        _processor_seconds(server) - used,
        told["cpu_seconds"],
    )


def _figures(turns: list[Turn]) -> Figures:
    """What all turns of a way achieved together."""
    milliseconds = [one for turn in turns for one in turn.milliseconds]
    count, percentiles = len(milliseconds), statistics.quantiles(milliseconds, n=100)
    return Figures(
        count,
        sum(turn.failures for turn in turns),
        percentiles[49],
        percentiles[98],
        round(count / sum(turn.seconds for turn in turns), 1),
        sum(turn.cpu_seconds for turn in turns) * 1000 / count,
        sum(turn.generator_seconds for turn in turns) * 1000 / count,
    )


def _processor_seconds(server: psutil.Process) -> float:
    """What the server and all its workers have used."""
    processes = [server, *server.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


# ------------------------------------------------------------------------------------ the place


@contextmanager
def _keys(settings: Settings, accounts: set[str]) -> Iterator[dict[str, str]]:
    store = KeyStore.of(settings)
    keys = {
        account: store.create(account, ["metrics:read"], accounts) for account in sorted(accounts)
    }
    try:
        yield keys
    finally:
        labels = {key[:14] for key in keys.values()}
        for known in store.list():
            if known.label in labels and known.revoked_at is None:
                store.revoke(known.key_id)


@contextmanager
def _server(settings: Settings, workers: int | None) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "msgmetrics.cli", "serve", "--port", str(port),
            *([f"--workers={workers}"] if workers else ()),
        ],
        env=os.environ
        | {"MSGMETRICS_HOME": str(settings.home.absolute()), "MSGMETRICS_RATE_LIMIT": "1000000"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/readyz", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def _passes(settings: Settings) -> Iterator[None]:
    """Passes of the pipeline, one after the other, each with something to do."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not over.is_set():
                _land(settings)
                _command(settings, "run")
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def _land(settings: Settings) -> None:
    """Drop delivered messages of the last day, and their events, into the landing zone."""
    batch, now, chance = str(ULID()), datetime.now(UTC), random.Random()
    records: dict[str, list[dict[str, Any]]] = {"messages": [], "events": []}
    for number in range(LANDED_AT_ONCE):
        message_id = f"load-{batch}-{number}"
        sent_at = now - timedelta(seconds=chance.randrange(60, 86400))
        records["messages"].append(
            {
                "message_id": message_id,
                "account_key": f"ACC{chance.randrange(1, 100):05d}",
                "direction": "OUTBOUND",
                "channel_code": chance.choice(["SMS", "EMAIL", "WHATSAPP"]),
                "sent_at": sent_at.isoformat(),
                "sender": "load",
                "recipient": "nobody",
            }
        )
        records["events"].append(
            {
                "event_id": f"{message_id}-d",
                "message_id": message_id,
                "event_type": "DELIVERED",
                "occurred_at": (sent_at + timedelta(seconds=3)).isoformat(),
            }
        )
    for stream, lines in records.items():
        path = settings.landing_path / stream / f"load-{batch}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        draft.replace(path)


def _command(settings: Settings, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "msgmetrics.cli", *words],
        env=os.environ | {"MSGMETRICS_HOME": str(settings.home.absolute())},
        capture_output=True,
        check=True,
    )


def _memory(server: psutil.Process) -> float:
    """MiB in memory of the server with all its workers."""
    processes = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / MIB


def _print(
    options: argparse.Namespace,
    rounds: list[Round],
    missed: list[str],
    memory: Memory,
    soak: Figures | None,
) -> None:
    if options.json:
        told = {
            "rounds": [asdict(one) | {"ratios": one.ratios()} for one in rounds],
            "missed": missed,
            "memory_mib": memory.samples[:1] + memory.quarters(),
            "soak": soak and asdict(soak),
        }
        print(json.dumps(told, indent=2))
        return
    print("clients  way         requests  errors  p50 ms  p99 ms  a second  CPU ms  generator")
    for one in rounds:
        for way, figures in (("in process", one.in_process), ("HTTP", one.over_http)):
            print(
                f"{one.clients:7}  {way:10}  {figures.requests:8}  {figures.failures:6}"
                f"  {figures.p50:6.1f}  {figures.p99:6.1f}  {figures.per_second:8.1f}"
                f"  {figures.cpu:6.2f}  {figures.generator_cpu:9.2f}"
            )
        ratios = one.ratios()
        print(
            f"         HTTP / in process: p50 {ratios['p50']:.2f}, p99 {ratios['p99']:.2f}, "
            f"throughput {ratios['throughput']:.2f}"
        )
    shown = memory.samples[:1] + memory.quarters()
    print("memory of the server, MiB: " + " -> ".join(f"{size:.0f}" for size in shown))
    if soak:
        print(f"soak: {soak.requests} requests, {soak.failures} errors; memory by its quarters")
    print("missed: " + "; ".join(missed) if missed else "every bar is held")


if __name__ == "__main__":
    sys.exit(main())
