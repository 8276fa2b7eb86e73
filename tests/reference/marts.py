"""The rows of every published mart, summed from scratch.

Formulas and groups are those of `metrics`. Nothing is incremental here, and a coarser mart is
never made from a finer one: that the two agree is what a comparison shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from .metrics import DIMENSIONS, METRICS, URL_METRICS, Group, grouped, period_start, value
from .outcomes import MEASURES, Outcome, bucket

# Mart name of a dimension -> its value for a message. None: the key has no further column.
KEYS: dict[str, Callable[[Outcome], object] | None] = {
    "account": None,
    "channel": None,
    "direction": DIMENSIONS["DIRECTION"].value,
    "traffic_type": DIMENSIONS["TRAFFIC_TYPE"].value,
    "sender": DIMENSIONS["SENDER"].value,
    "sender_type": DIMENSIONS["SENDER_TYPE"].value,
    "sender_domain": DIMENSIONS["SENDER_DOMAIN"].value,
    "recipient_domain": DIMENSIONS["RECIPIENT_DOMAIN"].value,
    "url": None,
    "communication": DIMENSIONS["COMMUNICATION"].value,
    "campaign_reference": DIMENSIONS["CAMPAIGN_REFERENCE"].value,
    "network": DIMENSIONS["NETWORK_ID"].value,
    "country": DIMENSIONS["COUNTRY_ID"].value,
    "application": DIMENSIONS["APPLICATION_ID"].value,
    "entity": DIMENSIONS["ENTITY_ID"].value,
    "status_group": DIMENSIONS["STATUS_GROUP"].value,
    "status": DIMENSIONS["STATUS"].value,
    "error_group": DIMENSIONS["ERROR_GROUP"].value,
    "error_code": DIMENSIONS["ERROR_CODE"].value,
    "time_to_deliver": lambda outcome: bucket(outcome.time_to_deliver),
    "time_to_click_from_seen": lambda outcome: bucket(outcome.time_to_click_from_seen),
    "time_to_click_from_delivered": lambda outcome: bucket(outcome.time_to_click_from_delivered),
    "time_to_seen_from_delivered": lambda outcome: bucket(outcome.time_to_seen_from_delivered),
}
GRAINS = ("hourly", "daily")
MART_NAMES = tuple(f"{grain}_by_{dimension}" for dimension in KEYS for grain in GRAINS)
URL_MEASURES = ("clicked_messages", "clicks")


def _start(moment: datetime, grain: str) -> datetime:
    if grain == "minutely":
        return moment.astimezone(UTC).replace(second=0, microsecond=0)
    return period_start(moment, {"hourly": "HOUR", "daily": "DAY"}[grain])


def mart(
    outcomes: Mapping[str, Outcome] | Iterable[Outcome], dimension: str, grain: str
) -> dict[tuple[object, ...], dict[str, object]]:
    """The rows of `<grain>_by_<dimension>`, grain being hourly or daily.

    Key: (period_start, account_key, channel_code) and, but for the account and channel marts,
    the value of the dimension: the id where it has a name too, a bucket name for a duration.
    Columns: measures, and metrics in lower case with None where not available or undefined.
    """
    if grain not in GRAINS:
        raise ValueError(f"no mart has the grain {grain}")
    value_of = KEYS[dimension]

    def key(outcome: Outcome) -> tuple[object, ...]:
        shared = (_start(outcome.sent_at, grain), outcome.account_key, outcome.channel_code)
        return shared if value_of is None else (*shared, value_of(outcome))

    is_url = dimension == "url"
    groups = grouped(_values(outcomes), key, url_at=3 if is_url else None)
    measures = URL_MEASURES if is_url else MEASURES
    metrics = URL_METRICS if is_url else tuple(METRICS)
    return {
        group_key: {
            **_measures(group, measures),
            **{code.lower(): value(METRICS[code], group) for code in metrics},
        }
        for group_key, group in groups.items()
    }


def minutely(
    outcomes: Mapping[str, Outcome] | Iterable[Outcome],
) -> dict[tuple[object, ...], dict[str, object]]:
    """The rows of `minutely`: (minute, account_key, channel_code) -> measures, no metrics."""

    def key(outcome: Outcome) -> tuple[object, ...]:
        return (
            _start(outcome.sent_at, "minutely"), outcome.account_key, outcome.channel_code,
        )  # fmt: skip

    return {
        group_key: _measures(group, MEASURES)
        for group_key, group in grouped(_values(outcomes), key).items()
    }


def marts(
    outcomes: Mapping[str, Outcome] | Iterable[Outcome],
) -> Iterator[tuple[str, dict[tuple[object, ...], dict[str, object]]]]:
    """Every mart by its published name, one after another, `minutely` last."""
    kept = list(_values(outcomes))
    for dimension in KEYS:
        for grain in GRAINS:
            yield f"{grain}_by_{dimension}", mart(kept, dimension, grain)
    yield "minutely", minutely(kept)


def _values(outcomes: Mapping[str, Outcome] | Iterable[Outcome]) -> Iterable[Outcome]:
    return outcomes.values() if isinstance(outcomes, Mapping) else outcomes


def _measures(group: Group, names: Iterable[str]) -> dict[str, object]:
    sums = group.sums
    return {name: sums[name] for name in names}
