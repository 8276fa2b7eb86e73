"""Archives of webhooks, and what they must be read as: in plain Python, record by record.

The plain reading puts together what the providers' modules make of each result, by the rules of the
README alone. It shares no SQL with the product.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from orchestration.webhooks.requests import outcomes, source_of

# After every time that a sample names.
NOW = datetime(2027, 1, 1, tzinfo=UTC)
SAMPLES = Path(__file__).parent / "samples"


def samples(provider: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / f"{provider}.jsonl").open(encoding="utf-8")]


def request(body: object, received_at: str = "2026-05-05T10:00:00Z") -> str:
    """A line of an archive."""
    return json.dumps({"received_at": received_at, "body": body}) + "\n"


def write(landing: Path, name: str, lines: Iterable[str]) -> None:
    path = landing / "webhooks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def spread(
    landing: Path, lines: list[tuple[str, str]], random: Random, *, batch: str, files: int = 3
) -> None:
    """These (folder, line) in random order over some files of each folder."""
    by_name: dict[str, list[str]] = {}
    for folder, line in random.sample(lines, len(lines)):
        name = f"{folder}/{batch}-{random.randrange(files)}.jsonl"
        by_name.setdefault(name, []).append(line)
    for name, some in by_name.items():
        write(landing, name, some)


# --- the plain reading -----------------------------------------------------------------------


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def told(lines: Iterable[tuple[str, str]]) -> tuple[dict[str, dict], dict[str, dict]]:
    """Messages and events, by id, that these (folder, line) tell of."""
    parts: dict[str, list[dict]] = {}
    events: dict[str, list[dict]] = {}
    for folder, line in lines:
        for outcome in outcomes(line, source_of(f"webhooks/{folder}/x.jsonl")):
            if outcome.reading is not None:
                for message in outcome.reading.messages:
                    parts.setdefault(message.message_id, []).append(message._asdict())
                for event in outcome.reading.events:
                    events.setdefault(event.event_id, []).append(event._asdict())
    messages = {key: _put_together(some) for key, some in parts.items()}
    # Of one id the first counts, and of those at one time the greatest by its fields.
    first = {
        key: max(
            (event for event in some if _at(event["occurred_at"]) == _first(some)),
            key=lambda event: (event["message_id"], event["event_type"]),
        )
        for key, some in events.items()
    }
    return messages, first


def _first(events: list[dict]) -> datetime:
    return min(_at(event["occurred_at"]) for event in events)


def _put_together(parts: list[dict]) -> dict:
    def greatest(name: str, some: list[dict]) -> Any:
        return max((part[name] for part in some if part.get(name) is not None), default=None)

    certain = [part for part in parts if part["source_rank"] == 1] or parts
    priced = [(Decimal(p["cost_cents"]), p["currency"]) for p in parts if p.get("cost_cents")]
    segments = [int(part["segments"]) for part in parts if part.get("segments")]
    price = max(priced, default=(Decimal(0), None))
    return {
        "account_key": greatest("account_key", parts),
        "direction": greatest("direction", certain),
        "channel_code": greatest("channel_code", certain),
        "sent_at": min(_at(part["sent_at"]) for part in parts),
        "sender": greatest("sender", parts),
        "recipient": greatest("recipient", parts),
        "interaction_id": greatest("interaction_id", parts),
        "traffic_type": greatest("traffic_type", parts),
        "segments": max(segments, default=1),
        "cost_cents": price[0],
        "currency": price[1] or "USD",
    }
