"""Local time: whole hours of a local clock, its offsets, and days that start late."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint.planning.time_zones import Offsets, local_hours, offset_at, zone_names

AS_OF = datetime(2026, 5, 5, 12, 50, tzinfo=UTC)


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "since", "until", "expected"),
    [
        ("Europe/Zagreb", "2026-05-01T10:15Z", "2026-05-02T10:15Z",
         ("2026-05-01T10:00Z", "2026-05-02T11:00Z")),
        ("Asia/Kolkata", "2026-05-01T10:15Z", "2026-05-02T10:30Z",
         ("2026-05-01T09:30Z", "2026-05-02T10:30Z")),
        ("Asia/Kathmandu", "2026-05-01T10:15Z", "2026-05-01T10:16Z",
         ("2026-05-01T10:15Z", "2026-05-01T11:15Z")),
        ("Asia/Kolkata", "2026-05-01T00:00Z", "2027-01-01T00:00Z",
         ("2026-04-30T23:30Z", "2026-05-05T12:30Z")),
        ("Etc/UTC", "2026-05-01T10:15Z", "2026-05-01T10:15Z",
         ("2026-05-01T10:00Z", "2026-05-01T10:00Z")),
        ("Asia/Tokyo", "2026-06-01T00:00Z", "2026-07-01T00:00Z",
         ("2026-06-01T00:00Z", "2026-06-01T00:00Z")),
    ],
)  # fmt: skip
def test_a_period_is_widened_to_hours_of_the_local_clock_and_cut_at_as_of(
    zone, since, until, expected
):
    found = local_hours((at(since), at(until)), as_of=AS_OF, zone=ZoneInfo(zone))
    assert found == tuple(at(text) for text in expected)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kolkata"])
def test_the_ends_of_the_calendar_are_no_error(zone):
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    since, until = local_hours((first, last), as_of=AS_OF, zone=ZoneInfo(zone))
    assert since == first
    assert AS_OF - timedelta(hours=1) < until <= AS_OF
    assert local_hours((last, last), as_of=AS_OF, zone=ZoneInfo(zone))[0] <= last


@given(
    zone=st.sampled_from(sorted(zone_names() - {"Factory"})),
    start=st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)),
    days=st.integers(0, 800),
    into=st.floats(0, 1),
)
def test_offsets_are_those_of_the_zone_at_every_moment(zone, start, days, into):
    start = start.replace(tzinfo=UTC, microsecond=0)
    period = (start, start + timedelta(days=days))
    offsets = Offsets.over(ZoneInfo(zone), period)
    moment = start + timedelta(days=days) * into
    told = [offset for since, offset in offsets.steps if since <= moment][-1]
    assert told == offset_at(moment, ZoneInfo(zone))


def test_a_day_whose_midnight_was_skipped_starts_when_the_clock_had_jumped():
    # Clocks went from 24:00 to 01:00.
    zone = ZoneInfo("America/Sao_Paulo")
    period = (at("2018-11-01T00:00Z"), at("2018-11-10T00:00Z"))
    start = Offsets.over(zone, period).instant(datetime(2018, 11, 4))
    assert start == at("2018-11-04T03:00Z")
    assert start.astimezone(zone).hour == 1
    # And from 23:30 to 00:30.
    zone = ZoneInfo("America/Toronto")
    period = (at("1919-03-25T00:00Z"), at("1919-04-05T00:00Z"))
    start = Offsets.over(zone, period).instant(datetime(1919, 3, 31))
    assert start.astimezone(zone).replace(tzinfo=None) == datetime(1919, 3, 31, 0, 30)
