"""How many messages are sent when: the day's curve, the week's, and the slices of the period.

A slice is a stretch of time within one UTC day; its messages are made together, and what arrives
during it is written together. Which messages these are is not decided here.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

MESSAGES_PER_SLICE = 60_000
"""More than this in a block of hours and it is cut up: memory stays the same at any size."""

_HOURS = np.array([
    9, 6, 5, 5, 6, 9, 18, 34, 55, 72, 78, 74, 66, 68, 72, 74, 76, 80, 78, 66, 50, 36, 24, 15,
])  # fmt: skip
_WEEKDAYS = np.array([1.0, 1.04, 1.02, 1.05, 1.1, 0.74, 0.62])  # Monday first


@dataclass(frozen=True)
class Slice:
    """Microseconds since 1970, upper bound exclusive; the ordinals of its messages."""

    number: int
    start_us: int
    end_us: int
    first_ordinal: int
    messages: int
    part: int  # counts the slices that begin in the same hour

    @property
    def folder(self) -> str:
        """The folder below a stream that holds what arrives during the slice."""
        start = datetime.fromtimestamp(self.start_us // SECOND, UTC)
        return f"dt={start:%Y-%m-%d}/hour={start:%H}"


class Volume:
    """The curve of a period: strictly increasing from 0 at its start to 1 at its end."""

    def __init__(self, start_us: int, end_us: int, rng: np.random.Generator) -> None:
        first_hour = start_us // HOUR + 1
        hours = np.arange(first_hour, -(-end_us // HOUR)) * HOUR
        self._edges = np.concatenate([[start_us], hours, [end_us]]).astype(float)
        begins = self._edges[:-1].astype(np.int64)
        days = begins // DAY
        of_days = rng.normal(1, 0.06, days[-1] - days[0] + 1).clip(0.8, 1.2)
        # 1970-01-01 was a Thursday.
        rates = _HOURS[begins // HOUR % 24] * _WEEKDAYS[(days + 3) % 7] * of_days[days - days[0]]
        shares = np.concatenate([[0.0], np.cumsum(rates * np.diff(self._edges))])
        self._shares = shares / shares[-1]

    def share_at(self, time_us: np.ndarray | float) -> np.ndarray:
        """The share of all messages that is sent before a time."""
        return np.interp(time_us, self._edges, self._shares)

    def time_at(self, share: np.ndarray | float) -> np.ndarray:
        """The time before which a share of all messages is sent, in microseconds."""
        return np.interp(share, self._shares, self._edges)

    def sample(self, slice_: Slice, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random times within a slice, distributed as the curve says."""
        low, high = self.share_at(np.array([slice_.start_us, slice_.end_us], float))
        times = self.time_at(rng.uniform(low, high, count)).astype(np.int64)
        return times.clip(slice_.start_us, slice_.end_us - 1)


def slices(
    volume: Volume, start_us: int, end_us: int, messages: int, per_slice: int = MESSAGES_PER_SLICE
) -> list[Slice]:
    """The period cut into slices whose messages add up to `messages` exactly."""
    days = (end_us - start_us) / DAY
    blocks = 4 if days <= 14 or messages / days >= 2000 else 1
    width = DAY // blocks
    edges = [start_us, *range((start_us // width + 1) * width, end_us, width), end_us]
    made: list[Slice] = []
    begun: dict[int, int] = {}
    first = 0
    for low, high in zip(edges, edges[1:], strict=False):
        share_low, share_high = volume.share_at(np.array([low, high], float))
        pieces = max(1, math.ceil((share_high - share_low) * messages / per_slice))
        cuts = volume.time_at(np.linspace(share_low, share_high, pieces + 1)).astype(np.int64)
        bounds = [low, *(int(cut) for cut in cuts[1:-1]), high]
        for begin, end in zip(bounds, bounds[1:], strict=False):
            upto = messages if end == end_us else round(float(volume.share_at(end)) * messages)
            hour = begin // HOUR
            part = begun.get(hour, 0)
            begun[hour] = part + 1
            made.append(Slice(len(made), begin, end, first, upto - first, part))
            first = upto
    return made
