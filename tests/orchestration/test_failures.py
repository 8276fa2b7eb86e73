"""How steps fail: what is tried again, what is not, and what is said to be left."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.batches import open_batch
from orchestration.failures import explained
from orchestration.warehouse import create_raw_tables, warehouse


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """A warehouse that was asked for a backfill which nobody has built."""
    here, now = Settings(home=tmp_path), datetime.now(UTC)
    with warehouse(here) as connection:
        create_raw_tables(connection)
        open_batch(connection, cause="backfill", as_of=now, now=now)
    return here


@pytest.mark.parametrize(
    ("error", "is_tried_again", "said"),
    [
        (UserError("Mend it."), False, "Mend it."),
        (OSError(28, "No space left on device"), True, "[Errno 28] No space left on device"),
        (dg.Failure("Checks failed: x.", allow_retries=False), False, "Checks failed: x."),
    ],
)
def test_only_what_may_pass_is_tried_again_and_all_say_what_is_left(
    here: Settings, error: Exception, is_tried_again: bool, said: str
) -> None:
    context = dg.build_asset_context()
    with pytest.raises(dg.Failure) as failure, explained(context, here):
        raise error
    assert failure.value.description == said
    assert failure.value.allow_retries is is_tried_again
    left = failure.value.metadata.get("not_published_yet")
    assert isinstance(error, dg.Failure) or left.value == ["Batch 1 (every day anew)"]
