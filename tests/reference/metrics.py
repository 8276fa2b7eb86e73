"""What every metric is, and the answer to any query over outcomes.

A metric is a sum of measures, or one sum over another. The rows of the marts are made in
`marts`, with the same groups and the same formulas. Transport (routes, envelopes, printing of
times) has no place here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .outcomes import BUCKET_RANK, MEASURES, Outcome, bucket, whole_seconds
from .records import CHANNELS, Account, timestamp, with_descendants

ALL = frozenset(CHANNELS)
EMAIL = frozenset({"EMAIL"})
SEEN = frozenset({
    "EMAIL", "WHATSAPP", "VIBER", "VIBERBOTS", "RCS", "FB", "IM", "LINEOA", "ZALONS", "KAKAOC",
    "KAKAOS", "TELEGRAM", "APPLECB",
})  # fmt: skip
CLICKED = ALL - {"FB", "APPLECB", "EMAILVALID", "NL"}


@dataclass(frozen=True)
class Metric:
    """Sum of the numerator measures, over the sum of `denominator` if there is one.

    `channels` are those on which it is available; on all others it has no value.
    """

    code: str
    numerator: tuple[str, ...]
    denominator: str | None
    channels: frozenset[str]

    @property
    def is_rate(self) -> bool:
        return self.denominator is not None

    def is_available(self, channel_code: str) -> bool:
        return channel_code in self.channels


def _catalogue(*entries: tuple[str, str, str | None, frozenset[str]]) -> dict[str, Metric]:
    return {
        code: Metric(code, tuple(numerator.split(" + ")), denominator, channels)
        for code, numerator, denominator, channels in entries
    }


_MESSAGES_IN = "messages_in"
_BOUNCED = "soft_bounced + hard_bounced"
_ATTEMPTED = "sent_not_rejected"

METRICS = _catalogue(
    ("TOTAL_TRAFFIC_COUNT", "traffic_out + traffic_in", None, ALL),
    ("INTERACTION_COUNT", "interactions_out + interactions_in", None, ALL),
    ("TOTAL_SMS_MESSAGES_COUNT", "messages_out + messages_in", None, frozenset({"SMS"})),
    ("TOTAL_SENT_TRAFFIC_COUNT", "sent", None, ALL),
    ("DELIVERED_TRAFFIC_COUNT", "delivered", None, ALL),
    ("TRAFFIC_DELIVERY_RATE", "delivered", _ATTEMPTED, ALL),
    ("TRAFFIC_DELIVERED_IN_5_SEC_RATE", "delivered_in_5_sec", _ATTEMPTED, ALL),
    ("TOTAL_RECEIVED_TRAFFIC_COUNT", _MESSAGES_IN, None, ALL),
    ("RECEIVED_TO_SENT_TRAFFIC_RATIO", _MESSAGES_IN, _ATTEMPTED, ALL),
    ("FAILED_TRAFFIC_COUNT", "failed", None, ALL - EMAIL),
    ("TOTAL_BOUNCE_COUNT", _BOUNCED, None, EMAIL),
    ("TOTAL_BOUNCE_RATE", _BOUNCED, "sent", EMAIL),
    ("TOTAL_DROPPED_COUNT", "dropped", None, EMAIL),
    ("TOTAL_DROPPED_RATE", "dropped", "accepted", EMAIL),
    ("TOTAL_SUPPRESSED_COUNT", "suppressed", None, EMAIL),
    ("SOFT_BOUNCE_COUNT", "soft_bounced", None, EMAIL),
    ("SOFT_BOUNCE_RATE", "soft_bounced", "sent", EMAIL),
    ("HARD_BOUNCE_COUNT", "hard_bounced", None, EMAIL),
    ("HARD_BOUNCE_RATE", "hard_bounced", "sent", EMAIL),
    ("SEEN_OPENED_TRAFFIC_COUNT", "opened_messages", None, SEEN),
    ("SEEN_OPENED_TRAFFIC_RATE", "opened_messages", "delivered", SEEN),
    ("VIEWED_TOTAL_COUNT", "opens", None, EMAIL),
    ("VIEWED_TOTAL_RATE", "opens", "delivered", EMAIL),
    ("UNIQUE_CLICKS_COUNT", "clicked_messages", None, CLICKED),
    ("UNIQUE_CLICK_THROUGH_RATE", "clicked_messages", "delivered", CLICKED),
    ("UNIQUE_URL_CLICK_COUNT", "distinct_urls", None, CLICKED),
    ("CLICK_TO_OPEN_RATE", "clicked_messages", "opened_messages", CLICKED & SEEN),
    ("TOTAL_CLICKS_COUNT", "clicks", None, CLICKED),
    ("TOTAL_CLICK_RATE", "clicks", "delivered", CLICKED),
    ("UNSUBSCRIBED_USER_COUNT", "unsubscribed", None, EMAIL),
    ("UNSUBSCRIBED_USER_RATE", "unsubscribed", "delivered", EMAIL),
    ("EMAIL_COMPLAINTS_COUNT", "complained", None, EMAIL),
    ("EMAIL_COMPLAINTS_RATE", "complained", "delivered", EMAIL),
    ("TOTAL_ACCEPTED_TRAFFIC_COUNT", "accepted", None, EMAIL),
    ("TOTAL_COST_CENTS", "cost_cents_out + cost_cents_in", None, ALL),
)
URL_METRICS = ("UNIQUE_CLICKS_COUNT", "UNIQUE_URL_CLICK_COUNT", "TOTAL_CLICKS_COUNT")

# -------------------------------------------------------------------------------- dimensions

# Finest first. Of two of the same length neither is finer.
TIME_LENGTHS = {
    "HOUR": 0,
    "DAY": 1,
    "WEEK_SATURDAY_START": 2,
    "WEEK_SUNDAY_START": 2,
    "WEEK_MONDAY_START": 2,
    "MONTH": 3,
    "QUARTER": 4,
    "YEAR": 5,
}
_WEEK_STARTS = {"WEEK_MONDAY_START": 0, "WEEK_SATURDAY_START": 5, "WEEK_SUNDAY_START": 6}


class Dimension(NamedTuple):
    """A dimension that is neither a time period nor URL: its type and its value for a message."""

    data_type: str
    value: Callable[[Outcome], object]


DIMENSIONS = {
    "ACCOUNT_KEY": Dimension("STRING", lambda outcome: outcome.account_key),
    "TIME_TO_DELIVER": Dimension("STRING", lambda outcome: bucket(outcome.time_to_deliver)),
    "TIME_TO_CLICK_FROM_SEEN": Dimension(
        "INTEGER", lambda outcome: whole_seconds(outcome.time_to_click_from_seen)
    ),
    "TIME_TO_CLICK_FROM_DELIVERED": Dimension(
        "INTEGER", lambda outcome: whole_seconds(outcome.time_to_click_from_delivered)
    ),
    "TIME_TO_SEEN_FROM_DELIVERED": Dimension(
        "INTEGER", lambda outcome: whole_seconds(outcome.time_to_seen_from_delivered)
    ),
    "CHANNEL_CODE": Dimension("STRING", lambda outcome: outcome.channel_code),
    "CHANNEL_NAME": Dimension("STRING", lambda outcome: outcome.channel_name),
    "DIRECTION": Dimension("STRING", lambda outcome: outcome.direction),
    "TRAFFIC_TYPE": Dimension("STRING", lambda outcome: outcome.traffic_type),
    "SENDER": Dimension("STRING", lambda outcome: outcome.sender),
    "SENDER_TYPE": Dimension("STRING", lambda outcome: outcome.sender_type),
    "SENDER_DOMAIN": Dimension("STRING", lambda outcome: outcome.sender_domain),
    "RECIPIENT_DOMAIN": Dimension("STRING", lambda outcome: outcome.recipient_domain),
    "COMMUNICATION": Dimension("INTEGER", lambda outcome: outcome.communication_id),
    "CAMPAIGN_REFERENCE": Dimension("STRING", lambda outcome: outcome.campaign_reference_id),
    "NETWORK_ID": Dimension("INTEGER", lambda outcome: outcome.network_id),
    "NETWORK_NAME": Dimension("STRING", lambda outcome: outcome.network_name),
    "COUNTRY_ID": Dimension("INTEGER", lambda outcome: outcome.country_id),
    "COUNTRY_NAME": Dimension("STRING", lambda outcome: outcome.country_name),
    "APPLICATION_ID": Dimension("STRING", lambda outcome: outcome.application_id),
    "ENTITY_ID": Dimension("STRING", lambda outcome: outcome.entity_id),
    "STATUS_GROUP": Dimension("STRING", lambda outcome: outcome.status_group),
    "STATUS": Dimension("STRING", lambda outcome: outcome.status),
    "ERROR_GROUP": Dimension("STRING", lambda outcome: outcome.error_group),
    "ERROR_CODE": Dimension("STRING", lambda outcome: outcome.error_code),
}
DIMENSION_NAMES = (*TIME_LENGTHS, *DIMENSIONS, "URL")


def kept_dimensions(aggregate_by: Sequence[str]) -> list[str]:
    """The dimension columns of an answer, in order, as the forced channel and time rules leave
    them. Raises ValueError for an unknown or repeated dimension."""
    for name in aggregate_by:
        if name not in DIMENSION_NAMES:
            raise ValueError(f"unknown dimension {name}")
        if list(aggregate_by).count(name) > 1:
            raise ValueError(f"repeated dimension {name}")
    times = [name for name in aggregate_by if name in TIME_LENGTHS]
    # min() keeps the first of equals: of several weeks the one asked first.
    finest = min(times, key=TIME_LENGTHS.__getitem__, default=None)
    kept = [name for name in aggregate_by if name not in times or name == finest]
    if "CHANNEL_CODE" not in kept and "CHANNEL_NAME" not in kept:
        kept.insert(0, "CHANNEL_CODE")
    return kept


def period_start(moment: datetime, dimension: str, zone: str = "UTC") -> datetime:
    """The start of the period of a time dimension that a moment falls into.

    UTC or, for another zone, an aware datetime with the offset in force there at that start.
    An hour keeps the offset of the moment, so that the repeated hour of autumn is two hours.
    """
    if zone == "UTC":
        local, tz = moment.astimezone(UTC), UTC
    else:
        tz = ZoneInfo(zone)
        local = moment.astimezone(tz)
        local = local.replace(tzinfo=timezone(local.utcoffset()), fold=0)
    hour = local.replace(minute=0, second=0, microsecond=0)
    if dimension == "HOUR":
        return hour
    day = hour.replace(hour=0, tzinfo=None)
    if dimension in _WEEK_STARTS:
        day -= timedelta(days=(day.weekday() - _WEEK_STARTS[dimension]) % 7)
    elif dimension == "MONTH":
        day = day.replace(day=1)
    elif dimension == "QUARTER":
        day = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    elif dimension == "YEAR":
        day = day.replace(month=1, day=1)
    elif dimension != "DAY":
        raise ValueError(f"{dimension} is no time dimension")
    if zone == "UTC":
        return day.replace(tzinfo=UTC)
    # Through UTC, because a local midnight may not exist: then the day starts a little later.
    start = day.replace(tzinfo=tz).astimezone(UTC).astimezone(tz)
    return start.replace(tzinfo=timezone(start.utcoffset()), fold=0)


def _period_end(start: datetime, dimension: str) -> datetime:
    if dimension == "HOUR":
        return start + timedelta(hours=1)
    longest = {"DAY": 1, "MONTH": 31, "QUARTER": 92, "YEAR": 366}.get(dimension, 7)
    # The start of the period that is in force some days into the next one.
    return period_start(start + timedelta(days=longest, hours=1), dimension)


def requested_period(
    sent_since: datetime | str,
    sent_until: datetime | str,
    *,
    as_of: datetime,
    aggregate_by: Sequence[str] = (),
    widens_to_dimension: bool = True,
) -> tuple[datetime, datetime]:
    """The period that is answered, (inclusive, exclusive), for the period asked.

    Widened to whole periods of the time dimension that is kept (hours if there is none, or if
    `widens_to_dimension` is False), then cut at the last hour that is complete at `as_of`. A
    period that is empty as asked stays empty.
    """
    since, until = _moment(sent_since), _moment(sent_until)
    if since > until:
        raise ValueError("sentSince is after sentUntil")
    times = [name for name in kept_dimensions(aggregate_by) if name in TIME_LENGTHS]
    dimension = times[0] if times and widens_to_dimension else "HOUR"
    start = period_start(since, dimension)
    if since == until:
        return start, start
    end = period_start(until, dimension)
    if end < until:
        end = _period_end(end, dimension)
    return start, max(start, min(end, period_start(as_of, "HOUR")))


# --------------------------------------------------------------------------------- filtering

_LIST_FILTERS: dict[str, Callable[[Outcome], object]] = {
    "statusGroups": lambda outcome: outcome.status_group,
    "statuses": lambda outcome: outcome.status,
    "errorGroups": lambda outcome: outcome.error_group,
    "errorCodes": lambda outcome: outcome.error_code,
    "directions": lambda outcome: outcome.direction,
    "channelCodes": lambda outcome: outcome.channel_code,
    "trafficTypes": lambda outcome: outcome.traffic_type,
    "senders": lambda outcome: outcome.sender,
    "senderTypes": lambda outcome: outcome.sender_type,
    "communicationIds": lambda outcome: outcome.communication_id,
    "campaignReferenceIds": lambda outcome: outcome.campaign_reference_id,
    "networkIds": lambda outcome: outcome.network_id,
    "countryIds": lambda outcome: outcome.country_id,
}
_SINGLE_FILTERS: dict[str, Callable[[Outcome], object]] = {
    "applicationId": lambda outcome: outcome.application_id,
    "entityId": lambda outcome: outcome.entity_id,
}
_TIME_FILTERS: dict[str, Callable[[Outcome], timedelta | None]] = {
    "timeToDeliver": lambda outcome: outcome.time_to_deliver,
    "timeToClickFromSeen": lambda outcome: outcome.time_to_click_from_seen,
    "timeToClickFromDelivered": lambda outcome: outcome.time_to_click_from_delivered,
    "timeToSeenFromDelivered": lambda outcome: outcome.time_to_seen_from_delivered,
}
_OTHER_SPELLINGS = {"direction": "directions", "channelCode": "channelCodes"}
_OTHER_FILTERS = ("accountKeys", "includeSubaccounts", "sentSince", "sentUntil")


def _moment(value: datetime | str) -> datetime:
    value = timestamp(value) if isinstance(value, str) else value
    if value.tzinfo is None:
        raise ValueError("a time without an offset")
    return value.astimezone(UTC)


def _one_spelling(filter_by: Mapping[str, object]) -> dict[str, object]:
    filters: dict[str, object] = {}
    for name, value in filter_by.items():
        if name in _OTHER_SPELLINGS:
            name = _OTHER_SPELLINGS[name]
            if name in filter_by:
                raise ValueError(f"{name} in both spellings")
            value = [value] if isinstance(value, str) else value
        filters[name] = value
    if filters.get("channelCodes") == []:
        raise ValueError("channelCodes names no channel")
    known = {*_LIST_FILTERS, *_SINGLE_FILTERS, *_TIME_FILTERS, *_OTHER_FILTERS}
    unknown = sorted(set(filters) - known)
    if unknown:
        raise ValueError(f"unknown filters {unknown}")
    return filters


def _bucket_ranks(spans: Iterable[Mapping[str, str | None]]) -> frozenset[int]:
    ranks: set[int] = set()
    for span in spans:
        lower, upper = span.get("from"), span.get("to")
        for name in (lower, upper):
            if name is not None and name not in BUCKET_RANK:
                raise ValueError(f"unknown time bucket {name}")
        first = 0 if lower is None else BUCKET_RANK[lower]
        end = len(BUCKET_RANK) if upper is None else BUCKET_RANK[upper]
        if first >= end:
            raise ValueError(f"no time bucket from {lower} up to {upper}")
        ranks.update(range(first, end))
    return frozenset(ranks)


def _is_in(duration: timedelta | None, ranks: frozenset[int]) -> bool:
    return duration is not None and BUCKET_RANK[bucket(duration)] in ranks


def _accounts_counted(
    accounts: Mapping[str, Account], filters: Mapping[str, object], key_account: str | None
) -> set[str] | None:
    """The accounts that the question counts; None for all. What a key does not see is not there."""
    asked = set(filters.get("accountKeys", [key_account] if key_account else []))
    if key_account is None and not asked:
        return None
    if key_account is not None:
        asked &= with_descendants(accounts, [key_account])
    return with_descendants(accounts, asked) if filters.get("includeSubaccounts") else asked


def matching(
    outcomes: Iterable[Outcome],
    accounts: Mapping[str, Account],
    filter_by: Mapping[str, object],
    *,
    key_account: str | None = None,
) -> list[Outcome]:
    """The outcomes that pass every filter, in the order given.

    The period is taken as it is, without widening or cutting; a missing bound does not limit.
    `key_account` is the account of the key that asks: only it and its descendants are seen, and
    it stands for accountKeys that are missing, null or empty. Without it every account is seen.
    """
    filters = {
        name: value
        for name, value in _one_spelling(filter_by).items()
        if value is not None and value != []
    }
    tests: list[Callable[[Outcome], bool]] = []

    counted = _accounts_counted(accounts, filters, key_account)
    if counted is not None:
        tests.append(lambda outcome: outcome.account_key in counted)
    if "sentSince" in filters:
        since = _moment(filters["sentSince"])
        tests.append(lambda outcome: outcome.sent_at >= since)
    if "sentUntil" in filters:
        until = _moment(filters["sentUntil"])
        tests.append(lambda outcome: outcome.sent_at < until)
    for name, value_of in _LIST_FILTERS.items():
        if name in filters:
            wanted = frozenset(filters[name])
            tests.append(lambda outcome, of=value_of, wanted=wanted: of(outcome) in wanted)
    for name, value_of in _SINGLE_FILTERS.items():
        if name in filters:
            only = filters[name]
            tests.append(lambda outcome, of=value_of, only=only: of(outcome) == only)
    for name, duration_of in _TIME_FILTERS.items():
        if name in filters:
            ranks = _bucket_ranks(filters[name])
            tests.append(lambda outcome, of=duration_of, ranks=ranks: _is_in(of(outcome), ranks))
    return [outcome for outcome in outcomes if all(test(outcome) for test in tests)]


# --------------------------------------------------------------------------- sums and values

Sums = dict[str, "int | Decimal"]


class Group:
    """The measures of one group, and the channel that all its messages have in common."""

    def __init__(self, channel_code: str) -> None:
        self.channel_code = channel_code
        self.sums: Sums = dict.fromkeys(MEASURES, 0)
        for measure in ("cost_cents_out", "cost_cents_in"):
            self.sums[measure] = Decimal(0)

    def add(self, channel_code: str, measures: Mapping[str, int | Decimal]) -> None:
        if channel_code != self.channel_code:
            raise ValueError("a group spans channels: do two of them share a name?")
        for measure, amount in measures.items():
            if amount:
                self.sums[measure] += amount


def grouped(
    outcomes: Iterable[Outcome],
    key: Callable[[Outcome], tuple[object, ...]],
    *,
    url_at: int | None = None,
) -> dict[tuple[object, ...], Group]:
    """Sums of measures by key, one group for every key with at least one message.

    With `url_at` the clicked url is put into the key at that place, and a message counts once
    in each url that was clicked in it, with the clicks on that url alone.
    """
    groups: dict[tuple[object, ...], Group] = {}

    def add(full_key: tuple[object, ...], outcome: Outcome, measures: Mapping) -> None:
        group = groups.setdefault(full_key, Group(outcome.channel_code))
        group.add(outcome.channel_code, measures)

    # The usual 28 digits could round the cost of a large group.
    with localcontext(prec=60):
        for outcome in outcomes:
            base = key(outcome)
            if url_at is None:
                add(base, outcome, outcome.measures)
                continue
            for url, clicks in outcome.clicks_by_url.items():
                add(
                    (*base[:url_at], url, *base[url_at:]),
                    outcome,
                    {"clicked_messages": 1, "distinct_urls": 1, "clicks": clicks},
                )
    return groups


def components(metric: Metric, group: Group) -> tuple[int | Decimal, int | Decimal | None] | None:
    """Numerator and denominator (None for what is no rate), or None if not available."""
    if not metric.is_available(group.channel_code):
        return None
    denominator = None if metric.denominator is None else group.sums[metric.denominator]
    first, *others = metric.numerator
    numerator = group.sums[first]
    if others:
        with localcontext(prec=60):
            numerator = sum((group.sums[measure] for measure in others), numerator)
    return numerator, denominator


def value(
    metric: Metric, group: Group, *, missing: object = None, empty_rate: object = None
) -> object:
    """The metric of a group: int, Decimal (cost) or float (rate).

    `missing` where the channel does not have the metric, `empty_rate` where its denominator
    is 0.
    """
    parts = components(metric, group)
    if parts is None:
        return missing
    numerator, denominator = parts
    if not metric.is_rate:
        return numerator
    return empty_rate if denominator == 0 else numerator / denominator


# ----------------------------------------------------------------------------------- answers


def _asked_metrics(metrics: Sequence[str], dimensions: Sequence[str]) -> list[Metric]:
    if not metrics:
        raise ValueError("no metric asked")
    for code in metrics:
        if code not in METRICS:
            raise ValueError(f"unknown metric {code}")
        if list(metrics).count(code) > 1:
            raise ValueError(f"repeated metric {code}")
        if "URL" in dimensions and code not in URL_METRICS:
            raise ValueError(f"{code} does not go with URL")
    return [METRICS[code] for code in metrics]


def columns(
    aggregate_by: Sequence[str], metrics: Sequence[str], *, include_components: bool = False
) -> list[tuple[str, str]]:
    """Name and data type of every column of an answer, in order."""
    dimensions = kept_dimensions(aggregate_by)
    named: list[tuple[str, str]] = []
    for name in dimensions:
        if name in TIME_LENGTHS:
            named.append((name, "DATE_TIME"))
        else:
            named.append((name, DIMENSIONS[name].data_type if name in DIMENSIONS else "STRING"))
    for metric in _asked_metrics(metrics, dimensions):
        is_count = not metric.is_rate and metric.code != "TOTAL_COST_CENTS"
        named.append((metric.code, "INTEGER" if is_count else "NUMBER"))
        if include_components and metric.is_rate:
            named.append((f"{metric.code}_NUMERATOR", "INTEGER"))
            named.append((f"{metric.code}_DENOMINATOR", "INTEGER"))
    return named


def _place(dimension: str, value: object) -> tuple[bool, object]:
    """Where a value stands in its column: nulls last, bucket names by duration."""
    if value is None:
        return True, 0
    return False, BUCKET_RANK[value] if dimension == "TIME_TO_DELIVER" else value


def answer(
    outcomes: Mapping[str, Outcome] | Iterable[Outcome],
    accounts: Mapping[str, Account],
    *,
    aggregate_by: Sequence[str],
    filter_by: Mapping[str, object],
    metrics: Sequence[str],
    key_account: str | None = None,
    zone: str = "UTC",
    include_components: bool = False,
    missing: object = None,
    empty_rate: object = None,
) -> list[list[object]]:
    """The rows of a query, sorted; columns as `columns` names them.

    Time dimensions are aware datetimes, TIME_TO_DELIVER a bucket name, the other durations
    whole seconds; counts int, cost Decimal, rates float. The period is that of `filter_by`,
    neither widened nor cut (see `requested_period`). `missing` and `empty_rate` stand where a
    value is null or not available, and where a denominator is 0. Raises ValueError for a query
    that cannot be asked.
    """
    dimensions = kept_dimensions(aggregate_by)
    asked = _asked_metrics(metrics, dimensions)
    every = outcomes.values() if isinstance(outcomes, Mapping) else outcomes
    chosen = matching(every, accounts, filter_by, key_account=key_account)

    def key(outcome: Outcome) -> tuple[object, ...]:
        return tuple(
            period_start(outcome.sent_at, name, zone)
            if name in TIME_LENGTHS
            else DIMENSIONS[name].value(outcome)
            for name in dimensions
            if name != "URL"
        )

    url_at = dimensions.index("URL") if "URL" in dimensions else None
    groups = grouped(chosen, key, url_at=url_at)
    in_order = sorted(
        groups, key=lambda key: [_place(*cell) for cell in zip(dimensions, key, strict=True)]
    )
    rows: list[list[object]] = []
    for group_key in in_order:
        group = groups[group_key]
        row = [missing if cell is None else cell for cell in group_key]
        for metric in asked:
            row.append(value(metric, group, missing=missing, empty_rate=empty_rate))
            if include_components and metric.is_rate:
                row.extend(components(metric, group) or (missing, missing))
        rows.append(row)
    return rows
