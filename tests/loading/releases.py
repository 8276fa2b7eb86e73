"""Releases that judge records otherwise than today's."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestration.loading import records

REASON = "no record is good enough for this release"


@contextmanager
def release_that_refuses(condition: str = "true") -> Iterator[None]:
    """While the block runs, records of which this SQL over their texts holds are refused, too."""
    judgements = records._judgements

    def stricter(field: records.Field, *, clock: bool = True) -> list[str]:
        reasons = judgements(field, clock=clock)
        is_key = field.required and field.name in ("message_id", "event_id", "account_key")
        return [*reasons, f"case when {condition} then '{REASON}' end"] if is_key else reasons

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_judgements", stricter)
        yield
