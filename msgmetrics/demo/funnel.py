"""What happens to the messages of one slice: their events, as columns of numbers.

Columns, one row per event; -1 stands for a field that is missing:
    ordinal, id_us      the message: what its id is made of
    place               0 to 63, tells the events of one message apart
    event_type          index into EVENT_TYPES
    occurred_us         microseconds since 1970
    status, error       index into STATUSES, ERRORS
    bounce, drop        index into BOUNCES, DROP_REASONS
    link                index into the world's links
    unsubscribes        0 or 1
    arrives_us          when the record reaches the landing zone
    repeat              whether this is a second arrival of a record

The shares and delays that belong to a channel are in `channels`.
"""

import numpy as np

from msgmetrics.demo import channels
from msgmetrics.demo.columns import MISSING, Columns, concat, take
from msgmetrics.demo.volume import DAY, HOUR, MINUTE, SECOND, Slice
from msgmetrics.demo.world import LINKS_PER_ACCOUNT, UNSUBSCRIBE_LINK, World

EVENT_TYPES = (
    "ACCEPTED", "SENT", "DELIVERED", "UNDELIVERABLE", "BOUNCED", "DROPPED", "EXPIRED", "REJECTED",
    "SEEN", "OPENED", "CLICKED", "UNSUBSCRIBED", "COMPLAINED",
)  # fmt: skip
(
    ACCEPTED, SENT, DELIVERED, UNDELIVERABLE, BOUNCED, DROPPED, EXPIRED, REJECTED,
    SEEN, OPENED, CLICKED, UNSUBSCRIBED, COMPLAINED,
) = range(len(EVENT_TYPES))  # fmt: skip

BOUNCES = ("SOFT", "HARD")
DROP_REASONS = (
    "UNSUBSCRIBED", "BOUNCED", "COMPLAINED", "BLOCKED_DOMAIN", "UNVERIFIED_DOMAIN",
    "EXPIRED_TEMPLATE", "TOO_MANY_URLS", "OTHER",
)  # fmt: skip
_DROP_SHARES = [0.34, 0.24, 0.12, 0.08, 0.07, 0.06, 0.04, 0.05]

LATE_SHARE = 0.03
"""Events that reach the landing zone in the file of a later day than they happened on."""

UNKNOWN_MESSAGES = 2**41
"""Ordinals from here on belong to messages that never come."""

# The outcome of the funnel (channels.OUTCOMES without NONE) as the type of its event.
_EVENT_OF_OUTCOME = np.array(
    [DELIVERED, UNDELIVERABLE, EXPIRED, REJECTED, BOUNCED, BOUNCED, DROPPED]
)

# Places of the events of a message: those that can be there several times have a range.
_AT_ACCEPTED, _AT_SENT, _AT_FINAL, _AT_SECOND, _AT_UNSUBSCRIBED, _AT_COMPLAINED = range(6)
_AT_OPENS, _AT_CLICKS = 8, 32

_STATUS_CHOICES: dict[int, tuple[str, ...]] = {
    ACCEPTED: ("PENDING_ACCEPTED", "PENDING_WAITING_DELIVERY"),
    SENT: ("PENDING_ENROUTE",),
    DELIVERED: ("DELIVERED_TO_HANDSET", "DELIVERED_TO_OPERATOR", "DELIVERED_TO_GATEWAY"),
    UNDELIVERABLE: ("UNDELIVERABLE_REJECTED_OPERATOR", "UNDELIVERABLE_NOT_DELIVERED"),
    BOUNCED: ("UNDELIVERABLE_NOT_DELIVERED",),
    DROPPED: ("UNDELIVERABLE_NOT_SENT",),
    EXPIRED: ("EXPIRED_DLR_UNKNOWN", "EXPIRED_EXPIRED"),
    REJECTED: ("REJECTED_SENDER", "REJECTED_DESTINATION", "REJECTED_NOT_ENOUGH_CREDITS",
               "REJECTED_NETWORK", "REJECTED_FLOODING_FILTER"),
}  # fmt: skip
STATUSES = tuple(dict.fromkeys(s for choices in _STATUS_CHOICES.values() for s in choices))

_TELCO_ERRORS: dict[int, tuple[str, ...]] = {
    UNDELIVERABLE: ("EC_ABSENT_SUBSCRIBER", "EC_UNKNOWN_SUBSCRIBER", "EC_SM_DELIVERY_FAILURE",
                    "EC_CALL_BARRED", "EC_MOBILE_OPERATOR_NETWORK_ERROR", "EC_SYSTEM_FAILURE",
                    "EC_VENDOR_SPECIFIC_4711"),
    EXPIRED: ("EC_ABSENT_SUBSCRIBER_SM", "EC_MESSAGE_EXPIRED", "EC_TIME_OUT"),
    REJECTED: ("EC_DESTINATION_FLOODING", "EC_INVALID_SOURCE_ADDRESS",
               "EC_BLACKLISTED_DESTINATIONADDRESS", "EC_CONTENT_BLOCKED"),
}  # fmt: skip
_MAIL_ERRORS: dict[int, tuple[str, ...]] = {
    UNDELIVERABLE: ("EC_INTERNAL_SYSTEM_ERROR", "EC_RECIPIENT_DOMAIN_POLICY_ERROR"),
    EXPIRED: ("EC_MAILBOX_PROVIDER_RATE_LIMIT", "EC_EMAIL_CONTENT_EXPIRED"),
    REJECTED: ("EC_SAFETY_RATE_LIMIT", "EC_REQUEST_INVALID", "EC_SENDER_ADDRESS_INVALID"),
}
_CHAT_ERRORS: dict[int, tuple[str, ...]] = {
    UNDELIVERABLE: ("EC_UNKNOWN_USER", "EC_BLOCKED_USER", "EC_FREQUENCY_CAPPING",
                    "EC_MEDIA_UNSUPPORTED", "EC_PROVIDER_TIMEOUT"),
    EXPIRED: ("EC_PROVIDER_DR_ERROR", "EC_TIME_OUT"),
    REJECTED: ("EC_INVALID_TEMPLATE_ARGS", "EC_MARKETING_OPT_OUT", "EC_TEMPLATE_NOT_AVAILABLE"),
}  # fmt: skip
_FAMILY_ERRORS = {
    channels.TELCO: _TELCO_ERRORS,
    channels.MAIL: _MAIL_ERRORS,
    channels.CHAT: _CHAT_ERRORS,
}
_SOFT_ERRORS = (
    "EC_RECIPIENT_INBOX_FULL", "EC_SOFT_BOUNCE", "EC_MAILBOX_TEMPORARY_UNAVAILABLE",
)  # fmt: skip
_HARD_ERRORS = (
    "EC_MAILBOX_PERMANENTLY_UNAVAILABLE", "EC_HARD_BOUNCE", "EC_INVALID_EMAIL_ADDRESS",
    "EC_RECIPIENT_DOMAIN_MX_NOT_FOUND",
)  # fmt: skip
_DROP_ERRORS = (
    "EC_UNSUBSCRIBED_EMAIL_ADDRESS", "EC_SUPPRESSED_BOUNCE", "EC_SUPPRESSED_SPAM_COMPLAINT",
    "EC_SENDER_DOMAIN_BLACKLISTED", "EC_SENDER_DOMAIN_UNVERIFIED", "EC_EMAIL_TEMPLATE_EXPIRED",
    "EC_EMAIL_TOO_MANY_URLS", "EC_SPAM_DETECTED",
)  # fmt: skip
ERRORS = tuple(
    dict.fromkeys(
        ["NO_ERROR"]
        + [e for family in _FAMILY_ERRORS.values() for names in family.values() for e in names]
        + [*_SOFT_ERRORS, *_HARD_ERRORS, *_DROP_ERRORS]
    )
)


def make_events(world: World, messages: Columns, slice_: Slice, end_us: int) -> Columns:
    """The events of a slice's messages that happen, and arrive, before `end_us`."""
    rng = np.random.default_rng([world.seed, 2, slice_.number])
    sent = np.flatnonzero(~messages["inbound"])
    # A read receipt of something that the end user wrote: providers send them, now and then.
    stray = np.flatnonzero(messages["inbound"] & (rng.random(len(messages["inbound"])) < 0.0003))
    final, parts = _final(world, messages, sent, rng)
    parts += _pending(messages, sent, rng)
    parts += _engagement(world, messages, sent, final, rng)
    parts.append(_part(stray, SEEN, messages["sent_us"][stray] + MINUTE, _AT_OPENS))
    events = concat(parts)
    row = events.pop("row")
    events |= {"ordinal": messages["ordinal"][row], "id_us": messages["id_us"][row]}
    orphan = rng.random(len(row)) < 0.0002
    events["ordinal"] = np.where(orphan, UNKNOWN_MESSAGES + events["ordinal"], events["ordinal"])
    _say_statuses(events, rng)
    events["arrives_us"] = _arrivals(events["occurred_us"], rng)
    events["repeat"] = np.zeros(len(row), bool)
    return take(events, (events["occurred_us"] < end_us) & (events["arrives_us"] < end_us))


def _part(
    row: np.ndarray, event_type: np.ndarray | int, occurred_us: np.ndarray, place: np.ndarray | int,
    **fields: np.ndarray,
) -> Columns:  # fmt: skip
    """Events of the messages in these rows; fields that are not given are missing."""
    missing = np.full(len(row), MISSING)
    part = {
        "row": row,
        "event_type": np.broadcast_to(event_type, len(row)),
        "occurred_us": occurred_us.astype(np.int64),
        "place": np.broadcast_to(place, len(row)),
    }
    return part | {
        name: fields.get(name, missing)
        for name in ("status", "error", "bounce", "drop", "link", "unsubscribes")
    }


def _pending(messages: Columns, sent: np.ndarray, rng: np.random.Generator) -> list[Columns]:
    channel = messages["channel"][sent]
    parts = []
    for field, event_type, place, seconds in (
        ("accepted", ACCEPTED, _AT_ACCEPTED, 0.15),
        ("sent", SENT, _AT_SENT, 0.6),
    ):
        row = sent[rng.random(len(sent)) < channels.column(field)[channel]]
        delay = rng.exponential(seconds * SECOND, len(row)) + 20_000
        parts.append(_part(row, event_type, messages["sent_us"][row] + delay, place))
    return parts


def _final(
    world: World, messages: Columns, sent: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], list[Columns]]:
    """What became of each sent message (outcome number and time), and the events that say so."""
    channel, account = messages["channel"][sent], messages["account"][sent]
    chance = rng.random(len(sent)) ** (1 / world.quality[account])
    outcome = (channels.outcome_thresholds()[channel] < chance[:, None]).sum(axis=1)
    seconds = channels.column("delivery_seconds")[channel]
    noise = rng.normal(0, 1, len(sent)) * channels.column("spread")[channel]
    delay = (seconds * np.exp(noise)).clip(0.05, 3 * 86_400) * SECOND
    delay = np.where(outcome == 1, delay * 20, delay)
    delay = np.where(outcome == 2, rng.choice([4, 24, 48], len(sent)) * HOUR + delay, delay)
    delay = np.where(outcome == 3, 50_000 + delay / 50, delay)
    # Some handsets' clocks are slow: they report a delivery before the message was sent.
    delay = np.where(rng.random(len(sent)) < 0.002, -rng.uniform(0, 2 * SECOND, len(sent)), delay)
    at_us = messages["sent_us"][sent] + delay.astype(np.int64)

    ends = outcome < len(_EVENT_OF_OUTCOME)
    row, how, at = sent[ends], outcome[ends], at_us[ends]
    drop = np.where(how == 6, rng.choice(len(DROP_REASONS), len(row), p=_DROP_SHARES), MISSING)
    error = _errors(messages["channel"][row], how, drop, rng)
    said_drop = np.where(rng.random(len(row)) < 0.06, MISSING, drop)
    bounce = np.where((how == 4) | (how == 5), how - 4, MISSING)
    first = _part(
        row, _EVENT_OF_OUTCOME[how], at, _AT_FINAL, error=error, bounce=bounce, drop=said_drop
    )
    # A second verdict: lost ones that turn up after all, and a final report that comes twice.
    change = rng.random(len(row)) < np.where((how > 0) & (how < 5), 0.06, 0.002)
    again, when = row[change], at[change] + rng.exponential(2 * HOUR, int(change.sum()))
    second = _part(again, DELIVERED, when, _AT_SECOND)
    return {"outcome": outcome, "at_us": at_us}, [first, second]


def _errors(
    channel: np.ndarray, outcome: np.ndarray, drop: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    family = channels.column("errors", int)[channel]
    skewed = rng.random(len(channel)) ** 1.8
    error = np.where(rng.random(len(channel)) < 0.15, 0, MISSING)

    def choose(rows: np.ndarray, names: tuple[str, ...]) -> None:
        codes = np.array([ERRORS.index(name) for name in names])
        error[rows] = codes[(skewed[rows] * len(codes)).astype(int)]

    for number, table in _FAMILY_ERRORS.items():
        for kind, event_type in ((1, UNDELIVERABLE), (2, EXPIRED), (3, REJECTED)):
            choose((family == number) & (outcome == kind), table[event_type])
    choose(outcome == 4, _SOFT_ERRORS)
    choose(outcome == 5, _HARD_ERRORS)
    codes = np.array([ERRORS.index(name) for name in _DROP_ERRORS])
    return np.where(outcome == 6, codes[drop], error)


def _engagement(
    world: World,
    messages: Columns,
    sent: np.ndarray,
    final: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> list[Columns]:
    channel, account = messages["channel"][sent], messages["account"][sent]
    by_mail = channel == channels.NUMBER["EMAIL"]
    delivered = final["outcome"] == 0
    seen_share = channels.column("seen")[channel]
    # Receipts can outlive a lost report: some messages are seen though nothing says delivered.
    seen = rng.random(len(sent)) < np.where(delivered, seen_share, seen_share * 0.03)
    wait = rng.lognormal(np.log(7 * MINUTE), 1.9, len(sent)).clip(SECOND, 12 * DAY)
    seen_us = final["at_us"] + np.where(by_mail, wait * 6, wait).astype(np.int64)

    opens = np.where(by_mail & seen, rng.geometric(0.6, len(sent)).clip(1, 12), seen.astype(int))
    row, when, nth = _several(opens, seen_us, 9 * HOUR, rng)
    kind = np.where(by_mail[row], OPENED, SEEN)
    parts = [_part(sent[row], kind, when, _AT_OPENS + nth)]

    base = np.where(seen_share > 0, seen, delivered)
    clicked = base & (rng.random(len(sent)) < channels.column("clicked")[channel])
    clicks = np.where(clicked, rng.geometric(0.72, len(sent)).clip(1, 10), 0)
    clicked_from = np.where(seen, seen_us, final["at_us"])
    first_us = clicked_from + rng.lognormal(np.log(50 * SECOND), 1.4, len(sent)).astype(np.int64)
    row, when, nth = _several(clicks, first_us, 5 * HOUR, rng)
    leaving = by_mail[row] & (nth == 0) & (rng.random(len(row)) < 0.06)
    link = np.where(leaving, UNSUBSCRIBE_LINK, (rng.random(len(row)) ** 2 * UNSUBSCRIBE_LINK))
    said = np.where(rng.random(len(row)) < 0.4, 0, MISSING)
    parts.append(
        _part(
            sent[row], CLICKED, when, _AT_CLICKS + nth,
            link=account[row] * LINKS_PER_ACCOUNT + link.astype(np.int64),
            unsubscribes=np.where(leaving, 1, said),
        )
    )  # fmt: skip

    left = leaving & (rng.random(len(row)) < 0.85)
    leave_us = when[left] + rng.exponential(20 * SECOND, int(left.sum()))
    parts.append(_part(sent[row[left]], UNSUBSCRIBED, leave_us, _AT_UNSUBSCRIBED))
    angry = np.flatnonzero(by_mail & delivered & (rng.random(len(sent)) < 0.0025))
    complain_us = seen_us[angry] + rng.exponential(3 * HOUR, len(angry))
    parts.append(_part(sent[angry], COMPLAINED, complain_us, _AT_COMPLAINED))
    return parts


def _several(
    counts: np.ndarray, first_us: np.ndarray, mean_pause: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`counts[i]` moments of item i, the first at `first_us[i]`: item, time, which one it is."""
    item = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(item)) - np.repeat(np.cumsum(counts) - counts, counts)
    pause = np.where(nth == 0, 0.0, nth * rng.exponential(mean_pause, len(item)))
    return item, first_us[item] + pause.astype(np.int64), nth


def _say_statuses(events: Columns, rng: np.random.Generator) -> None:
    """Name the status in some events; in the others it is left to the type."""
    said = rng.random(len(events["status"])) < 0.12
    skewed = rng.random(len(said)) ** 3
    status = events["status"].copy()
    for event_type, choices in _STATUS_CHOICES.items():
        rows = np.flatnonzero(said & (events["event_type"] == event_type))
        codes = np.array([STATUSES.index(name) for name in choices])
        status[rows] = codes[(skewed[rows] * len(codes)).astype(int)]
    events["status"] = status


def _arrivals(occurred_us: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(occurred_us)
    soon = occurred_us + rng.exponential(8 * SECOND, count).astype(np.int64)
    midnight = (occurred_us // DAY + 1) * DAY
    hours_later = rng.exponential(9 * HOUR, count).clip(0, 5 * DAY).astype(np.int64)
    late = rng.random(count) < LATE_SHARE
    return np.where(late, midnight + MINUTE + hours_later, soon)
