"""From records to one outcome per message: status, times, engagement, sides, measures.

No formula of a metric and no grouping lives here. Records come in as the versions that count
(see `records`); nothing here looks at an earlier version or at a clock.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from .records import CHANNELS, EVENT_TYPES, Event, Message

MEASURES = (
    "messages_out",
    "messages_in",
    "traffic_out",
    "traffic_in",
    "interactions_out",
    "interactions_in",
    "cost_cents_out",
    "cost_cents_in",
    "accepted",
    "sent",
    "sent_not_rejected",
    "rejected",
    "delivered",
    "delivered_in_5_sec",
    "failed",
    "soft_bounced",
    "hard_bounced",
    "dropped",
    "suppressed",
    "opened_messages",
    "opens",
    "clicked_messages",
    "clicks",
    "distinct_urls",
    "unsubscribed",
    "complained",
)

# Lower bounds, inclusive, in seconds; each bucket ends where the next begins.
BUCKETS = {
    **{f"SECONDS_{n}": n for n in (0, 1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 40, 50)},
    **{f"MINUTES_{n}": n * 60 for n in (1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 45)},
    **{f"HOURS_{n}": n * 3600 for n in (1, 6, 12, 18)},
    **{f"DAYS_{n}": n * 86400 for n in (1, 2, 3)},
}
BUCKET_NAMES = tuple(BUCKETS)
BUCKET_RANK = {name: rank for rank, name in enumerate(BUCKET_NAMES)}
_LOWER_BOUNDS = tuple(timedelta(seconds=seconds) for seconds in BUCKETS.values())

_PRECEDENCE = ("PENDING", "REJECTED", "EXPIRED", "UNDELIVERABLE", "DELIVERED")
_ENGAGEMENT_TYPES = ("SEEN", "OPENED", "CLICKED", "UNSUBSCRIBED", "COMPLAINED")
_FAST = timedelta(seconds=5)
_NOTHING = timedelta(0)
_BRACKETED = re.compile("<([^<>]*)>")


@dataclass(frozen=True)
class Outcome:
    """What has become of one message. One per message.

    `sender` and `sender_domain` are the company's side in both directions; the end user's
    address is not held. `clicks_by_url` leaves out unsubscribe links. `measures` holds every
    name of MEASURES; cost in cents as Decimal, all else as int.
    """

    message_id: str
    account_key: str
    direction: str
    channel_code: str
    channel_name: str | None
    sent_at: datetime
    sender: str
    sender_type: str | None
    sender_domain: str | None
    recipient_domain: str | None
    traffic_type: str | None
    interaction_id: str | None
    opens_interaction: bool
    segments: int
    cost_cents: Decimal
    communication_id: int | None
    campaign_reference_id: str | None
    country_id: int | None
    country_name: str | None
    network_id: int | None
    network_name: str | None
    application_id: str | None
    entity_id: str | None
    status: str
    status_group: str
    error_code: str
    error_group: str | None
    delivered_at: datetime | None
    seen_at: datetime | None
    clicked_at: datetime | None
    time_to_deliver: timedelta | None
    time_to_click_from_seen: timedelta | None
    time_to_click_from_delivered: timedelta | None
    time_to_seen_from_delivered: timedelta | None
    clicks_by_url: Mapping[str, int]
    measures: Mapping[str, int | Decimal]


def bucket(duration: timedelta | None) -> str | None:
    """The name of the time bucket that a duration of zero or more falls into."""
    if duration is None:
        return None
    return BUCKET_NAMES[bisect_right(_LOWER_BOUNDS, duration) - 1]


def whole_seconds(duration: timedelta | None) -> int | None:
    """The full seconds of a duration of zero or more; a started second does not count."""
    return None if duration is None else duration // timedelta(seconds=1)


def email_domain(address: str) -> str | None:
    """What stands behind the last @ of an address, lower-cased letter by letter.

    Of an address with parts in angle brackets only the last such part counts.
    """
    parts = _BRACKETED.findall(address)
    _, at, domain = (parts[-1] if parts else address).rpartition("@")
    # One letter for one letter: a sigma at the end stays a plain one, a dotted I is an i.
    return "".join(letter.lower()[0] for letter in domain) if at and domain else None


def outcomes(
    messages: Iterable[Message],
    events: Iterable[Event],
    reference_data: Mapping[str, Mapping[object, str | None]],
) -> dict[str, Outcome]:
    """The outcome of every message, by message_id.

    `messages` and `events` are the versions that count, each id once. `reference_data` holds
    up to four plain mappings: `error_groups` (code to group), `channel_names` (code to name;
    missing: the known names), `country_names` and `network_names` (number to name). Events of
    unknown messages are passed over.
    """
    messages = list(messages)
    by_message: dict[str, list[Event]] = {}
    for event in events:
        by_message.setdefault(event.message_id, []).append(event)
    openers = _interaction_openers(messages)
    return {
        message.message_id: _outcome(
            message,
            by_message.get(message.message_id, []) if message.direction == "OUTBOUND" else [],
            message.message_id in openers,
            reference_data,
        )
        for message in messages
    }


def _interaction_openers(messages: Iterable[Message]) -> set[str]:
    alone = set()
    earliest: dict[tuple[str, str], tuple[datetime, str]] = {}
    for message in messages:
        if message.interaction_id is None:
            alone.add(message.message_id)
            continue
        interaction = (message.account_key, message.interaction_id)
        candidate = (message.sent_at, message.message_id)
        earliest[interaction] = min(earliest.get(interaction, candidate), candidate)
    return alone | {message_id for _, message_id in earliest.values()}


def current_event(events: Iterable[Event]) -> Event | None:
    """The event that decides the status of an outbound message; None if none bears a status."""

    def rank(event: Event) -> tuple[bool, datetime, int, str]:
        kind = EVENT_TYPES[event.event_type]
        assert kind.group is not None
        return kind.is_final, event.occurred_at, _PRECEDENCE.index(kind.group), event.event_id

    bearing = [event for event in events if EVENT_TYPES[event.event_type].group is not None]
    return max(bearing, key=rank, default=None)


def _outcome(
    message: Message,
    events: list[Event],
    opens_interaction: bool,
    reference_data: Mapping[str, Mapping[object, str | None]],
) -> Outcome:
    is_outbound = message.direction == "OUTBOUND"
    current = current_event(events)
    if not is_outbound:
        status, status_group = "DELIVERED_TO_HANDSET", "DELIVERED"
        error_code, error_group = "NO_ERROR", "OK"
    elif current is None:
        status, status_group = "PENDING_ENROUTE", "PENDING"
        error_code, error_group = "NO_ERROR", "OK"
    else:
        status, status_group = current.status, EVENT_TYPES[current.event_type].group
        error_code = current.error_code
        error_group = reference_data.get("error_groups", {}).get(error_code)

    is_delivered = is_outbound and status_group == "DELIVERED"
    engagements = [event for event in events if event.event_type in _ENGAGEMENT_TYPES]
    views = [event for event in engagements if event.event_type in ("SEEN", "OPENED")]
    clicks = [
        event
        for event in engagements
        if event.event_type == "CLICKED" and not event.is_unsubscribe_link
    ]
    deliveries = [event for event in events if event.event_type == "DELIVERED"]
    delivered_at = _earliest(deliveries) if is_delivered else None
    seen_at = _earliest(views)
    clicked_at = _earliest(clicks)
    time_to_deliver = _between(message.sent_at, delivered_at)
    clicks_by_url = Counter(event.url for event in clicks)

    is_email = message.channel_code == "EMAIL"
    is_rejected = is_outbound and status_group == "REJECTED"
    is_dropped = current is not None and current.event_type == "DROPPED"
    is_bounced = current is not None and current.event_type == "BOUNCED"
    is_accepted = is_outbound and is_email and not is_rejected
    is_sent = (is_accepted and not is_dropped) if is_email else is_outbound
    has_traffic_out = is_accepted if is_email else is_outbound

    company, end_user = message.sender, message.recipient
    if not is_outbound:
        company, end_user = end_user, company

    measures: dict[str, int | Decimal] = {
        "messages_out": int(is_outbound),
        "messages_in": int(not is_outbound),
        "traffic_out": message.segments if has_traffic_out else 0,
        "traffic_in": 0 if is_outbound else message.segments,
        "interactions_out": int(is_outbound and opens_interaction),
        "interactions_in": int(not is_outbound and opens_interaction),
        "cost_cents_out": message.cost_cents if is_outbound else Decimal(0),
        "cost_cents_in": Decimal(0) if is_outbound else message.cost_cents,
        "accepted": int(is_accepted),
        "sent": int(is_sent),
        "sent_not_rejected": int(is_sent and not is_rejected),
        "rejected": int(is_rejected),
        "delivered": int(is_delivered),
        "delivered_in_5_sec": int(time_to_deliver is not None and time_to_deliver < _FAST),
        "failed": int(is_outbound and status_group in ("UNDELIVERABLE", "EXPIRED", "REJECTED")),
        "soft_bounced": int(is_bounced and current.bounce_type == "SOFT"),
        "hard_bounced": int(is_bounced and current.bounce_type == "HARD"),
        "dropped": int(is_dropped),
        "suppressed": int(is_dropped and current.drop_reason in ("BOUNCED", "COMPLAINED")),
        "opened_messages": int(len(views) > 0),
        "opens": len(views),
        "clicked_messages": int(len(clicks) > 0),
        "clicks": len(clicks),
        "distinct_urls": len(clicks_by_url),
        "unsubscribed": int(any(event.event_type == "UNSUBSCRIBED" for event in engagements)),
        "complained": int(any(event.event_type == "COMPLAINED" for event in engagements)),
    }
    return Outcome(
        message_id=message.message_id,
        account_key=message.account_key,
        direction=message.direction,
        channel_code=message.channel_code,
        channel_name=reference_data.get("channel_names", CHANNELS).get(message.channel_code),
        sent_at=message.sent_at,
        sender=company,
        sender_type=message.sender_type,
        sender_domain=email_domain(company) if is_email else None,
        recipient_domain=email_domain(end_user) if is_email else None,
        traffic_type=message.traffic_type,
        interaction_id=message.interaction_id,
        opens_interaction=opens_interaction,
        segments=message.segments,
        cost_cents=message.cost_cents,
        communication_id=message.communication_id,
        campaign_reference_id=message.campaign_reference_id,
        country_id=message.country_id,
        country_name=reference_data.get("country_names", {}).get(message.country_id),
        network_id=message.network_id,
        network_name=reference_data.get("network_names", {}).get(message.network_id),
        application_id=message.application_id,
        entity_id=message.entity_id,
        status=status,
        status_group=status_group,
        error_code=error_code,
        error_group=error_group,
        delivered_at=delivered_at,
        seen_at=seen_at,
        clicked_at=clicked_at,
        time_to_deliver=time_to_deliver,
        time_to_click_from_seen=_between(seen_at, clicked_at),
        time_to_click_from_delivered=_between(delivered_at, clicked_at),
        time_to_seen_from_delivered=_between(delivered_at, seen_at),
        clicks_by_url=dict(clicks_by_url),
        measures=measures,
    )


def _earliest(events: Iterable[Event]) -> datetime | None:
    return min((event.occurred_at for event in events), default=None)


def _between(start: datetime | None, end: datetime | None) -> timedelta | None:
    if start is None or end is None:
        return None
    return max(end - start, _NOTHING)
