"""How values look on the wire: JSON bytes and timestamps.

Decimals are written digit for digit, never by way of a float. Shapes of answers do not live here.
"""

from decimal import Decimal
from typing import Any

import orjson

from endpoint.windows import moment_at


def to_json(value: Any) -> bytes:
    """JSON text of a value in which Decimal stands for an exact number."""
    return orjson.dumps(value, default=_exact_number)


def decimal_text(value: Decimal) -> str:
    """All digits of a decimal, without an exponent and without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def timestamp(seconds: int) -> str:
    """`2026-05-05T23:59:43Z` for whole seconds since 1970; the year must be 1 to 9999."""
    moment = moment_at(seconds)
    # strftime leaves out the leading zeros of early years.
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%SZ}"


def _exact_number(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(decimal_text(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")
