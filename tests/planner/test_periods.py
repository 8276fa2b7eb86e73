"""Starts of periods, and the period that is answered for the one asked."""

from datetime import UTC, datetime, timedelta

import pytest

from endpoint.planning.periods import period_end, period_start, requested_period
from msgmetrics.catalogue import catalogue

# A Wednesday.
MOMENT = datetime(2026, 5, 6, 13, 45, 59, 5, tzinfo=UTC)
FAR = datetime(9999, 1, 1, tzinfo=UTC)


def day(year, month, day, hour=0, minute=0):
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dimension", "start", "end"),
    [
        ("HOUR", day(2026, 5, 6, 13), day(2026, 5, 6, 14)),
        ("DAY", day(2026, 5, 6), day(2026, 5, 7)),
        ("WEEK_SATURDAY_START", day(2026, 5, 2), day(2026, 5, 9)),
        ("WEEK_SUNDAY_START", day(2026, 5, 3), day(2026, 5, 10)),
        ("WEEK_MONDAY_START", day(2026, 5, 4), day(2026, 5, 11)),
        ("MONTH", day(2026, 5, 1), day(2026, 6, 1)),
        ("QUARTER", day(2026, 4, 1), day(2026, 7, 1)),
        ("YEAR", day(2026, 1, 1), day(2027, 1, 1)),
    ],
)
def test_a_moment_lies_between_the_start_and_the_end_of_its_period(dimension, start, end):
    assert period_start(MOMENT, dimension) == period_start(start, dimension) == start
    assert period_end(MOMENT, dimension) == period_end(start, dimension) == end
    assert period_start(end, dimension) == end


def test_every_period_ends_where_the_next_begins_over_many_years():
    for dimension in catalogue().time_dimensions:
        moment = day(2023, 12, 20, 5)
        for _ in range(60):
            end = period_end(moment, dimension)
            assert period_start(end, dimension) == end
            assert period_start(end - timedelta(microseconds=1), dimension) <= moment
            moment = end + (period_end(end, dimension) - end) / 2


@pytest.mark.parametrize("dimension", catalogue().time_dimensions)
@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_do_not_overflow(dimension, moment):
    moment = moment.replace(tzinfo=UTC)
    assert period_start(moment, dimension) <= moment <= period_end(moment, dimension)
    requested_period(moment, moment, as_of=FAR, time_dimension=dimension)
    requested_period(datetime.min.replace(tzinfo=UTC), moment, as_of=FAR, time_dimension=dimension)


@pytest.mark.parametrize(
    ("since", "until", "dimension", "start", "end"),
    [
        (day(2026, 5, 6, 9, 30), day(2026, 5, 6, 9, 40), None, (6, 9), (6, 10)),
        (day(2026, 5, 6, 9, 30), day(2026, 5, 6, 10), None, (6, 9), (6, 10)),
        (day(2026, 5, 6, 9, 30), day(2026, 5, 6, 9, 40), "DAY", (6, 0), (7, 0)),
        (day(2026, 5, 6), day(2026, 5, 7), "WEEK_MONDAY_START", (4, 0), (11, 0)),
        (day(2026, 5, 19, 10), day(2026, 5, 20, 12), None, (19, 10), (20, 8)),
        (day(2026, 5, 20), day(2026, 5, 21), "YEAR", None, (20, 8)),
        # Later than all that is known: nothing, but never before its own start.
        (day(2026, 5, 20, 8, 30), day(2026, 5, 20, 9), None, (20, 8), (20, 8)),
        (day(2026, 5, 20, 9, 30), day(2026, 5, 21), None, (20, 9), (20, 9)),
        (day(2026, 5, 25), day(2026, 5, 26), "DAY", (25, 0), (25, 0)),
        # Empty as asked stays empty, even where widening would make something of it.
        (day(2026, 5, 6, 9, 30), day(2026, 5, 6, 9, 30), "DAY", (6, 0), (6, 0)),
    ],
)
def test_the_period_is_widened_then_cut_at_the_last_complete_hour(
    since, until, dimension, start, end
):
    as_of = day(2026, 5, 20, 8, 59)
    expected = (
        day(2026, 1, 1) if start is None else day(2026, 5, *start),
        day(2026, 5, *end),
    )
    assert requested_period(since, until, as_of=as_of, time_dimension=dimension) == expected
