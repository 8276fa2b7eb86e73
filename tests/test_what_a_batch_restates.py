"""What a batch restates, and what the trail says of it: no more than what its cause has changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest
from hostile import NOW, Record, RecordSet, drawn, side_by_side
from incremental_warehouse import IncrementalWarehouse, definitions_of
from test_incremental_equals_full_refresh import assert_same

LONG_AGO = NOW - timedelta(days=400)


def message(number: int, **fields: object) -> Record:
    return {
        "message_id": f"0000-{number}",
        "account_key": "0000-shop",
        "direction": "OUTBOUND",
        "channel_code": "SMS",
        "sent_at": LONG_AGO.isoformat(),
        "sender": "Shop",
        "recipient": "385911111111",
        **fields,
    }


def event(number: int, event_type: str, **fields: object) -> Record:
    return {
        "event_id": f"0000-{number}-{event_type}",
        "message_id": f"0000-{number}",
        "event_type": event_type,
        "occurred_at": (LONG_AGO + timedelta(minutes=1)).isoformat(),
        **fields,
    }


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncrementalWarehouse]:
    """A built one: the messages below, and many others. In the end all its tables must be right."""
    warehouse = IncrementalWarehouse(tmp_path_factory.mktemp("restated"))
    ours = RecordSet(
        messages=(
            *(message(number) for number in range(4)),
            message(4, direction="INBOUND", segments=3, cost_cents="0.5"),
            message(5),
            message(6, account_key="0000-others"),
            message(7),
        ),
        events=(
            event(0, "UNDELIVERABLE", error_code="EC_SYSTEM_ERROR"),
            event(1, "UNDELIVERABLE", error_code="EC_UNKNOWN_SUBSCRIBER"),
            event(2, "DROPPED", drop_reason="BLOCKED_DOMAIN"),
            event(5, "UNDELIVERABLE"),
            event(6, "CLICKED", url="https://x.io/"),
        ),
    )
    others = side_by_side(drawn(20, 3))
    together = [
        here + there for (_, here), (_, there) in zip(ours.streams(), others.streams(), strict=True)
    ]
    warehouse.arrive(RecordSet(*together), Random(3))
    warehouse.build()
    yield warehouse
    assert_same(warehouse.held(), definitions_of(warehouse))


def changes(warehouse: IncrementalWarehouse, *columns: str) -> set[tuple]:
    with warehouse.connection() as connection:
        return set(
            connection.execute(
                f"select sign, message_id, {', '.join(columns)} from facts.fct_messages_changes "
                "where batch_id = (select max(batch_id) from raw.batches)"
            ).fetchall()
        )


def in_reference(warehouse: IncrementalWarehouse, statement: str) -> None:
    with warehouse.connection() as connection:
        connection.execute(f"update reference.{statement}")


def held_by(warehouse: IncrementalWarehouse, condition: str) -> set[str]:
    with warehouse.connection() as connection:
        rows = connection.execute(f"select message_id from facts.fct_messages where {condition}")
        return {message_id for (message_id,) in rows.fetchall()}


def test_a_changed_error_code_restates_the_messages_that_use_it(warehouse) -> None:
    using = held_by(warehouse, "error_code = 'EC_SYSTEM_ERROR'")
    assert "0000-0" in using
    in_reference(
        warehouse,
        "error_codes set error_group = 'USER_ERRORS' where error_code = 'EC_SYSTEM_ERROR'",
    )
    warehouse.load()
    warehouse.build()
    found = changes(warehouse, "error_group")
    assert {message_id for _, message_id, _ in found} == using
    assert {(sign, group == "USER_ERRORS") for sign, _, group in found} == {(1, True), (-1, False)}


def test_another_definition_restates_the_messages_whose_outcome_it_changes(warehouse) -> None:
    in_reference(
        warehouse,
        "drop_reasons set is_suppression = true where drop_reason = 'BLOCKED_DOMAIN'",
    )
    warehouse.load()
    warehouse.build(definition="a suppression is also a blocked domain")
    found = changes(warehouse, "suppressed")
    assert {(1, "0000-2", 1), (-1, "0000-2", 0)} <= found
    assert {(sign, suppressed) for sign, _, suppressed in found} == {(1, 1), (-1, 0)}


def test_what_an_earlier_release_made_on_the_way_is_dropped(warehouse) -> None:
    left = ("int_current_statuses", "int_engagement_by_message")
    with warehouse.connection() as connection:
        for name in left:
            connection.execute(f"create table facts.{name} as select 1 as message_key")
    warehouse.load()
    warehouse.build()
    with warehouse.connection() as connection:
        tables = connection.execute("select table_name from duckdb_tables()").fetchall()
    assert not {name for (name,) in tables} & set(left)


def test_a_click_400_days_late_restates_its_hour_and_the_trail_names_its_file(warehouse) -> None:
    click = event(3, "CLICKED", url="https://x.io/", occurred_at=NOW.isoformat())
    report = warehouse.arrive(RecordSet(events=(click,)), Random(4))
    warehouse.build()
    assert {(sign, message_id) for sign, message_id in changes(warehouse)} == {
        (1, "0000-3"),
        (-1, "0000-3"),
    }
    hour = LONG_AGO.replace(tzinfo=None)
    with warehouse.connection() as connection:
        trail = connection.execute(
            "select period_start, account_key, channel_code, messages_added, messages_changed, "
            "messages_removed, messages_out, clicks, causes, len(files), files[1] "
            "from facts.restatements where batch_id = ?",
            [report.batch_id],
        ).fetchall()
        clicked = connection.execute(
            "select period_start, clicked_messages from marts.hourly_by_channel "
            "where account_key = '0000-shop' and clicked_messages > 0"
        ).fetchall()
    (row,) = trail
    assert row[:-1] == (hour, "0000-shop", "SMS", 0, 1, 0, 0, 1, "load", 1)
    assert row[-1].startswith("events/delivery-2/")
    assert clicked == [(hour, 1)]


def read_again(warehouse: IncrementalWarehouse) -> tuple[set[str], set[int]]:
    """The messages that were carried on, and the batches of the records that were read."""
    with warehouse.connection() as connection:
        carried = connection.execute("select message_id from restatement.carried_messages")
        carried = {message_id for (message_id,) in carried.fetchall()}
        batches = connection.execute(
            "select batch_id from restatement.touched_message_records "
            "union select batch_id from restatement.touched_event_records"
        )
        return carried, {batch_id for (batch_id,) in batches.fetchall()}


def test_new_messages_and_late_events_read_no_earlier_record(warehouse) -> None:
    arriving = RecordSet(
        messages=(message(8),),
        events=(
            event(8, "DELIVERED"),
            event(8, "CLICKED", url="https://x.io/"),
            event(2, "OPENED"),
            event(3, "DELIVERED"),
            event(3, "SENT"),
            event(4, "DELIVERED"),
            event(4, "CLICKED", url="https://x.io/"),
        ),
    )
    report = warehouse.arrive(arriving, Random(5))
    warehouse.build()
    assert read_again(warehouse) == ({"0000-2", "0000-3", "0000-4"}, {report.batch_id})
    assert held_by(warehouse, "delivered = 1 and message_id = '0000-3'") == {"0000-3"}
    assert held_by(warehouse, "dropped = 1 and opens = 1") == {"0000-2"}
    assert not {"0000-4"} & {message_id for _, message_id in changes(warehouse)}


def test_an_event_that_came_before_or_competes_with_the_held_status_has_all_records_read(
    warehouse,
) -> None:
    arriving = RecordSet(
        events=(
            event(5, "DELIVERED", occurred_at=LONG_AGO.isoformat()),
            event(6, "CLICKED", url="https://x.io/another"),
            # of these two versions of one event the second counts, which is not final
            event(7, "DELIVERED", event_id="0000-7"),
            event(7, "SENT", event_id="0000-7", status="PENDING_WAITING_DELIVERY"),
        ),
    )
    report = warehouse.arrive(arriving, Random(6))
    warehouse.build()
    carried, batches = read_again(warehouse)
    assert not carried
    assert min(batches) < report.batch_id
    assert held_by(warehouse, "failed = 1 and message_id = '0000-5'") == {"0000-5"}
    assert held_by(warehouse, "clicks = 1 and message_id = '0000-6'") == {"0000-6"}
    assert held_by(warehouse, "status = 'PENDING_WAITING_DELIVERY'") == {"0000-7"}
