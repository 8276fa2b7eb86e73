"""The tables of the published file: their columns, what they say of themselves, and how they were.

Publishing makes them by this, and both the endpoint and the file's own macros ask by this for an
earlier snapshot: what a table holds now, less the changes since. How a file is written and swapped
lives in `orchestration/publishing.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from msgmetrics.catalogue import Catalogue, Dimension, Metric, catalogue

# A ULID; the name of a published file without its ending.
SNAPSHOT_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
MESSAGES = "messages"
URL_CLICKS = "url_clicks"
# Signed rows by batch: what each publication changed. All earlier states come out of these two.
CHANGES = {MESSAGES: "messages_changes", URL_CLICKS: "url_clicks_changes"}
# What identifies a row of the tables that are no sums.
KEYS = {MESSAGES: ("message_id",), URL_CLICKS: ("message_id", "url")}
# Marts that are views of another: marts by account and by channel have the same keys.
VIEWS = {
    f"{grain}_by_account": f"select * exclude (channel_name) from {grain}_by_channel"
    for grain in ("hourly", "daily")
}
_UNITS = {"hourly": "hour", "daily": "day", "minutely": "minute"}


@dataclass(frozen=True)
class Mart:
    """A table of sums: measures by period, account, channel and what else it is cut by.

    unit: of period_start. keys: the columns that identify a row beside it. names: dimensions that
    name one of the keys. metrics: columns that are computed when they are read.
    """

    name: str
    unit: str
    keys: tuple[str, ...]
    names: tuple[Dimension, ...]
    measures: tuple[str, ...]
    metrics: tuple[Metric, ...]
    of_urls: bool = False

    @property
    def counted(self) -> str:
        """Where its rows come from, message by message."""
        return URL_CLICKS if self.of_urls else MESSAGES

    @property
    def _present(self) -> tuple[str, ...]:
        return ("clicked_messages",) if self.of_urls else ("messages_out", "messages_in")

    @property
    def has_messages(self) -> str:
        """SQL over summed measures: whether there is a row at all."""
        return " + ".join(f"sum({measure})" for measure in self._present) + " > 0"

    @property
    def is_row(self) -> str:
        """The same over measures that are the sums."""
        return " + ".join(self._present) + " > 0"

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that are written; the metrics come out of them."""
        names = tuple(name.column for name in self.names)
        return ("period_start", *self.keys, *names, *self.measures)

    def sums(self) -> str:
        """SQL of its measures, summed."""
        types = catalogue().measures
        return ", ".join(f"sum({name})::{types[name].type} as {name}" for name in self.measures)

    def value(self, metric: Metric) -> str:
        """SQL of a metric out of the measures of a row."""
        numerator = " + ".join(metric.url if self.of_urls else metric.numerator)
        value = numerator
        if metric.is_rate:
            value = f"({numerator})::double / nullif({' + '.join(metric.denominator)}, 0)"
        lacking = [code for code in catalogue().channels if code not in metric.channels]
        if lacking:
            # The shorter list: DuckDB compares each row that it writes with every code of it.
            is_short = len(lacking) < len(metric.channels)
            codes = ", ".join(_text(code) for code in (lacking if is_short else metric.channels))
            is_in = "not in" if is_short else "in"
            value = f"case when channel_code {is_in} ({codes}) then {value} end"
        return value

    @property
    def key_columns(self) -> tuple[str, ...]:
        """What identifies a row."""
        return ("period_start", *self.keys)

    def same_key(self, one: str, other: str) -> str:
        """SQL of whether the rows of two relations have one key; only a dimension may be null."""
        never_null = ("period_start", "account_key", "channel_code")
        return " and ".join(
            f"{one}.{key} {'=' if key in never_null else 'is not distinct from'} {other}.{key}"
            for key in self.key_columns
        )

    def named(self, rows: str, seeds: str) -> str:
        """SELECT of rows of the mart as they are stored: names stand beside the ids that they name.

        rows: SQL of keys and measures. seeds: what stands before the names of reference tables.
        """
        names = "".join(f", {name.seed}.{name.column}" for name in self.names)
        joins = "".join(
            f" left join {seeds}.{name.seed} as {name.seed}"
            f" on {name.seed}.{name.name_of.lower()} = sums.{name.name_of.lower()}"
            for name in self.names
        )
        keys = ", ".join(f"sums.{key}" for key in self.key_columns)
        return f"select {keys}{names}, {', '.join(self.measures)} from ({rows}) as sums{joins}"

    @property
    def types(self) -> dict[str, str]:
        """The SQL type of each column, in the order of the table."""
        known = catalogue()
        types = {"period_start": "timestamp"}
        types |= {key: _dimension(key).type for key in self.keys}
        types |= {name.column: name.type for name in self.names}
        types |= {name: known.measures[name].type for name in self.measures}
        for metric in self.metrics:
            of_numerator = known.measures[metric.numerator[0]].type
            types[metric.column] = "double" if metric.is_rate else of_numerator
        return types

    def create(self, table: str, kept_as: Mapping[str, str] | None = None) -> str:
        """The statement that makes the table, empty; metrics take no room in it.

        kept_as: the types of measures, where they are kept in others than the catalogue's.
        """
        never_null = {"period_start", "account_key", "channel_code", *self.measures}
        values = {metric.column: self.value(metric) for metric in self.metrics}
        columns = []
        for name, kind in (self.types | dict(kept_as or {})).items():
            rule = " not null" if name in never_null else ""
            if name in values:
                rule = f" generated always as ({values[name]}) virtual"
            columns.append(f"{name} {kind}{rule}")
        return f"create or replace table {table} ({', '.join(columns)})"


def _dimension(column: str) -> Dimension:
    return catalogue().dimensions[column.upper()]


def marts() -> dict[str, Mart]:
    """Every mart that is a table of its own, by name."""
    known = catalogue()
    found = {}
    for grain in ("hourly", "daily"):
        for mart in known.marts:
            name = f"{grain}_by_{mart}"
            if name not in VIEWS:
                found[name] = _mart(known, name, mart, _UNITS[grain])
    found["minutely"] = _mart(known, "minutely", None, _UNITS["minutely"])
    return found


def _mart(known: Catalogue, name: str, mart: str | None, unit: str) -> Mart:
    of_urls = mart == "url"
    dimensions = [d for d in known.dimensions.values() if d.mart == mart]
    keys = dict.fromkeys(["account_key", "channel_code"])
    keys.update(dict.fromkeys(d.column for d in dimensions if not d.name_of))
    return Mart(
        name=name,
        unit=unit,
        keys=tuple(keys),
        names=tuple(d for d in dimensions if d.name_of),
        measures=tuple(m.name for m in known.measures.values() if m.from_url or not of_urls),
        metrics=tuple(m for m in known.metrics.values() if mart and (m.url or not of_urls)),
        of_urls=of_urls,
    )


# --- as of an earlier snapshot ----------------------------------------------------------------


def tables_as_of(batch: str, file: str = "main") -> dict[str, str]:
    """SELECTs, by table, of what the tables held when the batch of that number was the newest.

    batch: SQL of the number. file: what stands before the names of the file's own tables.
    Accounts and reference data are not among them: those of now go with every snapshot.
    """
    known = marts()
    selects = {name: _mart_as_of(mart, batch, file) for name, mart in known.items()}
    selects |= {table: _rows_as_of(table, batch, file) for table in CHANGES}
    for name in VIEWS:
        of_channel = _mart_as_of(known[name.replace("account", "channel")], batch, file)
        selects[name] = f"select * exclude (channel_name) from ({of_channel}) as of_channel"
    return selects


def _mart_as_of(mart: Mart, batch: str, file: str) -> str:
    keys = ", ".join(mart.keys)
    changed = ", ".join(f"-{name} as {name}" for name in mart.measures)
    metrics = "".join(f", {mart.value(metric)} as {metric.column}" for metric in mart.metrics)
    sums = f"""
        select period_start, {keys}, {mart.sums()}
        from (
            select period_start, {keys}, {", ".join(mart.measures)}
            from {file}.{mart.name}
            union all
            select date_trunc('{mart.unit}', sent_at), {keys}, {changed}
            from {file}.{CHANGES[mart.counted]}
            where batch_id > {batch}
        ) as now_less_changes
        group by period_start, {keys}
        having {mart.has_messages}
    """
    return f"select *{metrics} from ({mart.named(sums, file)}) as measures"


def _rows_as_of(table: str, batch: str, file: str) -> str:
    """What has changed since stands as the first change took it away; the rest is as it is."""
    keys, changes = KEYS[table], f"{file}.{CHANGES[table]}"
    measures = [name for name, m in catalogue().measures.items() if table == MESSAGES or m.from_url]
    matches = " and ".join(f"kept.{key} = changed.{key}" for key in keys)
    return f"""
        select kept.* from {file}.{table} as kept
        where not exists (
            select 1 from {changes} as changed where batch_id > {batch} and {matches}
        )
        union all by name
        select
            * exclude (batch_id, sign)
            replace ({", ".join(f"-{name} as {name}" for name in measures)})
        from (
            select * from {changes} where batch_id > {batch}
            qualify batch_id = min(batch_id) over (partition by {", ".join(keys)})
        ) as first_changes
        where sign < 0
    """


def changes_of_mart(mart: Mart, after: str, upto: str, file: str = "main") -> str:
    """SELECT of the rows of a mart that changed, with the difference of each measure.

    after, upto: SQL of the batches between which it changed, the first left out.
    """
    differ = " or ".join(f"sum({name}) <> 0" for name in mart.measures)
    return f"""
        select
            date_trunc('{mart.unit}', sent_at) as period_start, {", ".join(mart.keys)},
            {mart.sums()}
        from {file}.{CHANGES[mart.counted]}
        where batch_id > {after} and batch_id <= {upto}
        group by all
        having {differ}
    """


# --- what the tables say of themselves ------------------------------------------------------------


def table_description(table: str, known: Catalogue) -> str | None:
    """What a published table holds and its grain; None for reference tables."""
    for grain, period in (("hourly", "hour"), ("daily", "day")):
        if table.startswith(f"{grain}_by_"):
            mart = table.removeprefix(f"{grain}_by_")
            keys = [d.column for d in known.dimensions.values() if d.mart == mart and not d.name_of]
            others = [key for key in keys if key not in ("account_key", "channel_code")]
            named = ", ".join(["account", "channel", *others])
            return (
                f"Measures and metrics by {period} of sending (UTC). One row per {period}, {named}."
            )
    return {
        "minutely": "Measures by minute of sending (UTC). One row per minute, account, channel.",
        "messages": "Messages with their outcome, no end user's address. One row per message.",
        "url_clicks": "Links clicked in messages. One row per message and link.",
        "accounts": "Accounts with their parent and plan. One row per account.",
        "messages_changes": "What each batch changed in messages, while snapshots from before it "
        "can be asked for. One row per batch, message and sign: the outcome that went, its "
        "measures negative, and the one that came.",
        "url_clicks_changes": "What each batch changed in url_clicks, as messages_changes. One row "
        "per batch, message, link and sign.",
        "snapshots": "What this file holds. One row.",
        "earlier_snapshots": "Snapshots that <table>_as_of(snapshot_id) answers for. One row per "
        "snapshot.",
    }.get(table)


def column_descriptions(known: Catalogue) -> dict[str, str]:
    """Descriptions of the columns that the catalogue knows, by column name."""
    return {
        "period_start": "Start of the period of sending, in UTC.",
        "message_id": "The message.",
        "sent_at": "When it was submitted, or received if inbound, in UTC.",
        "delivered_at": "First delivery report, if it is delivered, in UTC.",
        "seen_at": "First time that it was seen or opened, in UTC.",
        "clicked_at": "First click on a link that is no unsubscribe link, in UTC.",
        "batch_id": "The batch; of a snapshot, the newest that it holds.",
        "sign": "1 for what came, -1 for what went.",
        "snapshot_id": "Id of the snapshot.",
        "as_of": "Up to when the data is complete, in UTC.",
        "published_at": "When it was published, in UTC.",
        "parent_account_key": "The account above; null at the top and where the chain loops.",
        "name": "Name of the account.",
        "plan": "free, growth or scale: the finest granularity that its keys may ask for.",
        **{
            d.seconds: f"{d.description} In whole seconds."
            for d in known.dimensions.values()
            if d.seconds
        },
        **{d.column: d.description for d in known.dimensions.values()},
        **{m.name: m.description for m in known.measures.values()},
        **{m.column: f"{m.title}: {m.description}" for m in known.metrics.values()},
    }


def _text(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def comments(
    kind: str, table: str, columns: list[str], stated: Mapping[str, str] | None = None
) -> list[str]:
    """Statements that say in the file itself what a table or view and its columns are.

    stated: what dbt says of a reference table, under "", and of its columns.
    """
    known = {**column_descriptions(catalogue()), **(stated or {})}
    statements = []
    if words := known.get("") or table_description(table, catalogue()):
        statements.append(f"comment on {kind} {table} is {_text(words)}")
    for column in columns:
        if words := known.get(column):
            statements.append(f"comment on column {table}.{column} is {_text(words)}")
    return statements
