"""`python -m benchmarks.readers`: readers of the published file, without a run and during one.

Each opens the file, asks six named questions, closes it, and begins again. Printed: questions
a second of all, by question, alone and during passes that load and publish; how many snapshots were
seen; and what was wrong: an error, a snapshot whose tables do not go together, or one that two
readers saw differently. Any of it makes the exit code 1.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console
from rich.table import Table

from msgmetrics.settings import Settings

# What is asked, by name; each of another table, some of one account and some of all.
QUESTIONS = {
    "delivery by day": """
        select period_start, sum(delivered) / nullif(sum(sent_not_rejected), 0) as rate
        from daily_by_channel group by all order by all
    """,
    "an account's hours": """
        select period_start, channel_code, traffic_delivery_rate, total_cost_cents
        from hourly_by_channel where account_key = 'ACC00001' order by all desc limit 168
    """,
    "countries": """
        select country_name, sum(sent), sum(delivered) from daily_by_country
        group by all order by 2 desc, 1 limit 20
    """,
    "campaigns of an account": """
        select campaign_reference, sum(opened_messages), sum(clicked_messages)
        from hourly_by_campaign_reference where account_key = 'ACC00001' group by all order by all
    """,
    "slow deliveries": """
        select time_to_deliver, channel_code, sum(delivered) from daily_by_time_to_deliver
        group by all order by all
    """,
    "failures by error": """
        select error_code, sum(failed) from daily_by_error_code
        where period_start >= (select max(period_start) - interval 7 day from daily_by_error_code)
        group by all order by 2 desc, 1 limit 20
    """,
}
# Sums that are the same in every table of a whole snapshot.
_TOTALS = """
select
    (select messages from snapshots),
    (select count(*) from messages),
    (select sum(messages_out + messages_in) from daily_by_channel),
    (select sum(messages_out + messages_in) from hourly_by_country),
    (select sum(messages_out + messages_in) from minutely)
"""
_LANDED = 2000


def read(path: str, stop: Any, found: Any) -> None:
    """One reader until it is told to stop: (questions by name, totals by snapshot, problems)."""
    asked: Counter[str] = Counter()
    totals: dict[str, tuple] = {}
    problems: list[str] = []
    while not stop.is_set():
        try:
            with duckdb.connect(path, read_only=True, config={"threads": 1}) as reader:
                (snapshot,) = reader.execute("select snapshot_id from snapshots").fetchone()
                for name, question in QUESTIONS.items():
                    reader.execute(question).fetchall()
                    asked[name] += 1
                seen = reader.execute(_TOTALS).fetchone()
        except duckdb.Error as error:
            problems.append(str(error).splitlines()[0])
            continue
        if len(set(seen)) != 1:
            problems.append(f"the tables of snapshot {snapshot} do not go together: {seen}")
        if totals.setdefault(snapshot, seen) != seen:
            problems.append(f"snapshot {snapshot} has changed: {totals[snapshot]}, then {seen}")
    found.put((asked, totals, problems))


def _readers(path: Path, number: int, meanwhile: Any) -> tuple[float, Counter, dict, list[str]]:
    """Lets so many read while something is done; (seconds, questions, totals, problems)."""
    there = multiprocessing.get_context("spawn")
    stop, found = there.Event(), there.Queue()
    readers = [there.Process(target=read, args=(str(path), stop, found)) for _ in range(number)]
    for reader in readers:
        reader.start()
    started = time.monotonic()
    try:
        meanwhile()
    finally:
        stop.set()
    seconds = time.monotonic() - started
    asked: Counter[str] = Counter()
    totals: dict[str, tuple] = {}
    problems: list[str] = []
    for _ in readers:
        of_one, seen, wrong = found.get(timeout=300)
        asked += of_one
        problems += wrong
        for snapshot, sums in seen.items():
            if totals.setdefault(snapshot, sums) != sums:
                problems.append(f"two readers saw snapshot {snapshot} differently")
    for reader in readers:
        reader.join()
    return seconds, asked, totals, problems


def _msgmetrics(settings: Settings, *arguments: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MSGMETRICS_")}
    subprocess.run(
        [sys.executable, "-m", "msgmetrics.cli", *arguments],
        env={**kept, "MSGMETRICS_HOME": str(settings.home)},
        check=True,
        capture_output=True,
    )


def _land(settings: Settings, number: int) -> None:
    """One more file, of messages of the last hour."""
    sent_at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    common = {"account_key": "ACC00001", "direction": "OUTBOUND", "channel_code": "SMS"}
    common |= {"sent_at": sent_at, "sender": "ACME", "recipient": "+99912345678"}
    lines = (
        json.dumps({"message_id": f"{sent_at}-{number}-{i}", **common}) for i in range(_LANDED)
    )
    file = settings.landing_path / "messages" / f"{sent_at}-{number}.jsonl"
    file.write_text("\n".join(lines), "utf-8")


def main(
    home: Annotated[Path, typer.Option(help="Home that is read; made where it is not.")] = Path(
        "var/benchmarks/readers"
    ),
    messages: Annotated[int, typer.Option(help="Messages of a home that is made.")] = 200_000,
    readers: Annotated[int, typer.Option(help="How many read at once.")] = 8,
    runs: Annotated[int, typer.Option(help="Passes meanwhile, each with a file that landed.")] = 2,
    seconds: Annotated[float, typer.Option(help="How long they read alone.")] = 20,
) -> None:
    """The rate of readers with and without a run."""
    settings = Settings(home=home.absolute())
    if not settings.published_path.exists():
        if not settings.landing_path.exists():
            _msgmetrics(settings, "demo", "--messages", str(messages))
        _msgmetrics(settings, "run")

    def passes() -> None:
        for number in range(runs):
            _land(settings, number)
            _msgmetrics(settings, "run")

    alone = _readers(settings.published_path, readers, lambda: time.sleep(seconds))
    during = _readers(settings.published_path, readers, passes)
    table = Table(title=f"Questions a second of {readers} readers")
    for column in ("question", "without a run", f"during {runs} runs"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for name in QUESTIONS:
        rates = (f"{one[1][name] / one[0]:.1f}" for one in (alone, during))
        table.add_row(name, *rates)
    table.add_row("all", *(f"{one[1].total() / one[0]:.1f}" for one in (alone, during)))
    console = Console(width=100)
    console.print(table)
    problems = alone[3] + during[3]
    console.print(
        f"{len(during[2])} snapshots were seen during the runs; "
        f"{len(problems)} errors or mixed snapshots."
    )
    for problem in problems[:10]:
        console.print(problem)
    if len(during[2]) < 2:
        console.print("No new snapshot was seen: nothing is shown by this.")
    raise typer.Exit(1 if problems or len(during[2]) < 2 else 0)


if __name__ == "__main__":
    typer.run(main)
