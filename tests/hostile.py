"""Record sets made to break a warehouse: few ids, many collisions, every boundary.

A record set is small, so that one that fails can be read. Its records are valid by the arrival
contract, as raw JSON values: text, True, None, and `Number` for a JSON number with its very
digits. How they become files is `landing_files`' matter; broken records are tested elsewhere.

Everything is drawn from a `Random`: a plain one gives thousands of sets a second (`drawn`),
Hypothesis' own gives sets that shrink (`record_sets`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from random import Random

from hypothesis import strategies as st
from reference.outcomes import BUCKETS
from reference.records import (
    BOUNCE_TYPES,
    CHANNELS,
    DIRECTIONS,
    DROP_REASONS,
    EARLIEST,
    EVENT_TYPES,
    PLANS,
    SENDER_TYPES,
    TRAFFIC_TYPES,
    Number,
)

Record = dict[str, object]

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATEST = NOW + timedelta(hours=24)
PREFIX_LENGTH = 4
_FIRST_PREFIX = 1000
_KEYS = ("account_key", "parent_account_key", "message_id", "event_id")


@dataclass(frozen=True)
class RecordSet:
    """The arrivals of the three streams."""

    messages: tuple[Record, ...] = ()
    events: tuple[Record, ...] = ()
    accounts: tuple[Record, ...] = ()

    def streams(self) -> Iterator[tuple[str, tuple[Record, ...]]]:
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def __len__(self) -> int:
        return sum(len(records) for _, records in self.streams())


def side_by_side(record_sets: Iterable[RecordSet]) -> RecordSet:
    """All sets in one, each with ids of its own: the set's number stands before every id.

    Digits, because they leave an id that is a JSON number one.
    """
    prefixed = [
        {
            stream: tuple(_prefixed(str(number), record) for record in records)
            for stream, records in record_set.streams()
        }
        for number, record_set in enumerate(record_sets, start=_FIRST_PREFIX)
    ]
    return RecordSet(*(tuple(chain(*(one[f.name] for one in prefixed))) for f in fields(RecordSet)))


def _prefixed(prefix: str, record: Record) -> Record:
    assert len(prefix) == PREFIX_LENGTH
    return {
        name: type(value)(prefix + value) if name in _KEYS and value else value
        for name, value in record.items()
    }


def number_of(key: str) -> int:
    """Which of the sets given to `side_by_side` an id belongs to."""
    return int(key[:PREFIX_LENGTH]) - _FIRST_PREFIX


def drawn(count: int, seed: int) -> list[RecordSet]:
    """That many random record sets, the same ones for the same seed."""
    random = Random(seed)
    return [random_record_set(random) for _ in range(count)]


def record_sets() -> st.SearchStrategy[RecordSet]:
    """Random record sets as a Hypothesis strategy."""
    return st.randoms(use_true_random=False).map(random_record_set)


# ---------------------------------------------------------------------------------- values

# Ids whose order differs by number, by case, by UTF-16 unit and by normal form.
_MESSAGE_IDS = (
    "m", "M", "10", "9", "é", "e\u0301", "\ufffd", "😀", Number("7"), *(f"m{n}" for n in range(6))
)  # fmt: skip
_EVENT_IDS = ("e", "E", "2", "10", "😀", "\ufffd", *(f"e{number}" for number in range(8)))
_ACCOUNT_KEYS = ("a", "B", "ä", "😀", "a b", Number("5"))

_TEXTS = (
    "Shop", "shop", "O'Brien\"; drop table raw.messages; --", "a;b,c\td", "😀🎉", "\ufffd", "null",
    "NULL", "true", "007", " padded ", "zwei\nZeilen", "{\"a\": 1}", "\\N", "e\u0301", "é", "ſ",
    "\u2028", "\ufeffBOM", "%s {} $1", Number("42"), Number("1.50"), Number("12345678901234567890"),
)  # fmt: skip
_ADDRESSES = (
    "385911111111", "shop@Example.COM", "Shop <news@Mail.Example.com>", "a@b@c.D", "no at <x>",
    "x@y <no-at>", "<a@b>", "a<b>c@d", "<a@one> <b@TWO>", "<a@b", "a>b@c", "a@", "<a@>", "@",
    "😀@😀.example", "q@ÜBER.example", "'; select 1; --@x.io", "x@y z ", "<a@b>c>", "<a\n@b.C>",
    "ΟΔΟΣ@ΟΔΟΣ", "i@İ.example", Number("385912"),
)  # fmt: skip
_URLS = (
    "https://x.io/", "https://x.io", "https://X.io/", "https://x.io/?q='a'&r=\"b\";", "😀",
    Number("1"),
)  # fmt: skip
_STATUSES = (
    None, "", "DELIVERED_OPERATOR", "REJECTED_NETWORK", "PENDING_ACCEPTED", "EXPIRED_UNKNOWN",
    "delivered_to_handset", "NO SUCH STATUS", "😀", Number("5"),
)  # fmt: skip
_ERROR_CODES = (
    None, "", "NO_ERROR", "EC_UNKNOWN_SUBSCRIBER", "EC_ABSENT_SUBSCRIBER", "EC_MMS_GENERAL_ERROR",
    "EC_SYSTEM_ERROR", "no_error", "NO SUCH CODE", Number("0"),
)  # fmt: skip
_SEGMENTS = (None, "", Number("3"), "2", "3.0", Number("4.00"), Number("1e1"), Number("32767"))
_COSTS = (
    None, "", Number("0.1"), "0.2", Number("0.000001"), "999999999999.999999", Number("7.10"),
    Number("1e-6"), "0", "+5.", Number("33.333333"),
)  # fmt: skip
_CURRENCIES = (None, "", "USD", "EUR")
_COMMUNICATIONS = (
    None, "", Number("-9223372036854775808"), "9223372036854775807", Number("42.0"), "42",
    Number("9007199254740993"),
)  # fmt: skip
_COUNTRIES = (None, "", Number("191"), "191", Number("40.0"), Number("999999"), "-2147483648")
_NETWORKS = (None, "", Number("219010"), "219010", "202001", Number("2147483647"), "-1")
_FOREIGN = (None, "", "ODD", "HARD", "https://foreign.io", True, Number("3.5"), {"a": 1}, [1])
_EVENT_FIELDS = ("status", "error_code", "bounce_type", "drop_reason", "url", "is_unsubscribe_link")
_CHANNELS = ("EMAIL",) * 8 + ("SMS", "WHATSAPP", "FB") * 2 + tuple(CHANNELS)
# Final and pending types more than once, so that they meet in one message.
_EVENT_TYPES = (
    *EVENT_TYPES, "DELIVERED", "DELIVERED", "BOUNCED", "BOUNCED", "DROPPED", "SENT", "CLICKED",
    "CLICKED", "OPENED", "REJECTED",
)  # fmt: skip
# Fields that no table names; some names are such as a reader might use for itself.
_UNKNOWN_FIELDS = dict.fromkeys(
    ("note", "extra", "file_id", "reason", "a'b\"c"),
    (None, "", "x", Number("1.0"), True, {"a": [1, None]}, ["😀"]),
)
_OFFSETS = ((0, "Z"), (0, "+00:00"), (2, "+02"), (-5, "-0500"), (14, "+14:00"))

_BASES = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2026-05-05T10:15:30", "2026-05-05T10:59:59.999999", "2026-05-06T00:00:00",
        "2025-12-31T23:59:59.999999", "2024-02-29T23:00:00", "2026-03-29T01:00:00",
        "2000-01-01T00:00:00", "1999-12-31T23:59:59", "2026-06-02T11:59:59.999999",
    )
)  # fmt: skip
_MICROSECOND = timedelta(microseconds=1)
_BOUNDS = tuple(timedelta(seconds=seconds) for seconds in BUCKETS.values())
_STEPS = tuple(
    step
    for bound in (*_BOUNDS, *_BOUNDS[5:6] * 4, timedelta(hours=1), timedelta(days=1))
    for step in (bound, bound - _MICROSECOND, bound + _MICROSECOND)
) + (-timedelta(seconds=1), -timedelta(hours=1), -timedelta(days=1), -_MICROSECOND)


# ---------------------------------------------------------------------- systematic sets


def every_bound() -> list[RecordSet]:
    """A set for every bound of a time bucket and a microsecond on each side of it.

    In each, all four durations of a message are that long: of one those to the delivery and from
    there on, of the other, which is never opened, that from the delivery to the click.
    """
    sets = []
    for bound in _BOUNDS:
        for length in (bound - _MICROSECOND, bound, bound + _MICROSECOND):
            messages, events = [], []
            for message_id, types in (
                ("opened", ("DELIVERED", "OPENED", "CLICKED")),
                ("unopened", ("DELIVERED", "CLICKED")),
            ):
                messages.append({**_PLAIN_MESSAGE, "message_id": message_id})
                for number, event_type in enumerate(types, start=1):
                    moment = _PLAIN_MOMENT + length * number
                    events.append({
                        "event_id": f"{message_id} {number}", "message_id": message_id, "url": "u",
                        "event_type": event_type, "occurred_at": moment.isoformat(),
                    })  # fmt: skip
            sets.append(RecordSet(tuple(messages), tuple(events)))
    return sets


def every_tie() -> list[RecordSet]:
    """Sets of two versions of a record that differ in one field alone, for all its values."""
    opener = {**_PLAIN_MESSAGE, "message_id": "0", "interaction_id": "i"}
    message = {**_PLAIN_MESSAGE, "updated_at": _LATER[1], "cost_cents": Number("0.1")}
    event = {"event_id": "e", "message_id": "m", "occurred_at": _LATER[1]}
    sets = [
        RecordSet((opener, {**message, field: one}, {**message, field: other}))
        for field, values in _TIED_MESSAGE_FIELDS.items()
        for one, other in combinations(values, 2)
    ]
    sets += [
        RecordSet(
            (opener, message),
            ({**event, **required, field: one}, {**event, **required, field: other}),
        )
        for field, (required, values) in _TIED_EVENT_FIELDS.items()
        for one, other in combinations(values, 2)
    ]
    sets += [
        RecordSet(accounts=tuple({"account_key": "a", field: value} for value in pair))
        for field, values in _TIED_ACCOUNT_FIELDS.items()
        for pair in combinations(values, 2)
    ]
    return sets


_PLAIN_MOMENT = _BASES[0]
_LATER = tuple((_PLAIN_MOMENT + step).isoformat() for step in (_MICROSECOND, *_BOUNDS[1:4]))
_PLAIN_MESSAGE: Record = {
    "message_id": "m", "account_key": "a", "direction": "OUTBOUND", "channel_code": "EMAIL",
    "sent_at": _PLAIN_MOMENT.isoformat(), "sender": "a@b.c", "recipient": "d@e.f",
}  # fmt: skip
_TIED_TEXTS = (None, *_TEXTS[:6])
_TIED_MESSAGE_FIELDS: dict[str, tuple] = {
    "account_key": _ACCOUNT_KEYS,
    "direction": DIRECTIONS,
    "channel_code": ("EMAIL", "FB", "SMS", "WHATSAPP"),
    "sent_at": _LATER,
    "updated_at": (None, *_LATER),
    "sender": _ADDRESSES[:6],
    "sender_type": (None, *SENDER_TYPES),
    "recipient": _ADDRESSES[:6],
    "traffic_type": (None, *TRAFFIC_TYPES),
    "interaction_id": (None, "h", "i", "j"),
    "segments": _SEGMENTS,
    "cost_cents": _COSTS,
    "currency": _CURRENCIES,
    "communication_id": _COMMUNICATIONS,
    "campaign_reference_id": _TIED_TEXTS,
    "country_id": _COUNTRIES,
    "network_id": _NETWORKS,
    "application_id": _TIED_TEXTS,
    "entity_id": _TIED_TEXTS,
}
# Field -> (what else its record needs, its values).
_TIED_EVENT_FIELDS: dict[str, tuple[Record, tuple]] = {
    "message_id": ({"event_type": "DELIVERED"}, ("0", "m", "unknown")),
    "event_type": ({"bounce_type": "HARD", "url": "u"}, tuple(EVENT_TYPES)),
    "occurred_at": ({"event_type": "DELIVERED"}, _LATER),
    "status": ({"event_type": "DELIVERED"}, _STATUSES),
    "error_code": ({"event_type": "UNDELIVERABLE"}, _ERROR_CODES),
    "bounce_type": ({"event_type": "BOUNCED"}, BOUNCE_TYPES),
    "drop_reason": ({"event_type": "DROPPED"}, (None, *DROP_REASONS)),
    "url": ({"event_type": "CLICKED"}, _URLS),
    "is_unsubscribe_link": ({"event_type": "CLICKED", "url": "u"}, (None, True, False, "TRUE")),
}
_TIED_ACCOUNT_FIELDS: dict[str, tuple] = {
    "parent_account_key": (None, "", "a", "b", "é"),
    "name": _TIED_TEXTS,
    "plan": (None, *PLANS),
    "updated_at": (None, *_LATER),
}


# --------------------------------------------------------------------------------- drawing


def random_record_set(random: Random) -> RecordSet:
    """A few messages with their events and accounts, all out of the same few values."""
    world = _World(random)
    return RecordSet(
        _versions(random, world.message, random.randint(1, 12)),
        _versions(random, world.event, random.randint(0, 24)),
        _versions(random, world.account, random.randint(0, 4)),
    )


def _versions(random: Random, new: Callable[[Record], Record], count: int) -> tuple[Record, ...]:
    """Records of which a third are another one with up to two fields exchanged.

    So versions tie in all but one field, the last of them too, and corrections move anything.
    """
    records: list[Record] = []
    for _ in range(count):
        if records and random.random() < 0.35:
            other = random.choice(records)
            record = new(other)
            exchanged = random.sample(sorted(record), min(len(record), random.randint(0, 2)))
            record = {**other, **{name: record[name] for name in exchanged}}
        else:
            record = new({})
        records.append(_without_broken_sender_type(record))
    return tuple(records)


def _without_broken_sender_type(record: Record) -> Record:
    # Only these channels read the field; elsewhere even an unknown code is valid.
    if record.get("channel_code") in ("SMS", "MMS", "EMAIL") and record.get("sender_type") == "ODD":
        return {**record, "sender_type": None}
    return record


class _World:
    """Few values, and records that are made of nothing else.

    In a dense world most messages fall into the same groups, so that sums and rates add up.
    `like` is a record whose kind the new one must share, so that fields can be exchanged.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        is_dense = random.random() < 0.3
        self._message_ids = self._some(_MESSAGE_IDS, 6 + 6 * is_dense)
        self._account_keys = self._some(_ACCOUNT_KEYS, 1 if is_dense else 3)
        self._channels = self._some(_CHANNELS, 1 if is_dense else 2)
        self._addresses = self._some(_ADDRESSES, 1 if is_dense else 3)
        self._texts = self._some(_TEXTS, 1 if is_dense else 2)
        self._urls = self._some(_URLS, 3)
        self._instants = self._few_instants()
        # The earlier ones, so that most events come after their message.
        self._sent = self._instants[: 1 if is_dense else 3]

    def message(self, like: Record) -> Record:
        one = self._random.choice
        return {
            "message_id": one(self._message_ids),
            "account_key": one(self._account_keys),
            "direction": one(("OUTBOUND", "OUTBOUND", "OUTBOUND", "INBOUND")),
            "channel_code": one(self._channels),
            "sent_at": self._moment(self._sent),
            "sender": one(self._addresses),
            "sender_type": self._maybe("ODD", *SENDER_TYPES),
            "recipient": one(self._addresses),
            **self._optional({
                "updated_at": (None, "", *(self._moment() for _ in range(3))),
                "traffic_type": (None, "", *TRAFFIC_TYPES),
                "interaction_id": (None, "", "i", "i", "j", *self._texts),
                "segments": _SEGMENTS,
                "cost_cents": _COSTS,
                "currency": _CURRENCIES,
                "communication_id": _COMMUNICATIONS,
                "campaign_reference_id": (None, "", *self._texts),
                "country_id": _COUNTRIES,
                "network_id": _NETWORKS,
                "application_id": (None, "", *self._texts),
                "entity_id": (None, "", *self._texts),
                **_UNKNOWN_FIELDS,
            }),
        }  # fmt: skip

    def event(self, like: Record) -> Record:
        one = self._random.choice
        event_type = str(like.get("event_type") or one(_EVENT_TYPES))
        # What a type does not bear is ignored, whatever it holds.
        fields = dict.fromkeys(_EVENT_FIELDS, _FOREIGN)
        if EVENT_TYPES[event_type].group:
            fields |= {"status": _STATUSES, "error_code": _ERROR_CODES}
        if event_type == "DROPPED":
            fields["drop_reason"] = (None, "", *DROP_REASONS)
        if event_type == "CLICKED":
            fields["is_unsubscribe_link"] = (None, "", True, False, False, "TRUE", "False")
        record = {
            "event_id": one(_EVENT_IDS),
            # Some messages never come, so that their events wait for ever.
            "message_id": one((*self._message_ids, *self._message_ids, "unknown")),
            "event_type": event_type,
            "occurred_at": self._moment(),
            **self._optional({**fields, **_UNKNOWN_FIELDS}),
        }
        if event_type == "BOUNCED":
            record["bounce_type"] = one(BOUNCE_TYPES)
        if event_type == "CLICKED":
            record["url"] = one((*self._urls, *self._texts))
        return record

    def account(self, like: Record) -> Record:
        keys = (*self._account_keys, "top")
        return {
            "account_key": self._random.choice(keys),
            **self._optional({
                "parent_account_key": (None, "", "never seen", *keys, *keys),
                "name": (None, "", *self._texts),
                "plan": (None, "", *PLANS),
                "updated_at": (None, "", *(self._moment() for _ in range(3))),
                **_UNKNOWN_FIELDS,
            }),
        }  # fmt: skip

    def _some(self, pool: tuple, most: int) -> tuple:
        return tuple(self._random.choice(pool) for _ in range(self._random.randint(1, most)))

    def _maybe(self, *values: object) -> object:
        return self._random.choice((None, "", *values))

    def _optional(self, choices: Mapping[str, tuple]) -> Record:
        return {
            name: self._random.choice(values)
            for name, values in choices.items()
            if self._random.random() < 0.5
        }

    def _few_instants(self) -> tuple[datetime, ...]:
        """Moments that lie a bucket's bound, give or take a microsecond, apart."""
        instants = [self._random.choice(_BASES)]
        for _ in range(self._random.randint(1, 7)):
            moment = self._random.choice(instants) + self._random.choice(_STEPS)
            instants.append(min(moment, LATEST))
        return tuple(max(moment, EARLIEST) for moment in instants)

    def _moment(self, instants: tuple[datetime, ...] = ()) -> str:
        """One of the world's moments, in any spelling that names it."""
        moment = self._random.choice(instants or self._instants)
        hours, offset = self._random.choice(_OFFSETS)
        local = (moment + timedelta(hours=hours)).replace(tzinfo=None)
        text = local.isoformat(self._random.choice("T "))
        if "." in text:
            text += self._random.choice(("", "9", "999999"))
        elif text.endswith(":00"):
            text = self._random.choice((text, text.removesuffix(":00"), text + ".0"))
        return text + offset
