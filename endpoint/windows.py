"""Arithmetic of fixed time buckets, in whole seconds and bucket numbers.

A moment is a count of whole seconds since 1970 in UTC, a bucket is the number of steps since then.
Both are plain integers, so nothing overflows at the ends of the calendar. No data is read here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Finest first: the order in which a plan's gate compares them.
STEP_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


def seconds_at(moment: datetime) -> int:
    """Whole seconds since 1970 of an aware datetime, cut down."""
    return (moment - EPOCH) // timedelta(seconds=1)


def moment_at(seconds: int) -> datetime:
    """The aware datetime of whole seconds since 1970. Raises OverflowError outside years 1-9999."""
    return EPOCH + timedelta(seconds=seconds)


FIRST_SECOND = seconds_at(datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Window:
    """`count` buckets of one step from bucket number `first` on."""

    step: int
    first: int
    count: int

    @classmethod
    def covering(cls, step: int, from_seconds: int, to_seconds: int) -> "Window":
        """The buckets from the one that holds the start to the one that holds the end."""
        first = from_seconds // step
        return cls(step, first, to_seconds // step - first + 1)

    def start(self, position: int = 0) -> int:
        """The moment at which the bucket at a position begins."""
        return (self.first + position) * self.step

    def part(self, position: int, count: int) -> "Window":
        """At most `count` buckets of this window from a position on."""
        return Window(self.step, self.first + position, min(count, self.count - position))

    def before(self) -> "Window":
        """As many buckets, ending where this window begins."""
        return Window(self.step, self.first - self.count, self.count)

    def complete(self, as_of_seconds: int) -> "Window":
        """The buckets at the front of this window that end at or before a moment."""
        known = as_of_seconds // self.step - self.first
        return Window(self.step, self.first, max(0, min(self.count, known)))
