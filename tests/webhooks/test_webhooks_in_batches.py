"""However webhooks are split into batches, what a run restates equals what the definitions give.

A handful of messages, accounts and conversations, of which each request knows a part, beside
canonical records of some of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from archives import request, spread
from incremental_warehouse import IncrementalWarehouse, definitions_of

# One is made from nothing, the other restates it: canonical records come before webhooks and after.
BATCHES = 2


def hour(random: Random) -> str:
    return f"2026-05-05T{random.randrange(24):02}:00:00.000+0000"


def result(random: Random) -> dict:
    message = {"messageId": f"m{random.randrange(40)}"}
    if random.random() < 0.5:
        message["conversation"] = {"id": f"c{random.randrange(6)}"}
    if random.random() < 0.3:
        message["channel"] = random.choice(["WHATSAPP", "RCS", "SMS"])
    match random.randrange(4):
        case 0:
            group = random.choice(["PENDING", "DELIVERED", "UNDELIVERABLE", "REJECTED"])
            message |= {"status": {"groupName": group}, "doneAt": hour(random)}
            message |= {"messageCount": random.randrange(1, 4), "sentAt": hour(random)}
            message |= {"price": {"pricePerMessage": random.random(), "currency": "USD"}}
        case 1:
            message |= {"seenAt": hour(random), "to": "1"}
        case 2:
            message |= {"notificationType": "CLICKED", "url": random.choice("xyz")}
        case 3:
            message |= {"receivedAt": hour(random), "from": "1", "to": "2", "text": "x"}
    return message


def lines(random: Random, number: int) -> list[tuple[str, str]]:
    return [
        (
            f"infobip/account={random.choice('ab')}",
            request({"results": [result(random) for _ in range(random.randrange(1, 4))]}),
        )
        for _ in range(number)
    ]


def canonical(random: Random) -> list[dict]:
    return [
        {
            "message_id": f"infobip:message:m{random.randrange(40)}",
            "account_key": random.choice("ab"),
            "direction": random.choice(["OUTBOUND", "INBOUND"]),
            "channel_code": "VIBER",
            "sent_at": hour(random),
            "sender": "s",
            "recipient": "r",
            "interaction_id": f"c{random.randrange(6)}",
        }
        for _ in range(6)
    ]


@pytest.mark.parametrize("seed", [1])
def test_after_every_batch_all_tables_are_those_of_the_definitions(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    warehouse = IncrementalWarehouse(tmp_path)
    earlier: list[tuple[str, str]] = []
    for batch in range(BATCHES):
        new = lines(random, 50)
        retried = random.sample(earlier, min(20, len(earlier)))
        spread(warehouse.settings.landing_path, new + retried, random, batch=str(batch))
        earlier += new
        folder = warehouse.settings.landing_path / "messages"
        folder.mkdir(exist_ok=True)
        records = "\n".join(json.dumps(record) for record in canonical(random))
        (folder / f"{batch}.jsonl").write_text(records)
        report = warehouse.load()
        assert report.streams["webhooks"].loaded and not report.streams["webhooks"].quarantined
        warehouse.build()
        held, defined = warehouse.held(), definitions_of(warehouse)
        assert held.keys() == defined.keys()
        for table, rows in held.items():
            assert rows == defined[table], (batch, table)
