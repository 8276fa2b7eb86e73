"""Starts and ends of hours to years, and the period that a question is answered for.

Moments are aware datetimes in UTC, periods are (inclusive, exclusive). Nothing here overflows: at
the ends of the calendar a period is cut short.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

Period = tuple[datetime, datetime]

# The weekday on which each kind of week starts, Monday being 0.
WEEK_STARTS = {"WEEK_MONDAY_START": 0, "WEEK_SATURDAY_START": 5, "WEEK_SUNDAY_START": 6}

# The three kinds of week are equally fine.
_FINEST_FIRST = ("HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
# At least as long as any period of the kind, and never as long as two.
_LONGEST = {
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
    **dict.fromkeys(WEEK_STARTS, timedelta(days=7)),
    "MONTH": timedelta(days=31),
    "QUARTER": timedelta(days=92),
    "YEAR": timedelta(days=366),
}


def finest(time_dimensions: Iterable[str]) -> str | None:
    """The finest of some time dimensions, the first of several weeks; None of none."""
    return min(time_dimensions, key=_fineness, default=None)


def _fineness(time_dimension: str) -> int:
    return _FINEST_FIRST.index(time_dimension.partition("_")[0])


def period_start(moment: datetime, time_dimension: str) -> datetime:
    """The start of the hour, day, week, month, quarter or year that a moment falls into."""
    if time_dimension == "HOUR":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if time_dimension in WEEK_STARTS:
        passed = timedelta(days=(day.weekday() - WEEK_STARTS[time_dimension]) % 7)
        return day - passed if day - _FIRST >= passed else _FIRST
    if time_dimension == "MONTH":
        return day.replace(day=1)
    if time_dimension == "QUARTER":
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    if time_dimension == "YEAR":
        return day.replace(month=1, day=1)
    return day


def period_end(moment: datetime, time_dimension: str) -> datetime:
    """The end, exclusive, of the period that a moment falls into; a start ends its own period."""
    start = period_start(moment, time_dimension)
    if _LAST - start < _LONGEST[time_dimension]:
        return _LAST
    return period_start(start + _LONGEST[time_dimension], time_dimension)


def raised(moment: datetime, time_dimension: str) -> datetime:
    """The moment itself if a period starts there, else the end of its period."""
    if period_start(moment, time_dimension) == moment:
        return moment
    return period_end(moment, time_dimension)


def requested_period(
    since: datetime, until: datetime, *, as_of: datetime, time_dimension: str | None = None
) -> Period:
    """The period that is answered for the one asked.

    Widened to whole periods of the time dimension (None: to whole hours), then cut at the last hour
    that is complete at `as_of`, never before its start. A period that was asked empty stays empty.
    """
    dimension = time_dimension or "HOUR"
    start = period_start(since, dimension)
    if since == until:
        return start, start
    end = min(raised(until, dimension), period_start(as_of, "HOUR"))
    return start, max(start, end)
