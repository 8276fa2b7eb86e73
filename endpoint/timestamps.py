"""Timestamps as texts of a request: both spellings that are taken, ISO 8601 and its basic offset.

How moments are printed is said where answers are.
"""

import re
from datetime import UTC, datetime

# Extended or basic form, seconds and their fraction optional, the offset not.
_TIMESTAMP = re.compile(
    r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}[Tt ]"
    r"[0-9]{2}(:?)[0-9]{2}(\2[0-9]{2}([.,][0-9]{1,30})?)?"
    r"([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_FRACTION = re.compile(r"[.,]([0-9]+)")


def read_timestamp(text: str) -> datetime | None:
    """The moment, in UTC, that an ISO 8601 text with an offset names; None if it names none.

    Digits finer than a microsecond are cut. Years 1 to 9999, in UTC too.
    """
    if not _TIMESTAMP.fullmatch(text):
        return None
    shortened = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text.upper())
    try:
        return datetime.fromisoformat(shortened).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
