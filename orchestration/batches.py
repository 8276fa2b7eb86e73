"""Batches: what may cause a restatement, in the order in which it came, with its as_of.

as_of is the moment up to which a snapshot counts as complete. What a batch restates, and how, is
dbt's affair (`dbt_project/models/restatement`).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import duckdb

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings

Cause = Literal["load", "backfill", "requeue"]


def open_batch(
    connection: duckdb.DuckDBPyConnection,
    *,
    cause: Cause,
    as_of: datetime,
    now: datetime,
    run_id: str | None = None,
    from_day: date | None = None,
    to_day: date | None = None,
) -> int:
    """Writes the row of a new batch and returns its number, which is greater than any before.

    A backfill recomputes the sent-days from `from_day` to `to_day`, both included, or all that
    there are if both are None. It is done once a build has ended; if that is killed, by the next.
    """
    row = connection.execute(
        """
        insert into raw.batches (batch_id, run_id, as_of, started_at, cause, from_day, to_day)
        select coalesce(max(batch_id), 0) + 1, $run_id, $as_of, $now, $cause, $from_day, $to_day
        from raw.batches
        returning batch_id
        """,
        {
            "run_id": run_id,
            "as_of": as_of.replace(tzinfo=None),
            "now": now.replace(tzinfo=None),
            "cause": cause,
            "from_day": from_day,
            "to_day": to_day,
        },
    ).fetchone()
    assert row is not None
    return row[0]


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
