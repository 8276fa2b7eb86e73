"""What a valid record is: the fields of the three streams and the rules that judge them.

A fourth folder, webhooks, brings requests of providers, which are read as records of two of them.

The one home of the arrival contract, as data; the SQL that judges a row of text is made from it
here. How files become rows of text lives in `readers`. Defaults and mappings (a missing status, the
sender type of a channel) are staging's, not ours: raw tables keep what came.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cache

from msgmetrics.settings import PROJECT_ROOT

# Extended ISO 8601 with an offset; DuckDB itself would also take dates, eras, zone names, 24:00.
_TIMESTAMP = (
    r"\d{4}-\d{2}-\d{2}[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?"
    r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
)
_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_MOST_DIGITS = 100
_EARLIEST = "timestamp '2000-01-01'"
# What the versions of one record compare by, the first that it has.
_VERSION_MOMENTS = ("updated_at", "sent_at")
# The folder of the landing zone that holds providers' webhooks.
WEBHOOKS = "webhooks"
# How far ahead of the load's clock a timestamp may lie.
FUTURE = timedelta(hours=24)


@dataclass(frozen=True)
class Field:
    """One field of a record.

    kind: text, timestamp, int16, int32, int64, decimal, boolean or code (one of a closed list).
    only_for: the event types whose records bear the field; on others it is ignored.
    """

    name: str
    kind: str = "text"
    required: bool = False
    codes: tuple[str, ...] = ()
    max_length: int | None = None
    pattern: str | None = None
    minimum: int | None = None
    only_for: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        return self.kind in ("int16", "int32", "int64", "decimal")

    @property
    def column_type(self) -> str:
        return {
            "text": "varchar",
            "code": "varchar",
            "timestamp": "timestamp",
            "int16": "smallint",
            "int32": "integer",
            "int64": "bigint",
            "decimal": "decimal(18, 6)",
            "boolean": "boolean",
        }[self.kind]


@dataclass(frozen=True)
class Stream:
    """One sub-folder of the landing zone: its fields in the order in which versions compare."""

    name: str
    fields: tuple[Field, ...]

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def key(self) -> str:
        """The field whose value tells one record of the stream from another."""
        return self.fields[0].name

    def version(self, prefix: str = "") -> str:
        """SQL: by what the versions of one record compare first; null where nothing does."""
        moments = [prefix + name for name in _VERSION_MOMENTS if name in self.field_names]
        return f"coalesce({', '.join(moments)})" if moments else "null::timestamp"


@cache
def _codes(seed: str, column: str, **where: str) -> tuple[str, ...]:
    """A column of a reference seed, so that no list of codes stands twice."""
    with (PROJECT_ROOT / "seeds" / f"{seed}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(
            row[column]
            for row in csv.DictReader(file)
            if all(row[key] == value for key, value in where.items())
        )


@cache
def streams() -> Mapping[str, Stream]:
    """The three streams by name."""
    channels = _codes("channels", "channel_code")
    status_bearing = _codes("event_types", "event_type", bears_status="true")
    messages = Stream(
        "messages",
        (
            Field("message_id", required=True, max_length=256),
            Field("account_key", required=True, max_length=256),
            Field("direction", "code", required=True, codes=("OUTBOUND", "INBOUND")),
            Field("channel_code", "code", required=True, codes=channels),
            Field("sent_at", "timestamp", required=True),
            Field("updated_at", "timestamp"),
            Field("sender", required=True),
            Field("sender_type", "code", codes=_codes("sender_types", "sender_type")),
            Field("recipient", required=True),
            Field("traffic_type", "code", codes=_codes("traffic_types", "traffic_type")),
            Field("interaction_id"),
            Field("segments", "int16", minimum=1),
            Field("cost_cents", "decimal", minimum=0),
            Field("currency", pattern="[A-Z]{3}"),
            Field("communication_id", "int64"),
            Field("campaign_reference_id"),
            Field("country_id", "int32"),
            Field("network_id", "int32"),
            Field("application_id"),
            Field("entity_id"),
        ),
    )
    events = Stream(
        "events",
        (
            Field("event_id", required=True, max_length=256),
            Field("message_id", required=True, max_length=256),
            Field("event_type", "code", required=True, codes=_codes("event_types", "event_type")),
            Field("occurred_at", "timestamp", required=True),
            Field("status", only_for=status_bearing),
            Field("error_code", only_for=status_bearing),
            Field(
                "bounce_type", "code", required=True, codes=("SOFT", "HARD"), only_for=("BOUNCED",)
            ),
            Field(
                "drop_reason",
                "code",
                codes=_codes("drop_reasons", "drop_reason"),
                only_for=("DROPPED",),
            ),
            Field("url", required=True, only_for=("CLICKED",)),
            Field("is_unsubscribe_link", "boolean", only_for=("CLICKED",)),
        ),
    )
    accounts = Stream(
        "accounts",
        (
            Field("account_key", required=True, max_length=256),
            Field("parent_account_key"),
            Field("name"),
            Field("plan", "code", codes=("free", "growth", "scale")),
            Field("updated_at", "timestamp"),
        ),
    )
    return {stream.name: stream for stream in (messages, events, accounts)}


def folders() -> tuple[str, ...]:
    """The folders of the landing zone: one for each stream, and webhooks."""
    return (*streams(), WEBHOOKS)


@cache
def told_messages() -> Stream:
    """Messages as a webhook tells of them: it may know neither sender nor recipient."""
    messages = streams()["messages"]
    return Stream(
        messages.name,
        tuple(
            replace(field, required=False) if field.name in ("sender", "recipient") else field
            for field in messages.fields
        ),
    )


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _list(values: Iterable[str]) -> str:
    return "(" + ", ".join(_literal(value) for value in values) + ")"


def _typed(field: Field) -> str:
    """SQL that turns the field's text into its type, null where it is no such value."""
    text = f'"{field.name}"'
    number = f"regexp_full_match({text}, {_literal(_NUMBER)})"
    plain = f"case when regexp_matches({text}, '[eE]') then plain_number({text}) else {text} end"
    match field.kind:
        case "text":
            if field.pattern:
                matches = f"regexp_full_match({text}, {_literal(field.pattern)})"
                return f"case when {matches} then {text} end"
            if field.max_length:
                return f"case when length({text}) <= {field.max_length} then {text} end"
            return text
        case "code":
            return f"case when {text} in {_list(field.codes)} then {text} end"
        case "timestamp":
            # epoch_us gives UTC whatever the session's time zone is. DuckDB cuts digits finer than
            # a microsecond by itself, and wants seconds, which ISO 8601 lets one leave out.
            whole = f"regexp_replace({text}, '^(.{{16}})([Z+-].*)$', '\\1:00\\2')"
            return (
                f"case when regexp_full_match({text}, {_literal(_TIMESTAMP)}) "
                f"then make_timestamp(epoch_us(try_cast({whole} as timestamptz))) end"
            )
        case "int16" | "int32" | "int64":
            value = f"try_cast({plain} as decimal(38, 6))"
            bound = f" and {value} >= {field.minimum}" if field.minimum is not None else ""
            usual = f"try_cast({text} as {field.column_type})"
            if bound:
                usual = f"case when {usual} >= {field.minimum} then {usual} end"
            # The usual spelling is cheap to see; all others take the second branch.
            return (
                f"case when regexp_full_match({text}, '[0-9]{{1,18}}') then {usual} "
                f"when {number} and {_no_more_places(plain, 0)}{bound} "
                f"then try_cast({value} as {field.column_type}) end"
            )
        case "decimal":
            value = f"try_cast({plain} as decimal(38, 6))"
            bound = f" and {value} >= {field.minimum}" if field.minimum is not None else ""
            return (
                f"case when regexp_full_match({text}, '[0-9]{{1,12}}(\\.[0-9]{{1,6}})?') "
                f"then try_cast({text} as {field.column_type}) "
                f"when {number} and {_no_more_places(plain, 6)}{bound} "
                f"then try_cast({value} as {field.column_type}) end"
            )
        case "boolean":
            return f"case lower({text}) when 'true' then true when 'false' then false end"
    raise ValueError(field.kind)


def _no_more_places(plain: str, places: int) -> str:
    """A cast to decimal rounds, so digits beyond `places` are looked for in the text."""
    return f"not regexp_matches({plain}, '\\.\\d{{{places}}}\\d*[1-9]')"


def plain_number(text: str | None) -> str | None:
    """A number spelled without an exponent; None for what no field can hold.

    Because DuckDB takes 1e-400 for 0. The SQL of this module calls it by its name, and DuckDB now
    and then calls it for values that the SQL does not ask about.
    """
    try:
        number = Decimal(text or "")
    except ArithmeticError:
        return None
    if not number:
        return "0"
    return f"{number:f}" if abs(number.adjusted()) < _MOST_DIGITS else None


def _expected(field: Field) -> str:
    """What the field should have been, in words that end the sentence "x is not ..."."""
    match field.kind:
        case "code":
            known = ", ".join(field.codes[:8]) + (", ..." if len(field.codes) > 8 else "")
            return f"a known {field.name} ({known})"
        case "timestamp":
            return "a timestamp with an offset, as 2026-05-05T10:00:00Z"
        case "int16" | "int32" | "int64":
            low = "" if field.minimum is None else f" of at least {field.minimum}"
            return f"a whole number{low} that fits {field.kind}"
        case "decimal":
            return "a decimal of at least 0, below 10^12, with at most 6 places"
        case "boolean":
            return "true or false"
    if field.pattern:
        return "a three-letter ISO 4217 code"
    return f"a text of at most {field.max_length} characters"


def is_borne(field: Field, prefix: str = "") -> str | None:
    """SQL: does this record bear the field at all? None where every record does."""
    if field.only_for:
        return f"{prefix}event_type in {_list(field.only_for)}"
    if field.name == "sender_type":
        # On every other channel the sender type is the channel's own code, whatever came.
        return f"{prefix}channel_code in ('SMS', 'MMS', 'EMAIL')"
    return None


def _value(field: Field) -> str:
    """SQL over the texts: the field's typed value, null where it is not borne or not valid."""
    typed, borne = _typed(field), is_borne(field)
    return f"case when {borne} then {typed} end" if borne else typed


def _judgements(field: Field, *, clock: bool = True) -> list[str]:
    """SQL over texts and values: each null, or one reason against the row.

    clock: with the one rule by which a record may become valid as time goes by.
    """
    text, value = f'"{field.name}"', f'"{field.name}__value"'
    quoted = (
        f"'{field.name} \"' || case when length({text}) > 60 "
        f"then {text}[:60] || '...' else {text} end || '\"'"
    )
    borne = is_borne(field)
    when = f"case when {borne} and" if borne else "case when"
    reasons = []
    if field.required:
        reasons.append(f"{when} {text} is null then '{field.name} is missing' end")
    if field.kind != "text" or field.pattern or field.max_length:
        expected = _literal(f" is not {_expected(field)}")
        reasons.append(
            f"{when} {text} is not null and {value} is null then {quoted} || {expected} end"
        )
    if field.kind == "timestamp":
        reasons.append(
            f"{when} {value} < {_EARLIEST} then {quoted} || ' lies before the year 2000' end"
        )
        if clock:
            reasons.append(
                f"{when} {value} > $latest::timestamp "
                f"then {quoted} || ' lies more than 24 hours ahead' end"
            )
    return reasons


def _reliable_version(stream: Stream) -> str:
    """SQL over texts and values: the version of a record that may be refused, or null."""
    moments = [name for name in _VERSION_MOMENTS if name in stream.field_names]
    if not moments:
        return "null::timestamp"
    unreadable = " or ".join(f'"{m}" is not null and "{m}__value" is null' for m in moments)
    values = ", ".join(f'"{m}__value"' for m in moments)
    version = f"coalesce({values})"
    return f"case when not ({unreadable}) and {version} <= $latest::timestamp then {version} end"


def judged_sql(stream: Stream, source: str, *, carried: tuple[str, ...] = ()) -> str:
    """SQL over `source` that yields typed columns and `reason`, null for a valid record.

    And `valid_from`: for a record that is refused only because it lies too far ahead, the moment
    from which it does not. And `version`: null where the one that came cannot be read or relied
    upon, for one too far ahead is taken for a slip: the record put right will have an earlier one.

    `source` yields file_id, row_number, raw, extra, refused (a reason that is known before the
    fields are looked at) and every field of the stream as text. The parameter $latest is the
    moment after which a timestamp is refused. carried: further columns of `source` to pass on.
    """
    values = ",\n        ".join(
        f'{_value(field)} as "{field.name}__value"' for field in stream.fields
    )
    judgements = [judgement for field in stream.fields for judgement in _judgements(field)]
    is_refused = "\n        or ".join(f"({judgement}) is not null" for judgement in judgements)
    lasting = [reason for field in stream.fields for reason in _judgements(field, clock=False)]
    is_refused_for_good = "\n        or ".join(f"({reason}) is not null" for reason in lasting)
    moments = ", ".join(f'"{f.name}__value"' for f in stream.fields if f.kind == "timestamp")
    hours_ahead = int(FUTURE.total_seconds() // 3600)
    kept = ",\n    ".join(
        [*carried, *(f'"{field.name}__value" as "{field.name}"' for field in stream.fields)]
    )
    return f"""
with texts as (
    {source}
),
typed as (
    select
        *,
        {values}
    from texts
)
select
    file_id,
    row_number,
    raw,
    extra,
    {kept},
    case
        when refused is not null then refused
        when {is_refused} then array_to_string([
            {("," + chr(10) + "            ").join(judgements)}
        ], '; ')
    end as reason,
    case
        when greatest({moments}) > $latest::timestamp and refused is null
            and not ({is_refused_for_good})
        then greatest({moments}) - interval {hours_ahead} hours
    end as valid_from,
    {_reliable_version(stream)} as version
from typed
"""
