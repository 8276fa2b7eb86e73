"""What a provider's module makes of one result, and the means by which it reads it.

How values are spelled - times, prices, texts - is the same question for all providers and is
answered here once. What a field means is the provider's module's affair.
"""

import csv
import json
import re
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from hashlib import blake2b
from math import isinf
from typing import Any, NamedTuple

import orjson

from msgmetrics.settings import PROJECT_ROOT
from orchestration.loading.records import streams

# What a record of messages is worth where several tell of one message: see `staging/stg_messages`.
CANONICAL, KNOWN, GUESSED = 2, 1, 0

UNDERSTOOD, SET_ASIDE, REFUSED = "understood", "set aside", "refused"

# What a result tells of a message, and that something happened to one: the fields of the two
# streams as texts. Their order is that of the streams, so that many of them turn into columns.
Message = namedtuple(
    "Message",
    (*streams()["messages"].field_names, "source_rank"),
    defaults=(None,) * len(streams()["messages"].fields) + (KNOWN,),
)
Event = namedtuple(
    "Event", streams()["events"].field_names, defaults=(None,) * len(streams()["events"].fields)
)
_UNTOLD = Message()._asdict()

_CURRENCY = re.compile("[A-Z]{3}")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
# Epochs from here on are milliseconds: as seconds they would lie in the year 5138.
_MILLISECONDS = 100_000_000_000
_LAST_EPOCH = 253_402_300_799
# Whole numbers beyond are read as floats, which do not tell one id from the next.
_INEXACT = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENT = Decimal("0.000001")
_MOST_CENTS = Decimal(10) ** 12
_LONGEST_ID = 256

Result = Mapping[str, Any]


class RefusedError(Exception):
    """A result or a request that no rule understands; the message is the reason, in words.

    A reason names fields, never their values: they may be addresses, and reasons are shown.
    """


class Kind(NamedTuple):
    """One kind of payload that a provider sends: whether it is understood, and as what."""

    treatment: str
    read_as: str

    @classmethod
    def understood(cls, read_as: str) -> "Kind":
        """One that messages or events are read from."""
        return cls(UNDERSTOOD, read_as)

    @classmethod
    def set_aside(cls, what: str) -> "Kind":
        """One that is no message traffic, and counted."""
        return cls(SET_ASIDE, what)

    @classmethod
    def refused(cls, advice: str) -> "Kind":
        """One that goes to quarantine."""
        return cls(REFUSED, advice)


class Meaning(NamedTuple):
    """A row of a provider's table of codes: what one of its codes is in ours, empty where nothing.

    code: for what is no event - a channel, a traffic type, or that an event is set aside.
    """

    event_type: str = ""
    status: str = ""
    error_code: str = ""
    bounce_type: str = ""
    drop_reason: str = ""
    code: str = ""


class Request(NamedTuple):
    """The HTTP request that a result came with: when it was received, for which account, and the
    channel that its folder names, if it names one."""

    account_key: str
    received_at: str
    channel_code: str | None = None


@dataclass(slots=True)
class Reading:
    """What a result is read as. Without a message and an event it is set aside."""

    kind: str
    messages: list[Message] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def is_set_aside(self) -> bool:
        return not (self.messages or self.events)


@cache
def meanings(provider: str) -> Mapping[str, Meaning]:
    """A provider's table of codes, by "vocabulary.code" as the first column names it."""
    path = PROJECT_ROOT / "seeds" / "webhooks" / f"{provider}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["name"]: Meaning(**{key: row[key] or "" for key in Meaning._fields})
            for row in csv.DictReader(file)
        }


def meaning(provider: str, vocabulary: str, code: str) -> Meaning:
    """What a code means. Raises RefusedError for one that the table lacks."""
    found = meanings(provider).get(f"{vocabulary}.{code}")
    if found is None:
        raise RefusedError(f"its {vocabulary} is none that seeds/webhooks/{provider}.csv knows")
    return found


@cache
def country_ids() -> Mapping[str, str]:
    """ISO 3166-1 numbers by two-letter code."""
    with (PROJECT_ROOT / "seeds" / "countries.csv").open(newline="", encoding="utf-8") as file:
        return {row["alpha_2"]: row["country_id"] for row in csv.DictReader(file)}


# --- JSON ------------------------------------------------------------------------------------


def document(text: str) -> Any:
    """What a JSON text says. Raises RefusedError where it is none.

    Half of a character, as texts end that were cut, becomes a question mark, and a number that no
    float holds becomes a text.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        pass
    try:
        parsed = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_finite)
        spelled = json.dumps(parsed, ensure_ascii=False)
        return orjson.loads(spelled.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise RefusedError("it is not valid JSON") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> int | float | str:
    number = float(digits)
    if isinf(number):
        return digits
    return number if set(digits) & set(".eE") else int(digits)


# --- values ----------------------------------------------------------------------------------


def text(result: Result, name: str) -> str | None:
    """A field's text; numbers as they are spelled; None where it is missing, empty or nested.

    Raises RefusedError for a number of so many digits that it was not read to the last.
    """
    value = result.get(name)
    if type(value) is str:
        return value or None
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and abs(value) >= _INEXACT:
        raise RefusedError(f"{name} is a number with too many digits: have it sent as a text")
    return str(value)


def required(result: Result, *names: str) -> str:
    """The text of the first of these fields that has one. Raises RefusedError where none has."""
    for name in names:
        value = text(result, name)
        if value is not None:
            return value
    raise RefusedError(f"{' or '.join(names)} is missing")


def part(result: Result, name: str) -> Result:
    """A nested object, an empty one where there is none."""
    value = result.get(name)
    return value if isinstance(value, dict) else {}


def parts(result: Result, name: str) -> Sequence[Any]:
    """A nested list, an empty one where there is none."""
    value = result.get(name)
    return value if isinstance(value, list) else ()


def moment(value: object, name: str) -> str | None:
    """An instant as ISO 8601 in UTC; None where there is none.

    Takes ISO 8601 with any offset, with or without a colon, and seconds or milliseconds since
    1970, also as texts. Raises RefusedError for anything else: without an offset no one knows when.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and value[4:5] != "-" and _NUMBER.fullmatch(value):
        value = Decimal(value)
    try:
        if isinstance(value, str):
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                raise RefusedError(f"{name} is a time without an offset")
            if instant.tzinfo is not UTC:
                instant = instant.astimezone(UTC)
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            unit = 1_000 if value >= _MILLISECONDS else 1_000_000
            if not 0 <= value <= _LAST_EPOCH * (1_000_000 // unit):
                raise RefusedError(f"{name} is no time")
            exact = value if isinstance(value, int) else Decimal(str(value))
            instant = _EPOCH + timedelta(microseconds=int(exact * unit))
        else:
            raise RefusedError(f"{name} is no time")
    except (ValueError, OverflowError, ArithmeticError):
        raise RefusedError(f"{name} is no time") from None
    return instant.isoformat(timespec="microseconds")[:-6] + "Z"


def cents(price: object, currency: object, times: int = 1) -> tuple[str | None, str | None]:
    """(hundredths of the currency's unit, the currency); Nones where either is not known.

    Some providers write what they charge as a negative number. Beyond six places it is rounded.
    """
    if not isinstance(currency, str) or isinstance(price, bool):
        return None, None
    if not isinstance(price, int | float | str):
        return None, None
    return _cents(str(price), currency.upper(), times)


@lru_cache(maxsize=4096)  # prices are few
def _cents(price: str, currency: str, times: int) -> tuple[str | None, str | None]:
    if not _CURRENCY.fullmatch(currency):
        return None, None
    try:
        amount = (abs(Decimal(price)) * 100 * times).quantize(_CENT)
        if not amount < _MOST_CENTS:
            return None, None
        return f"{amount.normalize():f}", currency
    except ArithmeticError:
        return None, None


def count(value: object) -> str | None:
    """Into how many parts a message was split; None where that is no number from 1 on."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 32767:
        return str(value)
    return None


# --- ids -------------------------------------------------------------------------------------


def identity(*words: str) -> str:
    """An id of ours: words that end in the provider's own id. Raises RefusedError if too long."""
    made = ":".join(words)
    if len(made) > _LONGEST_ID:
        raise RefusedError("its id is longer than 256 characters with what we put before it")
    return made


def digest(*values: object) -> str:
    """A hash of what tells one from another where ids do not: 64 bits, in hexadecimal."""
    spelled = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    return blake2b(spelled, digest_size=8).hexdigest()


# --- records ---------------------------------------------------------------------------------


def message(
    request: Request,
    message_id: str,
    direction: str,
    channel_code: str | None,
    at: str,
    **fields: Any,
) -> Message:
    """What a result of that time tells of a message; sent then, if sent_at is not given."""
    told = _UNTOLD | fields  # keeps the order of _UNTOLD, which is Message's
    told["message_id"] = message_id
    told["account_key"] = request.account_key
    told["direction"] = direction
    told["channel_code"] = channel_code
    told["sent_at"] = told["sent_at"] or at
    told["updated_at"] = at
    return Message._make(told.values())


def event(
    event_id: str, message_id: str, occurred_at: str, means: Meaning, **fields: str | None
) -> Event:
    """The event that a code means; given fields stand before those of the table."""
    return Event(
        event_id,
        message_id,
        means.event_type,
        occurred_at,
        fields.get("status") or means.status or None,
        fields.get("error_code") or means.error_code or None,
        means.bounce_type or None,
        means.drop_reason or None,
        fields.get("url"),
    )


def link(means: Meaning, result: Result, *names: str) -> str | None:
    """The link that was clicked, if that is what a code means. Raises RefusedError without one."""
    return required(result, *names) if means.event_type == "CLICKED" else None
