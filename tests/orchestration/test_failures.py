"""How steps fail: what is tried again, what is not, and what is said to be left."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.batches import open_batch
from orchestration.failures import BY_HAND, explained, failure_of_checks, told_of_broken
from orchestration.passes import _failure as told_of
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
    with pytest.raises(dg.Failure) as failure, explained(dg.build_asset_context(), here):
        raise error
    assert failure.value.description == said
    assert failure.value.allow_retries is is_tried_again
    left = failure.value.metadata.get("not_published_yet")
    assert isinstance(error, dg.Failure) or left.value == ["Batch 1 (every day anew)"]


class Invocation:
    """Of dbt, in which a test broke: what it writes of it."""

    def get_artifact(self, name: str) -> dict:
        assert name == "run_results.json"
        reason = "Out of Memory Error: failed to pin a block of 'alice@example.com'"
        message = f"Runtime Error in test unique (data_tests/unique.sql)\n  {reason}\n\n  Do this."
        return {"results": [{"unique_id": "test.msgmetrics.unique", "message": message}]}


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_check_that_broke_is_told_as_that_and_tried_again_unless_somebody_waits(
    by_hand: bool,
) -> None:
    key = dg.AssetKey(["marts", "daily_by_country"])
    check = dg.AssetCheckResult(
        passed=False,
        asset_key=key,
        check_name="unique",
        metadata={"unique_id": "test.msgmetrics.unique", "status": "error"},
    )
    context = SimpleNamespace(
        selected_asset_check_keys={dg.AssetCheckKey(key, "unique")},
        has_tag=lambda tag: tag == BY_HAND and by_hand,
    )
    (told,) = told_of_broken(context, Invocation(), [check])
    assert told.description == (
        "The check itself is broken, which says nothing of the data: "
        "Out of Memory Error; MSGMETRICS_MEMORY gives it more"
    )
    failure = failure_of_checks(context, [], [check])
    assert "could not be made" in failure.description
    assert failure.allow_retries is not by_hand
    # one that found something is not to be tried again, whatever else broke
    assert not failure_of_checks(context, ["other"], [check]).allow_retries


def test_at_the_command_line_a_check_that_found_something_is_named_before_one_that_broke() -> None:
    def evaluation(name: str, **metadata: str) -> SimpleNamespace:
        check = SimpleNamespace(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            check_name=name,
            asset_key=dg.AssetKey(["marts", "messages"]),
            metadata={key: dg.MetadataValue.text(value) for key, value in metadata.items()},
        )
        return SimpleNamespace(event_type_value="ASSET_CHECK_EVALUATION", event_specific_data=check)

    broke, found = evaluation("broke", broken_check="Out of Memory Error"), evaluation("found")
    run = SimpleNamespace(run_id="r", all_events=[broke, found])
    assert "the check found of marts.messages failed" in str(told_of(run, "Nothing was published"))
    run = SimpleNamespace(run_id="r", all_events=[broke])
    assert (
        "the check broke of marts.messages could not be made (Out of Memory Error), which says "
        "nothing of the data"
    ) in str(told_of(run, "Nothing was published"))


def test_a_run_started_by_hand_fails_at_once(here: Settings) -> None:
    context = dg.build_asset_context(run_tags={BY_HAND: "true"})
    with pytest.raises(dg.Failure) as failure, explained(context, here):
        raise OSError(28, "No space left on device")
    assert not failure.value.allow_retries
