"""What changed in a mart between two published snapshots, for the command line.

The SQL is the published file's own (`msgmetrics/published_tables.py`); this module chooses the
snapshots and puts the differences beside what the numbers were and are.
"""

from decimal import Decimal
from typing import Any

import duckdb

from msgmetrics.errors import UserError
from msgmetrics.published_tables import VIEWS, changes_of_mart, marts, tables_as_of
from msgmetrics.running import need_known, published
from msgmetrics.settings import Settings


def changes_between(
    settings: Settings,
    *,
    since: str | None,
    upto: str | None,
    mart: str,
    account: str | None = None,
    limit: int = 1000,
) -> dict[str, Any]:
    """from, to: the snapshots; rows: period_start, the mart's keys, measure, before, after, change.

    since: None for the snapshot before the other; upto: None for the current one. Raises UserError
    for a mart, a snapshot or an account that is not known.
    """
    known = marts()
    if mart in VIEWS:
        raise UserError(
            f"{mart} is a view of {VIEWS[mart].rpartition(' ')[2]} and changes with it: name that."
        )
    if mart not in known:
        raise UserError(f"There is no mart {mart!r}: use one of {', '.join(known)}.")
    with published(settings) as connection:
        batches = _batches(connection)
        ids = list(batches)
        upto = upto or ids[-1]
        since = since or next((one for one in reversed(ids) if one < upto), upto)
        for snapshot in (since, upto):
            if snapshot not in batches:
                raise UserError(
                    f"The snapshot {snapshot!r} is not held: use one of {', '.join(ids)}; how long "
                    "they are held is MSGMETRICS_SNAPSHOT_HOURS."
                )
        if since > upto:
            raise UserError("--from is the later of the two snapshots: swap them.")
        if account is not None:
            need_known(connection, [account])
        cursor = _differences(connection, mart, batches[since], batches[upto], account, limit)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, map(_short, row), strict=True)) for row in cursor.fetchall()]
    return {"from": since, "to": upto, "mart": mart, "rows": rows}


def _short(value: Any) -> Any:
    """A decimal without trailing zeros, as an integer where it is one."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else value.normalize()


def _batches(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The newest batch of each snapshot that the file leads to, the current one last."""
    try:
        rows = connection.execute(
            "select snapshot_id, batch_id from earlier_snapshots "
            "union all select snapshot_id, batch_id from snapshots order by snapshot_id"
        ).fetchall()
    except duckdb.CatalogException:
        raise UserError(
            "The published file is of an earlier release: run `msgmetrics run` first."
        ) from None
    return dict(rows)


def _differences(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    after: int,
    upto: int,
    account: str | None,
    limit: int,
) -> duckdb.DuckDBPyConnection:
    mart = marts()[name]
    keys = ("period_start", *mart.keys)
    # Costs are decimals, so all are for a while.
    measures = ", ".join(f"{measure}::decimal(38, 6) as {measure}" for measure in mart.measures)
    same = " and ".join(f"changed.{key} is not distinct from after.{key}" for key in keys)
    return connection.execute(
        f"""
        with

        changed as (
            select {", ".join(keys)}, {measures}
            from ({changes_of_mart(mart, str(after), str(upto))}) as changes
            where $account is null or account_key = $account
            order by {", ".join(keys)}
        ),

        changes as (unpivot changed on {", ".join(mart.measures)} into name measure value change),

        after as (
            select {", ".join(keys)}, {measures}
            from ({tables_as_of(str(upto))[name]}) as mart
        ),

        afters as (unpivot after on {", ".join(mart.measures)} into name measure value amount)

        select
            {", ".join(f"changed.{key}" for key in keys)}, changed.measure,
            coalesce(after.amount, 0) - changed.change as before,
            coalesce(after.amount, 0) as after,
            changed.change as change
        from changes as changed
        left join afters as after on {same} and changed.measure = after.measure
        where changed.change <> 0
        order by all
        limit $limit
        """,
        {"account": account, "limit": limit},
    )
