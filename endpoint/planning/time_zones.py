"""Local time: a zone's offsets from UTC over a period, and the periods that they make.

One source says when clocks change, here as in what is printed: the IANA database that zoneinfo
reads. The SQL gets offsets bound as numbers; the engine's own idea of zones is never asked.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from endpoint.planning.periods import Period, period_start

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
# A local clock is never further away from UTC; nearer to the ends of the calendar there is none.
_EDGE = 2 * _DAY
# The zone of the machine, and that of one where none was set.
_OF_NO_PLACE = {"localtime", "Factory"}


@cache
def zone_names() -> frozenset[str]:
    """The names of the IANA time zones, without those that stand for no place of their own."""
    return frozenset(available_timezones() - _OF_NO_PLACE)


def offset_at(moment: datetime, zone: ZoneInfo) -> timedelta:
    """What the local clock is ahead of UTC at a moment; zero at the ends of the calendar."""
    if _near_an_end(moment):
        return timedelta(0)
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _near_an_end(moment: datetime) -> bool:
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    return naive - datetime.min < _EDGE or datetime.max - naive < _EDGE


def local_hours(period: Period, *, as_of: datetime, zone: ZoneInfo) -> Period:
    """The period, widened to whole hours of the local clock.

    It is cut at the last such hour that is complete at `as_of`, never before its start; one that
    was asked empty stays empty. All moments are in UTC.
    """
    since, until = period
    start = _hour_start(since, zone)
    if since == until:
        return start, start
    end = _hour_start(until, zone)
    if end != until and not _near_an_end(until):
        end += _HOUR
    return start, max(start, min(end, _hour_start(as_of, zone)))


def _hour_start(moment: datetime, zone: ZoneInfo) -> datetime:
    offset = offset_at(moment, zone)
    return period_start(moment + offset, "HOUR") - offset


@dataclass(frozen=True)
class Offsets:
    """A zone's offsets over a period: each holds from its moment, in UTC, up to the next one's.

    The first moment is the period's start.
    """

    zone: ZoneInfo
    steps: tuple[tuple[datetime, timedelta], ...]

    @classmethod
    def over(cls, zone: ZoneInfo, period: Period) -> "Offsets":
        """The offsets over a period; of a long one every day is looked at."""
        return cls(zone, tuple(_steps(zone, *period)))

    @property
    def differ_from_utc(self) -> bool:
        return any(offset for _, offset in self.steps)

    @property
    def are_whole_hours(self) -> bool:
        return not any(offset % _HOUR for _, offset in self.steps)

    def instant(self, local: datetime) -> datetime:
        """The first moment, in UTC, at which the local clock shows a time, or has jumped over it.

        local: a datetime without a zone.
        """
        if local - datetime.min < _EDGE or datetime.max - local < _EDGE:
            return local.replace(tzinfo=UTC)
        moment = local.replace(tzinfo=self.zone).astimezone(UTC)
        if moment.astimezone(self.zone).replace(tzinfo=None) == local:
            return moment
        # The clock never showed it: it jumped over it at the start of a step.
        starts = [start for start, _ in self.steps]
        position = bisect_right(starts, moment) - 1
        return starts[position] if position > 0 else moment


def _steps(
    zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[tuple[datetime, timedelta]]:
    offset = offset_at(since, zone)
    yield since, offset
    day = since
    while day < until:
        following = day + _DAY if until - day > _DAY else until
        changed = offset_at(following, zone)
        if changed != offset:
            yield _change(zone, day, following), changed
            offset = changed
        day = following


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The second at which the offset changes between two moments."""
    old = offset_at(before, zone)
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(before + timedelta(seconds=middle), zone) == old:
            low = middle
        else:
            high = middle
    return before + timedelta(seconds=high)
