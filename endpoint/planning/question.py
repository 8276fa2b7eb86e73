"""The JSON of a question, everything that may be wrong with it, and what it means.

The pydantic models state the members and their types; rules that span members are checked beside
them, on the raw JSON, so that all violations are told at once. What a question is answered from is
not known here.
"""

import csv
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from endpoint.planning.periods import finest
from endpoint.planning.time_zones import zone_names
from endpoint.timestamps import read_timestamp
from msgmetrics.catalogue import Catalogue, catalogue
from msgmetrics.settings import PROJECT_ROOT

MAX_LIST_LENGTH = 10_000
# What is wrong with ten thousand list entries need not be read entry by entry.
MOST_VIOLATIONS = 1000

# The spellings of the source, and the members that they stand for.
OTHER_SPELLINGS = {"direction": "directions", "channelCode": "channelCodes"}


# The path of what has no path: the body as a whole.
WHOLE_BODY = "body"


class InvalidQuestionError(Exception):
    """A question that cannot be asked.

    `violations` names members and what they must be, at most MOST_VIOLATIONS; `unlisted` says how
    many more there are.
    """

    def __init__(self, violations: list[dict[str, str]], unlisted: int = 0) -> None:
        super().__init__("; ".join(f"{v['property']}: {v['violation']}" for v in violations))
        self.violations = violations
        self.unlisted = unlisted


@dataclass(frozen=True)
class Flavour:
    """What routes that take a question disagree on: a required channel, and further members."""

    needs_channel: bool
    has_further_members: bool


AGGREGATE_ROUTE = Flavour(needs_channel=True, has_further_members=False)
QUERY_ROUTE = Flavour(needs_channel=False, has_further_members=True)


@dataclass(frozen=True)
class Question:
    """A question that can be asked.

    since, until: the period as asked, in UTC, (inclusive, exclusive). dimensions: as they are
    answered: with the channel, and with one time dimension at most. filters: the allowed values by
    dimension, of durations the allowed buckets; a dimension without a filter is not there.
    account_keys: empty means the account of who asks. time_zone: the IANA name of the zone whose
    hours to years are meant, None for UTC. snapshot: the id of the snapshot asked, as it came.
    """

    since: datetime
    until: datetime
    dimensions: tuple[str, ...]
    metrics: tuple[str, ...]
    filters: Mapping[str, tuple[Any, ...]]
    account_keys: tuple[str, ...] = ()
    include_subaccounts: bool = False
    include_components: bool = False
    time_zone: str | None = None
    snapshot: str | None = None

    @property
    def time_dimension(self) -> str | None:
        times = catalogue().time_dimensions
        return next((name for name in self.dimensions if name in times), None)


# ------------------------------------------------------------------------------ single values


@cache
def known_values() -> Mapping[str, tuple[str, ...]]:
    """The values that a member of filterBy may have, where their list is closed."""
    channels = tuple(catalogue().channels)
    own_sender_types = tuple(code for code in channels if code not in ("SMS", "MMS", "EMAIL"))
    return {
        "statusGroups": _seed_values("event_types", "status_group"),
        "errorGroups": _seed_values("error_codes", "error_group"),
        "directions": ("OUTBOUND", "INBOUND"),
        "channelCodes": channels,
        "trafficTypes": _seed_values("traffic_types", "traffic_type"),
        "senderTypes": _seed_values("sender_types", "sender_type") + own_sender_types,
    }


def _seed_values(seed: str, column: str) -> tuple[str, ...]:
    with (PROJECT_ROOT / "seeds" / f"{seed}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(dict.fromkeys(row[column] for row in csv.DictReader(file) if row[column]))


def _shown(text: str) -> str:
    """A value of the asker's, short and printable everywhere."""
    short = text if len(text) <= 40 else text[:40] + "..."
    return ascii(short)


def _refusal(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _text_of(values: Iterable[str], problem: str) -> Any:
    """A text out of a list; `problem` ends the sentence "x is no known ..."."""
    allowed = tuple(values)
    known = frozenset(allowed)

    def check(text: str) -> str:
        if text in known:
            return text
        raise _refusal(f"{_shown(text)} is {problem}")

    return Annotated[
        str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(allowed)})
    ]


def _one_of(member: str) -> Any:
    values = known_values()[member]
    return _text_of(values, "not known; it must be " + _alternatives(values))


def _alternatives(values: tuple[str, ...]) -> str:
    return ", ".join(values[:-1]) + " or " + values[-1]


def _read_moment(value: object) -> datetime:
    moment = read_timestamp(value) if isinstance(value, str) else None
    if moment is None:
        raise _refusal(
            "must be a timestamp with an offset, such as 2026-05-05T00:00:00.000+0000 "
            "or 2026-05-05T00:00:00Z"
        )
    return moment


def _checked_text(text: str) -> str:
    # JSON can spell half a surrogate pair; no stored text has one, and none could be bound.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refusal("must be valid Unicode text") from None
    return text


def _checked_zone(name: str) -> str:
    if name in zone_names():
        return name
    raise _refusal(f"{_shown(name)} is no IANA time zone, such as Europe/Zagreb")


def _as_whole_number(value: object) -> object:
    # To JSON, and to its schemas, 191.0 is the whole number 191.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Values = Field(max_length=MAX_LIST_LENGTH)
Moment = Annotated[
    datetime,
    PlainValidator(_read_moment),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-05-05T00:00:00.000+0000"]}
    ),
]
Text = Annotated[str, AfterValidator(_checked_text)]
Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), BeforeValidator(_as_whole_number)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), BeforeValidator(_as_whole_number)]
ChannelCode = _one_of("channelCodes")
Direction = _one_of("directions")
StatusGroup = _one_of("statusGroups")
ErrorGroup = _one_of("errorGroups")
TrafficType = _one_of("trafficTypes")
SenderType = _one_of("senderTypes")
BucketName = _text_of(
    catalogue().time_buckets, "no time bucket; the first is SECONDS_0, the last DAYS_3"
)
DimensionName = _text_of(
    (*catalogue().time_dimensions, *catalogue().dimensions), "no dimension of the catalogue"
)
TimeZone = Annotated[
    str,
    AfterValidator(_checked_zone),
    WithJsonSchema({"type": "string", "examples": ["Europe/Zagreb"]}),
]
MetricName = _text_of(catalogue().metrics, "no metric of the catalogue")


# ------------------------------------------------------------------------------ whole objects


class _Object(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, serialize_by_alias=True
    )


class TimeSpan(_Object):
    """Durations from one bucket, inclusive, up to another, exclusive; either may be missing."""

    lowest: BucketName | None = Field(None, alias="from")
    end: BucketName | None = Field(None, alias="to")

    @model_validator(mode="after")
    def _is_a_span(self) -> "TimeSpan":
        if not self.buckets():
            raise _refusal("must have a `from` that is below its `to`")
        return self

    def buckets(self) -> tuple[str, ...]:
        """The names of the buckets in the span."""
        names = tuple(catalogue().time_buckets)
        first = 0 if self.lowest is None else names.index(self.lowest)
        end = len(names) if self.end is None else names.index(self.end)
        return names[first:end]


class FilterBy(_Object):
    """The messages that count. Within a list any value will do; all members must be met."""

    account_keys: Annotated[list[Text], _Values] | None = Field(
        None, description="Accounts; without it the account of the API key."
    )
    include_subaccounts: bool | None = Field(
        None, description="Whether the accounts below those count as well, to any depth."
    )
    sent_since: Moment = Field(description="Start of the period of sending, inclusive.")
    sent_until: Moment = Field(description="End of the period of sending, exclusive.")
    time_to_deliver: Annotated[list[TimeSpan], _Values] | None = None
    time_to_click_from_seen: Annotated[list[TimeSpan], _Values] | None = None
    time_to_click_from_delivered: Annotated[list[TimeSpan], _Values] | None = None
    time_to_seen_from_delivered: Annotated[list[TimeSpan], _Values] | None = None
    status_groups: Annotated[list[StatusGroup], _Values] | None = None
    statuses: Annotated[list[Text], _Values] | None = None
    error_groups: Annotated[list[ErrorGroup], _Values] | None = None
    error_codes: Annotated[list[Text], _Values] | None = None
    directions: Annotated[list[Direction], _Values] | None = None
    direction: Annotated[list[Direction], _Values, BeforeValidator(_as_list)] | None = Field(
        None, description="Another spelling of directions; one value or a list."
    )
    channel_codes: Annotated[list[ChannelCode], _Values] | None = None
    channel_code: Annotated[list[ChannelCode], _Values, BeforeValidator(_as_list)] | None = Field(
        None, description="Another spelling of channelCodes; one value or a list."
    )
    traffic_types: Annotated[list[TrafficType], _Values] | None = None
    senders: Annotated[list[Text], _Values] | None = None
    sender_types: Annotated[list[SenderType], _Values] | None = None
    communication_ids: Annotated[list[Int64], _Values] | None = None
    campaign_reference_ids: Annotated[list[Text], _Values] | None = None
    network_ids: Annotated[list[Int32], _Values] | None = None
    country_ids: Annotated[list[Int32], _Values] | None = None
    application_id: Text | None = None
    entity_id: Text | None = None


_SPANS = ("timeToDeliver", "timeToClickFromSeen", "timeToClickFromDelivered",
          "timeToSeenFromDelivered")  # fmt: skip


class QuestionBody(_Object):
    """A question as it comes."""

    filter_by: FilterBy
    aggregate_by: Annotated[list[DimensionName], _Values] | None = Field(
        None, description="Dimensions, in the order of the columns; the channel is always there."
    )
    metrics: Annotated[list[MetricName], Field(min_length=1, max_length=MAX_LIST_LENGTH)]


class ExtendedQuestionBody(QuestionBody):
    """A question as it comes, with the members that the query route has beyond those."""

    timezone: TimeZone | None = Field(
        None, description="IANA name of the zone whose hours to years are meant; default UTC."
    )
    include_components: bool | None = Field(
        None, description="Whether each rate is followed by its numerator and denominator."
    )
    snapshot: Text | None = Field(
        None, description="Id of an earlier snapshot, for the answer as it was then."
    )


# ----------------------------------------------------------------------------------- reading


def read_question(body: object, flavour: Flavour, *, prefix: str = "") -> Question:
    """The question that parsed JSON asks.

    prefix: the path of `body` in the request, put before every property. Raises
    InvalidQuestionError with all that is wrong.
    """
    model = ExtendedQuestionBody if flavour.has_further_members else QuestionBody
    found = _Found()
    body = _without_most_unknown(body, model, found)
    question = None
    try:
        question = model.model_validate(body)
    except ValidationError as error:
        found.add(_told(error, body))
    found.add(_violations_across_members(body, flavour))
    if found.count or question is None:
        raise InvalidQuestionError(
            [violation.told(prefix) for violation in found.listed], found.count - len(found.listed)
        )
    return _meaning(question)


def kept_dimensions(asked: Iterable[str]) -> tuple[str, ...]:
    """The dimensions that are answered for those asked, in order.

    Of several time dimensions the finest stays, of several weeks the first; the channel code comes
    first if the channel is not asked for.
    """
    asked = tuple(asked)
    times = [name for name in asked if name in catalogue().time_dimensions]
    kept = tuple(name for name in asked if name not in times or name == finest(times))
    if "CHANNEL_CODE" in kept or "CHANNEL_NAME" in kept:
        return kept
    return ("CHANNEL_CODE", *kept)


def _meaning(body: QuestionBody) -> Question:
    stated = {
        field.alias: getattr(body.filter_by, name) for name, field in FilterBy.model_fields.items()
    }
    for spelling, member in OTHER_SPELLINGS.items():
        stated[member] = stated[member] or stated[spelling]
    filters = {
        dimension.name: _allowed(stated[dimension.filter])
        for dimension in catalogue().dimensions.values()
        if dimension.filter and stated[dimension.filter] not in (None, [])
    }
    account_keys = filters.pop("ACCOUNT_KEY", ())
    if set(filters.get("DIRECTION", ())) == set(known_values()["directions"]):
        del filters["DIRECTION"]
    return Question(
        since=body.filter_by.sent_since,
        until=body.filter_by.sent_until,
        dimensions=kept_dimensions(body.aggregate_by or ()),
        metrics=tuple(body.metrics),
        filters=filters,
        account_keys=account_keys,
        include_subaccounts=bool(body.filter_by.include_subaccounts),
        include_components=bool(getattr(body, "include_components", False)),
        time_zone=getattr(body, "timezone", None),
        snapshot=getattr(body, "snapshot", None),
    )


def _allowed(stated: Any) -> tuple[Any, ...]:
    if isinstance(stated, str):
        return (stated,)
    if isinstance(stated[0], TimeSpan):
        buckets = {name for span in stated for name in span.buckets()}
        return tuple(name for name in catalogue().time_buckets if name in buckets)
    return tuple(dict.fromkeys(stated))


# -------------------------------------------------------------------------------- violations


class _Violation(NamedTuple):
    path: tuple[str | int, ...]
    sentence: str

    def told(self, prefix: str) -> dict[str, str]:
        text = prefix
        for step in self.path:
            if isinstance(step, int):
                text += f"[{step}]"
            else:
                # A member's name is the asker's: it may be long, or no text at all.
                name = step.encode("utf-8", "backslashreplace").decode()[:100]
                text += f".{name}" if text else name
        return {"property": text or WHOLE_BODY, "violation": self.sentence}


@dataclass
class _Found:
    """The first violations of a question, and how many there are in all."""

    listed: list[_Violation] = field(default_factory=list)
    count: int = 0

    def add(self, violations: Iterable[_Violation]) -> None:
        for violation in violations:
            self.count += 1
            if len(self.listed) < MOST_VIOLATIONS:
                self.listed.append(violation)


def _without_most_unknown(body: object, model: type[BaseModel], found: _Found) -> object:
    """The body with no more unknown members than are listed; those left out are counted.

    A body can hold half a million of them, and to have each told, to drop it then, takes seconds.
    """
    left = MOST_VIOLATIONS

    def kept(value: Any, model: type[BaseModel]) -> Any:
        nonlocal left
        if not isinstance(value, dict):
            return value
        known = _aliases(model)
        unknown = value.keys() - known
        if len(unknown) <= left:
            left -= len(unknown)
            return value
        few = set(itertools.islice((name for name in value if name in unknown), left))
        found.count += len(unknown) - left
        left = 0
        return {name: value[name] for name in value if name in known or name in few}

    body = kept(body, model)
    if not isinstance(body, dict) or not isinstance(body.get("filterBy"), dict):
        return body
    filters = kept(body["filterBy"], FilterBy)
    spans = {
        member: [kept(span, TimeSpan) for span in filters[member]]
        for member in _SPANS
        if _can_be_listed(filters.get(member))
    }
    return body | {"filterBy": filters | spans}


@cache
def _aliases(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _can_be_listed(value: object) -> bool:
    """Whether it is a list whose entries are looked at one by one."""
    return isinstance(value, list) and len(value) <= MAX_LIST_LENGTH


# By pydantic's type of an error; the member's name stands before these words.
SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "too_short": "must name at least one",
    "too_long": f"must not have more than {MAX_LIST_LENGTH} entries",
    "greater_than_equal": "must be a whole number of at least {ge}",
    "less_than_equal": "must be a whole number of at most {le}",
    "refused": "{sentence}",
}


def _told(error: ValidationError, body: object) -> Iterable[_Violation]:
    for found in error.errors(include_url=False, include_input=False):
        sentence = SENTENCES.get(found["type"], "is not usable")
        path = found["loc"]
        if len(path) == 3 and path[1] in OTHER_SPELLINGS and _is_one_value(body, path[1]):
            path = path[:2]
        yield _Violation(path, sentence.format(**found.get("ctx", {})))


def _is_one_value(body: Any, member: str) -> bool:
    return isinstance(body["filterBy"][member], str)


def _violations_across_members(body: object, flavour: Flavour) -> Iterable[_Violation]:
    if not isinstance(body, dict):
        return
    filters = body.get("filterBy")
    if isinstance(filters, dict):
        yield from _spelling_violations(filters, flavour)
        since, until = (
            read_timestamp(text) if isinstance(text := filters.get(member), str) else None
            for member in ("sentSince", "sentUntil")
        )
        if since and until and since > until:
            yield _Violation(("filterBy", "sentSince"), "must not be after sentUntil")
    for member in ("aggregateBy", "metrics"):
        seen = set()
        for position, name in _texts(body.get(member)):
            if name in seen:
                yield _Violation((member, position), f"repeats {_shown(name)}")
            seen.add(name)
    if "URL" in dict(_texts(body.get("aggregateBy"))).values():
        yield from _url_violations(body, catalogue())


def _spelling_violations(filters: dict[str, Any], flavour: Flavour) -> Iterable[_Violation]:
    for spelling, member in OTHER_SPELLINGS.items():
        if filters.get(spelling) is not None and filters.get(member) is not None:
            yield _Violation(
                ("filterBy", spelling),
                f"is another spelling of {member}; only one of the two may be given",
            )
    channels = [m for m in ("channelCodes", "channelCode") if filters.get(m) is not None]
    if flavour.needs_channel and not channels:
        yield _Violation(("filterBy", "channelCodes"), "must name at least one channel")
    for member in channels:
        if filters[member] == []:
            yield _Violation(("filterBy", member), "must name at least one channel")


def _url_violations(body: dict[str, Any], entries: Catalogue) -> Iterable[_Violation]:
    fitting = tuple(name for name, metric in entries.metrics.items() if metric.url)
    for position, name in _texts(body.get("metrics")):
        if name in entries.metrics and name not in fitting:
            yield _Violation(
                ("metrics", position),
                f"{name} does not go with the dimension URL; only {_alternatives(fitting)} does",
            )


def _texts(value: object) -> Iterable[tuple[int, str]]:
    """The texts of what may be a list, with their positions."""
    if _can_be_listed(value):
        for position, entry in enumerate(value):
            if isinstance(entry, str):
                yield position, entry
