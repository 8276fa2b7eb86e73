"""A check that stopped a build stops the next one too, though nothing new has arrived by then."""

from pathlib import Path
from random import Random

from hostile import drawn, side_by_side
from incremental_warehouse import IncrementalWarehouse

from orchestration.warehouse import hash_ids

_CHANNELS = "relationships_stg_messages_channel_code__channel_code__ref_channels_"


def test_a_message_that_no_check_has_passed_is_checked_again(tmp_path: Path) -> None:
    warehouse = IncrementalWarehouse(tmp_path)
    warehouse.arrive(side_by_side(drawn(5, 1)), Random(1))
    assert warehouse.checked_build() == set()
    with warehouse.connection() as connection:  # as a faulty loader would
        connection.execute(
            "insert into raw.messages select * replace ('pigeon' as message_id, 'PIGEON' as "
            "channel_code, null as message_hash, 2 as batch_id) from raw.messages limit 1"
        )
        hash_ids(connection, "messages")
    warehouse.load()
    assert _CHANNELS in warehouse.checked_build()
    warehouse.load()
    assert _CHANNELS in warehouse.checked_build()
    warehouse.load()
    with warehouse.connection() as connection:
        connection.execute("delete from raw.messages where message_id = 'pigeon'")
        connection.execute(
            "update raw.batches set cause = 'backfill' where batch_id = "
            "(select max(batch_id) from raw.batches)"
        )
    assert warehouse.checked_build() == set()
