"""Reads query strings: texts into values, with everything that is wrong collected.

What the parameters of a route are and what they mean together is said beside the route. Nothing
here raises on any input; violations are gathered so that all can be told at once.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from endpoint.errors import Violation, violation

# Extended or basic form, seconds and their fraction optional, the offset not.
_TIMESTAMP = re.compile(
    r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}[Tt ]"
    r"[0-9]{2}(:?)[0-9]{2}(\2[0-9]{2}([.,][0-9]{1,30})?)?"
    r"([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_FRACTION = re.compile(r"[.,]([0-9]+)")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


class QueryString:
    """The parameters of one request, and the violations found in them so far.

    Construction tells unknown, repeated and empty parameters; the readers below tell values that
    cannot be. A reader gives None for a parameter that is absent or was found wrong.
    """

    def __init__(self, raw: bytes, known: Collection[str]) -> None:
        self.violations: list[Violation] = []
        self._texts: dict[str, str] = {}
        given: dict[str, list[str]] = {}
        for name, text in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
            given.setdefault(name, []).append(text)
        for name, texts in given.items():
            if name not in known:
                self.refuse(name, "unknown parameter")
            elif len(texts) > 1:
                self.refuse(name, "given more than once")
            elif not texts[0]:
                self.refuse(name, "empty")
            else:
                self._texts[name] = texts[0]
        self._given = given

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def refuse(self, name: str, problem: str) -> None:
        """Note that something is wrong with a parameter."""
        self.violations.append(violation(name, problem))

    def text(self, name: str) -> str | None:
        return self._texts.get(name)

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """One of the allowed words, in exactly that spelling."""
        text = self._texts.get(name)
        if text is None or text in allowed:
            return text
        self.refuse(name, "must be " + " or ".join(allowed))
        return None

    def whole_number(self, name: str, lowest: int, highest: int) -> int | None:
        """A number in plain digits within bounds, both included."""
        text = self._texts.get(name)
        if text is None:
            return None
        if _WHOLE_NUMBER.fullmatch(text) and lowest <= int(text) <= highest:
            return int(text)
        self.refuse(name, f"must be a whole number from {lowest} to {highest}")
        return None

    def moment(self, name: str) -> datetime | None:
        """A timestamp with an offset, in UTC, to the microsecond."""
        text = self._texts.get(name)
        if text is None:
            return None
        moment = read_timestamp(text)
        if moment is None:
            self.refuse(
                name,
                "must be an ISO 8601 timestamp with an offset, such as 2026-05-05T00:00:00Z "
                "(write the + of an offset as %2B)",
            )
        return moment


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
