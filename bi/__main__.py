"""`python -m bi`: what `make bi-proof` runs.

Publishes demo data, lets Superset ask for daily_by_channel through its API, publishes once more,
asks again without a restart, and holds every number against the published file itself.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from bi.superset import BIN, RefusedError, Superset, started

_BY_CHANNEL = {
    "columns": ["channel_code"],
    "metrics": [
        {"label": name, "expressionType": "SQL", "sqlExpression": f"sum({name})"}
        for name in ("messages_out", "delivered")
    ],
    "orderby": [["channel_code", True]],
    "row_limit": 100,
}
_CHANNELS_SQL = """
select channel_code, sum(messages_out)::bigint as messages_out, sum(delivered)::bigint as delivered
from daily_by_channel group by all order by all
"""
_CHART_SQL = """
select
    epoch_ms(period_start) as period_start, channel_code, sum(delivered)::bigint as delivered,
    sum(delivered) / nullif(sum(sent_not_rejected), 0) as traffic_delivery_rate
from daily_by_channel group by all order by all
"""
_LANDED = 500


def main() -> int:
    if not (BIN / "superset").exists():
        print("Superset is not installed: run `make bi-proof`.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="msgmetrics-bi-") as folder:
        home = Path(folder) / "home"
        file = home / "published" / "msgmetrics.duckdb"
        _msgmetrics(home, "demo", "--messages", "5000", "--days", "5")
        _msgmetrics(home, "run")
        try:
            with started(Path(folder) / "superset") as (superset, process):
                problems = _prove(superset, process, home, file)
        except RefusedError as refusal:
            problems = [str(refusal)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print("Every number is that of the published file." if not problems else "Not proved.")
    return 1 if problems else 0


def _prove(superset: Superset, process: int, home: Path, file: Path) -> list[str]:
    """What is not as it should be, a sentence each."""
    database = superset.add_database("msgmetrics", file)
    dataset = superset.add_dataset(database, "daily_by_channel")
    definition = json.loads(Path(__file__).with_name("chart.json").read_text("utf-8"))
    chart = superset.add_chart(definition, dataset)
    print(
        f"Superset, process {process}: dataset daily_by_channel with "
        f"{len(superset.columns(dataset))} columns, saved chart {definition['slice_name']!r}."
    )
    problems, seen = [], []
    for moment in ("before", "after"):
        if moment == "after":
            _land(home)
            _msgmetrics(home, "run")
        snapshot = _direct(file, "select snapshot_id from snapshots")[0]["snapshot_id"]
        asked = superset.query(dataset, _BY_CHANNEL)
        shown = superset.chart_rows(chart)
        for what, rows, sql in (
            ("the query", asked, _CHANNELS_SQL),
            ("the saved chart", shown, _CHART_SQL),
        ):
            if _plain(rows) != _plain(_direct(file, sql)):
                problems.append(f"{what} shows other numbers than snapshot {snapshot}.")
        print(f"\nSnapshot {snapshot}; the chart has {len(shown)} rows. Through the API:")
        print(pd.DataFrame(asked).to_string(index=False))
        seen.append(sum(row["messages_out"] for row in asked))
    print(f"\nOutbound messages: {seen[0]:,} before, {seen[1]:,} after, {_LANDED} landed between.")
    if seen[1] - seen[0] != _LANDED:
        problems.append("the second answer does not hold what landed after the first.")
    os.kill(process, 0)  # it still is the process of the first answer
    return problems


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as JSON has them, rates to 12 places: one side divides in Superset's own SQL."""
    return [
        {name: round(v, 12) if isinstance(v, float) else v for name, v in row.items()}
        for row in rows
    ]


def _direct(file: Path, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(file), read_only=True) as published:
        cursor = published.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _land(home: Path) -> None:
    """One new file: messages of the last day that is there, all of them delivered."""
    sent_at = pd.Timestamp.now(UTC).floor("h") - pd.Timedelta(hours=1)
    stamp = sent_at.isoformat()
    messages, events = [], []
    for number in range(_LANDED):
        message = {"message_id": f"bi-{number}", "account_key": "ACC00001", "sender": "ACME"}
        message |= {"direction": "OUTBOUND", "channel_code": "SMS", "recipient": "+99912345678"}
        messages.append(message | {"sent_at": stamp})
        event = {"event_id": f"bi-{number}", "message_id": f"bi-{number}"}
        events.append(event | {"event_type": "DELIVERED", "occurred_at": stamp})
    for stream, records in (("messages", messages), ("events", events)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (home / "landing" / stream / "bi.jsonl").write_text(lines, "utf-8")


def _msgmetrics(home: Path, *arguments: str) -> None:
    print(f"msgmetrics {' '.join(arguments)}", file=sys.stderr)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MSGMETRICS_")}
    done = subprocess.run(
        [sys.executable, "-m", "msgmetrics.cli", *arguments],
        env={**kept, "MSGMETRICS_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"msgmetrics {' '.join(arguments)} failed: {done.stderr[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
