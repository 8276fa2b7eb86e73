"""The days by which assets are partitioned: of landing for the raw tables, else of sending.

Both are days in UTC from MSGMETRICS_FIRST_DAY to today. They are one definition, because one job
can hold assets of one definition only. Dagster lets no run over partitioned assets be without a
partition, so a pass, which takes whatever is new, runs under the day on which it lands: today. Any
other run recomputes the days that it names. How days are recomputed is not decided here.
"""

import warnings
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings, settings

# Said of backfill policies in each process, to those who cannot change it.
warnings.filterwarnings("ignore", message=".*backfill_policy", category=dg.BetaWarning)

# A range is one run, however many days it has.
ONE_RUN = dg.BackfillPolicy.single_run()


def days_of(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Every day from the first to today, today included."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.first_day.isoformat(), timezone="UTC", end_offset=1
    )


DAYS = days_of(settings())


# The job whose partition is the day on which it lands; it recomputes no day for its own sake.
PASS = "refresh"


def landing_day() -> str:
    """The partition of a pass that starts now."""
    return datetime.now(UTC).date().isoformat()


def requested_days(context: dg.AssetExecutionContext) -> tuple[date, date] | None:
    """First and last day that the run has to recompute; None for a pass, which names none."""
    return None if context.run.job_name == PASS else run_days(context)


def run_days(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """First and last day under which the run stands in Dagster."""
    days = context.partition_key_range
    return date.fromisoformat(days.start), date.fromisoformat(days.end)


def range_tags(days: tuple[date, date]) -> dict[str, str]:
    """The tags by which Dagster knows a run over a range of partitions."""
    return {
        "dagster/asset_partition_range_start": days[0].isoformat(),
        "dagster/asset_partition_range_end": days[1].isoformat(),
    }


def parse_days(settings: Settings, since: str, until: str) -> tuple[date, date]:
    """A range of days as the user gave it. Raises UserError where it is none that can be asked."""
    first, last = _parse_day("--from", since), _parse_day("--to", until)
    today = datetime.now(UTC).date()
    if last < first:
        raise UserError(f"--to {last} lies before --from {first}: give the earlier day first.")
    if first < settings.first_day or last > today:
        raise UserError(
            f"Days from {settings.first_day} to {today} can be recomputed, and {first} to {last} "
            "are not all among them: ask for fewer days, or set MSGMETRICS_FIRST_DAY."
        )
    return first, last


def _parse_day(option: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise UserError(f"{option} {text!r} is not a day: give one as 2026-05-05.")
    return day


def is_partition(day: Any, settings: Settings) -> bool:
    """Whether the day is one of the partitions now."""
    return settings.first_day <= day <= datetime.now(UTC).date()
