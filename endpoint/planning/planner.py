"""Which table answers a question, and the SQL that asks it.

The smallest mart that has all the columns needed answers; a question that none covers is asked of
`messages`, with the same result to the last digit. The SQL is built as a tree from the catalogue;
what an asker wrote is only ever bound to a parameter.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import sqlglot
from sqlglot import exp

from endpoint.planning.periods import WEEK_STARTS, Period, period_start, raised
from endpoint.planning.question import Question
from endpoint.planning.time_zones import Offsets
from msgmetrics.catalogue import Dimension, Metric, catalogue
from msgmetrics.published_tables import VIEWS

MESSAGES = "messages"
URL_CLICKS = "url_clicks"

_SHOWN_VALUES = 5


@dataclass(frozen=True)
class Table:
    """A table or view of the published file: its columns in lower case and its number of rows."""

    name: str
    columns: frozenset[str]
    rows: int
    is_view: bool = False


@dataclass(frozen=True)
class Column:
    """A column of an answer; data_type is STRING, INTEGER, NUMBER or DATE_TIME."""

    name: str
    data_type: str


@dataclass(frozen=True)
class Plan:
    """How a question is answered.

    table: the one that was chosen, and the reason in words; helper: the one that fills in the parts
    of days at the ends of the period, where it is needed. columns: those of the answer, in order.
    offsets: where they are given, days to years come out of the SQL as the local clock showed them.
    """

    table: Table
    helper: Table | None
    reason: str
    statement: exp.Select
    parameters: Mapping[str, Any]
    columns: tuple[Column, ...]
    offsets: Offsets | None = None

    @property
    def sql(self) -> str:
        """The SQL in DuckDB's dialect, with named parameters, for eyes."""
        return self.statement.sql(dialect="duckdb", pretty=True, max_text_width=100)

    def ready(self, most_rows: int | None = None) -> "ReadyPlan":
        """The plan to be run, for at most so many rows."""
        statement = self.statement
        if most_rows is not None:
            # One more, to see that there are too many.
            statement = statement.limit(most_rows + 1)
        sql = statement.sql(dialect="duckdb")
        return ReadyPlan(sql, self.parameters, self.columns, self.offsets, most_rows)

    def explain(self) -> str:
        """The choice, the SQL and its parameters, for eyes."""
        lines = [f"table: {self.table.name} ({self.table.rows:,} rows)"]
        if self.helper:
            lines.append(f"parts of days: {self.helper.name} ({self.helper.rows:,} rows)")
        lines += [f"why: {self.reason}", "", self.sql, ""]
        lines += [f"${name} = {_shown(value)}" for name, value in self.parameters.items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class ReadyPlan:
    """A plan as it is run, and kept to be run again: text, where a tree takes fifty times the room.

    sql gives one row more than `most_rows`, where there are as many; None: all rows.
    """

    sql: str
    parameters: Mapping[str, Any]
    columns: tuple[Column, ...]
    offsets: Offsets | None
    most_rows: int | None

    @property
    def counting_sql(self) -> str:
        """The SQL that counts all rows; its parameters are the same."""
        rows = sqlglot.parse_one(self.sql, dialect="duckdb")
        rows.set("order", None)
        rows.set("limit", None)
        return exp.select("count(*)").from_(rows.subquery("answer")).sql(dialect="duckdb")


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > _SHOWN_VALUES:
        return f"{value[:_SHOWN_VALUES]!r} and {len(value) - _SHOWN_VALUES:,} more"
    return str(value) if isinstance(value, datetime) else repr(value)


def read_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, Table]:
    """The tables and views of a published file, by name. They hold for as long as the file does."""
    found = connection.execute(
        """
        select
            columns.table_name,
            list(lower(columns.column_name)),
            any_value(tables.estimated_size)
        from duckdb_columns() as columns
        left join duckdb_tables() as tables on tables.table_oid = columns.table_oid
            and tables.database_oid = columns.database_oid
        where columns.database_name = current_database()
            and columns.schema_name = 'main' and not columns.internal
        group by columns.table_name
        """
    ).fetchall()
    sizes = {name: rows for name, _, rows in found}
    return {
        name: Table(name, frozenset(columns), _size(connection, name, sizes), is_view=rows is None)
        for name, columns, rows in found
    }


def _size(connection: duckdb.DuckDBPyConnection, name: str, sizes: Mapping[str, int | None]) -> int:
    """About how many rows there are; a view of another mart has as many as that, to the last."""
    viewed = VIEWS.get(name, name).rpartition(" ")[2]
    known = sizes.get(viewed)
    return _row_count(connection, name) if known is None else known


def _row_count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    count = exp.select("count(*)").from_(exp.to_table(name))
    return connection.execute(count.sql(dialect="duckdb")).fetchone()[0]


def plan(
    question: Question,
    tables: Mapping[str, Table],
    *,
    period: Period,
    accounts: Sequence[str] | None,
    from_messages: bool = False,
    empty_rate: float | None = None,
    offsets: Offsets | None = None,
) -> Plan:
    """The plan for a question.

    period: the one that is answered. accounts: the account keys that count, None for all. offsets:
    those of the local clock over the period, where hours to years are not UTC's.
    from_messages: leave the marts aside. empty_rate: what a rate whose denominator is 0 is; a
    metric that the channel lacks is null in any case.
    """
    offsets = _offsets_that_matter(question, offsets)
    grain = _grain(question, offsets)
    values = _values_bound(question, period, accounts, offsets)
    needed = _needed_columns(question)
    # Parts of hours are in no mart.
    from_messages = from_messages or (offsets is not None and not offsets.are_whole_hours)
    choices = []
    if not from_messages:
        choices = list(_marts_that_cover(question, needed, tables, period, grain))
    if choices:
        # DuckDB spends several times as long on all columns of a view as on those of a table.
        chosen = min(choices, key=lambda choice: (choice.table.rows, choice.table.is_view))
        reason = f"the smallest of {len(choices)} marts that have the columns and hours needed"
        draft = _from_mart(chosen, needed | {"account_key"}, values)
    else:
        reason = "marts left aside" if from_messages else "no mart has the columns and hours needed"
        chosen = _Choice(tables[URL_CLICKS if _asks_url(question) else MESSAGES], None, ())
        draft = _from_messages(chosen.table, values)

    if accounts is not None:
        draft.keep_values("account_key")
    for name in question.filters:
        if name != "DIRECTION":
            draft.keep_values(catalogue().dimensions[name].column)
    left_out = _keep_directions(draft, question)

    draft.offsets = offsets
    dimensions = [_dimension(draft, name) for name in question.dimensions]
    metrics = [
        value
        for name in question.metrics
        for value in _values(draft, question, catalogue().metrics[name], left_out, empty_rate)
    ]
    return Plan(
        table=chosen.table,
        helper=chosen.helper,
        reason=reason,
        statement=draft.statement(dimensions, metrics),
        parameters=draft.parameters,
        columns=tuple(column.column for column in (*dimensions, *metrics)),
        offsets=offsets,
    )


def _offsets_that_matter(question: Question, offsets: Offsets | None) -> Offsets | None:
    return offsets if offsets and offsets.differ_from_utc and question.time_dimension else None


def _grain(question: Question, offsets: Offsets | None) -> str | None:
    """The time dimension that rows of a table have to be told apart by."""
    return question.time_dimension if offsets is None else "HOUR"


def _values_bound(
    question: Question, period: Period, accounts: Sequence[str] | None, offsets: Offsets | None
) -> dict[str, Any]:
    """Whatever a plan may bind, by the name of the parameter; a list of one is its one value.

    Two questions whose values are of one kind differ in nothing else (see PlanAsked.shape).
    """
    pieces = tuple(_pieces("", period, _grain(question, offsets)))
    values: dict[str, Any] = {"since": period[0], "until": period[1]}
    # Each part begins where the one before it ends.
    for number, piece in enumerate(pieces[1:], 1):
        values[f"midnight_{number}"] = piece.since
    if accounts is not None:
        values["account_key"] = _one_or_all(accounts)
    for name, allowed in question.filters.items():
        values[catalogue().dimensions[name].column] = _one_or_all(allowed)
    for number, (moment, offset) in enumerate(offsets.steps if offsets else ()):
        values[f"offset_{number}"] = offset // timedelta(seconds=1)
        if number:
            values[f"clock_change_{number - 1}"] = moment
    # DuckDB takes a moment without a zone for one of its timestamps.
    return {
        name: _naive(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


@dataclass(frozen=True)
class PlanAsked:
    """What `plan` is asked for by those who ask much: its SQL is kept, by the question's shape."""

    question: Question
    period: Period
    accounts: Sequence[str]
    empty_rate: float | None
    offsets: Offsets | None
    most_rows: int

    @property
    def shape(self) -> Hashable:
        """All that the SQL depends on besides the tables. Nothing is in it that an asker wrote."""
        question = self.question
        offsets = _offsets_that_matter(question, self.offsets)
        pieces = _pieces("", self.period, _grain(question, offsets))
        return (
            question.dimensions,
            question.metrics,
            question.include_components,
            tuple(
                (name, values if name == "DIRECTION" else len(values) == 1)
                for name, values in question.filters.items()
            ),
            tuple(piece.table for piece in pieces),
            len(self.accounts) == 1,
            self.empty_rate,
            offsets and (len(offsets.steps), offsets.are_whole_hours),
            self.most_rows,
        )

    def ready(self, tables: Mapping[str, Table]) -> ReadyPlan:
        """The plan of `plan`, ready to be run."""
        return plan(
            self.question,
            tables,
            period=self.period,
            accounts=self.accounts,
            empty_rate=self.empty_rate,
            offsets=self.offsets,
        ).ready(self.most_rows)

    def bound(self, kept: ReadyPlan) -> ReadyPlan:
        """The plan of another question of the same shape, with the values of this one."""
        offsets = _offsets_that_matter(self.question, self.offsets)
        values = _values_bound(self.question, self.period, self.accounts, offsets)
        return replace(
            kept,
            parameters={name: values[name] for name in kept.parameters},
            offsets=offsets,
        )


# ----------------------------------------------------------------------- choice of the table


class _Piece(NamedTuple):
    """A part of the period, and the name of the table that answers it."""

    table: str
    since: datetime
    until: datetime


class _Choice(NamedTuple):
    table: Table
    helper: Table | None
    pieces: tuple[_Piece, ...]


def _asks_url(question: Question) -> bool:
    return "URL" in question.dimensions


def _counted(question: Question, metric: Metric) -> tuple[str, ...]:
    """The measures whose sum is the metric, or the numerator of it."""
    return metric.url if _asks_url(question) else metric.numerator


def _key_column(dimension: Dimension) -> str:
    """The column that a dimension is grouped by, before a name is put to an id."""
    if dimension.name_of:
        return catalogue().dimensions[dimension.name_of].column
    return dimension.seconds if dimension.in_seconds else dimension.column


def _needed_columns(question: Question) -> frozenset[str]:
    """What a mart must have; directions are told by measures, and accounts are in every mart."""
    entries = catalogue()
    needed = {"channel_code"}
    for name in question.dimensions:
        if name in entries.dimensions:
            needed.add(_key_column(entries.dimensions[name]))
    for name in question.filters:
        if name != "DIRECTION":
            needed.add(entries.dimensions[name].column)
    for name in question.metrics:
        metric = entries.metrics[name]
        needed.update(_counted(question, metric), metric.denominator)
    if "DIRECTION" in question.filters and not _asks_url(question):
        needed.update(("messages_out", "messages_in"))
    return frozenset(needed)


def _marts_that_cover(
    question: Question,
    needed: frozenset[str],
    tables: Mapping[str, Table],
    period: Period,
    grain: str | None,
) -> Iterator[_Choice]:
    url_mart = catalogue().dimensions["URL"].mart
    for mart in catalogue().marts:
        # A mart by URL has no row for a message without a click.
        if (mart == url_mart) != _asks_url(question):
            continue
        pieces = tuple(_pieces(mart, period, grain))
        names = dict.fromkeys(piece.table for piece in pieces)
        if pieces and all(name in tables and needed <= tables[name].columns for name in names):
            # Daily before hourly: the name of a day's table sorts first.
            first, *others = (tables[name] for name in sorted(names))
            yield _Choice(first, others[0] if others else None, pieces)


def _pieces(mart: str, period: Period, time_dimension: str | None) -> Iterator[_Piece]:
    """Whole days from the daily mart, the parts of days around them from the hourly one.

    No piece at all where the period cuts an hour.
    """
    since, until = period
    if period_start(since, "HOUR") != since or period_start(until, "HOUR") != until:
        return
    daily, hourly = f"daily_by_{mart}", f"hourly_by_{mart}"
    first_day, last_day = raised(since, "DAY"), period_start(until, "DAY")
    if time_dimension == "HOUR" or first_day >= last_day:
        yield _Piece(hourly, since, until)
        return
    if since < first_day:
        yield _Piece(hourly, since, first_day)
    yield _Piece(daily, first_day, last_day)
    if last_day < until:
        yield _Piece(hourly, last_day, until)


# ------------------------------------------------------------------------- parts of the SQL


class _Shown(NamedTuple):
    """A column of the answer: its SQL, what it is grouped by and sorted by (None for metrics)."""

    column: Column
    value: exp.Expression
    grouped: exp.Expression | None = None
    place: exp.Expression | None = None


@dataclass
class _Draft:
    """A SELECT in the making, over one relation and what has to be joined to it.

    columns: what the relation has; other columns come from `messages`, joined by message_id.
    time_column: when a row was sent; its values are starts of `grain`, if there is one. offsets:
    those of the local clock, where periods are the local ones. values: what may be bound;
    parameters: what is.
    """

    relation: exp.Expression
    alias: str
    columns: frozenset[str]
    time_column: str
    grain: str | None = None
    offsets: Offsets | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    conditions: list[exp.Expression] = field(default_factory=list)
    joins: dict[str, exp.Join] = field(default_factory=dict)

    def column(self, name: str) -> exp.Column:
        if name in self.columns:
            return exp.column(name, self.alias)
        if MESSAGES not in self.joins:
            self._join(MESSAGES, "message_id", exp.column("message_id", self.alias), "inner")
            # True of all that are joined; said so that only these days are read.
            self._keep_between(exp.column("sent_at", MESSAGES))
        return exp.column(name, MESSAGES)

    def name_column(self, dimension: Dimension) -> exp.Column:
        """The column of a name; from the reference table where the relation has the id alone."""
        if dimension.column in self.columns:
            return exp.column(dimension.column, self.alias)
        key = _key_column(dimension)
        self._join(dimension.seed, key, self.column(key), "left")
        return exp.column(dimension.column, dimension.seed)

    def _join(self, table: str, key: str, value: exp.Column, kind: str) -> None:
        condition = exp.EQ(this=value, expression=exp.column(key, table))
        if table not in self.joins:
            self.joins[table] = exp.Join(this=exp.to_table(table), kind=kind, on=condition)

    def parameter(self, name: str) -> exp.Expression:
        """The place in the SQL of a value that is bound."""
        self.parameters[name] = self.values[name]
        return exp.Parameter(this=exp.Var(this=name))

    def keep_time(self) -> None:
        """Keep the rows of the period."""
        self._keep_between(exp.column(self.time_column, self.alias))

    def _keep_between(self, moment: exp.Column) -> None:
        since, until = self.parameter("since"), self.parameter("until")
        self.conditions += [moment >= since, moment < until]

    def keep_values(self, column: str) -> None:
        """Keep the rows that have one of the values that are bound under the column's name."""
        subject, bound, values = self.column(column), self.parameter(column), self.values[column]
        if not isinstance(values, list):
            self.conditions.append(subject.eq(bound))
            return
        kind = "BIGINT[]" if values and isinstance(values[0], int) else "TEXT[]"
        each = exp.func("UNNEST", exp.cast(bound, kind, dialect="duckdb"), dialect="duckdb")
        self.conditions.append(exp.In(this=subject, query=exp.select(each).subquery()))

    def statement(self, dimensions: Sequence[_Shown], metrics: Sequence[_Shown]) -> exp.Select:
        # The channel groups even where only its name is shown: what is available depends on it.
        grouped = _distinct([*(d.grouped for d in dimensions), self.column("channel_code")])
        statement = exp.select(
            *(
                exp.alias_(shown.value, shown.column.name, quoted=True)
                for shown in (*dimensions, *metrics)
            )
        )
        # Built in place: every copy of a tree costs milliseconds.
        statement.from_(self.relation, copy=False)
        for join in self.joins.values():
            statement.join(join, copy=False)
        statement.where(*self.conditions, copy=False)
        statement.group_by(*(part.copy() for part in grouped), copy=False)
        statement.order_by(*(dimension.place.copy() for dimension in dimensions), copy=False)
        return statement


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _distinct(expressions: Iterable[exp.Expression]) -> list[exp.Expression]:
    return list(dict.fromkeys(expressions))


def _from_messages(table: Table, values: Mapping[str, Any]) -> _Draft:
    draft = _Draft(exp.to_table(table.name), table.name, table.columns, "sent_at", values=values)
    draft.keep_time()
    return draft


def _from_mart(choice: _Choice, needed: frozenset[str], values: Mapping[str, Any]) -> _Draft:
    name, columns = choice.table.name, choice.table.columns
    if len(choice.pieces) == 1:
        grain = "DAY" if name.startswith("daily") else "HOUR"
        draft = _Draft(exp.to_table(name), name, columns, "period_start", grain, values=values)
        draft.keep_time()
        return draft
    columns = needed | {"period_start"}
    draft = _Draft(exp.null(), "parts", columns, "period_start", values=values)
    midnights = (f"midnight_{number}" for number in range(1, len(choice.pieces)))
    starts = [draft.parameter(name) for name in ("since", *midnights)]
    ends = [*starts[1:], draft.parameter("until")]
    shown = [exp.column(name) for name in sorted(columns)]
    time = exp.column("period_start")
    parts = [
        exp.select(*shown).from_(piece.table).where(time >= start, time < end)
        for piece, start, end in zip(choice.pieces, starts, ends, strict=True)
    ]
    draft.relation = exp.union(*parts, distinct=False).subquery(draft.alias)
    return draft


def _keep_directions(draft: _Draft, question: Question) -> frozenset[str]:
    """Keep the rows of the directions asked. Returns the measures that are not to be counted.

    A row of most marts counts both directions side by side; there a direction is a choice of
    measures, and of the rows that have a message of it.
    """
    allowed = question.filters.get("DIRECTION", ())
    if set(allowed) in (set(), {"OUTBOUND", "INBOUND"}):
        return frozenset()
    if _asks_url(question):
        # Only outbound messages have clicks.
        if "OUTBOUND" not in allowed:
            draft.conditions.append(exp.false())
        return frozenset()
    if "direction" in draft.columns:
        draft.keep_values("direction")
        return frozenset()
    measures = frozenset(catalogue().measures)
    inbound = frozenset(name for name in measures if name.endswith("_in"))
    if "INBOUND" in allowed:
        draft.conditions.append(draft.column("messages_in") > 0)
        return measures - inbound
    draft.conditions.append(draft.column("messages_out") > 0)
    return inbound


def dimension_data_type(dimension: Dimension) -> str:
    """INTEGER or STRING: what the column of a dimension that is no time period has."""
    is_number = dimension.type != "varchar" and not dimension.name_of
    return "INTEGER" if dimension.in_seconds or is_number else "STRING"


def metric_data_type(metric: Metric) -> str:
    """INTEGER for a count, NUMBER for a rate or a cost."""
    is_count = catalogue().measures[metric.numerator[0]].type == "bigint"
    return "INTEGER" if is_count and not metric.is_rate else "NUMBER"


def _dimension(draft: _Draft, name: str) -> _Shown:
    if name in catalogue().time_dimensions:
        start = _period_start(draft, name)
        return _Shown(Column(name, "DATE_TIME"), start, start, start)
    dimension = catalogue().dimensions[name]
    if dimension.name_of:
        value = draft.name_column(dimension)
    else:
        value = draft.column(_key_column(dimension))
    if dimension_data_type(dimension) == "INTEGER":
        return _Shown(Column(name, "INTEGER"), exp.cast(value, "BIGINT"), value, value)
    place = value
    if dimension.seconds:
        buckets = exp.convert(list(catalogue().time_buckets))
        place = exp.func("LIST_POSITION", buckets, value)
    return _Shown(Column(name, "STRING"), value, value, place)


def _period_start(draft: _Draft, time_dimension: str) -> exp.Expression:
    sent = draft.column(draft.time_column)
    if draft.offsets is None:
        return sent if draft.grain == time_dimension else _start_of(time_dimension, sent)
    offset = _offset(draft, sent)
    start = _start_of(time_dimension, exp.Add(this=sent, expression=offset))
    if time_dimension != "HOUR":
        return start
    # The autumn's repeated hour is two hours, so hours are told apart as moments.
    return exp.Sub(this=start, expression=offset.copy())


def _offset(draft: _Draft, sent: exp.Expression) -> exp.Expression:
    """The interval that the local clock was ahead of UTC when a row was sent."""
    last = len(draft.offsets.steps) - 1
    chosen: exp.Expression = _interval(draft, last)
    if not last:
        return chosen
    choice = exp.Case()
    for number in range(last):
        end = draft.parameter(f"clock_change_{number}")
        choice = choice.when(sent.copy() < end, _interval(draft, number), copy=False)
    return choice.else_(chosen, copy=False)


def _interval(draft: _Draft, number: int) -> exp.Expression:
    seconds = draft.parameter(f"offset_{number}")
    return exp.func("TO_SECONDS", exp.cast(seconds, "BIGINT"), dialect="duckdb")


def _start_of(time_dimension: str, sent: exp.Expression) -> exp.Expression:
    if time_dimension not in WEEK_STARTS:
        return _truncated(time_dimension, sent)
    # The engine's weeks start on Monday: shifted there and back, any other start does.
    days = -WEEK_STARTS[time_dimension] % 7
    if not days:
        return _truncated("week", sent)
    shift = exp.Interval(this=exp.Literal.string(str(days)), unit=exp.var("DAY"))
    return _truncated("week", sent + shift) - shift


def _truncated(unit: str, moment: exp.Expression) -> exp.Expression:
    return exp.func("DATE_TRUNC", exp.Literal.string(unit.lower()), moment, dialect="duckdb")


def _values(
    draft: _Draft,
    question: Question,
    metric: Metric,
    left_out: frozenset[str],
    empty_rate: float | None,
) -> Iterator[_Shown]:
    """The column of a metric and, where they are asked for, the counts behind a rate."""
    counted = _counted(question, metric)

    def total(measures: Sequence[str]) -> exp.Expression:
        sums = [exp.Sum(this=draft.column(name)) for name in measures if name not in left_out]
        added = sums[0] if sums else exp.Literal.number(0)
        for more in sums[1:]:
            added = exp.Add(this=added, expression=more)
        return exp.cast(added, catalogue().measures[measures[0]].type, dialect="duckdb")

    def shown(name: str, data_type: str, value: exp.Expression) -> _Shown:
        if len(metric.channels) < len(catalogue().channels):
            has_it = draft.column("channel_code").isin(*metric.channels)
            value = exp.Case().when(has_it, value)
        return _Shown(Column(name, data_type), value)

    if not metric.is_rate:
        yield shown(metric.name, metric_data_type(metric), total(counted))
        return
    rate = exp.Div(
        this=exp.cast(total(counted), "DOUBLE"),
        expression=exp.func("NULLIF", total(metric.denominator), exp.Literal.number(0)),
    )
    if empty_rate is not None:
        rate = exp.func("COALESCE", rate, exp.cast(exp.convert(empty_rate), "DOUBLE"))
    yield shown(metric.name, "NUMBER", rate)
    if question.include_components:
        yield shown(f"{metric.name}_NUMERATOR", "INTEGER", total(counted))
        yield shown(f"{metric.name}_DENOMINATOR", "INTEGER", total(metric.denominator))
