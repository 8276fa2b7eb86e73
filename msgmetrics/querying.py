"""`msgmetrics query`: the query route's question, asked at the command line by the operator.

What may be asked and which table answers is the planner's affair (`endpoint/planning`); here the
options become its question, and its answer a table, CSV, Parquet or JSON.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.answer import Answer, run
from endpoint.planning.periods import requested_period
from endpoint.planning.planner import plan, read_tables
from endpoint.planning.question import (
    QUERY_ROUTE,
    SENTENCES,
    InvalidQuestionError,
    read_question,
)
from msgmetrics.catalogue import catalogue
from msgmetrics.console import console_for_answers, plain, print_json, say, table_of
from msgmetrics.errors import UserError
from msgmetrics.running import need_known, published
from msgmetrics.settings import Settings

# Filters that take one text; all others take lists.
_SINGLE = ("applicationId", "entityId")
_SHOWN_ROWS = 1000
# What of the question an option becomes, where that is no filter.
_OPTIONS = {
    "sentSince": "--from",
    "sentUntil": "--to",
    "metrics": "--metrics",
    "aggregateBy": "--by",
    "accountKeys": "--account",
}
_NAMES = {
    "metrics": lambda: catalogue().metrics,
    "aggregateBy": lambda: catalogue().dimensions,
}


def question_body(
    metrics: Sequence[str],
    by: Sequence[str],
    since: str,
    until: str | None,
    filters: Sequence[str],
    accounts: Sequence[str],
    *,
    subaccounts: bool,
    components: bool,
) -> dict[str, Any]:
    """The options as the body of the query route. Raises UserError where one has no such form."""
    filter_by: dict[str, Any] = {
        "sentSince": _moment(since),
        "sentUntil": _moment(until) if until else plain(datetime.now(UTC)),
    }
    for text in filters:
        _add_filter(filter_by, text)
    if accounts:
        filter_by["accountKeys"] = _split(accounts)
    if subaccounts:
        filter_by["includeSubaccounts"] = True
    body = {
        "filterBy": filter_by,
        "aggregateBy": [name.upper() for name in _split(by)],
        "metrics": [name.upper() for name in _split(metrics)],
    }
    return {**body, "includeComponents": True} if components else body


def _add_filter(filter_by: dict[str, Any], text: str) -> None:
    """Takes in one --filter; a name that stands again adds to its values."""
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise UserError(f"--filter {text!r} is not of the form name=value,value.")
    if name in _SINGLE:
        if name in filter_by:
            raise UserError(f"--filter {name} takes one value, and stands twice.")
        filter_by[name] = values
    elif name.startswith("timeTo"):
        lower, dots, upper = values.partition("..")
        if not dots:
            raise UserError(
                f"--filter {text!r} is not of the form {name}=FROM..TO, as SECONDS_0..SECONDS_5; "
                "either end may be left out."
            )
        span = {end: bucket for end, bucket in (("from", lower), ("to", upper)) if bucket}
        filter_by.setdefault(name, []).append(span)
    else:
        filter_by.setdefault(name, []).extend(_typed(name, value) for value in _split([values]))


def _typed(name: str, text: str) -> Any:
    """The value as the query route takes it: ids of countries and such are numbers."""
    numbers = {d.filter for d in catalogue().dimensions.values() if d.type != "varchar"}
    return int(text) if name in numbers and re.fullmatch(r"-?[0-9]{1,19}", text) else text


def _split(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _moment(text: str) -> str:
    """A moment as given; a bare day is its midnight in UTC."""
    return f"{text}T00:00:00Z" if len(text) == 10 and text.count("-") == 2 else text


def _as_typed(member: str, violation: str, body: dict[str, Any]) -> str:
    """What is wrong with a member of the question, said of the option that it came from."""
    name, _, index = member.removeprefix("filterBy.").partition("[")
    option = _OPTIONS.get(name, f"--filter {name}")
    told = f"{option}: {violation.rstrip('.')}"
    if name in _NAMES and index.rstrip("]").isdigit():
        given, known = body[name][int(index.rstrip("]"))], list(_NAMES[name]())
        if given in known:  # and does not go with the rest
            return told
        near = get_close_matches(given, known, n=3, cutoff=0.6)
        table = "metrics" if name == "metrics" else "dimensions"
        hint = f"near are {', '.join(near)}" if near else f"the README lists all {table}"
        return f"{told}; {hint}"
    if violation.startswith(SENTENCES["extra_forbidden"]) and member.startswith("filterBy."):
        known = sorted({d.filter for d in catalogue().dimensions.values() if d.filter})
        return f"{told}; filters are {', '.join(known)}"
    return f"{told}, or a day, as 2026-05-05" if option in ("--from", "--to") else told


def query(
    settings: Settings,
    body: dict[str, Any],
    *,
    explain: bool = False,
    csv: bool = False,
    parquet: Path | None = None,
    as_json: bool = False,
) -> None:
    """Asks the current snapshot and prints the answer.

    Raises UserError, one sentence for everything that is wrong with the question.
    """
    try:
        question = read_question(body, QUERY_ROUTE)
    except InvalidQuestionError as error:
        problems = "; ".join(
            _as_typed(v["property"], v["violation"], body) for v in error.violations
        )
        raise UserError(f"{problems}.") from None
    with published(settings) as connection:
        row = connection.execute("select as_of, snapshot_id from snapshots").fetchone()
        as_of, snapshot_id = row[0].replace(tzinfo=UTC), row[1]
        period = requested_period(question.since, question.until, as_of=as_of)
        need_known(connection, question.account_keys)
        if period != (question.since, question.until):
            say(
                f"Counted are whole hours, up to the last complete one: "
                f"{plain(period[0])} to {plain(period[1])}."
            )
        accounts = accounts_asked(connection, question, own=None, visible=None)
        planned = plan(question, read_tables(connection), period=period, accounts=accounts)
        if explain:
            print(planned.explain())
            return
        answer = run(connection, planned.ready())
    _print(answer, snapshot_id, as_of, csv=csv, parquet=parquet, as_json=as_json)


def _print(
    answer: Answer,
    snapshot_id: str,
    as_of: datetime,
    *,
    csv: bool,
    parquet: Path | None,
    as_json: bool,
) -> None:
    if parquet is not None:
        try:
            pa.parquet.write_table(answer.table, parquet)
        except OSError as error:
            raise UserError(f"--parquet {parquet} cannot be written ({error}).") from None
        say(f"Wrote {answer.table.num_rows:,} rows to {parquet}.")
    elif csv:
        sys.stdout.flush()
        pa.csv.write_csv(_printable(answer.table), sys.stdout.buffer)
    elif as_json:
        names = [column.name for column in answer.columns]
        print_json(
            {"snapshot": snapshot_id, "as_of": as_of, "columns": names, "rows": answer.rows()}
        )
    else:
        rows = answer.rows()
        names = [column.name for column in answer.columns]
        console_for_answers().print(table_of(None, names, rows[:_SHOWN_ROWS]), markup=False)
        if len(rows) > _SHOWN_ROWS:
            say(
                f"The first {_SHOWN_ROWS:,} of {len(rows):,} rows; --csv or --parquet has them all."
            )


def _printable(table: pa.Table) -> pa.Table:
    """The table with moments as ISO 8601 text, in UTC, and decimals without trailing zeros."""
    fields = []
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if pa.types.is_timestamp(field.type):
            text = [None if v is None else plain(v) for v in column.to_pylist()]
            column = pa.array(text, pa.string())
        elif pa.types.is_decimal(field.type):
            text = [None if v is None else f"{v.normalize():f}" for v in column.to_pylist()]
            column = pa.array(text, pa.string())
        fields.append(column)
    return pa.table(fields, names=table.schema.names)
