"""Reading records: typing, defaults, refusals, and which version of a record counts.

No metric and no status rule lives here, and no file is opened: a caller passes one record at a
time, as a mapping of field name to value as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple, TypeVar

CHANNELS = {
    "SMS": "SMS",
    "EMAIL": "Email",
    "EMAILVALID": "Email validation",
    "FB": "Facebook Messenger",
    "IM": "Instagram Messaging",
    "KAKAOA": "Kakao Alim",
    "KAKAOC": "Kakao Chingu",
    "KAKAOS": "Kakao Sangdam",
    "LINELNS": "LINE Official Notification",
    "LINEOA": "LINE Official Account",
    "MMS": "MMS",
    "NL": "Number lookup",
    "RCS": "RCS",
    "TELEGRAM": "Telegram",
    "VIBER": "Viber Business Messages",
    "VIBERBOTS": "Viber Bots",
    "WHATSAPP": "WhatsApp",
    "ZALONS": "Zalo Notification Service",
    "APPLECB": "Apple Messages for Business",
}
DIRECTIONS = ("OUTBOUND", "INBOUND")
TRAFFIC_TYPES = (
    "UTILITY_CONVERSATION",
    "AUTHENTICATION_CONVERSATION",
    "MARKETING_CONVERSATION",
    "SERVICE_CONVERSATION",
    "BASIC_TRANSACTION_BASED_MESSAGE",
    "SINGLE_TRANSACTION_BASED_MESSAGE",
    "A2P_CONVERSATION",
    "P2A_CONVERSATION",
)
SENDER_TYPES = (
    "ALPHANUMERIC",
    "SHORT_CODE",
    "TOLL_FREE_NUMBER",
    "VIRTUAL_LONG_NUMBER",
    "10DLC",
    "DOMAIN",
)
BOUNCE_TYPES = ("SOFT", "HARD")
DROP_REASONS = (
    "UNSUBSCRIBED",
    "BOUNCED",
    "COMPLAINED",
    "BLOCKED_DOMAIN",
    "UNVERIFIED_DOMAIN",
    "EXPIRED_TEMPLATE",
    "TOO_MANY_URLS",
    "OTHER",
)
PLANS = ("free", "growth", "scale")

LONGEST_KEY = 256
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)
SEGMENTS = (1, 32767)
COST_BELOW = Decimal(10) ** 12
COST_STEP = Decimal("0.000001")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(hours=24)


class EventType(NamedTuple):
    """What an event type says about the status of its message; group None: nothing."""

    group: str | None
    default_status: str | None
    is_final: bool


EVENT_TYPES = {
    "ACCEPTED": EventType("PENDING", "PENDING_ACCEPTED", False),
    "SENT": EventType("PENDING", "PENDING_ENROUTE", False),
    "DELIVERED": EventType("DELIVERED", "DELIVERED_TO_HANDSET", True),
    "UNDELIVERABLE": EventType("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", True),
    "BOUNCED": EventType("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", True),
    "DROPPED": EventType("UNDELIVERABLE", "UNDELIVERABLE_NOT_SENT", True),
    "EXPIRED": EventType("EXPIRED", "EXPIRED_EXPIRED", True),
    "REJECTED": EventType("REJECTED", "REJECTED_SYSTEM_ERROR", True),
    "SEEN": EventType(None, None, False),
    "OPENED": EventType(None, None, False),
    "CLICKED": EventType(None, None, False),
    "UNSUBSCRIBED": EventType(None, None, False),
    "COMPLAINED": EventType(None, None, False),
}


class Number(str):
    """The literal text of a JSON number, digit for digit."""

    __slots__ = ()


@dataclass(frozen=True)
class Refusal:
    """Why a record is not loaded. `field` is None where the record as a whole is broken."""

    field: str | None
    reason: str


@dataclass(frozen=True)
class Message:
    """One version of a message, with defaults and mappings applied.

    `amount` is the cost in cents of `currency`; `cost_cents` is what counts: the same amount,
    or 0 if the currency is not the warehouse's.
    """

    message_id: str
    account_key: str
    direction: str
    channel_code: str
    sent_at: datetime
    updated_at: datetime
    sender: str
    sender_type: str | None
    recipient: str
    traffic_type: str | None
    interaction_id: str | None
    segments: int
    cost_cents: Decimal
    amount: Decimal
    currency: str
    communication_id: int | None
    campaign_reference_id: str | None
    country_id: int | None
    network_id: int | None
    application_id: str | None
    entity_id: str | None


@dataclass(frozen=True)
class Event:
    """One version of an event; fields foreign to its type are None (False for the link flag)."""

    event_id: str
    message_id: str
    event_type: str
    occurred_at: datetime
    status: str | None
    error_code: str | None
    bounce_type: str | None
    drop_reason: str | None
    url: str | None
    is_unsubscribe_link: bool


@dataclass(frozen=True)
class Account:
    """One version of an account."""

    account_key: str
    parent_account_key: str | None
    name: str
    plan: str
    updated_at: datetime


# ---------------------------------------------------------------------------- single values


class _BrokenRecordError(Exception):
    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(field, reason)


_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2})"
    r"(?::([0-9]{2})(?:\.([0-9]+))?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CURRENCY = re.compile(r"[A-Z]{3}")


def timestamp(text: str) -> datetime:
    """The instant that an ISO 8601 text with an offset names, in UTC, finer digits cut.

    Raises ValueError, with the reason in words, for anything else. Limits that depend on a
    clock or a year are not looked at.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError("not an ISO 8601 timestamp")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if offset is None:
        raise ValueError("timestamp without an offset")
    micros = int(((fraction or "") + "000000")[:6])
    try:
        local = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros,
            tzinfo=_offset(offset),
        )  # fmt: skip
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("no such date or time") from None


def _offset(text: str) -> timezone:
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    size = timedelta(hours=hours, minutes=minutes)
    return timezone(-size if text[0] == "-" else size)


def _as_text(field: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, Decimal):
        text = format(value, "f")
    elif isinstance(value, int | float):
        text = repr(value)
    elif isinstance(value, datetime):
        text = value.isoformat()
    else:
        raise _BrokenRecordError(field, "a list or an object where a single value belongs")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise _BrokenRecordError(field, "text with half a surrogate pair")
    return text


class _Reader:
    """Typed access to one raw record; a value that may not be raises _BrokenRecordError."""

    def __init__(self, raw: Mapping[str, object], now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError("now needs a time zone")
        self._raw = raw
        self._now = now

    def text(self, field: str, *, required: bool = False, longest: int | None = None) -> str | None:
        value = _as_text(field, self._raw.get(field))
        if value is None and required:
            raise _BrokenRecordError(field, "required, but missing")
        if value is not None and longest is not None and len(value) > longest:
            raise _BrokenRecordError(field, f"longer than {longest} characters")
        return value

    def key(self, field: str) -> str:
        value = self.text(field, required=True, longest=LONGEST_KEY)
        assert value is not None
        return value

    def code(self, field: str, codes: Collection[str], *, required: bool = False) -> str | None:
        value = self.text(field, required=required)
        if value is not None and value not in codes:
            raise _BrokenRecordError(field, f"unknown code {value!r}")
        return value

    def timestamp(self, field: str, *, required: bool = False) -> datetime | None:
        text = self.text(field, required=required)
        if text is None:
            return None
        try:
            value = timestamp(text)
        except ValueError as error:
            raise _BrokenRecordError(field, str(error)) from None
        if value < EARLIEST:
            raise _BrokenRecordError(field, "before the year 2000")
        if value > self._now + CLOCK_TOLERANCE:
            raise _BrokenRecordError(field, "more than 24 hours in the future")
        return value

    def number(self, field: str) -> Decimal | None:
        text = self.text(field)
        if text is None:
            return None
        if _NUMBER.fullmatch(text) is None:
            raise _BrokenRecordError(field, f"not a number: {text!r}")
        try:
            return Decimal(text)
        except ArithmeticError:
            raise _BrokenRecordError(field, "a number out of all bounds") from None

    def integer(self, field: str, bounds: tuple[int, int]) -> int | None:
        value = self.number(field)
        if value is None:
            return None
        if not bounds[0] <= value <= bounds[1]:
            raise _BrokenRecordError(field, f"not between {bounds[0]} and {bounds[1]}")
        if value != value.to_integral_value():
            raise _BrokenRecordError(field, "not an integer")
        return int(value)

    def amount(self, field: str) -> Decimal | None:
        value = self.number(field)
        if value is None:
            return None
        if not 0 <= value < COST_BELOW:
            raise _BrokenRecordError(field, "below 0, or 10^12 or more")
        rounded = value.quantize(COST_STEP)
        if rounded != value:
            raise _BrokenRecordError(field, "more than 6 decimal places")
        return abs(rounded)

    def boolean(self, field: str) -> bool | None:
        text = self.text(field)
        if text is None:
            return None
        if text.lower() not in ("true", "false"):
            raise _BrokenRecordError(field, f"neither true nor false: {text!r}")
        return text.lower() == "true"


# ---------------------------------------------------------------------------- whole records


def load_json_line(line: str) -> dict[str, object] | Refusal:
    """The fields of one JSON Lines record, with numbers as Number.

    Of repeated names the first counts, and half a surrogate pair anywhere breaks the line: JSON
    leaves both open. Lines nested too deep for this reader, though not for the product, are not
    for it.
    """

    def no_such_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")

    def first_of_each(members: list[tuple[str, object]]) -> dict[str, object]:
        return dict(reversed(members))

    try:
        value = json.loads(
            line,
            parse_int=Number,
            parse_float=Number,
            parse_constant=no_such_constant,
            object_pairs_hook=first_of_each,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        return Refusal(None, f"not JSON: {error}")
    if not isinstance(value, dict):
        return Refusal(None, "not a JSON object")
    return value


_Record = TypeVar("_Record", Message, Event, Account)


def _parsed(read: Callable[[], _Record]) -> _Record | Refusal:
    try:
        return read()
    except _BrokenRecordError as broken:
        return broken.refusal


def parse_message(
    raw: Mapping[str, object], *, now: datetime, currency: str = "USD"
) -> Message | Refusal:
    """A typed message, or the first field that breaks a rule. `now` is the clock of the load."""
    return _parsed(lambda: _message(_Reader(raw, now), currency))


def _message(reader: _Reader, warehouse_currency: str) -> Message:
    message_id = reader.key("message_id")
    account_key = reader.key("account_key")
    direction = reader.code("direction", DIRECTIONS, required=True)
    channel_code = reader.code("channel_code", CHANNELS, required=True)
    sent_at = reader.timestamp("sent_at", required=True)
    updated_at = reader.timestamp("updated_at") or sent_at
    sender = reader.text("sender", required=True)
    sender_type = _sender_type(reader, channel_code)
    recipient = reader.text("recipient", required=True)
    traffic_type = reader.code("traffic_type", TRAFFIC_TYPES)
    interaction_id = reader.text("interaction_id")
    segments = reader.integer("segments", SEGMENTS)
    amount = reader.amount("cost_cents")
    amount = Decimal(0) if amount is None else amount
    currency = reader.text("currency") or warehouse_currency
    if _CURRENCY.fullmatch(currency) is None:
        raise _BrokenRecordError("currency", "not three capital letters")
    return Message(
        message_id=message_id,
        account_key=account_key,
        direction=direction,
        channel_code=channel_code,
        sent_at=sent_at,
        updated_at=updated_at,
        sender=sender,
        sender_type=sender_type,
        recipient=recipient,
        traffic_type=traffic_type,
        interaction_id=interaction_id,
        segments=1 if segments is None else segments,
        cost_cents=amount if currency == warehouse_currency else Decimal(0),
        amount=amount,
        currency=currency,
        communication_id=reader.integer("communication_id", INT64),
        campaign_reference_id=reader.text("campaign_reference_id"),
        country_id=reader.integer("country_id", INT32),
        network_id=reader.integer("network_id", INT32),
        application_id=reader.text("application_id"),
        entity_id=reader.text("entity_id"),
    )


def _sender_type(reader: _Reader, channel_code: str) -> str | None:
    if channel_code in ("SMS", "MMS"):
        return reader.code("sender_type", SENDER_TYPES)
    if channel_code == "EMAIL":
        return reader.code("sender_type", SENDER_TYPES) or "DOMAIN"
    return channel_code


def parse_event(raw: Mapping[str, object], *, now: datetime) -> Event | Refusal:
    """A typed event, or the first field that breaks a rule. `now` is the clock of the load."""
    return _parsed(lambda: _event(_Reader(raw, now)))


def _event(reader: _Reader) -> Event:
    event_id = reader.key("event_id")
    message_id = reader.key("message_id")
    event_type = reader.code("event_type", EVENT_TYPES, required=True)
    occurred_at = reader.timestamp("occurred_at", required=True)
    status = error_code = bounce_type = drop_reason = url = None
    is_unsubscribe_link = False
    # What a type does not have is not even read, so that nothing in it can break the record.
    if EVENT_TYPES[event_type].group is not None:
        status = reader.text("status") or EVENT_TYPES[event_type].default_status
        error_code = reader.text("error_code") or "NO_ERROR"
    if event_type == "BOUNCED":
        bounce_type = reader.code("bounce_type", BOUNCE_TYPES, required=True)
    if event_type == "DROPPED":
        drop_reason = reader.code("drop_reason", DROP_REASONS) or "OTHER"
    if event_type == "CLICKED":
        url = reader.text("url", required=True)
        is_unsubscribe_link = reader.boolean("is_unsubscribe_link") or False
    return Event(
        event_id=event_id,
        message_id=message_id,
        event_type=event_type,
        occurred_at=occurred_at,
        status=status,
        error_code=error_code,
        bounce_type=bounce_type,
        drop_reason=drop_reason,
        url=url,
        is_unsubscribe_link=is_unsubscribe_link,
    )


def parse_account(raw: Mapping[str, object], *, now: datetime) -> Account | Refusal:
    """A typed account, or the first field that breaks a rule. `now` is the clock of the load."""
    return _parsed(lambda: _account(_Reader(raw, now)))


def _account(reader: _Reader) -> Account:
    account_key = reader.key("account_key")
    return Account(
        account_key=account_key,
        parent_account_key=reader.text("parent_account_key"),
        name=reader.text("name") or account_key,
        plan=reader.code("plan", PLANS) or "free",
        updated_at=reader.timestamp("updated_at") or EARLIEST,
    )


# ------------------------------------------------------------------------ versions of records


def _nulls_first(values: Iterable[object]) -> tuple[tuple[bool, object], ...]:
    return tuple((value is not None, value) for value in values)


def _message_rank(message: Message) -> tuple[object, ...]:
    # The amount stands for the cost: which version counts must not depend on the warehouse's
    # currency, and two versions in a foreign currency differ although both cost 0.
    return message.updated_at, _nulls_first((
        message.account_key, message.direction, message.channel_code, message.sent_at,
        message.sender, message.sender_type, message.recipient, message.traffic_type,
        message.interaction_id, message.segments, message.amount, message.currency,
        message.communication_id, message.campaign_reference_id, message.country_id,
        message.network_id, message.application_id, message.entity_id,
    ))  # fmt: skip


def _event_rank(event: Event) -> tuple[object, ...]:
    return _nulls_first((
        event.message_id, event.event_type, event.occurred_at, event.status, event.error_code,
        event.bounce_type, event.drop_reason, event.url, event.is_unsubscribe_link,
    ))  # fmt: skip


def _account_rank(account: Account) -> tuple[object, ...]:
    return account.updated_at, _nulls_first(
        (account.parent_account_key, account.name, account.plan)
    )


def _greatest(
    records: Iterable[_Record],
    key: Callable[[_Record], str],
    rank: Callable[[_Record], tuple[object, ...]],
) -> dict[str, _Record]:
    kept: dict[str, tuple[tuple[object, ...], _Record]] = {}
    for record in records:
        candidate = rank(record)
        held = kept.get(key(record))
        if held is None or candidate > held[0]:
            kept[key(record)] = (candidate, record)
    return {name: record for name, (_, record) in kept.items()}


def latest_messages(messages: Iterable[Message]) -> dict[str, Message]:
    """The version of every message that counts, by message_id."""
    return _greatest(messages, lambda message: message.message_id, _message_rank)


def latest_events(events: Iterable[Event]) -> dict[str, Event]:
    """The version of every event that counts, by event_id."""
    return _greatest(events, lambda event: event.event_id, _event_rank)


def latest_accounts(accounts: Iterable[Account]) -> dict[str, Account]:
    """The version of every account that counts, by account_key.

    An account whose chain of parents never ends, because it is in a loop or leads into one,
    has no parent. A parent that is not known stays as it came and ends the chain.
    """
    latest = _greatest(accounts, lambda account: account.account_key, _account_rank)
    return {
        key: replace(account, parent_account_key=None) if _loops(latest, key) else account
        for key, account in latest.items()
    }


def _loops(accounts: Mapping[str, Account], key: str) -> bool:
    passed = set()
    current: str | None = key
    while current in accounts:
        if current in passed:
            return True
        passed.add(current)
        current = accounts[current].parent_account_key
    return False


def with_descendants(accounts: Mapping[str, Account], keys: Iterable[str]) -> set[str]:
    """The accounts named and every account below them, named ones that are not known included."""
    below: dict[str, list[str]] = {}
    for account in accounts.values():
        if account.parent_account_key is not None:
            below.setdefault(account.parent_account_key, []).append(account.account_key)
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(below.get(key, ()))
    return found
