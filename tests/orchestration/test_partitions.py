"""Days as partitions, and the days that a user may ask to have recomputed."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.partitions import days_of, parse_days

TODAY = datetime.now(UTC).date()


def test_days_go_from_the_first_that_is_set_to_today(tmp_path: Path) -> None:
    days = days_of(Settings(home=tmp_path, first_day=date(2026, 1, 31))).get_partition_keys()
    assert days[0] == "2026-01-31" and days[-1] == TODAY.isoformat()


def test_both_days_of_a_range_are_part_of_it(tmp_path: Path) -> None:
    here = Settings(home=tmp_path)
    assert parse_days(here, "2020-01-01", TODAY.isoformat()) == (date(2020, 1, 1), TODAY)
    assert parse_days(here, "2024-02-29", "2024-02-29") == (date(2024, 2, 29), date(2024, 2, 29))


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("yesterday", "2026-05-05", "--from 'yesterday' is not a day"),
        ("2026-05-05", "20260506", "--to '20260506' is not a day"),
        ("2026-02-30", "2026-05-05", "--from '2026-02-30' is not a day"),
        ("2026-05-05", "2026-05-04", "give the earlier day first"),
        ("2019-12-31", "2020-01-02", "MSGMETRICS_FIRST_DAY"),
        ("2020-01-02", (TODAY + timedelta(days=1)).isoformat(), "MSGMETRICS_FIRST_DAY"),
    ],
)
def test_days_that_cannot_be_recomputed_are_refused_in_one_sentence(
    tmp_path: Path, since: str, until: str, said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        parse_days(Settings(home=tmp_path), since, until)
    assert said in str(refusal.value) and str(refusal.value).count("\n") == 0
