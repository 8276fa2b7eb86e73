"""What the last gate looks at: small pandas frames of what was restated, and SQL that fills them.

A frame never holds a message, so no address of an end user can be in what is told of it. What is
expected of the frames stands in `expectations.py`.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from msgmetrics.catalogue import Metric, catalogue
from msgmetrics.published_tables import VIEWS, Mart, marts
from orchestration.published_rows import are_parts_rows, names_with_parts

# So many rows tell what is wrong; more would not be read.
_SHOWN = 20
_WEEKS = 4
_HOURS = 24


@dataclass(frozen=True)
class Scope:
    """What is looked at: what changed after a batch; every row if it is None."""

    after: int | None


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None) -> list[dict]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _frame(connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None) -> pd.DataFrame:
    return connection.execute(sql, values).df()


# --- values of metrics --------------------------------------------------------------------------


Bounds = tuple[float | None, float | None, int]


class Seen:
    """What was seen of the rows of each mart: the bounds of its metrics, rows that cannot be, and
    hours ahead of now.

    It is shown the rows while they are at hand, as they are written or all that there are, and
    keeps none but those that tell what is wrong. Of several marts several threads may show it rows
    at once.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
        self._now = now.replace(tzinfo=None)
        self._present = _columns_of_marts(connection)
        self.bounds: dict[tuple[str, str], Bounds] = {}
        self.impossible: list[dict[str, Any]] = []
        self.ahead: list[dict[str, Any]] = []

    def look(self, connection: duckdb.DuckDBPyConnection, mart: Mart, rows: str) -> None:
        """Looks at rows of a mart, and so at those of the marts that are views of it.

        rows: SQL of a relation with the keys and measures of the mart.
        """
        keys = ", ".join((*mart.key_columns, *mart.measures))
        metrics = "".join(f", {mart.value(metric)} as {metric.column}" for metric in mart.metrics)
        for name in (mart.name, *_views_of(mart)):
            values = f"(select {keys}{metrics} from {rows} as seen_rows)"
            self.look_at_values(connection, name, values)

    def look_at_values(self, connection: duckdb.DuckDBPyConnection, name: str, rows: str) -> None:
        """Looks at rows of a mart that have their metrics already."""
        found = [m for m in _metrics_of(name) if m.column in self._present.get(name, set())]
        impossible = []
        measured = _measured(connection, rows, found)
        for metric, (lowest, highest, not_finite) in measured.items():
            before = self.bounds.get((name, metric.name), (None, None, 0))
            self.bounds[name, metric.name] = (
                min((b for b in (lowest, before[0]) if b is not None), default=None),
                max((b for b in (highest, before[1]) if b is not None), default=None),
                not_finite + before[2],
            )
            is_above = metric.bounded and highest is not None and highest > 1
            if not_finite or is_above or (lowest is not None and lowest < 0):
                impossible.append(metric)
        for metric in impossible:
            self.impossible += _impossible(connection, name, metric, rows)
        if name == "hourly_by_channel":
            self.ahead += _rows(
                connection,
                "select distinct period_start::varchar as period_start, channel_code, "
                f"epoch(period_start - $now) / 3600 as hours_ahead from {rows} as looked_at "
                "where period_start > $now order by all",
                {"now": self._now},
            )


def _measured(
    connection: duckdb.DuckDBPyConnection, rows: str, metrics: list[Metric]
) -> dict[Metric, Bounds]:
    if not metrics:
        return {}
    # NaN is greater than any number to DuckDB, so bounds that are finite leave room for none.
    values = ", ".join(f"min({m.column})::double, max({m.column})::double" for m in metrics)
    row = connection.execute(f"select {values} from {rows} as looked_at").fetchone()
    assert row is not None
    return {m: _bounds(*row[2 * i : 2 * i + 2]) for i, m in enumerate(metrics)}


def _impossible(
    connection: duckdb.DuckDBPyConnection, name: str, metric: Metric, rows: str
) -> list[dict[str, Any]]:
    """Rows in which a metric is what it cannot be: keys, metric and value."""
    most = "1" if metric.bounded else "'infinity'::double"
    found = _rows(
        connection,
        f"select {_keys(name)}, {metric.column}::varchar as value from {rows} as looked_at "
        f"where {metric.column} < 0 or {metric.column} > {most} "
        f"or not isfinite({metric.column}::double) limit {_SHOWN}",
    )
    return [{"mart": name, "metric": metric.name, **row} for row in found]


def every_row(connection: duckdb.DuckDBPyConnection, now: datetime) -> Seen:
    """What is seen of all rows of all marts."""
    seen, with_parts = Seen(connection, now), names_with_parts(connection)
    for mart in marts().values():
        if are_parts_rows(connection, mart, with_parts):
            parts = f"(select * from parts.{mart.name} where {mart.is_row})"
            seen.look(connection, mart, parts)
        else:
            for name in (mart.name, *_views_of(mart)):
                seen.look_at_values(connection, name, f"marts.{name}")
    return seen


def _views_of(mart: Mart) -> list[str]:
    return [view for view, select in VIEWS.items() if select.endswith(f" from {mart.name}")]


def _metrics_of(name: str) -> list[Metric]:
    """The metrics that a mart should have; none where it has measures alone."""
    grain, _, cut = name.partition("_by_")
    if not cut:
        return []
    return [metric for metric in catalogue().metrics.values() if metric.url or cut != "url"]


def bounds_of_metrics(connection: duckdb.DuckDBPyConnection, seen: Seen) -> pd.DataFrame:
    """One row per mart and metric that it should have.

    Columns: mart, metric, is_present, is_bounded (may not exceed 1), lowest, highest (null where
    nothing that is looked at has a value of it) and not_finite (how many of the two are NaN or
    infinite).
    """
    rows, columns = [], _columns_of_marts(connection)
    for grain in ("hourly", "daily"):
        for mart in catalogue().marts:
            name = f"{grain}_by_{mart}"
            for metric in _metrics_of(name):
                lowest, highest, not_finite = seen.bounds.get((name, metric.name), (None, None, 0))
                rows.append(
                    {
                        "mart": name,
                        "metric": metric.name,
                        "is_present": metric.column in columns.get(name, set()),
                        "is_bounded": metric.bounded,
                        "lowest": lowest,
                        "highest": highest,
                        "not_finite": not_finite,
                    }
                )
    return pd.DataFrame(rows).astype({"lowest": "float64", "highest": "float64"})


def _is_made_anew(connection: duckdb.DuckDBPyConnection, mart: str, after: int) -> bool:
    """Whether its parts since then do not tell what was touched: they were put together, or days
    were replaced."""
    found = connection.execute(
        "select coalesce(max(rebuilt_batch_id), 0) > $after "
        "from facts.marks where relation = $mart",
        {"after": after, "mart": mart},
    ).fetchone()
    replaced = connection.execute(
        "select count(*) > 0 from raw.batches where cause = 'backfill' and batch_id > ?", [after]
    ).fetchone()
    return found == (True,) or replaced == (True,)


def _columns_of_marts(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """In one query, for each looks at all columns of the warehouse before it leaves any out."""
    found = connection.execute(
        "select table_name, list(column_name) from duckdb_columns() "
        "where database_name = current_database() and schema_name = 'marts' group by all"
    ).fetchall()
    return {table: set(columns) for table, columns in found}


def _bounds(lowest: float | None, highest: float | None) -> tuple[float | None, float | None, int]:
    """(lowest, highest, how many of the two are no finite number and so left out)."""
    bounds = [b if b is None or math.isfinite(b) else None for b in (lowest, highest)]
    not_finite = sum(b is not None and not math.isfinite(b) for b in (lowest, highest))
    return bounds[0], bounds[1], not_finite


def impossible_rows(bounds: list[dict[str, Any]], seen: Seen) -> list[dict[str, Any]]:
    """The rows of marts that broken rules of the bounds are about: keys, metric and value."""
    lacking = [
        {"mart": bound["mart"], "metric": bound["metric"], "problem": "not there"}
        for bound in bounds
        if not bound["is_present"]
    ]
    return (lacking + seen.impossible)[: 5 * _SHOWN]


def _keys(name: str) -> str:
    table = VIEWS[name].rpartition(" ")[2] if name in VIEWS else name
    return ", ".join(("period_start", *marts()[table].keys))


# --- agreement ----------------------------------------------------------------------------------


def agreement(
    connection: duckdb.DuckDBPyConnection, scope: Scope
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """(one row per mart, the keys at which some differ from the messages).

    Every mart is summed by period, account and channel, and held against the messages, or for URLs
    the clicks: so all marts of a grain have the same totals, and days are the sums of their hours.
    Columns: mart, compared (how many keys), differing.
    """
    expected: dict[tuple[str, str, bool], str] = {}
    with_parts = names_with_parts(connection)
    rows, shown = [], []
    for mart in marts().values():
        whole = scope.after is None or _is_made_anew(connection, mart.name, scope.after)
        kind = (mart.unit, mart.counted, whole)
        if kind not in expected:
            expected[kind] = f"expected_{len(expected)}"
            _expect(connection, expected[kind], mart, None if whole else scope.after)
        found = f"marts.{mart.name}"
        if not whole:
            found = f"parts.{mart.name} where batch_id > {scope.after}"
        elif are_parts_rows(connection, mart, with_parts):
            found = f"parts.{mart.name} where {mart.is_row}"
        measures = ", ".join(mart.measures)
        differ = " or ".join(f"sum({name}) <> 0" for name in mart.measures)
        connection.execute(
            f"""
            create or replace temp table differing as
            select period_start, account_key, channel_code
            from (
                select period_start, account_key, channel_code, {measures} from {found}
                union all
                select * from {expected[kind]}
            ) as both_sides
            group by all
            having {differ}
            """
        )
        ((differing, compared),) = connection.execute(
            f"select (select count(*) from differing), (select count(*) from {expected[kind]})"
        ).fetchall()
        rows.append({"mart": mart.name, "compared": compared, "differing": differing})
        if differing:
            shown += [
                {"mart": mart.name, **row}
                for row in _rows(connection, f"from differing order by all limit {_SHOWN}")
            ]
    for name in expected.values():
        connection.execute(f"drop table {name}")
    return pd.DataFrame(rows), shown[: 5 * _SHOWN]


def _expect(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    mart: Mart,
    after: int | None,
) -> None:
    """Makes a table of what the messages, or clicks, come to, less than nothing."""
    source, condition = f"marts.{mart.counted}", ""
    if after is not None:
        facts = "fct_url_clicks" if mart.of_urls else "fct_messages"
        source, condition = f"facts.{facts}_changes", f"where batch_id > {after}"
    negative = ", ".join(f"-{name} as {name}" for name in mart.measures)
    connection.execute(
        f"create or replace temp table {name} as "
        f"select period_start, account_key, channel_code, {negative} from ("
        f"select date_trunc('{mart.unit}', sent_at) as period_start, account_key, channel_code, "
        f"{mart.sums()} from {source} {condition} group by all) as sums"
    )


# --- time and volume ------------------------------------------------------------------------------


def hours_ahead(seen: Seen, now: datetime) -> pd.DataFrame:
    """The hours of sending that lie ahead of now. Columns: period_start (text), channel_code,
    hours_ahead. One row at least, so that there is something to expect of."""
    nothing = {"period_start": str(now.replace(tzinfo=None)), "channel_code": None}
    return pd.DataFrame([*seen.ahead, nothing | {"hours_ahead": 0.0}])


def volumes(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> pd.DataFrame:
    """The last day's complete hours by channel, against the same hours of earlier weeks.

    Columns: period_start (text), channel_code, messages, usual (the median of the weeks that the
    warehouse reaches back to, two of them at least) and times_usual.
    """
    until = as_of.replace(tzinfo=None, minute=0, second=0, microsecond=0)
    return _frame(
        connection,
        """
        with

        hours as (

            select period_start, channel_code, sum(messages_out + messages_in) as messages
            from marts.hourly_by_channel
            where period_start >= $since and period_start < $until
            group by all

        ),

        known_since as (select min(period_start) as first_hour from hours),

        expected as (

            select
                now_hour as period_start, channel_code, week,
                now_hour - week * interval 7 day as period_then
            from (select unnest(generate_series(
                $until - interval 1 hour * $hours, $until - interval 1 hour, interval 1 hour
            )) as now_hour) as last_day
            cross join (select distinct channel_code from hours) as channels
            cross join (select unnest(generate_series(1, $weeks)) as week) as weeks
            where period_then >= (select first_hour from known_since)

        ),

        usual as (

            select
                expected.period_start, expected.channel_code,
                median(coalesce(hours.messages, 0)) as usual
            from expected
            left join hours
                on hours.period_start = expected.period_then
                and hours.channel_code = expected.channel_code
            group by all
            having count(*) >= 2

        )

        select
            usual.period_start::varchar as period_start, usual.channel_code,
            coalesce(hours.messages, 0)::double as messages, usual.usual::double as usual,
            coalesce(hours.messages, 0)::double / usual.usual as times_usual
        from usual
        left join hours using (period_start, channel_code)
        where usual.usual > 0
        order by usual.period_start, usual.channel_code
        """,
        {
            "since": until - timedelta(days=7 * _WEEKS, hours=_HOURS),
            "until": until,
            "hours": _HOURS,
            "weeks": _WEEKS,
        },
    )


def freshness(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> pd.DataFrame:
    """One row: newest_message (text), seconds_behind as_of; both null without a message."""
    return _frame(
        connection,
        "select max(sent_at)::varchar as newest_message, "
        "epoch($as_of::timestamp - max(sent_at)) as seconds_behind from marts.messages "
        "where sent_at <= $as_of::timestamp",
        {"as_of": as_of.replace(tzinfo=None)},
    )


def arrivals(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row a stream of records. Columns: stream, loaded, refused, share_refused, waiting and
    share_waiting: of events, those whose message is not known."""
    return _frame(
        connection,
        """
        select
            stream, loaded, refused,
            refused / greatest(loaded + refused, 1) as share_refused,
            waiting,
            waiting / greatest(loaded, 1) as share_waiting
        from (
            select
                files.stream,
                sum(files.loaded)::double as loaded,
                coalesce(any_value(refusals.refused), 0)::double as refused,
                case when files.stream = 'events' then
                    (select coalesce(sum(events), 0)::double from facts.waiting_events)
                else 0 end as waiting
            from raw.files as files
            left join (
                select stream, count(*) as refused from raw.quarantine
                where closed_at is null and row_number is not null group by stream
            ) as refusals on refusals.stream = files.stream
            group by files.stream
        ) as counts
        order by stream
        """,
    )
