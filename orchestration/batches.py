"""A run's as_of: the moment up to which its snapshot counts as complete.

The loader writes it into raw.batches, publishing reads it there; both rules stand here.
"""

from datetime import UTC, datetime, timedelta

import duckdb

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings


def parse_as_of(text: str, now: datetime) -> datetime:
    """An as_of as the user gave it, in UTC.

    Raises UserError where it is no moment with an offset, or lies in the future.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UserError(
            f"--as-of {text!r} is not a moment: give one with an offset, as 2026-05-05T10:00:00Z."
        )
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise UserError(f"--as-of {text!r} lies outside the years that can be counted.") from None
    if moment > now:
        raise UserError(
            f"--as-of {text} lies in the future: nothing can be known to be complete up to then; "
            "give a moment that has passed, or leave it out."
        )
    return moment


def as_of_of_a_run(
    connection: duckdb.DuckDBPyConnection, settings: Settings, asked: str | None, now: datetime
) -> tuple[datetime, str | None]:
    """The as_of of a run that starts now, and a remark where it is not the one asked for.

    It is the moment asked for, or now, less MSGMETRICS_LANDING_DELAY, and never goes back.
    """
    moment = parse_as_of(asked, now) if asked else now
    try:
        moment -= timedelta(seconds=settings.landing_delay)
    except OverflowError:
        raise UserError(f"--as-of {asked} lies outside the years that can be counted.") from None
    last = last_as_of(connection)
    if last is not None and moment < last:
        return last, (
            f"as_of stays at {last:%Y-%m-%dT%H:%M:%SZ}: it never goes back, "
            f"and {moment:%Y-%m-%dT%H:%M:%SZ} is earlier."
        )
    return moment, None


def last_as_of(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """The as_of of the latest run that loaded, in UTC; None before the first."""
    try:
        row = connection.execute("select max(as_of) from raw.batches").fetchone()
    except duckdb.CatalogException:
        return None
    return row[0].replace(tzinfo=UTC) if row and row[0] else None
