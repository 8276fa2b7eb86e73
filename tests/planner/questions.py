"""Random questions about a world, as a Hypothesis strategy. How they are answered is not here.

Every question is drawn around one message of the world, so that most of them count something.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st
from reference.metrics import DIMENSION_NAMES, METRICS, URL_METRICS
from reference.outcomes import BUCKET_NAMES, Outcome
from reference.records import with_descendants

from endpoint.planning.question import known_values
from msgmetrics.catalogue import catalogue

from .worlds import World

_TIMES = ("HOUR", "DAY", "DAY", "MONTH", "QUARTER", "YEAR", "WEEK_SATURDAY_START",
          "WEEK_SUNDAY_START", "WEEK_MONDAY_START")  # fmt: skip
_OTHERS = tuple(name for name in DIMENSION_NAMES if name not in _TIMES and name != "URL")
# Members of filterBy, and where the values that messages have are found.
_FILTERS = {
    "statuses": "status", "errorCodes": "error_code", "senders": "sender",
    "communicationIds": "communication_id", "campaignReferenceIds": "campaign_reference_id",
    "networkIds": "network_id", "countryIds": "country_id", "statusGroups": "status_group",
    "errorGroups": "error_group", "directions": "direction", "channelCodes": "channel_code",
    "trafficTypes": "traffic_type", "senderTypes": "sender_type",
    "applicationId": "application_id", "entityId": "entity_id",
    "timeToDeliver": "time_to_deliver", "timeToClickFromSeen": "time_to_click_from_seen",
    "timeToClickFromDelivered": "time_to_click_from_delivered",
    "timeToSeenFromDelivered": "time_to_seen_from_delivered",
}  # fmt: skip
# Ahead and behind, by parts of hours, changing by half an hour, and at midnight.
ZONES = ("Europe/Zagreb", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
         "Africa/Cairo", "Etc/UTC")  # fmt: skip
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Asking(NamedTuple):
    """A question's body, and all that its answer depends on besides."""

    body: dict[str, Any]
    own: str | None
    as_of: datetime
    widens: bool
    shift: timedelta
    empty_rate: float | None
    zone: str | None


@st.composite
def askings(draw: st.DrawFn, world: World) -> Asking:
    """Valid questions, from anyone, at any time."""
    by_url = draw(_one_in(7))
    ids = [key for key, one in world.outcomes.items() if one.clicks_by_url or not by_url]
    about = world.outcomes[draw(st.sampled_from(ids))]
    mart = draw(st.sampled_from((*catalogue().marts, *[None] * 8)))
    own = draw(st.none() | st.sampled_from((*_lineage(world, about.account_key), "stray")))
    body = {
        "filterBy": {
            **draw(_filters(world, about, mart)),
            **draw(_accounts(world, about, own)),
            **draw(_period(world, about)),
        },
        "aggregateBy": draw(_dimensions(mart, by_url)),
        "metrics": draw(_some_metrics(tuple(URL_METRICS if by_url else METRICS))),
        "includeComponents": draw(_one_in(3)),
    }
    ages = (400 * _DAY, 400 * _DAY, 3 * _DAY, 5 * _HOUR, -_HOUR)
    return Asking(
        body,
        own,
        as_of=about.sent_at + draw(st.sampled_from(ages)),
        widens=draw(st.booleans()),
        # What no mart can answer: parts of hours.
        shift=timedelta(seconds=draw(_one_in(10))),
        empty_rate=draw(st.sampled_from((None, 0.0))),
        zone=draw(st.sampled_from((*[None] * len(ZONES), *ZONES))),
    )


def _one_in(count: int) -> st.SearchStrategy[bool]:
    return st.sampled_from((*[False] * (count - 1), True))


def _some(values: Sequence, most: int, least: int = 0) -> st.SearchStrategy[list]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=most)


def _lineage(world: World, key: str) -> list[str]:
    """The account and those above it."""
    found: list[str] = []
    above: str | None = key
    while above is not None and above not in found:
        found.append(above)
        account = world.accounts.get(above)
        above = account and account.parent_account_key
    return found


@st.composite
def _dimensions(draw: st.DrawFn, mart: str | None, by_url: bool) -> list[str]:
    others = [
        name
        for name in _OTHERS
        if mart is None or catalogue().dimensions[name].mart in (mart, "account", "channel")
    ]
    of_mart = [name for name in others if catalogue().dimensions[name].mart == mart]
    least = int(bool(of_mart) and not draw(_one_in(4)))
    chosen = draw(_some(of_mart if least else others, 4, least=least))
    dimensions = draw(_some(_TIMES, 2)) + chosen + ["URL"] * by_url
    return draw(st.permutations(dimensions))


def _some_metrics(asked: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return _some(asked, min(len(asked), 5), least=1) | st.permutations(asked)


@st.composite
def _period(draw: st.DrawFn, world: World, about: Outcome) -> dict[str, str]:
    """All the time there is, or whole hours or days that start at the message or before."""
    if draw(_one_in(3)):
        return {"sentSince": world.since.isoformat(), "sentUntil": world.until.isoformat()}
    unit = draw(st.sampled_from((_DAY, _HOUR)))
    since = about.sent_at.replace(minute=0, second=0, microsecond=0)
    if unit == _DAY:
        since = since.replace(hour=0)
    since -= draw(st.integers(0, 3)) * unit
    until = since + draw(st.integers(0, 8) | st.integers(4, 100)) * unit
    if draw(_one_in(3)):
        until += timedelta(minutes=draw(st.integers(0, 59)), microseconds=draw(st.integers(0, 99)))
    return {"sentSince": since.isoformat(), "sentUntil": until.isoformat()}


@st.composite
def _accounts(draw: st.DrawFn, world: World, about: Outcome, own: str | None) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "includeSubaccounts": draw(st.sampled_from((None, False, True, True))),
    }
    if draw(st.booleans()):
        # Such as are below the asker's, and some that are not.
        near = _lineage(world, about.account_key)
        if own is not None:
            near += sorted(with_descendants(world.accounts, [own]) - {*near})
        far = sorted({*world.accounts, "nobody"} - {*near})
        asked["accountKeys"] = draw(_some(near, 2)) + draw(_some(far, 3))
    return asked


@st.composite
def _filters(draw: st.DrawFn, world: World, about: Outcome, mart: str | None) -> dict[str, Any]:
    """Filters over anything or, for a mart, over what it has."""
    names = list(_FILTERS)
    if mart is not None:
        of_mart = [d.filter for d in catalogue().dimensions.values() if d.mart in (mart, "channel")]
        names = [name for name in names if name in of_mart]
    if not draw(_one_in(4)):
        # What the message has no value for would leave it out.
        names = [name for name in names if getattr(about, _FILTERS[name]) is not None]
    asked = draw(_some(names, draw(st.sampled_from((0, 0, 1, 1, 2, 3))))) if names else []
    if draw(st.booleans()) and "directions" not in asked:
        asked.append("directions")
    filters: dict[str, Any] = {}
    for name in asked:
        if name.startswith("timeTo"):
            filters[name] = draw(st.lists(_spans(), min_size=1, max_size=2))
        elif name == "directions":
            filters[name] = draw(_some(known_values()[name], 2, least=1))
        else:
            filters[name] = draw(_values(world, about, name))
    if filters.get("channelCodes") == []:
        del filters["channelCodes"]
    for spelling, name in (("direction", "directions"), ("channelCode", "channelCodes")):
        if name in filters and draw(_one_in(5)):
            values = filters.pop(name)
            filters[spelling] = draw(st.sampled_from((values, values[0])))
    return filters


@st.composite
def _values(draw: st.DrawFn, world: World, about: Outcome, name: str) -> Any:
    """Values of the message and of others, and such as no message may have."""
    ids = draw(st.lists(st.sampled_from(list(world.outcomes)), max_size=2))
    found = [getattr(one, _FILTERS[name]) for one in (about, *(world.outcomes[i] for i in ids))]
    found = [value for value in found if value is not None]
    if name in ("applicationId", "entityId"):
        return draw(st.sampled_from((*found, None)))
    if name in known_values() and name != "channelCodes":
        found += draw(_some(known_values()[name], 1))
    return found


@st.composite
def _spans(draw: st.DrawFn) -> dict[str, str]:
    first, end = sorted(draw(_some(range(len(BUCKET_NAMES)), 2, least=2)))
    span = {"from": BUCKET_NAMES[first], "to": BUCKET_NAMES[end]}
    for name in draw(st.sampled_from(((), (), ("from",), ("to",), ("from", "to")))):
        del span[name]
    return span
